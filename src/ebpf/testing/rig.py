"""`load` and `Rig`: programs under test, with the world around them in the test's hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf import NotSupported, UsageError
from ebpf.testing.clock import FrozenClock
from ebpf.testing.packets import iter_packets, packet_bytes
from ebpf.testing.sources import open_source
from ebpf.testing.task import TestTask
from ebpf.testing.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ebpf import EventStream, Map, Object, Program, Session

_CPUS = 4
_IN_KERNEL = "what a test may set in the machine alone"


def load(source: Any, *, backend: str = "machine", cpus: int | None = None, engine: str = "", seed: int = 0,
         compile: Mapping[str, Any] | None = None, **options: Any) -> Rig:
    """Load programs for a test: into the userspace machine, or ``backend="kernel"``.

    ``source``: the path of a ``.c`` or ``.o`` file, C text, an object's bytes, an `Object`, a program written as a
    Python function, or several of these functions. ``compile``: options of `ebpf.compile`; ``options``: those of
    `ebpf.load` (``variables``, ``max_entries``, ``types``, …).

    In the machine time stands still (`Rig.clock`), random numbers begin with ``seed``, and there are ``cpus`` CPUs (4).
    ``engine="jit"`` runs compiled code, whose clock is the host's. Use the rig as a context manager, or `Rig.close` it.
    """
    loaded = open_source(source, compile or {})
    machine = backend == "machine"
    if machine:
        options |= {"cpus": _CPUS if cpus is None else cpus, "engine": engine or "interpreter"}
    elif cpus is not None or engine:
        raise UsageError("cpus and engine are the machine's: a kernel has its own")
    session = loaded.load(backend, options)
    return Rig(session, loaded.name, seed=seed, origin=(source, dict(compile or {})))


class Rig:
    """Loaded programs (``session``, ``programs``, ``maps``, ``variables``), to be sent packets and events.

    In the machine ``clock``, ``task``, ``cpu`` and ``memory`` are what the programs see; a kernel has its own.
    """

    def __init__(self, session: Session, name: str = "", *, seed: int = 0,
                 origin: tuple[Any, Any] | None = None) -> None:
        self.session = session
        #: what `load` was given, and the compiler's options
        self.origin = origin or (session.obj, {})
        self.name = name or session.obj.name
        #: the CPU that runs the next event
        self.cpu = 0
        self._streams: dict[str, EventStream] = {}
        self._clock: FrozenClock | None = None
        self._task: TestTask | None = None
        self._pipe: Any = None
        self._lines: list[str] = []
        if session.backend == "machine":
            environment = session.machine.environment
            environment.clock = self._clock = FrozenClock()  # type: ignore[assignment]  # has Clock's methods
            environment.task = self._task = TestTask()
            environment.random.seed(seed)

    def __repr__(self) -> str:
        return f"<Rig {self.name} in the {self.session.backend}: programs {', '.join(self.programs) or 'none'}>"

    # ---- what is loaded ----

    @property
    def obj(self) -> Object:
        """The object."""
        return self.session.obj

    @property
    def backend(self) -> str:
        """``"machine"`` or ``"kernel"``."""
        return self.session.backend

    @property
    def programs(self) -> dict[str, Program]:
        """Programs by name."""
        return self.session.programs

    @property
    def maps(self) -> dict[str, Map]:
        """Maps by name: they behave like a `dict`."""
        return self.session.maps

    @property
    def variables(self) -> Any:
        """Global variables by name."""
        return self.session.variables

    # ---- the world around the programs ----

    @property
    def clock(self) -> FrozenClock:
        """The time that programs see; it stands still. `advance` moves it and runs timers that are then due."""
        clock: FrozenClock = self._only_machine(self._clock, "setting the clock")
        return clock

    @property
    def task(self) -> TestTask:
        """The task that programs run for: ``rig.task.pid = 7``, ``rig.task.set(comm="nginx", uid=1000)``."""
        task: TestTask = self._only_machine(self._task, "setting the task")
        return task

    @property
    def memory(self) -> Any:
        """Memory for the next event: ``rig.memory.user(b"…")``, ``.kernel(…)``, ``.place(…)`` (readable as either) give
        addresses. Text and bytes given to `fire` are placed by themselves.
        """
        return self._only_machine(self.session.machine.placed if self._clock is not None else None, "placing memory")

    def _only_machine(self, value: Any, feature: str) -> Any:
        if value is None:
            raise NotSupported(feature, who="a session in the kernel", instead="the fixture ebpf_machine",
                               notes=(_IN_KERNEL,))
        return value

    def advance(self, seconds: float = 0, *, ns: int = 0) -> int:
        """Let time pass, and run the callbacks of the timers that are due by then, in order; how many."""
        clock, machine = self.clock, self.session.machine
        end = clock.monotonic_ns() + round(seconds * 1_000_000_000) + ns
        count = 0
        while (due := machine.next_timer_ns) is not None and due <= end:
            clock.advance(ns=max(0, due - clock.monotonic_ns()))
            ran = machine.expire_timers()
            if not ran:
                break
            count += ran
        clock.advance(ns=end - clock.monotonic_ns())
        return count

    # ---- packets and events ----

    def send(self, packet: Any, program: str | None = None, **context: Any) -> Verdict:
        """Send one packet, from its Ethernet header on, through a program; its verdict.

        ``packet``: bytes, hexadecimal text, a scapy packet. ``program`` may be left out if only one takes packets.
        ``context``: fields by name (``ingress_ifindex=2``, ``mark=7``); the others are as for a packet on ``lo``.
        """
        data = packet_bytes(packet)
        found = self._packet_program(program)
        if self.backend == "machine":
            return Verdict(found, self._run(found, data, context), data)
        return Verdict(found, found.test_run(data, context, cpu=0), data)

    def send_many(self, packets: Any, program: str | None = None, **context: Any) -> list[Verdict]:
        """Send the packets of a capture (its path), or of any iterable, one after the other; their verdicts."""
        return [self.send(packet, program, **context) for packet in iter_packets(packets)]

    def fire(self, event: str, fields: Mapping[str, Any] | Sequence[int] | bytes | None = None, /,
             **more: Any) -> Verdict:
        """Fire an event at the program of that name or hook (``"kprobe/vfs_open"``, ``"syscalls:sys_enter_kill"``).

        The event's fields by name: arguments of the function, of the system call, of the tracepoint (``ret`` is a
        result; ``args=(…)`` gives arguments by position), fields of the context for other types. Text, bytes, and a
        struct's members by name are placed in memory, and the pointer leads there. All others are zero. ``fields`` may
        be the whole context, too: bytes, or its 64-bit words.
        """
        program = self._program_at(event)
        context: Any = fields
        if fields is None or isinstance(fields, Mapping):
            context = {**(fields or {}), **more}
        if self.backend == "machine":
            return Verdict(program, self._run(program, None, context))
        if not isinstance(context, (bytes, dict)):
            context = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in context)
        return Verdict(program, program.test_run(context=context))

    def _run(self, program: Program, packet: bytes | None, context: Any) -> Any:
        return program.raw.run(packet, context or None, cpu=self.cpu)  # type: ignore[attr-defined]  # the machine's

    def _packet_program(self, name: str | None) -> Program:
        if name is not None:
            return self.programs[name]
        found = [p for p in self.programs.values() if p.takes_packets]
        if len(found) != 1:
            raise UsageError(f"{len(found) or 'no'} programs of {self.name} take packets: say which",
                             helps=tuple(f"send(packet, {p.name!r})" for p in found[:5]))
        return found[0]

    def _program_at(self, event: str) -> Program:
        if event in self.programs:
            return self.programs[event]
        wanted = _hook(event)
        found = [p for p in self.programs.values() if _hook(p.section) == wanted]
        if not found:  # the hook without its kind: "do_sys_openat2", "sched:sched_switch"
            found = [p for p in self.programs.values() if _hook(p.section).partition("/")[2] == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{len(found)} programs run at {event}: fire at one by its name",
                             helps=(", ".join(p.name for p in found),))
        known = ", ".join(f"{p.section} ({p.name})" for p in self.programs.values())
        raise UsageError(f"no program runs at {event!r}", helps=(f"there are: {known}" if known else "none is loaded",))

    # ---- what came out ----

    def events(self, map: str | None = None, *, type: str | None = None) -> list[Any]:
        """The records that programs sent since the last call, typed, oldest first; through that map, or the only one
        that carries events.
        """
        name = map if map is not None else self._only_buffer()
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = self.maps[name].events(type=type, timeout=0)
        found: list[Any] = []
        stream.consume(found.append)
        return found

    def _only_buffer(self) -> str:
        names = [name for name, map in self.maps.items() if map.type.name in ("RINGBUF", "PERF_EVENT_ARRAY")]
        if len(names) != 1:
            raise UsageError(f"{len(names) or 'no'} maps of {self.name} carry events: say which",
                             helps=tuple(f"events({name!r})" for name in names))
        return names[0]

    @property
    def printed(self) -> list[str]:
        """The lines that programs printed with bpf_printk, since the rig was loaded.

        In a kernel those that come through its one pipe from the first look on.
        """
        if self.backend == "machine":
            return [line.rstrip("\n") for line in self.session.machine.printed]
        if self._pipe is None:
            self._pipe = self.session.trace_pipe()
        while (line := self._pipe.read_line(0.05)) is not None:
            self._lines.append(line.decode(errors="replace").partition(": ")[2])
        return list(self._lines)

    @property
    def signals(self) -> list[int]:
        """Signals that programs sent to the task (bpf_send_signal)."""
        machine = self.session.machine if self.backend == "machine" else None
        return [number for number, _ in self._only_machine(machine, "looking at signals").environment.signals]

    # ---- the end ----

    def close(self) -> None:
        """Close the session; doing so again is harmless."""
        if ebpf.coverage.running and not self.session.closed:
            ebpf.coverage.collect(self.session)
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        if self._pipe is not None:
            self._pipe.close()
        self.session.close()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hook(name: str) -> str:
    """One spelling of a hook: ``tracepoint/a/b`` for ``tracepoint:a:b`` and ``tp/a/b``."""
    name = name.removeprefix("?").replace(":", "/")
    kind, slash, rest = name.partition("/")
    return {"tp": "tracepoint", "raw_tp": "raw_tracepoint"}.get(kind, kind) + slash + rest


def resolve(source: Any, directory: Path | None) -> Any:
    """A relative path as seen from ``directory``, where such a file is there."""
    if directory is not None and isinstance(source, (str, os.PathLike)) and "\n" not in str(source):
        there = directory / source
        if there.is_file():
            return there
    return source


def together(rigs: Iterable[Rig]) -> None:
    """Close them all, the newest first."""
    for rig in reversed(list(rigs)):
        rig.close()
