"""Uprobes in the traced command: breakpoints in every process that maps a probed file, children and libraries included.

A breakpoint is the instruction ``int3`` over the first byte of the probed one. When a task runs into it, the event is
reported, and then the instruction that it covers is done out of line: simple ones here, by changing registers, others
by a single step over a copy in a spare piece of the process's own code (the unused end of an executable's last page),
so that the breakpoint stays in its place for other threads. Only what neither can do is stepped in place, where another
thread may slip past unseen meanwhile: loop instructions, system calls, encodings that we do not know.

A function's return is seen by putting the address of another breakpoint, the trampoline, in the place of its return
address. The true one is kept by its place on the stack: that finds it again whatever thread returns, in whatever order,
and an entry that longjmp passed by is simply written over. Programs that look at their own return addresses (C++
exceptions, profilers) are disturbed by that, as they are by the kernel's uretprobes.
"""

from __future__ import annotations

import ctypes
import os
import signal

from ebpf.binaries.mappings import iter_mappings
from ebpf.machine.tracing import protocol as p, ptrace as pt, x86

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ebpf.binaries.mappings import Mapping
    from ebpf.machine.tracing.child import Tracer
    from ebpf.machine.tracing.records import Task

_SPARE_BYTES = 32  # trampoline at its start, room for an instruction in its second half
_BP, _BX, _SI, _DI, _CX, _FLAGS = 4, 5, 13, 14, 11, 18
_SCRATCH = {3: _BX, 6: _SI, 7: _DI}
# Of pushes: the word that holds register 0 to 15.
_REGISTER_WORDS = (10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0)
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_SI_KERNEL, _TRAP_BRKPT = 0x80, 1
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_MAX_RETURNS = 4096


class Site:
    """A place in a file that somebody wants to know of."""

    __slots__ = ("file", "id", "is_return", "mask", "offset", "path", "semaphore")

    def __init__(self, id: int, path: str, device: int, inode: int, offset: int, is_return: bool, mask: int,
                 semaphore: int) -> None:
        self.id = id
        self.path = path
        self.file = (device, inode)
        self.offset = offset
        self.is_return = is_return
        self.mask = mask
        self.semaphore = semaphore


class Point:
    """A breakpoint in a process."""

    __slots__ = ("code", "decoded", "sites")

    def __init__(self, code: bytes) -> None:
        self.code = code  # as it was
        self.decoded = x86.decode(code)
        self.sites: list[Site] = []


class Space:
    """What we have put into an address space that a process's threads share."""

    __slots__ = ("in_slot", "memory", "points", "returns", "semaphores", "slot", "trampoline", "users", "version")

    def __init__(self) -> None:
        self.points: dict[int, Point] = {}
        self.returns: dict[int, tuple[int, list[Site]]] = {}  # place on the stack → true address, who wants to know
        self.semaphores: dict[int, int] = {}  # address → how often counted up
        self.trampoline = self.slot = 0
        self.in_slot = [b""]  # the copy that lies there
        self.memory = -1
        self.version = -1
        self.users = 1

    def copy(self) -> Space:
        """After fork(2): the same things in other memory."""
        new = Space()
        new.points = {address: self._copy_point(point) for address, point in self.points.items()}
        new.returns = {place: (address, list(sites)) for place, (address, sites) in self.returns.items()}
        new.semaphores = dict(self.semaphores)
        new.in_slot = list(self.in_slot)
        new.trampoline, new.slot, new.version = self.trampoline, self.slot, self.version
        return new

    def lend(self) -> Space:
        """To vfork's child, until it calls exec: the same memory, but it returns from functions that its parent has
        called too, and its parent does so later.
        """
        new = Space()
        new.points, new.semaphores, new.in_slot = self.points, self.semaphores, self.in_slot
        new.returns = dict(self.returns)
        new.trampoline, new.slot, new.version = self.trampoline, self.slot, self.version
        return new

    @staticmethod
    def _copy_point(point: Point) -> Point:
        new = Point(point.code)
        new.sites = list(point.sites)
        return new

    def read(self, tid: int, address: int, size: int) -> bytes:
        """Memory, whatever its protection. Raises `OSError`."""
        return os.pread(self._open(tid), size, address)

    def write(self, tid: int, address: int, data: bytes) -> None:
        """The other way round; private pages of a file are copied first, so the file stays as it is."""
        os.pwrite(self._open(tid), data, address)

    def _open(self, tid: int) -> int:
        if self.memory < 0:
            self.memory = os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
        return self.memory

    def close(self) -> None:
        """One user less."""
        self.users -= 1
        if not self.users and self.memory >= 0:
            os.close(self.memory)
            self.memory = -1


class Breakpoints:
    """All breakpoints of the traced command."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.sites: list[Site] = []
        self.version = 0

    @property
    def changed(self) -> bool:
        """Whether some process has not what it should have."""
        return any(task.space is None or task.space.version != self.version for task in self.tracer.tasks.values())

    @property
    def counts(self) -> bool:
        """Whether there are semaphores, which lie in data."""
        return any(site.semaphore for site in self.sites)

    def set_sites(self, rows: list[tuple[Any, ...]]) -> None:
        """These are wanted from now on."""
        self.sites = [Site(*row) for row in rows]
        self.version += 1

    # ---- which process has what ----

    def inherit(self, parent: Task, child: Task, *, shared: bool) -> None:
        """``parent`` has made ``child``."""
        if parent.space is None:
            return
        if not shared:
            child.space = parent.space.copy()
        elif child.tgid != parent.tgid:
            child.space = parent.space.lend()
        else:
            child.space = parent.space
            child.space.users += 1

    def renew(self, task: Task) -> None:
        """The task has become another program."""
        self.leave(task)
        task.space = Space()
        self.scan(task)

    def leave(self, task: Task) -> None:
        """The task is gone, or its memory is."""
        if task.space is not None:
            task.space.close()
            task.space = None

    def refresh(self, task: Task) -> None:
        """The task stands still: give it what it should have."""
        if not self.tracer.started:
            return
        if task.space is None:
            task.space = next((t.space for t in self.tracer.tasks.values() if t.tgid == task.tgid and t.space), None)
            if task.space is None:
                task.space = Space()
            else:
                task.space.users += 1
        if task.space.version != self.version:
            self.scan(task)

    def scan(self, task: Task) -> None:
        """Compare what the process has mapped with what is wanted, and put in and take out what differs."""
        space = task.space
        assert space is not None
        space.version = self.version
        try:
            mappings = list(iter_mappings(task.tid))
            wanted: dict[int, list[Site]] = {}
            semaphores: dict[int, int] = {}
            for site in self.sites:
                for mapping in mappings:
                    if mapping.file != site.file and mapping.path != site.path:
                        continue
                    address = mapping.address(site.offset) if mapping.executable else None
                    if address is not None:
                        wanted.setdefault(address, []).append(site)
                    if site.semaphore and mapping.writable:
                        counter = mapping.address(site.semaphore)
                        if counter is not None:
                            semaphores[counter] = semaphores.get(counter, 0) + 1
            if wanted and not space.trampoline:
                self._find_spare(task, space, mappings)
            self._place(task, space, wanted)
            self._count(task, space, semaphores)
        except OSError:
            pass  # it has just been killed

    def _place(self, task: Task, space: Space, wanted: dict[int, list[Site]]) -> None:
        instruction = self.tracer.arch.breakpoint
        for address in [a for a in space.points if a not in wanted]:
            space.write(task.tid, address, space.points.pop(address).code[:len(instruction)])
        for address, sites in wanted.items():
            point = space.points.get(address)
            # Where other code has been mapped over it meanwhile, there is no breakpoint any more.
            if point is None or space.read(task.tid, address, len(instruction)) != instruction:
                code = bytearray(space.read(task.tid, address, x86.MAX_BYTES))
                for other, known in space.points.items():  # a neighbour's breakpoint is not part of the instruction
                    if 0 < other - address < len(code):
                        code[other - address:other - address + 1] = known.code[:1]
                point = space.points[address] = Point(bytes(code))
                space.write(task.tid, address, instruction)
            point.sites = sites

    def _count(self, task: Task, space: Space, wanted: dict[int, int]) -> None:
        """Semaphores of USDT probes: a program looks at them before it prepares a probe's arguments."""
        for address in {*space.semaphores, *wanted}:
            difference = wanted.get(address, 0) - space.semaphores.get(address, 0)
            if difference:
                value = int.from_bytes(space.read(task.tid, address, 2), "little") + difference
                space.write(task.tid, address, (value & 0xFFFF).to_bytes(2, "little"))
        space.semaphores.clear()
        space.semaphores.update(wanted)

    def _find_spare(self, task: Task, space: Space, mappings: list[Mapping]) -> None:
        """Unused bytes at the end of executable memory: of the program itself, or of what is never unmapped."""
        programs = [mapping for mapping in mappings if mapping.executable and not mapping.writable]
        for mapping in sorted(programs, key=lambda m: (mappings[0].file != m.file, "/ld-" not in m.path)):
            at = mapping.end - _SPARE_BYTES
            if not any(space.read(task.tid, at, _SPARE_BYTES)):
                space.trampoline, space.slot = at, at + _SPARE_BYTES // 2
                space.in_slot[0] = b""
                space.write(task.tid, at, self.tracer.arch.breakpoint)
                return

    def mapped(self, task: Task, result: int) -> None:
        """mmap or mprotect has given a task new code (or data with semaphores)."""
        if result < 1 << 63:
            if task.space is None:
                self.refresh(task)
            else:
                self.scan(task)

    # ---- a breakpoint is hit ----

    def hit(self, task: Task) -> bool:
        """A task has got SIGTRAP: whether that was ours, and is dealt with."""
        tracer, space = self.tracer, task.space
        registers, arch = tracer.registers, tracer.arch
        if space is None or not registers.read(task.tid):
            return False
        words = registers.words
        address = words[arch.ip] - arch.ip_after_breakpoint
        point = space.points.get(address)
        if (point is None and address != space.trampoline) or _signal_code(task.tid) not in (_SI_KERNEL, _TRAP_BRKPT):
            return False
        if point is None:
            if not self._returned(task, space):
                return False
            tracer.resume(task)
            return True
        words[arch.ip] = address
        returns: list[Site] = []
        for site in point.sites:
            if site.is_return:
                returns.append(site)
            else:
                registers.write(task.tid)
                tracer.tell(p.UPROBE, task, site.mask, site.id, address, registers.buffer)
        if returns:
            self._hijack(task, space, words[arch.sp], returns)
        number = self._step_over(task, space, address, point)
        if number is not None:
            self.refresh(task)  # the step may have eaten the stop that was to do it
            tracer.resume(task, number)
        return True

    def _hijack(self, task: Task, space: Space, place: int, sites: list[Site]) -> None:
        """At a function's first instruction: have it return to the trampoline."""
        try:
            true = int.from_bytes(space.read(task.tid, place, 8), "little")
            if true == space.trampoline:
                # A function that was entered by a jump from another one, both probed: they return together.
                if place in space.returns:
                    address, others = space.returns[place]
                    space.returns[place] = (address, [*sites, *others])
                return
            if len(space.returns) > _MAX_RETURNS:
                self._sweep(task, space)
            space.write(task.tid, place, space.trampoline.to_bytes(8, "little"))
            space.returns[place] = (true, sites)
        except OSError:
            pass

    def _sweep(self, task: Task, space: Space) -> None:
        """Forget functions that never returned: those whose place on the stack holds something else."""
        trampoline = space.trampoline.to_bytes(8, "little")
        for place in list(space.returns):
            try:
                if space.read(task.tid, place, 8) == trampoline:
                    continue
            except OSError:
                pass
            del space.returns[place]

    def _returned(self, task: Task, space: Space) -> bool:
        """At the trampoline: report, and go on where the function was called from."""
        tracer = self.tracer
        registers, arch = tracer.registers, tracer.arch
        found = space.returns.pop(registers.words[arch.sp] - 8, None)
        if found is None:
            return False
        true, sites = found
        registers.words[arch.ip] = true
        registers.write(task.tid)
        known = {site.id for site in self.sites}
        for site in sites:
            if site.id in known:
                tracer.tell(p.URETPROBE, task, site.mask, site.id, true, registers.buffer)
        return True

    # ---- stepping over ----

    def _step_over(self, task: Task, space: Space, address: int, point: Point) -> int | None:
        """Do the instruction under a breakpoint. A signal to go on with (0: none), ``None``: the task has ended."""
        registers = self.tracer.registers
        decoded, code = point.decoded, point.code
        if decoded is not None and self._emulate(task, space, address, decoded, code):
            registers.write(task.tid)
            return 0
        if decoded is None or not space.slot or decoded.opcode in (0xE0, 0xE1, 0xE2, 0x0F05, 0x0F34, 0xCD):
            return self._step_in_place(task, space, address, point)
        return self._step_copy(task, space, address, decoded, code)

    def _emulate(self, task: Task, space: Space, address: int, decoded: x86.Decoded, code: bytes) -> bool:
        """What takes only registers and the stack to do."""
        words, arch = self.tracer.registers.words, self.tracer.arch
        opcode, following = decoded.opcode, address + decoded.length
        if code[:4] == _ENDBR64 or opcode == 0x0F1F or (opcode == 0x90 and decoded.length == 1):
            words[arch.ip] = following
            return True
        if 0x50 <= opcode <= 0x57 and code[0] not in (0x66, 0x67):
            value = words[_REGISTER_WORDS[opcode & 7 | (decoded.rex & 1) << 3]]
            return self._push(task, space, value, following)
        target = x86.jump_target(decoded, code, address, words[_FLAGS], words[_CX])
        if target is None:
            return False
        if opcode == 0xE8:
            return self._push(task, space, following, target)
        words[arch.ip] = target
        return True

    def _push(self, task: Task, space: Space, value: int, target: int) -> bool:
        words, arch = self.tracer.registers.words, self.tracer.arch
        place = words[arch.sp] - 8
        try:
            pt.write_memory(task.tid, place, int(value).to_bytes(8, "little"))
        except OSError:
            return False  # the stack has to grow, or has an end: let the processor do it
        words[arch.sp] = place
        words[arch.ip] = target
        return True

    def _step_copy(self, task: Task, space: Space, address: int, decoded: x86.Decoded, code: bytes) -> int | None:
        tracer = self.tracer
        registers, arch = tracer.registers, tracer.arch
        words = registers.words
        copy, scratch, saved = code[:decoded.length], -1, 0
        if decoded.relative >= 0:
            copy, register = x86.without_relative(decoded, code)
            scratch = _SCRATCH[register]
            saved = words[scratch]
            words[scratch] = address + decoded.length
        if space.in_slot[0] != copy:
            space.write(task.tid, space.slot, copy)
            space.in_slot[0] = copy
        words[arch.ip] = space.slot
        registers.write(task.tid)
        number = 0
        while True:
            came = self._step(task)
            if came is None or not registers.read(task.tid):
                return None
            number = came or number
            at = words[arch.ip]
            if at != space.slot or number in _FAULTS:
                break  # else a repeated string instruction has done one round
        if scratch >= 0:
            words[scratch] = saved
        if number in _FAULTS:
            words[arch.ip] = address
        elif space.slot < at <= space.slot + decoded.length:
            words[arch.ip] = at - space.slot + address
        elif decoded.opcode == 0xFF and code[decoded.modrm] >> 3 & 7 == 2:  # an indirect call
            pt.write_memory(task.tid, words[arch.sp], (address + decoded.length).to_bytes(8, "little"))
        registers.write(task.tid)
        return number

    def _step_in_place(self, task: Task, space: Space, address: int, point: Point) -> int | None:
        tracer = self.tracer
        length = len(tracer.arch.breakpoint)
        tracer.registers.write(task.tid)
        space.write(task.tid, address, point.code[:length])
        number = self._step(task)
        try:
            if address in space.points:
                space.write(task.tid, address, tracer.arch.breakpoint)
        except OSError:
            return None
        return number

    def _step(self, task: Task) -> int | None:
        """One instruction. The signal that came meanwhile, 0; ``None``: the task has ended."""
        later = 0
        while True:
            if pt.ptrace(pt.SINGLESTEP, task.tid) < 0:
                return None
            try:
                _, status = os.waitpid(task.tid, pt.WALL)
            except ChildProcessError:
                return None
            if status & 0xFF != 0x7F:
                self.tracer.stopped(task.tid, status)
                return None
            number, event = status >> 8 & 0xFF, status >> 16
            if event:
                if event in (pt.EVENT_STOP, pt.EVENT_SECCOMP):
                    continue
                self.tracer.stopped(task.tid, status)  # it ends, or has become something else
                return None
            if number == signal.SIGTRAP:
                return later
            if number in _FAULTS:
                return number
            later = number  # delivered when the step is done


def _signal_code(tid: int) -> int:
    """si_code of the signal that a task has stopped with."""
    info = (ctypes.c_int32 * 32)()
    return int(info[2]) if pt.ptrace(pt.GETSIGINFO, tid, 0, ctypes.addressof(info)) >= 0 else 0
