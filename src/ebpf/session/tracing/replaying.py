"""A script on a recording: its programs see the events of another time, perhaps of another machine.

A script that is recorded (`ebpf.record`, ``ebpf trace --record``) leaves two notes beside its events: itself, compiled,
and when and as whom it began, which is what BEGIN, END and ``elapsed`` see.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ebpf.errors import NotSupported
from ebpf.machine.environment import Task
from ebpf.machine.recording import Moment, Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.compiler.trace.plan import Plan
    from ebpf.session.recordings import Recorder

SCRIPT, START = "script", "script's start"


def note_start(recorder: Recorder, elf: bytes, plan: Plan, started: int, command: int,
               targets: dict[int, list[str]]) -> None:
    """Into the recording: the script, and when (``started``: CLOCK_BOOTTIME) and as whom it begins; the names of its
    probes' ``targets``.
    """
    if any(probe.kind == "iter" for probe in plan.probes):
        raise NotSupported("recording iterators", who="ebpf", instead="probes and tracepoints can be recorded")
    recorder.note(SCRIPT, elf)
    recorder.note(START, json.dumps({
        "started": started, "command": command, "task": own_task()[:4], "comm": _own_name(),
        "targets": {plan.probes[index].name: names for index, names in targets.items()}}).encode())


def own_task() -> Task:
    """Whose BEGIN and END are: this process."""
    return Task(os.getpid(), os.getpid(), os.geteuid(), os.getegid(), _own_name().encode("utf-8", "surrogateescape"))


def _own_name() -> str:
    with open("/proc/self/comm", encoding="utf-8", errors="surrogateescape") as file:
        return file.read().rstrip("\n")


class Replay:
    """A recording, and how far a script has got with it. ``recording.lost`` and ``.damage`` say what is missing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.recording = Recording.read(path)
        self.done = False
        self._machine: Any = None
        self._runs: Iterator[Any] = iter(())
        self._clock = Moment(self.recording.description)
        start = self.recording.notes.get(START)
        self._start: dict[str, Any] = json.loads(start) if start else {}

    @property
    def script(self) -> bytes | None:
        """The object that was recorded, if it was a script's."""
        return self.recording.notes.get(SCRIPT)

    @property
    def started(self) -> int:
        """When the script began, by the clock since boot."""
        if "started" in self._start:
            return int(self._start["started"])
        first = min((event.time_ns for event in self.recording.events), default=0)
        return first + int(self.recording.description.get("boot_ahead_ns", 0))

    @property
    def command(self) -> int:
        """The process that the script started, 0 if none."""
        return int(self._start.get("command", 0))

    @property
    def real_ahead_ns(self) -> int:
        """What makes the time of an event a time of day, where it was recorded."""
        return int(self.recording.description.get("real_ahead_ns", 0))

    @property
    def real_ahead_of_boot_ns(self) -> int:
        """The same for a time since boot."""
        return self.real_ahead_ns - int(self.recording.description.get("boot_ahead_ns", 0))

    def missing(self) -> Iterator[str]:
        """What is not as it was, a sentence each."""
        if self.recording.lost:
            yield f"{self.recording.lost} events are not in the recording: they came faster than they could be written"
        if self.recording.damage is not None:
            yield self.recording.damage.message

    def targets(self, plan: Plan) -> list[list[str]]:
        """The names of the places that each probe had."""
        known = self._start.get("targets", {})
        return [known.get(probe.name, [probe.name]) for probe in plan.probes]

    def now(self) -> float:
        """The time of day that it is in the recording, in seconds."""
        now_ns: int = self._machine.environment.clock.monotonic_ns()
        return (now_ns + self.real_ahead_ns) / 1e9

    def open(self, machine: Any, kinds: set[str]) -> None:
        """Take the machine that the script is in back to when it began. ``kinds`` are those of its probes."""
        if "iter" in kinds:
            raise NotSupported("iterators on a recording", who="ebpf", notes=("a recording has no objects to go over",))
        self._machine = machine
        self._clock.now = self.started - int(self.recording.description.get("boot_ahead_ns", 0))
        machine.environment.clock = self._clock
        pid, tid, uid, gid = self._start.get("task", (0, 0, 0, 0))
        comm = self._start.get("comm", "").encode("utf-8", "surrogateescape")
        machine.environment.task = Task(pid, tid, uid, gid, comm)
        self._runs = self.recording.iter_replay(machine)

    def step(self) -> None:
        """Run the script's programs on one event more; `done` behind the last."""
        from ebpf.session import world

        with world.lock:
            if next(self._runs, None) is None:
                self.done = True
            else:
                self._clock.now = self._machine.environment.clock.monotonic_ns()  # END's time, at last
                world.ran()

    def close(self) -> None:
        """Harmless when done already."""
        self.done = True
        close = getattr(self._runs, "close", None)
        if close is not None:
            close()
