"""A TCP congestion control whose functions are Python's, used by a connection of ours."""

from __future__ import annotations

from typing import Any

import pytest

import ebpf
from ebpf import linux, u32
from tests.kernel.congestion import known, transfer

NAME = "ebpf_pycreep"

started = ebpf.Global(u32, 0)
acknowledged = ebpf.Global(u32, 0)


@ebpf.struct_ops("tcp_congestion_ops.init", table=NAME)
def begin(ctx: Any, sk: Any) -> None:
    started.value += 1


@ebpf.struct_ops("tcp_congestion_ops.ssthresh", table=NAME)
def threshold(ctx: Any, sk: Any) -> int:
    return 2


@ebpf.struct_ops("tcp_congestion_ops.undo_cwnd", table=NAME)
def undo(ctx: Any, sk: Any) -> int:
    return ebpf.cast(linux.tcp_sock, sk).snd_cwnd  # type: ignore[no-any-return, attr-defined]


@ebpf.struct_ops("tcp_congestion_ops.cong_avoid", table=NAME)
def avoid(ctx: Any, sk: Any, ack: Any, acked: Any) -> None:
    acknowledged.value += 1
    tp = ebpf.cast(linux.tcp_sock, sk)
    if tp.snd_cwnd < 100:  # type: ignore[attr-defined]
        tp.snd_cwnd = tp.snd_cwnd + 1  # type: ignore[attr-defined]


@pytest.mark.kernel
def test_a_congestion_control_in_python() -> None:
    with ebpf.attach(begin, threshold, undo, avoid, backend="kernel") as session:
        assert NAME in known() and len(session.links) == 1
        transfer(NAME)
        assert started.value >= 1 and acknowledged.value > 3
    assert NAME not in known()


def test_mistakes() -> None:
    for target, more in (("tcp_congestion_ops.init", {}), ("tcp_congestion_ops", {"table": "x"}),
                         ("tcp_congestion_ops.init", {"table": "not a name"})):
        with pytest.raises(ebpf.UsageError, match="needs the kernel's struct"):
            ebpf.struct_ops(target, **more)
    wrong = ebpf.struct_ops("tcp_congestion_ops.sthresh", table="x")(threshold.function)
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.load(wrong, backend="machine")
    assert "did you mean `ssthresh`" in ebpf.format_error(caught.value)
    nothing = ebpf.struct_ops("tcp_congestion_op.ssthresh", table="x")(threshold.function)
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.load(nothing, backend="machine")
    assert "no struct `tcp_congestion_op`" in ebpf.format_error(caught.value)
    twice = ebpf.struct_ops("tcp_congestion_ops.ssthresh", table=NAME, name="twice")(threshold.function)
    with pytest.raises(ebpf.UsageError, match="are both tcp_congestion_ops.ssthresh"):
        ebpf.load([threshold, twice], backend="machine")
