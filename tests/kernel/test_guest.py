"""The kernel layer where it has a machine to itself: probes on the whole system, on every kernel of the matrix."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys as python
import time
from pathlib import Path

import pytest

from ebpf.abi.maps import MapType
from ebpf.abi.perf_events import PERF_EVENTS
from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, KernelError, NotSupported, PrivilegeError, TargetNotFound
from ebpf.kernel import cpus, features, maps, privileges, programs
from ebpf.kernel.attach import kprobe, kprobe_multi, perf_event, raw_tracepoint, tracepoint, tracing, uprobe
from ebpf.kernel.externs import KernelTypes
from ebpf.kernel.facts import SystemFacts
from ebpf.kernel.perfbuf import PerfBuffer
from ebpf.kernel.ringbuf import RingBuffer
from ebpf.kernel.symbols import kernel_function, syscall_prefix
from ebpf.kernel.tracepipe import TraceLine, TracePipe, parse_line
from tests.kernel import code


def counter_map() -> maps.KernelMap:
    return maps.create_map(name="n", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1)


def count(map: maps.KernelMap) -> int:
    return int.from_bytes(map.lookup(bytes(4)) or b"", "little")


@pytest.mark.guest(smoke=True)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("retprobe", [False, True])
def test_kprobe_counts_a_system_call(legacy: bool, retprobe: bool) -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE, name="count")
        with kprobe.attach(p, "sys_getppid", retprobe=retprobe, legacy=legacy) as link:
            for _ in range(50):
                os.getppid()
            assert count(m) == 50 and "sys_getppid" in link.target
            defined = Path("/sys/kernel/tracing/kprobe_events").read_text()
            assert ("ebpf/" in defined) == legacy
        os.getppid()
        assert count(m) == 50
        assert "ebpf/" not in Path("/sys/kernel/tracing/kprobe_events").read_text()


@pytest.mark.guest
def test_sigkill_leaves_nothing_attached() -> None:
    script = """
import sys, time
from ebpf.kernel import maps, programs
from ebpf.kernel.attach import kprobe
from tests.kernel import code
m = maps.open_by_id(int(sys.argv[1]))
p = programs.load_program(code.counter(m.fileno()), type=2)
links = [kprobe.attach(p, "sys_getppid"), kprobe.attach(p, "sys_getppid", legacy=True)]
print("on", flush=True)
time.sleep(60)
"""
    with counter_map() as m:
        child = subprocess.Popen([python.executable, "-c", script, str(m.info().id)], stdout=subprocess.PIPE,
                                 env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in python.path if p)})
        assert child.stdout is not None and child.stdout.readline() == b"on\n"
        os.getppid()
        assert count(m) == 2
        child.send_signal(signal.SIGKILL)
        child.wait()
        end = time.monotonic() + 5
        while list(programs.iter_programs()) and time.monotonic() < end:
            time.sleep(0.05)
        os.getppid()
        assert count(m) == 2
        # The definition in tracefs, which does nothing any more, goes with the next such attachment.
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE)
        kprobe.attach(p, "sys_getppid", legacy=True).detach()
        assert "ebpf/" not in Path("/sys/kernel/tracing/kprobe_events").read_text()


@pytest.mark.guest
def test_targets_that_are_not_there() -> None:
    p = programs.load_program(code.returns(0), type=ProgType.KPROBE)
    with pytest.raises(TargetNotFound) as caught:
        kprobe.attach(p, "vfs_reed")
    assert "vfs_read" in caught.value.similar
    with pytest.raises(TargetNotFound) as caught:
        kprobe.attach(p, "sys_clon")
    assert "sys_clone" in caught.value.similar
    with pytest.raises(TargetNotFound, match="cannot be probed"):
        kprobe.attach(p, "do_int3")
    t = programs.load_program(code.returns(0), type=ProgType.TRACEPOINT)
    with pytest.raises(TargetNotFound) as caught:
        tracepoint.attach(t, "syscalls", "sys_enter_opn")
    assert "syscalls:sys_enter_open" in caught.value.similar
    with pytest.raises(TargetNotFound, match="category"):
        tracepoint.attach(t, "nowhere", "x")
    assert kernel_function("sys_clone") == "__x64_sys_clone" and syscall_prefix() == "__x64_sys_"
    assert "vfs_read" in kprobe.functions_matching("vfs_rea.*")


@pytest.mark.guest
def test_missing_tracefs_says_how_to_mount_it() -> None:
    t = programs.load_program(code.returns(0), type=ProgType.TRACEPOINT)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " tracefs " in line]
    for place in sorted(mounted, reverse=True):
        subprocess.run(["umount", "-l", place], check=True)
    subprocess.run(["umount", "-l", "/sys/kernel/debug"], capture_output=True)
    try:
        with pytest.raises(KernelError) as caught:
            tracepoint.attach(t, "syscalls", "sys_enter_open")
        assert any("mount -t tracefs" in text for text in caught.value.helps)
    finally:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)


@pytest.mark.guest
def test_tracepoints() -> None:
    with counter_map() as m:
        t = programs.load_program(code.counter(m.fileno()), type=ProgType.TRACEPOINT)
        with tracepoint.attach(t, "syscalls", "sys_enter_getppid"):
            os.getppid()
            assert count(m) == 1
        r = programs.load_program(code.counter(m.fileno()), type=ProgType.RAW_TRACEPOINT)
        with raw_tracepoint.attach(r, "sched_switch"):
            time.sleep(0.05)
        assert count(m) > 1
    assert "field:const char * filename;" in (SystemFacts().tracepoint_format("syscalls", "sys_enter_openat") or "")
    assert SystemFacts().tracepoint_format("syscalls", "no_such_thing") is None


@pytest.mark.guest(kernels=("6.12", "6.18", "7.2"))
def test_kprobe_multi() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE,
                                  expected_attach_type=AttachType.TRACE_KPROBE_MULTI)
        assert features.have("kprobe_multi")
        with kprobe_multi.attach(p, ["__x64_sys_getppid", "__x64_sys_getuid"]) as link:
            os.getppid()
            os.getuid()
            assert count(m) == 2
            info = link.info()
            assert info is not None and info.type == "kprobe_multi"
        with pytest.raises(TargetNotFound):
            kprobe_multi.attach(p, ["__x64_sys_getppid", "no_such_function"])


@pytest.mark.guest(kernels=("5.10", "6.1"))
def test_kprobe_multi_is_refused_clearly() -> None:
    p = programs.load_program(code.returns(0), type=ProgType.KPROBE, expected_attach_type=AttachType.TRACE_KPROBE_MULTI)
    with pytest.raises(NotSupported, match=r"kprobe\.multi"):
        kprobe_multi.attach(p, ["__x64_sys_getppid"])
    with counter_map() as m:  # what is left: one by one
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE)
        with kprobe.attach_many(p, ["sys_getppid", "sys_getuid"]):
            os.getppid()
            os.getuid()
            assert count(m) == 2


@pytest.mark.guest
@pytest.mark.parametrize(("attach_type", "target", "type"), [
    (AttachType.TRACE_FENTRY, "sys_getpgid", ProgType.TRACING), (AttachType.TRACE_FEXIT, "sys_getpgid", ProgType.TRACING),
    (AttachType.TRACE_RAW_TP, "sys_enter", ProgType.TRACING), (AttachType.LSM_MAC, "file_open", ProgType.LSM)])
def test_targets_in_btf(attach_type: AttachType, target: str, type: ProgType) -> None:
    place = KernelTypes().attach_target(type, attach_type, target)
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=type, expected_attach_type=attach_type,
                                  attach_btf_id=place.id, attach_to=target)
        with tracing.attach(p):
            os.getpgid(0)
            os.close(os.open("/proc/self/status", os.O_RDONLY))
        assert count(m) >= 1


@pytest.mark.guest
def test_unknown_btf_target_names_similar_ones() -> None:
    with pytest.raises(TargetNotFound) as caught:
        KernelTypes().attach_target(ProgType.TRACING, AttachType.TRACE_FENTRY, "vfs_reed")
    assert "vfs_read" in caught.value.similar


@pytest.mark.guest
def test_trace_pipe() -> None:
    p = programs.load_program(code.trace_printk(b"hi 1\0"), type=ProgType.KPROBE)
    pipe = TracePipe()
    with kprobe.attach(p, "sys_getppid"):
        os.getppid()
        line = pipe.read_line(timeout=5)
    assert line is not None
    parsed = parse_line(line)
    assert isinstance(parsed, TraceLine) and parsed.pid == os.getpid() and parsed.message == b"hi 1"
    assert pipe.read_line(timeout=0.3) is None


@pytest.mark.guest
def test_events_of_the_whole_machine() -> None:
    """Both kinds of buffers, filled from a kprobe; and on 5.10 more memory than RLIMIT_MEMLOCK's 64 KiB."""
    ring = maps.create_map(name="rb", type=MapType.RINGBUF, key_size=0, value_size=0, max_entries=1 << 20)
    reader = RingBuffer(ring)
    events = maps.create_map(name="pb", type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4,
                             max_entries=len(cpus.possible_cpus()))
    got: list[bytes] = []
    buffer = PerfBuffer(events, lambda cpu, data: got.append(data))
    a = programs.load_program(code.ringbuf_output(ring.fileno(), 2), type=ProgType.KPROBE)
    b = programs.load_program(code.perf_output(events.fileno(), 2), type=ProgType.KPROBE)
    with kprobe.attach(a, "sys_getppid"), kprobe.attach(b, "sys_getppid"):
        for _ in range(100):
            os.getppid()
    assert len(list(reader)) == 100
    buffer.consume()
    assert len(got) == 100 and buffer.lost == 0
    buffer.close()
    reader.close()


@pytest.mark.guest
def test_sampling_all_cpus() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.PERF_EVENT)
        type, config = PERF_EVENTS["cpu-clock"]
        with perf_event.attach(p, type, config, frequency=99):
            time.sleep(0.5)
        assert count(m) > 10


@pytest.mark.guest
def test_without_privilege() -> None:
    import resource  # noqa: F401  (wanted below, where an interpreter under /root cannot be read any more)

    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            maps.create_map(name="m", type=MapType.HASH, key_size=4, value_size=8, max_entries=1)
        except PrivilegeError as error:
            os._exit(0 if error.needs == ("CAP_BPF",) and error.helps else 3)
        except BaseException:
            os._exit(4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "CAP_BPF" in privileges.effective_capabilities()


CAPABLE = """
import os
from ebpf.kernel import maps, programs
from ebpf.kernel.attach import kprobe
from tests.kernel import code
assert os.geteuid() == 65534
m = maps.create_map(name="n", type=2, key_size=4, value_size=8, max_entries=1)
p = programs.load_program(code.counter(m.fileno()), type=2)
with kprobe.attach(p, "sys_getppid"):
    os.getppid()
assert m.lookup(bytes(4))[0] == 1
print("fine")
"""


@pytest.mark.guest
@pytest.mark.parametrize(("held", "missing"), [
    ("bpf,+perfmon", ""), ("bpf,+perfmon", "CAP_SYS_ADMIN"), ("bpf", "CAP_PERFMON"), ("perfmon", "CAP_BPF"),
    ("net_admin", "CAP_BPF")])
def test_capabilities_without_root(held: str, missing: str) -> None:
    # Debian's kernels begin with 3, which keeps perf events to CAP_SYS_ADMIN.
    Path("/proc/sys/kernel/perf_event_paranoid").write_text("3" if missing == "CAP_SYS_ADMIN" else "2")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv(1) here")
    run = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", f"+{held}",
         "--ambient-caps", f"+{held}", python.executable, "-c", CAPABLE], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in python.path if p)})
    if missing == "CAP_SYS_ADMIN":
        assert "perf_event_paranoid=2" in run.stderr, run.stderr
    if missing:
        assert f"lacks {missing}" in run.stderr, run.stderr
    else:
        assert run.stdout == "fine\n", run.stderr


@pytest.mark.guest
def test_uprobe_in_every_process() -> None:
    with counter_map() as m:
        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE)
        for retprobe in (False, True):
            before = count(m)
            with uprobe.attach(p, "c", symbol="getppid", retprobe=retprobe):
                subprocess.run([python.executable, "-c", "import os; os.getppid()"], check=True)
            assert count(m) - before >= 1
        with pytest.raises(AttachError, match="cannot be probed"):
            uprobe.attach_at(p, "/proc/self/exe", 1 << 40)


SOURCE = r"""
#define SEC(x) __attribute__((section(x), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
typedef unsigned int u32; typedef unsigned long long u64;
struct { __uint(type, 1); __uint(max_entries, 100); __type(key, u32); __type(value, u64); } counts SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 5000); } rb SEC(".maps");
struct task_struct { int pid; int tgid; } __attribute__((preserve_access_index));
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *) 2;
static u64 (*bpf_get_current_task)(void) = (void *) 35;
static long (*bpf_probe_read_kernel)(void *dst, u32 size, const void *p) = (void *) 113;
const volatile int answer = 42; int seen = 7; int tgid;
extern int CONFIG_NO_SUCH_OPTION __attribute__((section(".kconfig"), weak));
extern int LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
extern const void vfs_read __attribute__((section(".ksyms")));
extern const void no_such_symbol __attribute__((section(".ksyms"), weak));
__attribute__((noinline)) static int sub(int x) { return x * answer + seen; }
SEC("kprobe/sys_getppid") int prog(void *ctx) {
  u32 k = 1; u64 v = sub(2); bpf_map_update_elem(&counts, &k, &v, 0);
  struct task_struct *t = (void*)bpf_get_current_task(); bpf_probe_read_kernel(&tgid, 4, &t->tgid);
  k = 2; v = (u64)&vfs_read; bpf_map_update_elem(&counts, &k, &v, 0);
  k = 3; v = CONFIG_NO_SUCH_OPTION + (u64)&no_such_symbol; bpf_map_update_elem(&counts, &k, &v, 0);
  k = 4; v = LINUX_KERNEL_VERSION; bpf_map_update_elem(&counts, &k, &v, 0);
  seen++; return 0; }
SEC("xdp") int bad(void *ctx) { return *(int *)(long)seen; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.guest(smoke=True)
def test_an_object_of_clang_s(tmp_path: Path) -> None:
    """Global data, configuration values, symbols, CO-RE, subprograms and debug information, as libbpf would load them."""
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        pytest.skip("no clang here")
    from ebpf import kernel
    from ebpf.errors import VerifierError
    from ebpf.kernel.symbols import kernel_symbols
    from ebpf.object import read_object

    (tmp_path / "a.c").write_text(SOURCE)
    subprocess.run([clang, "-O2", "-g", "-target", "bpf", "-c", "a.c", "-o", "a.o"], cwd=tmp_path, check=True)
    obj = read_object((tmp_path / "a.o").read_bytes(), "a.o")
    with kernel.load(obj, load_programs=["prog"]) as loaded:
        assert loaded.btf_problem == ""
        p = loaded.programs["prog"]
        assert p.info().btf_id and p.info().name == "prog"
        with kprobe.attach(p, p.attach_to):
            os.getppid()
        bulk = loaded.maps["counts"].read_all()
        rows = dict(zip(struct.unpack("@4I", bulk.keys), struct.unpack("@4Q", bulk.values), strict=True))
        assert rows[1] == 2 * 42 + 7 and rows[3] == 0 and rows[4] == features.kernel_version_code()
        assert rows[2] == kernel_symbols().address("vfs_read")
        assert loaded.maps["rb"].max_entries == 8192
        data = loaded.maps[".bss"].lookup(bytes(4))
        assert data is not None and os.getpid() in struct.unpack(f"@{len(data) // 4}i", data)
        with pytest.raises(VerifierError) as caught:
            loaded.load_program("bad")
        assert "a.c" in str(caught.value)
