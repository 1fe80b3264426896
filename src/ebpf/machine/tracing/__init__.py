"""A command and all its children, traced without privilege: system calls, processes, uprobes, timers.

::

    with Tracer(["ls", "/"]) as tracer:
        tracer.probe(SyscallEnter(257), lambda event: print(event.task, event.arguments))
        tracer.release()
        while not tracer.ended:
            tracer.dispatch()
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.machine.tracing.events import (
        Event,
        Exec,
        Exit,
        Fork,
        Interval,
        Needs,
        Probe,
        Sample,
        SyscallEnter,
        SyscallExit,
        Uprobe,
        Uretprobe,
    )
    from ebpf.machine.tracing.tracer import Tracer

__all__ = ["Event", "Exec", "Exit", "Fork", "Interval", "Needs", "Probe", "Sample", "SyscallEnter", "SyscallExit",
           "Tracer", "Uprobe", "Uretprobe"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"ebpf.machine.tracing.{'tracer' if name == 'Tracer' else 'events'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
