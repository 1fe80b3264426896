"""Where in a file a probe goes: by symbol, by virtual address, or by the offset itself."""

from __future__ import annotations

from typing import NamedTuple

from ebpf.binaries.find import find_binary
from ebpf.binaries.symbols import elf_symbols
from ebpf.errors import TargetNotFound


class Place(NamedTuple):
    """``offset`` bytes into the file ``path``; ``text`` names it: ``"/usr/bin/x:main+0x4"``."""

    path: str
    offset: int
    text: str


def locate(binary: str, *, symbol: str | None = None, address: int | None = None, offset: int = 0,
           pid: int | None = None) -> Place:
    """The function ``symbol`` (+ ``offset``) of ``binary``, its virtual ``address``, or just the ``offset`` in it.

    ``binary`` is a path, a library's short name (``"c"``) or a program on PATH, as process ``pid`` would find it.
    `TargetNotFound` if there is no such file, function or address.
    """
    path = find_binary(binary, pid)
    if symbol is not None:
        place = elf_symbols(path).find(symbol).offset + offset
        return Place(path, place, f"{path}:{symbol}" + (f"+{offset:#x}" if offset else ""))
    if address is not None:
        in_file = elf_symbols(path).file_offset(address)
        if in_file is None:
            raise TargetNotFound(f"{path} has nothing at address {address:#x}", name=f"{address:#x}")
        return Place(path, in_file + offset, f"{path}:{address + offset:#x}")
    return Place(path, offset, f"{path}+{offset:#x}")
