"""Budgets: what a program costs is the verifier's own account, and what exceeds it is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

import ebpf
from ebpf.testing import assert_budget, cost_of, load

TRAFFIC = Path(__file__).parent / "traffic.c"


def test_the_cost_is_what_the_verifier_counted() -> None:
    cost = cost_of(TRAFFIC, "fw")
    obj = ebpf.compile(TRAFFIC)
    verified = ebpf.verify(obj, "fw")
    assert cost == ("fw", len(obj.programs["fw"].code) // 8, verified.states, verified.insns_visited,
                    verified.stack_bytes, verified.paths)
    assert cost.instructions > 20 and cost.stack >= 8 and cost.paths > 1


def test_limits_that_hold_and_limits_that_do_not() -> None:
    with load(TRAFFIC) as rig:
        cost = cost_of(rig, "fw")
        assert assert_budget(rig, "fw", instructions=cost.instructions, stack=cost.stack) == cost
        with pytest.raises(AssertionError) as caught:
            assert_budget(rig, "fw", instructions=cost.instructions - 1, stack=cost.stack - 1, states=cost.states)
    text = str(caught.value)
    assert f"instructions: {cost.instructions}, at most {cost.instructions - 1} are allowed" in text
    assert "stack:" in text and "states" not in text


@pytest.mark.parametrize(("arguments", "words"), [
    ({"program": "fw", "instuctions": 4}, "not instuctions"),
    ({"program": "fw"}, "give one"),
    ({"instructions": 4}, "say which"),
])
def test_mistakes(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ebpf.UsageError) as caught:
        assert_budget(TRAFFIC, **arguments)  # type: ignore[arg-type]
    assert words in ebpf.format_error(caught.value)
