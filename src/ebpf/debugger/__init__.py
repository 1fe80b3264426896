"""`ebpf.debug`: a program that stands still, to be looked at and moved on (docs/debugger.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.debugger.debugger import Breakpoint as Breakpoint, Debugger as Debugger, debug as debug

__all__ = ["Breakpoint", "Debugger", "debug"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module("ebpf.debugger.debugger"), name)
    globals()[name] = value
    return value
