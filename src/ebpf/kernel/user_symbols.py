"""Functions at addresses of processes, from the symbols of the files that they run; C++ and Rust names readable."""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.binaries.symbols import ElfSymbols, elf_symbols
from ebpf.errors import EbpfError
from ebpf.kernel.process_maps import ProcessMaps

if TYPE_CHECKING:
    from collections.abc import Callable


class UserSymbols:
    """Names for addresses. `follow` makes processes known that end before somebody asks."""

    def __init__(self) -> None:
        self._maps = ProcessMaps()
        self._known: dict[tuple[int, int], tuple[int, str, int, str]] = {}

    def follow(self) -> None:
        """Remember what processes run from now on."""
        self._maps.follow()

    def collect(self) -> None:
        """Take in what the kernel has reported; to be called now and then while following."""
        self._maps.collect()

    def resolve(self, pid: int, address: int) -> tuple[int, str, int, str]:
        """(address, function or "", offset into it, file or "")."""
        key = (pid, address)
        found = self._known.get(key)
        if found is None:
            found = self._look_up(pid, address)
            if found[3]:
                self._known[key] = found
        return found

    def _look_up(self, pid: int, address: int) -> tuple[int, str, int, str]:
        region = self._maps.find(pid, address)
        if region is None or not region.path.startswith("/"):
            name, offset = _generated(pid, address)
            return address, name, offset, region.path if region is not None else ""
        path = region.path
        if not os.path.exists(path):
            path = f"/proc/{pid}/root{region.path}"  # in a container
        try:
            name, offset = _function_at(elf_symbols(path), address - region.start + region.offset)
        except EbpfError:
            name, offset = "", 0
        return address, name, offset, region.path

    def close(self) -> None:
        """Follow no longer."""
        self._maps.close()


def _function_at(symbols: ElfSymbols, offset: int) -> tuple[str, int]:
    starts, rows = _by_offset(symbols)
    index = bisect_right(starts, offset) - 1
    if index < 0:
        return "", 0
    name, start, size = rows[index]
    if size and offset >= start + size:
        return "", 0
    return demangled(name), offset - start


@lru_cache(maxsize=64)
def _by_offset(symbols: ElfSymbols) -> tuple[list[int], list[tuple[str, int, int]]]:
    rows = sorted(((s.name, s.offset, s.size) for s in symbols.functions.values()), key=lambda row: row[1])
    return [row[1] for row in rows], rows


@lru_cache(maxsize=4096)
def _generated_symbols(path: str, mtime_ns: int, size: int) -> list[tuple[int, int, str]]:
    rows = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.rstrip("\n").split(None, 2)
            try:
                rows.append((int(fields[0], 16), int(fields[1], 16), fields[2]))
            except (ValueError, IndexError):
                continue
    return sorted(rows)


def _generated(pid: int, address: int) -> tuple[str, int]:
    """A function that a just-in-time compiler made and noted in ``/tmp/perf-PID.map``, as perf(1) wants it."""
    path = f"/tmp/perf-{pid}.map"
    try:
        stat = os.stat(path)
        rows = _generated_symbols(path, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return "", 0
    index = bisect_right(rows, (address, 1 << 63, "")) - 1
    if index >= 0 and address < rows[index][0] + rows[index][1]:
        return rows[index][2], address - rows[index][0]
    return "", 0


@lru_cache(maxsize=1)
def _demangler() -> Callable[[bytes], str | None] | None:
    """The C++ runtime's own, where it is installed."""
    try:
        library = ctypes.CDLL("libstdc++.so.6")
        demangle, free = library.__cxa_demangle, ctypes.CDLL(None).free
    except (OSError, AttributeError):
        return None
    demangle.restype = ctypes.c_void_p
    free.argtypes = (ctypes.c_void_p,)

    def call(name: bytes) -> str | None:
        status = ctypes.c_int()
        result = demangle(name, None, None, ctypes.byref(status))
        if not result:
            return None
        text = ctypes.string_at(result).decode("utf-8", "replace")
        free(result)
        return text

    return call


@lru_cache(maxsize=65536)
def demangled(name: str) -> str:
    """A C++ (or older Rust) symbol's name as its author wrote it; any other as it is."""
    if not name.startswith("_Z"):
        return name
    demangle = _demangler()
    text = demangle(name.encode()) if demangle is not None else None
    if text is None:
        return name
    head, _, tail = text.rpartition("::h")  # Rust's legacy names end in a hash
    return head if len(tail) == 16 and all(c in "0123456789abcdef" for c in tail) else text
