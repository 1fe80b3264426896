"""Loads, stores and atomic operations as LLVM IR.

What the verifier has proven is one load or store. Three other ways: through a pointer to something that is not the
machine's own (kernel objects; what a caller's context brought) Python does the access, checked; in the checked mode
every access asks first; and an instruction without facts is treated as unproven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.machine.packets import PACKET_TYPES
from ebpf.machine.semantics import SIZES
from ebpf.verifier.values import CTX, MAP_KEY, MAP_VALUE, MEM, PACKET, PACKET_META, RECORD, STACK

if TYPE_CHECKING:
    from ebpf.machine.native.function import Function
    from ebpf.machine.native.registers import Bases
    from ebpf.verifier.program import Program

_ALWAYS = 1 << CTX | 1 << STACK | 1 << MAP_VALUE | 1 << MAP_KEY | 1 << MEM | 1 << RECORD
_PACKETS = 1 << PACKET | 1 << PACKET_META
_ATOMIC = {"add": "add", "or": "or", "and": "and", "xor": "xor"}


def direct_kinds(program: Program) -> int:
    """Kinds of pointers (bits) whose memory is the machine's own, so that the verifier's proof speaks of it.

    A packet is, where the machine makes it and writes its address into the context; in programs of other types that
    address is whatever the caller of `Machine.run` gave. Of sockets, flow keys, buffers and kernel objects the machine
    has none: their pointers are the caller's numbers. So is the address of a kernel's variable, to a verifier a block
    of memory like others.
    """
    direct = _ALWAYS | (_PACKETS if program.type in PACKET_TYPES else 0)
    if any(reference.kind == "variable" for reference in program.references.values()):
        direct &= ~(1 << MEM)
    return direct


def access(f: Function, slot: int, after: Bases) -> None:
    """Write the access at ``slot``."""
    from ebpf.machine.native.lifter import Site

    insn, op = f.insns[slot], f.ops[slot]
    size = SIZES[insn.opcode & 0x18]
    reads = op in ("ldx", "ldsx", "load_acquire")
    register = insn.src if reads else insn.dst
    width = f"i{size * 8}"
    if f.unit.is_probed(slot):
        _probe(f, slot, size, register)
        return
    done = ""
    if f.unit.checked:
        site = f.unit.site(Site("check", slot, size=size, write=not reads))
        base = f.value(register)
        address = f.add(base, str(insn.off))
        bad = f.emit(f"call i64 @upcall(i64 {site}, i64 {address}, i64 0, i64 0, i64 0, i64 0)")
        refused, fine, done = f.emit(f"icmp ne i64 {bad}, 0"), f.fresh(), f.fresh()
        f.raw(0)  # (what the other way leaves unchanged is known before it)
        if not reads:
            f.raw(insn.src)
        f.do(f"br i1 {refused}, label %refused{slot}, label %{fine}")
        f.label(f"refused{slot}")
        f.do(f"br label %{done}")
        f.label(fine)
    at = f.place(register, insn.off)
    if reads:
        atomic = f" atomic {width}, ptr {at} acquire, align {size}" if op == "load_acquire" else ""
        loaded = f.emit(f"load{atomic}" if atomic else f"load {width}, ptr {at}, align 1")
        if done:
            f.do(f"br label %{done}")
            f.label(done)
            loaded = f.emit(f"phi {width} [ {loaded}, %{fine} ], [ 0, %refused{slot} ]")
        if size < 8:
            loaded = f.emit(f"{'sext' if op == 'ldsx' else 'zext'} {width} {loaded} to i64")
        if after[insn.dst] == ("loaded", slot):
            f.set_base(slot, f.emit(f"inttoptr i64 {loaded} to ptr"))
            f.set(insn.dst, "0")
        else:
            f.set(insn.dst, loaded)
        return
    old, target = "", -1
    if op == "st":
        f.do(f"store {width} {_signed(insn.imm, size)}, ptr {at}, align 1")
    elif op in ("stx", "store_release"):
        value = _cut(f, f.value(insn.src), size)
        kind = f"atomic {width} {value}, ptr {at} release, align {size}" if op == "store_release" else \
            f"{width} {value}, ptr {at}, align 1"
        f.do(f"store {kind}")
    elif op == "cmpxchg":
        expected, value = _cut(f, f.value(0), size), _cut(f, f.value(insn.src), size)
        pair = f.emit(f"cmpxchg ptr {at}, {width} {expected}, {width} {value} seq_cst seq_cst, align {size}")
        old, target = f.emit(f"extractvalue {{ {width}, i1 }} {pair}, 0"), 0
    else:
        name = "xchg" if op == "xchg" else _ATOMIC[op.rpartition("_")[2]]
        value = _cut(f, f.value(insn.src), size)
        old = f.emit(f"atomicrmw {name} ptr {at}, {width} {value} seq_cst, align {size}")
        target = insn.src if op == "xchg" or op.startswith("atomic_fetch_") else -1
    if done:
        f.do(f"br label %{done}")
        f.label(done)
        if target >= 0:
            old = f.emit(f"phi {width} [ {old}, %{fine} ], [ 0, %refused{slot} ]")
    if target >= 0:
        f.set(target, f.emit(f"zext {width} {old} to i64") if size < 8 else old)


def _probe(f: Function, slot: int, size: int, register: int) -> None:
    """An access that Python does, with all checks."""
    from ebpf.machine.native.lifter import Site

    insn, op = f.insns[slot], f.ops[slot]
    reads = op in ("ldx", "ldsx", "load_acquire")
    kinds = f.unit.verified.pointer_kinds[slot]
    site = f.unit.site(Site("probe", slot, number=kinds, size=size, write=not reads, name=op))
    address = f.add(f.value(register), str(insn.off))
    value = "0" if reads else _signed(insn.imm, 8) if op == "st" else f.value(insn.src)
    expected = f.value(0)
    f.do("store i64 1, ptr %run")
    result = f.emit(f"call i64 @upcall(i64 {site}, i64 {address}, i64 {value}, i64 {expected}, i64 0, i64 0)")
    f.check_failed()
    if reads:
        f.set(insn.dst, result)
    elif op == "cmpxchg":
        f.set(0, result)
    elif op == "xchg" or op.startswith("atomic_fetch_"):
        f.set(insn.src, result)


def _cut(f: Function, value: str, size: int) -> str:
    return value if size == 8 else f.emit(f"trunc i64 {value} to i{size * 8}")


def _signed(imm: int, size: int) -> str:
    low = imm & ((1 << size * 8) - 1)
    return str(low - (1 << size * 8) if low >> (size * 8 - 1) else low)
