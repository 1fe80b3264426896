"""`Guest.run`: one command, as root, in a machine of its own."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebpf import EbpfError
from ebpf.testing.guests import store

if TYPE_CHECKING:
    from ebpf.testing.guests.machine import Machine, Qemu

Sink = Callable[[bytes], object]


class GuestError(EbpfError):
    """A guest could not be fetched, started or kept alive; the message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a command: exit status (128 + N after signal N), output, the kernel's log."""

    returncode: int
    stdout: bytes
    stderr: bytes
    console: str
    seconds: float

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class Guest:
    """A recipe for throw-away machines under one kernel; every `run` boots one, or resumes it from a snapshot.

    ``shares`` are directories that the guest may write to (they are the host's own). ``snapshot`` makes a missing
    snapshot first (3 s, 90 MB, once), so that each run starts in half a second.
    """

    def __init__(self, kernel: str = store.SAMPLE, *, memory: str = "1G", cpus: int = 2, shares: Sequence[str] = (),
                 append: str = "", accelerator: str = "", cpu: str = "", snapshot: bool = True) -> None:
        if (reason := store.why_not(kernel)) is not None:
            raise GuestError(reason)
        from ebpf.testing.guests.machine import Machine

        found = store.kernel(kernel)
        assert found is not None
        self.machine = Machine(found, memory, cpus, tuple(os.path.abspath(s) for s in shares), append, accelerator, cpu)
        self._snapshot = snapshot

    def snapshot(self) -> None:
        """Makes the snapshot that later runs with these options start from, if it is not there yet."""
        from ebpf.testing.guests import machine

        if not self.machine.snapshot().exists():
            try:
                with store.locked(self.machine.kernel):
                    if not self.machine.snapshot().exists():  # nobody made it while we waited
                        machine.take_snapshot(self.machine)
            except (RuntimeError, OSError, ValueError) as error:
                raise GuestError(str(error)) from None

    def run(self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None,
            stdin: bytes = b"", timeout_s: float = 60, on_stdout: Sink | None = None,
            on_stderr: Sink | None = None, stop: Callable[[], bool] | None = None,
            cold: bool = False) -> Result:
        """Runs ``argv`` in directory ``cwd`` (default: this one) with ``env`` (default: ours).

        Output is collected, or handed to ``on_stdout``/``on_stderr`` as it comes. ``stop`` is asked ten times a
        second whether to give up; ``cold`` boots even where a snapshot is. Raises `GuestError` when the machine dies
        or ``timeout_s`` is over, which counts from when one of the machine's slots for guests is free.
        """
        with store.slot(stop) as free:
            if not free:
                raise GuestError(f"guest {self.machine.kernel.name}: was not started (other guests were running)")
            return self._run(argv, cwd, env, stdin, timeout_s, on_stdout, on_stderr, stop, cold)

    def _run(self, argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None, stdin: bytes, timeout_s: float,
             on_stdout: Sink | None, on_stderr: Sink | None, stop: Callable[[], bool] | None, cold: bool) -> Result:
        from ebpf.testing.guests.machine import Qemu

        if self._snapshot and not cold:
            self.snapshot()
        saved = self.machine.snapshot()
        resume = saved if saved.exists() and not cold else None
        job = _job(self.machine, argv, cwd or os.getcwd(), os.environ if env is None else env)
        start = time.monotonic()
        with Qemu(self.machine, resume=resume) as qemu:
            talk = _Conversation(qemu, job, stdin, on_stdout, on_stderr)
            status = talk.until_exit(start + timeout_s, stop)
            if status is None:
                # Finding out why needs what the machine still has to say.
                qemu.process.kill()
                complaint = qemu.process.stderr.read() if qemu.process.stderr else b""
                talk.drain()
                why = talk.ended or f"not done after {timeout_s:g} s"
                log = (complaint.decode(errors="replace") + talk.console).strip()
                raise GuestError(f"guest {self.machine.kernel.name}: {why}" + (f"\n{log[-4000:]}" if log else ""))
            qemu.process.kill()
            talk.drain()
            return Result(status, bytes(talk.out), bytes(talk.err), talk.console, time.monotonic() - start)


def _job(machine: Machine, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> bytes:
    """The shell script that pid 1 reads without an argument (to prepare) and the command's shell with one (to go)."""
    quote, release = shlex.quote, machine.kernel.release
    lines = ['if [ "${1:-}" != go ]; then',
             f"$b date -u -s @{time.time():.0f} >/dev/null",
             f"m=/usr/lib/modules/{release}; $b mkdir -p $m",
             f"$b ln -sf {quote(str(machine.kernel.modules.resolve()))}/* $m/"]
    if (config := machine.kernel.directory / "config").exists():
        lines.append(f"[ -e /boot/config-{release} ] || $b ln -s {quote(str(config.resolve()))} /boot/config-{release}")
    for tag, path in zip(machine.share_tags()[1:], machine.shares, strict=True):
        lines.append(f"$b mount -t 9p -o rw,cache=mmap,trans=virtio,version=9p2000.L,msize=512000 {tag} {quote(path)}"
                     " || { echo 'cannot mount a shared directory' >/dev/console; $b reboot -f; }")
    lines.append("else")
    lines += [f"export {name}={quote(value)}" for name, value in env.items() if re.fullmatch(r"[A-Za-z_]\w*", name)]
    lines += [f"cd {quote(cwd)} || exit 125", "exec " + " ".join(map(quote, argv)), "fi", ""]
    return "\n".join(lines).encode()


class _Conversation:
    """Feeds a guest its job and stdin and takes what comes back, until it says that the command has ended."""

    def __init__(self, qemu: Qemu, job: bytes, stdin: bytes, on_stdout: Sink | None, on_stderr: Sink | None) -> None:
        self.ended = ""
        self.out, self.err = bytearray(), bytearray()
        self._control, self._console = bytearray(), bytearray()
        self._ports = qemu.ports
        self._sinks: dict[str, Sink] = {
            "out": on_stdout or self.out.extend, "err": on_stderr or self.err.extend,
            "control": self._control.extend, "console": self._console.extend}
        self._feeds = {"control": memoryview(b"%d\n" % len(job) + job), "in": memoryview(stdin)}
        self._selector = selectors.DefaultSelector()
        for name, port in qemu.ports.items():
            port.setblocking(False)
            events = selectors.EVENT_WRITE if name in self._feeds else 0
            self._selector.register(port, events | (selectors.EVENT_READ if name in self._sinks else 0), name)

    @property
    def console(self) -> str:
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    def until_exit(self, deadline: float, stop: Callable[[], bool] | None) -> int | None:
        """The command's exit status; None when the machine or the time ended first (``ended`` says which)."""
        while (left := deadline - time.monotonic()) > 0:
            for key, ready in self._selector.select(min(left, 0.1) if stop else left):
                if ready & selectors.EVENT_WRITE:
                    self._feed(key.data)
                if ready & selectors.EVENT_READ and not self._take(key.data):
                    self.ended = "the machine died before the command ended"
                    return None
            if (match := re.search(rb"^exit (\d+)\n", self._control, re.M)) is not None:
                return int(match[1])
            if stop is not None and stop():
                self.ended = "stopped"
                return None
        return None

    def drain(self) -> None:
        """Takes what the (killed) machine had sent already."""
        for name in self._sinks:
            while self._take(name, wait=True):
                pass
        self._selector.close()

    def _feed(self, name: str) -> None:
        port, data = self._ports[name], self._feeds[name]
        try:
            if data:
                self._feeds[name] = data = data[port.send(data, socket.MSG_NOSIGNAL):]
        except BlockingIOError:
            return
        except ConnectionError:
            data = memoryview(b"")
        if not data:
            if name == "control":
                self._selector.modify(port, selectors.EVENT_READ, name)
            else:
                self._selector.unregister(port)
                # Not close(): QEMU would drop what the guest has yet to read.
                try:
                    port.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

    def _take(self, name: str, wait: bool = False) -> bool:
        port = self._ports[name]
        try:
            if wait:
                port.settimeout(1)
            data = port.recv(1 << 16)
        except (BlockingIOError, TimeoutError):
            return not wait
        except ConnectionError:
            data = b""
        if data:
            self._sinks[name](data)
        return bool(data)
