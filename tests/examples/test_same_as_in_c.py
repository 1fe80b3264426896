"""The examples that are Python functions do what their C versions do, and need no more instructions for it."""

from __future__ import annotations

import pytest

from ebpf.testing import Rig
from tests.examples.events import EVENTS, both

MOST = 1.1
"""How much more than C's a program in Python may execute."""
OPTIONS = {"balancer": {"variables": {"virtual": 0xCB007101}}}


def prepare(rig: Rig) -> None:
    """Entries that programs look for."""
    if "syscalls" in rig.maps:
        rig.maps["syscalls"][56] = {"calls": 0}
    elif "networks" in rig.maps:
        for network in ("10.0.0.0/8", "192.0.2.7", "192.0.2.128/25"):
            rig.maps["networks"][network] = 0
        rig.maps["ports"][25] = 1
    elif "backends" in rig.maps:
        for i in range(3):
            rig.maps["backends"][i] = {"address": 0x01010101 * (i + 1), "mac": [2, 0, 0, 0, 0, i]}
        rig.variables["count"] = 3


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_same_as_in_c(name: str) -> None:
    (ours, ours_cost), (theirs, theirs_cost) = both(name, prepare, **OPTIONS.get(name, {}))
    assert ours == theirs
    assert ours.records or ours.printed or any(ours.maps.values()), "something came of it"
    assert set(ours_cost) == set(theirs_cost)
    for program, cost in ours_cost.items():
        assert cost.calls <= theirs_cost[program].calls, f"{program} calls more helpers than in C"
        assert cost.instructions <= MOST * theirs_cost[program].instructions, program
