"""Calls of kernel functions by name: open-coded iterators, which have rules of their own, and those with a contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.contracts import KFUNCS, KFUNCS_ACQUIRING
from ebpf.verifier import helpers, memory, stack
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import ITER_BYTE, Slot, SlotInfo
from ebpf.verifier.values import ARENA, BTF, MEM, STACK, Pointer, Scalar, Value, anything, mark_precise, number

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer
    from ebpf.verifier.program import Program
    from ebpf.verifier.state import Frame

# Iterators: name → (slots of 8 bytes, numbers that `new` takes, bytes of an element)
_ITERATORS = {"num": (1, 2, 4)}


def is_iterator_step(program: Program, slot: int) -> bool:
    return _parse(program.kfuncs.get(slot, "")) is not None and program.kfuncs[slot].endswith("_next")


def _parse(name: str) -> tuple[str, str] | None:
    """(iterator, "new" | "next" | "destroy") of ``bpf_iter_<iterator>_<step>``."""
    if not name.startswith("bpf_iter_"):
        return None
    kind, _, step = name[9:].rpartition("_")
    return (kind, step) if kind in _ITERATORS and step in ("new", "next", "destroy") else None


def check_call(x: Explorer, slot: int) -> int:
    """The call of a kernel function at ``slot``; returns the next slot."""
    name = x.program.kfuncs.get(slot, "")
    if x.state.lock is not None:
        raise Refuse("V0302", "a kernel function is called while a lock is held", row="lock")
    parsed = _parse(name)
    if parsed is None:
        return _check_contract(x, slot, name)
    kind, step = parsed
    frame, at = _place(x, name)
    size, numbers, element = _ITERATORS[kind]
    regs = x.regs
    result: Value | None = None
    if step == "new":
        for register in range(2, 2 + numbers):
            memory.needs_number(x, register)
        id = x.new_id()
        x.state.refs[id] = slot
        for i in range(size):
            old = frame.stack.get(at + 8 * i)
            if old is not None and old.info is not None:
                x.destroy_object(frame, at + 8 * i)
            frame.stack[at + 8 * i] = Slot(bytes([ITER_BYTE]) * 8, info=SlotInfo(kind, i == 0, id, id, "active"))
        from ebpf.verifier.ranges import signed

        result = Scalar(signed(-4095, 0))
    else:
        old = frame.stack.get(at)
        info = old.info if old is not None else None
        if info is None or info.kind != kind or not info.first:
            raise Refuse(
                "V0103",
                f"argument 1 of `{name}` is not an iterator that was started",
                row="argument",
                register=1,
                argument=1,
                helper=name,
                found="fp",
                expected="mem",
            )
        if step == "destroy":
            x.state.refs.pop(info.ref, None)
            x.invalidate_dynptr(info.id)
        else:
            # Each step gives an element or ends; how often is bounded by the iterator itself.
            other = x.state.copy()
            _set_state(other.frames[_frame_index(x)], at, size, info, "drained")
            top = other.frames[-1].regs
            top[0] = number(0)
            top[1] = top[2] = top[3] = top[4] = top[5] = None
            x.push(slot + 1, other)
            if info.state == "drained":
                regs[0] = number(0)
                regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
                x.pending.pop()
                if other.parent is not None:
                    other.parent.branches -= 1
                return slot + 1
            result = Pointer(MEM, bound=element, readonly=True, target=("dynptr", info.id), ref=info.ref)
    regs[0] = result
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    return slot + 1


def _check_contract(x: Explorer, slot: int, name: str) -> int:
    """A function with a row in `abi.contracts.KFUNCS`: its arguments, what it gives and takes.

    Sound as the calls of helpers are: what it may read or write is checked, what it takes is given back or refused at
    the end, its result is the widest there can be.
    """
    contract = KFUNCS.get(name)
    if contract is None:
        raise Refuse(
            "V0101", f"the kernel function `{name or '?'}` cannot be verified here", row="no-kfunc", called=name
        )
    call = helpers.Call(name, contract)
    for index, kind in enumerate(contract.args):
        helpers.check_argument(x, call, index + 1, kind)
    if call.release:
        x.release(call.release, name)
    regs, kind = x.regs, contract.result
    result: Value | None
    if kind[0] in "+-":
        result = None
        _change_section(x, kind[1:], 1 if kind[0] == "+" else -1)
    elif kind == "cast":
        type_id = memory.needs_number(x, 2)
        btf = x.program.kernel_btf
        known = btf is not None and type_id.range.is_const and 0 < type_id.range.umin < len(btf)
        mark_precise(type_id)
        # Whatever address it is: it may be read and not trusted, which is what a read through it is checked for.
        result = anything()
        if btf is not None and known:
            result = Pointer(BTF, target=(btf, btf.resolve(type_id.range.umin)), trusted=False)
    elif kind == "arena":
        result = Pointer(ARENA)
    else:
        result = helpers.result_of(x, slot, call)
        if name in KFUNCS_ACQUIRING:
            assert isinstance(result, Pointer)
            x.state.refs[result.id] = slot
            result = result.but(ref=result.id)
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    regs[0] = result
    return slot + 1


def _change_section(x: Explorer, name: str, by: int) -> None:
    sections = x.state.sections
    depth = sections.get(name, 0) + by
    if depth < 0:
        raise Refuse("V0302", f"a critical section ({name}) is left that was not entered", row="lock")
    if depth:
        sections[name] = depth
    else:
        sections.pop(name, None)


def _frame_index(x: Explorer) -> int:
    pointer = x.regs[1]
    assert isinstance(pointer, Pointer)
    return pointer.frame


def _set_state(frame: Frame, at: int, size: int, info: SlotInfo, state: str) -> None:
    for i in range(size):
        frame.stack[at + 8 * i] = Slot(
            bytes([ITER_BYTE]) * 8, info=SlotInfo(info.kind, i == 0, info.id, info.ref, state, info.depth)
        )


def _place(x: Explorer, name: str) -> tuple[Frame, int]:
    """The iterator that r1 points to: its frame and stack offset."""
    value = x.regs[1]
    if (
        not isinstance(value, Pointer)
        or value.kind != STACK
        or not value.var.is_const
        or (value.off + value.var.smin) % 8
    ):
        if value is None:
            raise Refuse("V0206", "R1 is read before it has a value", row="register", register=1)
        raise memory.wrong_argument(1, value, "fp", name)
    at = value.off + value.var.smin
    if not -512 <= at <= -8:
        raise Refuse(
            "V0204",
            f"an iterator at stack offset {at} does not fit into the frame",
            row="stack",
            register=1,
            offset=at,
            size=8,
        )
    x.note_stack(value.frame, -at)
    return stack.frame_of(x, value), at
