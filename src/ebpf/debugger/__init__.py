"""`ebpf.debug`: a program that stands still, to be looked at and moved on (docs/debugger.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.debugger.debugger import Debugger as Debugger, debug as debug
    from ebpf.debugger.places import Breakpoint as Breakpoint

__all__ = ["Breakpoint", "Debugger", "debug"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = "places" if name == "Breakpoint" else "debugger"
    value: object = getattr(import_module(f"ebpf.debugger.{home}"), name)
    globals()[name] = value
    return value
