"""The process behind a `Wire`: it makes namespaces and devices, answers on the far side, and ends when the wire does.

Three namespaces: the near one has the device ``eth0`` whose traffic programs work on, the far one is the rest of the
world, and between them lie two devices that nothing but our packet sockets connects::

    near: eth0 ══ near0 :middle: far0 ══ eth0 :far
                   └─ packet sockets, in ─┘
                      the user's process

So each frame waits in user space, between leaving one side and reaching the other, for what a program says of it.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ebpf.machine.network.demonstration import CLIENT_4, CLIENT_6, CLIENT_MAC, SERVER_4, SERVER_6, SERVER_MAC, checksum
from ebpf.machine.network.namespaces import NEW_NET, own_user_namespace, set_namespace, unshare
from ebpf.machine.network.netlink import Route, no_offloads

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_LIMIT = 1 << 16
_ALL_PROTOCOLS = 3
_SOL_PACKET, _AUXDATA, _QDISC_BYPASS, _IGNORE_OUTGOING = 263, 8, 20, 23
_BUFFER_BYTES = 4 << 20
_ECHO, _HTTP, _DISCARD = 7, 80, 9
_PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
_ROUND_SECONDS = 0.2


def main(control: int, device: str, mtu: int) -> None:
    """Set everything up, hand its descriptors over, and serve until the other end of ``control`` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the wire's owner, who ends us
    with socket.socket(fileno=control) as link, suppress(BrokenPipeError):  # whoever started us may have been killed
        stage = ["namespaces"]
        try:
            world = _World(device, mtu, stage)
        except OSError as error:
            link.send(json.dumps({"stage": stage[0], "errno": error.errno or 0, "text": str(error)}).encode())
            return
        answer = {"ifindex": world.ifindex, "user": world.user >= 0}
        fds = [world.near_socket.fileno(), world.far_socket.fileno(), world.near]
        socket.send_fds(link, [json.dumps(answer).encode()], fds + [world.user] * (world.user >= 0))
        world.near_socket.close()
        world.far_socket.close()
        _Server(link, world).run()


class _World:
    """The namespaces, by their descriptors, and the sockets in the middle one."""

    def __init__(self, device: str, mtu: int, stage: list[str]) -> None:
        self.user = -1
        try:
            unshare(NEW_NET)
        except PermissionError:
            own_user_namespace()
            self.user = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            unshare(NEW_NET)
        self.near = _here()
        unshare(NEW_NET)
        self.far = _here()
        unshare(NEW_NET)
        self.middle = _here()
        stage[0] = "devices"
        with Route() as route:
            route.add_veth("near0", device, CLIENT_MAC, self.near, mtu)
            route.add_veth("far0", device, SERVER_MAC, self.far, mtu)
            self.near_socket, self.far_socket = (_packet_socket(route, name) for name in ("near0", "far0"))
        self.inside(self.far, lambda: _configure(device, SERVER_4, SERVER_6))
        self.inside(self.near, lambda: _configure(device, CLIENT_4, CLIENT_6, SERVER_4, SERVER_6))
        self.ifindex: int = self.inside(self.near, lambda: socket.if_nametoindex(device))

    def inside(self, namespace: int, job: Callable[[], Any]) -> Any:
        """Do something in a namespace: sockets stay where they were made."""
        set_namespace(namespace, NEW_NET)
        try:
            return job()
        finally:
            set_namespace(self.middle, NEW_NET)


def _here() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _packet_socket(route: Route, name: str) -> socket.socket:
    """A socket that gets every frame arriving at a device of the middle, before anything else sees it."""
    no_offloads(name)
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    for option in (_QDISC_BYPASS, _IGNORE_OUTGOING):
        try:
            made.setsockopt(_SOL_PACKET, option, 1)
        except OSError:
            pass  # Linux before 4.20: the reader tells by the packet type
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    route.up(socket.if_nametoindex(name), promiscuous=True)
    made.bind((name, _ALL_PROTOCOLS))  # after it is up: a socket on a device that is down begins with an error
    return made


def _configure(device: str, v4: bytes, v6: bytes, *gateways: bytes) -> None:
    """In the current namespace: the device and the loopback switched on, with addresses and a way out."""
    no_offloads(device)
    try:  # ping without a capability, for the groups that exist here
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
            file.write(f"{os.getegid()} {os.getegid()}")
    except OSError:
        pass
    index = socket.if_nametoindex(device)
    with Route() as route:
        route.up(socket.if_nametoindex("lo"))
        route.up(index)
        route.add_address(index, v4, 24)
        try:
            route.add_address(index, v6, 64)
        except OSError:
            gateways = gateways[:1]  # no IPv6 in this kernel
        for gateway in gateways:
            route.add_default_route(gateway)


class _Server:
    """Echo (port 7, UDP and TCP) and a web page (port 80) on the far side; traffic of our own when asked for."""

    def __init__(self, link: socket.socket, world: _World) -> None:
        self.link = link
        self.world = world
        self.poll = select.poll()
        self.readers: dict[int, tuple[socket.socket, Callable[[socket.socket], None]]] = {}
        self.traffic: _Traffic | None = None
        world.inside(world.far, self.listen)
        self.watch(link, self.command)

    def listen(self) -> None:
        family = socket.AF_INET6 if os.path.exists("/proc/net/if_inet6") else socket.AF_INET
        for kind, port, reader in ((socket.SOCK_DGRAM, _ECHO, _echo_datagram), (socket.SOCK_STREAM, _ECHO, self.accept),
                                   (socket.SOCK_STREAM, _HTTP, self.accept)):
            made = socket.socket(family, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind(("", port))
            if kind == socket.SOCK_STREAM:
                made.listen(64)
            self.watch(made, reader)

    def watch(self, what: socket.socket, reader: Callable[[socket.socket], None]) -> None:
        what.setblocking(False)
        self.readers[what.fileno()] = what, reader
        self.poll.register(what, select.POLLIN)

    def forget(self, what: socket.socket) -> None:
        self.poll.unregister(what)
        del self.readers[what.fileno()]
        what.close()

    def accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.watch(connection, self.answer_http if listener.getsockname()[1] == _HTTP else self.echo)

    def echo(self, connection: socket.socket) -> None:
        data = connection.recv(65536)
        if not data:
            return self.forget(connection)
        connection.send(data)

    def answer_http(self, connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.send(_PAGE)
        self.forget(connection)

    def command(self, link: socket.socket) -> None:
        message = link.recv(4096)
        if not message:
            raise SystemExit(0)
        if message == b"traffic" and self.traffic is None:
            self.traffic = _Traffic(self.world)

    def run(self) -> None:
        while True:
            wait = None if self.traffic is None else max(0.0, self.traffic.due - time.monotonic()) * 1000
            for fd, _ in self.poll.poll(wait):
                if fd in self.readers:
                    what, reader = self.readers[fd]
                    try:
                        reader(what)
                    except OSError as error:
                        if what is not self.link and error.errno not in (errno.EAGAIN, errno.EINTR):
                            if what.type == socket.SOCK_STREAM and reader != self.accept:
                                self.forget(what)
            if self.traffic is not None and time.monotonic() >= self.traffic.due:
                self.traffic.round()


def _echo_datagram(what: socket.socket) -> None:
    data, sender = what.recvfrom(65536)
    what.sendto(data, sender)


class _Traffic:
    """Something for programs to see: pings both ways, datagrams that are echoed, a web page fetched, a broadcast."""

    def __init__(self, world: _World) -> None:
        self.world = world
        self.due = 0.0
        self.count = 0
        self.pending: list[socket.socket] = []
        self.near_ping, self.far_ping = (world.inside(side, _raw_icmp) for side in (world.near, world.far))
        self.broadcast = world.inside(world.far, lambda: _datagrams(socket.AF_INET))
        self.near_udp: tuple[socket.socket, socket.socket] = world.inside(
            world.near, lambda: (_datagrams(socket.AF_INET), _datagrams(socket.AF_INET6)))

    def round(self) -> None:
        """What goes out every fifth of a second."""
        self.count += 1
        self.due = time.monotonic() + _ROUND_SECONDS
        ping = b"\x08\0\0\0" + os.getpid().to_bytes(4, "big")[2:] + (self.count & 0xFFFF).to_bytes(2, "big") + bytes(48)
        ping = ping[:2] + checksum(ping).to_bytes(2, "little") + ping[4:]
        near, far = (socket.inet_ntop(socket.AF_INET, a) for a in (CLIENT_4, SERVER_4))
        far6 = socket.inet_ntop(socket.AF_INET6, SERVER_6)
        text = f"packet {self.count}".encode()
        _try(lambda: self.near_ping.sendto(ping, (far, 0)))
        _try(lambda: self.far_ping.sendto(ping, (near, 0)))
        _try(lambda: self.near_udp[0].sendto(text, (far, _ECHO)))
        _try(lambda: self.near_udp[1].sendto(text, (far6, _ECHO)))
        _try(lambda: self.broadcast.sendto(text, (near.rpartition(".")[0] + ".255", _DISCARD)))
        for used in (self.near_ping, self.far_ping, *self.near_udp):
            while _try(partial(used.recv, 65536)):
                pass
        if self.count % 5 == 1:
            self.fetch(far)

    def fetch(self, far: str) -> None:
        """Ask for the web page; what an earlier request brought is thrown away."""
        for old in self.pending:
            _try(partial(old.send, b"GET / HTTP/1.0\r\n\r\n"))
        done, self.pending = self.pending[:-1], self.pending[-1:]
        for old in done:
            old.close()
        made = self.world.inside(self.world.near, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.setblocking(False)
        made.connect_ex((far, _HTTP))
        self.pending.append(made)


def _try(job: Callable[[], Any]) -> Any:
    """What fails now (nobody answers, a program drops everything) is part of the demonstration."""
    try:
        return job()
    except OSError:
        return None


def _raw_icmp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made.setblocking(False)
    return made


def _datagrams(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setblocking(False)
    return made


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
