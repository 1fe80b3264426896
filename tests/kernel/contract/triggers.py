"""What makes each hook run, done by this process to itself."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

FRAME = (bytes.fromhex("ffffffffffff020000000001" "0800") + bytes.fromhex(
    "4500002e00010000401166bd0a0900010a090002" "00090009001a0000") + bytes(18))


def getpgid() -> None:
    os.getpgid(0)


def fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def burn() -> None:
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass


def udp(host: str = "127.0.0.1") -> None:
    """A datagram to ourselves, answered; connected, asked for its names."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as there, socket.socket(family, socket.SOCK_DGRAM) as here:
        there.bind((host, 0))
        here.sendto(b"hello", there.getsockname()[:2])
        there.settimeout(5)
        _, sender = there.recvfrom(64)
        here.connect(there.getsockname()[:2])
        here.getpeername()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        here.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def udp6() -> None:
    udp("::1")


def tcp(host: str = "127.0.0.1") -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as one, listener.accept()[0] as other:
            one.sendall(b"hello")
            other.recv(16)


def unix() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{folder}/s")
            one.getpeername()
            listener.accept()[0].close()
        with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as a,
              socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as b):
            a.bind(f"{folder}/a")
            b.bind(f"{folder}/b")
            b.sendto(b"hello", f"{folder}/a")
            a.recvfrom(16)
            a.getsockname()


def shared_port() -> tuple[socket.socket, Callable[[], None]]:
    """A socket with SO_REUSEPORT, and what sends it a datagram."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"hello", sock.getsockname())
        sock.settimeout(0.2)
        with suppress(OSError):
            sock.recv(16)

    return sock, send


def sysctl() -> None:
    with open("/proc/sys/net/core/somaxconn") as file:
        file.read()


def device() -> None:
    with open("/dev/null", "rb"):
        pass


def frame() -> None:
    """A frame from ``v0`` to its peer ``v1``."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("v0", 0))
        sock.send(FRAME)


def route() -> None:
    """A datagram that a route of ours would carry."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
        sock.sendto(b"hello", ("10.77.0.1", 9))


def talk(one: socket.socket, other: socket.socket) -> None:
    one.sendall(b"hello")
    other.settimeout(1)
    with suppress(OSError):
        other.recv(16)


def connection(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    one = stack.enter_context(socket.create_connection(listener.getsockname()))
    return one, stack.enter_context(listener.accept()[0])


def devices() -> bool:
    """Devices of our own in this network namespace: ``v0`` and ``v1``, two ends of a cable."""
    made = subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], capture_output=True)
    if made.returncode:
        return False
    for command in (["ip", "link", "set", "v0", "up"], ["ip", "link", "set", "v1", "up"],
                    ["ip", "addr", "add", "10.9.0.1/24", "dev", "v0"]):
        subprocess.run(command, check=True, capture_output=True)
    return True


def in_thread(job: Callable[[], None]) -> None:
    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
