"""Arenas (Linux 6.9): memory that programs and this process share, page by page.

A pointer into an arena has one value for both sides: our address of the byte. So an arena is mapped here before the
programs that use it are loaded, at the address its definition asks for (``map_extra``) or anywhere. A page that
neither side has touched comes into being when we touch it, and reads as zeros (BPF_F_SEGV_ON_FAULT: it kills us
instead; then only what programs have allocated may be read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.errors import UsageError
from ebpf.kernel.sys import PAGE_SIZE, Mapping

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap


class Arena:
    """The memory of one arena; ``view`` is all of it, ``address`` where it begins."""

    __slots__ = ("_mapping", "address", "map", "size", "view")

    def __init__(self, map: KernelMap, address: int = 0) -> None:
        self.map = map
        self.size = map.max_entries * PAGE_SIZE
        self._mapping = Mapping(map.fileno(), self.size, writable=True, address=address)
        self.address = self._mapping.address
        self.view = self._mapping.view

    def offset_of(self, pointer: int, size: int = 1) -> int:
        """Where in `view` a pointer of a program leads. Programs keep its lower half where they hold it in 32 bits.

        `UsageError` if it, or one of the ``size`` bytes there, is outside.
        """
        offset = (pointer - self.address) & 0xFFFFFFFF if pointer < 1 << 32 else pointer - self.address
        if not 0 <= offset <= self.size - size:
            raise UsageError(f"{pointer:#x} is no address in arena {self.map.name!r}, which lies at {self.address:#x} "
                             f"and has {self.size} bytes")
        return offset

    def read(self, pointer: int, size: int) -> bytes:
        """A copy of ``size`` bytes that a program's pointer leads to."""
        offset = self.offset_of(pointer, size)
        return bytes(self.view[offset:offset + size])

    def write(self, pointer: int, data: bytes) -> None:
        """Put bytes where a program's pointer leads."""
        offset = self.offset_of(pointer, len(data))
        self.view[offset:offset + len(data)] = data

    def close(self) -> None:
        """Unmap it; programs go on. Not to be done while views of it are in use."""
        self.view = memoryview(b"")
        self._mapping.close()
