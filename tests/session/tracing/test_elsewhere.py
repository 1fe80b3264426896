"""Scripts checked for a kernel that is not the running one: nothing of the running one's may answer for it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ebpf
from ebpf.btf.writer import Builder
from ebpf.session.tracing.elsewhere import OtherKernel
from tests.compiler.c.check_support import SCHED_SWITCH, kernel


@pytest.fixture
def types(tmp_path: Path) -> Path:
    """vmlinux and one module: functions that no real kernel has, so that only they can answer."""
    folder = tmp_path / "btf"
    folder.mkdir()
    b = Builder(kernel())
    int_ = b.add_int("int", 4, signed=True)
    proto = b.add_func_proto(int_, [("first", int_)])
    for name in ("made_up_read", "made_up_write", "__arm64_sys_bpf"):
        b.add_func(name, proto)
    b.add_typedef("btf_trace_made_up_event", b.add_ptr(0))
    b.add_enum("bpf_func_id", [("BPF_FUNC_map_lookup_elem", 1), ("BPF_FUNC_ringbuf_output", 130)])
    base = b.build()
    (folder / "vmlinux").write_bytes(b.emit())
    module = Builder(base=base)
    module.add_func("made_up_module_read", proto)
    (folder / "made_up").write_bytes(module.emit())
    return folder


@pytest.fixture
def formats(tmp_path: Path) -> Path:
    for name in ("sched_switch", "sched_other"):
        place = tmp_path / "events" / "sched" / name
        place.mkdir(parents=True)
        (place / "format").write_text(SCHED_SWITCH.replace("sched_switch", name))
    return tmp_path / "events"


def check(script: str, **options: object) -> list[str]:
    """What is said of a script that is right."""
    said: list[str] = []
    ebpf.trace(script, warn=said.append, **options).check()  # type: ignore[arg-type]
    return said


# Of the list with a system call the formats say that there is none: its other tracepoint is enough.
@pytest.mark.parametrize("script", [
    "kprobe:made_up_read { @[arg0] = count(); }", "kretprobe:made_up_* { @[func, retval] = count(); }",
    "kprobe:made_up_module_read { @ = count(); }", "fentry:made_up_write { @ = sum(args.first); }",
    "tracepoint:sched:sched_other { @[args.prev_comm, args.prev_pid] = count(); }",
    "tracepoint:sched:sched_* { @[probe] = count(); }", "rawtracepoint:made_up_event { @ = count(); }",
    "tracepoint:syscalls:sys_enter_read, tracepoint:sched:sched_switch { @ = count(); }",
])
def test_what_the_kernel_given_has(types: Path, formats: Path, script: str) -> None:
    assert check(script, btf=types, formats=formats) == []


@pytest.mark.parametrize("script", [
    "kprobe:ksys_write { @ = count(); }", "kprobe:ksys_* { @ = count(); }", "fentry:ksys_write { @ = count(); }",
    "tracepoint:sched:sched_wakeup { @ = count(); }", "tracepoint:irq:* { @ = count(); }",
    "rawtracepoint:sched_switch { @ = count(); }", "kprobe:made_up_read { @ = ((struct file *)arg0)->f_flags; }",
])
def test_what_only_the_running_kernel_has(types: Path, formats: Path, script: str) -> None:
    with pytest.raises((ebpf.CompileError, ebpf.TargetNotFound)):
        check(script, btf=types, formats=formats)


def test_what_cannot_be_known_is_said(types: Path, formats: Path) -> None:
    with pytest.raises(ebpf.CompileError, match="made_up:made_up_event: its fields are not among the kernel's types"):
        check("tracepoint:made_up:made_up_event { @ = count(); }", btf=types)
    with pytest.raises(ebpf.CompileError, match="of modules whose BTF is not there"):
        check("kprobe:made_up_module_read { @ = count(); }", btf=types / "vmlinux")
    assert any("this system's files" in said for said in check("uprobe:/bin/sh:0x1000 { @ = count(); }", btf=types))
    assert any("give the other's by --btf" in said
               for said in check("tracepoint:sched:sched_other { @ = count(); }", formats=formats))
    assert check("tracepoint:syscalls:sys_enter_openat { @[str(args.filename)] = count(); }", btf=types) == []


def test_facts_of_the_other_kernel(types: Path, formats: Path) -> None:
    facts = OtherKernel(types, formats)
    assert facts.kernel_version == 0x50800  # the first with the newest helper there, bpf_ringbuf_output
    assert facts.syscall_prefix() == "__arm64_sys_"
    assert facts.functions("made_up_*") == ("made_up_module_read", "made_up_read", "made_up_write")
    assert facts.tracepoints("*:sched_*") == ("sched:sched_other", "sched:sched_switch")
    assert facts.tracepoint_format("sched", "../sched/sched_switch") is None


def test_a_vmlinux_of_any_processor(types: Path, tmp_path: Path) -> None:
    """Not only BPF's own ELF files."""
    import struct

    data, names = (types / "vmlinux").read_bytes(), b"\0.BTF\0.shstrtab\0"
    rows = [(0,) * 10, (1, 1, 0, 0, 64, len(data), 0, 0, 1, 0), (6, 3, 0, 0, 64 + len(data), len(names), 0, 0, 1, 0)]
    at = 64 + len(data) + len(names)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 183, 1, 0, 0, at, 0, 64, 56, 0, 64, 3, 2)
    image = tmp_path / "vmlinux"
    image.write_bytes(head + data + names + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows))
    assert check("fentry:made_up_write { @ = sum(args.first); }", btf=image) == []
    empty = tmp_path / "empty"
    empty.write_bytes(head[:60] + struct.pack("<HH", 0, 0))
    with pytest.raises(ebpf.UsageError, match=r"no section \.BTF"):
        check("BEGIN { }", btf=empty)


def test_it_does_not_run_here(types: Path) -> None:
    trace = ebpf.trace("BEGIN { exit(); }", btf=types)
    for start in (trace.start, trace.load):
        with pytest.raises(ebpf.UsageError, match="another kernel"):
            start()
