"""The userspace machine: eBPF programs without a kernel and without privilege.

>>> from ebpf import isa, machine
>>> machine.run_raw(isa.encode(isa.assemble("r0 = *(u8 *)(r1 +1)\\nr0 += r2\\nexit")), b"\\x01\\x02")
4

`Machine` takes a whole `ebpf.object.Object`: its maps, its programs, events that are fired at them. `run_raw` runs bare
instructions. Programs are verified, then interpreted with every access checked (`MachineFault`), or compiled to native
code (``engine="jit"``).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.machine.environment import Clock, Environment, Redirect, Route, Task, TracedMemory
    from ebpf.machine.interpreter import Program
    from ebpf.machine.machine import Machine, Run
    from ebpf.machine.maps import MachineMap, MapShape, create_map
    from ebpf.machine.raw import RawProgram, run_raw
    from ebpf.machine.stepper import Stepper

__all__ = [
    "Clock",
    "Environment",
    "Machine",
    "MachineMap",
    "MapShape",
    "Program",
    "RawProgram",
    "Redirect",
    "Route",
    "Run",
    "Stepper",
    "Task",
    "TracedMemory",
    "create_map",
    "run_raw",
]

_PLACES = {"Machine": "machine", "Run": "machine", "MachineMap": "maps", "MapShape": "maps", "create_map": "maps",
           "RawProgram": "raw", "run_raw": "raw", "Stepper": "stepper", "Program": "interpreter"}


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"ebpf.machine.{_PLACES.get(name, 'environment')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
