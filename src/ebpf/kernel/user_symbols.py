"""Functions at addresses of processes, from the symbols of the files that they run; C++ and Rust names readable."""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.binaries.mappings import iter_mappings
from ebpf.binaries.rust_names import rust_name
from ebpf.binaries.symbols import ElfSymbols, elf_symbols
from ebpf.errors import EbpfError
from ebpf.kernel.process_maps import ProcessMaps, Region

if TYPE_CHECKING:
    from collections.abc import Callable


class UserSymbols:
    """Names for addresses. `follow` makes processes known that end before somebody asks.

    A function that a compiler put into another is not named: the frame is the outer one's. ``demangle`` makes names
    readable (`demangled`).
    """

    def __init__(self, demangle: Callable[[str], str] | None = None) -> None:
        self._maps = ProcessMaps()
        self._demangle = demangle if demangle is not None else demangled
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

    def place(self, pid: int, address: int) -> tuple[str, int]:
        """(file, offset in it) of an address; ``("", address)`` where no file is mapped."""
        region = self._maps.find(pid, address)
        if region is None or not region.path.startswith("/"):
            return "", address
        return region.path, address - region.start + region.offset

    def address(self, pid: int, path: str, name: str) -> int | None:
        """Where the function ``name`` of a file is in the process; None if it is not mapped or has no such function."""
        for region in self._maps.regions(pid):
            if region.path == path:
                try:
                    symbol = elf_symbols(_openable(pid, region)).functions.get(name)
                except EbpfError:
                    return None
                if symbol is not None and 0 <= symbol.offset - region.offset < region.end - region.start:
                    return region.start + symbol.offset - region.offset
        return None

    def _look_up(self, pid: int, address: int) -> tuple[int, str, int, str]:
        region = self._maps.find(pid, address)
        path = region.path if region is not None else ""
        name, offset = "", 0
        if region is not None and path.startswith("/"):
            try:
                name, offset = elf_symbols(_openable(pid, region)).at(address - region.start + region.offset)
            except EbpfError:
                pass
        elif region is not None and path == "[vdso]":
            vdso = _vdso()
            name, offset = vdso.at(address - region.start) if vdso is not None else ("", 0)
        if not name and not path.startswith(("/usr/", "/lib", "/bin/")):
            name, offset = _generated(pid, address)
        return address, self._demangle(name), offset, path

    def close(self) -> None:
        """Follow no longer."""
        self._maps.close()


def _openable(pid: int, region: Region) -> str:
    """The region's file as the process sees it: in its own root (containers), or though it has been removed."""
    path = region.path
    if path.endswith(" (deleted)"):
        held = f"/proc/{pid}/map_files/{region.start:x}-{region.end:x}"
        return held if os.path.exists(held) else path.removesuffix(" (deleted)")
    inside = f"/proc/{pid}/root{path}"
    try:
        same = os.path.samefile(inside, path)
    except OSError:
        same = not os.path.exists(inside)  # it has ended, or the file is in there alone
    return path if same else inside


@lru_cache(maxsize=1)
def _vdso() -> ElfSymbols | None:
    """The code that the kernel maps into every process; ours is the same as anybody's."""
    try:
        for mapping in iter_mappings("self", code=True):
            if mapping.path == "[vdso]":
                with open("/proc/self/mem", "rb") as memory:
                    memory.seek(mapping.start)
                    return ElfSymbols("[vdso]", memory.read(mapping.end - mapping.start))
    except (OSError, EbpfError):
        pass
    return None


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
    rows: list[tuple[int, int, str]] = []
    for path in _map_files(pid):
        try:
            stat = os.stat(path)
            rows = _generated_symbols(path, stat.st_mtime_ns, stat.st_size)
            break
        except OSError:
            continue
    index = bisect_right(rows, (address, 1 << 63, "")) - 1
    if index >= 0 and address < rows[index][0] + rows[index][1]:
        return rows[index][2], address - rows[index][0]
    return "", 0


def _map_files(pid: int) -> list[str]:
    """Where the process may have put it: under its own root, by its number in there (containers), or ours."""
    try:
        with open(f"/proc/{pid}/status") as file:
            inner = next((line.split()[-1] for line in file if line.startswith("NSpid:")), str(pid))
    except OSError:
        return [f"/tmp/perf-{pid}.map"]
    return [f"/proc/{pid}/root/tmp/perf-{inner}.map", f"/tmp/perf-{pid}.map"]


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
    """A C++ or Rust symbol's name as its author wrote it; any other as it is."""
    if not name.startswith(("_Z", "_R")):
        return name
    if (rust := rust_name(name)) is not None:
        return rust
    demangle = _demangler()
    return (demangle(name.encode()) if demangle is not None else None) or name
