"""`ebpf.record`: write down the events of every program that this process attaches, for `Session.replay` and
``ebpf replay``.

In a kernel a program of ours (``recorder.c``) runs beside each recorded one, on the same hook, and sends what that one
can see through a ring buffer: the context, the task, and up to 32 pieces of the memory behind its arguments. Programs
of packets (XDP), samplers and raw tracepoints are called by ours, after it has copied what they get. In the machine the
runs themselves are written down.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any

from ebpf.errors import NotSupported, UsageError
from ebpf.machine.recording import Attachment, Event, MachineRecorder, RecordingWriter
from ebpf.session.choice import wish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.machine.recording import Recording
    from ebpf.session.backend import Link
    from ebpf.session.on_machine import OnMachine
    from ebpf.session.programs import Program
    from ebpf.session.session import Session

_HEAD = Struct("<IIQQQQ16sII256s")  # struct record, up to its pieces
_PIECE_HEAD = Struct("<QII")
_NO_PACKET = 0xFFFFFFFF
_IDLE_S = 0.02
_SHARED = ("recorded", "scratch", "taken", "missed", "entered")
_CALLING = frozenset({"xdp", "perf_event", "raw_tracepoint"})  # kinds of attachment whose programs ours calls
_REGISTER_BYTES = {"x86_64": 168, "aarch64": 272}
_WRAPPERS = ("sys_", "__x64_sys_", "__ia32_sys_", "__arm64_sys_")
# kind of attachment → the program of recorder.c
_PROGRAMS = {"kprobe": "kprobe", "kretprobe": "kprobe", "kprobes": "kprobe", "uprobe": "kprobe", "uretprobe": "kprobe",
             "usdt": "kprobe", "tracepoint": "tracepoint", "raw_tracepoint": "raw_tracepoint",
             "tracing": "raw_tracepoint", "perf_event": "perf_event", "xdp": "xdp"}


def record(path: str | os.PathLike[str], *, piece_bytes: int = 256) -> Recorder:
    """Record the events of all programs that are attached from now on, in this process, until the recorder is closed::

        with ebpf.record("clone.rec"), ebpf.load(obj) as session:
            session.attach()

    ``piece_bytes`` (a power of two, 64 to 1024): how much is kept of what each pointer leads to; in the machine, where
    the reads themselves are recorded, it does not matter. Of hooks that cannot be recorded (fentry, control groups,
    sockets) attaching raises `NotSupported`. What came faster than it could be written is counted: `Recorder.lost`.
    """
    if piece_bytes not in (64, 128, 256, 512, 1024):
        raise UsageError(f"piece_bytes={piece_bytes}: 64, 128, 256, 512 or 1024")
    if wish.recorder is not None:
        raise UsageError(f"this process records to {wish.recorder.path} already", helps=("close that one first",))
    made = Recorder(path, piece_bytes)
    wish.recorder = made
    return made


class Recorder:
    """A recording that is being made (`record`). ``events`` and ``lost`` count; `close` ends it."""

    def __init__(self, path: str | os.PathLike[str], piece_bytes: int) -> None:
        self.path = os.fspath(path)
        self._piece_bytes = piece_bytes
        self._writer = RecordingWriter(path, {
            "kernel": platform.release(), "machine": platform.machine(), "cpus": os.cpu_count() or 1,
            "registers": _REGISTER_BYTES.get(platform.machine(), 0), **_clocks()})
        self._sessions: list[Session] = []  # of recorder.c, one an attachment
        self._machines: dict[int, tuple[MachineRecorder, dict[str, int]]] = {}
        self._object: Any = None
        self._beside_programs: list[Any] = []  # of recorder.c, as loaded
        self._missed = self._skipped = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Recorder {self.path}: {self.events} events, {self.lost} lost>"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def events(self) -> int:
        """Written until now."""
        return self._writer.events

    @property
    def lost(self) -> int:
        """Events that came faster than they could be written, and those for which the kernel did not run ours (which it
        does not while it runs already on that CPU; Linux 5.12 counts them)."""
        self._count_skipped()
        return self._writer.lost

    def note(self, name: str, data: bytes) -> None:
        """Keep something beside the events (`Recording.notes`)."""
        with self._lock:
            self._writer.note(name, data)

    # ---- what `Program` calls ----

    def attach(self, program: Program, kind: str, target: Any, details: Mapping[str, Any]) -> Link:
        """Attach ``program`` as it asks for, recorded."""
        backend = program._session._backend
        recorded = _PROGRAMS.get(kind)
        if recorded is None or (kind == "tracing" and not program.section.startswith("tp_btf")):
            raise NotSupported(f"recording {program.section or kind} programs", who="ebpf",
                               instead="probes, tracepoints, perf events and XDP programs can be")
        name = ":".join(map(str, target)) if isinstance(target, (list, tuple)) else str(target or "")
        if kind == "tracing":
            name = program.section.partition("/")[2]
        where = next((str(details[k]) for k in ("symbol", "name", "address") if details.get(k)), "")
        row = Attachment(program.name, program.section, int(program.type), kind, f"{name}:{where}" if where else name,
                         details.get("cookie") or 0, digest(program._session.obj))
        with self._lock:
            index = self._writer.attach(row)
        if backend.name == "machine":
            self._watch(program, index)
            return backend.attach(kind, program.raw, target, **details)
        return self._beside(program, kind, recorded, target if kind != "tracing" else name, details, index)

    def _watch(self, program: Program, index: int) -> None:
        backend: OnMachine = program._session._backend  # type: ignore[assignment]
        found = self._machines.get(id(backend.machine))
        if found is None:
            indices: dict[str, int] = {}
            found = self._machines[id(backend.machine)] = (
                MachineRecorder(backend.machine, self._writer, indices), indices)
        found[1][program.name] = index

    def _beside(self, program: Program, kind: str, name: str, target: Any, details: Mapping[str, Any],
                index: int) -> Link:
        from ebpf.session.session import load

        shared = {n: self._sessions[0].maps[n] for n in _SHARED} if self._sessions else None
        made = load(self._program(), backend="kernel", load_programs=[f"record_{name}"], reuse=shared,
                    variables={"attachment": index, **_details(kind, target)})
        self._sessions.append(made)
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="ebpf recorder", daemon=True)
            self._thread.start()
        recorder = made._backend
        raw = made.programs[f"record_{name}"].raw
        self._beside_programs.append(raw)
        if kind in _CALLING and raw.type == program.type and (kind != "raw_tracepoint" or _may_call()):  # not writable
            next: Any = made.maps["next"].raw
            next.update(bytes(4), program.fileno().to_bytes(4, "little"))
            link = recorder.attach(kind, raw, target, **details)
            return Pair(link, link, program.name, next.duplicate())  # the kernel empties it when nobody has it open
        how = {k: v for k, v in details.items() if k != "cookie"}
        beside = recorder.attach("raw_tracepoint" if kind == "tracing" else kind, raw, target, **how)
        try:
            theirs = program._session._backend.attach(kind, program.raw, None if kind == "tracing" else target,
                                                      **details)
        except BaseException:
            beside.detach()
            raise
        return Pair(theirs, beside, program.name)

    def _program(self) -> Any:
        """recorder.c, compiled."""
        if self._object is None:
            from ebpf.session.build import compile_source

            source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recorder.c")
            self._object = compile_source(source, dialect="libbpf", defines=(f"PIECE_BYTES={self._piece_bytes}",))
        return self._object

    # ---- the kernel's ring buffer ----

    def _read(self) -> None:
        ring = self._sessions[0].maps["recorded"].raw.ring_buffer()
        while not self._end.wait(_IDLE_S):
            self._take(ring)
        while self._take(ring):
            pass
        ring.close()

    def _take(self, ring: Any) -> int:
        count: int = ring.consume(self._add)
        slots = self._sessions[0].maps["missed"].raw
        value = slots.lookup(bytes(4)) or b""
        missed = sum(int.from_bytes(value[at:at + 8], "little") for at in range(0, len(value), 8))
        with self._lock:
            self._writer.lose(missed - self._missed)
            self._missed = missed
            self._writer.flush()
        return count

    def _count_skipped(self) -> None:
        with self._lock:
            skipped = sum(program.info().recursion_misses for program in self._beside_programs)
            self._writer.lose(skipped - self._skipped)
            self._skipped = max(skipped, self._skipped)

    def _add(self, data: bytes) -> None:
        (index, cpu, pid_tgid, uid_gid, at_ns, cgroup, comm, context_bytes, packet_bytes,
         context) = _HEAD.unpack_from(data)
        rest = data[_HEAD.size:]
        packet = None if packet_bytes == _NO_PACKET else bytes(rest[:packet_bytes])
        memory: list[tuple[int, bytes]] = []
        if packet is None:
            size = _PIECE_HEAD.size + self._piece_bytes
            for at in range(0, len(rest) - size + 1, size):
                address, length, _ = _PIECE_HEAD.unpack_from(rest, at)
                piece = address, bytes(rest[at + _PIECE_HEAD.size:at + _PIECE_HEAD.size + length])
                if piece not in memory:
                    memory.append(piece)
        with self._lock:
            self._writer.add(Event(index, cpu, pid_tgid >> 32, pid_tgid & 0xFFFFFFFF, uid_gid & 0xFFFFFFFF,
                                   uid_gid >> 32, at_ns, cgroup, comm, bytes(context[:context_bytes]), packet,
                                   tuple(memory)))

    # ---- the end ----

    def close(self) -> None:
        """Write what has come, and close the file. Programs stay attached, unrecorded. Doing it twice is fine."""
        if wish.recorder is self:
            wish.recorder = None
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._count_skipped()
        self._beside_programs.clear()
        for recorder, _ in self._machines.values():
            recorder.close()
        self._machines.clear()
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        self._writer.close()


class Pair:
    """A link and the recorder's beside it (or in front of it): they come off together."""

    def __init__(self, link: Link, beside: Link, program: str, next: Any = None) -> None:
        self._link, self._beside, self.program, self._next = link, beside, program, next

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def __repr__(self) -> str:
        return repr(self._link)

    def detach(self) -> None:
        """Take both off; doing so again is harmless."""
        self._link.detach()
        self._beside.detach()
        if self._next is not None:
            self._next.close()

    close = detach

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *exc: object) -> None:
        self.detach()


def _may_call() -> bool:
    """Whether raw tracepoints' programs are called: on 5.10 what is recorded before such a call is wrong (seen there:
    results of system calls were zero), and before 6.1 nothing is left out. Asked for is what came in between, whatever
    the configuration (5.17).
    """
    from ebpf.kernel.features import have

    return have("btf_type_tag") is True


def _clocks() -> dict[str, int]:
    """How far the clocks of this machine are ahead of the one that events are dated with."""
    now = time.monotonic_ns()
    return {f"{name}_ahead_ns": time.clock_gettime_ns(number) - now for name, number in (
        ("boot", time.CLOCK_BOOTTIME), ("tai", time.CLOCK_TAI), ("real", time.CLOCK_REALTIME))}


def _details(kind: str, target: Any) -> dict[str, int]:
    """How recorder.c looks at a hook: its constants."""
    registers = _REGISTER_BYTES.get(platform.machine(), 168)
    if kind in ("kprobe", "kprobes", "uprobe", "usdt"):
        names = target if kind == "kprobes" else [target] if kind == "kprobe" else []
        wraps = bool(names) and all(str(n).startswith(_WRAPPERS) for n in names)
        return {"context_bytes": registers, "wrapper": int(wraps)}
    if kind in ("kretprobe", "uretprobe"):
        return {"context_bytes": registers, "leaves": 1}
    if kind == "tracepoint":
        if ":sys_exit" in target:
            return {"context_bytes": 24, "leaves": 1}
        syscall = target.startswith("syscalls:")
        return {"context_bytes": 64 if syscall else 256, "first_word": 2 if syscall else 1, "words": 6}
    if kind in ("raw_tracepoint", "tracing"):
        if target in ("sys_enter", "sys_exit"):
            return {"context_bytes": 16, "words": 1, "wrapper": 1}
        return {"context_bytes": 48, "words": 4}
    if kind == "perf_event":
        return {"context_bytes": registers + 16}
    return {"context_bytes": 24}


def replay(session: Session, path: str | os.PathLike[str], each: Any = None) -> Recording:
    """See `Session.replay`."""
    from ebpf.machine.recording import Recording
    from ebpf.session import world

    backend = session._backend
    if backend.name != "machine":
        raise UsageError("a recording is replayed in the userspace machine", helps=('load(obj, backend="machine")',))
    machine = backend.machine  # type: ignore[attr-defined]
    found = Recording.read(path)

    def after(run: Any) -> None:
        world.ran()
        if each is not None:
            each(run)

    with world.lock:
        found.replay(machine, after)
    return found


def digest(obj: Any) -> str:
    """What an object is known by: a digest of its programs' code."""
    whole = sha256()
    for name, spec in sorted(obj.programs.items()):
        whole.update(name.encode() + b"\0" + spec.code)
    return whole.hexdigest()

