"""From a name to a file: programs and shared libraries of this system, or of a process (containers)."""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.binaries.mappings import iter_mappings
from ebpf.diagnostics import did_you_mean
from ebpf.errors import TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence


def find_binary(name: str, pid: int | None = None) -> str:
    """The file meant by `name`: a path, a library's short name (``c`` → libc.so.6), or a program on PATH.

    With a `pid`, libraries that process has mapped come first, seen through its own root (containers).
    """
    if "/" in name:
        inside = f"/proc/{pid}/root{name}"  # the file as that process sees it, in a container
        if pid is not None and name.startswith("/") and os.path.exists(inside) and not _same_file(name, inside):
            return inside
        if os.path.exists(name):
            return name
        raise TargetNotFound(f"no file {name}", name=name)
    if pid is not None:
        mapped = _mapped_library(name, pid)
        if mapped:
            return mapped
    library = find_library(name)
    if library:
        return library
    import shutil

    program = shutil.which(name)
    if program:
        return os.path.realpath(program)
    known = sorted({lib.removeprefix("lib").partition(".so")[0] for lib, _ in _ld_cache()})
    similar = did_you_mean(name, known)
    raise TargetNotFound(f"no library and no program called {name!r}", name=name, similar=similar,
                         helps=(f"similar libraries: {', '.join(similar)}",) if similar else
                         ("give the path of the file",))


def find_library(name: str) -> str | None:
    """The file of library `name` (``c``, ``libc``, ``libc.so.6``) as the dynamic linker would find it; None if
    absent.
    """
    folders = [f for f in os.environ.get("LD_LIBRARY_PATH", "").split(":") if f]
    for soname, path in _ld_cache():
        if _is_library(soname, name) and os.path.exists(path):
            return os.path.realpath(path)
    machine = os.uname().machine
    folders += [f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/lib",
                "/usr/lib", "/usr/local/lib"]
    for folder in folders:
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for entry in entries:
            if _is_library(entry, name):
                return os.path.realpath(os.path.join(folder, entry))
    return None


def _is_library(file: str, name: str) -> bool:
    if file == name:
        return ".so" in name
    stem = name if name.startswith("lib") else f"lib{name}"
    return file.startswith(stem + ".so") or (file.startswith(stem + "-") and file.endswith(".so"))


def mapped_files(pid: int) -> list[str]:
    """Files of which process `pid` has mapped code, as seen from here: through its own root if that is another.

    `TargetNotFound` if there is no such process, or it may not be looked at.
    """
    try:
        paths = sorted({mapping.path for mapping in iter_mappings(pid, code=True) if mapping.path[0] == "/"})
    except OSError as error:
        gone = isinstance(error, (FileNotFoundError, ProcessLookupError))
        raise TargetNotFound(f"there is no process {pid} (any more)" if gone else
                             f"process {pid}: {os.strerror(error.errno or 0)}", name=str(pid)) from None
    seen = [(path, f"/proc/{pid}/root{path}") for path in paths]
    return [path if _same_file(path, inside) else inside for path, inside in seen]


def _mapped_library(name: str, pid: int) -> str | None:
    try:
        files = mapped_files(pid)
    except TargetNotFound:
        return None
    return next((path for path in files if _is_library(os.path.basename(path), name)), None)


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


@lru_cache(maxsize=1)
def _ld_cache() -> Sequence[tuple[str, str]]:
    """(soname, path) pairs of /etc/ld.so.cache for this machine's word size (glibc's "new" format, 1.1)."""
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            data = file.read()
    except OSError:
        return ()
    magic = b"glibc-ld.so.cache1.1"
    start = data.find(magic)
    if start < 0:
        return ()
    try:
        count, _ = struct.unpack_from("=II", data, start + len(magic))
        found = []
        for index in range(count):
            flags, key, value, _, hwcap = struct.unpack_from("=iIIIQ", data, start + 48 + index * 24)
            # 0x0300 x86-64, 0x0a00 aarch64, …: the ABI byte; plain 0x03 is 32-bit x86 on a 64-bit machine
            if struct.calcsize("P") == 8 and not flags & 0xFF00:
                continue
            if hwcap:
                continue  # a variant for particular CPUs
            name = data[start + key:data.index(b"\0", start + key)].decode(errors="replace")
            path = data[start + value:data.index(b"\0", start + value)].decode(errors="replace")
            found.append((name, path))
        return found
    except (struct.error, ValueError):
        return ()
