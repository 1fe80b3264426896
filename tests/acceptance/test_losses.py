"""A reader too slow for its events: what was lost is counted and shown, never silent."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

import ebpf
from tests.acceptance.process import EBPF, PYTHON, Running, run

HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nstruct event { u64 number; char padding[248]; };\n'
PERF = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");
u64 number;
SEC("%s") int send(%s)
{
    struct event e = { .number = number++ };
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
RING = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
u64 refused;
SEC("xdp") int send(struct xdp_md *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) {
        __sync_fetch_and_add(&refused, 1);
        return 1;
    }
    e->number = 1;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
PACKET = bytes(64)
SENT = 5000


@pytest.mark.kernel
def test_a_perf_buffer_counts_what_it_lost() -> None:
    with ebpf.load(ebpf.compile(PERF % ("xdp", "struct xdp_md *ctx"))) as session:
        cpu = min(os.sched_getaffinity(0))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        try:
            stream = session.maps["events"].events(pages=1, timeout=0.2)
            session.programs["send"].test_run(PACKET, repeat=SENT)
            session.programs["send"].test_run(PACKET)  # the kernel reports a loss with the next event that fits
            read = len(list(stream))
            session.programs["send"].test_run(PACKET)
            read += len(list(stream))
        finally:
            os.sched_setaffinity(0, before)
        assert 0 < read < 20 and stream.lost == SENT + 2 - read == session.lost == session.maps["events"].lost
    assert stream.lost == SENT + 2 - read  # still told after the end


@pytest.mark.kernel
@pytest.mark.usefixtures("privileged")
def test_a_script_is_told_even_if_it_does_not_ask(tmp_path: Path) -> None:
    """BCC's words on standard error; with lost_cb, the callback instead."""
    text = """
struct event { u64 number; char padding[248]; };
BPF_PERF_OUTPUT(events);
int send(struct xdp_md *ctx) { struct event e = {}; events.perf_submit(ctx, &e, sizeof(e)); return XDP_PASS; }
"""
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys
from bcc import BPF
b = BPF(text={text!r})
send = b.load_func("send", BPF.XDP)
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
lost = []
b["events"].open_perf_buffer(lambda *_: None, page_cnt=1, lost_cb=lost.append if sys.argv[1:] else None)
for i in range(2):
    b.session.programs["send"].test_run({PACKET!r}, repeat=500)
    b.perf_buffer_poll(100)
b.session.programs["send"].test_run({PACKET!r})
b.perf_buffer_poll(100)
print(b["events"].lost, sum(lost))
""")
    silent = run([*PYTHON, script])
    assert silent.process.returncode == 0, silent.err
    count, heard = map(int, silent.out.split())
    assert count > 900 and heard == 0
    assert sum(map(int, re.findall(r"Possibly lost (\d+) samples", silent.err))) == count
    asking = run([*PYTHON, script, "x"])
    count, heard = map(int, asking.out.split())
    assert count == heard > 900 and asking.err == ""


@pytest.mark.kernel
def test_a_full_ring_buffer_is_seen_where_it_can_be() -> None:
    """The kernel tells the program alone (NULL from reserve); the reader sees how full the buffer is."""
    with ebpf.load(ebpf.compile(RING)) as session:
        ring = session.maps["events"].ring_buffer()
        results = [session.programs["send"].test_run(PACKET).result for _ in range(40)]
        assert results == [0] * 15 + [1] * 25  # 4096 bytes hold fifteen records of 256 and their headers
        assert int.from_bytes(session.maps[".bss"][0], "little") == 25
        assert ring.fill > 3900
        assert ring.consume_addresses(lambda address, size: None) == 15 and ring.fill == 0
        assert session.programs["send"].test_run(PACKET).result == 0


@pytest.mark.guest(timeout_s=150)
def test_the_command_says_what_was_lost(tmp_path: Path) -> None:
    """More events than it can print; stopped for a while, too."""
    (tmp_path / "prog.c").write_text(PERF % ("tracepoint/syscalls/sys_enter_getppid", "void *ctx"))
    made = run([*EBPF, "compile", tmp_path / "prog.c", "-o", tmp_path / "prog.o"], timeout_s=90)
    assert made.process.returncode == 0, made.err
    with Running([*EBPF, "run", tmp_path / "prog.o"]) as program:
        program.wait_for("attached: send")
        os.kill(program.pid, signal.SIGSTOP)
        for _ in range(3000):
            os.getppid()
        os.kill(program.pid, signal.SIGCONT)
        program.wait_for("number", times=900)
        time.sleep(0.5)
        for cpu in os.sched_getaffinity(0):  # the kernel tells of a loss with the next event of that CPU
            os.sched_setaffinity(0, {cpu})
            os.getppid()
        time.sleep(0.5)
        assert program.end(signal.SIGINT) == 0, str(program)
        (lost,) = re.findall(r"lost: (\d+) events came faster than they were read", program.err)
        assert int(lost) > 100
        seen = len(re.findall("number", program.out))
        assert seen > 0 and seen + int(lost) >= 3000
