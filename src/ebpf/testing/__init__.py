"""Unit tests for eBPF programs: packets and events in, verdicts, maps and events out. No kernel, no privilege needed.

With pytest the fixtures are there as soon as this package is installed (`ebpf_machine`, `ebpf_kernel`, `ebpf_backend`);
elsewhere `load` gives the same::

    from ebpf.testing import load

    with load("firewall.c") as firewall:
        assert firewall.send(packet) == "XDP_DROP"

Nothing here imports what only Linux has before a test asks for it; names are resolved when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.testing.budget import Cost as Cost, assert_budget as assert_budget, cost_of as cost_of
    from ebpf.testing.clock import FrozenClock as FrozenClock
    from ebpf.testing.rig import Rig as Rig, load as load
    from ebpf.testing.verdict import Verdict as Verdict

_HOME_OF = {
    "Cost": "budget", "assert_budget": "budget", "cost_of": "budget",
    "FrozenClock": "clock",
    "Rig": "rig", "load": "rig",
    "Verdict": "verdict",
}
__all__ = ["Cost", "FrozenClock", "Rig", "Verdict", "assert_budget", "cost_of", "load"]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"ebpf.testing.{home}"), name)
    globals()[name] = value
    return value
