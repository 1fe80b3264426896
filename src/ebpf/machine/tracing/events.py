"""What can be asked of a tracer (hooks) and what it answers (`Event`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import UsageError
from ebpf.machine.tracing import protocol as p

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.machine.tracing.arch import Arch
    from ebpf.machine.tracing.task import TracedTask
    from ebpf.machine.tracing.tracer import Tracer


class SyscallEnter(NamedTuple):
    """A system call begins; ``number`` ``None``: any."""

    number: int | None = None


class SyscallExit(NamedTuple):
    """A system call has its result; ``number`` ``None``: any."""

    number: int | None = None


class Fork(NamedTuple):
    """A task has made another one, which has not run yet."""


class Exec(NamedTuple):
    """A process has become another program, none of whose instructions has run yet."""


class Exit(NamedTuple):
    """A task (thread) ends."""


class Uprobe(NamedTuple):
    """The instruction at ``offset`` in the file ``path`` is about to run.

    ``semaphore``: the offset of a counter in the file that is above zero while somebody watches (USDT); 0: none.
    """

    path: str
    offset: int
    semaphore: int = 0


class Uretprobe(NamedTuple):
    """The function that begins at ``offset`` in the file ``path`` returns."""

    path: str
    offset: int


class Interval(NamedTuple):
    """Every ``nanoseconds`` while the command lives, whatever it does."""

    nanoseconds: int


class Sample(NamedTuple):
    """Every ``nanoseconds``, each task that is running then."""

    nanoseconds: int


Hook = SyscallEnter | SyscallExit | Fork | Exec | Exit | Uprobe | Uretprobe | Interval | Sample


class Needs(NamedTuple):
    """What a handler wants of an event.

    ``wait``: the task stands still until the handler is done (otherwise it has gone on, and its memory with it); the
    others are told in the record, for handlers that do not wait; those that wait can look whenever they want to.
    """

    wait: bool = True
    comm: bool = False
    ids: bool = False
    cgroup: bool = False

    @property
    def mask(self) -> int:
        """As protocol's bits."""
        if self.wait:
            return p.REPORT | p.WAIT
        return p.REPORT | self.comm * p.COMM | self.ids * p.IDS | self.cgroup * p.CGROUP


class Probe:
    """A handler on a hook, until `remove`."""

    __slots__ = ("_tracer", "handler", "hook", "id", "needs")

    def __init__(self, tracer: Tracer, id: int, hook: Hook, handler: Callable[[Event], object], needs: Needs) -> None:
        self._tracer: Tracer | None = tracer
        self.id = id
        self.hook = hook
        self.handler = handler
        self.needs = needs

    def __repr__(self) -> str:
        return f"<Probe {self.hook}{'' if self._tracer else ' (removed)'}>"

    def remove(self) -> None:
        """No events from now on; doing so again is harmless."""
        tracer, self._tracer = self._tracer, None
        if tracer is not None:
            tracer.remove(self)


class Event:
    """One event. Which attributes mean something depends on the hook.

    ``time_ns`` is CLOCK_MONOTONIC at the event. System calls: ``number``, ``arguments``, at their end ``result``.
    Fork: ``child`` (its tid), ``clone_flags``. Exec: ``file_name`` as it was given, ``former`` (the tid that called).
    Exit: ``status`` (as of wait(2)), ``group_dead``: no thread of the process is left. System calls, uprobes and
    samples: ``registers``, the words of NT_PRSTATUS (`arch.Arch` says which is what). ``waits``: the task stands still.
    """

    __slots__ = ("_first", "_payload", "_registers", "_second", "arch", "kind", "overridden", "task", "time_ns",
                 "waits")

    def __init__(self, arch: Arch, kind: int, waits: bool, time_ns: int, first: int, second: int,
                 payload: memoryview) -> None:
        self.arch = arch
        self.kind = kind
        self.waits = waits
        self.time_ns = time_ns
        self._first = first
        self._second = second
        self._payload = payload
        self._registers: Sequence[int] | None = None
        self.overridden: int | None = None
        self.task: TracedTask

    @property
    def has_registers(self) -> bool:
        return self.kind in p.WITH_REGISTERS

    @property
    def registers(self) -> Sequence[int]:
        if self._registers is None:
            self._registers = self._payload.cast("Q")
        return self._registers

    @property
    def register_bytes(self) -> memoryview:
        """The same words as bytes."""
        return self._payload

    @property
    def number(self) -> int:
        return self._first

    @property
    def arguments(self) -> tuple[int, ...]:
        registers = self.registers
        return tuple(registers[i] for i in self.arch.arguments)

    @property
    def result(self) -> int:
        """Signed: errors are negative."""
        return self._second - (1 << 64) if self._second >> 63 else self._second

    @property
    def child(self) -> int:
        return self._first

    @property
    def clone_flags(self) -> int:
        return self._second

    @property
    def former(self) -> int:
        return self._first

    @property
    def file_name(self) -> bytes:
        return bytes(self._payload)

    @property
    def status(self) -> int:
        return self._first

    @property
    def group_dead(self) -> bool:
        return bool(self._second)

    def override(self, result: int) -> None:
        """Give the system call this result; one that has only begun is not made at all. Only where `waits`."""
        if not self.waits:
            raise UsageError("the task has gone on already: its system call cannot be changed")
        self.overridden = result
