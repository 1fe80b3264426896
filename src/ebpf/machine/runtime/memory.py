"""Memory of native maps: one block each, zero at first, taken from the system when it is touched."""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING

from ebpf.errors import MapError
from ebpf.machine.maps.base import check_size, words
from ebpf.machine.runtime.bindings import Map

if TYPE_CHECKING:
    from ebpf.machine.maps.base import MapShape
    from ebpf.machine.runtime.bindings import Runtime

    Room = ctypes.Array[ctypes.c_char]

_MAP_NORESERVE = 0x4000
_INDEX_MAX = (1 << 31) - 256  # slots are counted in 32 bits, some kinds have two per entry
_NO_LOCK = 0xFFFFFFFF


class Block:
    """A map's memory. ``address`` is that of its ``struct ebpf_map`` (``header``), ready to be used."""

    def __init__(self, runtime: Runtime, shape: MapShape, *, cpus: int, seed: int, hashes: int = 0) -> None:
        header = Map(type=int(shape.type), flags=shape.flags & 0xFFFFFFFF, key_size=shape.key_size,
                     value_size=shape.value_size, max_entries=min(shape.max_entries, _INDEX_MAX), cpus=cpus, seed=seed,
                     hashes=hashes, lock_offset=_NO_LOCK if shape.lock_offset < 0 else shape.lock_offset)
        needed = runtime.map_bytes(ctypes.addressof(header))
        if shape.max_entries > _INDEX_MAX:
            needed = needed // _INDEX_MAX * shape.max_entries
        check_size(shape.name, needed)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            memory = mmap.mmap(-1, needed, flags=flags)
        except OSError as error:
            raise MapError(f"map {shape.name!r} needs {words(needed)}: {error.strerror}", map_name=shape.name) from None
        self.view = memoryview(memory)
        self.header = Map.from_buffer(memory)
        ctypes.memmove(ctypes.addressof(self.header), ctypes.addressof(header), ctypes.sizeof(header))
        self.address = ctypes.addressof(self.header)
        runtime.map_init(self.address)

    def part(self, address: int, size: int) -> memoryview:
        """The ``size`` bytes at an address inside."""
        start = address - self.address
        return self.view[start:start + size]


def copy_from(address: int, size: int) -> bytes:
    """Bytes from anywhere: the caller knows that they are there."""
    return ctypes.string_at(address, size)


def buffer(size: int) -> Room:
    """Room for a C function to write to; ``.raw`` are its bytes."""
    return ctypes.create_string_buffer(size)


def address_of(room: bytearray) -> tuple[int, object]:
    """The address of a bytearray's bytes, and what has to be kept as long as that is used."""
    keep = (ctypes.c_char * len(room)).from_buffer(room)
    return ctypes.addressof(keep), keep
