"""Reads and writes through pointers: what each kind of pointer allows, and what a read gives.

Every access must lie inside what its pointer stands for, for every value of the pointer's variable part: with constant
part c, variable
part v in [lo, hi] and size n this is c + lo >= 0 and c + hi + n <= size. That, for all instructions on all paths, is
memory safety.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.context_layouts import FLOW_KEYS_BYTES, PACKET_ACCESS, TRACEPOINT_BUFFER_MAX, socket_layout
from ebpf.abi.programs import ProgType
from ebpf.verifier import btf_access, stack
from ebpf.verifier.ranges import BY_SIZE, const, sext
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.stack import MAX_OFFSET
from ebpf.verifier.state import (
    DYNPTR_BYTE,
    ITER_BYTE,
    STACK_BYTES,
)
from ebpf.verifier.values import (
    ARENA,
    BTF,
    BUFFER,
    CTX,
    FLOW_KEYS,
    KIND_NAMES,
    KIND_WORDS,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    PACKET,
    PACKET_END,
    PACKET_KINDS,
    PACKET_META,
    RECORD,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    SOCKET_LAYOUTS,
    STACK,
    Pointer,
    Scalar,
    Value,
    describe,
    mark_precise,
)

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer
    from ebpf.verifier.program import MapInfo


def pointer_in(x: Explorer, register: int) -> Pointer:
    """The pointer in a register that is about to be used for an access."""
    value = x.regs[register]
    if value is None:
        raise Refuse("V0206", f"R{register} is read before it has a value", row="register", register=register)
    if value.kind == SCALAR:
        raise Refuse(
            "V0209",
            f"R{register} holds {describe(value)}, through which no memory can be reached",
            row="number",
            register=register,
        )
    assert isinstance(value, Pointer)
    if value.nullable:
        raise Refuse(
            "V0201",
            f"R{register} may be NULL: it holds {describe(value)}",
            row="null-map"
            if value.kind in (MAP_VALUE, MAP_PTR)
            else "null-mem"
            if value.kind in (RECORD, MEM)
            else "null",
            register=register,
            kind=KIND_NAMES[value.kind].rstrip("_"),
        )
    return value


def load(x: Explorer, register: int, off: int, size: int, signed: bool) -> Value:
    """What ``*(u size *)(r + off)`` gives."""
    pointer = pointer_in(x, register)
    kind = pointer.kind
    if kind == STACK:
        value = stack.load(x, pointer, pointer.off + off, size)
    elif kind == CTX:
        value = _load_context(x, register, pointer, off, size)
        if signed and value.kind != SCALAR:
            raise Refuse(
                "V0207",
                "a pointer in the context is read with sign extension",
                row="context",
                register=register,
                offset=off,
                size=size,
            )
    elif kind == MAP_VALUE and pointer.map is not None and pointer.map.constant is not None and pointer.var.is_const:
        check_access(x, register, pointer, off, size, False)
        at = pointer.off + off + pointer.var.umin
        value = Scalar(const(int.from_bytes(pointer.map.constant[at : at + size], "little")))
    elif (
        kind == MAP_VALUE
        and pointer.map is not None
        and pointer.map.fields
        and (kptr := _load_kptr(x, register, pointer, off, size))
    ):
        value = kptr
    elif kind == BTF:
        value = btf_access.load(x, register, pointer, off, size)
    else:
        check_access(x, register, pointer, off, size, False)
        value = Scalar(BY_SIZE[size])
    if signed:
        assert isinstance(value, Scalar)
        value = Scalar(sext(value.range, size), (value,))
    return value


def store(x: Explorer, register: int, off: int, size: int, value: Value) -> None:
    """``*(u size *)(r + off) = value``."""
    pointer = pointer_in(x, register)
    if pointer.kind == STACK:
        stack.store(x, pointer, pointer.off + off, size, value)
        return
    if pointer.kind == CTX:
        _check_context(x, register, pointer, off, size, True)
        return
    check_access(x, register, pointer, off, size, True)


def check_access(x: Explorer, register: int, pointer: Pointer, off: int, size: int, write: bool) -> None:
    """An access that is neither to the stack nor to the context: refuse it unless it lies inside what the pointer
    allows."""
    kind = pointer.kind
    at = pointer.off + off
    var = pointer.var
    if kind == MAP_VALUE:
        info = pointer.map
        assert info is not None
        if not (info.writable if write else info.readable):
            raise Refuse(
                "V0213",
                f"the map `{info.name}` may not be {'written' if write else 'read'} by programs",
                row="read-only",
                register=register,
            )
        _check_map_bounds(register, pointer, info, at, size)
        if info.fields:
            _check_special(register, info, at, var.umax, size)
    elif kind in (MEM, RECORD, MAP_KEY):
        if write and (pointer.readonly or kind == MAP_KEY):
            raise Refuse(
                "V0213",
                f"R{register} points to {KIND_WORDS[kind]} that may only be read",
                row="read-only",
                register=register,
            )
        _check_bounds(register, at, var.smin, var.umax, size, pointer.bound, "V0202" if kind == MAP_KEY else "V0215")
    elif kind in (PACKET, PACKET_META):
        check_packet(x, register, pointer, at, size, write)
        if x.options.strict_alignment:
            _check_alignment(
                register, pointer, at + 2, size, "packet"
            )  # an Ethernet header makes packets start 2 bytes off
    elif kind == FLOW_KEYS:
        if not var.is_const or at < 0 or at + size > FLOW_KEYS_BYTES:
            raise Refuse(
                "V0215",
                f"flow keys have {FLOW_KEYS_BYTES} bytes; {size} at {at} are not in them",
                row="memory",
                register=register,
                offset=at,
                size=size,
                value_size=FLOW_KEYS_BYTES,
            )
    elif kind in SOCKET_LAYOUTS:
        if write:
            raise Refuse("V0213", "a socket can only be read", row="read-only", register=register)
        if not var.is_const or socket_layout(SOCKET_LAYOUTS[kind]).find(at, size, False, 0) is None:
            raise Refuse(
                "V0215",
                f"{KIND_WORDS[kind]} does not offer {size} bytes at offset {at}",
                row="socket",
                register=register,
                what=KIND_WORDS[kind],
            )
    elif kind == BUFFER:
        if not var.is_const or at < 0 or at + size > TRACEPOINT_BUFFER_MAX:
            raise Refuse(
                "V0215",
                f"{size} bytes at offset {at} of the buffer cannot be proven to be in it",
                row="memory",
                register=register,
                offset=at,
                size=size,
                value_size=TRACEPOINT_BUFFER_MAX,
            )
    elif kind == ARENA:
        pass  # faults in the arena are handled: an access outside reads 0 and writes nothing
    elif kind == BTF:
        if write:
            raise Refuse(
                "V0216", "the kernel's own structures can only be read here", row="kernel-write", register=register
            )
        btf_access.load(x, register, pointer, off, size)
    else:
        raise Refuse(
            "V0103",
            f"memory cannot be reached through R{register}: it holds {describe(pointer)}",
            row="no-access",
            register=register,
            kind=KIND_NAMES[kind],
        )
    if x.options.strict_alignment and kind not in PACKET_KINDS:
        _check_alignment(register, pointer, at, size, "memory")
    x.note_access(pointer, at, size)


def _check_alignment(register: int, pointer: Pointer, at: int, size: int, what: str) -> None:
    var = pointer.var
    if (var.tv + at) % size or var.tm & (size - 1):
        raise Refuse("V0210", f"{size} bytes at offset {at}", row="misaligned", register=register, size=size, what=what)


def _check_bounds(register: int, at: int, low: int, high: int, size: int, limit: int, code: str) -> None:
    if low < 0 and at + low < 0:
        raise Refuse(
            "V0211" if low <= -MAX_OFFSET else code,
            f"R{register} may be {-(at + low)} bytes before the start",
            row="negative" if low <= -MAX_OFFSET or code == "V0202" else "memory",
            register=register,
            offset=at + low,
            size=size,
            value_size=limit,
        )
    if high >= MAX_OFFSET:
        raise Refuse("V0211", f"R{register} has no proven upper bound", row="unbounded", register=register)
    if at < 0 and at + max(low, 0) < 0 or at + high + size > limit:
        variable = low != high
        raise Refuse(
            code,
            f"{size} bytes at offset {at + high if at + high + size > limit else at} of {limit}",
            row=("value-max" if variable else "value") if code == "V0202" else "memory",
            register=register,
            offset=at + (high if variable else low),
            size=size,
            value_size=limit,
        )


def _check_map_bounds(register: int, pointer: Pointer, info: MapInfo, at: int, size: int) -> None:
    var = pointer.var
    _check_bounds(register, at, var.smin, var.umax, size, info.value_size, "V0202")


def _check_special(register: int, info: MapInfo, at: int, reach: int, size: int) -> None:
    """Locks, timers and kernel pointers in a value belong to helpers: no plain access may touch a byte of them."""
    for offset, (kind, length, _) in info.fields.items():
        if at < offset + length and offset < at + reach + size:
            raise Refuse(
                "V0302" if kind == "lock" else "V0103",
                f"bytes {offset}..{offset + length - 1} of `{info.name}`'s value are a {kind}, "
                "which only helpers may touch",
                row="special",
                register=register,
            )


def _load_kptr(x: Explorer, register: int, pointer: Pointer, off: int, size: int) -> Pointer | None:
    assert pointer.map is not None
    field = pointer.map.fields.get(pointer.off + off)
    if field is None or field[0] not in ("kptr", "kptr_ref") or not pointer.var.is_const or size != 8:
        return None
    # What lies there may be gone the next moment, so it is not trusted: reads through it are allowed, passing it on is
    # not.
    return Pointer(BTF, target=field[2], id=x.new_id(), nullable=True, trusted=False)


def store_kptr(x: Explorer, pointer: Pointer, off: int, size: int, value: Value) -> bool:
    """Whether this is a store to a kernel-pointer field that is allowed (NULL, or an untrusted pointer of the same
    type)."""
    info = pointer.map
    if pointer.kind != MAP_VALUE or info is None or not info.fields:
        return False
    field = info.fields.get(pointer.off + off)
    if field is None or field[0] != "kptr" or size != 8 or not pointer.var.is_const:
        return False
    if isinstance(value, Scalar):
        return value.range.umax == 0
    return value.kind == BTF and value.target == field[2] and value.off == 0 and value.var.is_const and not value.ref


# -- packet


def check_packet(x: Explorer, register: int, pointer: Pointer, at: int, size: int, write: bool) -> None:
    """Bytes 0 to ``bound`` behind the pointer's origin were compared with `data_end` on this path."""
    how = PACKET_ACCESS.get(x.program.type, "")
    if (write and how != "rw") or not how:
        raise Refuse(
            "V0213",
            "this type of program may not write packets"
            if write
            else "this type of program has no direct packet access",
            row="packet-write",
            register=register,
        )
    if pointer.var.smin < 0:
        raise Refuse("V0211", f"R{register} may point before the packet's data", row="negative", register=register)
    if at < 0 or at + size > pointer.bound:
        raise Refuse(
            "V0203",
            f"{size} bytes at {at} of the packet, of which {pointer.bound} are proven",
            row="packet",
            register=register,
            offset=at,
            size=size,
            range=pointer.bound,
        )
    if pointer.kind == PACKET_META and x.program.type not in (ProgType.XDP, ProgType.SCHED_CLS, ProgType.SCHED_ACT):
        raise Refuse(
            "V0207",
            "this type of program has no packet metadata",
            row="context",
            register=register,
            offset=at,
            size=size,
        )


# -- context


def _check_context(x: Explorer, register: int, pointer: Pointer, off: int, size: int, write: bool) -> object:
    if pointer.off or not pointer.var.is_const or pointer.var.umin:
        if x.program.type != ProgType.SYSCALL:
            raise Refuse(
                "V0207",
                f"R{register} is the context moved by {describe(pointer)}",
                row="context-moved",
                register=register,
            )
    at = pointer.off + off
    if at % size:
        raise Refuse(
            "V0210",
            f"a {size}-byte access at offset {at} of the context",
            row="misaligned",
            register=register,
            size=size,
            what="context",
        )
    field = x.layout.find(at, size, write, x.program.attach_type) if x.layout is not None else None
    if field is None:
        raise Refuse(
            "V0207",
            f"{size} bytes at offset {at} of the context may not be {'written' if write else 'read'}",
            row="context",
            register=register,
            offset=at,
            size=size,
        )
    x.note_access(pointer, at, size)
    return field


def _load_context(x: Explorer, register: int, pointer: Pointer, off: int, size: int) -> Value:
    program = x.program
    if program.type in (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.NETFILTER) or (
        program.type == ProgType.RAW_TRACEPOINT
        and program.attach_to
        and x.program.kernel_btf is not None
        and x.options.typed_raw
    ):
        typed = btf_access.context_argument(x, register, pointer, off, size)
        if typed is not None:
            return typed
    field = _check_context(x, register, pointer, off, size, False)
    what = field.pointer  # type: ignore[attr-defined]
    if not what:
        return Scalar(BY_SIZE[size])
    if what == "packet":
        return Pointer(PACKET, id=0)
    if what == "packet_end":
        return Pointer(PACKET_END)
    if what == "packet_meta":
        return Pointer(PACKET_META)
    if what == "flow_keys":
        return Pointer(FLOW_KEYS)
    if what == "buffer":
        return Pointer(BUFFER)
    kind = SOCK_COMMON if what.startswith("skc") else SOCKET
    return Pointer(kind, nullable=what.endswith("?"), id=x.new_id() if what.endswith("?") else 0)


# -- memory given to helpers


def check_block(
    x: Explorer, register: int, size: int, *, write: bool, uninit: bool, zero_ok: bool, packet_ok: bool, helper: str
) -> None:
    """``size`` bytes at a register are given to a helper: readable, or (``uninit``) about to be written."""
    value = x.regs[register]
    if value is None:
        raise Refuse("V0206", f"R{register} is read before it has a value", row="register", register=register)
    if isinstance(value, Scalar):
        raise wrong_argument(register, value, "fp", helper)
    if value.nullable:
        raise Refuse(
            "V0201",
            f"R{register}, an argument of `{helper}`, may be NULL",
            row="null-argument",
            register=register,
            helper=helper,
            kind=KIND_NAMES[value.kind].rstrip("_"),
        )
    kind = value.kind
    if kind == STACK:
        var = value.var
        at = value.off
        if var.is_const:
            at += var.smin
            low, length = at, size
        else:
            low, high = stack.span(x, register, value, at, max(size, 1))
            length = high + size - low
        if size == 0:
            if not zero_ok:
                raise Refuse(
                    "V0204",
                    f"`{helper}` is given 0 bytes of stack",
                    row="stack",
                    register=register,
                    offset=low,
                    size=0,
                    helper=helper,
                )
            return
        if low < -STACK_BYTES or low + length > 0:
            raise Refuse(
                "V0204",
                f"{length} bytes at stack offset {low} do not fit into the frame",
                row="stack",
                register=register,
                offset=low,
                size=length,
            )
        x.note_stack(value.frame, -low)
        if uninit and var.is_const:
            stack.write_bytes(x, stack.frame_of(x, value), low, length, None)
            return
        stack.check_initialised(x, value, low, length, length, clobber=write)
        return
    if kind in (PACKET, PACKET_META):
        if not packet_ok:
            raise Refuse(
                "V0103",
                f"`{helper}` does not take packet memory",
                row="argument",
                register=register,
                helper=helper,
                argument=register,
                found="pkt",
                expected="fp",
                found_words="packet memory",
            )
        check_packet(x, register, value, value.off, size, write)
        return
    if kind in (MAP_VALUE, MEM, RECORD, MAP_KEY, BUFFER):
        if size == 0 and not zero_ok:
            raise Refuse(
                "V0215",
                f"`{helper}` is given 0 bytes",
                row="memory",
                register=register,
                offset=0,
                size=0,
                value_size=value.bound,
            )
        check_access(x, register, value, 0, size, write)
        return
    if kind == BTF and value.trusted and not write:
        btf_access.load(x, register, value, 0, min(size, 1) or 1)
        raise wrong_argument(register, value, "fp", helper)
    if kind == CTX and x.program.type == ProgType.SYSCALL:
        if value.var.is_const and 0 <= value.off and value.off + size <= 1 << 16:
            return
    raise wrong_argument(register, value, "fp", helper)


def wrong_argument(register: int, value: Value, expected: str, helper: str) -> Refuse:
    found = KIND_NAMES[value.kind]
    return Refuse(
        "V0103",
        f"argument {register} of `{helper}` is {describe(value)}",
        row="argument",
        register=register,
        argument=register,
        helper=helper,
        found=found,
        expected=expected,
    )


def check_dynptr_bytes(types: bytes) -> bool:
    return DYNPTR_BYTE in types or ITER_BYTE in types


def check_size(
    x: Explorer,
    register: int,
    memory: int,
    *,
    write: bool,
    uninit: bool,
    zero_ok: bool,
    null_ok: bool,
    packet_ok: bool,
    helper: str,
) -> int:
    """The length of a block, and the block: returns the greatest length there may be."""
    value = x.regs[register]
    if value is None:
        raise Refuse("V0206", f"R{register} is read before it has a value", row="register", register=register)
    if not isinstance(value, Scalar):
        raise wrong_argument(register, value, "scalar", helper)
    size = value.range
    if size.smin < 0:
        raise Refuse(
            "V0211",
            f"the length given to `{helper}` may be negative",
            row="size-negative",
            register=register,
            helper=helper,
        )
    if size.umax >= MAX_OFFSET:
        raise Refuse(
            "V0211",
            f"the length given to `{helper}` has no proven upper bound",
            row="size-unbounded",
            register=register,
            helper=helper,
        )
    mark_precise(value)
    block = x.regs[memory]
    if isinstance(block, Scalar) and block.range.umax == 0 and null_ok and size.umax == 0:
        return 0
    if size.umin == 0:
        if not zero_ok:
            raise Refuse(
                "V0211", f"the length given to `{helper}` may be 0", row="size-zero", register=register, helper=helper
            )
        check_block(x, memory, 0, write=write, uninit=uninit, zero_ok=True, packet_ok=packet_ok, helper=helper)
    check_block(
        x,
        memory,
        size.umax,
        write=write,
        uninit=uninit and size.is_const,
        zero_ok=zero_ok,
        packet_ok=packet_ok,
        helper=helper,
    )
    return size.umax


def needs_number(x: Explorer, register: int) -> Scalar:
    value = x.regs[register]
    if value is None:
        raise Refuse("V0206", f"R{register} is read before it has a value", row="register", register=register)
    if not isinstance(value, Scalar):
        raise Refuse(
            "V0103",
            f"R{register} must be a number here, not {describe(value)}",
            row="no-access",
            register=register,
            kind=KIND_NAMES[value.kind],
        )
    return value
