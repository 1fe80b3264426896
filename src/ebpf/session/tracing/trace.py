"""A script that runs: `Trace` loads it, attaches it, does what its records say, and ends it in order."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.errors import AttachError, EbpfError, NotSupported, UsageError
from ebpf.session.tracing.actions import Actions, Sink
from ebpf.session.tracing.attaching import Attaching, Site, sites
from ebpf.session.tracing.maps import TraceMap
from ebpf.session.tracing.names import Names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from ebpf.kernel.processes import Process
    from ebpf.session.backend import RingReader
    from ebpf.session.poller import Poller
    from ebpf.session.session import Session
    from ebpf.session.tracing.captures import Captures
    from ebpf.session.tracing.elsewhere import OtherKernel
    from ebpf.session.tracing.output import MapView
    from ebpf.session.tracing.replaying import Replay

_SLICE_S = 0.25  # an endless wait looks up this often
_STARTED = "started"  # an array of two words, where a script asks for them
_AT_ONCE = 4096  # records handled before signals and processes are looked at again


class TraceEvent(NamedTuple):
    """Something that a script said.

    ``kind``: ``"printf"``, ``"errorf"``, ``"time"``, ``"join"``, ``"cat"``, ``"system"`` (``text``; ``values`` are
    printf's arguments, typed, join's words); ``"value"`` (``print($x)``: ``values`` holds it); ``"map"``
    (``print(@m)``: ``name``, ``values`` are pairs of key and value in the order of printing, the key ``None`` where the
    map has none).
    """

    kind: str
    text: str = ""
    values: tuple[Any, ...] = ()
    name: str = ""


class _Collected:
    """A sink that keeps what is said, as events."""

    def __init__(self) -> None:
        self.events: deque[TraceEvent] = deque()

    def attached(self, count: int) -> None:
        """Not an event."""

    def message(self, kind: str, text: str, values: Sequence[Any] = ()) -> None:
        self.events.append(TraceEvent(kind, text, tuple(values)))

    def value(self, value: Any) -> None:
        from ebpf.session.tracing.values import show

        self.events.append(TraceEvent("value", show(value), (value,)))

    def map(self, view: MapView) -> None:
        from ebpf.session.tracing.output import format_map

        self.events.append(TraceEvent("map", format_map(view), tuple(view.rows), view.name))

    def before_maps(self) -> None:
        """Nothing."""

    def lost(self, count: int) -> None:
        """`Trace.lost` says so."""


class Trace:
    """A script that is ready to run, or runs.

    ``with ebpf.trace("…") as trace: for event in trace: …`` yields what it says, as `TraceEvent`; ``async for`` does so
    without blocking the loop. The iteration ends when the script does: by ``exit()``, with the command or process it
    was
    given, or after `stop`. ``trace.maps["@name"]`` is a live map, readable all the while and until the end of ``with``.
    `run` is what the command line does: it hands everything to a `Sink`, prints the maps at the end and returns the
    status.
    """

    def __init__(self, elf: bytes, *, name: str = "script", command: Sequence[str] = (), pid: int | None = None,
                 backend: str | None = None, unsafe: bool = False, warn: Callable[[str], Any] | None = None,
                 other: OtherKernel | None = None, replay: Replay | None = None) -> None:
        from ebpf.session.tracing.build import open_script

        obj, plan = open_script(elf, name)
        if plan.unsafe and not unsafe:
            raise UsageError(f"the script uses {', '.join(plan.unsafe)}, which may harm the system",
                             helps=("allow it: --unsafe on the command line, unsafe=True in Python",))
        if command and pid is not None:
            raise UsageError("a command and a process id at once", helps=("give -c or -p",))
        if replay is not None and (command or pid is not None or backend == "kernel"):
            raise UsageError("a recording is replayed in the machine: there is no command or process to trace")
        #: the object, as bytes and as it was read; the plan in it
        self.elf = elf
        self.obj = obj
        self.plan = plan
        #: live maps by the script's names
        self.maps: dict[str, TraceMap] = {}
        self.session: Session | None = None
        #: what ``exit(status)`` gave
        self.status = 0
        self._command = tuple(command)
        self._pid = pid
        self._backend = backend
        self._warn = warn if warn is not None else _warn_on_stderr
        self._other = other
        self._replay = replay
        self._collected = _Collected()
        self._sink: Sink = self._collected
        self._actions: Actions | None = None
        self._ring: RingReader | None = None
        self._captures: Captures | None = None
        self._poller: Poller | None = None
        self._process: Process | None = None
        self._process_ended = False
        self._wake = -1
        self._stopped = False
        self._finished = False
        self._lost = 0
        self._started = 0
        self._follows = False
        self._signals: deque[str] = deque()

    def __repr__(self) -> str:
        state = "has ended" if self._finished else "not started" if self.session is None else "runs"
        return f"<Trace of {len(self.plan.probes)} probes: {state}>"

    # ---- the beginning ----

    def start(self) -> Trace:
        """Load, run BEGIN, attach everything, and let the command go. All or nothing: what fails detaches the rest."""
        if self.session is not None:
            return self
        if self._replay is not None:
            return self._start_replay(self._replay)
        self._refuse_other()
        from ebpf.session.choice import choose, tell, use
        from ebpf.session.session import load

        choice = choose(self._backend, self.obj)
        where = choice.backend
        if where == "machine":
            if self._pid is not None:
                raise NotSupported("tracing a process that runs already", who="the userspace machine",
                                   instead="start the command with -c, or run the script as root in the kernel")
            if self._command:
                use("machine", command=self._command)
            if not choice.asked:
                tell(f"no privilege to load programs into the kernel ({choice.why}): ", "`-c COMMAND` traces a command")
        try:
            if where == "kernel":
                self._open_process()
            names, found = self._find_sites()
            self._sink.attached(sum(len(some) for some in found.values()))
            self.session = load(self.obj, backend=where)
            self._open(names)
            if where == "machine":
                from ebpf.session.tracing.replaying import own_task

                backend: Any = self.session._backend
                backend.machine.environment.task = own_task()
            self._started = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            pid = self._process.pid if self._process is not None and self._command else 0
            self._tell_start(self._started, pid)
            for warning in self.plan.warnings:
                self._warn(warning)
            self._run_own("begin")
            self._consume()
            assert self._actions is not None
            if not self._actions.exited:
                self._attach(found)
                if self._process is not None:
                    self._process.release()
                elif self._command:
                    pid = backend.start_command()
                    self._tell_start(self._started, pid)
                self._note_start(pid, found)
        except BaseException:
            self.close()
            raise
        return self

    def _start_replay(self, replay: Replay) -> Trace:
        """`start` on a recording: BEGIN as it was then; the events come step by step."""
        from ebpf.session.session import load

        plan = self.plan
        names = Names([probe.name for probe in plan.probes], replay=replay)
        targets = replay.targets(plan)
        for index, found in enumerate(targets):
            names.set_targets(index, found)
        try:
            self._sink.attached(sum(map(len, targets)))
            session = self.session = load(self.obj, backend="machine")
            backend: Any = session._backend
            replay.open(backend.machine, {probe.kind for probe in plan.probes})
            self._open(names)
            self._tell_start(replay.started, replay.command)
            for warning in (*plan.warnings, *replay.missing()):
                self._warn(warning)
            self._run_own("begin")
            self._consume()
        except BaseException:
            self.close()
            raise
        return self

    def load(self) -> None:
        """Load the programs, find every probe's places, and attach nothing: a dry run. `close` comes after it."""
        self._refuse_other()
        from ebpf.session.session import load

        self._find_sites()
        self.session = load(self.obj, backend=self._backend)

    def check(self) -> None:
        """Say whether it would run, without privilege: every program verified by our own verifier, every probe there.

        Raises what is wrong: `VerifierError`, `TargetNotFound`.
        """
        from ebpf.session.verification import verify

        for name in self.obj.programs:
            verify(self.obj, name, btf=None if self._other is None else self._other.given)
        if self._other is None:
            self._find_sites(strict=True)
            return
        self._other.check_targets(self.plan)
        for sentence in self._other.unsure:
            self._warn(sentence)

    def _refuse_other(self) -> None:
        if self._other is not None:
            raise UsageError("the script was compiled for another kernel, and does not run on this one",
                             helps=("--check says whether it is right for that kernel",))

    def dump(self, stage: str) -> str:
        """What the compiler made of it, as text: ``"plan"``, ``"dis"`` (the instructions)."""
        if stage == "plan":
            import json

            return json.dumps(json.loads(self.plan.emit()), indent=1)
        from ebpf.isa import disassemble

        return "\n".join(f"{name}:\n" + "\n".join(f"  {slot}: {text}" for slot, _, text in disassemble(spec.code))
                         for name, spec in self.obj.programs.items())

    def _open_process(self) -> None:
        from ebpf.kernel.processes import Command, Process

        if self._command:
            self._process = Command(self._command)
        elif self._pid is not None:
            self._process = Process(self._pid)

    def _find_sites(self, *, strict: bool = False) -> tuple[Names, dict[int, list[Site]]]:
        """Every probe's places; and what knows their names. `TargetNotFound` where none has a place, or ``strict``."""
        plan = self.plan
        names = Names([probe.name for probe in plan.probes])
        missing = "error" if strict else plan.config.get("missing_probes", "error")
        found: dict[int, list[Site]] = {}
        left = Counter(probe.program for probe in plan.probes)
        problem: AttachError | None = None
        warnings: list[str] = []
        for index, probe in enumerate(plan.probes):
            try:
                found[index] = sites(probe, self._pid)
            except AttachError as error:
                left[probe.program] -= 1  # of a list of attach points some may be missing
                if missing == "error" and not left[probe.program]:
                    raise
                if missing != "ignore":
                    warnings.append("; ".join((f"{probe.name}: {error.message}", *error.helps)))
                problem = problem or error
                continue
            names.set_targets(index, [site.name for site in found[index]])
        if problem is not None and not found:
            raise problem  # there is nothing to wait for
        for warning in warnings:
            self._warn(warning)
        return names, found

    def _open(self, names: Names) -> None:
        from ebpf.compiler.trace.plan import EVENTS, PACKETS

        session = self.session
        assert session is not None
        script_maps = {map.map for map in self.plan.maps}
        names.stacks = {name: map.raw for name, map in session.maps.items() if name not in script_maps}
        self.maps = {map.name: TraceMap(map, session.maps[map.map].raw, names) for map in self.plan.maps}
        self._poller = session.poller()
        if EVENTS in session.maps:
            self._ring = session.maps[EVENTS].raw.ring_buffer()
            self._poller.add(self._ring.fileno(), lambda: 1)
        if PACKETS in session.maps:
            from ebpf.session.tracing.captures import Captures

            self._captures = Captures(session.maps[PACKETS].raw, self.plan, names)
            self._captures.add_to(self._poller)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller.add(self._wake, self._woken)
        if self._process is not None:
            self._poller.add(self._process.fileno(), self._note_process_end)
        self._names = names
        self._actions = self._actions_for(self._sink)
        if self._uses_user_code() and session.backend == "kernel":
            self._follows = True
            names.user.follow()

    def _tell_start(self, started: int, command: int) -> None:
        """When it began, and the command's process: what ``elapsed`` and ``cpid`` read."""
        session = self.session
        assert session is not None
        if _STARTED in session.maps:
            for index, word in enumerate((started, command)):
                session.maps[_STARTED].raw.update(index.to_bytes(4, sys.byteorder), word.to_bytes(8, sys.byteorder))

    def _note_start(self, command: int, found: dict[int, list[Site]]) -> None:
        """Into the recording that is being made, if one is."""
        from ebpf.session.choice import wish

        if wish.recorder is not None:
            from ebpf.session.tracing.replaying import note_start

            note_start(wish.recorder, self.elf, self.plan, self._started, command,
                       {index: [site.name for site in some] for index, some in found.items()})

    def _actions_for(self, sink: Sink) -> Actions:
        from ebpf.kernel.processes import shell_output

        return Actions(self.plan, self._names, self.maps, sink, warn=self._warn, shell=shell_output,
                       unwatch=self._unwatch)

    def _unwatch(self, address: int) -> None:
        """Detach the watchpoints at ``address``."""
        for link in self.session.links if self.session is not None else ():
            if link.kind == "watchpoint" and link.target.split(":")[0] == f"{address:#x}" and link.attached:
                link.detach()

    def _uses_user_code(self) -> bool:
        """Whether symbols of processes will be asked for: by then they may have ended."""
        types = [type for event in self.plan.events for _, type in event.args]
        for map in self.plan.maps:
            types += [map.value] if map.key is None else [map.key, map.value]
        while types:
            type = types.pop()
            if type.kind in ("ustack", "usym"):
                return True
            if type.kind in ("tuple", "record"):
                types += [part for _, _, part in type.args]
        return False

    def _woken(self) -> int:
        os.eventfd_read(self._wake)
        return 1

    def _note_process_end(self) -> int:
        self._process_ended = True
        if self._poller is not None and self._process is not None:
            self._poller.remove(self._process.fileno())
        return 1

    def _attach(self, found: dict[int, list[Site]]) -> None:
        session = self.session
        assert session is not None
        pid = self._process.pid if self._process is not None else self._pid
        missing = self.plan.config.get("missing_probes", "error")
        attaching = Attaching(session, pid=pid, missing=missing, warn=self._warn)
        sharing = Counter(probe.program for probe in self.plan.probes)
        failed: Counter[str] = Counter()
        attached = False
        for index, probe in enumerate(self.plan.probes):
            if index not in found:
                continue
            failed[probe.program] += 1
            last_chance = missing == "error" and failed[probe.program] == sharing[probe.program]
            if attaching.attach(probe, found[index], one_of_many=sharing[probe.program] > 1 and not last_chance):
                failed[probe.program] -= sharing[probe.program]
                attached = True
        if not attached and attaching.problem is not None and missing != "ignore":
            raise attaching.problem  # it would wait for nothing

    def _run_own(self, kind: str) -> None:
        """Run the programs that nothing but us starts."""
        session = self.session
        assert session is not None
        for probe in self.plan.probes:
            if probe.kind == kind:
                session.programs[probe.program].raw.test_run()

    # ---- while it runs ----

    def stop(self) -> None:
        """End the script as Ctrl-C does: END runs, then the iteration (or `run`) ends.

        From any thread, or a signal's handler.
        """
        self._stopped = True
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def signal(self, name: str) -> None:
        """Have the script's ``self:signal:NAME`` probes run soon. From any thread, or a signal's handler."""
        self._signals.append(name)
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _answer_signals(self) -> None:
        session = self.session
        while self._signals and session is not None:
            name = self._signals.popleft()
            for probe in self.plan.probes:
                if probe.kind == "self" and probe.details.get("signal") == name:
                    session.programs[probe.program].raw.test_run()

    @property
    def lost(self) -> int:
        """How many records found no room in the ring buffer so far."""
        from ebpf.compiler.trace.plan import LOST

        session = self.session
        if session is not None and not session.closed and LOST in session.maps:
            data = session.maps[LOST].raw.lookup(bytes(4)) or b""
            self._lost = sum(memoryview(data).cast("Q")) if data else 0
        return self._lost + (self._captures.lost if self._captures is not None else 0)

    def _consume(self) -> int:
        """Do what the records say that are there."""
        captured = self._captures.consume() if self._captures is not None else 0
        if self._ring is None or self._actions is None:
            return captured
        count = self._do_records()
        if not count and (called := self._exit_called()) is not None:
            while self._do_records():  # what came before it, and most often its own record
                pass
            self._actions.exit(called)
        return count + captured

    def _do_records(self) -> int:
        assert self._ring is not None and self._actions is not None
        records: list[bytes] = []
        count = self._ring.consume(records.append, _AT_ONCE)
        self._actions.do(records)
        return count

    def _exit_called(self) -> int | None:
        """The status that ``exit`` was called with, from the word beside the ring buffer, where it always has room."""
        from ebpf.compiler.trace.plan import EXIT_CALLED, EXITED

        session = self.session
        if session is None or EXITED not in session.maps:
            return None
        word = int.from_bytes(session.maps[EXITED].raw.lookup(bytes(4)) or b"", sys.byteorder)
        return word & EXIT_CALLED - 1 if word & EXIT_CALLED else None

    @property
    def _over(self) -> bool:
        """Whether it is to end."""
        assert self._actions is not None and self.session is not None
        if self._replay is not None:
            return self._stopped or self._actions.exited or self._replay.done
        return self._stopped or self._actions.exited or self._process_ended or self.session.ended or self._nothing_left

    @property
    def _nothing_left(self) -> bool:
        """Whether nothing can happen any more: only iterators, which have run."""
        kinds = {probe.kind for probe in self.plan.probes}
        return "iter" in kinds and kinds <= {"iter", "begin", "end"}

    def _step(self, timeout: float) -> None:
        """Handle what is there; else wait for it."""
        if self._signals:
            self._answer_signals()
        if self._replay is not None:
            for _ in range(_AT_ONCE):
                if self._over:
                    break
                self._replay.step()
                self._consume()
            return
        if self._consume() or self._over or self._poller is None:
            return
        self._poller.poll(timeout)
        self._consume()
        if self._follows:
            self._names.user.collect()

    def _iterate(self) -> None:
        session = self.session
        assert session is not None
        for probe in self.plan.probes:
            if probe.kind == "iter":
                text = session.programs[probe.program].read_iterator().decode("utf-8", "surrogateescape")
                if text:
                    self._sink.message("printf", text)

    def _finish(self) -> None:
        """Detach, do what has been said by then, run END, and do what that says."""
        if self._finished:
            return
        self._finished = True
        session, actions = self.session, self._actions
        assert session is not None and actions is not None
        links, session.links = session.links, []
        for link in reversed(links):
            link.detach()
        while self._consume():
            pass
        actions.resume()
        status = actions.status
        self._run_own("end")
        while self._consume():
            pass
        self.status = actions.status or status

    # ---- three ways to use it ----

    def run(self, write: Callable[[str], Any], *, format: str = "text", quiet: bool = False,
            flush: Callable[[], Any] = lambda: None, reader_gone: int = -1,
            attached: Callable[[Session], Any] = lambda session: None) -> int:
        """Run it to its end, as the command does; the status of ``exit()``, else 0.

        What it says goes to ``write``, as text or, ``format="json"``, as JSON, an object a line; its maps at the end
        too.
        ``quiet``: not how many probes are attached. ``flush`` is called when nothing more is there to be written at
        once.
        ``attached`` is called once with the session, when everything is.
        ``reader_gone``: a descriptor, of a pipe: when nobody reads it any more, that is a `BrokenPipeError`.
        """
        from ebpf.session.tracing.output import JsonOutput, TextOutput

        if format not in ("text", "json"):
            raise UsageError(f"there is no format {format!r}", helps=("there are text and json",))
        sink: Sink = JsonOutput(write, quiet) if format == "json" else TextOutput(write, quiet, _error_on_stderr)
        self._sink = sink
        try:
            self.start()
            assert self.session is not None
            attached(self.session)
            self._watch_reader(reader_gone)
            self._iterate()
            flush()
            while not self._over:
                self._step(_SLICE_S)
                flush()
            self._finish()
            if self.plan.config.get("print_maps_on_exit", True):
                self._print_maps(sink)
            if self.lost:
                sink.lost(self.lost)
            self._tell_full()
            flush()
            return self.status
        finally:
            self.close()

    def _print_maps(self, sink: Sink) -> None:
        sink.before_maps()
        for name in sorted(self.maps):
            sink.map(self.maps[name].view())

    def _tell_full(self) -> None:
        """Which maps had no room for more entries."""
        from ebpf.compiler.trace.plan import FULL

        session = self.session
        if session is None or FULL not in session.maps:
            return
        for index, map in enumerate(self.plan.maps):
            data = session.maps[FULL].raw.lookup(index.to_bytes(4, sys.byteorder)) or b""
            if refused := sum(memoryview(data).cast("Q")) if data else 0:
                self._warn(f"{map.name} is full: {refused} entries found no room in it; raise max_map_keys "
                           f"(BPFTRACE_MAX_MAP_KEYS), which is {session.maps[map.map].raw.max_entries} now")

    def _watch_reader(self, fd: int) -> None:
        def gone() -> int:
            raise BrokenPipeError

        # A pipe that is only written to becomes readable by losing its reader; a terminal also by what is typed.
        if fd >= 0 and self._poller is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
            self._poller.add(fd, gone)

    def __iter__(self) -> Iterator[TraceEvent]:
        self.start()
        self._iterate()
        events = self._collected.events
        while True:
            while events:
                yield events.popleft()
            if self._over:
                break
            self._step(_SLICE_S)
        self._finish()
        while events:
            yield events.popleft()

    async def __aiter__(self) -> AsyncIterator[TraceEvent]:
        import asyncio

        self.start()
        self._iterate()
        events, poller = self._collected.events, self._poller
        assert poller is not None
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(poller.fileno(), ready.set)
        try:
            while True:
                self._step(0)
                while events:
                    yield events.popleft()
                if self._over:
                    break
                ready.clear()
                try:
                    await asyncio.wait_for(ready.wait(), _SLICE_S)
                except TimeoutError:
                    pass
        finally:
            loop.remove_reader(poller.fileno())
        self._finish()
        while events:
            yield events.popleft()

    def poll(self, timeout: float = 0) -> list[TraceEvent]:
        """What it has said since the last call, waiting up to ``timeout`` seconds for the first of it."""
        self.start()
        until = time.monotonic() + timeout
        while not self._collected.events and not self._over:
            left = until - time.monotonic()
            self._step(max(0, min(left, _SLICE_S)))
            if left <= 0:
                break
        found = list(self._collected.events)
        self._collected.events.clear()
        return found

    # ---- the end ----

    def close(self) -> None:
        """Detach and close everything; the command ends. Doing so again is harmless."""
        self.lost  # noqa: B018  remembered beyond the end
        session, self.session = self.session, None
        try:
            if session is not None:
                if self._ring is not None:
                    self._ring.close()
                if self._captures is not None:
                    self._captures.close()
                if self._replay is not None:
                    self._replay.close()
                session.close()
        finally:
            self._ring = None
            self._finished = True
            if self._follows:
                self._names.user.close()
                self._follows = False
            if self._process is not None:
                self._process.close()
                self._process = None
            if self._poller is not None:
                self._poller.close()
                self._poller = None
            wake, self._wake = self._wake, -1
            if wake >= 0:
                os.close(wake)

    def __del__(self) -> None:
        if getattr(self, "session", None) is not None:
            try:
                self.close()
            except (OSError, TypeError, EbpfError):  # the interpreter may be half gone
                pass

    def __enter__(self) -> Trace:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _error_on_stderr(text: str) -> None:
    print(f"ebpf: error: {text.rstrip()}", file=sys.stderr)


def _warn_on_stderr(text: str) -> None:
    print(f"ebpf: warning: {text}", file=sys.stderr)
