"""The machine's address space: 64-bit addresses in, checked bytes out.

An address is a *window* number in its upper 40 bits and an offset in its lower 24. A window shows one buffer from its
first byte, so that a Python buffer's own bounds are the bounds of the access: what is not shown cannot be touched, and
checking costs one dictionary look-up. Neighbouring windows never touch (a buffer ends long before the next window
begins), so that a step past either end of a stack frame, a map's value or a packet finds nothing.

- windows 1 to 255 lie below 4 GiB: packets, whose addresses must fit 32-bit context fields (``ctx->data``)
- everything else lies in the upper half, where no user process has memory, so that probe reads can tell them apart

A buffer of more than 16 MiB takes several windows, each showing the rest of it. Windows are read through `readable` and
written through `writable`; a read-only buffer is missing in the second. Memory that a program may still hold pointers
to (a deleted map entry, as under RCU in the kernel) is *retired*: it goes when the running program has ended.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault

if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytearray | memoryview

SHIFT = 24
WINDOW_BYTES = 1 << SHIFT
OFFSET_MASK = WINDOW_BYTES - 1
FIRST_WINDOW = 1 << 39
LAST_LOW_WINDOW = 255


class AddressSpace:
    """Windows by number (see the module's text). `reserve` gives numbers, `show` puts a buffer behind one."""

    #: whether addresses are those of real memory
    native = False

    __slots__ = ("_low", "_next", "_reserved", "_retired", "_starts", "readable", "running", "writable")

    def __init__(self) -> None:
        self.readable: dict[int, Buffer] = {}
        self.writable: dict[int, Buffer] = {}
        self.running = 0  # programs that run now (nested runs count)
        self._next = FIRST_WINDOW
        self._low = 0
        self._starts: list[int] = []
        self._reserved: list[tuple[int, str]] = []
        self._retired: list[tuple[int, Callable[[int], object]]] = []

    # ---- windows ----

    def reserve(self, name: str, count: int = 1) -> int:
        """The first of ``count`` consecutive window numbers, nothing behind them yet; ``name`` is for messages."""
        start = self._next
        self._next += count + 1  # one stays empty
        self._starts.append(start)
        self._reserved.append((count, name))
        return start

    def reserve_low(self) -> int:
        """A window below 4 GiB. They are used in turn, so that pointers to earlier packets lead nowhere for long."""
        self._low = self._low % LAST_LOW_WINDOW + 1
        return self._low

    def show(self, window: int, buffer: Buffer, *, writable: bool = True, readable: bool = True) -> int:
        """Put ``buffer`` behind ``window`` (and the following ones, if it is large); its address."""
        view: Buffer = buffer
        at = window
        while True:
            if readable:
                self.readable[at] = view
            if writable:
                self.writable[at] = view
            if len(view) <= WINDOW_BYTES:
                return window << SHIFT
            view = memoryview(view)[WINDOW_BYTES:]
            at += 1

    def hide(self, window: int) -> None:
        """Nothing is behind ``window`` any more."""
        self.readable.pop(window, None)
        self.writable.pop(window, None)

    def add(self, buffer: Buffer, name: str, *, writable: bool = True, readable: bool = True) -> int:
        """Show a buffer in windows of its own; its address."""
        window = self.reserve(name, max(1, -(-len(buffer) // WINDOW_BYTES)))
        return self.show(window, buffer, writable=writable, readable=readable)

    def packet_buffer(self, size: int) -> Buffer:
        """Zeroed memory for a packet; what is shown of it has an address below 4 GiB."""
        return bytearray(size)

    def real(self, address: int) -> int:
        """Where the memory at ``address`` is, for those who use it; here that is nobody."""
        return address

    def holds(self, address: int) -> bool:
        """Whether ``address`` is one of the machine's own, not of a process that it traces."""
        window = address >> SHIFT
        return window >= FIRST_WINDOW or window in self.readable

    def own(self, address: int, size: int, inside: Callable[[int, int], bool]) -> None:
        """Memory without windows, where addresses are real: ``inside(offset, size)`` says whether an access is good."""
        raise NotImplementedError("only a native address space has memory without windows")

    def retire(self, window: int, then: Callable[[int], object]) -> None:
        """Hide ``window`` and call ``then(window)``, at once or when no program runs any more."""
        if self.running:
            self._retired.append((window, then))
        else:
            self.hide(window)
            then(window)

    def enter(self) -> None:
        """A program starts."""
        self.running += 1

    def leave(self) -> None:
        """A program has ended; after the outermost, retired windows go."""
        self.running -= 1
        if not self.running and self._retired:
            retired, self._retired = self._retired, []
            for window, then in retired:
                self.hide(window)
                then(window)

    def name_of(self, address: int) -> str | None:
        """What lies at (or just before or behind) ``address``, for messages; ``None``: nothing."""
        window = address >> SHIFT
        if 0 < window <= LAST_LOW_WINDOW:
            return "packet" if window in self.readable else None
        # A step back from a buffer's start ends at the end of the window before it.
        for candidate in (window, window + 1):
            at = bisect_right(self._starts, candidate) - 1
            if at >= 0:
                count, name = self._reserved[at]
                index = candidate - self._starts[at]
                if index < count:
                    return name
        return None

    # ---- bytes, for helpers and the user ----

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at ``address``; `MachineFault` unless all of them are readable."""
        if not size:
            return b""
        buffer = self.readable.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if buffer is None or at + size > len(buffer):
            raise self.fault(address, size, "read")
        return bytes(buffer[at:at + size])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store ``data`` at ``address``; `MachineFault` unless all of it is writable."""
        size = len(data)
        if not size:
            return
        buffer = self.writable.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if buffer is None or at + size > len(buffer):
            raise self.fault(address, size, "write")
        buffer[at:at + size] = data

    def clear(self, address: int, size: int) -> None:
        """Store ``size`` zeros; checked before they are made, since a size may be anything."""
        if size:
            buffer = self.writable.get(address >> SHIFT)
            at = address & OFFSET_MASK
            if buffer is None or at + size > len(buffer):
                raise self.fault(address, size, "write")
            buffer[at:at + size] = bytes(size)

    def rest(self, address: int, limit: int) -> bytes | None:
        """Up to ``limit`` readable bytes from ``address``; ``None`` if there is not even one."""
        buffer = self.readable.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if buffer is None or at >= len(buffer):
            return None
        return bytes(buffer[at:at + limit])

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes from ``address`` to the first NUL (not included) or the end of what is readable."""
        data = self.rest(address, limit)
        if data is None:
            raise self.fault(address, 1, "read")
        return data.partition(b"\0")[0]

    def fault(self, address: int, size: int, access: str) -> MachineFault:
        """The error for an access that the address space refuses, in words."""
        address &= (1 << 64) - 1
        name = self.name_of(address)
        buffer = self.readable.get(address >> SHIFT)
        if buffer is None:
            buffer = self.writable.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if address < 4096:
            why = "that is a NULL pointer with an offset" if address else "that is NULL"
        elif buffer is not None and at + size <= len(buffer):
            why = f"that memory ({name}) may not be {'written' if access == 'write' else 'read'}"
        elif buffer is not None:
            why = f"byte {at} of {name}, which has {len(buffer)} bytes"
        elif name is not None and at > OFFSET_MASK - 0x10000:
            why = f"{WINDOW_BYTES - at} bytes before {name}"
        elif name is not None:
            why = f"{name} has no memory there (any more)"
        else:
            why = "nothing is there"
        return MachineFault(f"{access} of {size} bytes at {address:#x}: {why}", address=address, region=name or "",
                            access=access, size=size)
