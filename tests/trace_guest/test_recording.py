"""A script that was recorded in a kernel says the same on its recording, as a user without privilege."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf

SCRIPT = """
    BEGIN { printf("begin %s %d\\n", comm, uid); time("%H:%M\\n"); }
    tracepoint:syscalls:sys_enter_openat /pid == cpid/ {
        printf("%s %d %s %s\\n", comm, tid - pid, probe, str(args.filename));
        @opens[str(args.filename)] = count(); @at = strftime("%Y", nsecs); }
    tracepoint:syscalls:sys_exit_openat /pid == cpid/ { @ret[args.ret > 0] = count(); }
    kprobe:vfs_read* /pid == cpid/ { @reads[probe] = count(); @size = hist(arg2); }
    END { printf("end %d\\n", elapsed > 0); }
"""
_NOBODY = 65534


def trace(*arguments: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    # What belongs to root's home, as an interpreter may, nobody else can run: the system's own will do.
    python = "/usr/bin/python3" if user else sys.executable
    path = str(Path(ebpf.__file__).parents[1]) if user else os.pathsep.join(p for p in sys.path if p)
    return subprocess.run([python, "-m", "ebpf.cli", "trace", "-q", *arguments], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path}, user=user, group=user, extra_groups=[], check=False)


@pytest.mark.guest(timeout_s=400)
def test_a_recording_says_what_the_kernel_said(tmp_path: Path) -> None:
    folder = Path("/run/recordings")  # where anybody may read
    folder.mkdir(mode=0o755, exist_ok=True)
    recording = str(folder / "cat.rec")
    live = trace("--record", recording, "-c", "/bin/cat /dev/null", "-e", SCRIPT)
    assert live.returncode == 0, live.stderr
    assert " events" in live.stderr and "/dev/null\n" in live.stdout and "kprobe:vfs_read]: " in live.stdout
    again = trace("--replay", recording, user=_NOBODY)
    assert (again.returncode, again.stdout) == (0, live.stdout), again.stderr
    other = trace("--replay", recording, "-e", "tracepoint:syscalls:sys_enter_openat { @ = count(); }")
    opened = sum(line.startswith("cat 0 tracepoint:syscalls:sys_enter_openat ") for line in live.stdout.splitlines())
    assert int(other.stdout.split(":")[1]) >= opened > 1, other.stderr
