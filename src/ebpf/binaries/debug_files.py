"""Where the symbols of stripped files are: compressed in a section of their own, or in a file beside them.

Distributions strip what they install. Fedora leaves the names of functions in ``.gnu_debugdata`` (a whole ELF file,
xz); Debian puts all of them into packages of debug files, found by build id, or by the name in ``.gnu_debuglink``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ebpf.binaries.elf import Binary
from ebpf.errors import ElfError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = "/usr/lib/debug"
_MOST_BYTES: Final = 256 << 20


def iter_symbol_files(binary: Binary, root: str = ROOT) -> Iterator[Binary]:
    """What else has symbols of ``binary``; damaged or foreign files are passed over."""
    if (inside := minidebug(binary)) is not None:
        yield inside
    for path in _places(binary, root):
        try:
            found = Binary(path)
        except (TargetNotFound, ElfError):
            continue
        if found.machine == binary.machine and (not binary.build_id or found.build_id == binary.build_id):
            yield found
            return


def minidebug(binary: Binary) -> Binary | None:
    """The ELF file in ``.gnu_debugdata``; None without one."""
    section = next((s for s in binary.sections if s.name == ".gnu_debugdata"), None)
    if section is None:
        return None
    import lzma

    try:
        data = lzma.LZMADecompressor().decompress(binary.contents(section), _MOST_BYTES)
        return Binary(binary.path, data)
    except (lzma.LZMAError, ElfError):
        return None


def _places(binary: Binary, root: str) -> Iterator[str]:
    try:
        identity = binary.build_id.hex()
    except ElfError:
        identity = ""
    if len(identity) > 2:
        yield f"{root}/.build-id/{identity[:2]}/{identity[2:]}.debug"
    link = next((s for s in binary.sections if s.name == ".gnu_debuglink"), None)
    if link is None:
        return
    name = binary.contents(link).partition(b"\0")[0].decode(errors="replace")
    folder = os.path.dirname(os.path.realpath(binary.path))
    if name and "/" not in name:
        for place in (f"{folder}/{name}", f"{folder}/.debug/{name}", f"{root}{folder}/{name}"):
            if not _same(place, binary.path):
                yield place


def _same(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False
