"""Calls of the program's own functions, callbacks, and the ends of functions and of the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.context_layouts import result_range
from ebpf.verifier.memory import check_block
from ebpf.verifier.ranges import BY_SIZE, unsigned
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import MAX_FRAMES, CallbackInfo, Frame, SlotInfo, State
from ebpf.verifier.values import (
    BTF,
    CTX,
    DYNPTR,
    KIND_NAMES,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    SCALAR,
    STACK,
    Pointer,
    Scalar,
    Value,
    anything,
    describe,
    mark_precise,
    number,
)

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer
    from ebpf.verifier.helpers import Call
    from ebpf.verifier.program import MapInfo, Subprog

_MAX_LOOPS = 1 << 23


def call_local(x: Explorer, slot: int, target: int) -> int:
    """A call of the function at ``target``: followed into, unless it is a global one, which is verified by itself."""
    sub = x.program.subprog_at[target]
    state = x.state
    if state.lock is not None:
        raise Refuse("V0302", "a function is called while a lock is held", row="lock")
    x.note_call(slot, sub)
    if sub.is_global:
        _check_global_arguments(x, sub)
        if x.program.may_change_packet(sub):
            x.forget_packet(state)
        regs = x.regs
        regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
        regs[0] = None if sub.void else anything()
        return slot + 1
    if len(state.frames) >= MAX_FRAMES:
        raise Refuse("V0403", f"functions call each other more than {MAX_FRAMES} deep", row="frames")
    caller = x.regs
    regs = [None, *caller[1:6], None, None, None, None, Pointer(STACK, frame=len(state.frames))]
    caller[0] = caller[1] = caller[2] = caller[3] = caller[4] = caller[5] = None
    x.push_frame(Frame(sub.index, slot, regs, {}, x.new_id()))
    return target


def _check_global_arguments(x: Explorer, sub: Subprog) -> None:
    for index, (kind, size) in enumerate(sub.params):
        register = index + 1
        value = x.regs[register]
        if value is None:
            raise Refuse(
                "V0206", f"R{register}, an argument of `{sub.name}`, has no value", row="register", register=register
            )
        if kind == "number":
            if value.kind != SCALAR:
                raise Refuse(
                    "V0103",
                    f"argument {register} of `{sub.name}` must be a number, not {describe(value)}",
                    row="function-argument",
                    register=register,
                    argument=index,
                )
        elif kind == "ctx":
            if value.kind != CTX or value.off:  # type: ignore[union-attr]
                raise Refuse(
                    "V0103",
                    f"argument {register} of `{sub.name}` must be the context, not {describe(value)}",
                    row="function-argument",
                    register=register,
                    argument=index,
                )
        elif not (isinstance(value, Scalar) and value.range.umax == 0):
            if isinstance(value, Pointer) and value.nullable:
                x.regs[register] = value.but(nullable=False)
            check_block(x, register, size, write=True, uninit=False, zero_ok=False, packet_ok=False, helper=sub.name)


def enter_callback(x: Explorer, slot: int, call: Call) -> int:
    """A helper that calls back: it may call any number of times, none included, with any arguments of the promised
    kinds.

    Sound because both continuations are examined: the call that never calls back, and the callback, after whose return
    both are possible
    again. The chain of rounds ends when a round starts in a state that an earlier one covers (`Explorer.visit_join`).
    """
    regs = x.regs
    name = call.helper
    sub = x.program.subprog_at[call.callback]
    args: list[Value | None]
    high = 1
    if name == "bpf_loop":
        args = [Scalar(unsigned(0, _MAX_LOOPS)), regs[3]]
    elif name == "bpf_for_each_map_elem":
        assert call.map is not None
        args = [
            Pointer(MAP_PTR, map=call.map),
            Pointer(MAP_KEY, map=call.map, bound=call.map.key_size),
            _element(x, call.map),
            regs[3],
        ]
    elif name == "bpf_find_vma":
        args = [regs[1], Pointer(BTF, target=_struct(x, "vm_area_struct")), regs[4]]
    elif name == "bpf_timer_set_callback":
        args = _timer_arguments(x, call)
        high = 0
    elif name == "bpf_user_ringbuf_drain":
        id = x.new_id()
        args = [Pointer(DYNPTR, id=id, target=SlotInfo("local", True, id)), regs[3]]
    else:
        raise Refuse("V0101", f"callbacks of `{name}` cannot be verified yet", row="helper-type", called=name)
    x.note_call(slot, sub)
    if len(x.state.frames) >= MAX_FRAMES:
        raise Refuse("V0403", f"functions call each other more than {MAX_FRAMES} deep", row="frames")
    args += [None] * (5 - len(args))
    info = CallbackInfo(name, high, tuple(args), frozenset(x.state.refs))
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    regs[0] = anything()
    callee: list[Value | None] = [None, *args, None, None, None, None]
    if name == "bpf_timer_set_callback":
        # It runs later, by itself: a path of its own with nothing of ours but its arguments.
        alone = State([Frame(sub.index, slot, [*callee, Pointer(STACK)], {}, x.new_id())])
        alone.frames[0].callback = info
        alone.frames[0].is_async = True
        alone.trail = x.state.trail
        x.push(call.callback, alone)
        return slot + 1
    x.push(slot + 1, x.state.copy())
    frame = Frame(sub.index, slot, [*callee, Pointer(STACK, frame=len(x.state.frames))], {}, x.new_id())
    frame.callback = info
    x.callback_entries.add(call.callback)
    x.push_frame(frame)
    return call.callback


def _element(x: Explorer, info: MapInfo) -> Pointer:
    return Pointer(MAP_VALUE, map=info, id=x.new_id() if info.fields else 0)


def _struct(x: Explorer, name: str) -> object:
    btf = x.program.kernel_btf
    id = btf.find(name) if btf is not None else None
    return (btf, id) if id is not None else None


def _timer_arguments(x: Explorer, call: Call) -> list[Value | None]:
    info = call.map
    assert info is not None
    return [Pointer(MAP_PTR, map=info), Pointer(MAP_KEY, map=info, bound=info.key_size), _element(x, info)]


def leave(x: Explorer, slot: int) -> int:
    """An exit: back to the caller (its next slot), or -1: the end of the path."""
    state = x.state
    frame = state.frames[-1]
    result = frame.regs[0]
    if len(state.frames) == 1:
        _end(x, frame, result)
        return -1
    if frame.callback is not None:
        return _callback_returns(x, frame, result, slot)
    if isinstance(result, Pointer) and result.kind == STACK and result.frame == len(state.frames) - 1:
        raise Refuse(
            "V0204",
            "the address of a local variable is returned; its memory ends with the function",
            row="stack-escape",
            register=0,
        )
    x.pop_frame()
    regs = x.regs
    regs[0] = result
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    return frame.callsite + 1


def returns_early(x: Explorer, slot: int, what: str, result: Value) -> None:
    """What may end a called function at once: a tail call (whose program's result is then the function's), a packet
    load past the packet's end (with 0). The way on in the caller is put aside.

    Sound because the caller goes on with whatever such an end can leave it: any result, nothing of the callee's.
    """
    state = x.state
    if any(frame.callback is not None for frame in state.frames):
        raise Refuse("V0101", f"{what} in a callback would end it without its result", row="unknown-insn")
    if len(state.frames) == 1:
        return
    caller = state.copy()
    callsite = caller.frames.pop().callsite
    regs = caller.frames[-1].regs
    regs[0] = result
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    if what == "a tail call":
        x.forget_packet(caller)
    x.push(callsite + 1, caller)


def _callback_returns(x: Explorer, frame: Frame, result: Value | None, slot: int) -> int:
    info = frame.callback
    assert info is not None
    _check_callback_result(result, info)
    if x.state.lock is not None:
        raise Refuse("V0302", "a callback returns while it holds a lock", row="lock")
    for given in info.args:
        if isinstance(given, Pointer) and given.kind == DYNPTR:
            x.invalidate_dynptr(given.id)  # the record goes back to its ring
    if x.state.refs.keys() != info.refs:
        raise Refuse("V0301", "a callback returns holding other references than it was called with", row="leak-end")
    x.pop_frame()
    # What the callback wrote to its caller's stack stays; the helper may return now, or call again.
    again = x.state.copy()
    x.state.frames[-1].regs[0] = anything()
    callee: list[Value | None] = [None, *info.args, None, None, None, None, Pointer(STACK, frame=len(again.frames))]
    fresh = Frame(frame.subprog, frame.callsite, callee, {}, x.new_id())
    fresh.callback = info
    again.frames.append(fresh)
    x.push(x.program.subprogs[frame.subprog].start, again)
    return frame.callsite + 1


def _check_callback_result(result: Value | None, info: CallbackInfo) -> None:
    if result is None:
        raise Refuse("V0206", "a callback ends without a return value", row="r0", register=0)
    if not isinstance(result, Scalar):
        raise Refuse(
            "V0501",
            f"a callback of `{info.helper}` returns {describe(result)}, not a number",
            row="result",
            register=0,
            has=KIND_NAMES[result.kind],
            range=f"[0, {info.high}]",
        )
    if result.range.umax > info.high:
        raise Refuse(
            "V0501",
            f"a callback of `{info.helper}` returns {result.range!r}; allowed is 0..{info.high}",
            row="result",
            register=0,
            has=_has(result),
            range=f"[0, {info.high}]",
        )
    mark_precise(result)


def _has(value: Scalar) -> str:
    span = value.range
    return "unknown scalar value" if span.smax - span.smin >= 1 << 63 else f"smin={span.smin} smax={span.smax}"


def _end(x: Explorer, frame: Frame, result: Value | None) -> None:
    """The program (or a function verified by itself) ends: nothing held, a result of the allowed kind."""
    state = x.state
    if state.lock is not None:
        raise Refuse("V0302", "the program ends while it holds a lock", row="lock-end")
    if state.refs:
        ref, alloc = next(iter(state.refs.items()))
        raise Refuse(
            "V0301", f"what instruction {alloc} took is never given back on this path", row="leak", id=ref, alloc=alloc
        )
    if state.sections:
        raise Refuse(
            "V0302", f"the program ends inside a critical section ({' and '.join(state.sections)})", row="lock"
        )
    if frame.is_async:
        assert frame.callback is not None
        _check_callback_result(result, frame.callback)
        return
    if x.main.void:
        return
    if not x.main.index:
        x.note_result(result)
    if result is None:
        raise Refuse("V0206", "the program ends without a return value on this path", row="r0", register=0)
    if x.main.index:
        if result.kind != SCALAR:
            raise Refuse(
                "V0501",
                f"the function returns {describe(result)}, not a number",
                row="result",
                register=0,
                has=KIND_NAMES[result.kind],
                range="any number",
            )
        return
    span = result_range(x.program.type, x.program.attach_type)
    if span is None:
        return
    low, high = span
    words = f"[{low}, {high}]"
    if not isinstance(result, Scalar):
        raise Refuse(
            "V0501",
            f"the program returns {describe(result)}, not a number",
            row="result",
            register=0,
            has=KIND_NAMES[result.kind],
            range=words,
        )
    if result.range.umin < low or result.range.umax > high:
        raise Refuse(
            "V0501",
            f"the program returns {result.range!r}; allowed is {low}..{high}",
            row="result",
            register=0,
            has=_has(result),
            range=words,
        )
    mark_precise(result)


def initial_state(x: Explorer, sub: Subprog) -> State:
    """How the program, or a global function, starts."""
    regs: list[Value | None] = [None] * 11
    regs[10] = Pointer(STACK)
    block = x.program.memory_bytes
    if sub.index == 0 and block is not None:
        regs[1] = Pointer(MEM, bound=block) if block else number(0)
        regs[2] = number(block)
    elif sub.index == 0 and not sub.params:
        regs[1] = Pointer(CTX)
    for index, (kind, size) in enumerate(sub.params):
        if kind == "number":
            regs[index + 1] = Scalar(BY_SIZE[8])
        elif kind == "ctx":
            regs[index + 1] = Pointer(CTX)
        else:
            regs[index + 1] = Pointer(MEM, nullable=True, id=x.new_id(), bound=size)
    return State([Frame(sub.index, -1, regs, {})])
