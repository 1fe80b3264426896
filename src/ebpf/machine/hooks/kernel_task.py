"""A ``struct task_struct`` for programs that look at one: ``task->real_parent->tgid`` is what many print.

The kernel's own types say where its members are; those that can be told from outside are filled in from /proc (ids,
names, parents, credentials, start times, a leader's and a thread's), all others are zero, pointers among them, so that
following one fails as in any probe read. It is built when a program that asks for the task is about to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.btf.types import Kind
from ebpf.machine.tracing import protocol

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.machine.memory import AddressSpace
    from ebpf.machine.tracing.events import Event
    from ebpf.machine.tracing.task import Status

_GENERATIONS = 3  # the task, its parent, and that one's


class _Struct:
    """Buffers of one kernel type, written by members' names; names that this kernel lacks are passed over."""

    def __init__(self, btf: Btf, name: str) -> None:
        found = btf.find(name, Kind.STRUCT)
        self.size = btf.size_of(found) if found is not None else 0
        members = btf.members(found) if found is not None else {}
        self._places = {member: (field.bit_offset // 8, field.bit_size // 8 or btf.size_of(field.type))
                        for member, field in members.items() if member in _MEMBERS}

    def put(self, buffer: bytearray, member: str, value: int | bytes) -> None:
        place = self._places.get(member)
        if place is not None:
            at, size = place
            buffer[at:at + size] = value[:size - 1].ljust(size, b"\0") if isinstance(value, bytes) else (
                value & (1 << 8 * size) - 1).to_bytes(size, "little")


_CRED_IDS = ("uid", "euid", "suid", "fsuid"), ("gid", "egid", "sgid", "fsgid")
_MEMBERS = frozenset(("pid", "tgid", "comm", "real_parent", "parent", "group_leader", "cred", "real_cred",
                      "start_time", "start_boottime", "exit_code", *_CRED_IDS[0], *_CRED_IDS[1]))


class KernelTask:
    """The structs' memory, at fixed addresses; `show` fills it in for an event and gives the task's."""

    def __init__(self, space: AddressSpace, btf: Btf) -> None:
        self._task = _Struct(btf, "task_struct")
        self._cred = _Struct(btf, "cred")
        self._buffers: list[tuple[bytearray, int, bytearray, int]] = []
        # The task's own thread, its process (the group leader), then the ancestors; and a child that was just made.
        for what in ("the task's", "its process's", "its parent's", "its parent's parent's", "the new task's"):
            task, cred = bytearray(self._task.size), bytearray(self._cred.size)
            self._buffers.append((task, space.add(task, f"{what} struct task_struct", writable=False),
                                  cred, space.add(cred, f"{what} struct cred", writable=False)))

    @property
    def known(self) -> bool:
        """Whether the kernel's types have the struct at all."""
        return self._task.size > 0

    def show(self, event: Event) -> int:
        """The address of the task that ``event`` belongs to."""
        status = event.task.status
        leader = status if status.tid == status.pid else type(status).read(status.pid)
        parents = [type(status).read(leader.parent)] if leader.parent else []
        while parents and len(parents) < _GENERATIONS - 1 and parents[-1].parent:
            parents.append(type(status).read(parents[-1].parent))
        chain = [leader, *parents]
        for at in range(len(chain), _GENERATIONS):
            self._clear(at + 1)
        for at, one in enumerate(chain):
            self._fill(at + 1, one, self._buffers[at + 1][1], at + 2 if at + 1 < len(chain) else None)
        if leader is status:
            self._put_exit_code(1, event)
            return self._buffers[1][1]
        self._fill(0, status, self._buffers[1][1], 2 if parents else None)
        self._put_exit_code(0, event)
        return self._buffers[0][1]

    def _put_exit_code(self, at: int, event: Event) -> None:
        if event.kind == protocol.TASK_EXIT:
            self._task.put(self._buffers[at][0], "exit_code", event.status)

    def show_child(self, event: Event) -> int:
        """The address of the task that a fork has made."""
        status = type(event.task.status).read(event.child)
        address = self._buffers[4][1]
        self._fill(4, status, address, 1)
        return address

    def _clear(self, at: int) -> None:
        task, _, cred, _ = self._buffers[at]
        task[:] = bytes(len(task))
        cred[:] = bytes(len(cred))

    def _fill(self, at: int, status: Status, leader: int, parent: int | None) -> None:
        task, _, cred, cred_address = self._buffers[at]
        self._clear(at)
        put = self._task.put
        put(task, "pid", status.tid)
        put(task, "tgid", status.pid)
        put(task, "comm", status.comm)
        put(task, "group_leader", leader)
        for name in ("cred", "real_cred"):
            put(task, name, cred_address)
        for name in ("start_time", "start_boottime"):
            put(task, name, status.start_ns)
        for name in ("real_parent", "parent"):
            put(task, name, self._buffers[parent][1] if parent is not None else 0)
        for names, values in zip(_CRED_IDS, (status.uids, status.gids), strict=True):
            for name, value in zip(names, values, strict=True):
                self._cred.put(cred, name, value)
