"""The table of instruction forms: one row per form, and everything else in `ebpf.isa` derives from it.

A form is a pattern over the 64 bits of a slot (``word & mask == match``) and a template in the kernel's notation.
Fields that a form does not name in its template's operands are fixed by the pattern, nearly always to zero, so
decoding through the table rejects reserved bits (RFC 9669 section 3: "unused fields must be set to zero").

Operands of templates (`OPERANDS` in `ebpf.isa.text` says how each prints and parses):

=========  =============================================  ========  ===========================================
dst, src   register number                                lo, hi    halves of a wide immediate, signed
off        signed 16 bits, with sign                      wide      the whole wide immediate, hexadecimal
imm        signed 32 bits, decimal                        to, frm   upper and lower 16 bits of the immediate
uimm       the same bits unsigned, hexadecimal            helper    name of the helper function number ``imm``
rel        the immediate, with sign: slots to go          fd_idx    ``[off]`` of a kernel function's call, or ""
=========  =============================================  ========  ===========================================
"""

from __future__ import annotations

from ebpf.isa.insn import (
    ALU,
    ALU64,
    ATOMIC_CMPXCHG,
    ATOMIC_FETCH,
    ATOMIC_LOAD_ACQ,
    ATOMIC_STORE_REL,
    ATOMIC_XCHG,
    DW,
    JMP,
    JMP32,
    LD,
    LDX,
    MODE_ABS,
    MODE_ATOMIC,
    MODE_IND,
    MODE_MEM,
    MODE_MEMSX,
    OP_CALL,
    OP_CALLX,
    OP_EXIT,
    OP_LDDW,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    ST,
    STX,
    B,
    H,
    K,
    W,
    X,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DST, SRC, OFF, IMM = 0x0F << 8, 0xF0 << 8, 0xFFFF << 16, 0xFFFFFFFF << 32


class Form:
    """One way an instruction can look.

    ``op`` is RFC 9669's name of the operation in lower case (``add``, ``jeq``, ``ldx``), ``group`` its conformance
    group (or ``linux`` for what is not in the RFC), ``since`` the first Linux release that loads it. ``internal``
    marks forms which the kernel makes itself and which only appear in dumps of translated programs.
    """

    __slots__ = ("free", "group", "high", "internal", "mask", "match", "op", "opcode", "since", "template")

    def __init__(self, opcode: int, op: str, template: str, *, free: int, group: str = "base64", since: str = "3.18",
                 src: int = 0, off: int = 0, imm: int = 0, internal: bool = False) -> None:
        self.opcode = opcode
        self.op = op
        self.template = template
        self.free = free
        self.mask = (DST | SRC | OFF | IMM | 0xFF) & ~free
        self.match = opcode | src << 12 | (off & 0xFFFF) << 16 | (imm & 0xFFFFFFFF) << 32
        self.group = group
        self.since = since
        self.internal = internal
        self.high = "{wide}" in template or "{hi}" in template  # may the second slot's immediate be nonzero?

    def __repr__(self) -> str:
        return f"Form(0x{self.opcode:02x} {self.template!r})"


# code, name, operator, group suffix ("div" stands for divmul32 and divmul64)
_ALU_OPS = (
    (0x00, "add", "+=", "base"), (0x10, "sub", "-=", "base"), (0x20, "mul", "*=", "divmul"),
    (0x30, "div", "/=", "divmul"), (0x40, "or", "|=", "base"), (0x50, "and", "&=", "base"),
    (0x60, "lsh", "<<=", "base"), (0x70, "rsh", ">>=", "base"), (0x90, "mod", "%=", "divmul"),
    (0xA0, "xor", "^=", "base"), (0xB0, "mov", "=", "base"), (0xC0, "arsh", "s>>=", "base"),
)
_SIGNED_DIVISIONS = ((0x30, "sdiv", "s/="), (0x90, "smod", "s%="))
_SIGN_EXTENSIONS = ((8, "s8"), (16, "s16"), (32, "s32"))  # a move's offset says how many bits are kept
_JUMPS = (
    (0x10, "jeq", "==", "3.18"), (0x20, "jgt", ">", "3.18"), (0x30, "jge", ">=", "3.18"), (0x40, "jset", "&", "3.18"),
    (0x50, "jne", "!=", "3.18"), (0x60, "jsgt", "s>", "3.18"), (0x70, "jsge", "s>=", "3.18"),
    (0xA0, "jlt", "<", "4.14"), (0xB0, "jle", "<=", "4.14"), (0xC0, "jslt", "s<", "4.14"),
    (0xD0, "jsle", "s<=", "4.14"),
)
_SIZES = ((B, "u8", "s8"), (H, "u16", "s16"), (W, "u32", "s32"), (DW, "u64", ""))
_ATOMICS = ((0x00, "add", "+="), (0x40, "or", "|="), (0x50, "and", "&="), (0xA0, "xor", "^="))
_WIDE_LOADS = (
    (0, "r{dst} = {wide}", "3.18"),
    (PSEUDO_MAP_FD, "r{dst} = map[id:{lo}]", "3.18"),
    (PSEUDO_MAP_VALUE, "r{dst} = map[id:{lo}][0]+{hi}", "5.2"),
    (PSEUDO_BTF_ID, "r{dst} = btf[id:{lo}]+{hi}", "5.10"),
    (PSEUDO_FUNC, "r{dst} = subprog[{rel}]", "5.13"),
    (PSEUDO_MAP_IDX, "r{dst} = map[idx:{lo}]", "5.14"),
    (PSEUDO_MAP_IDX_VALUE, "r{dst} = map[idx:{lo}]+{hi}", "5.14"),
)


def _arithmetic() -> Iterator[Form]:
    for cls, reg, bits in ((ALU64, "r", "64"), (ALU, "w", "32")):
        for code, op, sign, group in _ALU_OPS:
            yield Form(cls | K | code, op, f"{reg}{{dst}} {sign} {{imm}}", free=DST | IMM, group=group + bits)
            yield Form(cls | X | code, op, f"{reg}{{dst}} {sign} {reg}{{src}}", free=DST | SRC, group=group + bits)
        for code, op, sign in _SIGNED_DIVISIONS:
            yield Form(cls | K | code, op, f"{reg}{{dst}} {sign} {{imm}}", free=DST | IMM, off=1, group="divmul" + bits,
                       since="6.6")
            yield Form(cls | X | code, op, f"{reg}{{dst}} {sign} {reg}{{src}}", free=DST | SRC, off=1,
                       group="divmul" + bits, since="6.6")
        for width, name in _SIGN_EXTENSIONS:
            if cls == ALU64 or width < 32:
                yield Form(cls | X | 0xB0, "movsx", f"{reg}{{dst}} = ({name}){reg}{{src}}", free=DST | SRC, off=width,
                           group="base" + bits, since="6.6")
        yield Form(cls | 0x80, "neg", f"{reg}{{dst}} = -{reg}{{dst}}", free=DST, group="base" + bits)
    for width in (16, 32, 64):
        group = "base64" if width == 64 else "base32"
        yield Form(ALU | K | 0xD0, "le", f"r{{dst}} = le{width} r{{dst}}", free=DST, imm=width, group=group)
        yield Form(ALU | X | 0xD0, "be", f"r{{dst}} = be{width} r{{dst}}", free=DST, imm=width, group=group)
        yield Form(ALU64 | 0xD0, "bswap", f"r{{dst}} = bswap{width} r{{dst}}", free=DST, imm=width, group=group,
                   since="6.6")
    yield Form(ALU64 | X | 0xB0, "addr_space_cast", "r{dst} = addr_space_cast(r{src}, {to}, {frm})",
               free=DST | SRC | IMM, off=1, group="linux", since="6.9")
    yield Form(ALU64 | X | 0xB0, "mov_percpu", "r{dst} = &(void __percpu *)(r{src})", free=DST | SRC, off=-1,
               group="linux", since="6.10", internal=True)


def _jumps() -> Iterator[Form]:
    for cls, reg, group, since in ((JMP, "r", "base64", ""), (JMP32, "w", "base32", "5.1")):
        for code, op, sign, first in _JUMPS:
            yield Form(cls | K | code, op, f"if {reg}{{dst}} {sign} {{uimm}} goto pc{{off}}", free=DST | OFF | IMM,
                       group=group, since=since or first)
            yield Form(cls | X | code, op, f"if {reg}{{dst}} {sign} {reg}{{src}} goto pc{{off}}", free=DST | SRC | OFF,
                       group=group, since=since or first)
    yield Form(JMP | 0x00, "ja", "goto pc{off}", free=OFF, group="base32")
    yield Form(JMP32 | 0x00, "ja", "gotol pc{rel}", free=IMM, group="base32", since="6.6")
    yield Form(JMP | X | 0x00, "gotox", "gotox r{dst}", free=DST, group="linux", since="6.19")
    yield Form(JMP | 0xE0, "may_goto", "may_goto pc{off}", free=OFF, group="linux", since="6.9")
    yield Form(OP_CALL, "call", "call {helper}#{imm}", free=IMM, group="base32")
    yield Form(OP_CALL, "call_local", "call pc{rel}", free=IMM, src=PSEUDO_CALL, group="base32", since="4.16")
    # The kernel keeps the distance in `off` once the callee is compiled, and puts an address into `imm`.
    yield Form(OP_CALL, "call_local", "call pc{off}#{imm}", free=OFF | IMM, src=PSEUDO_CALL, group="linux",
               since="4.16", internal=True)
    yield Form(OP_CALL, "call_kfunc", "call kernel-function{fd_idx}#{imm}", free=OFF | IMM, src=PSEUDO_KFUNC_CALL,
               group="base32", since="5.13")
    # Not loaded by any kernel; compilers emit it for calls through pointers that were not optimised away.
    yield Form(OP_CALLX, "callx", "callx r{dst}", free=DST, group="linux", since="")
    yield Form(OP_EXIT, "exit", "exit", free=0, group="base32")


def _memory() -> Iterator[Form]:
    for size, unsigned, signed in _SIZES:
        group = "base64" if size == DW else "base32"
        yield Form(LDX | MODE_MEM | size, "ldx", f"r{{dst}} = *({unsigned} *)(r{{src}} {{off}})", free=DST | SRC | OFF,
                   group=group)
        yield Form(ST | MODE_MEM | size, "st", f"*({unsigned} *)(r{{dst}} {{off}}) = {{imm}}", free=DST | OFF | IMM,
                   group=group)
        yield Form(STX | MODE_MEM | size, "stx", f"*({unsigned} *)(r{{dst}} {{off}}) = r{{src}}",
                   free=DST | SRC | OFF, group=group)
        if signed:
            yield Form(LDX | MODE_MEMSX | size, "ldsx", f"r{{dst}} = *({signed} *)(r{{src}} {{off}})",
                       free=DST | SRC | OFF, since="6.6")
            yield Form(LD | MODE_ABS | size, "ld_abs", f"r0 = *({unsigned} *)skb[{{imm}}]", free=IMM, group="packet")
            yield Form(LD | MODE_IND | size, "ld_ind", f"r0 = *({unsigned} *)skb[r{{src}} + {{imm}}]", free=SRC | IMM,
                       group="packet")
        yield Form(STX | MODE_ATOMIC | size, "load_acquire",
                   f"r{{dst}} = load_acquire(({unsigned} *)(r{{src}} {{off}}))",
                   free=DST | SRC | OFF, imm=ATOMIC_LOAD_ACQ, group="linux", since="6.15")
        yield Form(STX | MODE_ATOMIC | size, "store_release",
                   f"store_release(({unsigned} *)(r{{dst}} {{off}}), r{{src}})",
                   free=DST | SRC | OFF, imm=ATOMIC_STORE_REL, group="linux", since="6.15")
        if size in (W, DW):
            place = f"({unsigned} *)(r{{dst}} {{off}})"
            yield from _atomics(size, place, "64" if size == DW else "", "atomic64" if size == DW else "atomic32")
    for src, template, since in _WIDE_LOADS:
        yield Form(OP_LDDW, "lddw", template, free=DST | IMM, src=src, since=since)
    yield Form(OP_LDDW, "lddw", "r{dst} = subprog[{rel}]+{hi}", free=DST | IMM, src=PSEUDO_FUNC, group="linux",
               since="5.13", internal=True)
    # Mode 0xc0 of a store is the kernel's speculation barrier, put there by the verifier.
    yield Form(ST | MODE_ATOMIC, "nospec", "nospec", free=0, group="linux", since="5.14", internal=True)


def _atomics(size: int, place: str, bits: str, group: str) -> Iterator[Form]:
    opcode, free = STX | MODE_ATOMIC | size, DST | SRC | OFF
    for code, op, sign in _ATOMICS:
        since = "3.18" if op == "add" else "5.12"
        yield Form(opcode, f"atomic_{op}", f"lock *{place} {sign} r{{src}}", free=free, imm=code, group=group,
                   since=since)
        yield Form(opcode, f"atomic_fetch_{op}", f"r{{src}} = atomic{bits}_fetch_{op}({place}, r{{src}})", free=free,
                   imm=code | ATOMIC_FETCH, group=group, since="5.12")
    yield Form(opcode, "xchg", f"r{{src}} = atomic{bits}_xchg({place}, r{{src}})", free=free, imm=ATOMIC_XCHG,
               group=group, since="5.12")
    yield Form(opcode, "cmpxchg", f"r0 = atomic{bits}_cmpxchg({place}, r0, r{{src}})", free=free, imm=ATOMIC_CMPXCHG,
               group=group, since="5.12")


FORMS: tuple[Form, ...] = (*_arithmetic(), *_jumps(), *_memory())


def _by_opcode() -> tuple[tuple[tuple[int, int, Form], ...], ...]:
    rows: list[list[tuple[int, int, Form]]] = [[] for _ in range(256)]
    for form in FORMS:
        rows[form.opcode].append((form.mask, form.match, form))
    return tuple(map(tuple, rows))


#: opcode → its forms as (mask, match, form), to be tried in order: the first that matches is the one.
BY_OPCODE = _by_opcode()
