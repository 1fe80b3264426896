"""Memory that the caller of an event fills: what the pointers among its arguments lead to.

``place("/etc/passwd")`` gives an address where programs find that text, NUL at its end, by whichever probe read they
use, as on a machine where one address space holds both. `user` and `kernel` are strict: a program that reads one kind
with the helper of the other fails there as it would in a kernel.
"""

from __future__ import annotations

from errno import EFAULT
from typing import TYPE_CHECKING

from ebpf.errors import NotSupported, UsageError
from ebpf.machine.memory import LAST_LOW_WINDOW, OFFSET_MASK, SHIFT, WINDOW_BYTES

if TYPE_CHECKING:
    from ebpf.machine.memory import AddressSpace

_FIRST_WINDOW = LAST_LOW_WINDOW + 1
_LAST_WINDOW = (1 << 47 - SHIFT) - 1  # above, no process has memory


class PlacedMemory:
    """A `TracedMemory` of buffers that were placed in it. `forget` removes those of an event."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._next = _FIRST_WINDOW
        self._buffers: dict[int, bytearray] = {}
        self._kernel: list[int] = []

    def place(self, data: bytes | str) -> int:
        """Where ``data`` is from now on, for reads of user and of kernel memory. Text ends with a NUL."""
        address = self.user(data)
        window = address >> SHIFT
        self._space.readable[window] = self._buffers[window]
        return address

    def user(self, data: bytes | str) -> int:
        """The same as memory of the process: only reads of user memory find it."""
        if self._space.native:
            raise NotSupported("memory behind the pointers of an event, in native code", who="the userspace machine",
                               instead='engine="interpreter"')
        window, self._next = self._next, self._next % _LAST_WINDOW + 1
        self._next = max(self._next, _FIRST_WINDOW)
        self._buffers[window] = _buffer(data)
        return window << SHIFT

    def kernel(self, data: bytes | str) -> int:
        """The same as memory of the kernel: reads of user memory do not find it."""
        address = self._space.add(_buffer(data), "memory that the event brought", writable=False)
        self._kernel.append(address >> SHIFT)
        return address

    def forget(self) -> None:
        """Nothing of it is there any more."""
        for window in (*self._buffers, *self._kernel):
            self._space.hide(window)
        self._buffers.clear()
        self._kernel.clear()

    def read(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes; `OSError` where nothing was placed."""
        buffer = self._buffers.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if buffer is None or at + size > len(buffer):
            raise OSError(EFAULT, f"nothing was placed at {address:#x}")
        return bytes(buffer[at:at + size])

    def write(self, address: int, data: bytes) -> None:
        """Store ``data``; `OSError` where it has no place."""
        buffer = self._buffers.get(address >> SHIFT)
        at = address & OFFSET_MASK
        if buffer is None or at + len(data) > len(buffer):
            raise OSError(EFAULT, f"nothing was placed at {address:#x}")
        buffer[at:at + len(data)] = data


def _buffer(data: bytes | str) -> bytearray:
    raw = data.encode() + b"\0" if isinstance(data, str) else bytes(data)
    if len(raw) > WINDOW_BYTES:
        raise UsageError(f"{len(raw)} bytes behind one pointer: at most 16 MiB are possible")
    return bytearray(raw)
