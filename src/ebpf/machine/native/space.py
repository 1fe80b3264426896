"""The address space of `ebpf.machine.memory` over real addresses: what Python sees when programs run natively.

A buffer that is shown is where it is; nothing is copied. Contexts hold the packet's address in 32 bits
(``ctx->data``), so packets lie below 4 GiB, in memory that is asked for there: then ``ctx`` is read as it stands, by
native code and by helpers, and no instruction has to be rewritten. (The other way, 64-bit addresses put into each load
by the verifier's facts, would have to be done again in every helper that hands the context on.)

Maps without a native form know their values by window numbers: `real` tells where such a window's buffer is.
"""

from __future__ import annotations

import ctypes
import weakref
from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any

from ebpf.errors import MachineFault, NotSupported
from ebpf.machine.memory import FIRST_WINDOW, OFFSET_MASK, SHIFT, WINDOW_BYTES, AddressSpace
from ebpf.machine.native.loader import libc

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.memory import Buffer

M64 = (1 << 64) - 1
_LOW_BYTES = 1 << 18  # of one packet: 64 KiB, headroom, and what it may grow by
_PROT_RW, _HOW = 3, 0x02 | 0x20 | 0x100000  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
# Frames of a program lie near its outermost one; those of a callback below Python's own. Only addresses that the
# verifier has proven may be as far away as that: a number that is probed must not lead to where no stack is (yet).
_FRAMES_NEAR, _FRAMES_FAR, _FRAMES_ABOVE = 16 << 10, 4 << 20, 2 << 10


class LowMemory:
    """Blocks below 4 GiB, used again when nobody refers to them."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0x1000_0000

    def buffer(self, size: int) -> memoryview:
        """``size`` zero bytes; memory goes back when the last view of it is gone."""
        if size > _LOW_BYTES:
            raise MachineFault(f"a packet of {size} bytes: there is no room for that")
        address = self._free.pop() if self._free else self._map()
        ctypes.memset(address, 0, size)
        array = (ctypes.c_ubyte * size).from_address(address)
        weakref.finalize(array, self._free.append, address).atexit = False
        return memoryview(array).cast("B")

    def _map(self) -> int:
        # No MAP_32BIT: only x86-64 has it, and only for the lower 2 GiB. Addresses are tried one after the other.
        for _ in range(4096):
            wanted = self._next
            self._next += _LOW_BYTES
            if self._next > 0xF000_0000:
                break
            found = libc().mmap(wanted, _LOW_BYTES, _PROT_RW, _HOW, -1, 0)
            if found == wanted:
                return wanted
            if found not in (None, M64):  # a kernel before 4.17 takes the address for a hint
                libc().munmap(found, _LOW_BYTES)
        raise NotSupported("memory below 4 GiB for packets", who="this process", instead='engine="interpreter"')


_low = LowMemory()


class NativeSpace(AddressSpace):
    """See the module's text."""

    __slots__ = ("_at", "_maps", "_owned", "_places", "_sorted", "state", "top")

    native = True

    def __init__(self) -> None:
        super().__init__()
        self._at: dict[int, int] = {}  # window → address
        self._places: dict[int, tuple[int, object, bool]] = {}  # address → size, pin, writable
        self._sorted: list[int] = []
        self._owned: list[tuple[int, int, Callable[[int, int], bool]]] = []
        self._maps: set[int] = set()
        self.state: object = None  # `program.State`
        self.top: Callable[[], int] = lambda: 0  # an address in the outermost frame of the program that runs

    # ---- windows ----

    def show(self, window: int, buffer: Buffer, *, writable: bool = True, readable: bool = True) -> int:
        size = len(buffer)
        if not size:
            return 0
        self.hide(window)
        pin = ctypes.c_char.from_buffer(buffer)  # as long as it is shown, nobody can make the buffer move
        address = ctypes.addressof(pin)
        for n in range(0, size, WINDOW_BYTES):
            self._at[window + (n >> SHIFT)] = address + n
        if address not in self._places:
            insort(self._sorted, address)
        self._places[address] = size, pin, writable
        return address

    def hide(self, window: int) -> None:
        address = self._at.pop(window, None)
        if address is not None and self._places.pop(address, None) is not None:
            del self._sorted[bisect_right(self._sorted, address) - 1]

    def packet_buffer(self, size: int) -> Buffer:
        return _low.buffer(size)

    def own(self, address: int, size: int, inside: Callable[[int, int], bool]) -> None:
        """Memory that is not shown by windows: ``inside(offset, size)`` says whether an access is good."""
        self._owned.append((address, size, inside))

    def own_map(self, map: Any) -> None:
        """The memory of a native map: its values, each by itself."""
        if map.native in self._maps:
            return
        self._maps.add(map.native)
        header = map.block.header
        start: int = map.native
        stride: int = header.stride
        step: int = header.cpu_stride
        size: int = map.value_size
        first: int = header.values - start

        def inside(offset: int, length: int) -> bool:
            if not first or not stride:
                return True  # a ring buffer: its block
            at = offset - first
            for unit in sorted((stride, step), reverse=True):
                if unit:
                    at %= unit
            return offset >= first and at + length <= size

        self.own(start, header.bytes, inside)

    def size_at(self, address: int) -> int:
        """How long the buffer is that begins at ``address``; 0: none does."""
        found = self._places.get(address)
        return 0 if found is None else found[0]

    def real(self, address: int) -> int:
        """The address of what a map without native form gave."""
        window = address >> SHIFT
        if window < FIRST_WINDOW:
            return address
        found = self._at.get(window)
        return address if found is None else found + (address & OFFSET_MASK)

    # ---- what is whose ----

    def allows(self, address: int, size: int, access: str = "read", *, frames: bool = True,
               below: int = _FRAMES_NEAR) -> bool:
        """Whether all of it is memory of the machine's own that may be accessed so; ``frames``: or of the stack, as far
        as ``below`` bytes under the outermost frame."""
        at = bisect_right(self._sorted, address) - 1
        if at >= 0:
            start = self._sorted[at]
            length, _, writable = self._places[start]
            if address + size <= start + length:
                return writable or access == "read"
        for start, length, inside in self._owned:
            if start <= address and address + size <= start + length:
                return inside(address - start, size)
        top = self.top() if frames else 0
        return bool(top) and top - below <= address and address + size <= top + _FRAMES_ABOVE

    def holds(self, address: int) -> bool:
        return self.allows(address, 1)

    # ---- bytes, for helpers and the user: addresses that the verifier has proven good ----

    def read(self, address: int, size: int) -> bytes:
        if not size:
            return b""
        self._check(address, size, "read")
        return ctypes.string_at(address, size)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        size = len(data)
        if size:
            self._check(address, size, "write")
            ctypes.memmove(address, bytes(data), size)

    def clear(self, address: int, size: int) -> None:
        if size:
            self._check(address, size, "write")
            ctypes.memset(address, 0, size)

    def rest(self, address: int, limit: int) -> bytes | None:
        if self.allows(address, limit):
            return ctypes.string_at(address, limit)
        size = 0
        while size < limit and self.allows(address + size, 1):
            size += 1
        return ctypes.string_at(address, size) if size else None

    def _check(self, address: int, size: int, access: str) -> None:
        # Whatever a helper was told, a pointer that is none must not end the process.
        if not self.allows(address, size, access, below=_FRAMES_FAR):
            raise self.fault(address, size, access)

    def fault(self, address: int, size: int, access: str) -> MachineFault:
        address &= M64
        why = ("that is NULL" if not address else "that is a NULL pointer with an offset") if address < 4096 else \
            "that is no memory of the machine's"
        return MachineFault(f"{access} of {size} bytes at {address:#x}: {why}", address=address, access=access,
                            size=size)
