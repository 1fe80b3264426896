"""What a program costs: its instructions, and what a verifier has to do with it."""

from __future__ import annotations

from typing import Any, NamedTuple

import ebpf
from ebpf import UsageError
from ebpf.testing.rig import Rig
from ebpf.testing.sources import open_source


class Cost(NamedTuple):
    """Of one program."""

    program: str
    instructions: int  #: slots of the whole program, with the functions that it calls (a wide load takes two)
    states: int  #: that the verifier kept
    visited: int  #: instructions that the verifier went through; a kernel gives up at 1,000,000
    stack: int  #: bytes, of all frames of the deepest call
    paths: int  #: that the verifier followed


#: what a budget may limit
LIMITS = ("instructions", "states", "visited", "stack", "paths")


def cost_of(source: Any, program: str | None = None, **compile: Any) -> Cost:
    """The cost of ``program`` (may be left out if there is one) of ``source``: a `Rig`, or what `load` takes.

    By our own verifier, without any kernel, so that it is the same everywhere.
    """
    if isinstance(source, Rig):
        source, compile = source.origin
    with ebpf.coverage.paused():  # what counts for coverage is no part of the program
        obj = open_source(source, compile).obj
    if program is None:
        if len(obj.programs) != 1:
            raise UsageError(f"{obj.name} has {len(obj.programs)} programs: say which",
                             helps=tuple(f"program={name!r}" for name in obj.programs))
        program = next(iter(obj.programs))
    verified = ebpf.verify(obj, program)
    return Cost(program, len(verified.reached), verified.states, verified.insns_visited, verified.stack_bytes,
                verified.paths)


def assert_budget(source: Any, program: str | None = None, **limits: int) -> Cost:
    """Assert that a program costs at most ``instructions=``, ``states=``, ``visited=``, ``stack=`` bytes, ``paths=``::

        assert_budget(firewall, "ingress", instructions=400, stack=64)

    Gives the cost. `AssertionError` lists every limit that is exceeded; `UsageError` for an unknown one.
    """
    unknown = [name for name in limits if name not in LIMITS]
    if unknown or not limits:
        raise UsageError(f"a budget limits {', '.join(LIMITS)}" + (f", not {unknown[0]}" if unknown else ": give one"))
    cost = cost_of(source, program)
    over = [f"{name}: {getattr(cost, name):,}, at most {limit:,} are allowed"
            for name, limit in limits.items() if getattr(cost, name) > limit]
    if over:
        raise AssertionError(f"{cost.program} exceeds its budget\n" + "\n".join(f"  {line}" for line in over))
    return cost
