"""C types as the lowering needs them: LLVM's word for a type, its signedness and qualifiers."""

from __future__ import annotations

from ebpf.compiler.c.types import (
    Array,
    CType,
    Enum,
    Int,
    Pointer,
    Qualified,
    Record,
    Typedef,
    Void,
    size_of,
    strip,
)

# Contexts of programs. The optimiser must not merge accesses to them (see `lower_place`), whichever variable holds the
# pointer.
CONTEXT_RECORDS = frozenset(
    (
        "xdp_md",
        "__sk_buff",
        "sk_msg_md",
        "sk_reuseport_md",
        "bpf_sock",
        "bpf_sock_addr",
        "bpf_sock_ops",
        "bpf_sk_lookup",
        "bpf_sysctl",
        "bpf_sockopt",
        "bpf_cgroup_dev_ctx",
        "bpf_perf_event_data",
        "bpf_raw_tracepoint_args",
        "bpf_tcp_sock",
        "bpf_nf_ctx",
        "bpf_flow_keys",
        "bpf_pidns_info",
    )
)


def ir_type(t: CType) -> str:
    """LLVM's type for a value (records and arrays: for their bytes)."""
    t = strip(t)
    if isinstance(t, Int):
        return f"i{8 * t.size}"
    if isinstance(t, Pointer):
        return "ptr"
    if isinstance(t, Enum):
        return f"i{8 * t.underlying.size}"
    if isinstance(t, Void):
        return "void"
    if isinstance(t, (Record, Array)):
        return f"[{size_of(t) or 0} x i8]"
    return "ptr"


def in_memory(t: CType) -> bool:
    """Whether a value of this type is handled by its address."""
    return isinstance(strip(t), (Record, Array))


def bits_of(t: CType) -> int:
    return 8 * (size_of(t) or 0)


def is_signed(t: CType) -> bool:
    t = strip(t)
    if isinstance(t, Enum):
        return t.underlying.signed
    return isinstance(t, Int) and t.signed


def is_volatile(t: CType) -> bool:
    while isinstance(t, (Typedef, Qualified)):
        if isinstance(t, Qualified) and t.volatile:
            return True
        t = t.type
    return False


def is_const(t: CType) -> bool:
    while isinstance(t, (Typedef, Qualified, Array)):
        if isinstance(t, Qualified) and t.const:
            return True
        t = t.element if isinstance(t, Array) else t.type
    return False


def extension(t: CType) -> str:
    """The attribute by which integers narrower than a register are passed."""
    t = strip(t)
    if isinstance(t, (Int, Enum)) and bits_of(t) < 32:
        return " signext" if is_signed(t) else " zeroext"
    return ""


def constant(t: CType, value: int) -> str:
    """An integer of scalar type ``t`` as an operand."""
    if ir_type(t) == "ptr":
        return "null" if value == 0 else f"inttoptr (i64 {value} to ptr)"
    return str(value)
