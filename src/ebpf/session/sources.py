"""Where the machine's events come from: a command that is traced, a network device of its own, packets of a file.

`find` gives the source for a kind of attachment, and makes it when it is the first one. What the user asked for
(`ebpf.use`) is heeded: a command is traced, or runs in the network; packets of a capture take the network's place.
Otherwise a demonstration of ours is to be seen.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from itertools import islice
from signal import Signals
from typing import TYPE_CHECKING, Any, Protocol

from ebpf.errors import EbpfError, NotSupported, TargetNotFound
from ebpf.session import world as worlds
from ebpf.session.choice import wish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ebpf.machine.hooks import Hooks
    from ebpf.machine.network import Wire
    from ebpf.session.backend import Link
    from ebpf.session.on_machine import OnMachine
    from ebpf.session.world import World

_NETWORK = ("xdp", "tcx", "raw_socket")
_NEVER = float("inf")
_DEMONSTRATION_S = 3.5
_AT_ONCE = 64  # packets of a file, before readers have their turn


class Source(Protocol):
    """Something that happens: it begins with `release`, happens in `dispatch`, and has `ended` at some time."""

    @property
    def ended(self) -> bool: ...

    def has(self, target: Any) -> bool:
        """Whether ``target`` is one of its own."""

    def attach(self, session: OnMachine, kind: str, program: str, target: Any, details: Mapping[str, Any]) -> Link:
        """Let a program run at its events."""

    def forget(self, session: OnMachine) -> None:
        """The session is over."""

    def fileno(self) -> int:
        """Readable when `dispatch` has something to do; -1: `due` says it."""

    def due(self) -> float:
        """When (time.monotonic) `dispatch` has something to do in any case."""

    def release(self) -> None:
        """Begin."""

    def dispatch(self) -> int:
        """Let programs run on what waits; how many events there were."""

    def tell(self) -> None:
        """Say on standard error how it ended, if that is of interest."""

    def close(self) -> None:
        """End it."""


def find(world: World, kind: str, target: Any) -> Source:
    """The source of events of that kind."""
    network = kind in _NETWORK
    for source in world.sources:
        if isinstance(source, Traced) != network and source.has(target):
            return source
    made = _network(world, target) if network else Traced(world)
    world.sources.append(made)
    return made


def _network(world: World, device: Any) -> Network | Fed:
    from ebpf.machine.network import demonstration_packets, read_pcap

    if wish.pcap:
        return Fed((packet.ethernet() for packet in read_pcap(wish.pcap)), str(device), _AT_ONCE)
    try:
        return Network(world, str(device))
    except NotSupported as error:
        _say(f"no network device of our own ({error.notes[-1] if error.notes else error.message}): "
             f"a few bundled packets arrive at {device} instead")
        return Fed(_again_and_again(demonstration_packets()), str(device), 1)


def _again_and_again(packets: list[bytes]) -> Iterator[bytes]:
    end = time.monotonic() + _DEMONSTRATION_S
    while time.monotonic() < end:
        yield from packets


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()  # what was printed before stands before it, where both go to one place
    sys.stderr.write(f"ebpf: {text}\n")  # one write: other threads write, too
    sys.stderr.flush()


def _how_it_ended(argv: tuple[str, ...], status: int | None) -> str:
    name = os.path.basename(argv[0])
    if status is None:
        return f"{name} has ended"
    if status >= 0:
        return f"{name} has ended with exit status {status}"
    try:
        return f"{name} was ended by {Signals(-status).name}"
    except ValueError:
        return f"{name} was ended by signal {-status}"


def _syscalls_like(pattern: str) -> list[str]:
    """Functions of system calls whose names match, as the kernel calls them or as ``sys_NAME``."""
    from fnmatch import fnmatchcase

    from ebpf.abi.syscalls import FUNCTION_PREFIXES, kernel_function_of, syscall_names

    functions = ["sys_" + kernel_function_of(name) for name in syscall_names(os.uname().machine).values()]
    return [function for function in functions
            if any(fnmatchcase(prefix + function[4:], pattern) for prefix in FUNCTION_PREFIXES)]


class _Link:
    """What links of the machine cannot do."""

    def pin(self, path: str) -> None:
        """There is nothing that would outlive the process."""
        raise NotSupported("pinning", who="the userspace machine", instead="keep the process running")

    def update(self, program: object) -> None:
        """A program of the machine is exchanged by attaching the other one."""
        raise NotSupported("changing the program of an attachment", who="the userspace machine",
                           instead="attach the new one, then detach this one")

    def info(self) -> None:
        """No kernel knows of it."""

    def fileno(self) -> int:
        """-1: no descriptor stands for it."""
        return -1


class Group(_Link):
    """Several links that come and go together; ``functions`` names what they are on."""

    def __init__(self, links: Sequence[Link], program: str) -> None:
        self.links = tuple(links)
        self.functions = tuple(link.target for link in links)
        self.kind = links[0].kind
        self.program = program
        self.target = f"{len(self.links)} functions"

    @property
    def attached(self) -> bool:
        return any(link.attached for link in self.links)

    def detach(self) -> None:
        for link in self.links:
            link.detach()

    close = detach

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


class Traced:
    """A command and its children: the user's, or a demonstration (`ebpf.machine.tracing.workload`)."""

    def __init__(self, world: World) -> None:
        from ebpf.machine.tracing import Tracer, workload

        self.argv = wish.command or (sys.executable, "-I", "-S", workload.__file__)
        wire = next((source.wire for source in world.sources if isinstance(source, Network)), None)
        self.tracer = Tracer(self.argv, namespaces=wire.namespaces if wire is not None else ())
        self._hooks: dict[int, Hooks] = {}

    def has(self, target: Any) -> bool:
        return True

    @property
    def ended(self) -> bool:
        return self.tracer.ended

    def attach(self, session: OnMachine, kind: str, program: str, target: Any, details: Mapping[str, Any]) -> Link:
        from ebpf.machine.hooks import Hooks
        from ebpf.session.host import host

        hooks = self._hooks.get(id(session))
        if hooks is None:
            hooks = self._hooks[id(session)] = Hooks(session.machine, self.tracer, lock=worlds.lock, btf=host.btf)
        if kind == "kprobe_multi":
            return self._attach_many(hooks, program, _syscalls_like(target), partly=True, **details)
        if kind == "kprobes":
            return self._attach_many(hooks, program, target, **details)
        if kind in ("uprobe", "uretprobe"):
            from ebpf.binaries.place import locate

            place = locate(target, **{name: details[name] for name in ("symbol", "address", "offset")})
            link = hooks.attach(kind, program, place.path, offset=place.offset, pid=details["pid"],
                                cookie=details["cookie"])
            link.target = place.text
            return link
        return hooks.attach(kind, program, target, **details)

    def _attach_many(self, hooks: Hooks, program: str, functions: Sequence[str], *, retprobe: bool,
                     partly: bool) -> Group:
        links: list[Any] = []
        refusal: EbpfError | None = None
        try:
            for function in dict.fromkeys(functions):
                try:
                    links.append(hooks.attach("kretprobe" if retprobe else "kprobe", program, function))
                except (NotSupported, TargetNotFound) as error:
                    refusal = error
                    if not partly:
                        raise
            if not links:
                raise refusal or TargetNotFound("no function to attach to", name="")
        except BaseException:
            for link in links:
                link.detach()
            raise
        return Group(links, program)

    def forget(self, session: OnMachine) -> None:
        self._hooks.pop(id(session), None)

    def fileno(self) -> int:
        return self.tracer.fileno()

    def due(self) -> float:
        return _NEVER

    def release(self) -> None:
        self.tracer.release()

    def dispatch(self) -> int:
        return self.tracer.dispatch(0)

    def tell(self) -> None:
        if wish.command:
            _say(_how_it_ended(self.argv, self.tracer.exit_status))

    def close(self) -> None:
        self.tracer.close()


class Network:
    """A network device of our own, in which the user's command runs, or a demonstration makes traffic."""

    def __init__(self, world: World, device: str) -> None:
        from ebpf.machine.network import Wire

        self._world = world
        self.wire: Wire = Wire(device)
        self.wire.lock = worlds.lock
        self._command: Any = None
        self._until = _NEVER

    def has(self, device: Any) -> bool:
        return str(device) in ("", self.wire.device)

    @property
    def _traced(self) -> Traced | None:
        return next((source for source in self._world.sources if isinstance(source, Traced)), None)

    @property
    def ended(self) -> bool:
        if wish.command and self._traced is not None:
            return self._traced.ended
        if self._command is not None:
            return self._command.poll() is not None
        return time.monotonic() >= self._until

    def attach(self, session: OnMachine, kind: str, program: str, target: Any, details: Mapping[str, Any]) -> Link:
        if details.get("before") is not None or details.get("after") is not None:
            raise NotSupported("a place among other programs", who="the userspace machine",
                               instead="attach them in the order in which they are to run")
        return self.wire.attach(session.machine, program, str(target), kind=details.get("side"))

    def forget(self, session: OnMachine) -> None:
        pass  # its links are detached

    def fileno(self) -> int:
        return self.wire.fileno()

    def due(self) -> float:
        return _NEVER

    def release(self) -> None:
        if not wish.command:
            self.wire.demonstrate()
            self._until = time.monotonic() + _DEMONSTRATION_S
        elif self._traced is None:
            self._command = self.wire.start(wish.command)

    def dispatch(self) -> int:
        return self.wire.dispatch(0)

    def tell(self) -> None:
        if self._command is not None:
            _say(_how_it_ended(wish.command, self._command.returncode))

    def close(self) -> None:
        self.wire.close()


class _FedLink(_Link):
    """A program that packets are fed to."""

    def __init__(self, source: Fed, session: OnMachine, program: str, kind: str, target: str) -> None:
        self._source: Fed | None = source
        self.session = session
        self.program = program
        self.kind = kind
        self.target = target

    @property
    def attached(self) -> bool:
        return self._source is not None

    def detach(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.links.remove(self)

    close = detach

    def __enter__(self) -> _FedLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


class Fed:
    """Packets out of a file, or bundled ones: each is run through the attached programs, then forgotten."""

    def __init__(self, packets: Iterator[bytes], device: str, at_once: int) -> None:
        self.links: list[_FedLink] = []
        self.ended = False
        self._packets = packets
        self._device = device
        self._at_once = at_once
        self._due = _NEVER

    def has(self, device: Any) -> bool:
        return str(device) in ("", self._device)

    def attach(self, session: OnMachine, kind: str, program: str, target: Any, details: Mapping[str, Any]) -> Link:
        link = _FedLink(self, session, program, kind, str(target))
        self.links.append(link)
        return link

    def forget(self, session: OnMachine) -> None:
        pass

    def fileno(self) -> int:
        return -1

    def due(self) -> float:
        return _NEVER if self.ended else self._due

    def release(self) -> None:
        self._due = 0.0

    def dispatch(self) -> int:
        count = 0
        for packet in islice(self._packets, self._at_once):
            count += 1
            with worlds.lock:
                for link in list(self.links):
                    link.session.machine.run(link.program, packet)
        if not count:
            self.ended = True
        elif self._at_once == 1:
            self._due = time.monotonic() + 0.02  # at the pace of a quiet network
        return count

    def tell(self) -> None:
        pass

    def close(self) -> None:
        self.ended = True
