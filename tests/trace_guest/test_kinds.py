"""Every kind of probe, in guests: that its programs load, attach, see what they should, and leave nothing behind."""

from __future__ import annotations

import os
import sys

import pytest

import ebpf

PYTHON = os.path.realpath(sys.executable)
CAT = ["cat", "/etc/hostname"]


def said(script: str, command: list[str] | None = None, **options: object) -> str:
    """What a script says while a command runs, and its maps at the end."""
    out: list[str] = []
    ebpf.trace(script, command=command or (), backend="kernel", **options).run(out.append)  # type: ignore[arg-type]
    return "".join(out)


@pytest.mark.guest(smoke=True, timeout_s=240)
def test_a_script_on_every_kernel() -> None:
    """What nearly all scripts need, in one compilation: emulation makes each cost seconds."""
    text = said("""
        BEGIN { printf("begin %s\\n", probe); @start = nsecs; }
        tracepoint:syscalls:sys_enter_openat /comm == "cat"/ { @open[str(args->filename)] = count(); }
        kprobe:vfs_read /comm == "cat"/ { @reads[pid] = nsecs; @size = hist(arg2); @from[kstack(2)] = count(); }
        kretprobe:vfs_rea? /@reads[pid]/ { @times[func] = count(); @got = stats(retval); delete(@reads[pid]); }
        interval:ms:100 { @ticks = count(); }
        END { printf("end\\n"); clear(@reads); clear(@start); }""", CAT)
    assert "begin BEGIN\n" in text and "end\n" in text
    assert "@open[/etc/hostname]: 1\n" in text
    assert "vfs_read+" in text and "@times[vfs_read]: " in text and "@size: \n[" in text
    assert "@got: count " in text


@pytest.mark.guest(timeout_s=240)
def test_all_other_kinds_see_their_events() -> None:
    """In one script: compiling under emulation costs seconds."""
    text = said("""
        profile:hz:99 { @profile[cpu] = count(); }
        software:page-faults:1 /comm == "cat"/ { @faults = count(); }
        rawtracepoint:sched_switch { @switches = count(); }
        fentry:vfs_read /comm == "cat"/ { @wanted = max(args->count); }
        fexit:vfs_read /comm == "cat"/ { @got = sum(retval); }
        uprobe:libc:malloc /comm == "cat"/ { @allocated = sum(arg0); }
        uretprobe:libc:malloc /comm == "cat"/ { @returned = min(retval); }
        tracepoint:sched:sched_process_exit { @ended[comm] = count(); }
        kprobe:vfs_open+0 /comm == "cat"/ { @opened = count(); }
        kprobe:vfs_rea* { @names[probe] = count(); }
        tracepoint:syscalls:sys_enter_execve { join(args->argv); }""", CAT)
    for expected in ("@faults: ", "@switches: ", "@wanted: ", "@got: ", "@allocated: ", "@returned: ", "@ended[cat]: 1\n",
                     "@opened: ", "@names[kprobe:vfs_read]: ", "\ncat /etc/hostname\n"):
        assert expected in text, expected
        assert f"{expected}0\n" not in text, expected


@pytest.mark.guest(timeout_s=120)
def test_stacks_of_a_process_that_has_ended_have_names() -> None:
    text = said("uprobe:/bin/bash:main { @[ustack(1)] = count(); }", ["/bin/bash", "-c", "exit"])
    assert "@[\n    main+0\n]: 1\n" in text


@pytest.mark.guest(timeout_s=120)
def test_a_function_that_is_not_there() -> None:
    with pytest.raises(ebpf.EbpfError, match="vfs_read"):
        said("kprobe:vfs_raed { }")


@pytest.mark.guest(timeout_s=120)
def test_nothing_stays_attached() -> None:
    said('kprobe:vfs_read { @ = count(); } tracepoint:syscalls:sys_enter_openat { @o = count(); }', CAT)
    assert not [program for program in ebpf.inventory.programs() if program.name.startswith(("kprobe", "tracepoint"))]
    with pytest.raises(ebpf.EbpfError):
        said("BEGIN { } kprobe:vfs_read { @ = count(); }", ["no-such-command"])
    assert not list(ebpf.inventory.links())


@pytest.mark.guest(timeout_s=120)
def test_python_reads_events_and_maps_while_it_runs() -> None:
    with ebpf.trace('tracepoint:syscalls:sys_enter_openat { @[comm] = count(); printf("%s %d", comm, pid); }',
                    command=CAT, backend="kernel") as trace:
        seen = {event.values[0] for event in trace}
        assert "cat" in seen
        assert trace.maps["@"]["cat"] >= 1
        keys, values = trace.maps["@"].to_numpy()
        assert len(keys) == len(values) and values.sum() > 0
