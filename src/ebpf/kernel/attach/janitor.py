"""A janitor: a small process that takes off what the kernel would keep after our end.

Where the kernel has links nothing of this is needed. Older attachments (BPF_PROG_ATTACH, tc filters, routes) stay
until somebody removes them, and a process that is killed cannot. So before such an attachment is made, a janitor is
started that waits for our end (by a pidfd, and by a socket that closes with us), then undoes that one attachment and
ends. It has a session of its own: Ctrl-C and a closed terminal do not reach it. Whoever kills it too (a container
that is stopped as a whole) leaves the attachment in place.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys as _python

from ebpf.errors import KernelError
from ebpf.kernel.attach import undo
from ebpf.kernel.attach.link import KernelLink

_START = "import sys; sys.path[:0] = {path!r}; from ebpf.kernel.attach.janitor import main; main()"
_READY_S = 30.0


class Janitor:
    """Waits to undo one attachment (`way` of `ebpf.kernel.attach.undo`, with its arguments); `fds` are handed to it."""

    def __init__(self, way: str, *arguments: int | str, fds: tuple[int, ...] = ()) -> None:
        ours, theirs = socket.socketpair()
        owner = os.pidfd_open(os.getpid())
        task = json.dumps([way, list(arguments), theirs.fileno(), owner])
        command = [_python.executable, "-S", "-E", "-c", _START.format(path=_python.path), task]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                pass_fds=(theirs.fileno(), owner, *fds), start_new_session=True)
        finally:
            theirs.close()
            os.close(owner)
        self._socket = ours
        ours.settimeout(_READY_S)
        try:
            ready = ours.recv(1)
        except TimeoutError:
            ready = b""
        if ready != b"r":
            self.dismiss()
            raise KernelError("janitor", 0, message="the process that would clean up after us did not start",
                              helps=(f"can {_python.executable} import ebpf?",))
        ours.settimeout(None)

    def link(self, *, kind: str, target: str, program: str) -> KernelLink:
        """The attachment, as a link: detaching it closes our end, and waits until the janitor is done."""
        return KernelLink((self._socket.detach(),), kind=kind, target=target, program=program, is_bpf_link=False,
                          after=self._wait)

    def _wait(self) -> None:
        self._process.wait()

    def dismiss(self) -> None:
        """Nothing was attached: it may go."""
        self._process.send_signal(signal.SIGKILL)
        self._socket.close()
        self._process.wait()


def main() -> None:
    """What the janitor's process runs."""
    way, arguments, door, owner = json.loads(_python.argv[1])
    try:
        with open("/proc/self/comm", "w") as name:
            name.write("ebpf-janitor")
    except OSError:
        pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(door, b"r")
    poll = select.poll()
    poll.register(door, select.POLLIN)
    poll.register(owner, select.POLLIN)
    while not poll.poll():
        pass
    result = undo.WAYS[way](*arguments)
    os._exit(0 if -result in undo.HARMLESS or result >= 0 else 1)
