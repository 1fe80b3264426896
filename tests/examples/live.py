"""What makes the tracing examples see something on a running kernel, and what they must have seen then."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import ebpf
from tests.examples.events import plain
from tests.guests import modules

CLONE, GETPPID, OPEN = 56, 110, 2  # x86's numbers
TIMES = 200


class Seen(NamedTuple):
    """What a session's maps hold, and the records that came through its buffers."""

    maps: dict[str, dict[Any, Any]]
    records: dict[str, list[Any]]


class Live(NamedTuple):
    """``work`` makes events, and says whose (a process id); ``pick`` takes of what was seen what must be the same in
    Python and C, and must not be empty.
    """

    work: Callable[[], int]
    pick: Callable[[Seen, int], Any]


def seen(session: ebpf.Session) -> Seen:
    maps: dict[str, dict[Any, Any]] = {}
    records: dict[str, list[Any]] = {}
    for name, m in session.maps.items():
        if m.type.name == "RINGBUF":
            with m.events(timeout=0) as stream:
                records[name] = [plain(r) for r in stream]
        elif not name.startswith("."):
            maps[name] = {plain(k): plain(v) for k, v in m.items()}
    return Seen(maps, records)


# ------------------------------------------------------------------------------------------------------------ work


def fork() -> int:
    """Children by way of clone, one after another; who made them."""
    for _ in range(2):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    return os.getpid()


def ask() -> int:
    """A child that makes a known number of system calls; its id."""
    child = os.fork()
    if not child:
        for _ in range(TIMES):
            os.getppid()
        os._exit(0)
    os.waitpid(child, 0)
    return child


def run(*command: str) -> int:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    child.wait()
    return child.pid


def list_directory() -> int:
    os.listdir("/proc/self")
    return os.getpid()


def open_old() -> int:
    libc = ctypes.CDLL(None)
    for path in (b"/etc/passwd", b"/no/such/file"):
        fd = libc.syscall(OPEN, path, 0)
        if fd >= 0:
            os.close(fd)
    return os.getpid()


def open_files() -> int:
    os.close(os.open("/etc/passwd", os.O_RDONLY))
    try:
        os.open("/etc/no-such-file", os.O_RDONLY)
    except FileNotFoundError:
        pass
    return os.getpid()


def end() -> int:
    run("/bin/sh", "-c", "exit 3")
    run("/bin/sh", "-c", "kill -9 $$")
    return os.getpid()


def kill() -> int:
    os.kill(os.getpid(), 0)
    try:
        os.kill(4_000_000, signal.SIGTERM)
    except ProcessLookupError:
        pass
    return os.getpid()


def connect() -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            client.sendall(b"x")
            server.recv(1)
        server.close()
        try:
            socket.create_connection(("127.0.0.1", 1)).close()
        except ConnectionRefusedError:
            pass
    return os.getpid()


def use_files() -> int:
    with tempfile.TemporaryDirectory() as folder:
        fd = os.open(f"{folder}/file", os.O_RDWR | os.O_CREAT)
        for _ in range(TIMES):
            os.pwrite(fd, b"x", 0)
            os.pread(fd, 1, 0)
        os.fsync(fd)
        os.close(fd)
        os.mknod(f"{folder}/other")
    return os.getpid()


def use_disk() -> int:
    modules.load("loop")
    with tempfile.NamedTemporaryFile() as disk:
        disk.truncate(1 << 20)
        device = subprocess.check_output(["losetup", "-f", "--show", disk.name], text=True).strip()
        with open(device, "r+b", buffering=0) as file:
            file.write(bytes(65536))
            os.fsync(file.fileno())
        subprocess.check_call(["losetup", "-d", device])
    return os.getpid()


# ------------------------------------------------------------------------------------------------------------ picks


def of(buffer: str, whose: int = 0, without: int | None = None) -> Callable[[Seen, int], Any]:
    """The records of a buffer whose member number ``whose`` is that process, but for one member that tells the time."""
    def pick(s: Seen, pid: int) -> Any:
        return [tuple(v for i, v in enumerate(r) if i != without) for r in s.records[buffer] if r[whose] == pid]
    return pick


def at_least(name: str, least: int) -> Callable[[Seen, int], Any]:
    """Whether a histogram, or a count of all that the system does, has that many."""
    def pick(s: Seen, _: int) -> Any:
        return sum(v if isinstance(v, int) else sum(v) for v in s.maps[name].values()) >= least
    return pick


LIVE: dict[str, Live] = {
    "hello": Live(fork, of("clones")),
    "null_check": Live(fork, lambda s, _: s.maps["syscalls"][CLONE][0] >= 2),
    "syscall_counter": Live(ask, lambda s, _: s.maps["counts"][GETPPID] // TIMES),
    "getdents": Live(list_directory, of("listed", without=2)),
    "execve": Live(lambda: run("/bin/echo", "one", "two"), of("commands")),
    "open": Live(open_old, of("opens")),
    "opensnoop": Live(open_files, of("opened")),
    "execsnoop": Live(lambda: run("/bin/echo", "one", "two"), of("executed")),
    "exitsnoop": Live(end, of("ended", 1, without=3)),
    "killsnoop": Live(kill, of("sent")),
    "syscount": Live(ask, lambda s, pid: s.maps["usage"][pid][0] // TIMES),
    "tcpconnect": Live(connect, of("connected")),
    "tcplife": Live(connect, of("lives", without=5)),
    "vfsstat": Live(use_files, lambda s, _: [sum(n) >= least for n, least in zip(
        s.maps["entered"].values(), (TIMES, TIMES, 1, 1, 1), strict=True)]),
    "runqlat": Live(fork, at_least("waited", 4)),
    "biolatency": Live(use_disk, at_least("latency", 1)),
}
