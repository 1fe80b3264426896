"""A program prepared for verification: instructions by slot, what its wide loads refer to, where ways meet, what is
read later.

Everything that does not depend on a path is worked out here, once: the control flow graph (every instruction reachable,
no way out of a
function but its exits), the functions, registers that are live before each instruction, and the slots at which states
are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.contracts import CHANGES_PACKET, CONTRACTS
from ebpf.abi.helpers import HELPERS_BY_ID
from ebpf.abi.maps import BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, MapType
from ebpf.abi.programs import AttachType, ProgType
from ebpf.isa.insn import (
    ALU,
    ALU64,
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
    OP_EXIT,
    OP_LDDW,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    ST,
    STX,
    X,
)
from ebpf.verifier import ranges as r
from ebpf.verifier.refuse import Refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ebpf.btf import Btf
    from ebpf.isa import Insn
    from ebpf.object import MapSpec

# What an instruction is, for the explorer; ordered by how often programs use it.
(
    MOV_X,
    LOAD,
    MOV_K,
    ARITHMETIC,
    JUMP_IF,
    STORE_X,
    STORE_K,
    CALL,
    JUMP,
    EXIT,
    WIDE,
    MOV_X32,
    MOV_SIGNED,
    SWAP,
    NEGATE,
    ATOMIC,
    CALL_LOCAL,
    CALL_KFUNC,
    PACKET_LOAD,
    MAY_GOTO,
    ADDR_SPACE_CAST,
    UNKNOWN_OP,
) = range(22)

# (kind, dst, src, off, imm, extra)
Op = tuple[int, int, int, int, int, "Any"]
_WRITERS = frozenset((MOV_X, LOAD, MOV_K, ARITHMETIC, WIDE, MOV_X32, MOV_SIGNED, SWAP, NEGATE, ADDR_SPACE_CAST))
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}

_BINARY: dict[int, tuple[Callable[[r.Range, r.Range], r.Range], Callable[[r.Range, r.Range], r.Range], str]] = {
    # operation: on 64 bits, on the low 32 (the result is zero-extended by the caller), operator
    0x00: (r.add, r.add, "+="),
    0x10: (r.sub, r.sub, "-="),
    0x20: (r.mul, r.mul, "*="),
    0x30: (r.div, r.div32, "/="),
    0x40: (r.or_, r.or_, "|="),
    0x50: (r.and_, r.and_, "&="),
    0x60: (r.lsh, r.lsh32, "<<="),
    0x70: (r.rsh, r.rsh32, ">>="),
    0x90: (r.mod, r.mod32, "%="),
    0xA0: (r.xor, r.xor, "^="),
    0xC0: (r.arsh, r.arsh32, "s>>="),
}
_SIGNED = {0x30: (r.sdiv64, r.sdiv32, "s/="), 0x90: (r.smod64, r.smod32, "s%=")}


class MapInfo:
    """A map as the verifier sees it. Special fields of its values: offset → kind (``"lock"``, ``"timer"``,
    ``"kptr"``…)."""

    __slots__ = (
        "constant",
        "fields",
        "flags",
        "inner",
        "key_size",
        "kind",
        "max_entries",
        "name",
        "type",
        "value_size",
    )

    def __init__(
        self,
        name: str,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        flags: int = 0,
        inner: MapInfo | None = None,
        fields: Mapping[int, tuple[str, int, object]] | None = None,
        constant: bytes | None = None,
    ) -> None:
        self.name = name
        self.type = MapType(type)
        self.kind = self.type.name
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.inner = inner
        self.fields = fields or {}  # offset → (kind, size, detail)
        self.constant = constant  # contents that nobody can change any more

    @property
    def readable(self) -> bool:
        return not self.flags & BPF_F_WRONLY_PROG

    @property
    def writable(self) -> bool:
        return not self.flags & BPF_F_RDONLY_PROG

    @classmethod
    def of(cls, spec: MapSpec, btf: Btf | None) -> MapInfo:
        from ebpf.verifier.fields import special_fields

        constant = None
        if spec.frozen and spec.is_data and spec.name != ".kconfig":
            constant = spec.initial if spec.initial is not None else bytes(spec.value_size)
        flags = spec.flags | (BPF_F_RDONLY_PROG if spec.frozen else 0)
        fields = special_fields(btf, spec.value_type_id) if btf is not None and spec.value_type_id else {}
        return cls(
            spec.name,
            spec.type,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            flags,
            cls.of(spec.inner, btf) if spec.inner is not None else None,
            fields,
            constant,
        )


class Reference:
    """What a wide load stands for: ``kind`` "map", "value" (of a map, at ``offset``), "variable" (of the kernel) or
    "number"."""

    __slots__ = ("kind", "map", "offset", "symbol", "target")

    def __init__(
        self, kind: str, map: MapInfo | None = None, offset: int = 0, symbol: str = "", target: object = None
    ) -> None:
        self.kind = kind
        self.map = map
        self.offset = offset
        self.symbol = symbol
        self.target = target


class Subprog:
    """A function: slots ``start`` to ``end``, whether it is verified by itself (``is_global``), its prototype's
    parameters."""

    __slots__ = ("end", "index", "is_global", "name", "params", "start", "uses_ld_abs", "void")

    def __init__(self, index: int, start: int, name: str, is_global: bool) -> None:
        self.index = index
        self.start = start
        self.end = start
        self.name = name
        self.is_global = is_global
        self.params: tuple[tuple[str, int], ...] = ()
        self.void = False
        self.uses_ld_abs = False


class Program:
    """See the module's text. Slots count 8-byte units, as the kernel does."""

    def __init__(
        self,
        insns: Sequence[Insn],
        *,
        type: int,
        attach_type: int = 0,
        references: Mapping[int, Reference] | None = None,
        kfuncs: Mapping[int, str] | None = None,
        name: str = "",
        names: Mapping[int, str] | None = None,
        globals_at: frozenset[int] = frozenset(),
        gpl: bool = True,
        sleepable: bool = False,
        attach_to: str = "",
        btf: Btf | None = None,
        kernel_btf: Btf | None = None,
        dead_code: bool = False,
    ) -> None:
        self.dead_code = dead_code  # instructions that no path reaches are left alone, not refused
        self.type = int(type)
        # Where no attach type was given, the kernel takes the type's first.
        self.attach_type = int(attach_type) or int(
            AttachType.CGROUP_INET_SOCK_CREATE if type == ProgType.CGROUP_SOCK else 0
        )
        self.name = name
        self.gpl = gpl
        self.sleepable = sleepable
        self.attach_to = attach_to
        self.btf = btf
        self.kernel_btf = kernel_btf
        self.references = dict(references or {})
        self.kfuncs = dict(kfuncs or {})
        self.memory_bytes: int | None = None  # of a bare program: r1 is a block of so many bytes, r2 their number
        self._packet_changers: set[int] | None = None
        self.insns: dict[int, Insn] = {}
        slot = 0
        for insn in insns:
            self.insns[slot] = insn
            slot += insn.slots
        self.length = slot
        if not slot:
            raise Refuse("V0104", "the program has no instructions", slot=0)
        self.ops: list[Op] = [(UNKNOWN_OP, 0, 0, 0, 0, None)] * slot
        for at, insn in self.insns.items():
            self.ops[at] = _classify(insn)
        self.subprogs = self._find_subprogs(names or {}, globals_at)
        self.subprog_at = {s.start: s for s in self.subprogs}
        self.successors: list[tuple[int, ...]] = [()] * slot
        self._check_flow()
        self.loop_heads: set[int] = set()
        self._backs: dict[int, list[int]] = {}  # loop head → where jumps back to it are
        self._bodies: dict[int, frozenset[int]] = {}
        self.joins = self._find_joins()
        self.live = self._find_live()

    def subprog_of(self, slot: int) -> Subprog:
        """The function that the instruction belongs to."""
        return next(s for s in self.subprogs if s.start <= slot < s.end)

    def loop_body(self, head: int) -> frozenset[int]:
        """The slots of the loop at ``head``: those from which its jumps back are reached without passing the head."""
        found = self._bodies.get(head)
        if found is None:
            before: dict[int, list[int]] = {}
            for at in self.insns:
                for target in self.successors[at]:
                    before.setdefault(target, []).append(at)
            body, work = {head}, list(self._backs.get(head, ()))
            while work:
                at = work.pop()
                if at not in body:
                    body.add(at)
                    work += before.get(at, ())
            found = self._bodies[head] = frozenset(body)
        return found

    def may_change_packet(self, sub: Subprog) -> bool:
        """Whether the function, or one that it calls, may move or resize the packet (by its text: an upper bound)."""
        if self._packet_changers is None:
            direct: set[int] = set()
            calls: dict[int, set[int]] = {s.index: set() for s in self.subprogs}
            for at, insn in self.insns.items():
                kind = self.ops[at][0]
                if kind == CALL:
                    helper = HELPERS_BY_ID.get(insn.imm)
                    if helper is None or helper.name in CHANGES_PACKET or helper.name == "bpf_tail_call":
                        direct.add(self.subprog_of(at).index)
                elif kind == CALL_LOCAL:
                    calls[self.subprog_of(at).index].add(self.subprog_at[at + 1 + insn.imm].index)
                elif kind == WIDE and insn.src == PSEUDO_FUNC:
                    calls[self.subprog_of(at).index].add(self.subprog_at[at + 1 + r.signed32(insn.imm & r.M32)].index)
            grown = True
            while grown:
                more = {i for i, called in calls.items() if called & direct} - direct
                direct |= more
                grown = bool(more)
            self._packet_changers = direct
        return sub.index in self._packet_changers

    def _find_subprogs(self, names: Mapping[int, str], globals_at: frozenset[int]) -> list[Subprog]:
        starts = {0}
        for at, insn in self.insns.items():
            target = -1
            if insn.opcode == OP_CALL and insn.src == PSEUDO_CALL:
                target = at + insn.imm + 1
            elif insn.opcode == OP_LDDW and insn.src == PSEUDO_FUNC:
                target = at + r.signed32(insn.imm & r.M32) + 1
            else:
                continue
            if target not in self.insns:
                raise Refuse("V0104", f"a call goes to slot {target}, where no instruction starts", slot=at)
            starts.add(target)
        found = [
            Subprog(i, start, names.get(start, self.name if start == 0 else f"subprogram {i}"), start in globals_at)
            for i, start in enumerate(sorted(starts))
        ]
        for a, b in zip(found, found[1:], strict=False):
            a.end = b.start
        found[-1].end = self.length
        return found

    def _check_flow(self) -> None:
        """Every jump stays in its function and hits an instruction, every function ends in one that does not fall
        through."""
        for sub in self.subprogs:
            last = sub.start
            for at in range(sub.start, sub.end):
                insn = self.insns.get(at)
                if insn is None:
                    continue
                last = at
                kind, dst, src, off, imm, _ = self.ops[at]
                if (dst == 10 and kind in _WRITERS) or (kind == ATOMIC and src == 10 and imm & 1):
                    self.ops[at] = (UNKNOWN_OP, 10, 0, 0, 0, "frame pointer")  # refused if a path comes here
                nexts: tuple[int, ...]
                after = at + insn.slots
                if kind == JUMP:
                    nexts = (at + 1 + (imm if insn.opcode & 7 == JMP32 else off),)
                elif kind == JUMP_IF or kind == MAY_GOTO:
                    nexts = (after, at + 1 + off)
                elif kind == EXIT:
                    nexts = ()
                else:
                    nexts = (after,)
                    if kind == PACKET_LOAD:
                        sub.uses_ld_abs = True
                for target in nexts:
                    if target != after and (not sub.start <= target < sub.end or target not in self.insns):
                        raise Refuse(
                            "V0104", f"a jump from slot {at} goes to slot {target}, outside its function", slot=at
                        )
                self.successors[at] = nexts
            if self.ops[last][0] not in (EXIT, JUMP) or self.insns[last].slots == 2:
                raise Refuse(
                    "V0104",
                    f"the function `{sub.name}` runs off its end: its last instruction is neither exit nor a jump",
                    slot=last,
                )
        seen: set[int] = set()
        work = [s.start for s in self.subprogs]
        while work:
            at = work.pop()
            if at not in seen:
                seen.add(at)
                work += self.successors[at]
        for at in () if self.dead_code else self.insns:
            if at not in seen:
                raise Refuse(
                    "V0104",
                    f"the instruction at slot {at} can never be reached",
                    slot=at,
                    helps=("remove it, or the jump that goes around it",),
                )

    def _find_joins(self) -> frozenset[int]:
        """Where ways meet: slots with several predecessors, loop heads among them; and where the explorer repeats a
        call."""
        count: dict[int, int] = {}
        for at in self.insns:
            for target in self.successors[at]:
                count[target] = count.get(target, 0) + 1
        # Depth first: an edge to an instruction on the way that led here closes a loop.
        state: dict[int, int] = {}
        for sub in self.subprogs:
            if sub.start in state:
                continue
            state[sub.start] = 1
            stack = [(sub.start, iter(self.successors[sub.start]))]
            while stack:
                at, rest = stack[-1]
                for target in rest:
                    s = state.get(target, 0)
                    if s == 1:
                        self.loop_heads.add(target)
                        self._backs.setdefault(target, []).append(at)
                    elif s == 0:
                        state[target] = 1
                        stack.append((target, iter(self.successors[target])))
                        break
                else:
                    state[at] = 2
                    stack.pop()
        # Behind a helper that calls back the way that never did meets the one that did.
        behind = {at + 1 for at in self.insns if self.ops[at][0] == CALL and _calls_back(self.ops[at][4])}
        several = {at for at, n in count.items() if n > 1}
        return frozenset(several | self.loop_heads | (behind & self.insns.keys()))

    def _find_live(self) -> list[int]:
        """For each slot the registers (as bits) that some way from it reads before writing them. An upper bound is
        sound."""
        uses, defs = [0] * self.length, [0] * self.length
        calls: dict[int, int] = {}
        for at, insn in self.insns.items():
            uses[at], defs[at] = _registers(self.ops[at], insn)
            if self.ops[at][0] == CALL_LOCAL:
                calls[at] = at + insn.imm + 1
        # A function's result is read at its exit only if some caller reads it; that of callbacks, of the program and of
        # global functions always is.
        returns: dict[int, list[int]] = {}
        for at, target in calls.items():
            returns.setdefault(target, []).append(at + 1)
        named = {
            at + 1 + r.signed32(i.imm & r.M32)
            for at, i in self.insns.items()
            if i.opcode == OP_LDDW and i.src == PSEUDO_FUNC
        }
        exits: dict[int, list[int]] = {}
        for sub in self.subprogs:
            if sub.start and not sub.is_global and sub.start not in named:
                for at in range(sub.start, sub.end):
                    if self.ops[at][0] == EXIT and at in self.insns:
                        exits[at] = returns.get(sub.start, [])
        live = [0] * (self.length + 1)
        order = sorted(self.insns, reverse=True)
        changed = True
        while changed:
            changed = False
            for at in order:
                out = 0
                for target in self.successors[at]:
                    out |= live[target]
                used = uses[at]
                if at in exits:
                    used = 1 if any(live[after] & 1 for after in exits[at]) else 0
                if at in calls:
                    used |= live[calls[at]] & 0b111110
                new = used | (out & ~defs[at])
                if new != live[at]:
                    live[at] = new
                    changed = True
        return live


def _calls_back(id: int) -> bool:
    helper = HELPERS_BY_ID.get(id)
    contract = CONTRACTS.get(helper.name) if helper is not None else None
    return contract is not None and "func" in contract.args


def _classify(insn: Insn) -> Op:
    code, dst, src, off, imm = insn.opcode, insn.dst, insn.src, insn.off, insn.imm
    cls, op = code & 7, code & 0xF0
    if cls in (ALU, ALU64):
        is32 = cls == ALU
        if op == 0xB0:
            if not code & X:
                return MOV_K, dst, src, off, imm, r.const(imm & r.M32 if is32 else imm)
            if off == 1:
                return ADDR_SPACE_CAST, dst, src, off, imm, None
            if off:
                return MOV_SIGNED, dst, src, off, imm, (off // 8, is32)
            return (MOV_X32 if is32 else MOV_X), dst, src, 0, 0, None
        if op == 0x80:
            return NEGATE, dst, src, off, imm, is32
        if op == 0xD0:
            return SWAP, dst, src, off, imm, (is32 and not code & X)  # little-endian host: to little is a truncation
        fn64, fn32, sign = (_SIGNED if off else _BINARY)[op]
        constant = None if code & X else r.const(imm & r.M32 if is32 else imm)
        return (
            ARITHMETIC,
            dst,
            src if code & X else -1,
            op,
            imm,
            (fn32 if is32 else fn64, is32, constant, sign, bool(off)),
        )
    if cls in (JMP, JMP32):
        if code == OP_EXIT:
            return EXIT, 0, 0, 0, 0, None
        if code == OP_CALL:
            return (
                (CALL_LOCAL if src == PSEUDO_CALL else CALL_KFUNC if src == PSEUDO_KFUNC_CALL else CALL),
                dst,
                src,
                off,
                imm,
                None,
            )
        if op == 0x00 and not code & X:
            return JUMP, dst, src, off, imm, None
        if op == 0xE0:
            return MAY_GOTO, dst, src, off, imm, None
        if op in (0x00, 0x80, 0x90):
            return UNKNOWN_OP, dst, src, off, imm, None
        is32 = cls == JMP32
        constant = None if code & X else r.const(imm & r.M32 if is32 else imm)
        return JUMP_IF, dst, src if code & X else -1, off, imm, (op, is32, constant)
    mode, size = code & 0xE0, SIZES[code & 0x18]
    if cls == LDX:
        return LOAD, dst, src, off, imm, (size, mode == MODE_MEMSX)
    if cls == ST:
        return STORE_K, dst, src, off, imm, size
    if cls == STX:
        if mode == MODE_ATOMIC:
            return ATOMIC, dst, src, off, imm, size
        return (STORE_X if mode == MODE_MEM else UNKNOWN_OP), dst, src, off, imm, size
    if cls == LD and mode in (MODE_ABS, MODE_IND):
        return PACKET_LOAD, dst, src, off, imm, (size, mode == MODE_IND)
    if code == OP_LDDW:
        return WIDE, dst, src, off, imm, None
    return UNKNOWN_OP, dst, src, off, imm, None


def _registers(op: Op, insn: Insn) -> tuple[int, int]:
    """Registers that the instruction reads, and those that it writes, as bits."""
    kind, dst, src, _, imm, extra = op
    d, s = 1 << dst, 1 << src if src >= 0 else 0
    if kind in (MOV_X, MOV_X32, MOV_SIGNED, LOAD, ADDR_SPACE_CAST):
        return s, d
    if kind in (MOV_K, WIDE):
        return 0, d
    if kind == ARITHMETIC:
        return d | s, d
    if kind in (SWAP, NEGATE):
        return d, d
    if kind == JUMP_IF:
        return d | s, 0
    if kind == STORE_X:
        return d | s, 0
    if kind == STORE_K:
        return d, 0
    if kind == CALL:
        from ebpf.verifier.helpers import argument_count

        return ((1 << (argument_count(imm) + 1)) - 1) & ~1, 0b111111
    if kind == CALL_KFUNC:
        return 0b111110, 0b111111
    if kind == CALL_LOCAL:
        return 0, 0b111111
    if kind == EXIT:
        return 1, 0
    if kind == ATOMIC:
        if imm == 0x100:  # load-acquire
            return s, d
        writes = (1 if imm == 0xF1 else s) if imm & 1 else 0
        return d | s | (1 if imm == 0xF1 else 0), writes
    if kind == PACKET_LOAD:
        assert isinstance(extra, tuple)
        return 1 << 6 | (s if extra[1] else 0), 0b111111
    return 0, 0
