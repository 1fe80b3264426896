"""`Hooks`: attach a machine's programs to what a traced command does, as a kernel would attach them to its hooks.

Each kind of hook has a function that turns a target into tracer's hooks and a way to make the context. A program runs
in this process, in `Tracer.dispatch`, one at a time under `Hooks.lock`, as the task of the event: its pid, its memory,
its time. Unless the program asks for more than the record tells (`needs`), the task does not wait for it.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from ebpf.abi.sections import parse_section
from ebpf.abi.tracepoints import FORK_STRUCT, is_legacy, tracepoint_fields
from ebpf.binaries.find import find_binary
from ebpf.binaries.place import locate
from ebpf.binaries.usdt import find_usdt
from ebpf.errors import NotSupported, UsageError
from ebpf.machine.environment import Clock
from ebpf.machine.hooks import contexts
from ebpf.machine.hooks.kernel_task import KernelTask
from ebpf.machine.hooks.needs import looks_at_task, needs_of
from ebpf.machine.hooks.targets import WHO, check_tracepoint, find_function, only_in_a_kernel
from ebpf.machine.tracing.events import (
    Exec,
    Exit,
    Fork,
    Hook,
    Interval,
    Needs,
    Sample,
    SyscallEnter,
    SyscallExit,
    Uprobe,
    Uretprobe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.btf import Btf
    from ebpf.machine.machine import Machine
    from ebpf.machine.tracing.events import Event, Probe
    from ebpf.machine.tracing.tracer import Tracer

_SECOND_NS = 1_000_000_000
_PERF_TYPE_SOFTWARE, _CPU_CLOCK, _TASK_CLOCK = 1, 0, 1


class MachineLink:
    """A program on a hook of the machine, until `detach`. ``kind`` and ``target`` as they were given."""

    __slots__ = ("__weakref__", "_probes", "kind", "program", "target")

    def __init__(self, program: str, kind: str, target: str, probes: list[Probe]) -> None:
        self.program = program
        self.kind = kind
        self.target = target
        self._probes = probes

    def __repr__(self) -> str:
        return f"<MachineLink {self.program} on {self.kind} {self.target}{'' if self.attached else ' (detached)'}>"

    @property
    def attached(self) -> bool:
        return bool(self._probes)

    def fileno(self) -> int:
        """-1: no descriptor stands for it."""
        return -1

    def detach(self) -> None:
        """Take the program off its hook; doing so again is harmless."""
        probes, self._probes = self._probes, []
        for probe in probes:
            probe.remove()

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

    def __enter__(self) -> MachineLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


class _EventClock(Clock):
    """The time of the event that a program runs for: a program that did not wait runs later."""

    def __init__(self, clock: Clock) -> None:
        self._ahead = clock.boot_ns() - clock.monotonic_ns()
        self._tai_ahead = clock.tai_ns() - clock.monotonic_ns()
        self.now = 0

    def monotonic_ns(self) -> int:
        return self.now

    def boot_ns(self) -> int:
        return self.now + self._ahead

    def tai_ns(self) -> int:
        return self.now + self._tai_ahead


class Hooks:
    """The attach points of one machine on one tracer (several may share one).

    ``lock`` is held while a program runs. ``btf`` gives the kernel's types, where they are known: asked for when a
    program looks at a ``struct task_struct``, or at a record whose layout depends on the kernel.
    """

    def __init__(self, machine: Machine, tracer: Tracer, lock: threading.RLock | None = None,
                 btf: Callable[[], Btf | None] | None = None) -> None:
        self.machine = machine
        self._types = btf
        self._kernel_task: KernelTask | None = None
        self.tracer = tracer
        self.lock: Any = lock if lock is not None else threading.RLock()
        environment = machine.environment
        self._own_clock = environment.clock
        # A clock that somebody has set stays as it is.
        self._clock = _EventClock(environment.clock) if type(environment.clock) is Clock else None
        self._regs = contexts.KernelRegisters(environment.space, tracer.arch)
        tracer.add_clock(self._next_timer, self._expire)

    def attach(self, kind: str, program: str, target: Any = None, **details: Any) -> MachineLink:
        """Run ``program`` at the hook ``target``.

        ``kind`` and ``target``: ``kprobe``, ``kretprobe`` (a function's name), ``tracepoint`` (``"category:name"``),
        ``raw_tracepoint`` (a name), ``uprobe``, ``uretprobe`` (a file or a library's name; ``symbol=``, ``address=``,
        ``offset=`` as of `ebpf.binaries.place.locate`), ``usdt`` (the same; ``name=``, ``provider=``), ``perf_event``
        (type of event; ``config=``, ``period=`` or ``frequency=``, ``cpu=``), ``interval`` (nanoseconds), ``tracing``
        (fentry, fexit, tp_btf: as the program's section says). ``cookie=``, ``pid=`` where a kernel has them.
        `NotSupported` says which hook would do, `TargetNotFound` which was meant.
        """
        attacher = _KINDS.get(kind)
        if attacher is None:
            raise NotSupported(f"programs at a {kind}", who=WHO)
        pid = details.pop("pid", None)
        cookie = details.pop("cookie", None) or 0
        cookies = details.pop("cookies", ())  # a place's own, where there are several
        # Another thread may be running a program. The tracer is told without the lock: it may wait for that thread.
        with self.lock:
            prepared = self.machine.program(program)
            if kind == "tracing":
                target = self.machine.obj.programs[program].attach_to
            found = list(attacher(self, program, target, details))
        needs = needs_of(prepared)
        looks = looks_at_task(prepared)
        if kind in ("raw_tracepoint", "tracing") and str(target).startswith(("sched_", "task_")):
            needs = Needs()  # their arguments are tasks, which /proc must still know
        probes: list[Probe] = []
        try:
            for i, (hook, make) in enumerate(found):
                handler = self._handler(program, make, cookies[i] if cookies else cookie, pid, looks)
                probes.append(self.tracer.probe(hook, handler, needs))
        except BaseException:
            for probe in probes:
                probe.remove()
            raise
        return MachineLink(program, kind, str(target), probes)

    def _handler(self, program: str, make: Callable[[Event], contexts.Context], cookie: int, pid: int | None,
                 looks: bool) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            if pid is not None and pid > 0 and event.task.pid != pid:
                return
            with self.lock:
                self._run(event, program, make, cookie, looks)

        return handle

    def _run(self, event: Event, program: str, make: Callable[[Event], contexts.Context], cookie: int,
             looks: bool) -> None:
        if looks:
            event.task.address = self._show_task(event)
        context = make(event)
        machine, environment = self.machine, self.machine.environment
        task, memory, on_signal = environment.task, environment.memory, environment.on_signal
        environment.task = event.task
        environment.memory = self.tracer.memory
        environment.on_signal = self._signal
        if self._clock is not None:
            self._clock.now = event.time_ns
            environment.clock = self._clock
        try:
            run = machine.run(program, ctx=context, attach_cookie=cookie)
        finally:
            environment.task, environment.memory, environment.on_signal = task, memory, on_signal
            environment.clock = self._own_clock
        if run.override is not None:
            event.override(run.override)

    def _show_task(self, event: Event) -> int:
        kernel_task = self._tasks()
        return kernel_task.show(event) if kernel_task is not None else 0

    def _tasks(self) -> KernelTask | None:
        if self._kernel_task is None and self._types is not None:
            btf = self._types()
            if btf is not None:
                self._kernel_task = KernelTask(self.machine.environment.space, btf)
            else:
                self._types = None
        return self._kernel_task

    def _signal(self, number: int, process: bool) -> None:
        self.tracer.signal(number, None if process else self.machine.environment.task.tid)

    def _next_timer(self) -> int | None:
        if not self.machine.environment.timers:
            return None
        with self.lock:
            return self.machine.next_timer_ns

    def _expire(self) -> None:
        with self.lock:
            self.machine.expire_timers()

    # ---- kinds: target → (tracer's hook, how to make the context) ----

    def _kprobe(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        _refuse_offset(target, details)
        regs, arch = self._regs, self.tracer.arch.name
        function = find_function(target, arch)
        for number in function.numbers:
            if function.arguments is None:
                yield SyscallEnter(number), partial(contexts.wrapper_context, regs)
            else:
                rules = function.arguments[number]
                yield SyscallEnter(number), partial(contexts.function_context, regs, rules)

    def _kretprobe(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        _refuse_offset(target, details)
        regs = self._regs
        for number in find_function(target, self.tracer.arch.name).numbers:
            yield SyscallExit(number), partial(contexts.return_context, regs)

    def _tracepoint(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        category, _, name = target.replace("/", ":", 1).partition(":")
        arch = self.tracer.arch.name
        check_tracepoint(category, name, arch)
        btf = self._types() if category == "sched" and self._types is not None else None
        fork = btf.find(FORK_STRUCT) if btf is not None else None
        legacy = btf is not None and fork is not None and is_legacy(btf.members(fork))
        fields = tracepoint_fields(category, name, legacy=legacy) or ()
        if category in ("syscalls", "raw_syscalls"):
            yield contexts.syscall_tracepoint(category, name, len(fields) - 1, arch)
            return
        hook: Hook = Exec() if name == "sched_process_exec" else Exit() if name == "sched_process_exit" else Fork()
        values = contexts.PROCESS_RECORDS[name]
        yield hook, lambda event: contexts.record(fields, values(event), event.task.tid)

    def _raw_tracepoint(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        regs = self._regs
        found = contexts.RAW_TRACEPOINTS.get(target)
        if found is None:
            raise only_in_a_kernel("tracepoint", target, self.tracer.arch.name)
        hook, words = found
        tasks = self._tasks() if target not in ("sys_enter", "sys_exit") else None
        yield hook, lambda event: words(regs, event, tasks)

    def _uprobe(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        place = locate(target, **details)
        size = contexts.regs_bytes(self.tracer.arch.name)
        yield Uprobe(place.path, place.offset), lambda event: contexts.user_context(event, size)

    def _uretprobe(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        place = locate(target, **details)
        size = contexts.regs_bytes(self.tracer.arch.name)
        yield Uretprobe(place.path, place.offset), lambda event: contexts.user_context(event, size)

    def _usdt(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        path = find_binary(target)
        size = contexts.regs_bytes(self.tracer.arch.name)
        for place in find_usdt(path, details["name"], details.get("provider", "")):
            yield Uprobe(path, place.offset, place.semaphore), lambda event: contexts.user_context(event, size)

    def _perf_event(self, program: str, target: int, details: dict[str, Any]) -> Iterator[contexts.Made]:
        if target != _PERF_TYPE_SOFTWARE or details.get("config", 0) not in (_CPU_CLOCK, _TASK_CLOCK):
            raise NotSupported("counting hardware and kernel events", who=WHO,
                               instead="sample by the clock: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK")
        frequency = details.get("frequency", 0)
        period = details.get("period", 0) if not frequency else _SECOND_NS // frequency
        if period <= 0:
            raise UsageError("a sampled event takes a period (in nanoseconds) or a frequency")
        size = contexts.regs_bytes(self.tracer.arch.name)
        # A clock of one CPU ticks whatever runs there; without one, who runs is looked at.
        hook: Hook = Sample(period) if details.get("cpu") is None else Interval(period)
        yield hook, lambda event: contexts.perf_event_context(event, size, period)

    def _interval(self, program: str, target: int, details: dict[str, Any]) -> Iterator[contexts.Made]:
        size = contexts.regs_bytes(self.tracer.arch.name)
        yield Interval(target), lambda event: contexts.perf_event_context(event, size, target)

    def _tracing(self, program: str, target: str, details: dict[str, Any]) -> Iterator[contexts.Made]:
        info = parse_section(self.machine.obj.programs[program].section)
        kind = info.kind.rstrip("+").partition(".")[0] if info is not None else ""
        regs, arch = self._regs, self.tracer.arch.name
        if kind == "tp_btf":
            yield from self._raw_tracepoint(program, target, details)
            return
        if kind not in ("fentry", "fexit"):
            raise NotSupported(f"{kind or 'such'} programs", who=WHO, instead="attach to a tracepoint of system calls")
        function = find_function(target, arch)
        if function.arguments is not None:
            raise only_in_a_kernel("typed arguments of", target, arch)
        number, = function.numbers

        def enter(event: Event) -> contexts.Context:
            regs.show(event)
            return (regs.address,)

        def leave(event: Event) -> contexts.Context:
            regs.show(event)
            return (regs.address, event.result)

        yield (SyscallEnter(number), enter) if kind == "fentry" else (SyscallExit(number), leave)


_KINDS: dict[str, Callable[[Hooks, str, Any, dict[str, Any]], Iterator[contexts.Made]]] = {
    "kprobe": Hooks._kprobe, "kretprobe": Hooks._kretprobe, "tracepoint": Hooks._tracepoint,
    "raw_tracepoint": Hooks._raw_tracepoint, "uprobe": Hooks._uprobe, "uretprobe": Hooks._uretprobe,
    "usdt": Hooks._usdt, "perf_event": Hooks._perf_event, "interval": Hooks._interval, "tracing": Hooks._tracing,
}


def _refuse_offset(target: str, details: dict[str, Any]) -> None:
    if details.get("offset"):
        raise NotSupported(f"probing {target}+{details['offset']}: an instruction inside a kernel's function", who=WHO)
