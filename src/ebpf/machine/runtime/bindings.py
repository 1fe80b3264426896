"""Calling the C runtime: functions by name, with the types that `map.h` declares.

Nothing of a function is prepared before it is called for the first time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from re import DOTALL, MULTILINE, findall
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES = Path(__file__).parent

_DECLARATION = r"^(u64|u32|s64|void) ebpf_(\w+)\(([^)]*)\);"
_TYPES = {"u64": ctypes.c_uint64, "u32": ctypes.c_uint32, "s64": ctypes.c_int64, "void": None}
# These take long, or wait for a lock that is held for long: other Python threads go on meanwhile.
_LONG = frozenset(("array_read", "hash_read", "lpm_trie_read", "map_update_many", "ringbuf_drain"))


@cache
def declarations() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Result and parameters' types (``"ptr"`` for all pointers) of each function, without its prefix ``ebpf_``."""
    found = {}
    for result, name, parameters in findall(_DECLARATION, (SOURCES / "map.h").read_text(), MULTILINE | DOTALL):
        types = [p.strip() for p in parameters.split(",")]
        found[name] = result, tuple("ptr" if "*" in p else p.split()[0] for p in types)
    return found


class Map(ctypes.Structure):
    """``struct ebpf_map``, as far as Python reads and writes it."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("values", "stride", "cpu_stride", "buckets", "seed")),
        *((name, ctypes.c_uint32) for name in (
            "mask", "key_size", "max_entries", "cpus",
            "type", "flags", "value_size", "slots", "value_offset", "lock_offset", "hashes", "reserved")),
        *((name, ctypes.c_uint64) for name in ("used", "bytes", "spare0", "spare1", "spare2", "free")),
        *((name, ctypes.c_uint32) for name in (
            "fresh", "count", "hand", "lock", "head", "tail", "root", "sequence")),
        ("spare3", ctypes.c_uint64 * 3),
        *((name, ctypes.c_uint64) for name in ("producer", "refused")),
        ("spare4", ctypes.c_uint64 * 6),
        *((name, ctypes.c_uint64) for name in ("consumer", "wakeups")),
        ("spare5", ctypes.c_uint64 * 6),
    )


class Runtime:
    """The functions of `map.h` as attributes, without their prefix: ``runtime.hash_find(map, key)``.

    Pointers are addresses or bytes; results are ints. ``ir`` is the IR of the look-ups, for other code to take in.
    """

    def __init__(self, address: Callable[[str], int], ir: str = "", keep: object = None) -> None:
        self.address = address
        self.ir = ir
        self._keep = keep  # what the code lies in

    def __getattr__(self, name: str) -> Callable[..., int]:
        declared = declarations().get(name)
        if declared is None:
            raise AttributeError(f"the maps' runtime has no function ebpf_{name}")
        result, parameters = declared
        types: list[Any] = [ctypes.c_void_p if p == "ptr" else _TYPES[p] for p in parameters]
        made: Any = (ctypes.CFUNCTYPE if name in _LONG else ctypes.PYFUNCTYPE)(_TYPES[result], *types)
        function: Callable[..., int] = made(self.address(f"ebpf_{name}"))
        setattr(self, name, function)
        return function


def from_library(path: str) -> Runtime:
    """A runtime that another compiler made a shared library of."""
    library = ctypes.CDLL(path)

    def address(name: str) -> int:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0

    return Runtime(address, keep=library)
