"""Several XDP programs on one device: a chain of tail calls, in the order of their priorities.

The kernel runs one XDP program for a device. Ours is then a *dispatcher* that tail-calls the first of up to sixteen
members. Each member is loaded in a form of its own: where it would end with XDP_PASS it tail-calls the next one; any
other verdict is the last word. Who comes next stands in an array that the members read, so that members come and go
while packets pass: a tail call into a slot that is empty meanwhile is an XDP_PASS.

The chain lives in two maps and a link. Every process that has a member on the device holds descriptors of all three, so
it outlives whoever made it, and ends with the last member. Other processes find it by the dispatcher's name. A lock
(an abstract socket of the network namespace) lets one process at a time change it.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.abi.maps import BPF_F_MMAPABLE, MapType
from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, EbpfError, NotSupported
from ebpf.kernel import maps, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.kernel.maps import KernelMap
    from ebpf.object import Linked

NAME: Final = "ebpf_xdp_chain"
MEMBERS: Final = 16
_ROW = struct.Struct("@Ii")  # the next slot (0: none), this one's priority; row 0 is the dispatcher
_PASS, _TAIL_CALL, _STACK = 2, 12, 512
_LOCK_S = 5.0


class Chain(NamedTuple):
    """The maps of a device's chain: programs by slot, and who comes after whom."""

    members: KernelMap
    order: KernelMap

    def rows(self) -> list[tuple[int, int]]:
        """(next slot, priority) of each slot, the dispatcher's first."""
        return list(_ROW.iter_unpack(self.order.lookup(bytes(4)) or b""))

    def ids(self) -> list[int]:
        """Ids of the member programs, in the order in which they run."""
        rows = self.rows()
        found: list[int] = []
        slot = rows[0][0]
        while slot and len(found) < MEMBERS:
            value = self.members.lookup(struct.pack("@I", slot))
            found.append(int.from_bytes(value or b"", "little"))
            slot = rows[slot][0]
        return found

    def free_slot(self) -> int:
        """A slot that nobody has; 0 if there is none."""
        return next((n for n in range(1, MEMBERS + 1) if self.members.lookup(struct.pack("@I", n)) is None), 0)

    def insert(self, slot: int, program: int, priority: int) -> None:
        """Put the program of that descriptor behind all members of the same or a lower priority."""
        rows = self.rows()
        before = 0
        while (after := rows[before][0]) and rows[after][1] <= priority:
            before = after
        self._write(slot, after, priority)
        self.members.update(struct.pack("@I", slot), struct.pack("@i", program))
        self._write(before, slot, rows[before][1])

    def remove(self, slot: int, program_id: int) -> None:
        """Take that program out, if it is still there."""
        value = self.members.lookup(struct.pack("@I", slot))
        if value is None or int.from_bytes(value, "little") != program_id:
            return
        rows = self.rows()
        for at, (after, priority) in enumerate(rows):
            if after == slot:
                self._write(at, rows[slot][0], priority)
        self.members.delete(struct.pack("@I", slot))

    def _write(self, slot: int, after: int, priority: int) -> None:
        self.order.write_part(slot * _ROW.size, _ROW.pack(after, priority))

    def close(self) -> None:
        """Close our descriptors of it."""
        self.members.close()
        self.order.close()


@contextmanager
def locked(device: int) -> Iterator[None]:
    """While nobody else changes that device's chain."""
    end = time.monotonic() + _LOCK_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as lock:
        while True:
            try:
                lock.bind(f"\0{NAME}.{device}")
                break
            except OSError:
                if time.monotonic() > end:
                    raise AttachError(f"the chain of XDP programs on device {device} is being changed, for "
                                      f"{_LOCK_S:.0f} seconds already") from None
                time.sleep(0.01)
        yield


def find(program_id: int) -> Chain | None:
    """The chain whose dispatcher is that program; None if it is none of ours."""
    try:
        with programs.open_by_id(program_id) as program:
            info = program.info()
        if info.name != NAME:
            return None
        found = {int(one.type): one for one in map(maps.open_by_id, info.map_ids)}
        return Chain(found[MapType.PROG_ARRAY], found[MapType.ARRAY])
    except (EbpfError, KeyError):
        return None


def make() -> tuple[Chain, programs.KernelProgram]:
    """An empty chain, and its dispatcher."""
    members = maps.create_map(name=NAME, type=MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=MEMBERS + 1)
    order = maps.create_map(name=NAME, type=MapType.ARRAY, key_size=4, value_size=_ROW.size * (MEMBERS + 1),
                            max_entries=1, flags=BPF_F_MMAPABLE)
    chain = Chain(members, order)
    return chain, programs.load_program(_call_next(chain, 0), type=ProgType.XDP, name=NAME, license="GPL",
                                        expected_attach_type=AttachType.XDP)


def _insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


def _wide(dst: int, kind: int, fd: int, offset: int = 0) -> bytes:
    return _insn(0x18, dst, kind, 0, fd) + _insn(0, imm=offset)


def _call_next(chain: Chain, slot: int) -> bytes:
    """r1 is the context: tail-call whoever comes after `slot`; nobody: XDP_PASS."""
    return (_wide(2, 2, chain.order.fileno(), slot * _ROW.size) + _insn(0x61, 3, 2)
            + _wide(2, 1, chain.members.fileno()) + _insn(0x85, imm=_TAIL_CALL) + _insn(0xB7, imm=_PASS) + _insn(0x95))


def as_member(linked: Linked, code: bytes, chain: Chain, slot: int) -> tuple[Linked, bytes]:
    """A program in the form of a member: it keeps its context on the stack, and every ``exit`` of its main function
    leads to an end that goes on to the next member when the verdict is XDP_PASS.
    """
    end = linked.functions[1][0] if len(linked.functions) > 1 else len(code) // 8
    depth = _depth(code[:end * 8]) + 8
    if depth > _STACK:
        raise NotSupported(f"{linked.functions[0][1]!r} in a chain", notes=(
            "its main function uses the whole stack, and a member keeps its context there",))
    out = bytearray(_insn(0x7B, 10, 1, -depth))
    at, skip = 0, False
    for slot_number in range(end):
        insn = code[at:at + 8]
        at += 8
        if skip:
            skip = False
        elif insn[0] == 0x18:
            skip = True
        elif insn[0] == 0x95:
            insn = _insn(0x05, off=end - slot_number - 1)
        out += insn
    tail = _insn(0x79, 1, 10, -depth) + _call_next(chain, slot)
    ending = _insn(0x56, 0, 0, len(tail) // 8 - 1, _PASS) + tail  # any other verdict: straight to the last exit
    grown = len(ending) // 8
    _move_calls(out, 1, end, grown)
    out += ending + code[end * 8:]

    def moved(offset: int) -> int:
        return offset if offset == 0 else offset + 1 + (grown if offset >= end else 0)

    functions, lines = linked.func_info, linked.line_info
    shaped = linked._replace(func_info=functions and functions.with_offsets([moved(at) for at in functions.offsets]),
                             line_info=lines and lines.with_offsets([moved(at) for at in lines.offsets]))
    return shaped, bytes(out)


def _move_calls(code: bytearray, start: int, end: int, grown: int) -> None:
    """Calls of subprograms, and addresses of them, lead `grown` instructions further."""
    at = start * 8
    while at < (start + end) * 8:
        opcode, source = code[at], code[at + 1] >> 4
        if (opcode == 0x85 and source == 1) or (opcode == 0x18 and source == 4):
            distance = struct.unpack_from("<i", code, at + 4)[0]
            struct.pack_into("<i", code, at + 4, distance + grown)
        at += 16 if opcode == 0x18 else 8


def _depth(code: bytes) -> int:
    """A bound of the stack that these instructions use: the lowest offset that any of them names."""
    lowest, at = 0, 0
    while at < len(code):
        opcode, registers, offset, immediate = struct.unpack_from("<BBhi", code, at)
        if opcode & 7 in (1, 2, 3) and (registers >> 4 == 10 if opcode & 7 == 1 else registers & 15 == 10):
            lowest = min(lowest, offset)
        elif opcode == 0x07 and immediate < 0:
            lowest = min(lowest, max(immediate, -_STACK))
        at += 16 if opcode == 0x18 else 8
    return -lowest + 7 & ~7
