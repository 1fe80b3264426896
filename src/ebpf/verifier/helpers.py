"""Calls of helper functions: each argument against its contract, then what the call changes and gives.

Sound because the contract (`abi.contracts`) states what the helper reads and writes: all memory it may touch is checked
here, everything
it may write is forgotten, and its result is the widest value it can have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.contracts import (
    ACQUIRING,
    BORROWING,
    CHANGES_PACKET,
    CONTRACTS,
    HELPERS_OF_MAP,
    MAP_TYPES_OF,
    RESULT_RANGES,
    TAKES_PACKET,
    contract_of,
    helpers_of,
)
from ebpf.abi.helpers import HELPERS_BY_ID
from ebpf.btf.types import Kind
from ebpf.verifier import btf_access, calls, memory, stack
from ebpf.verifier.ranges import M64, S32_MAX, S32_MIN, UNKNOWN, make, unsigned
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import DYNPTR_BYTE, Slot, SlotInfo
from ebpf.verifier.values import (
    BTF,
    CTX,
    DYNPTR,
    FUNC,
    KIND_NAMES,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    PERCPU_BTF,
    RECORD,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    XDP_SOCK,
    Pointer,
    Scalar,
    Value,
    anything,
    mark_precise,
)

if TYPE_CHECKING:
    from ebpf.abi.contracts import Contract
    from ebpf.verifier.explore import Explorer
    from ebpf.verifier.program import MapInfo

_SOCKETS = (SOCKET, SOCK_COMMON, TCP_SOCK)
_RESULT_SOCKETS = {"sk?": SOCKET, "skc?": SOCK_COMMON, "tcp?": TCP_SOCK}
_KERNEL_SOCKETS = frozenset(
    "sock_common sock tcp_sock udp_sock tcp6_sock udp6_sock inet_sock unix_sock mptcp_sock request_sock "
    "tcp_request_sock tcp_timewait_sock inet_timewait_sock inet_connection_sock".split()
)
_POISON = 0xBAD2310  # what CO-RE puts where a relocation could not be resolved
_UNDER_LOCK = frozenset(("bpf_spin_unlock",))


def argument_count(id: int) -> int:
    """How many registers (from r1) a helper reads; 5 for one that is not known."""
    helper = HELPERS_BY_ID.get(id)
    contract = CONTRACTS.get(helper.name) if helper is not None else None
    return len(contract.args) if contract is not None else 5


class Call:
    """A call being checked: what its arguments turned out to be."""

    __slots__ = ("callback", "contract", "dynptr", "helper", "kptr", "length", "map", "mem_size", "ref", "release")

    def __init__(self, helper: str, contract: Contract) -> None:
        self.helper = helper
        self.contract = contract
        self.map: MapInfo | None = None
        self.callback = -1
        self.ref = 0
        self.release = 0
        self.mem_size = 0
        self.length = 0
        self.kptr: object = None
        self.dynptr: SlotInfo | None = None


def check_call(x: Explorer, slot: int, id: int) -> int:
    """The helper call at ``slot``; returns the slot to go on with (a callback's, or the next), -1 if the path ends."""
    helper = HELPERS_BY_ID.get(id)
    program = x.program
    if id == _POISON:
        raise Refuse(
            "V0101",
            "this line needs a field or type that the kernel's types do not have",
            notes=("its CO-RE relocation found nothing, so the instruction was replaced by a call of nothing",),
            helps=("test for it with `bpf_core_field_exists(…)` or `bpf_core_type_exists(…)` first",),
        )
    if helper is None:
        raise Refuse("V0101", f"there is no helper number {id}", row="no-helper", called=f"#{id}")
    name = helper.name
    if name not in helpers_of(program.type):
        raise Refuse("V0101", f"`{name}` cannot be called by this type of program", row="helper-type", called=name)
    contract = contract_of(program.type, name)
    if contract is None:
        raise Refuse("V0101", f"`{name}` has no contract that it could be checked by", row="helper-type", called=name)
    if helper.gpl_only and not program.gpl:
        raise Refuse("V0102", f"`{name}` is for programs under a GPL-compatible licence", row="gpl", called=name)
    state = x.state
    if state.lock is not None and name not in _UNDER_LOCK:
        raise Refuse("V0302", f"`{name}` is called while a lock is held", row="lock")
    call = Call(name, contract)
    for index, kind in enumerate(contract.args):
        check_argument(x, call, index + 1, kind)
    _check_special(x, call)
    if call.release:
        x.release(call.release, name)
    if name in CHANGES_PACKET:
        x.forget_packet(state)
    if call.callback >= 0:
        return x.enter_callback(slot, call)
    result = result_of(x, slot, call)
    regs = x.regs
    regs[1] = regs[2] = regs[3] = regs[4] = regs[5] = None
    regs[0] = result
    return slot + 1


def check_argument(x: Explorer, call: Call, register: int, kind: str) -> None:
    value = x.regs[register]
    helper = call.helper
    if value is None:
        if kind == "any" and helper == "bpf_trace_printk":
            return
        raise Refuse(
            "V0206", f"R{register}, an argument of `{helper}`, has no value", row="register", register=register
        )
    if kind == "any":
        return
    if kind == "ctx" or kind == "ctx?":
        if kind == "ctx?" and _is_null(value):
            return
        if not isinstance(value, Pointer) or value.kind != CTX or value.off or not value.var.is_const or value.var.umin:
            raise memory.wrong_argument(register, value, "ctx", helper)
    elif kind == "map":
        if not isinstance(value, Pointer) or value.kind != MAP_PTR or value.nullable or value.off:
            raise _nullable(register, value, helper) or memory.wrong_argument(register, value, "map_ptr", helper)
        call.map = value.map
        x.note_map(value.map)
        _check_map_type(call)
    elif kind == "key" or kind.startswith("value"):
        if call.map is None:
            raise memory.wrong_argument(register, value, "map_ptr", helper)
        if kind == "value?" and _is_null(value):
            return
        size = call.map.key_size if kind == "key" else call.map.value_size
        write = kind == "value!"
        if kind == "key" and call.map.kind == "BLOOM_FILTER":
            size = call.map.value_size
        memory.check_block(
            x, register, size, write=write, uninit=write, zero_ok=False, packet_ok=helper in TAKES_PACKET, helper=helper
        )
    elif kind in ("size", "size0"):
        before = call.contract.args[register - 2]
        write, uninit = before[3:4] in ("!", "="), before[3:4] == "!"
        call.length = memory.check_size(
            x,
            register,
            register - 1,
            write=write,
            uninit=uninit,
            zero_ok=kind == "size0",
            null_ok=before.endswith("?"),
            packet_ok=helper in TAKES_PACKET,
            helper=helper,
        )
    elif kind.startswith("mem"):
        if ":" in kind:
            write, uninit = kind[3] in "!=", kind[3] == "!"
            if (
                kind == "mem!:8"
                and isinstance(value, Pointer)
                and value.kind == STACK
                and (value.off + value.var.smin) % 8
            ):
                raise Refuse(
                    "V0210",
                    f"`{helper}` writes 8 bytes at stack offset {value.off}",
                    row="misaligned",
                    register=register,
                    size=8,
                    what="stack",
                )
            memory.check_block(
                x,
                register,
                int(kind.partition(":")[2]),
                write=write,
                uninit=uninit,
                zero_ok=False,
                packet_ok=helper in TAKES_PACKET,
                helper=helper,
            )
        elif not (kind.endswith("?") and _is_null(value)):
            _check_pointer(x, register, value, helper)
    elif kind == "alloc":
        if not isinstance(value, Scalar) or not value.range.is_const:
            raise Refuse(
                "V0103",
                f"the size given to `{helper}` must be a constant",
                row="constant",
                register=register,
                helper=helper,
                argument=register,
            )
        mark_precise(value)
        call.mem_size = value.range.umin
        if call.mem_size >= stack.MAX_OFFSET:
            raise Refuse(
                "V0211",
                f"the size given to `{helper}` is too large",
                row="size-unbounded",
                register=register,
                helper=helper,
            )
    elif kind in ("sock", "sock-", "skc", "sk?"):
        _check_socket(x, call, register, value, kind)
    elif kind == "record-":
        if not isinstance(value, Pointer) or value.kind != RECORD or value.nullable or value.off or value.var.umax:
            raise _nullable(register, value, helper) or memory.wrong_argument(register, value, "ringbuf_mem", helper)
        call.release = _released(value, helper, register)
    elif kind == "func":
        if not isinstance(value, Pointer) or value.kind != FUNC:
            raise memory.wrong_argument(register, value, "func", helper)
        call.callback = value.target
    elif kind == "stack?":
        if not _is_null(value) and value.kind != STACK:
            raise memory.wrong_argument(register, value, "fp", helper)
    elif kind in ("lock", "timer", "kptr"):
        _check_field(x, call, register, value, kind)
    elif kind.startswith("btf-:"):
        if (
            not isinstance(value, Pointer)
            or value.kind != BTF
            or value.nullable
            or value.off
            or not value.var.is_const
            or not btf_access.is_type(value, kind[5:])
        ):
            raise _nullable(register, value, helper) or memory.wrong_argument(register, value, "ptr_", helper)
        call.release = _released(value, helper, register)
    elif kind.startswith("btf:"):
        if (
            not isinstance(value, Pointer)
            or value.kind != BTF
            or value.nullable
            or not value.trusted
            or not value.var.is_const
        ):
            raise _nullable(register, value, helper) or memory.wrong_argument(register, value, "ptr_", helper)
        if not btf_access.is_type(value, kind[4:]):
            raise memory.wrong_argument(register, value, "ptr_", helper)
    elif kind == "btf?-":
        _check_exchanged(call, register, value)
    elif kind == "percpu":
        if value.kind != PERCPU_BTF:
            raise memory.wrong_argument(register, value, "percpu_ptr_", helper)
    elif kind.startswith("dynptr"):
        _check_dynptr(x, call, register, value, kind)
    elif kind == "str":
        _check_string(register, value, helper)
    else:
        raise Refuse("V0101", f"`{helper}` cannot be checked", row="helper-type", called=helper)


def _is_null(value: Value) -> bool:
    if isinstance(value, Scalar) and value.range.umax == 0:
        mark_precise(value)
        return True
    return False


def _nullable(register: int, value: Value, helper: str) -> Refuse | None:
    if isinstance(value, Pointer) and value.nullable:
        return Refuse(
            "V0201",
            f"R{register}, an argument of `{helper}`, may be NULL",
            row="null-argument",
            register=register,
            helper=helper,
            kind=KIND_NAMES[value.kind].rstrip("_"),
        )
    return None


def _check_pointer(x: Explorer, register: int, value: Value, helper: str) -> None:
    refuse = _nullable(register, value, helper)
    if refuse is not None:
        raise refuse


def _released(value: Pointer, helper: str, register: int) -> int:
    ref = value.ref
    if not ref:
        raise Refuse(
            "V0301",
            f"R{register} was not taken by this program (or was given back already), so `{helper}` cannot release it",
            row="not-held",
            register=register,
            helper=helper,
        )
    return ref


def _check_socket(x: Explorer, call: Call, register: int, value: Value, kind: str) -> None:
    if kind == "sk?" and _is_null(value):
        return
    if isinstance(value, Pointer) and value.nullable and kind != "sk?":
        raise _nullable(register, value, call.helper) or memory.wrong_argument(register, value, "sock", call.helper)
    good = (
        isinstance(value, Pointer)
        and value.off == 0
        and value.var.is_const
        and (
            value.kind in ((SOCKET,) if kind == "sk?" else _SOCKETS)
            or (kind.startswith("sock") and value.kind == BTF and value.trusted and _is_kernel_socket(value))
        )
    )
    if not good:
        raise memory.wrong_argument(register, value, "sock", call.helper)
    assert isinstance(value, Pointer)
    if kind == "sock-":
        call.release = _released(value, call.helper, register)
    elif register == 1:
        call.ref = value.ref


def _is_kernel_socket(value: Pointer) -> bool:
    if value.target is None:
        return True
    btf, id = value.target
    return getattr(btf.type(id), "name", "") in _KERNEL_SOCKETS


def _check_field(x: Explorer, call: Call, register: int, value: Value, kind: str) -> None:
    """A lock, timer or kernel pointer: at a constant offset of a map's value, where its type says so."""
    helper = call.helper
    if not isinstance(value, Pointer) or value.kind != MAP_VALUE or value.nullable or value.map is None:
        raise (_nullable(register, value, helper) or memory.wrong_argument(register, value, "map_value", helper))
    code = "V0302" if kind == "lock" else "V0103"
    if not value.var.is_const:
        raise Refuse(
            code,
            f"`{helper}` needs its {kind} at a constant offset of the value",
            row="lock" if kind == "lock" else "special",
            register=register,
        )
    field = value.map.fields.get(value.off + value.var.smin)
    wanted = ("kptr", "kptr_ref") if kind == "kptr" else (kind,)
    if field is None or field[0] not in wanted:
        raise Refuse(
            code,
            f"there is no {kind} at offset {value.off + value.var.smin} of `{value.map.name}`'s value",
            row="lock" if kind == "lock" else "special",
            register=register,
        )
    if kind == "kptr":
        if field[0] != "kptr_ref":
            raise Refuse(
                "V0103", "this kernel pointer is not one that holds a reference", row="special", register=register
            )
        call.kptr = field[2]
    elif kind == "timer":
        call.map = value.map
    else:
        _check_lock(x, call, value)


def _check_lock(x: Explorer, call: Call, value: Pointer) -> None:
    """One lock at a time, of one value, and unlocked through a pointer to that same value."""
    state = x.state
    identity = value.id
    if call.helper == "bpf_spin_lock":
        if state.lock is not None:
            raise Refuse("V0302", "a second lock is taken while one is held", row="lock")
        state.lock = (identity, value.map, x.slot)
    else:
        if state.lock is None:
            raise Refuse("V0302", "a lock is given back that was not taken", row="lock")
        if state.lock[0] != identity or state.lock[1] is not value.map:
            raise Refuse("V0302", "the lock that is given back is not the one that was taken", row="lock")
        state.lock = None
        x.forget_borrowed_under_lock()


def _check_exchanged(call: Call, register: int, value: Value) -> None:
    if _is_null(value):
        return
    if (
        not isinstance(value, Pointer)
        or value.kind != BTF
        or value.nullable
        or value.target != call.kptr
        or value.off
        or not value.var.is_const
    ):
        raise memory.wrong_argument(register, value, "ptr_", call.helper)
    call.release = _released(value, call.helper, register)


def _check_string(register: int, value: Value, helper: str) -> None:
    """A format or a string to compare with is read by the verifier's side: it must be known, constant and
    terminated."""
    good = isinstance(value, Pointer) and value.kind == MAP_VALUE and not value.nullable and value.map is not None
    if good:
        assert isinstance(value, Pointer) and value.map is not None
        info = value.map
        if not info.writable and info.type in (2,) and value.var.is_const:
            at = value.off + value.var.smin
            if info.constant is not None and 0 <= at < len(info.constant) and b"\0" in info.constant[at:]:
                return
        raise Refuse(
            "V0103",
            f"argument {register} of `{helper}` must be a constant, terminated string",
            row="constant",
            register=register,
            helper=helper,
            argument=register,
        )
    raise _nullable(register, value, helper) or memory.wrong_argument(register, value, "map_value", helper)


def _check_dynptr(x: Explorer, call: Call, register: int, value: Value, kind: str) -> None:
    """Dynptrs live in two adjacent stack slots that nothing else may write while they hold a reference."""
    helper = call.helper
    if isinstance(value, Pointer) and value.kind == DYNPTR and kind == "dynptr":
        assert isinstance(value.target, SlotInfo)
        call.dynptr = value.target  # what a helper passed to a callback
        return
    if (
        not isinstance(value, Pointer)
        or value.kind != STACK
        or not value.var.is_const
        or (value.off + value.var.smin) % 8
    ):
        raise memory.wrong_argument(register, value, "dynptr_ptr", helper)
    at = value.off + value.var.smin
    frame = stack.frame_of(x, value)
    if at < -512 or at + 16 > 0:
        raise Refuse(
            "V0204",
            f"a dynptr at stack offset {at} does not fit into the frame",
            row="stack",
            register=register,
            offset=at,
            size=16,
        )
    slot = frame.stack.get(at)
    info = slot.info if slot is not None else None
    if kind == "dynptr!":
        for base in (at, at + 8):
            old = frame.stack.get(base)
            if old is not None and old.info is not None:
                x.destroy_object(frame, base)
        x.note_stack(value.frame, -at)
        id, ref = x.new_id(), 0
        flavour = "ringbuf" if helper == "bpf_ringbuf_reserve_dynptr" else "local"
        if flavour == "ringbuf":
            ref = id
            x.state.refs[ref] = x.slot
        for base, first in ((at, True), (at + 8, False)):
            frame.stack[base] = Slot(bytes([DYNPTR_BYTE]) * 8, info=SlotInfo(flavour, first, id, ref))
        return
    if (
        info is None
        or not info.first
        or info.kind not in ("local", "ringbuf")
        or (kind == "dynptr-" and info.kind != "ringbuf")
    ):
        raise Refuse(
            "V0103",
            f"argument {register} of `{helper}` is not an initialised dynptr",
            row="argument",
            register=register,
            argument=register,
            helper=helper,
            found="fp",
            expected="dynptr_ptr",
        )
    assert slot is not None
    slot.mark_read()
    call.dynptr = info
    if kind == "dynptr-":
        call.release = info.ref
        x.invalidate_dynptr(info.id)


def _check_map_type(call: Call) -> None:
    info = call.map
    if info is None:
        return
    types = MAP_TYPES_OF.get(call.helper)
    only = HELPERS_OF_MAP.get(info.kind)
    if (types is not None and info.kind not in types) or (
        only is not None and call.helper not in only and call.helper != "bpf_timer_init"
    ):
        raise Refuse(
            "V0103",
            f"`{call.helper}` does not work on a map of type {info.kind.lower()} (`{info.name}`)",
            row="map-type",
            helper=call.helper,
            called=call.helper,
            map_type=int(info.type),
        )
    if (
        call.helper in ("bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_push_elem", "bpf_map_pop_elem")
        and not info.writable
    ):
        raise Refuse("V0213", f"`{info.name}` may not be written by programs", row="read-only")
    if call.helper in ("bpf_map_peek_elem", "bpf_map_pop_elem") and not info.readable:
        raise Refuse("V0213", f"`{info.name}` may not be read by programs", row="read-only")


def _check_special(x: Explorer, call: Call) -> None:
    name, regs = call.helper, x.regs
    if name == "bpf_tail_call":
        if x.state.refs:
            raise Refuse("V0301", "a tail call would lose the references that are held", row="leak-end")
        if x.state.lock is not None:
            raise Refuse("V0302", "a tail call while a lock is held", row="lock")
        x.note_tail_call()
        calls.returns_early(x, x.slot, "a tail call", anything())
    elif name == "bpf_get_local_storage":
        flags = regs[2]
        if not _is_null(flags) if flags is not None else True:
            raise Refuse(
                "V0103",
                "the flags of `bpf_get_local_storage` must be 0",
                row="constant",
                register=2,
                helper=name,
                argument=2,
            )
    elif name in ("bpf_snprintf", "bpf_trace_vprintk", "bpf_seq_printf"):
        if call.length % 8:
            raise Refuse(
                "V0103",
                f"the length of the data given to `{name}` must be a multiple of 8",
                row="constant",
                helper=name,
                argument=5,
            )
    elif name == "bpf_dynptr_from_mem":
        given = regs[1]
        if not isinstance(given, Pointer) or given.kind != MAP_VALUE:
            # Other memory may be gone (a stack frame, a record, a packet) while the dynptr is still there, and what is
            # written to a stack through it would be seen by nobody.
            raise memory.wrong_argument(1, given if given is not None else anything(), "map_value", name)
    elif name == "bpf_timer_init":
        timer, given = regs[1], regs[2]
        if not isinstance(timer, Pointer) or not isinstance(given, Pointer) or timer.map is not given.map:
            raise Refuse(
                "V0103",
                "the map given to `bpf_timer_init` is not the one that the timer is in",
                row="map-mismatch",
                register=2,
            )


def result_of(x: Explorer, slot: int, call: Call) -> Value | None:
    result, name = call.contract.result, call.helper
    if result == "int":
        span = RESULT_RANGES.get(name)
        if span is None:
            return anything()
        if span == (0, 0):
            # A length that was written, or a negative error: never more than was asked for.
            made = make(0, M64, -4095, call.length, 0, 0xFFFFFFFF, S32_MIN, min(call.length, S32_MAX), 0, M64)
            return Scalar(made or UNKNOWN)
        return Scalar(unsigned(*span))
    if result == "void":
        return None
    if result in ("value?", "value"):
        return _map_result(x, slot, call, result.endswith("?"))
    if result in _RESULT_SOCKETS:
        id = x.new_id()
        ref = 0
        if name in ACQUIRING:
            ref = id
            x.state.refs[ref] = slot
        elif name in BORROWING:
            ref = call.ref
        return Pointer(_RESULT_SOCKETS[result], nullable=True, id=id, ref=ref)
    if result == "record?":
        id = x.new_id()
        x.state.refs[id] = slot
        return Pointer(RECORD, nullable=True, id=id, ref=id, bound=call.mem_size)
    if result == "dynmem?":
        assert call.dynptr is not None
        return Pointer(
            MEM,
            nullable=True,
            id=x.new_id(),
            bound=call.mem_size,
            target=("dynptr", call.dynptr.id),
            ref=call.dynptr.ref,
            readonly=call.dynptr.readonly,
        )
    if result == "kptr?":
        id = x.new_id()
        x.state.refs[id] = slot
        return Pointer(BTF, nullable=True, id=id, ref=id, target=call.kptr)
    if result in ("percpu", "percpu?"):
        given = x.regs[1]
        assert isinstance(given, Pointer)
        nullable = result == "percpu?"
        return Pointer(
            BTF if given.target is not None else MEM,
            nullable=nullable,
            id=x.new_id() if nullable else 0,
            target=given.target,
            bound=given.bound,
            readonly=True,
        )
    if result.startswith("btf"):
        nullable = result[3] == "?"
        name = result.partition(":")[2]
        btf = x.program.kernel_btf or x.program.btf
        struct = btf.find(name, kind=Kind.STRUCT) if btf is not None else None
        target = (btf, struct) if struct is not None else None
        return Pointer(
            BTF,
            nullable=nullable,
            id=x.new_id() if nullable else 0,
            target=target,
            ref=call.ref if call.helper in BORROWING else 0,
        )
    return anything()


def _map_result(x: Explorer, slot: int, call: Call, nullable: bool) -> Pointer:
    info = call.map
    assert info is not None
    id = x.new_id() if nullable else 0
    if info.kind in ("ARRAY_OF_MAPS", "HASH_OF_MAPS"):
        return Pointer(MAP_PTR, map=info.inner, nullable=nullable, id=id)
    if info.kind in ("SOCKMAP", "SOCKHASH"):
        x.state.refs[id] = slot
        return Pointer(SOCKET, nullable=True, id=id, ref=id)
    if info.kind == "XSKMAP":
        return Pointer(XDP_SOCK, nullable=True, id=id)
    if not id and info.fields:
        id = x.new_id()
    return Pointer(MAP_VALUE, map=info, nullable=nullable, id=id)
