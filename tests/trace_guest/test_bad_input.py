"""What goes wrong on a running system: one clear answer each, and nothing stays attached."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from tests.guests import modules
from tests.trace_guest.commands import TRACE, hidden, left, run, start, wait_for

CAT = ("-q", "-c", "/bin/cat /dev/null")
NO_TYPES = "mount -t tmpfs none /sys/kernel/btf"
NO_TRACEFS = """for place in /sys/kernel/tracing /sys/kernel/debug/tracing /sys/kernel/debug; do
    umount -l $place 2>/dev/null; done; true"""


def trace(*arguments: str, hide: str = "") -> subprocess.CompletedProcess[str]:
    argv = [*TRACE, *CAT, "-e", *arguments]
    done = run(hidden(hide, argv) if hide else argv)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.guest(thorough=True, timeout_s=300)
def test_a_kernel_without_types() -> None:
    done = trace('tracepoint:syscalls:sys_enter_openat /comm == "cat"/ { @[str(args.filename)] = count(); }',
                 hide=NO_TYPES)
    assert done.returncode == 0 and "@[/dev/null]: 1\n" in done.stdout, done.stderr
    done = trace("kprobe:vfs_read { @[curtask->comm] = count(); }", hide=NO_TYPES)
    assert done.returncode == 1 and "the kernel does not tell what is in `struct task_struct`" in done.stderr
    assert "define it in the script" in done.stderr
    done = trace("fentry:vfs_read { @ = count(); }", hide=NO_TYPES)
    assert done.returncode == 1 and "this kernel tells no types (BTF)" in done.stderr
    assert not left()


@pytest.mark.guest(thorough=True, timeout_s=300)
def test_a_kernel_without_tracefs() -> None:
    done = trace("tracepoint:sched:sched_process_exit { @ = count(); }", hide=NO_TRACEFS)
    assert done.returncode == 1
    assert done.stderr == "ebpf: tracefs is not mounted\n  = help: mount -t tracefs tracefs /sys/kernel/tracing\n"
    done = trace("kprobe:vfs_read { @[comm] = count(); }", hide=NO_TRACEFS)  # by the perf events of 4.17
    assert done.returncode == 0 and done.stdout.count("@[cat]: ") == 1, done.stderr
    assert not left()


@pytest.mark.guest(thorough=True, timeout_s=300)
def test_a_map_that_fills() -> None:
    done = trace("""config = { max_map_keys = 3 }
        tracepoint:syscalls:sys_enter_openat /pid == cpid/ { @n++; @[@n] = 1; }""")
    entries, all_of_them = done.stdout.count("@["), int(done.stdout.partition("@n: ")[2])
    assert done.returncode == 0 and entries == 3 < all_of_them
    assert f"warning: @ is full: {all_of_them - 3} entries found no room in it; raise max_map_keys" in done.stderr


@pytest.mark.guest(thorough=True, timeout_s=300)
def test_the_process_of_p_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; print(); [str(n) for n in sys.stdin]"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        with start("-p", str(process.pid), "-e", """BEGIN { printf("begun\\n"); } END { printf("end\\n"); }
                uprobe:libc:read { @u = count(); } kprobe:vfs_read { @k = count(); }""") as tracer:
            wait_for(tracer, "begun\n")
            process.communicate("1\n")
            out, err = tracer.communicate(timeout=60)
    assert (out.split("\n\n\n")[0], tracer.returncode, err) == ("end", 0, "")
    assert not left()


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_a_module_goes_and_its_functions_with_it() -> None:
    modules.load("loop")
    with start("-e", """kprobe:loop:lo_ioctl { @ = count(); } interval:ms:200 { printf("tick\\n"); }
            END { printf("end\\n"); }""") as tracer:
        wait_for(tracer, "tick\n")
        subprocess.run(["rmmod", "loop"], check=True)
        wait_for(tracer, "tick\n")
        tracer.send_signal(signal.SIGINT)
        out, err = tracer.communicate(timeout=60)
    assert tracer.returncode == 0 and err == "" and out.endswith("end\n\n\n@: 0\n")
    assert not left()
    done = trace("kprobe:loop:lo_ioctl { @ = count(); }")
    assert done.returncode != 0 and "no kernel function called 'lo_ioctl'" in done.stderr
    assert not left()


@pytest.mark.guest(thorough=True, timeout_s=300)
def test_a_reader_that_leaves_and_ctrl_c_twice() -> None:
    """While every system call makes a line."""
    script = 'tracepoint:raw_syscalls:sys_enter { printf("%s %d\\n", comm, args.id); @[comm] = count(); }'
    with start("-e", script) as tracer:
        assert tracer.stdout is not None and tracer.stderr is not None
        tracer.stdout.readline()
        tracer.stdout.readline()
        tracer.stdout.close()
        assert tracer.wait(60) == 141 and tracer.stderr.read() == ""
    assert not left()
    with start("--unsafe", "-e", """tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }
            interval:ms:100 { printf("waits\\n"); system("exec sleep 60"); }""") as tracer:
        wait_for(tracer, "waits\n")
        while tracer.poll() is None:  # signals that come at the same time are one
            tracer.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.wait(0.5)
        assert tracer.returncode in (130, -signal.SIGINT)
    assert not left()


@pytest.mark.guest(thorough=True, timeout_s=200)
def test_who_may_not() -> None:
    path = os.pathsep.join(p for p in sys.path if p)
    done = run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3", "-m",
                "ebpf.cli", "trace", "--backend", "kernel", "-e", "kprobe:vfs_read { }"], HOME="/tmp", PYTHONPATH=path)
    assert done.returncode != 0 and "CAP_BPF" in done.stderr and "Traceback" not in done.stderr
