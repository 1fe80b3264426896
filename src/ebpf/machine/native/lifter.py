"""A verified program → LLVM IR.

Each function of the program becomes one of LLVM, ``i64 f(ptr %run, i64 r1 … r5)``; ``%run`` is the block that native
code and Python share (`block`). Registers are stack cells that LLVM's SROA turns into values; within a basic block
they are not even that. The 512 bytes of a frame are an array of its own, zero at entry, as long as the verifier found
it used.

What a check at run time would cost is spared by the verifier's facts: accesses are not checked, branches whose outcome
is known are dropped with what they alone lead to, loops have no budget. Where the facts do not reach (pointers that a
caller's context brings, kernel objects) the access is Python's, which checks it. ``checked`` keeps every check: then
each access asks first.

Nothing of the running process is in the IR: addresses are symbols (`Lifted` lists them), so that code can be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.context_layouts import context_layout
from ebpf.errors import NotSupported
from ebpf.isa.insn import OP_CALL, OP_LDDW, PSEUDO_CALL, PSEUDO_FUNC
from ebpf.machine.native import block
from ebpf.machine.native.accesses import direct_kinds
from ebpf.machine.native.codegen import FULL, QUICK
from ebpf.machine.native.function import Function
from ebpf.machine.semantics import STACK_BYTES, operation
from ebpf.verifier.values import CTX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.machine.native.registers import Base
    from ebpf.verifier import Verified

_MEMORY = ("ldx", "ldsx", "st", "stx", "load_acquire", "store_release", "xchg", "cmpxchg")

_METADATA = ('!0 = !{!"branch_weights", i32 1, i32 100000}', "!1 = !{}")


class Site(NamedTuple):
    """A place where native code asks Python: ``kind`` says what for (see `program`), the rest is of that kind."""

    kind: str
    slot: int
    number: int = 0
    size: int = 0
    write: bool = False
    name: str = ""


class Lifted(NamedTuple):
    """A module and what it refers to: see `program.symbols`."""

    ir: str
    opt: int
    sites: tuple[Site, ...]
    constants: tuple[int, ...]  #: slots of the wide loads whose values stand in ``k``
    values: tuple[str, ...]  #: maps whose first value's address is the symbol ``v.NAME``
    maps: tuple[str, ...]  #: maps whose native form is the symbol ``m.NAME``
    functions: tuple[int, ...]  #: slots of functions whose addresses programs take: symbols ``f.SLOT``
    runtime: tuple[str, ...]  #: functions of the maps' runtime that are called
    linked: bool  #: some of them are to be put into the code


class Unit:
    """What the functions of one program share while they are lifted."""

    def __init__(self, verified: Verified, native: Mapping[str, str], inlined: frozenset[str], checked: bool) -> None:
        self.verified = verified
        self.program = program = verified.program
        self.native = native
        self.inlined = inlined
        self.checked = checked
        self.ops = {slot: operation(insn) for slot, insn in program.insns.items()}
        self.sites: list[Site] = []
        self.constants: list[int] = []
        self.values: list[str] = []
        self.maps: list[str] = []
        self.functions: set[int] = set()
        self.runtime: dict[str, str] = {}  # name → its declaration
        self.direct = direct_kinds(program)
        self.layout = context_layout(program.type)
        self.frame_bytes = -(-min(max(verified.stack_bytes, 8), STACK_BYTES) // 16) * 16
        # Maps of the object itself; what is looked up in a map of maps has the facts of many.
        self.own_maps = {id(r.map): r.map for r in program.references.values() if r.map is not None}
        self.may_fail = checked or any(
            verified.reached[slot] and (op in ("call", "call_kfunc", "ld_abs", "ld_ind") or self.is_probed(slot))
            for slot, op in self.ops.items())

    def is_probed(self, slot: int) -> bool:
        """Whether an access must be checked, because something that nobody proved lies behind its pointer."""
        if self.ops[slot] not in _MEMORY and not self.ops[slot].startswith("atomic_"):
            return False
        kinds = self.verified.pointer_kinds[slot]
        return not kinds or bool(kinds & ~self.direct)

    def site(self, site: Site) -> int:
        self.sites.append(site)
        return len(self.sites) - 1

    def constant(self, slot: int) -> int:
        if slot not in self.constants:
            self.constants.append(slot)
        return self.constants.index(slot)

    def map_name(self, slot: int) -> str | None:
        """The one map that the call at ``slot`` is about, if it is one of the object's own and has a native form."""
        info = self.verified.maps.get(slot)
        if info is None or id(info) not in self.own_maps or info.name not in self.native:
            return None
        return info.name

    def named(self, slot: int) -> Base:
        """The base that a wide load names."""
        insn = self.program.insns[slot]
        reference = self.program.references.get(slot)
        if insn.src == PSEUDO_FUNC:
            return ("function", slot + 1 + _signed(insn.imm))
        if reference is not None and reference.kind == "value" and reference.map is not None:
            return ("value", reference.map.name)
        return None

    def loaded(self, slot: int) -> bool:
        """Whether what the instruction gives is worth a base of its own: packets and values that were looked up."""
        op, insn = self.ops[slot], self.program.insns[slot]
        if op == "ldx":
            if self.verified.pointer_kinds[slot] != 1 << CTX or self.layout is None:
                return False
            field = self.layout.by_offset.get(insn.off)
            return field is not None and field.pointer in ("packet", "packet_meta")
        return op == "call" and insn.imm == 1 and self.map_name(slot) is not None


def _signed(imm: int) -> int:
    low = imm & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def lift(verified: Verified, *, native: Mapping[str, str] | None = None, inlined: frozenset[str] = frozenset(),
         checked: bool = False) -> Lifted:
    """The program as IR. ``native``: the runtime's kind of each map that has a native form, by name; ``inlined``: the
    runtime's functions whose IR is at hand. Raises `NotSupported` for what the machine does not have."""
    unit = Unit(verified, native or {}, inlined, checked)
    program = unit.program
    starts = _function_starts(unit)
    bodies = []
    has_loop = False
    # Functions whose addresses are taken are known before any is written: these keep their names.
    for slot, insn in program.insns.items():
        if insn.opcode == OP_LDDW and insn.src == PSEUDO_FUNC and verified.reached[slot]:
            unit.functions.add(slot + 1 + _signed(insn.imm))
    for start, end in starts:
        function = Function(unit, start, end)
        bodies.append(function.lift())
        has_loop = has_loop or function.has_loop
    head = [
        'source_filename = "bpf"',
        "declare i64 @upcall(i64, i64, i64, i64, i64, i64)",
        "declare i32 @clock_gettime(i32, ptr)",
        "declare ptr @llvm.frameaddress.p0(i32)",
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        *(f"declare i{n} @llvm.bswap.i{n}(i{n})" for n in (16, 32, 64)),
        *(f'@"v.{name}" = external global i8' for name in unit.values),
        *(f'@"m.{name}" = external global i8' for name in unit.maps),
        *unit.runtime.values(),
    ]
    if unit.constants:
        head.append(f"@k = external constant [{len(unit.constants)} x i64]")
    linked = any(name in inlined for name in unit.runtime)
    ir = "\n".join([*head, *bodies, *_METADATA, ""])
    return Lifted(ir, FULL if has_loop else QUICK, tuple(unit.sites), tuple(unit.constants), tuple(unit.values),
                  tuple(unit.maps), tuple(sorted(unit.functions)), tuple(unit.runtime), linked)


def _function_starts(unit: Unit) -> Iterator[tuple[int, int]]:
    """First slot and end of every function that is reached."""
    starts = {0}
    for slot, insn in unit.program.insns.items():
        if not unit.verified.reached[slot]:
            continue
        if insn.opcode == OP_CALL and insn.src == PSEUDO_CALL:
            starts.add(slot + 1 + insn.imm)
        elif insn.opcode == OP_LDDW and insn.src == PSEUDO_FUNC:
            starts.add(slot + 1 + _signed(insn.imm))
    ordered = sorted(starts | {s.start for s in unit.program.subprogs})
    for start, end in zip(ordered, [*ordered[1:], unit.program.length], strict=True):
        if start in starts:
            yield start, end


def refuse_missing(op: str) -> None:
    """Instructions that no engine of the machine has."""
    if op == "gotox":
        raise NotSupported("jumps through tables (gotox)", who="the userspace machine")


assert block.FAILED == 0  # `%run` itself is the address of the word that is looked at most
