"""Run a command under a script (``-c COMMAND``): started stopped, released when the probes are in place."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_child = -1
_release = -1
_exited = False


def run_cmd(command: Sequence[str]) -> int:
    """Start ``command`` in a child that waits for `cmd_ready`; its pid."""
    import os
    import signal
    import sys

    global _child, _release
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        try:
            os.execvp(command[0], list(command))
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    os.close(reader)
    _child, _release = pid, writer

    def reap(*_: object) -> None:
        global _exited
        try:
            _exited = _exited or os.waitpid(_child, os.WNOHANG)[0] == _child
        except ChildProcessError:
            _exited = True

    signal.signal(signal.SIGCHLD, reap)
    return pid


def cmd_ready() -> None:
    """Let the command go."""
    import os

    global _release
    if _release >= 0:
        os.write(_release, b"x")
        os.close(_release)
        _release = -1


def cmd_exited() -> bool:
    """Whether the command has ended."""
    return _exited
