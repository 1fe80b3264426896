"""Conditional jumps: which ways are possible, and what each way teaches about numbers, NULL checks and packet
bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier.branches import JEQ, JGE, JGT, JLE, JLT, JNE, decide, refine
from ebpf.verifier.ranges import Range, add, const
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import STACK_BYTES, Slot, State
from ebpf.verifier.values import (
    ARENA,
    BTF,
    MAP_VALUE,
    PACKET,
    PACKET_END,
    PACKET_META,
    PERCPU_BTF,
    SCALAR,
    STACK,
    Pointer,
    Scalar,
    Value,
    mark_precise,
    number,
)

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer

_MAX_PACKET = 0xFFFF
NEVER, ALWAYS, BOTH = 0, 1, 2


def jump_if(x: Explorer, dst: int, src: int, op: int, is32: bool, constant: Range | None) -> tuple[int, State | None]:
    """(`NEVER` | `ALWAYS` | `BOTH`, state of the way where the jump is taken). The explorer's state becomes the other
    way's."""
    regs = x.regs
    a = regs[dst]
    if a is None:
        raise Refuse("V0206", f"R{dst} is read before it has a value", row="register", register=dst)
    b: Value | None = None
    if src >= 0:
        b = regs[src]
        if b is None:
            raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
        if isinstance(b, Scalar) and a.kind != SCALAR:
            constant = b.range if b.range.is_const else None
    if isinstance(a, Scalar) and (b is None or isinstance(b, Scalar)):
        return _numbers(x, a, b, op, is32, constant)
    if isinstance(b, Pointer) and isinstance(a, Scalar) and op in (JEQ, JNE) and a.range.umax == 0:
        constant = a.range
        a, b = b, a
    if (
        isinstance(a, Pointer)
        and (b is None or b.kind == SCALAR)
        and op in (JEQ, JNE)
        and not is32
        and constant is not None
        and constant.umax == 0
    ):
        if isinstance(b, Scalar):
            mark_precise(b)
        if not a.nullable:
            if _surely_not_null(a):
                return (NEVER if op == JEQ else ALWAYS), None
            return BOTH, x.state.copy()
        taken = x.state.copy()
        settle(x.state, a, is_null=op == JNE)
        settle(taken, a, is_null=op == JEQ)
        return BOTH, taken
    if isinstance(a, Pointer) and isinstance(b, Pointer) and not is32 and op in (JGT, JLT, JGE, JLE):
        taken = x.state.copy()
        _packet_bounds(x.state, taken, a, b, op)
        return BOTH, taken
    # Any other comparison with a pointer teaches nothing; both ways are possible.
    return BOTH, x.state.copy()


def _numbers(
    x: Explorer, a: Scalar, b: Scalar | None, op: int, is32: bool, constant: Range | None
) -> tuple[int, State | None]:
    other = constant if b is None else b.range
    assert other is not None
    if a is b:
        # One object is one number: compare it with itself.
        outcome = (
            1
            if op in (JEQ, JGE, JLE, 0x70, 0xD0)
            else 0
            if op in (JNE, JGT, JLT, 0x60, 0xC0)
            else decide(op, a.range, other, is32)
        )
    else:
        outcome = decide(op, a.range, other, is32)
    if outcome < 0:
        yes = refine(op, a.range, other, is32, True)
        no = refine(op, a.range, other, is32, False)
        if yes is not None and no is not None:
            taken = x.state.copy()
            _learn(x.state, a, b, no)
            _learn(taken, a, b, yes)
            return BOTH, taken
        outcome = 1 if no is None else 0
    # The way not followed was ruled out by these ranges: they are relied on.
    mark_precise(a)
    if b is not None:
        mark_precise(b)
    return (ALWAYS if outcome else NEVER), None


def _learn(state: State, a: Scalar, b: Scalar | None, found: tuple[Range, Range]) -> None:
    new_a, new_b = found
    if new_a is not a.range:
        fresh = Scalar(new_a, (a,) if b is None else (a, b))
        fresh.base, fresh.delta = a.base, a.delta
        state.replace_everywhere(a, fresh)
        if fresh.base:
            _learn_offsets(state, fresh)
    if b is not None and new_b is not b.range:
        fresh = Scalar(new_b, (b, a))
        fresh.base, fresh.delta = b.base, b.delta
        state.replace_everywhere(b, fresh)
        if fresh.base:
            _learn_offsets(state, fresh)


def _learn_offsets(state: State, known: Scalar) -> None:
    """Numbers that are this one plus a constant (nothing wrapped on the way, see `arithmetic`) are bounded with it."""
    frame = state.frames[-1]
    for register, held in enumerate(frame.regs):
        if isinstance(held, Pointer) and held.link and held.link == known.base:
            both = refine(JEQ, held.var, add(known.range, const(-known.delta)), False, True)
            if both is not None and both[0] is not held.var:
                frame.regs[register] = held.but(var=both[0])
    for value in {id(v): v for v in [*frame.regs, *(s.value for s in frame.stack.values())] if v is not None}.values():
        if isinstance(value, Scalar) and value is not known and value.base == known.base:
            moved = add(known.range, const(value.delta - known.delta))
            both = refine(JEQ, value.range, moved, False, True)
            if both is not None and both[0] is not value.range:
                fresh = Scalar(both[0], (value, known))
                fresh.base, fresh.delta = value.base, value.delta
                state.replace_everywhere(value, fresh)


def _surely_not_null(pointer: Pointer) -> bool:
    """An address inside a live object is never 0, nor is one a bounded way behind it: objects do not lie at the top of
    the address space. One before the object may be. What a kernel object's member points to may be NULL whatever its
    type says, as may arena addresses.
    """
    if pointer.kind in (BTF, PERCPU_BTF, ARENA):
        return False
    at = pointer.off + pointer.var.smin
    return at >= (-STACK_BYTES if pointer.kind == STACK else 0)


def settle(state: State, pointer: Pointer, is_null: bool) -> None:
    """All copies of a pointer from one look-up are NULL, or none is."""
    id = pointer.id
    if is_null and pointer.ref and pointer.ref == id:
        state.refs.pop(pointer.ref, None)  # nothing was taken after all
    for frame in state.frames:
        regs = frame.regs
        for i in range(10):
            value = regs[i]
            if isinstance(value, Pointer) and value.id == id and value.nullable:
                regs[i] = number(0) if is_null else _not_null(value)
        for at, slot in frame.stack.items():
            value = slot.value
            if isinstance(value, Pointer) and value.id == id and value.nullable:
                fresh = Slot(slot.types, number(0) if is_null else _not_null(value), slot)
                fresh.read = slot.read
                frame.stack[at] = fresh


def _not_null(pointer: Pointer) -> Pointer:
    # The id goes on naming the value where identity matters (which lock it is, what must be released).
    keep = pointer.ref or (pointer.kind == MAP_VALUE and pointer.map is not None and pointer.map.fields)
    return pointer.but(nullable=False, id=pointer.id if keep else 0)


def _packet_bounds(stay: State, taken: State, a: Pointer, b: Pointer, op: int) -> None:
    """``data + n <= data_end``: n bytes are there; ``data + n < data_end``: one more. Likewise metadata against
    data."""
    if (a.kind == PACKET and b.kind == PACKET_END) or (a.kind == PACKET_META and _is_start(b)):
        pointer, left = a, True
    elif (b.kind == PACKET and a.kind == PACKET_END) or (b.kind == PACKET_META and _is_start(a)):
        pointer, left = b, False
    else:
        return
    if not left:
        op = {JGT: JLT, JLT: JGT, JGE: JLE, JLE: JGE}[op]
    # Now it reads: pointer op end.
    if op == JGT:
        _prove(stay, pointer, 0)
    elif op == JLE:
        _prove(taken, pointer, 0)
    elif op == JGE:
        _prove(stay, pointer, 1)
    else:
        _prove(taken, pointer, 1)


def _is_start(pointer: Pointer) -> bool:
    return (
        pointer.kind == PACKET
        and pointer.off == 0
        and pointer.var.is_const
        and pointer.var.umin == 0
        and pointer.id == 0
    )


def _prove(state: State, pointer: Pointer, extra: int) -> None:
    """Bytes up to the pointer (and ``extra``) are in the packet, for every pointer with the same variable part."""
    reach = pointer.off + extra
    if pointer.off < 0 or reach <= 0:
        return
    if pointer.var.umax > _MAX_PACKET or pointer.var.umax + pointer.off > _MAX_PACKET:
        return  # so far from the start that the address itself might wrap
    id, kind = pointer.id, pointer.kind
    for frame in state.frames:
        regs = frame.regs
        for i in range(10):
            value = regs[i]
            if isinstance(value, Pointer) and value.kind == kind and value.id == id and value.bound < reach:
                regs[i] = value.but(bound=reach)
        for at, slot in frame.stack.items():
            value = slot.value
            if isinstance(value, Pointer) and value.kind == kind and value.id == id and value.bound < reach:
                fresh = Slot(slot.types, value.but(bound=reach), slot)
                fresh.read = slot.read
                frame.stack[at] = fresh
