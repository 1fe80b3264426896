"""`ebpf test-run`: packets and contexts from the command line, in the machine and in this machine's kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ebpf
from ebpf.cli import main
from ebpf.machine.network import demonstration_packets

PROGRAMS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
SEC("xdp") int bounce(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 key = 1;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        *value += 1;
    if (data + 14 > end || data[12] != 8)
        return XDP_DROP;
    data[0] ^= 0xff;
    return bpf_xdp_adjust_tail(ctx, 4) ? XDP_ABORTED : XDP_TX;
}
SEC("tc") int by_mark(struct __sk_buff *skb) { skb->cb[1] = skb->mark + 1; return skb->mark == 5 ? 2 : skb->cb[0]; }
SEC("syscall") int sum(int *ctx) { return ctx[0] + ctx[1]; }
char LICENSE[] SEC("license") = "GPL";
"""
IPV4 = "ffffffffffff 02:00:00:00:00:02 0800 " + "45" * 46
BACKENDS = [pytest.param("--machine"), pytest.param("--kernel", marks=pytest.mark.kernel)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "prog.c"
    path.write_text(PROGRAMS)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["test-run", *map(str, words)])
    out, err = capsys.readouterr()
    if "--kernel" in words and status == 3:
        pytest.skip("kernel tests: not privileged (run as root)")
    return status, out, err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_packet(source: Path, backend: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out_file = tmp_path / "out"
    status, out, err = run(capsys, source, "--program", "bounce", "--data", IPV4, backend, "--maps", "--out", out_file)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[:2] == ["bounce: XDP_TX (3)", "packet: 60 bytes before, 64 after"]
    assert lines[2].startswith("- 0000  ff ff ff ff ff ff 02") and lines[3].startswith("+ 0000  00 ff ff ff ff ff 02")
    assert lines[4].startswith("- 0030") and lines[5] == "+ 0030  " + "45 " * 12 + "00 00 00 00"
    assert lines[6].startswith("time: ") and lines[6].endswith(" ns, one run") and "  1: 1" in lines
    assert out_file.read_bytes() == b"\0" + bytes.fromhex(IPV4.replace(":", ""))[1:] + bytes(4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_fields_of_the_context(source: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for fields in ((), ("--ctx", "mark=5"), ("--ctx", "mark=0x6", "--ctx", "cb=7,8")):
        status, out, err = run(capsys, source, "--program", "by_mark", "--data", IPV4, backend, "--json", *fields)
        assert status == 0, err
        said[fields] = json.loads(out)
    assert [(row["result"], row["name"]) for row in said.values()] == [(0, "TC_ACT_OK"), (2, "TC_ACT_SHOT"), (7, "TC_ACT_REDIRECT")]
    contexts = [bytes.fromhex(row["context"]) for row in said.values()]
    assert int.from_bytes(contexts[2][52:56], "little") == 7 and contexts[2][48:52] == (7).to_bytes(4, "little"), "cb[1] = mark + 1"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_context_alone(source: Path, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, source, "--program", "sum", "--context", "01000000 29000000", backend)
    assert status == 0 and out.splitlines()[0] == "sum: 42", err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_capture(source: Path, backend: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pcap, after = tmp_path / "in.pcap", tmp_path / "out.pcap"
    count = ebpf.write_pcap(pcap, demonstration_packets())
    status, out, err = run(capsys, source, "--program", "bounce", "--pcap", pcap, backend, "--out", after, "--maps")
    assert status == 0, err
    four = sum(p[12:14] == b"\x08\0" or p[12] == 8 for p in demonstration_packets())
    lines = out.splitlines()
    assert lines[count].startswith(f"{count} packets: {four} XDP_TX (3), {count - four} XDP_DROP (1); ")
    assert f"  1: {count}" in lines
    written = list(ebpf.read_pcap(after))
    assert [len(p.data) for p in written] == [len(p) + 4 * (p[12] == 8) for p in demonstration_packets()]


def test_both_engines_say_the_same(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    try:
        for engine in ("interpreter", "jit"):
            status, out, err = run(capsys, source, "--program", "bounce", "--data", IPV4, "--engine", engine, "--maps", "--repeat", 20)
            assert status == 0, err
            said.append([line for line in out.splitlines() if not line.startswith("time")])
        assert said[0] == said[1] and said[0][0] == "bounce: XDP_TX (3)"
        status, _, err = run(capsys, source, "--program", "bounce", "--data", IPV4, "--engine", "jit", "--kernel")
        assert status == 2 and "engine 'jit' is the machine's" in err
    finally:
        ebpf.use()


def test_a_damaged_capture_runs_as_far_as_it_goes(source: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pcap = tmp_path / "cut.pcap"
    ebpf.write_pcap(pcap, demonstration_packets())
    pcap.write_bytes(pcap.read_bytes()[:-5])
    count = len(demonstration_packets()) - 1
    status, out, err = run(capsys, source, "--program", "bounce", "--pcap", pcap, "--machine", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 1 and [r["packet"] for r in rows] == list(range(1, count + 1))
    assert f"cut short: packet {count + 1} has" in err and f"{count} packets before it are good" in err


def test_repeats_are_one_answer(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, source, "--program", "bounce", "--data", IPV4, "--machine", "--repeat", 50, "--maps")
    assert status == 0 and "ns, the mean of 50 runs" in out and "  1: 50" in out


@pytest.mark.parametrize(("words", "status", "message"), [
    (["--data", IPV4], 2, "has 3 programs"),
    (["--program", "bonce", "--data", IPV4], 1, "no program 'bonce'"),
    (["--program", "bounce"], 2, "0 bytes are no packet"),
    (["--program", "bounce", "--data", "0800"], 2, "2 bytes are no packet"),
    (["--program", "bounce", "--data", "xyz"], 2, "--data xyz: neither a file nor an even number"),
    (["--program", "bounce", "--data", "123"], 2, "--data 123: neither a file nor an even number"),
    (["--program", "bounce", "--pcap", "/nowhere.pcap"], 1, "/nowhere.pcap: No such file"),
    (["--program", "by_mark", "--data", IPV4, "--ctx", "mrak=1"], 1, "no field called 'mrak'"),
    (["--program", "by_mark", "--data", IPV4, "--ctx", "mark=x"], 2, "context field mark holds numbers"),
    (["--program", "by_mark", "--data", IPV4, "--ctx", "mark"], 2, "a field and its value"),
    (["--program", "by_mark", "--data", IPV4, "--ctx", "mark=1", "--context", "00"], 2, "not both"),
    (["--program", "sum", "--data", IPV4], 2, "takes a context and no data"),
    (["--program", "bounce", "--data", IPV4, "--repeat", "0"], 2, "at least one run"),
])
def test_mistakes(source: Path, words: list[Any], status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = run(capsys, source, *words, "--machine")
    assert (found, out) == (status, "") and message in err, err


def test_a_capture_given_as_a_packet(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pcap = tmp_path / "x.pcap"
    ebpf.write_pcap(pcap, demonstration_packets()[:1])
    status, _, err = run(capsys, source, "--program", "bounce", "--data", pcap, "--machine")
    assert status == 2 and f"--pcap {pcap}" in err
