"""The Linux kernel: loading, maps, attaching, events. The parts are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.kernel.attach import KernelLink
    from ebpf.kernel.loader import KernelObject, load
    from ebpf.kernel.maps import KernelMap
    from ebpf.kernel.programs import KernelProgram

__all__ = ["KernelLink", "KernelMap", "KernelObject", "KernelProgram", "load"]

_HOMES = {"KernelLink": "attach", "KernelMap": "maps", "KernelObject": "loader", "KernelProgram": "programs",
          "load": "loader"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
