"""Atomic operations, and the packet loads that classic BPF left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.programs import ProgType
from ebpf.isa.insn import ATOMIC_CMPXCHG, ATOMIC_FETCH, ATOMIC_LOAD_ACQ, ATOMIC_STORE_REL
from ebpf.verifier import calls, memory
from ebpf.verifier.ranges import BY_SIZE
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import (
    CTX,
    FLOW_KEYS,
    KIND_NAMES,
    KIND_WORDS,
    PACKET_KINDS,
    SCALAR,
    SOCKET_LAYOUTS,
    Pointer,
    Scalar,
    number,
)

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer

_PACKET_TYPES = frozenset(
    int(t) for t in (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.CGROUP_SKB)
)


def check(x: Explorer, dst: int, src: int, off: int, op: int, size: int) -> None:
    """A read and a write of one place in one step: both must be allowed; what is fetched is what a read gives."""
    regs = x.regs
    if op == ATOMIC_LOAD_ACQ:
        _allowed(x, src)
        regs[dst] = memory.load(x, src, off, size, False)
        return
    operand = regs[src]
    if operand is None:
        raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
    _allowed(x, dst)
    if op == ATOMIC_STORE_REL:
        memory.store(x, dst, off, size, operand)
        return
    if op == ATOMIC_CMPXCHG and regs[0] is None:
        raise Refuse("V0206", "R0 is read before it has a value", row="register", register=0)
    target = regs[dst]
    if isinstance(target, Pointer) and (target.off + off) % size and target.var.is_const:
        raise Refuse(
            "V0210",
            f"an atomic operation at offset {target.off + off}",
            row="misaligned",
            register=dst,
            size=size,
            what="atomic",
        )
    loaded = memory.load(x, dst, off, size, False)
    if loaded.kind != SCALAR and not op & ATOMIC_FETCH:
        loaded = Scalar(BY_SIZE[8])
    # A number whatever was there: a pointer is worth nothing after arithmetic.
    memory.store(x, dst, off, size, Scalar(BY_SIZE[8]))
    if op == ATOMIC_CMPXCHG:
        regs[0] = loaded
    elif op & ATOMIC_FETCH:
        regs[src] = loaded


def _allowed(x: Explorer, register: int) -> None:
    pointer = memory.pointer_in(x, register)
    if pointer.kind in PACKET_KINDS or pointer.kind in (CTX, FLOW_KEYS) or pointer.kind in SOCKET_LAYOUTS:
        raise Refuse(
            "V0103",
            f"atomic operations on {KIND_WORDS[pointer.kind]} are not allowed",
            row="no-access",
            register=register,
            kind=KIND_NAMES[pointer.kind],
        )


def packet_load(x: Explorer, src: int, extra: tuple[int, bool]) -> None:
    """``r0 = *(size *)skb[…]``: R6 is the context; past the packet's end the program ends (so nothing may be held)."""
    size, indirect = extra
    regs = x.regs
    if x.program.type not in _PACKET_TYPES:
        raise Refuse("V0101", "this type of program has no packet loads of classic BPF", row="unknown-insn")
    if x.state.refs:
        raise Refuse(
            "V0301", "a packet load may end the program, which would lose the references that are held", row="leak-end"
        )
    if x.state.lock is not None:
        raise Refuse("V0302", "a packet load while a lock is held", row="lock")
    context = regs[6]
    if context is None:
        raise Refuse("V0206", "R6 is read before it has a value", row="register", register=6)
    if not isinstance(context, Pointer) or context.kind != CTX or context.off:
        raise memory.wrong_argument(6, context, "ctx", "packet load")
    if indirect and regs[src] is None:
        raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
    calls.returns_early(x, x.slot, "a packet load", number(0))
    x.note_result(number(0))
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    regs[0] = Scalar(BY_SIZE[size])
