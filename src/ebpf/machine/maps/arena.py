"""``arena``: memory that programs and the user share, in pages (kernel/bpf/arena.c).

A kernel has two addresses for each byte of it, one for programs and one for the user, and programs cast between them.
Here there is one: casts leave pointers as they are, and `Arena.offset_of` and `Arena.memory` are the user's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.errors import UsageError
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, check_size
from ebpf.machine.memory import WINDOW_BYTES

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

PAGE_BYTES = 4096


class Arena(MachineMap):
    """``max_entries`` pages; `allocate` and `free` are bpf_arena_alloc_pages and bpf_arena_free_pages."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        size = shape.max_entries * PAGE_BYTES
        check_size(shape.name, size)
        #: all of it, pages that nobody allocated too: zeros
        self.memory = memoryview(bytearray(size))
        self._pages: set[int] = set()
        window = self.space.reserve(f"arena {shape.name}", -(-size // WINDOW_BYTES))
        #: where programs see it
        self.base = self.space.show(window, self.memory)

    def allocate(self, address: int, count: int) -> int:
        """The address of ``count`` pages in a row, from ``address`` on unless that is 0; 0 if there are none."""
        if not count or count > self.max_entries or address % PAGE_BYTES:
            return 0
        if address:
            starts = range(self.offset_of(address) // PAGE_BYTES, self.offset_of(address) // PAGE_BYTES + 1)
        else:
            starts = range(self.max_entries - count + 1)
        for start in starts:
            pages = range(start, start + count)
            if pages[-1] < self.max_entries and self._pages.isdisjoint(pages):
                self._pages.update(pages)
                return self.base + start * PAGE_BYTES
        return 0

    def free(self, address: int, count: int) -> None:
        """Pages are given back, and zero when they are allocated again."""
        first = self.offset_of(address) // PAGE_BYTES
        for page in range(first, min(first + count, self.max_entries)):
            if page in self._pages:
                self._pages.remove(page)
                self.memory[page * PAGE_BYTES:(page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)

    @property
    def view(self) -> memoryview:
        """The same as `memory`."""
        return self.memory

    def read(self, pointer: int, size: int) -> bytes:
        """A copy of ``size`` bytes that a program's pointer leads to."""
        offset = self.offset_of(pointer, size)
        return bytes(self.memory[offset:offset + size])

    def write(self, pointer: int, data: bytes) -> None:
        """Put bytes where a program's pointer leads."""
        offset = self.offset_of(pointer, len(data))
        self.memory[offset:offset + len(data)] = data

    def offset_of(self, address: int, size: int = 1) -> int:
        """Where in `memory` a program's pointer leads; `UsageError` if it (or one of ``size`` bytes) leads elsewhere.
        """
        offset = address - self.base
        if not 0 <= offset <= len(self.memory) - size:
            raise UsageError(f"{address:#x} is no address in arena {self.name!r}")
        return offset

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -ENOTSUPP

    def user_lookup(self, key: bytes) -> bytes | int:
        return -ENOTSUPP
