"""A network device of our own, without root: its frames wait in this process for what programs say of them.

A child of ours (`ebpf.machine.network.peer` draws the picture) makes network namespaces with a device, ``eth0``, and a
far side that answers: ARP, neighbour discovery and ping (the kernel's own stack does that), echo on port 7 by UDP and
TCP, a web page on port 80. Commands started inside see a machine with one network card. Frames that leave the device or
are about to reach it come to `dispatch`, which runs the attached programs and does what they decided: programs see real
packets, and the stack behind them sees what they let through.

In the order of a kernel: frames that arrive meet XDP, packet sockets, tc ingress; frames that leave meet tc egress,
then packet sockets.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from struct import Struct, pack
from typing import TYPE_CHECKING, Any, Final

from ebpf.abi.actions import TC_ACT_REDIRECT, TC_ACT_UNSPEC
from ebpf.abi.programs import ProgType
from ebpf.errors import AttachError, NotSupported, TargetNotFound, UsageError
from ebpf.machine.network.demonstration import CLIENT_4, CLIENT_6, CLIENT_MAC, SERVER_4, SERVER_6, SERVER_MAC
from ebpf.machine.network.namespaces import Inside, end_with_parent
from ebpf.machine.network.verdicts import Way, ingress_context, tc_way, with_tag, without_tag, xdp_way

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ebpf.machine.machine import Machine

_FRAME_LIMIT = 1 << 16
_BATCH = 64  # frames of one side before the other has its turn
_SOL_PACKET, _STATISTICS = 263, 6
_AUXDATA, _VLAN_VALID, _VLAN_TPID_VALID = 8, 1 << 4, 1 << 6
_AUX = Struct("=IIIHHHH")  # status, bytes on the wire, captured, mac, network, VLAN tag, its protocol
_OUTGOING = 4  # PACKET_OUTGOING
_MAX_DEPTH: Final = 8  # redirects of one frame from program to program; the kernel's XMIT_RECURSION_LIMIT
_KINDS = ("xdp", "ingress", "egress", "socket")
_KIND_OF = {int(ProgType.XDP): "xdp", int(ProgType.SOCKET_FILTER): "socket"}
_TC = frozenset({int(ProgType.SCHED_CLS), int(ProgType.SCHED_ACT)})


class WireLink:
    """A program at work on a `Wire`. ``kind`` is ``"xdp"``, ``"ingress"``, ``"egress"`` or ``"socket"``; of a socket
    filter, ``socket`` gives the frames that it kept, one a datagram.
    """

    def __init__(self, wire: Wire, machine: Machine, program: str, kind: str) -> None:
        self.program = program
        self.kind = kind
        self.target = wire.device
        self.machine = machine
        self.socket: socket.socket | None = None
        self.lost = 0  #: frames that a socket filter kept and nobody had room for
        self._wire: Wire | None = wire
        self._sink: socket.socket | None = None
        if kind == "socket":
            self.socket, self._sink = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._sink.setblocking(False)

    def __repr__(self) -> str:
        return f"<WireLink {self.program} ({self.kind}) on {self.target}{'' if self.attached else ', detached'}>"

    @property
    def attached(self) -> bool:
        return self._wire is not None

    def fileno(self) -> int:
        """The socket of a socket filter; of others -1: no descriptor of the kernel's stands for them."""
        return self.socket.fileno() if self.socket is not None else -1

    def detach(self) -> None:
        """Frames pass without it from now on. Doing it twice is fine."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire._detached(self)
            if self._sink is not None:
                self._sink.close()  # whoever reads the socket gets what is left, then its end

    close = detach

    def pin(self, path: str) -> None:
        """There is nothing that would outlive the process."""
        raise NotSupported("pinning", who="the userspace machine", instead="keep the process running")

    def update(self, program: object) -> None:
        """A program of the machine is exchanged by attaching the other one."""
        raise NotSupported("changing the program of an attachment", who="the userspace machine",
                           instead="attach the new one, then detach this one")

    def info(self) -> None:
        """No kernel knows of it."""

    def __enter__(self) -> WireLink:
        return self

    def __exit__(self, *exc: object) -> None:
        self.detach()

    def keep(self, frame: bytes) -> None:
        """Hand a frame to the socket's reader; one who doesn't read loses it, as with a packet socket."""
        try:
            assert self._sink is not None
            self._sink.send(frame)
        except OSError:
            self.lost += 1


class Wire:
    """See the module's text. Raises `NotSupported` where this user may not have network namespaces.

    ``device`` is the name of the near side's device, ``mtu`` its largest packet. ``lock`` is held while programs run;
    put another one there to share it. Nothing moves unless somebody calls `dispatch`.
    """

    near_ip: Final = socket.inet_ntop(socket.AF_INET, CLIENT_4)
    far_ip: Final = socket.inet_ntop(socket.AF_INET, SERVER_4)
    near_ip6: Final = socket.inet_ntop(socket.AF_INET6, CLIENT_6)
    far_ip6: Final = socket.inet_ntop(socket.AF_INET6, SERVER_6)
    near_mac: Final = CLIENT_MAC
    far_mac: Final = SERVER_MAC

    def __init__(self, device: str = "eth0", *, mtu: int = 1500) -> None:
        if device == "lo":
            raise NotSupported("holding back the frames of a loopback device", who="the userspace machine",
                               instead="name the device eth0: the machine makes one of that name")
        if not 0 < len(device.encode()) < 16 or "/" in device or device.isspace() or not 68 <= mtu <= 65535:
            raise UsageError(f"no network device can be called {device!r} with an MTU of {mtu}")
        self.device = device
        self.mtu = mtu
        self.lock: Any = threading.RLock()
        self.received = 0  #: frames that arrived for the device
        self.sent = 0  #: frames that left it
        self.dropped = 0  #: frames that a program stopped
        self.lost = 0  #: frames that came faster than they were dispatched
        self._links: dict[str, list[WireLink]] = {kind: [] for kind in _KINDS}
        self._commands: list[subprocess.Popen[bytes]] = []
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._peer = _start_peer(theirs, device, mtu)
        try:
            answer, fds = self._answer()
        except BaseException:
            self._end_peer()
            raise
        self.ifindex: int = answer["ifindex"]
        self._near, self._far = (socket.socket(fileno=fd) for fd in fds[:2])
        #: a way in for a child, between fork and exec
        self.enter = Inside(fds[3] if answer["user"] else -1, fds[2])
        self._fds = fds[2:]
        self._poll = select.epoll()
        for end in (self._near, self._far):
            end.setblocking(False)
            self._poll.register(end, select.EPOLLIN)

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        message, fds, _, _ = socket.recv_fds(self._control, 65536, 4)
        answer = json.loads(message or b'{"stage": "start", "errno": 0, "text": "its process ended"}')
        if "stage" in answer:
            raise _refusal(answer)
        return answer, fds

    def __repr__(self) -> str:
        return f"<Wire {self.device}: {self.received} frames received, {self.sent} sent, {self.dropped} dropped>"

    # ---- programs ----

    def attach(self, machine: Machine, program: str, device: str = "", *, kind: str | None = None) -> WireLink:
        """Let ``program`` of ``machine`` work on the device's frames. ``kind`` is what its type says; of a tc program,
        ``"egress"`` if it is for frames that leave, else those that arrive.

        Raises `TargetNotFound` for another device, `AttachError` for a second XDP program, `NotSupported` for programs
        of other types, `VerifierError` for one that isn't safe.
        """
        found = machine.program(program)
        if device not in ("", self.device):
            raise TargetNotFound(f"there is no network device {device!r} in the machine, only {self.device!r}",
                                 name=device, similar=(self.device,))
        usual = _KIND_OF.get(found.type, "ingress" if found.type in _TC else None)
        if usual is None:
            raise NotSupported(f"{ProgType(found.type).name.lower()} programs on a network device",
                               who="the userspace machine", instead="XDP, tc and socket filter programs work there")
        if kind is None:
            kind = usual
        elif kind not in _KINDS or (kind != usual and not (found.type in _TC and kind == "egress")):
            raise UsageError(f"{program!r} cannot be attached as {kind!r}: it is of type "
                             f"{ProgType(found.type).name.lower()}")
        with self.lock:
            if kind == "xdp" and self._links["xdp"]:
                raise AttachError(f"{self.device} has an XDP program already: {self._links['xdp'][0].program!r}",
                                  helps=("detach that one first",))
            link = WireLink(self, machine, program, kind)
            self._links[kind].append(link)
        return link

    def _detached(self, link: WireLink) -> None:
        with self.lock:
            self._links[link.kind].remove(link)

    # ---- frames ----

    def fileno(self) -> int:
        """Readable when frames wait."""
        return self._poll.fileno()

    def dispatch(self, timeout: float | None = None) -> int:
        """Let waiting frames go their way; how many there were. Waits for the first one up to ``timeout`` seconds
        (``None``: as long as it takes). A program's fault comes out as `MachineFault`; its frame is dropped.
        """
        count = 0
        for fd, _ in self._poll.poll(timeout):
            end, arrive = (self._far, self._arrives) if fd == self._far.fileno() else (self._near, self._leaves)
            for _ in range(_BATCH):
                frame = _receive(end)
                if frame is None:
                    break
                count += 1
                if frame:
                    with self.lock:
                        arrive(frame, 0)
        return count

    def _arrives(self, frame: bytes, depth: int) -> None:
        """From the far side: XDP, packet sockets, tc ingress, the near stack."""
        self.received += 1
        for link in self._links["xdp"]:
            run = link.machine.run(link.program, frame, ctx=pack("<IIIIII", 0, 0, 0, self.ifindex, 0, 0))
            way, frame = xdp_way(run, self.ifindex, link.machine), run.data
            if way is not Way.ON:
                return self._goes(way, frame, depth)
        self._tap(frame, outgoing=False)
        way, frame = self._traffic_control("ingress", frame, depth)
        if way is Way.ON:
            self._deliver(frame)
        else:
            self._goes(way, frame, depth)

    def _leaves(self, frame: bytes, depth: int) -> None:
        """From the near side: tc egress, packet sockets, the wire."""
        way, frame = self._traffic_control("egress", frame, depth)
        if way is not Way.ON:
            return self._goes(way, frame, depth)
        self._tap(frame, outgoing=True)
        self._transmit(frame)

    def _goes(self, way: Way, frame: bytes, depth: int) -> None:
        """What happens to a frame that a program took out of its way."""
        if way is Way.DROP or depth >= _MAX_DEPTH:
            self.dropped += 1
        elif way is Way.OUT:
            self._tap(frame, outgoing=True)
            self._transmit(frame)
        elif way is Way.OUT_AGAIN:
            self._leaves(frame, depth + 1)
        else:
            self._arrives(frame, depth + 1)

    def _traffic_control(self, side: str, frame: bytes, depth: int) -> tuple[Way, bytes]:
        way = Way.ON
        for link in self._links[side]:
            plain, tag = without_tag(frame)
            environment = link.machine.environment
            environment.packet_type = self._packet_type(frame) if side == "ingress" else 0
            try:
                run = link.machine.run(link.program, plain, ctx=ingress_context(self.ifindex, tag, side == "ingress"))
            finally:
                environment.packet_type = None
            frame = with_tag(run.data, run.context)
            for clone, where in run.clones:
                self._goes(tc_way(TC_ACT_REDIRECT, where, self.ifindex), clone, depth)
            verdict = run.result - (run.result >> 31 << 32)
            if run.redirect is not None and run.redirect.neighbour:
                frame = SERVER_MAC + CLIENT_MAC + frame[12:]
            way = tc_way(verdict, run.redirect, self.ifindex)
            if verdict != TC_ACT_UNSPEC:  # else the next program decides
                break
        return way, frame

    def _packet_type(self, frame: bytes) -> int:
        """As eth_type_trans tells it: for us, to all, to many, for somebody else."""
        to = frame[:6]
        return 0 if to == CLIENT_MAC else 1 if to == b"\xff" * 6 else 2 if to[0] & 1 else 3

    def _tap(self, frame: bytes, *, outgoing: bool) -> None:
        """Packet sockets see what passes; their filters say how many bytes of it they keep."""
        for link in self._links["socket"]:
            environment = link.machine.environment
            environment.packet_type = _OUTGOING if outgoing else self._packet_type(frame)
            environment.raw_socket = True
            try:
                kept = link.machine.run(link.program, frame, ctx=ingress_context(self.ifindex, None, False)).result
            finally:
                environment.packet_type, environment.raw_socket = None, False
            if kept:
                link.keep(frame[:kept])

    def _deliver(self, frame: bytes) -> None:
        self._send(self._near, frame)

    def _transmit(self, frame: bytes) -> None:
        self.sent += self._send(self._far, frame)

    def _send(self, end: socket.socket, frame: bytes) -> bool:
        try:
            end.send(frame)
            return True
        except OSError as error:
            # A program made it too long (EMSGSIZE) or too short, or the other side is full: frames get lost that way.
            if error.errno not in (errno.EMSGSIZE, errno.EINVAL, errno.ENOBUFS, errno.EAGAIN, errno.ENETDOWN):
                raise
            self.dropped += 1
            return False

    def count_lost(self) -> int:
        """Add up what the kernel had no room for until now."""
        for end in (self._near, self._far):
            _, drops = Struct("=II").unpack(end.getsockopt(_SOL_PACKET, _STATISTICS, 8))
            self.lost += drops
        return self.lost

    # ---- who makes traffic ----

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Paths of the near side's namespaces (user, where there is one, and network), for a process to enter in that
        order; good while the wire is open.
        """
        return tuple(f"/proc/{os.getpid()}/fd/{fd}" for fd in (self.enter.user, self.enter.net) if fd >= 0)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None,
              stdin: Any = None, stdout: Any = None, stderr: Any = None) -> subprocess.Popen[bytes]:
        """Run a command whose only network is the wire's. `close` ends it, and the end of the calling thread."""
        def prepare() -> None:
            self.enter()
            end_with_parent()

        command = subprocess.Popen(list(argv), preexec_fn=prepare, env=env, cwd=cwd, stdin=stdin,
                                   stdout=stdout, stderr=stderr)
        self._commands.append(command)
        return command

    def demonstrate(self) -> None:
        """Let the child make traffic from now on, in both directions, a handful of packets five times a second."""
        self._control.send(b"traffic")

    # ---- the end ----

    def close(self) -> None:
        """Detach every program, end every process that was started here, and give the namespaces back."""
        if self._peer is None:
            return
        for links in self._links.values():
            for link in list(links):
                link.detach()
        for command in self._commands:
            if command.poll() is None:
                command.terminate()
        for command in self._commands:
            try:
                command.wait(2)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()
        self._poll.close()
        self._near.close()
        self._far.close()
        for fd in self._fds:
            os.close(fd)
        self._end_peer()

    def _end_peer(self) -> None:
        peer, self._peer = self._peer, None
        self._control.close()
        if peer is not None:
            try:
                peer.wait(2)
            except subprocess.TimeoutExpired:
                peer.send_signal(signal.SIGKILL)
                peer.wait()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_peer", None) is not None:
            self.close()


def _start_peer(theirs: socket.socket, device: str, mtu: int) -> subprocess.Popen[bytes] | None:
    """A fresh interpreter: namespaces want a process with one thread."""
    import ebpf

    place = os.path.dirname(os.path.dirname(os.path.abspath(ebpf.__file__)))
    code = f"import sys; sys.path.insert(0, {place!r}); from ebpf.machine.network.peer import main; " \
           f"main({theirs.fileno()}, {device!r}, {mtu})"
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", code], pass_fds=[theirs.fileno()],
                            stdin=subprocess.DEVNULL)


def _refusal(answer: dict[str, Any]) -> NotSupported:
    """Why there is no wire, in words: what the child met when it made namespaces or devices."""
    number = answer["errno"]
    notes = [f"making its {answer['stage']} failed: {answer['text']}"]
    helps = ["packets of a file do not need it (`--pcap FILE`)"]
    if answer["stage"] == "namespaces" and number in (errno.EPERM, errno.EACCES):
        notes.append("this user may not have user namespaces (Ubuntu's AppArmor, containers' seccomp restrict them)")
        helps.insert(0, "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0 "
                        "(Debian: kernel.unprivileged_userns_clone=1)")
    elif answer["stage"] == "namespaces" and number in (errno.ENOSPC, errno.EUSERS):
        notes.append("no more user or network namespaces are allowed here")
        helps.insert(0, "as root: sysctl user.max_user_namespaces=10000 user.max_net_namespaces=10000")
    error = NotSupported("a network device of the user's own", who="this system", notes=notes)
    error.helps = tuple(helps)
    return error


def _receive(end: socket.socket) -> bytes | None:
    """The next frame whole, VLAN tag included; ``None``: there is none; empty: one that is not for us."""
    try:
        frame, extra, _, address = end.recvmsg(_FRAME_LIMIT, 64)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        if error.errno == errno.ENETDOWN:
            return None
        raise
    if address[2] == _OUTGOING:
        return b""
    for level, kind, data in extra:
        if level == _SOL_PACKET and kind == _AUXDATA and len(data) >= _AUX.size:
            status, _, _, _, _, tag, protocol = _AUX.unpack_from(data)
            if status & _VLAN_VALID:  # the kernel took it out
                protocol = protocol if status & _VLAN_TPID_VALID else 0x8100
                return frame[:12] + pack(">HH", protocol, tag) + frame[12:]
    return frame
