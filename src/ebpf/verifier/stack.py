"""The stack: bytes that were written, values saved whole, and reads and writes of them at known or bounded places.

A byte may be read once it was written (with `Options.uninit_stack` at any time: then it is some number). A pointer is
only kept if all of its eight bytes are saved and read together; anything else gives a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier.ranges import BY_SIZE, const, truncate
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import INVALID, INVALID8, MISC, SPILL, SPILL8, STACK_BYTES, ZERO, Frame, Slot
from ebpf.verifier.values import SCALAR, STACK, ZERO_RANGE, Pointer, Scalar, Value, mark_precise

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer

_STACK_BIT = 1 << STACK
MAX_OFFSET = 1 << 29  # pointers are kept within this distance of their origin, so that no sum below can wrap


def frame_of(x: Explorer, pointer: Pointer) -> Frame:
    return x.state.frames[pointer.frame]


def span(x: Explorer, register: int, pointer: Pointer, at: int, size: int) -> tuple[int, int]:
    """Least and greatest offset (below the frame's end) of an access with a variable offset."""
    var = pointer.var
    if var.smin <= -MAX_OFFSET or var.smax >= MAX_OFFSET:
        raise Refuse(
            "V0204",
            "the offset into the stack has no proven bounds",
            row="stack",
            register=register,
            offset=at,
            size=size,
        )
    low, high = at + var.smin, at + var.smax
    check_bounds(x, pointer, low, high + size - low)
    return low, high


def check_bounds(x: Explorer, pointer: Pointer, at: int, size: int) -> None:
    if at < -STACK_BYTES or at + size > 0:
        raise Refuse(
            "V0204",
            f"{size} bytes at stack offset {at} are not in the frame's {STACK_BYTES} bytes",
            row="stack",
            offset=at,
            size=size,
        )
    x.note_stack(pointer.frame, -at)


def load(x: Explorer, pointer: Pointer, at: int, size: int) -> Value:
    var = pointer.var
    if var is not ZERO_RANGE:
        if not var.is_const:
            low, high = span(x, -1, pointer, at, size)
            zero = check_initialised(x, pointer, low, high + size - low, size)
            x.note_access(pointer, low, high + size - low)
            return Scalar(const(0) if zero else BY_SIZE[size])
        at += var.smin
    check_bounds(x, pointer, at, size)
    if at % size and x.options.strict_stack:
        raise Refuse("V0210", f"{size} bytes at stack offset {at}", row="misaligned", size=size, what="stack")
    frame = x.state.frames[pointer.frame]
    x.kinds[x.slot] |= _STACK_BIT
    base = at & ~7
    slot = frame.stack.get(base)
    if slot is not None and base + 8 >= at + size:
        types = slot.types
        if types is SPILL8 or types[at - base] == SPILL:
            slot.mark_read()
            value = slot.value
            if size == 8 and types == SPILL8:
                assert value is not None
                return value
            if isinstance(value, Scalar):
                if at == base and types[:size] == SPILL8[:size]:
                    if value.range.umax < 1 << size * 8:
                        return value  # nothing is cut off: the very number
                    return Scalar(truncate(value.range, size), (value,))
                if all(types[at - base + i] != INVALID for i in range(size)):
                    return Scalar(BY_SIZE[size])
            elif types[at - base] == SPILL:
                raise Refuse(
                    "V0204",
                    f"{size} bytes of a pointer that was saved on the stack are read; only all 8 together may be",
                    row="spill-part",
                    size=size,
                    offset=at,
                )
    zero = check_initialised(x, pointer, at, size, size)
    return Scalar(const(0) if zero else BY_SIZE[size])


def check_initialised(x: Explorer, pointer: Pointer, at: int, size: int, access: int, *, clobber: bool = False) -> bool:
    """Every byte in the span was written; returns whether all are known to be zero. ``clobber``: a helper may write
    them."""
    frame = x.state.frames[pointer.frame]
    stack = frame.stack
    zero = True
    for base in range(at & ~7, at + size, 8):
        slot = stack.get(base)
        types = INVALID8 if slot is None else slot.types
        for i in range(max(at - base, 0), min(at + size - base, 8)):
            t = types[i]
            if t == MISC:
                zero = False
            elif t == ZERO:
                pass
            elif t == SPILL:
                assert slot is not None
                if not isinstance(slot.value, Scalar) and not x.options.pointers_as_bytes:
                    raise Refuse(
                        "V0204",
                        "a pointer saved on the stack is read as plain bytes",
                        row="spill-part",
                        size=access,
                        offset=base,
                    )
                zero = False
            elif t == INVALID:
                if x.options.uninit_stack:
                    zero = False
                    continue
                raise Refuse(
                    "V0205",
                    f"byte {base + i - at} of {size} at stack offset {at} was never written",
                    row="uninit-stack",
                    offset=at,
                    at=base + i - at,
                    size=size,
                )
            else:
                raise Refuse(
                    "V0103",
                    "the memory of a dynptr or iterator on the stack may only be used through its functions",
                    row="special",
                    size=size,
                )
        if slot is not None:
            slot.mark_read()
            if clobber and any(t in (SPILL, ZERO) for t in types):
                stack[base] = Slot(
                    bytes(
                        [
                            MISC if t in (SPILL, ZERO) and at <= base + i < at + size else MISC if t == SPILL else t
                            for i, t in enumerate(types)
                        ]
                    )
                )
    return zero


def store(x: Explorer, pointer: Pointer, at: int, size: int, value: Value) -> None:
    var = pointer.var
    if var is not ZERO_RANGE:
        if not var.is_const:
            _store_variable(x, pointer, at, size, value)
            return
        at += var.smin
    check_bounds(x, pointer, at, size)
    if at % size and x.options.strict_stack:
        raise Refuse("V0210", f"{size} bytes at stack offset {at}", row="misaligned", size=size, what="stack")
    frame = x.state.frames[pointer.frame]
    x.kinds[x.slot] |= _STACK_BIT
    base = at & ~7
    if size == 8 and at == base:
        old = frame.stack.get(base)
        if old is not None and old.info is not None:
            x.destroy_object(frame, base)
        if (
            value.kind != SCALAR
            and pointer.frame != len(x.state.frames) - 1
            and isinstance(value, Pointer)
            and value.kind == STACK
            and value.frame > pointer.frame
        ):
            raise Refuse(
                "V0204",
                "the address of a callee's stack would outlive the call",
                row="stack-escape",
                offset=at,
                size=size,
            )
        frame.stack[base] = Slot(SPILL8, value)
        return
    if value.kind != SCALAR:
        raise Refuse(
            "V0204",
            f"only {size} bytes of a pointer are saved on the stack; all 8 must be, at a multiple of 8",
            row="spill-part",
            size=size,
            offset=at,
        )
    assert isinstance(value, Scalar)
    write_bytes(x, frame, at, size, value)


def write_bytes(x: Explorer, frame: Frame, at: int, size: int, value: Scalar | None) -> None:
    """Write less than a whole slot: what remains of a value spilled there is some number."""
    zero = value is not None and value.range.umax == 0
    if zero:
        assert value is not None
        mark_precise(value)  # "these bytes are zero" is a fact that later reads rely on
    for base in range(at & ~7, at + size, 8):
        old = frame.stack.get(base)
        if old is not None and old.info is not None:
            x.destroy_object(frame, base)
            old = frame.stack.get(base)
        low, high = max(at - base, 0), min(at + size - base, 8)
        types = bytearray(INVALID8 if old is None else old.types)
        if old is not None and SPILL in types:
            types = bytearray(MISC if t == SPILL else t for t in types)
        if value is not None and not zero and low == 0 and at == base and size in (1, 2, 4):
            types[:size] = SPILL8[:size]
            fits = value.range.umax < 1 << size * 8
            kept = value if fits else Scalar(truncate(value.range, size), (value,))
            frame.stack[base] = Slot(bytes(types), kept, old)
            continue
        types[low:high] = bytes([ZERO if zero else MISC]) * (high - low)
        # The bytes around come from the old slot: whoever reads them relies on it.
        frame.stack[base] = Slot(bytes(types), origin=old if high - low < 8 else None)


def _store_variable(x: Explorer, pointer: Pointer, at: int, size: int, value: Value) -> None:
    """A write somewhere in a span: each byte may keep what it had or become some number; a saved pointer may not be
    hit."""
    low, high = span(x, -1, pointer, at, size)
    frame = x.state.frames[pointer.frame]
    zero = isinstance(value, Scalar) and value.range.umax == 0
    if value.kind != SCALAR:
        raise Refuse(
            "V0204",
            "a pointer is saved on the stack at an offset that is not a constant",
            row="stack",
            offset=low,
            size=size,
        )
    for base in range(low & ~7, high + size, 8):
        slot = frame.stack.get(base)
        if slot is not None and slot.info is not None:
            raise Refuse("V0103", "a write at a variable offset may hit a dynptr or iterator", row="special")
        types = bytearray(INVALID8 if slot is None else slot.types)
        inside = range(max(low - base, 0), min(high + size - base, 8))
        if slot is not None:
            slot.mark_read()  # what is not overwritten stays: the old contents matter
        if SPILL in types:
            types = bytearray(MISC if t == SPILL else t for t in types)
        for i in inside:
            if types[i] == INVALID and not x.options.uninit_stack:
                # Bytes that may still be unwritten stay so: only a byte that was written before, or surely is now,
                # counts as initialised.
                if low != high:
                    types[i] = MISC if x.options.variable_writes_initialise else INVALID
                continue
            types[i] = ZERO if zero and types[i] == ZERO else MISC
        frame.stack[base] = Slot(bytes(types))
    if zero:
        assert isinstance(value, Scalar)
        mark_precise(value)


def write_any(x: Explorer, pointer: Pointer, size: int) -> None:
    """A helper writes ``size`` bytes of the stack at the pointer (whose offset is constant)."""
    at = pointer.off + pointer.var.smin
    check_bounds(x, pointer, at, size)
    write_bytes(x, frame_of(x, pointer), at, size, None)
