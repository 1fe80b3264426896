"""The front door's classes: compile, open, load; `Session`, `Program`, `Map`, `Link`, event streams; `host`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.session.backend import Link
    from ebpf.session.build import compile_source as compile, open_object as open
    from ebpf.session.choice import use
    from ebpf.session.events import EventStream
    from ebpf.session.host import Host, host
    from ebpf.session.maps import Map
    from ebpf.session.programs import Program
    from ebpf.session.session import Session, load

__all__ = ["EventStream", "Host", "Link", "Map", "Program", "Session", "compile", "host", "load", "open",
           "use"]

_HOMES = {
    "EventStream": ("ebpf.session.events", "EventStream"),
    "Host": ("ebpf.session.host", "Host"),
    "Link": ("ebpf.session.backend", "Link"),
    "Map": ("ebpf.session.maps", "Map"),
    "Program": ("ebpf.session.programs", "Program"),
    "Session": ("ebpf.session.session", "Session"),
    "compile": ("ebpf.session.build", "compile_source"),
    "host": ("ebpf.session.host", "host"),
    "load": ("ebpf.session.session", "load"),
    "open": ("ebpf.session.build", "open_object"),
    "use": ("ebpf.session.choice", "use"),
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home[0]), home[1])
    globals()[name] = value
    return value
