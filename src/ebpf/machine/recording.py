"""Recordings: what a program's events looked like, kept in a file, and fed to a machine anywhere.

A recording holds attachments (which program, on what hook) and events: the context that the program saw, its packet,
the task in whose name it ran, the time, and the memory behind its pointers, as far as the recorder looked. The format,
version 1, is described in docs/packets.md; whatever stands in a file before the first damaged byte is read.
"""

from __future__ import annotations

import json
import os
from errno import EFAULT
from struct import Struct, error as StructError, pack_into, unpack_from
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from zlib import crc32

from ebpf.errors import FormatError, UnknownName
from ebpf.machine.environment import Clock, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.machine.environment import TracedMemory
    from ebpf.machine.machine import Context, Machine, Run

MAGIC = b"\x7fEBPFrec"
VERSION = 1
_HEAD = Struct("<8sIII")  # magic, version, bytes of the description, its CRC-32
_RECORD = Struct("<IB")  # bytes of the payload, kind; a CRC-32 of kind and payload follows the payload
_EVENT = Struct("<HHIIIIIQQ16sII")
_CHUNK = Struct("<QI")
_LOST = Struct("<Q")
_END = Struct("<QQ")
ATTACHMENT, EVENT, LOST, END, NOTE = 1, 2, 3, 4, 5
_NO_PACKET = 0xFFFFFFFF
_MAX_RECORD_BYTES = 1 << 24
USER_END = 1 << 47


class Attachment(NamedTuple):
    """A program on a hook."""

    program: str
    section: str
    type: int  #: `ebpf.ProgType`
    kind: str  #: the hook's name: ``"kprobe"``, ``"tracepoint"``, ``"xdp"``, …
    target: str
    cookie: int = 0
    object: str = ""  #: digest of the object that it is from


class Event(NamedTuple):
    """One run of a program: what it could see."""

    attachment: int  #: its index among the recording's attachments
    cpu: int
    pid: int
    tid: int
    uid: int
    gid: int
    time_ns: int  #: CLOCK_MONOTONIC of the machine that it was recorded on
    cgroup_id: int
    comm: bytes
    context: bytes
    packet: bytes | None
    memory: tuple[tuple[int, bytes], ...]  #: (address, bytes there)


class RecordingWriter:
    """Writes a recording, an event at a time; a process that is killed leaves a file that is good up to there."""

    def __init__(self, path: str | os.PathLike[str], description: dict[str, Any]) -> None:
        self.events = 0
        self.lost = 0
        self._file: BinaryIO = open(path, "wb")
        text = json.dumps({"version": VERSION, **description}).encode()
        self._file.write(_HEAD.pack(MAGIC, VERSION, len(text), crc32(text)) + text)
        self._attachments = 0

    def attach(self, attachment: Attachment) -> int:
        """Enter a program and its hook; the index that its events carry."""
        self._write(ATTACHMENT, json.dumps(attachment._asdict()).encode())
        self._attachments += 1
        return self._attachments - 1

    def add(self, event: Event) -> None:
        packet = event.packet
        head = _EVENT.pack(event.attachment, len(event.memory), event.cpu, event.pid, event.tid, event.uid, event.gid,
                           event.time_ns, event.cgroup_id, event.comm, len(event.context),
                           _NO_PACKET if packet is None else len(packet))
        parts = [head, event.context, packet or b""]
        for address, data in event.memory:
            parts += (_CHUNK.pack(address, len(data)), data)
        self._write(EVENT, b"".join(parts))
        self.events += 1

    def lose(self, count: int) -> None:
        """So many events came faster than they could be written."""
        if count > 0:
            self.lost += count
            self._write(LOST, _LOST.pack(count))

    def note(self, name: str, data: bytes) -> None:
        """Keep something of the caller's beside the events: ``Recording.notes[name]``."""
        self._write(NOTE, name.encode() + b"\0" + data)

    def _write(self, kind: int, payload: bytes) -> None:
        record = bytes((kind,)) + payload
        self._file.write(len(payload).to_bytes(4, "little") + record + crc32(record).to_bytes(4, "little"))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Write the counts, and close the file. Doing it twice is fine."""
        if not self._file.closed:
            self._write(END, _END.pack(self.events, self.lost))
            self._file.close()


class Recording:
    """A file of events. ``description`` tells of the system that it is from (kernel, machine, CPUs, object's digest).

    ``damage`` is the error where the file is cut short or damaged, `None` if it is whole; ``lost`` counts events that
    the recorder missed. ``notes`` are what `RecordingWriter.note` kept.
    """

    def __init__(self, description: dict[str, Any], attachments: list[Attachment], events: list[Event], lost: int,
                 damage: FormatError | None) -> None:
        self.description = description
        self.attachments = attachments
        self.events = events
        self.lost = lost
        self.damage = damage
        self.notes: dict[str, bytes] = {}

    def __repr__(self) -> str:
        state = f", {self.lost} lost" * bool(self.lost) + ", damaged" * (self.damage is not None)
        return f"<Recording of {self.description.get('kernel', '?')}: {len(self.events)} events{state}>"

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Recording:
        """Raises `FormatError` if it is no recording at all, or of a version that is not known; `OSError`."""
        name = os.fspath(path)
        with open(path, "rb") as file:
            data = file.read()
        if data[:8] != MAGIC:
            raise FormatError(f"{name} is no recording", offset=0, helps=("`ebpf record` makes one",))
        if len(data) < _HEAD.size:
            raise FormatError(f"{name}: cut short at byte {len(data)}, within its header", offset=len(data))
        _, version, size, crc = _HEAD.unpack_from(data)
        if version != VERSION:
            raise FormatError(f"{name} is of version {version}; this program reads version {VERSION}", offset=8,
                              helps=("a newer `ebpf` reads it",) if version > VERSION else ())
        text = data[_HEAD.size:_HEAD.size + size]
        if len(text) < size or crc32(text) != crc:
            raise FormatError(f"{name}: its description is damaged, at byte {_HEAD.size}", offset=_HEAD.size)
        found = Recording(json.loads(text), [], [], 0, None)
        found._read(data, _HEAD.size + size, name)
        return found

    def _read(self, data: bytes, at: int, name: str) -> None:
        ended = False
        while at < len(data) and not ended:
            why = ""
            size, kind = _RECORD.unpack_from(data, at) if at + _RECORD.size <= len(data) else (0, 0)
            end = at + _RECORD.size + size
            if not kind or end + 4 > len(data) or size > _MAX_RECORD_BYTES:
                why = "cut short"
            elif crc32(data[at + 4:end]) != int.from_bytes(data[end:end + 4], "little"):
                why = "damaged"
            else:
                try:
                    ended = self._record(kind, data[at + _RECORD.size:end])
                except (StructError, ValueError, TypeError, KeyError):
                    why = "damaged"
            if why:
                self._damaged(name, why, at)
                return
            at = end + 4
        if not ended:
            self._damaged(name, "cut short", at)

    def _damaged(self, name: str, why: str, at: int) -> None:
        self.damage = FormatError(f"{name}: {why} at byte {at}; {len(self.events)} events before it are good",
                                  offset=at)

    def _record(self, kind: int, payload: bytes) -> bool:
        """Take one record in; whether it is the last."""
        if kind == EVENT:
            self.events.append(_event(payload, len(self.attachments)))
        elif kind == ATTACHMENT:
            self.attachments.append(Attachment(**json.loads(payload)))
        elif kind == LOST:
            self.lost += _LOST.unpack(payload)[0]
        elif kind == NOTE:
            name, _, data = payload.partition(b"\0")
            self.notes[name.decode()] = data
        return kind == END

    def programs(self, machine: Machine) -> list[str | None]:
        """Which of the machine's programs each attachment is for: the one of that name, else the only one in that
        section; ``None`` for those of another object."""
        found: list[str | None] = []
        for row in self.attachments:
            same = [name for name, spec in machine.obj.programs.items() if spec.section == row.section]
            found.append(row.program if row.program in machine.obj.programs else same[0] if len(same) == 1 else None)
        return found

    def replay(self, machine: Machine, each: Callable[[Run], object] | None = None) -> int:
        """Feed every event to the machine's program, in the order of their times, as the task and at the time that it
        had; how many there were. ``each`` is called after each one, with what it gave.

        Raises `UnknownName` if none of the recorded programs is in the machine, `MachineFault`, `VerifierError`.
        """
        count = 0
        for run in self.iter_replay(machine):
            count += 1
            if each is not None:
                each(run)
        return count

    def iter_replay(self, machine: Machine) -> Iterator[Run]:
        """`replay`, an event at each step: what it gave. Between steps the machine is as at the event's time."""
        programs = self.programs(machine)
        if self.attachments and not any(programs):
            names = ", ".join(f"{row.program!r} ({row.section})" for row in self.attachments)
            raise UnknownName(f"{machine.obj.name} has none of the recorded programs: {names}",
                              name=self.attachments[0].program, similar=tuple(machine.obj.programs))
        stage = _Stage(machine, self.description)
        try:
            for event in sorted(self.events, key=lambda event: event.time_ns):
                name = programs[event.attachment]
                if name is not None:
                    yield stage.run(name, event, self.attachments[event.attachment].cookie)
        finally:
            stage.clear()


def _event(payload: bytes, attachments: int) -> Event:
    """Raises what a damaged record raises."""
    (index, chunks, cpu, pid, tid, uid, gid, at_ns, cgroup, comm, context_bytes,
     packet_bytes) = _EVENT.unpack_from(payload)
    if index >= attachments:
        raise ValueError("an event of an unknown attachment")
    at = _EVENT.size
    context = payload[at:at + context_bytes]
    at += context_bytes
    packet = None
    if packet_bytes != _NO_PACKET:
        packet = payload[at:at + packet_bytes]
        at += packet_bytes
    memory = []
    for _ in range(chunks):
        address, size = _CHUNK.unpack_from(payload, at)
        at += _CHUNK.size
        memory.append((address, payload[at:at + size]))
        at += size
    if at != len(payload):
        raise ValueError("an event's sizes do not add up")
    return Event(index, cpu, pid, tid, uid, gid, at_ns, cgroup, comm.rstrip(b"\0"), context, packet, tuple(memory))


# ---- feeding ----

class Moment(Clock):
    """A time on the machine of a recording, whose description says how far its clocks are apart."""

    def __init__(self, description: dict[str, Any], now: int = 0) -> None:
        self.now = now
        self._boot_ahead = int(description.get("boot_ahead_ns", 0))
        self._tai_ahead = int(description.get("tai_ahead_ns", 0))

    def monotonic_ns(self) -> int:
        return self.now

    def boot_ns(self) -> int:
        return self.now + self._boot_ahead

    def tai_ns(self) -> int:
        return self.now + self._tai_ahead


class RecordedMemory:
    """The pieces of a task's memory that were recorded; everything else cannot be read."""

    def __init__(self, pieces: list[tuple[int, bytes]]) -> None:
        self._pieces = pieces

    def read(self, address: int, size: int) -> bytes:
        """From one piece, or from several that touch."""
        out = b""
        while len(out) < size:
            at = address + len(out)
            piece = next((data[at - start:] for start, data in self._pieces if start <= at < start + len(data)), b"")
            if not piece:
                raise OSError(EFAULT, "this memory was not recorded")
            out += piece
        return out[:size]

    def write(self, address: int, data: bytes) -> None:
        raise OSError(EFAULT, "memory of a recording cannot be written")


class _Stage:
    """A machine made to look like the system of the recording, an event at a time."""

    def __init__(self, machine: Machine, description: dict[str, Any]) -> None:
        self.machine = machine
        environment = machine.environment
        self._before = environment.task, environment.memory, environment.clock
        self._clock = Moment(description)
        environment.clock = self._clock
        self._windows: list[int] = []

    def clear(self) -> None:
        environment = self.machine.environment
        environment.task, environment.memory, environment.clock = self._before
        for window in self._windows:
            environment.space.hide(window)

    def run(self, name: str, event: Event, cookie: int) -> Run:
        environment = self.machine.environment
        environment.task = Task(pid=event.pid, tid=event.tid, uid=event.uid, gid=event.gid, comm=event.comm,
                                cgroup_id=event.cgroup_id)
        environment.memory = RecordedMemory([piece for piece in event.memory if piece[0] < USER_END])
        self._clock.now = event.time_ns
        context = bytearray(event.context)
        for number, (address, data) in enumerate(p for p in event.memory if p[0] >= USER_END):
            _replace_words(context, address, self._show(number, data))
        return self.machine.run(name, event.packet, ctx=bytes(context), cpu=event.cpu % environment.cpus,
                                attach_cookie=cookie)

    def _show(self, number: int, data: bytes) -> int:
        """A piece of the kernel's memory, in the machine's own; its address there."""
        space = self.machine.environment.space
        while number >= len(self._windows):
            self._windows.append(space.reserve("recorded memory of the kernel"))
        space.hide(self._windows[number])
        return space.show(self._windows[number], bytearray(data), writable=False)


def _replace_words(context: bytearray, old: int, new: int) -> None:
    """Pointers in a context, to where their memory is now."""
    for at in range(0, len(context) - 7, 8):
        if unpack_from("<Q", context, at)[0] == old:
            pack_into("<Q", context, at, new)


# ---- recording in a machine ----

class MachineRecorder:
    """Writes down every run of a machine, and exactly the memory that its programs read."""

    def __init__(self, machine: Machine, writer: RecordingWriter, indices: dict[str, int]) -> None:
        self._machine, self._writer, self._indices = machine, writer, indices
        self._run = machine.run
        machine.run = self.run  # type: ignore[method-assign]

    def close(self) -> None:
        """The machine runs as before."""
        self._machine.run = self._run  # type: ignore[method-assign]

    def run(self, program: str, data: bytes | None = None, *, ctx: Context | None = None, cpu: int = 0,
            **how: Any) -> Run:
        """`Machine.run`, written down if the program is one of the recorded."""
        index = self._indices.get(program)
        if index is None:
            return self._run(program, data, ctx=ctx, cpu=cpu, **how)
        environment = self._machine.environment
        task, now = environment.task, environment.clock.monotonic_ns()
        context = self._machine._context_bytes(self._machine.program(program), ctx)
        reads = _Reads(environment.memory, self._kernel_memory(context))
        memory, environment.memory = environment.memory, reads if environment.memory is not None else None
        try:
            return self._run(program, data, ctx=context, cpu=cpu, **how)
        finally:
            environment.memory = memory
            self._writer.add(Event(index, cpu, task.pid, task.tid, task.uid, task.gid, now, task.cgroup_id, task.comm,
                                   context, data, tuple(reads.seen)))

    def _kernel_memory(self, context: bytes) -> list[tuple[int, bytes]]:
        """What words of the context point to in the machine's own memory: the registers of a system call."""
        space, found = self._machine.environment.space, []
        for (word,) in _words(context):
            if word >= USER_END and space.holds(word) and (data := space.rest(word, 4096)) is not None:
                found.append((word, data))
        return found


def _words(context: bytes) -> Iterator[tuple[int]]:
    return Struct("<Q").iter_unpack(context[:len(context) // 8 * 8])


class _Reads:
    """A task's memory that notes what was read of it."""

    def __init__(self, memory: TracedMemory | None, seen: list[tuple[int, bytes]]) -> None:
        self._memory = memory
        self.seen = seen

    def read(self, address: int, size: int) -> bytes:
        assert self._memory is not None
        data = self._memory.read(address, size)
        self.seen.append((address, data))
        return data

    def write(self, address: int, data: bytes) -> None:
        assert self._memory is not None
        self._memory.write(address, data)

