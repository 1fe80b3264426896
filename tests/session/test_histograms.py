"""Histograms: buckets, edges, percentiles, drawings."""

from __future__ import annotations

import random

import pytest

import ebpf
from ebpf import Histogram


def test_buckets_of_powers_of_two() -> None:
    values = [0, 1, 1, 2, 3, 9, 1500]
    counts: dict[int, int] = {}
    for value in values:
        slot = max(value.bit_length() - 1, 0)
        counts[slot] = counts.get(slot, 0) + 1
    histogram = Histogram.powers(counts)
    assert histogram.counts == (3, 2, 0, 1, 0, 0, 0, 0, 0, 0, 1) and histogram.total == 7
    assert histogram.edges == (0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    assert str(histogram).splitlines()[0] == f"[0, 2)                 3 |{'@' * 52}|"
    assert "[1K, 2K)" in str(histogram) and "<table>" in histogram._repr_html_()


@pytest.mark.parametrize("make", [Histogram.powers, Histogram.log2,
                                  lambda counts: Histogram.linear(counts, 0, 100, 10)])
def test_an_empty_one(make) -> None:  # type: ignore[no-untyped-def]
    empty = make({})
    assert empty.counts == empty.edges == () and str(empty) == ""
    with pytest.raises(ebpf.UsageError, match="without values"):
        empty.percentile(50)


def test_edges_without_an_end() -> None:
    histogram = Histogram.linear({0: 1, 1: 2, 3: 4}, 0, 20, 10)
    assert histogram.edges == (float("-inf"), 0, 10, 20, float("inf")) and histogram.counts == (1, 2, 0, 4)
    assert histogram.percentile(0) == -1 and histogram.percentile(100) == 20


def test_percentiles_are_within_their_bucket() -> None:
    random.seed(1)
    values = sorted(random.randrange(1, 1 << 16) for _ in range(5000))
    counts: dict[int, int] = {}
    for value in values:
        counts[value.bit_length() - 1] = counts.get(value.bit_length() - 1, 0) + 1
    histogram = Histogram.powers(counts)
    for share in (1, 25, 50, 90, 99):
        true = values[len(values) * share // 100]
        assert abs(histogram.percentile(share) - true) <= true, share
    assert histogram.percentile(50) == pytest.approx(values[2500], rel=0.05), "evenly spread values"
    for share in (-1, 101):
        with pytest.raises(ebpf.UsageError, match="between 0 and 100"):
            histogram.percentile(share)


def test_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    histogram = Histogram.powers({0: 1, 2: 5})
    ax = histogram.plot(color="red")
    assert [bar.get_height() for bar in ax.patches] == [1, 0, 5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["[0, 2)", "[2, 4)", "[4, 8)"]
    assert histogram.plot(ax) is ax
    matplotlib.pyplot.close("all")


def test_a_map_of_slots(backend: str) -> None:
    text = """
    BPF_HISTOGRAM(slots); BPF_PERCPU_ARRAY(percpu, u64, 8);
    struct pair { u32 a; u32 b; }; BPF_HASH(pairs, struct pair, u64);
    """
    with ebpf.load(ebpf.compile(text, dialect="bcc")) as session:
        slots = session.maps["slots"]
        slots[1], slots[3] = 4, 2
        assert slots.histogram().counts == (4, 0, 2) and slots.histogram().edges == (2, 4, 8, 16)
        assert slots.histogram(first=1).edges == (0, 2, 4, 8)
        assert slots.histogram(step=10, low=5).edges == (15, 25, 35, 45)
        percpu = session.maps["percpu"]
        percpu[2] = 3
        assert percpu.histogram().counts == (3 * len(percpu[2]),)
        session.maps["pairs"][{"a": 1}] = 2
        with pytest.raises(ebpf.UsageError, match="'pairs' is no histogram"):
            session.maps["pairs"].histogram()


def test_a_declared_histogram(backend: str) -> None:
    sizes, latency = ebpf.Log2Histogram(), ebpf.Log2Histogram(ebpf.u32, 100)

    @ebpf.xdp
    def fill(ctx):  # type: ignore[no-untyped-def]
        sizes, latency  # noqa: B018
        return 0

    fill._life.object = ebpf.compile(r"""
    struct histogram_key { u32 key; u32 slot; };
    struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
        sizes SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 100); __type(key, struct histogram_key);
             __type(value, u64); } latency SEC(".maps");
    SEC("xdp") int fill(void *ctx)
    {
        u32 slot = 4;
        struct histogram_key key = { 7, 9 };
        u64 one = 1, *v = bpf_map_lookup_elem(&sizes, &slot);
        if (v) *v += 2;
        bpf_map_update_elem(&latency, &key, &one, BPF_ANY);
        return 0;
    }
    """)
    assert str(sizes) == repr(sizes)
    with ebpf.load(fill) as session:
        session.programs["fill"].test_run(bytes(64))
        assert sizes.read().counts == (2,) and sizes.read().edges == (16, 32) and len(sizes) == 1
        assert "[16, 32)" in str(sizes) and "[16, 32)" in sizes._repr_html_()
        assert latency.keys() == [7] and 7 in latency and latency[7].edges == (512, 1024) and latency.read().total == 1
        assert [(k, h.counts) for k, h in latency.items()] == [(7, (1,))] and "7\n[512, 1K)" in str(latency)
        with pytest.raises(ebpf.KeyMissing, match="counted nothing for 8"):
            latency[8]
        sizes.clear()
        assert not sizes.read().total
