"""Recordings: the file, damaged in every way; what was recorded in a machine and in kernels is replayed with the same outcome."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ebpf.errors import EbpfError, FormatError, NotSupported, UnknownName, UsageError
from ebpf.machine import Machine, Task
from ebpf.machine.recording import MAGIC, Attachment, Event, Recording, RecordingWriter
from ebpf.object import Object

HERE = Path(__file__).parent
EVENTS = [
    Event(0, 1, 42, 43, 1000, 1001, 5_000, 7, b"cat", bytes(16) + (0x7F0000001000).to_bytes(8, "little") + bytes(8), None,
          ((0x7F0000001000, b"/etc/hostname\0rest"),)),
    Event(1, 0, 1, 1, 0, 0, 4_000, 0, b"", bytes(24), bytes(60), ()),
]
ROWS = [Attachment("opened", "tracepoint/x/y", 5, "tracepoint", "x:y", 9), Attachment("xdp", "xdp", 6, "xdp", "eth0")]


def write(path: Path) -> bytes:
    writer = RecordingWriter(path, {"kernel": "6.1", "cpus": 2})
    assert [writer.attach(row) for row in ROWS] == [0, 1]
    for event in EVENTS:
        writer.add(event)
    writer.lose(0)
    writer.lose(3)
    writer.close()
    writer.close()
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "x.rec")
    found = Recording.read(tmp_path / "x.rec")
    assert (found.attachments, found.events, found.lost, found.damage) == (ROWS, EVENTS, 3, None)
    assert found.description == {"version": 1, "kernel": "6.1", "cpus": 2}
    assert repr(found) == "<Recording of 6.1: 2 events, 3 lost>"


def test_the_layout_that_the_documentation_states(tmp_path: Path) -> None:
    """Read by hand, as docs/packets.md says."""
    from zlib import crc32

    data = write(tmp_path / "x.rec")
    magic, version, size, crc = struct.unpack_from("<8sIII", data)
    assert (magic, version, crc) == (MAGIC, 1, crc32(data[20:20 + size])) and json.loads(data[20:20 + size])["kernel"] == "6.1"
    at, kinds = 20 + size, []
    while at < len(data):
        length, kind = struct.unpack_from("<IB", data, at)
        assert crc32(data[at + 4:at + 5 + length]) == struct.unpack_from("<I", data, at + 5 + length)[0]
        kinds.append(kind)
        at += 9 + length
    assert kinds == [1, 1, 2, 2, 3, 4]


def test_cut_short_anywhere_what_is_before_counts(tmp_path: Path) -> None:
    data, path = write(tmp_path / "x.rec"), tmp_path / "cut.rec"
    seen = set()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        try:
            found = Recording.read(path)
        except FormatError as error:
            assert error.offset is not None and error.offset <= max(size, 20)
            continue
        assert found.damage is not None and found.events == EVENTS[:len(found.events)]
        assert f"{len(found.events)} events before it are good" in found.damage.message
        seen.add(len(found.events))
    assert seen == {0, 1, 2}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    raw = bytearray(write(folder / "fuzz.rec"))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / "fuzz.rec").write_bytes(raw[:data.draw(st.integers(0, len(raw)))] + data.draw(st.binary(max_size=30)))
    try:
        found = Recording.read(folder / "fuzz.rec")
    except EbpfError as error:
        assert isinstance(error, FormatError)
        return
    assert all(event in EVENTS for event in found.events)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "is no recording"), (b"\x7fELF" + bytes(60), "is no recording"), (MAGIC + bytes(3), "cut short at byte 11"),
    (MAGIC + struct.pack("<III", 2, 0, 0), "is of version 2; this program reads version 1"),
    (MAGIC + struct.pack("<III", 1, 9, 0) + b"{}", "its description is damaged"),
])
def test_what_is_no_recording(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.rec").write_bytes(data)
    with pytest.raises(FormatError, match=message):
        Recording.read(tmp_path / "x.rec")


@cache
def recorded() -> Object:
    import ebpf

    return ebpf.compile(HERE / "programs" / "recorded.c", dialect="libbpf")


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *(v & (1 << 64) - 1 for v in values))


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_events_are_fed_in_the_order_of_their_times(tmp_path: Path, engine: str) -> None:
    """As the task and at the time that they had, with the memory that was there, pointers into the kernel's included."""
    writer = RecordingWriter(tmp_path / "x.rec", {})
    opened = writer.attach(Attachment("opened", "tracepoint/syscalls/sys_enter_openat", 5, "tracepoint", "syscalls:sys_enter_openat"))
    wrapper = writer.attach(Attachment("other name", "kprobe/sys_openat", 2, "kprobe", "sys_openat"))
    name = 0x7FFF00000FF0  # 16 bytes before a page's end, and only they were recorded
    tail = (name, b"/etc/hostname\0xy")
    regs = 0xFFFFC90000123F58
    registers = bytearray(168)
    registers[13 * 8:14 * 8] = words(name)
    for at_ns, index, context, memory in (
            (300, opened, words(0, 0, 0, name), (tail,)), (100, opened, words(0, 0, 0, name + 5), (tail,)),
            (200, wrapper, bytes(14 * 8) + words(regs) + bytes(6 * 8), ((regs, bytes(registers)), tail))):
        writer.add(Event(index, 3, at_ns, at_ns + 1, 8, 9, at_ns, 0, b"recordee", context, None, memory))
    writer.close()
    machine = Machine(recorded(), cpus=2, task=Task(pid=5), engine=engine)
    results: list[Any] = []
    assert Recording.read(tmp_path / "x.rec").replay(machine, results.append) == 3 == len(results)
    keys = machine.maps["seen"].read_all().keys
    found = {(bytes(keys[n:n + 60]).rstrip(b"\0"), keys[n + 60]) for n in range(0, len(keys), 64)}
    assert found == {(b"/etc/hostname", 1), (b"hostname", 1), (b"/etc/hostname", 2)}
    sent = [struct.unpack("<QII16s", record) for record in machine.maps["events"].drain()]  # type: ignore[attr-defined]
    assert sent == [(at, at, 8, b"recordee".ljust(16, b"\0")) for at in (100, 300)]
    assert machine.environment.task == Task(pid=5), "the machine is its own again"


def test_recordings_of_other_programs(tmp_path: Path) -> None:
    write(tmp_path / "x.rec")
    found = Recording.read(tmp_path / "x.rec")
    assert found.programs(Machine(recorded())) == ["opened", None]
    found.attachments = found.attachments[1:]
    with pytest.raises(UnknownName, match=r"has none of the recorded programs: 'xdp' \(xdp\)"):
        found.replay(Machine(recorded()))


# ---- recorded and replayed: the same maps and events ----

def outcome(session: Any) -> tuple[dict[Any, Any], list[Any]]:
    events: list[Any] = []
    session.maps["events"].events().consume(lambda event: events.append(tuple(event)))
    return {tuple(key): value for key, value in session.maps["seen"].items()}, events


def record_and_replay(backend: str, folder: Path, run: Any) -> tuple[Any, Any]:
    import ebpf

    path = folder / "events.rec"
    with ebpf.record(path) as recorder:
        with ebpf.load(recorded(), backend=backend) as session:
            session.attach()
            run(session)
            there = outcome(session)
    # Since 7.0 a task may be put aside in the middle of a raw tracepoint's program, which is then run for no other there.
    assert (recorder.lost == 0 or backend == "kernel") and recorder.events > 10
    with ebpf.load(recorded(), backend="machine") as session:
        found = session.replay(path)
        assert len(found.events) == recorder.events and found.damage is None
        return there, outcome(session)


def recordee(folder: Path) -> list[str]:
    """A shell of that name, which opens files and starts commands."""
    shell = folder / "recordee"
    shutil.copy("/bin/sh", shell)
    return [str(shell), "-c", "cat /etc/hostname > /dev/null; cat /nowhere 2> /dev/null; . /dev/null; head -c 5 /etc/passwd > /dev/null"]


def check(there: Any, here: Any, hooks: set[int]) -> None:
    assert there[0] == here[0]
    assert sorted(event[1:] for event in there[1]) == sorted(event[1:] for event in here[1])
    # The recorder is asked for the time just before the program, or just behind it.
    assert all(abs(a[0] - b[0]) < 1e9 for a, b in zip(sorted(there[1]), sorted(here[1]), strict=True))
    assert {key[1] for key in here[0]} == hooks
    texts = {(key[0], key[1]) for key in here[0]}
    for text, hook in ((b"/dev/null", 1), (b"/dev/null", 2), (b"/etc/hostname", 4), (b"/nowhere", 4)):
        assert (text, hook) in texts
    assert here[1]


def test_in_the_machine(tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(HERE.parents[1])!r})
from pathlib import Path
import ebpf
from tests.machine import test_recording as t
folder = Path({str(tmp_path)!r})
ebpf.use("machine", command=t.recordee(folder))
def run(session):
    while not session.ended:
        time.sleep(0.02)
there, here = t.record_and_replay("machine", folder, run)
t.check(there, here, {{1, 2, 3, 4, 5}})
print("same", len(here[0]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if "NotSupported" in done.stderr:
        raise NotSupported("tracing here")
    assert done.stdout.startswith("same "), done.stdout + done.stderr


@pytest.mark.guest(smoke=True, timeout_s=240)
def test_in_a_kernel(tmp_path: Path) -> None:
    there, here = record_and_replay("kernel", tmp_path, lambda session: subprocess.run(recordee(tmp_path), check=False))
    check(there, here, {1, 2, 3, 4, 5})


NESTED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
__u64 seen;
SEC("raw_tp/bpf_trace_printk") int print(void *ctx)
{
    seen++;
    bpf_printk("again");
    return 0;
}
SEC("raw_tp") int trigger(void *ctx)
{
    bpf_printk("once");
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.guest(kernels=("6.1", "7.2"), timeout_s=120)  # before 6.1 a raw tracepoint's program could interrupt itself
def test_what_the_kernel_does_not_run_is_lost(tmp_path: Path) -> None:
    """Each event makes another while it is recorded; and the program goes on when nothing is recorded any more."""
    import ebpf

    with ebpf.load(ebpf.compile(NESTED), backend="kernel") as session:
        with ebpf.record(tmp_path / "n.rec") as recorder:
            session.programs["print"].attach()
            for _ in range(3):
                session.programs["trigger"].raw.test_run()
            assert session.variables["seen"] == 3
        assert (recorder.events, recorder.lost) == (3, 3)
        session.programs["trigger"].raw.test_run()
        assert session.variables["seen"] == 4
    assert Recording.read(tmp_path / "n.rec").lost == 3


PACKETS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, __u64); } sums SEC(".maps");
SEC("xdp") int sum(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u64 key = end - data, one = 1;
    if (data + 50 > end)
        return XDP_PASS;
    for (int i = 0; i < 50; i++)
        key = key * 31 + data[i];
    __u64 *value = bpf_map_lookup_elem(&sums, &key);
    if (value)
        *value += 1;
    else
        bpf_map_update_elem(&sums, &key, &one, 0);
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.guest(timeout_s=120)
def test_packets_in_a_kernel(tmp_path: Path) -> None:
    """On the loopback device of a network namespace of its own; the program itself is called, and counts, too."""
    import socket

    import ebpf
    from ebpf.machine.network.namespaces import NEW_NET, unshare
    from ebpf.machine.network.netlink import Route

    unshare(NEW_NET)
    with Route() as route:
        route.up(socket.if_nametoindex("lo"))
    obj = ebpf.compile(PACKETS)
    with ebpf.record(tmp_path / "p.rec"), ebpf.load(obj, backend="kernel") as session:
        session.programs["sum"].attach_xdp("lo", flags=2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            for size in range(20, 60):
                sender.sendto(bytes(range(size)), receiver.getsockname())
                assert len(receiver.recv(100)) == size
        there = dict(session.maps["sums"].items())
    with ebpf.load(obj, backend="machine") as session:
        assert len(session.replay(tmp_path / "p.rec").events) == sum(there.values()) >= 40
        assert dict(session.maps["sums"].items()) == there


SAMPLES = """
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, __u64); } at SEC(".maps");
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
    __u64 key = ctx->regs.ip + ctx->sample_period, one = 1, *value = bpf_map_lookup_elem(&at, &key);
    if (value)
        *value += 1;
    else
        bpf_map_update_elem(&at, &key, &one, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.kernel
def test_samples_of_a_child(tmp_path: Path) -> None:
    import ebpf

    obj = ebpf.compile(SAMPLES)
    work = "import sys; sys.stdin.read(); sum(range(10_000_000))"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE) as child, \
            ebpf.record(tmp_path / "s.rec") as recorder, ebpf.load(obj, backend="kernel") as session:
        session.programs["sample"].attach_perf_event("cpu-clock", frequency=1000, pid=child.pid)
        child.communicate(b"\n")
        there = dict(session.maps["at"].items())
    assert recorder.events == sum(there.values()) > 0
    with ebpf.load(obj, backend="machine") as session:
        session.replay(tmp_path / "s.rec")
        assert dict(session.maps["at"].items()) == there


def test_only_one_recorder_and_only_of_what_can_be(tmp_path: Path) -> None:
    import ebpf

    obj = ebpf.compile('#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("cgroup/skb") int skb(struct __sk_buff *skb) { return 1; }\nchar LICENSE[] SEC("license") = "GPL";')
    with pytest.raises(UsageError, match="piece_bytes=7"):
        ebpf.record(tmp_path / "a.rec", piece_bytes=7)
    with ebpf.record(tmp_path / "a.rec"):
        with pytest.raises(UsageError, match="a.rec already"):
            ebpf.record(tmp_path / "b.rec")
        with ebpf.load(obj, backend="machine") as session, pytest.raises(NotSupported, match="recording cgroup/skb programs"):
            session.programs["skb"].attach_cgroup("/")
    assert Recording.read(tmp_path / "a.rec").damage is None
    with ebpf.record(tmp_path / "b.rec"):
        pass
