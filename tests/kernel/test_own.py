"""The kernel layer on this machine's kernel, with nothing but what each test makes itself (see tests/conftest.py)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys as python
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpf.abi.maps import MapType
from ebpf.abi.perf_events import PERF_EVENTS
from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, KernelError, MapError, MapFull, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import cpus, features, maps, programs
from ebpf.kernel.attach import cgroup, iter_links, perf_event, raw_tracepoint, socket_filter, uprobe, xdp
from ebpf.kernel.perfbuf import PerfBuffer
from ebpf.kernel.ringbuf import RingBuffer
from ebpf.session.poller import Poller
from tests.kernel import code

pytestmark = pytest.mark.kernel


def hash_map(entries: int = 16, type: MapType = MapType.HASH, value: int = 8) -> maps.KernelMap:
    return maps.create_map(name="test", type=type, key_size=4, value_size=value, max_entries=entries)


def counter_map() -> maps.KernelMap:
    return hash_map(1, MapType.ARRAY)


def count(map: maps.KernelMap) -> int:
    value = map.lookup(bytes(4))
    assert value is not None
    return int.from_bytes(value, "little")


def key(n: int) -> bytes:
    return n.to_bytes(4, "little")


# ---- maps ----


@pytest.mark.parametrize("type", [MapType.HASH, MapType.LRU_HASH, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH])
def test_hash_maps(type: MapType) -> None:
    with hash_map(64, type) as m:
        stride = m.value_stride
        assert stride == (8 * len(cpus.possible_cpus()) if "PERCPU" in type.name else 8)
        m.update(key(1), bytes([1]) * stride)
        m.update(key(1), bytes([2]) * stride, 2)  # BPF_EXIST
        with pytest.raises(MapError, match="already"):
            m.update(key(1), bytes(stride), 1)
        assert m.lookup(key(1)) == bytes([2]) * stride and m.lookup(key(9)) is None
        assert m.delete(key(1)) and not m.delete(key(1))
        rows = {n: bytes([n]) * stride for n in range(20)}
        assert m.update_batch(b"".join(map(key, rows)), b"".join(rows.values())) == 20
        bulk = m.read_all()
        assert {bytes(bulk.keys[i * 4:i * 4 + 4]): bytes(bulk.values[i * stride:(i + 1) * stride])
                for i in range(bulk.count)} == {key(n): v for n, v in rows.items()}
        assert set(m.keys()) == {key(n) for n in rows}
        assert m.delete_batch(key(3) + key(77) + key(4)) == 2
        assert m.take_all().count == 18 and m.read_all().count == 0


def test_full_map_says_so() -> None:
    with hash_map(1) as m:
        m.update(key(1), bytes(8))
        with pytest.raises(MapFull, match="max_entries = 1"):
            m.update(key(2), bytes(8))


def test_bulk_read_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_FIRST_CHUNK", 32)  # buckets hold several entries: ENOSPC happens, too
    with hash_map(5000) as m:
        m.update_batch(b"".join(map(key, range(5000))), bytes(40000))
        bulk = m.read_all()
        assert set(struct.unpack("@5000I", bulk.keys)) == set(range(5000))


def test_bulk_read_while_others_write() -> None:
    """Entries that stay are returned exactly once, whatever comes and goes meanwhile."""
    with hash_map(4096) as m:
        stay = set(range(1000))
        m.update_batch(b"".join(map(key, stay)), bytes(8000))
        stop = threading.Event()

        def churn() -> None:
            n = 100000
            while not stop.is_set():
                n += 1
                m.update(key(n), bytes(8))
                m.delete(key(n - 50))

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(20):
                got = struct.unpack(f"@{(bulk := m.read_all()).count}I", bulk.keys)
                assert sorted(n for n in got if n < 1000) == sorted(stay)
                assert stay <= set(struct.unpack(f"@{len(k := b''.join(m.keys())) // 4}I", k))
        finally:
            stop.set()
            thread.join()


def test_arrays() -> None:
    with hash_map(10, MapType.ARRAY) as m:
        m.update(key(3), b"12345678")
        assert m.read_all().count == 10 and m.read_all().values[24:32] == b"12345678"
        for wrong in (lambda: m.update(key(10), bytes(8)), lambda: m.delete(key(0)), m.take_all):
            with pytest.raises(MapError):
                wrong()
        m.clear()
        assert not any(m.read_all().values)
        with pytest.raises(UsageError, match="8 bytes, not 2"):
            m.update(key(0), b"xx")


def test_per_cpu_array_pads_to_8_bytes() -> None:
    with hash_map(4, MapType.PERCPU_ARRAY, value=12) as m:
        values = [bytes([n]) * 12 for n in range(len(cpus.possible_cpus()))]
        m.update(key(2), m.join_cpus(values))
        found = m.lookup(key(2))
        assert found is not None and len(found) == 16 * len(values) and m.split_cpus(found) == values
        assert m.read_all().values[2 * len(found):3 * len(found)] == found


def test_longest_prefix_wins() -> None:
    with maps.create_map(name="lpm", type=MapType.LPM_TRIE, key_size=8, value_size=4, max_entries=4, flags=1) as m:
        m.update(struct.pack("@I4B", 8, 10, 0, 0, 0), b"wide")
        m.update(struct.pack("@I4B", 16, 10, 1, 0, 0), b"near")
        assert m.lookup(struct.pack("@I4B", 32, 10, 1, 2, 3)) == b"near"
        assert m.lookup(struct.pack("@I4B", 32, 10, 9, 2, 3)) == b"wide"
        assert m.lookup(struct.pack("@I4B", 32, 11, 9, 2, 3)) is None
        assert m.read_all().count == 2


def test_queue_pops() -> None:
    with maps.create_map(name="q", type=MapType.QUEUE, key_size=0, value_size=4, max_entries=2) as m:
        m.update(b"", b"one!")
        m.update(b"", b"two!")
        assert [m.lookup_and_delete(b"") for _ in range(3)] == [b"one!", b"two!", None]


def test_shared_memory_and_freeze() -> None:
    with maps.create_map(name="a", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1, flags=1 << 10) as m:
        memory = m.map_memory()
        memory.view[:8] = b"directly"
        assert m.lookup(bytes(4)) == b"directly"
        memory.close()
        m.freeze()
        with pytest.raises(MapError, match="frozen"):
            m.update(bytes(4), bytes(8))
        assert (info := m.info()).name == "a" and info.max_entries == 1 and info.flags == 1 << 10
        assert maps.open_by_id(info.id).lookup(bytes(4)) == b"directly"
        assert info.id in [i.id for i in maps.iter_maps()]


@pytest.mark.parametrize(("type", "key_size", "value", "entries", "words"), [
    (MapType.RINGBUF, 0, 0, 1000, "power of two"), (MapType.ARRAY, 8, 8, 1, "4-byte index"),
    (MapType.HASH, 4, 8, 0, "max_entries is 0"), (MapType.LPM_TRIE, 4, 4, 1, "prefix length"),
    (MapType.STACK_TRACE, 4, 12, 1, "127 frames")])
def test_bad_maps_say_why(type: MapType, key_size: int, value: int, entries: int, words: str) -> None:
    with pytest.raises(MapError, match=words):
        maps.create_map(name="bad", type=type, key_size=key_size, value_size=value, max_entries=entries)


def test_pins(tmp_path: Path) -> None:
    with hash_map() as m:
        with pytest.raises(KernelError, match="BPF file system|cannot pin"):
            m.pin(str(tmp_path / "x"))
        root = tmp_path / "bpf"
        root.mkdir()
        mounted = subprocess.run(["mount", "-t", "bpf", "bpf", str(root)], capture_output=True)
        if mounted.returncode:
            pytest.skip("cannot mount a BPF file system")
        try:
            m.update(key(1), b"stays ok")
            m.pin(str(root / "m"))
            with pytest.raises(KernelError, match="exists already"):
                m.pin(str(root / "m"))
            m.close()
            assert maps.open_pinned(str(root / "m")).lookup(key(1)) == b"stays ok"
            p = programs.load_program(code.returns(1), type=ProgType.SOCKET_FILTER, name="pinned")
            p.pin(str(root / "p"))
            assert programs.open_pinned(str(root / "p")).name == "pinned"
        finally:
            subprocess.run(["umount", str(root)], check=True)


# ---- programs ----


def test_test_run_and_info() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno(), 2), type=ProgType.XDP, name="xdp_count")
        run = p.test_run(bytes(64), repeat=10)
        assert run.result == 2 and run.data == bytes(64) and count(m) == 10
        info = p.info()
        assert info.name == "xdp_count" and info.type_name == "xdp" and info.map_ids == (m.info().id,)
        assert len(p.xlated()) == info.xlated_bytes > 0
        assert info.id in [i.id for i in programs.iter_programs()]
        with pytest.raises(UsageError):
            p.test_run(b"short")
        k = programs.load_program(code.returns(0), type=ProgType.KPROBE)
        with pytest.raises(NotSupported):
            k.test_run()


def test_refusal_has_a_log() -> None:
    with pytest.raises(programs.LoadRefused) as caught:
        programs.load_program(code.EXIT, type=ProgType.SOCKET_FILTER)
    assert "R0 !read_ok" in caught.value.log and caught.value.errno == errno.EACCES


def test_long_logs_come_whole() -> None:
    body = b"".join(code.mov(1, n) for n in range(3000)) + code.insn(0xBF, 0, 9) + code.EXIT
    with pytest.raises(programs.LoadRefused) as caught:
        programs.load_program(body, type=ProgType.SOCKET_FILTER)
    assert "R9 !read_ok" in caught.value.log


@pytest.mark.usefixtures("privileged")
def test_features_agree_with_each_other() -> None:
    answers = {name: features.have(name) for name in features.FEATURES}
    assert answers["prog_name"] and answers["global_data"]
    levels = [answers[f"insn_{v}"] for v in ("v2", "v3", "v4")]
    assert levels == sorted(levels, reverse=True)
    assert features.mcpu() == f"v{1 + sum(map(bool, levels))}"


# ---- ring buffers and perf buffers ----


@pytest.fixture
def ring() -> Iterator[tuple[maps.KernelMap, RingBuffer]]:
    m = maps.create_map(name="rb", type=MapType.RINGBUF, key_size=0, value_size=0, max_entries=4096)
    r = RingBuffer(m)
    yield m, r
    r.close()
    m.close()


def fire(body: bytes, times: int = 1) -> list[int]:
    p = programs.load_program(body, type=ProgType.RAW_TRACEPOINT)
    return [p.test_run(context=bytes(8)).result for _ in range(times)]


def test_ring_buffer_records(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    m, r = ring
    fire(code.ringbuf_output(m.fileno(), 3, 7), 5)
    assert r.fill == 5 * 32
    got: list[bytes] = []
    assert r.consume(got.append, limit=2) == 2
    addresses: list[tuple[bytes, int]] = []
    assert r.consume_addresses(lambda a, n: addresses.append((ctypes.string_at(a, n), n)), limit=2) == 2
    assert list(r) == [struct.pack("@3Q", 7, 7, 7)]
    assert got == [struct.pack("@3Q", 7, 7, 7)] * 2 and addresses == [(got[0], 24)] * 2
    assert r.fill == 0 and r.records == 5


def test_ring_buffer_mixed_sizes_discards_and_wraps(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    numpy = pytest.importorskip("numpy")
    m, r = ring
    for n in range(60):  # around the buffer several times
        size = n % 3 + 1
        fire(code.ringbuf_output(m.fileno(), size, n), 3)
        fire(code.ringbuf_discard(m.fileno(), 20), 2)
        fire(code.ringbuf_output(m.fileno(), 6, n + 1), 3)
        arrays = r.read_arrays()
        assert [a.shape for a in arrays] == ([(3, 8 * size), (3, 48)])
        assert (arrays[0].view(numpy.uint64) == n).all() and (arrays[1].view(numpy.uint64) == n + 1).all()
    assert r.discarded == 120 and r.records == 360


def test_ring_buffer_arrays_are_typed(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    numpy = pytest.importorskip("numpy")
    m, r = ring
    fire(code.ringbuf_output(m.fileno(), 2, 5), 4)
    dtype = numpy.dtype([("a", "u8"), ("b", "u4")])  # 12 of the 16 bytes
    (array,) = r.read_arrays(dtype)
    assert array.dtype == dtype and array["a"].tolist() == [5] * 4 and array["b"].tolist() == [5] * 4
    fire(code.ringbuf_output(m.fileno(), 1))
    with pytest.raises(UsageError, match="8 bytes, its type 12"):
        r.read_arrays(dtype)
    assert r.read_arrays(dtype) == []


def test_ring_buffer_callback_that_raises_loses_nothing(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    m, r = ring
    fire(code.ringbuf_output(m.fileno(), 1), 3)
    with pytest.raises(ZeroDivisionError):
        r.consume(lambda _: 1 // 0)
    assert len(list(r)) == 2


def test_callbacks_may_close_the_buffer(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    m, r = ring
    fire(code.ringbuf_output(m.fileno(), 1), 3)
    assert r.consume(lambda _: r.close()) == 1
    assert r.consume(print) == 0 and r.fill == 0
    events = maps.create_map(name="pb", type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4,
                             max_entries=len(cpus.possible_cpus()))
    buffer = PerfBuffer(events, lambda cpu, data: buffer.close())
    fire(code.perf_output(events.fileno(), 1), 3)
    rings = list(buffer.rings.values())
    assert buffer.consume() >= 1 and all(r.fill == 0 and r.consume(print, None) == 0 for r in rings)  # type: ignore[arg-type]


def test_full_ring_buffer_is_the_program_s_to_count(ring: tuple[maps.KernelMap, RingBuffer]) -> None:
    m, r = ring
    results = fire(code.ringbuf_output(m.fileno(), 6), 100)
    refused = sum(result == (-errno.EAGAIN & 0xFFFFFFFF) for result in results)
    assert refused > 0 and r.consume(lambda _: None) == 100 - refused


def test_perf_buffer_counts_losses(one_cpu: None) -> None:
    m = maps.create_map(name="pb", type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4,
                        max_entries=len(cpus.possible_cpus()))
    got: list[tuple[int, bytes]] = []
    reports: list[int] = []
    buffer = PerfBuffer(m, lambda cpu, data: got.append((cpu, data)), on_lost=lambda cpu, n: reports.append(n), pages=1)
    poller = Poller()
    for cpu_ring in buffer.rings.values():
        poller.add(cpu_ring.fileno(), lambda r=cpu_ring: r.consume(buffer.callback, buffer.on_lost))  # type: ignore[misc]
    sent = 0
    for _ in range(30):  # wraps
        assert fire(code.perf_output(m.fileno(), 5), 20) == [0] * 20
        sent += 20
        poller.poll(1)
    assert len(got) == sent and not buffer.lost
    # Raw samples are padded so that their size, with 4 bytes before it, is a multiple of 8.
    assert all(data[:40] == struct.pack("@5Q", *[0x22] * 5) and len(data) == 44 for _, data in got)
    fire(code.perf_output(m.fileno(), 50), 20)
    buffer.consume()
    fire(code.perf_output(m.fileno(), 1))  # the report of a loss comes with the next record
    buffer.consume()
    assert buffer.lost == sum(reports) > 0 and buffer.records + buffer.lost == sent + 21
    poller.close()
    buffer.close()


# ---- attaching, to ourselves only ----


def test_uprobe_on_our_own_process() -> None:
    libc = ctypes.CDLL(None)
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE)
        for retprobe in (False, True):
            before = count(m)
            with uprobe.attach(p, "c", symbol="ffs", pid=os.getpid(), retprobe=retprobe) as link:
                for _ in range(5):
                    libc.ffs(8)
                assert count(m) - before == 5, link
            libc.ffs(8)
            assert count(m) - before == 5
        with pytest.raises(TargetNotFound) as caught:
            uprobe.attach(p, "c", symbol="mallocc", pid=os.getpid())
        assert "malloc" in caught.value.similar
        with pytest.raises(TargetNotFound, match="no process"):
            uprobe.attach(p, "c", symbol="ffs", pid=2**22 - 1)
        with pytest.raises(TargetNotFound, match="no library and no program"):
            uprobe.attach(p, "no-such-thing", symbol="x")


def test_links_go_with_their_last_reference() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE, name="gone")
        link = uprobe.attach(p, "c", symbol="ffs", pid=os.getpid())
        id = link.info().id if link.is_bpf_link else 0  # type: ignore[union-attr]
        assert not id or id in [i.id for i in iter_links()]
        del link
        assert id not in [i.id for i in iter_links()]
        ctypes.CDLL(None).ffs(1)
        assert count(m) == 0


def test_perf_event_samples_our_own_process() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.PERF_EVENT)
        type, config = PERF_EVENTS["cpu-clock"]
        with perf_event.attach(p, type, config, frequency=1000, pid=os.getpid()):
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass
        assert count(m) > 5
        with pytest.raises(NotSupported, match="hardware counter event 0:0x63"):  # no machine has that one
            perf_event.attach(p, 0, 99, period=1000, pid=os.getpid())
        with pytest.raises(UsageError):
            perf_event.attach(p, type, config, pid=os.getpid())


def test_unknown_raw_tracepoint() -> None:
    p = programs.load_program(code.returns(0), type=ProgType.RAW_TRACEPOINT)
    with pytest.raises(TargetNotFound) as caught:
        raw_tracepoint.attach(p, "sched_swtich")
    assert "sched_switch" in caught.value.similar


NETNS = """
import socket, struct, subprocess, sys, time
from ebpf.kernel import maps, programs
from ebpf.kernel.attach import socket_filter, xdp
from ebpf.errors import AttachError, TargetNotFound
from tests.kernel import code
sh = lambda *a: subprocess.run(a, check=True)
sh("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
for v in ("v0", "v1", "lo"): sh("ip", "link", "set", v, "up")
m = maps.create_map(name="n", type=2, key_size=4, value_size=8, max_entries=1)
count = lambda: int.from_bytes(m.lookup(bytes(4)), "little")
p = programs.load_program(code.counter(m.fileno(), 2), type=6, expected_attach_type=37)
for flags in (0, xdp.FLAGS_SKB_MODE, xdp.FLAGS_DRV_MODE):
    before = count()
    with xdp.attach(p, "v0", flags=flags) as link:
        assert link.info().details["ifindex"] == socket.if_nametoindex("v0")
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind(("v1", 0))
        for _ in range(5): s.send(bytes(64))
        end = time.monotonic() + 2
        while count() - before < 5 and time.monotonic() < end: time.sleep(.01)
        assert count() - before >= 5
        try: xdp.attach(p, "v0"); raise SystemExit("attached twice")
        except AttachError as error: assert "already" in error.message, error
    assert "xdp" not in subprocess.run(["ip", "link", "show", "v0"], capture_output=True, text=True).stdout
try: xdp.attach(p, "v00"); raise SystemExit("no such device")
except TargetNotFound as error: assert "v0" in error.similar
f = programs.load_program(code.counter(m.fileno(), 20), type=1)
with socket_filter.attach_raw(f, "lo") as link:
    before = count()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.sendto(b"hello", ("127.0.0.1", 9))
    assert count() > before
    r = socket.socket(fileno=__import__("os").dup(link.fileno()))
    assert len(r.recv(1000)) == 20
print("fine")
"""


def test_network_in_a_namespace_of_our_own() -> None:
    run = subprocess.run(["unshare", "-n", python.executable, "-c", NETNS], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join([p for p in python.path if p])})
    if "unshare" in run.stderr and "Operation not permitted" in run.stderr:
        pytest.skip("cannot make a network namespace")
    assert run.stdout == "fine\n", run.stderr


def test_cgroup() -> None:
    mount = next((line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
                  if line.split()[2] == "cgroup2"), None)
    if mount is None:
        pytest.skip("no version 2 control groups here")
    group = Path(mount) / f"ebpf-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    try:
        with counter_map() as m:
            p = programs.load_program(code.counter(m.fileno(), 0), type=ProgType.CGROUP_SOCK,
                                      expected_attach_type=AttachType.CGROUP_INET_SOCK_CREATE)
            script = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
            enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
            with cgroup.attach(p, str(group)):
                refused = subprocess.run([python.executable, "-c", enter + script], capture_output=True)
                assert b"PermissionError" in refused.stderr and count(m) == 1
            assert subprocess.run([python.executable, "-c", enter + script]).returncode == 0
            with pytest.raises(AttachError, match="version 2"):
                cgroup.attach(p, "/proc")
            with pytest.raises(TargetNotFound):
                cgroup.attach(p, str(group / "absent"))
    finally:
        group.rmdir()


@pytest.mark.usefixtures("privileged")
def test_nothing_stays_after_sigkill() -> None:
    script = """
import os, sys, time
from ebpf.kernel import maps, programs
from ebpf.kernel.attach import uprobe
from tests.kernel import code
p = programs.load_program(code.returns(0), type=2, name="doomed")
link = uprobe.attach(p, "c", symbol="ffs", pid=os.getpid())
print(p.info().id, flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([python.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join([p for p in python.path if p])})
    assert child.stdout is not None
    line = child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    assert line
    end = time.monotonic() + 5
    while int(line) in [i.id for i in programs.iter_programs()] and time.monotonic() < end:
        time.sleep(0.05)
    assert int(line) not in [i.id for i in programs.iter_programs()]


def test_socket_filter_on_our_own_socket() -> None:
    p = programs.load_program(code.returns(0), type=ProgType.SOCKET_FILTER)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.settimeout(0.2)
        socket_filter.attach(p, ours)
        theirs.send(b"dropped")
        with pytest.raises(TimeoutError):
            ours.recv(100)
        socket_filter.detach(ours)
        theirs.send(b"passed")
        assert ours.recv(100) == b"passed"


def test_closed_things_say_so() -> None:
    m = counter_map()
    m.close()
    m.close()
    with pytest.raises(MapError, match="closed"):
        m.lookup(bytes(4))
    assert xdp.FLAGS_SKB_MODE == 2
