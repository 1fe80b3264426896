"""BCC's Python API on both backends: tables of every type, events, histograms, names, the end of a script.

The object comes from C in libbpf's dialect, so that these tests are about `bcc` alone.
"""

from __future__ import annotations

import ctypes as ct
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bcc
import ebpf
from bcc import BPF
from bcc.histogram import print_linear_hist, print_log2_hist, stars
from tests.session.objects import PACKET, TEXT, built

SRC = Path(bcc.__file__).resolve().parents[1]


@pytest.fixture(params=[pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def b(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BPF]:
    """In the kernel and in the machine: scripts must not see a difference."""
    monkeypatch.setenv("EBPF_BACKEND", request.param)
    obj = built()
    monkeypatch.setattr(ebpf, "compile", lambda *_, **__: obj)
    made = BPF(text="the fixture's object")
    yield made
    made.cleanup()


def test_hash_tables(b: BPF) -> None:
    count = b.load_func("count", BPF.XDP)
    for _ in range(3):
        count.program.test_run(PACKET)
    t = b["counts"]
    assert t is b[b"counts"] and len(b) == 1
    assert [(repr(k), repr(v)) for k, v in t.items()] == [("c_ulong(1)", "c_ulong(3)")]
    t[t.Key(5)] = t.Leaf(6)
    t[ct.c_ulonglong(7)] = ct.c_ulonglong(8)
    assert t[ct.c_ulong(7)].value == 8 and ct.c_ulong(9) not in t and len(t) == 3
    with pytest.raises(KeyError):
        t[t.Key(99)]
    with pytest.raises(KeyError):
        del t[t.Key(99)]
    assert sorted((k.value, v.value) for k, v in t.items_lookup_batch()) == [(1, 3), (5, 6), (7, 8)]
    assert sorted(k.value for k in t.keys()) == sorted(k.value for k in t) == [1, 5, 7]
    t.items_delete_batch((t.Key * 1)(5))
    assert len(t) == 2 and len(list(t.items_lookup_and_delete_batch())) == 2 and len(t) == 0
    t.items_update_batch((t.Key * 1000)(*range(1000)), (t.Leaf * 1000)(*range(1000)))
    assert sum(v.value for v in t.values()) == sum(range(1000))
    t.zero()
    assert sum(v.value for v in t.values()) == 0 and len(t) == 1000
    t.clear()
    assert t.items() == [] and t.get(t.Key(1)) is None
    with pytest.raises(TypeError):
        t.items_delete_batch([1])
    with pytest.raises(KeyError, match="counts"):
        b["no_such_table"]


def test_struct_keys_and_leaves(b: BPF) -> None:
    t = b.get_table("pairs")
    assert [f[0] for f in t.Key._fields_] == ["a", "comm", "b"] and ct.sizeof(t.Key) == 32 and t.Key.b.offset == 24
    key = t.Key(a=1, comm=b"x", b=3)
    t[key] = t.Leaf(2, b"yy", 4)
    assert (t[key].a, t[key].comm, t[key].b) == (2, b"yy", 4)
    assert [(k.a, k.comm, v.comm) for k, v in t.items()] == [(1, b"x", b"yy")]
    assert t.key_sprintf(key) == b'{ 0x1 "x" 0x3 }'
    own = type("Own", (ct.Structure,), {"_fields_": [("a", ct.c_uint), ("comm", ct.c_char * 16), ("b", ct.c_ulong)]})
    assert isinstance(next(iter(b.get_table("pairs", keytype=own))), own)


def test_arrays(b: BPF) -> None:
    t = b["arr"]
    t[2] = ct.c_ulong(11)
    t[ct.c_int(3)] = t.Leaf(5)
    assert [v.value for v in t.values()] == [0, 0, 11, 5] and t[-1].value == 5 and len(t) == 4
    assert [k.value for k in t.keys()] == [0, 1, 2, 3] and t.items()[2][1].value == 11
    with pytest.raises(IndexError, match="out of range"):
        t[4]
    with pytest.raises(IndexError, match="integer type"):
        t["2"]
    t[1] = ct.c_int(9)  # klockstat: an int for eight bytes
    assert t[1].value == 9
    with pytest.raises(ebpf.UsageError, match="8 bytes"):
        t[1] = (ct.c_char * 3)()
    del t[2]
    assert t[2].value == 0
    t.clear()
    assert [v.value for v in t.values()] == [0] * 4


def test_per_cpu_tables(b: BPF) -> None:
    cpus = len(bcc.get_possible_cpus())
    t = b["percpu"]
    t[t.Key(1)] = t.Leaf(*range(1, cpus + 1))
    total = sum(range(1, cpus + 1))
    assert list(t[t.Key(1)]) == list(range(1, cpus + 1)) == list(t.items()[0][1])
    assert t.sum(t.Key(1)).value == total and t.max(t.Key(1)).value == cpus
    assert t.average(t.Key(1)) == pytest.approx(total / cpus)
    a = b["percpu_arr"]
    a[1] = a.Leaf(*[3] * cpus)
    assert a.sum(1).value == 3 * cpus and list(a.values()[1]) == [3] * cpus
    assert b.get_table("percpu_arr", reducer=lambda x, y: x + y)[1] == 3 * cpus


def test_queue_and_program_array(b: BPF) -> None:
    q = b["queue"]
    q.push(q.Leaf(4))
    q.push(ct.c_ulong(5))
    assert q.peek().value == 4 and [v.value for v in q.values()] == [4, 5]
    with pytest.raises(KeyError):
        q.pop()
    p = b["progs"]
    p[0] = b.load_func("count", BPF.XDP)
    assert [k.value for k, _ in p.items()] == [0]
    del p[0]
    assert p.items() == []


@pytest.mark.kernel
@pytest.mark.usefixtures("one_cpu")
def test_perf_buffer(b: BPF, capfd: pytest.CaptureFixture[str]) -> None:
    send = b.load_func(b"to_perf", BPF.XDP)
    t, pair = b["perf"], b["pairs"].Leaf
    got: list[tuple[int, bytes]] = []
    lost: list[int] = []

    def on_event(cpu: int, data: int, size: int) -> None:
        event = ct.cast(data, ct.POINTER(pair)).contents
        got.append((cpu, event.comm))
        assert size >= ct.sizeof(pair) and isinstance(data, int)

    t.open_perf_buffer(on_event, page_cnt=1, lost_cb=lost.append)
    send.program.test_run(PACKET, repeat=3)
    b.perf_buffer_poll(timeout=99999999 * 1000)  # what offcputime waits for at most: more than an int holds
    assert [comm for _, comm in got] == [b"perf"] * 3
    send.program.test_run(PACKET, repeat=400)
    b.perf_buffer_poll(timeout=100)
    send.program.test_run(PACKET)
    b.perf_buffer_poll(timeout=100)
    assert sum(lost) == t.lost > 0 and len(got) + sum(lost) == 404
    t.open_perf_buffer(lambda *_: None, page_cnt=1)
    send.program.test_run(PACKET, repeat=400)
    b.perf_buffer_consume()
    send.program.test_run(PACKET)
    b.perf_buffer_consume()
    assert "Possibly lost " in capfd.readouterr().err
    with pytest.raises(Exception, match="power of two"):
        t.open_perf_buffer(on_event, page_cnt=3)


def test_ring_buffer(b: BPF) -> None:
    send = b.load_func("to_ring", BPF.XDP)
    t = b["ring"]
    with pytest.raises(ebpf.UsageError, match="No ring buffers"):
        b.ring_buffer_poll()
    events: list[object] = []
    t.open_ring_buffer(lambda ctx, data, size: events.append((ctx, t.event(data))), ctx="mine")
    send.program.test_run(PACKET, repeat=5)
    b.ring_buffer_poll(100)
    b.ring_buffer_consume()
    assert len(events) == 5
    ctx, event = events[0]  # type: ignore[misc]
    assert (ctx, event.a, event.comm, event.b) == ("mine", 7, b"hello", 9)


def test_a_callback_that_raises_is_heard(b: BPF) -> None:
    send = b.load_func("to_ring", BPF.XDP)
    calls: list[int] = []

    def callback(ctx: object, data: int, size: int) -> None:
        calls.append(size)
        raise KeyboardInterrupt

    b["ring"].open_ring_buffer(callback)
    send.program.test_run(PACKET, repeat=2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            b.ring_buffer_poll(100)
    b.ring_buffer_poll(0)
    assert len(calls) == 2  # each record once, none lost


def test_facts_about_the_kernel(b: BPF) -> None:
    assert b.get_syscall_fnname("getpid") == b.get_syscall_prefix() + b"getpid"
    assert b.fix_syscall_fnname("sys_getpid") == b.fix_syscall_fnname(b"__arm64_sys_getpid") == b.get_syscall_fnname("getpid")
    assert b.fix_syscall_fnname("vfs_read") == b"vfs_read"
    assert BPF.ksymname("no_such_symbol_at_all") == -1 != BPF.ksymname(b"bpf_prog_put")
    address = BPF.ksymname("bpf_prog_put")
    if address:
        assert BPF.ksym(address) == b"bpf_prog_put"
        assert BPF.ksym(address + 1, show_module=True, show_offset=True) == b"bpf_prog_put+0x1 [kernel]"
    assert BPF.sym(0, os.getpid()) == b"[unknown]"
    assert BPF.kernel_struct_has_field(b"task_struct", "pid") == 1
    assert BPF.kernel_struct_has_field("task_struct", b"no_such_field") == 0
    assert BPF.kernel_struct_has_field("no_such_struct", "x") == -1
    assert BPF.kernel_struct_has_field("renamedata", "old_mnt_userns") in (1, -1)  # by its newer names; before 5.12 there is none
    assert BPF.tracepoint_exists("no_such_category", "x") is False
    assert abs(BPF.monotonic_time() - BPF.monotonic_time()) < 10**9
    assert (BPF.find_exe("sh") or b"").endswith(b"sh") and BPF.find_exe(b"no-such-program") is None
    assert b"malloc" in BPF.get_user_functions("c", "^malloc$")
    assert BPF.get_kprobe_functions(b"^bpf_prog_pu.*") >= {b"bpf_prog_put"}
    assert "r2 = 11" in b.disassemble_func("to_perf") or "call" in b.disassemble_func("to_perf")


def test_names_that_are_not_there(b: BPF) -> None:
    with pytest.raises(ebpf.UnknownName, match="cuont"):
        b.load_func("cuont", BPF.XDP)
    with pytest.raises(Exception, match="not attached"):
        b.detach_kprobe("vfs_read")
    with pytest.raises(ebpf.UsageError, match="BPF.Function"):
        BPF.attach_xdp("lo", "count")
    with pytest.raises(ebpf.UsageError, match="text or src_file"):
        BPF(text="x", src_file="y")
    with pytest.raises(ebpf.UsageError, match="Could not find file"):
        BPF(src_file="no such file.c")
    with pytest.raises(ebpf.NotSupported):
        BPF(text="x", device="eth0")


def test_cleanup_is_final_and_repeatable(b: BPF) -> None:
    fd = b["counts"].map_fd
    b.cleanup()
    b.cleanup()
    with pytest.raises(OSError):
        os.fstat(fd)
    with pytest.raises(ebpf.UsageError, match="cleaned up"):
        b["counts"]


@pytest.mark.parametrize("kind", ["ring", "perf"])
def test_a_callback_that_cleans_up(b: BPF, kind: str) -> None:
    send = b.load_func(f"to_{kind}", BPF.XDP)
    calls: list[int] = []

    def callback(ctx: object, data: int, size: int) -> None:
        calls.append(size)
        b.cleanup()

    (b["ring"].open_ring_buffer if kind == "ring" else b["perf"].open_perf_buffer)(callback)
    send.program.test_run(PACKET, repeat=3)
    poll = b.ring_buffer_poll if kind == "ring" else b.perf_buffer_poll
    poll(1000)
    assert len(calls) == 1
    with pytest.raises(ebpf.UsageError, match="cleaned up"):
        poll(10)


@pytest.mark.parametrize("statement", ["import bcc.libbcc", "from bcc import lib", "from bcc.libbcc import bcc_symbol"])
def test_the_c_library_that_is_not_there(statement: str) -> None:
    with pytest.raises(ImportError, match="none beneath it: use the methods of BPF"):
        exec(statement)


def test_strings_and_bytes() -> None:
    from bcc.utils import to_bytes, to_str

    assert to_bytes("ä") == "ä".encode() and to_str(b"\xff") == "\udcff" and to_bytes(to_str(b"\xff")) == b"\xff"
    assert bytes(bcc.ArgString("x")) == b"x" and str(bcc.ArgString("x")) == "x"
    assert bcc.BPFAttachType.SK_SKB_VERDICT == 38 and bcc.PerfSWConfig.BPF_OUTPUT == 10 and BPF.TRACING == 26
    from bcc.syscall import syscall_name, syscalls

    assert b"openat" in syscalls.values() and syscall_name(99999) == b"[unknown: 99999]"
    from bcc.tcp import flags2str, tcpstate

    assert flags2str(0x12) == "SYN|ACK" and tcpstate[10] == "LISTEN"
    from bcc.perf import Perf

    assert Perf.perf_event_attr().size == 120
    assert ct.sizeof(Perf.perf_event_attr) == 120 and Perf.perf_event_attr.config.offset == 8


def test_cflags() -> None:
    from bcc.bpf import _from_cflags

    assert _from_cflags(["-DA=1", b"-D", "B", "-Wno-x", "-I/x", "-O3", "-I", "y"]) == (["A=1", "B"], ["/x", "y"])


HISTOGRAMS = [
    [0], [0, 1], [0, 0, 3, 17, 1000], [5] * 33, [0] * 34 + [7], [3, 0, 0, 1], [1, 2, 3, 4, 5, 6, 7, 40, 41, 80], [0] * 64 + [1],
]


@pytest.mark.parametrize("counts", HISTOGRAMS, ids=str)
@pytest.mark.parametrize("strip", [None, True])
def test_histograms_are_bccs_to_the_character(counts: list[int], strip: bool | None,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """Debian's bcc as the witness, where it is installed."""
    system = "/usr/bin/python3"
    code = ("from bcc.table import _print_log2_hist as a, _print_linear_hist as b\n"
            f"a({counts}, 'usecs', {strip}); b({counts}, 'usecs', {strip})")
    if not shutil.which(system):
        pytest.skip("no system python to ask")
    done = subprocess.run([system, "-c", code], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    if done.returncode:
        pytest.skip("Debian's python3-bpfcc is not installed")
    print_log2_hist(counts, "usecs", strip)
    print_linear_hist(counts, "usecs", strip)
    assert capsys.readouterr().out == done.stdout


def test_stars() -> None:
    assert stars(0, 0, 40) == "" and stars(1, 1, 4) == "****" and stars(1, 3, 40) == "*" * 13 and stars(9, 3, 4) == "***+"


def test_print_log2_hist_of_a_table(b: BPF, capsys: pytest.CaptureFixture[str]) -> None:
    t = b["hist"]
    for slot, n in ((1, 3), (2, 6), (4, 1)):
        t[t.Key(slot)] = t.Leaf(n)
    t.print_log2_hist("bytes")
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["bytes", ":", "count", "distribution"] and len(out) == 5
    assert out[2].rstrip("|").rstrip() == "         2 -> 3          : 6        |****************************************"
    t.print_json_hist()
    assert "'interval-end': 1, 'count': 3" in capsys.readouterr().out


@pytest.mark.kernel
def test_histograms_by_a_second_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    obj = ebpf.compile("""
        struct disk_slot { char disk[8]; u64 slot; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct disk_slot); __type(value, u64); } dist SEC(".maps");
        char LICENSE[] SEC("license") = "GPL";
        """, dialect="libbpf")
    monkeypatch.setattr(ebpf, "compile", lambda *_, **__: obj)
    with BPF(text="x") as b:
        t = b["dist"]
        for disk, slot, n in ((b"sda", 1, 3), (b"sda", 2, 6), (b"sdb", 1, 1)):
            t[t.Key(disk, slot)] = t.Leaf(n)
        t.print_log2_hist("usecs", "disk", section_print_fn=lambda d: d.decode().upper(), bucket_sort_fn=sorted)
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if " = " in line] == ["disk = SDA", "disk = SDB"]
        assert "         2 -> 3          : 6        |****" in out
        t.print_linear_hist("n", "disk", bucket_fn=lambda d: d[:2])
        assert "disk = b'sd'" in capsys.readouterr().out
    from bcc.table import PerfEventArray, RingBuf  # where BCC has them

    assert PerfEventArray.__name__ == "PerfEventArray" and RingBuf.__name__ == "RingBuf"


def run_script(tmp_path: Path, text: str, patch: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script with our bcc; ``patch`` gives it the tests' object for whatever text it compiles."""
    script = tmp_path / "script.py"
    head = (f"import ebpf\n_text = {TEXT!r}\n_compile = ebpf.compile\n"
            "ebpf.compile = lambda *a, **k: _compile(_text, dialect='libbpf')\n") if patch else ""
    script.write_text(head + textwrap.dedent(text))
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(SRC)})


@pytest.mark.kernel
@pytest.mark.usefixtures("privileged")
def test_an_uncaught_error_is_told_without_our_internals(tmp_path: Path) -> None:
    done = run_script(tmp_path, """
        from bcc import BPF
        b = BPF(text="x")
        b["cuonts"].items()  # here
        """)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no map called 'cuonts'" in done.stderr and "did you mean 'counts'" in done.stderr
    assert 'b["cuonts"].items()  # here' in done.stderr and "script.py:" in done.stderr


@pytest.mark.kernel
def test_ctrl_c_in_our_calls_ends_a_script_quietly_and_elsewhere_as_ever(tmp_path: Path, privileged: None) -> None:
    text = """
        import os, signal, threading
        from bcc import BPF
        b = BPF(text="x")
        b["ring"].open_ring_buffer(lambda *_: None)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            b.ring_buffer_poll()
        except KeyboardInterrupt:
            print("caught", flush=True)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        """
    quiet = run_script(tmp_path, textwrap.dedent(text) + "b.ring_buffer_poll()\n")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (-signal.SIGINT, "caught\n", "")
    loud = run_script(tmp_path, textwrap.dedent(text) + "signal.pause()\n")
    assert loud.returncode == -signal.SIGINT and "KeyboardInterrupt" in loud.stderr


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    done = run_script(tmp_path, "import bcc\n1 / 0\n", patch=False)
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_importing_bcc_is_cheap() -> None:
    code = "import sys; before = set(sys.modules); import bcc; print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": str(SRC)}).stdout.split()
    assert not {"ctypes", "numpy", "llvmlite", "dataclasses", "inspect", "subprocess", "elftools", "pyroute2",
                "argparse"} & set(out)


def ctypes_of(text: str) -> Callable[[str], object]:
    from bcc.ctype import Classes

    obj = ebpf.compile(text + '\nchar LICENSE[] SEC("license") = "GPL";', dialect="libbpf")
    assert obj.btf is not None
    classes, btf = Classes(obj.btf), obj.btf

    def find(name: str) -> object:
        id = btf.find(name)
        assert id is not None
        return classes.get(id)

    return find


def test_ctypes_classes_have_cs_layout() -> None:
    """Bit-fields, unions, anonymous and packed structs, arrays: offsets as C has them."""
    find = ctypes_of("""
        struct inner { u8 x; u64 y; };
        struct odd { u8 a; struct { u16 p; u16 q; }; union { u32 u; u8 bytes[4]; }; struct inner in[2]; char name[5]; bool ok; s64 last; };
        struct packed { u8 a; u64 b; u16 c; } __attribute__((packed));
        struct bits { u32 a : 3, b : 5; u32 c; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, struct odd); __type(value, struct packed); } m SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, u32); __type(value, struct bits); } n SEC(".maps");
        SEC("xdp") int f(struct xdp_md *c) { return 0; }
        """)
    odd, packed, bits = find("odd"), find("packed"), find("bits")
    assert ct.sizeof(odd) == 64 and odd.u.offset == 8 and odd.q.offset == 4 and odd.last.offset == 56  # type: ignore[attr-defined,arg-type]
    assert ct.sizeof(packed) == 11 and packed.b.offset == 1 and packed.c.offset == 9  # type: ignore[attr-defined,arg-type]
    value = bits(a=5, b=9, c=7)  # type: ignore[operator]
    assert bytes(value) == (5 | 9 << 3).to_bytes(4, "little") + (7).to_bytes(4, "little")
