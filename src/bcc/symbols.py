"""Addresses to names: the kernel's, and those of processes."""

from __future__ import annotations

from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_users: dict[bool, Any] = {}


def users(demangle: bool) -> Any:
    """What is known of processes' code, shared by all."""
    found = _users.get(demangle)
    if found is None:
        found = _users[demangle] = host.user_symbols(demangle)
    return found


def follow() -> None:
    """Remember what processes run, also those that end before somebody asks: for scripts that keep stacks."""
    for demangle in (True, False):
        if demangle in _users:
            return
    users(True).follow()


class SymbolCache:
    """The symbols of one process, or of the kernel (``pid`` < 0)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:
        """(name, offset into it, module); without a name the offset is into the module, without that the address."""
        if self.pid < 0:
            found = host.kernel_symbol(addr)
            if found is None:
                return None, addr, None
            return found[0].encode(), found[1], (found[2] or "kernel").encode()
        _, name, offset, path = users(demangle).resolve(self.pid, addr)
        if name:
            return name.encode(), offset, path.encode()
        file, place = users(demangle).place(self.pid, addr)
        return None, place, file.encode() or None

    def resolve_name(self, module: Any, name: bytes) -> int:
        """The address of a symbol; -1 if there is none."""
        if self.pid < 0:
            found = host.kernel_address(name.decode(errors="replace"))
        else:
            text = module.decode() if isinstance(module, bytes) else module
            found = users(False).address(self.pid, text, name.decode(errors="replace"))
        return -1 if found is None else found
