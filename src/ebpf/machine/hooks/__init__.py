"""A machine's programs on the events of a traced command: `Hooks` attaches by the names that a kernel's hooks have."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.machine.hooks.hooks import Hooks, MachineLink

__all__ = ["Hooks", "MachineLink"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from ebpf.machine.hooks import hooks

        return getattr(hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
