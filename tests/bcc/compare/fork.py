"""Tools in forks of a process that has imported everything that they import: emulation makes imports cost seconds.

As a script (``fork.py``, under the interpreter whose `bcc` is to be used) it reads a line of JSON for each tool, ``{"argv",
"out", "err", "status"}``, and writes the tool's process id; when the tool has ended its status is in that file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys


def spawn(argv: list[str], out: str, err: str, status: str, terminal: bool = False) -> int:
    """Run a script in a fork of a fork, whose parent keeps what it says and writes it down when it has ended; the tool's
    process id.

    Not before: tools that watch files being written would watch that. SIGUSR1 to the keeper, whose process id is in
    ``status`` with ``.keeper``, says that what was said by now was before the work; ``.noted`` appears.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _keep(argv, out, err, status, terminal, writer)
    os.close(writer)
    with open(reader) as pipe:
        return int(pipe.read())


def _keep(argv: list[str], out: str, err: str, status: str, terminal: bool, started: int) -> None:
    ours, theirs = os.openpty() if terminal else os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(started)
        os.close(ours)
        _become(argv, theirs, err, terminal)
    os.close(theirs)
    said, before = bytearray(), 0

    def note(*_: object) -> None:
        nonlocal before
        before = len(said.decode(errors="replace"))
        os.close(os.open(f"{status}.noted", os.O_CREAT))

    signal.signal(signal.SIGUSR1, note)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.symlink(str(os.getpid()), f"{status}.keeper")
    os.write(started, b"%d" % pid)
    os.close(started)
    while data := _read(ours):
        said += data
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with open(out, "wb") as file:
        file.write(said)
    with open(f"{status}.new", "w") as file:
        file.write(f"{code} {before}")
    os.rename(f"{status}.new", status)
    os._exit(0)


def _read(fd: int) -> bytes:
    try:
        while not select.select([fd], [], [], 0.1)[0]:
            pass  # a signal that came before the waiting began is handled now
        return os.read(fd, 1 << 16)
    except OSError:  # of a terminal that nobody holds any longer
        return b""


def _become(argv: list[str], out: int, err: str, terminal: bool) -> None:
    status: object = 1
    try:
        os.setsid()
        os.environ["TERM"] = "xterm" if terminal else "dumb"
        os.dup2(out, 1)
        if terminal:
            os.dup2(out, 0)
        os.close(out)
        for number, path in ((2, err),) if terminal else ((0, os.devnull), (2, err)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | (os.O_APPEND if number else 0)), number)
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", buffering=1, closefd=False)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.environ.get("EBPF_COMPARE_LANE"):
            from tests.bcc.compare import ours

            sys.argv = ["ours", *argv]
            status = ours.main()
        else:
            import runpy

            sys.argv = argv
            sys.path.insert(0, os.path.dirname(argv[0]))
            runpy.run_path(argv[0], run_name="__main__")
            status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import atexit

        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
        except BaseException as error:
            print(error, file=sys.stderr)
        os._exit(status if isinstance(status, int) else int(status is not None))


def _reap() -> int | None:
    """The process id of a keeper that has ended, now gone; None if there is none."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] or None
    except ChildProcessError:
        return None


def main() -> None:
    import argparse  # noqa: F401
    import ctypes  # noqa: F401
    import datetime  # noqa: F401
    import signal as _signal  # noqa: F401
    import socket  # noqa: F401
    import struct  # noqa: F401
    import subprocess  # noqa: F401

    import bcc
    import bcc.containers
    import bcc.syscall
    import bcc.utils  # noqa: F401

    if os.environ.get("EBPF_COMPARE_LANE"):
        import ebpf.cli  # noqa: F401
        from tests.bcc.compare import ours  # noqa: F401
    if not os.environ.get("EBPF_COMPARE_LANE"):
        sys.path.pop(0)  # the folder of this file, which is no business of the scripts
    print("ready", flush=True)
    for line in sys.stdin:
        while _reap() is not None:
            pass
        job = json.loads(line)
        sys.stdout.write(f"{spawn(**job)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
