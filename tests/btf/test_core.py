"""CO-RE: every relocation kind, libbpf's matching rules, and its patches of real objects as the witness."""

from __future__ import annotations

import re
import struct
import time
from typing import TYPE_CHECKING

import pytest

from ebpf.btf import Btf, BtfExt, BtfSet, Builder, CoreKind as K, CoreRelo, CoreResult, relocate, types as T
from ebpf.btf.core import POISON_IMM
from ebpf.btf.match import essential_name
from ebpf.errors import RelocationError
from tests.btf.witness import bpftool, compile_bpf, vmlinux

if TYPE_CHECKING:
    from pathlib import Path

    from ebpf.btf.types import Member


@pytest.mark.parametrize(("name", "essential"), [
    ("task_struct", "task_struct"), ("task_struct___old", "task_struct"), ("a___b___c", "a___b"), ("___x", "___x"),
    ("x___", "x___"), ("x____y", "x____y"), ("a__b", "a__b"), ("x___1", "x"),
])
def test_flavours(name: str, essential: str) -> None:
    assert essential_name(name) == essential


class World:
    """Basic types, then whatever a test adds."""

    def __init__(self) -> None:
        self.b = b = Builder()
        self.int = b.add_int("int", 4, signed=True)
        self.u8 = b.add_int("u8", 1)
        self.u32 = b.add_int("unsigned int", 4)
        self.u64 = b.add_int("unsigned long", 8)
        self.pointer = b.add_ptr(0)

    def struct(self, name: str, size: int, *members: tuple[str, int, int] | tuple[str, int, int, int]) -> int:
        """Members are (name, type, byte offset) or (name, type, bit offset, bits)."""
        entries: list[Member] = [T.Member(m[0], m[1], m[2], m[3]) if len(m) == 4 else T.Member(m[0], m[1], 8 * m[2])
                                 for m in members]
        return self.b.add_struct(name, size, entries)


def mov(value: int) -> bytes:
    return struct.pack("<BBhi", 0xB7, 1, 0, value)


def wide(value: int) -> bytes:
    return struct.pack("<BBhIBBhI", 0x18, 1, 0, value & 0xFFFFFFFF, 0, 0, 0, value >> 32)


def load(size: int, offset: int) -> bytes:
    return struct.pack("<BBhi", 0x61 | {4: 0, 2: 8, 1: 0x10, 8: 0x18}[size], 0x21, offset, 0)


def one(local: World, target: World, type: int, access: str, kind: K, code: bytes) -> tuple[bytes, CoreResult]:
    out, (result,) = relocate(code, [CoreRelo(0, type, access, kind)], local.b.build(), [target.b.build()])
    assert len(out) == len(code)
    return out, result


def worlds() -> tuple[World, World, int]:
    """A program's idea of ``struct task`` and the kernel's: moved, wrapped and widened."""
    local, target = World(), World()
    mine = local.struct("task___mine", 48, ("pid", local.int, 0), ("comm", local.b.add_array(local.u8, 16, local.u32), 4),
                        ("start", local.u32, 20), ("mm", local.pointer, 24), ("flag", local.u32, 256, 1),
                        ("gone", local.int, 36), ("level", local.int, 320, 3))
    inner = target.struct("", 16, ("start", target.u64, 0), ("mm", target.pointer, 8))
    target.struct("task", 64, ("state", target.u64, 0), ("comm", target.b.add_array(target.u8, 16, target.u32), 8),
                  ("", inner, 24), ("pid", target.int, 40), ("flag", target.u8, 357, 1), ("level", target.int, 360, 3))
    return local, target, mine


@pytest.mark.parametrize(("access", "kind", "code", "expected"), [
    ("0:0", K.FIELD_BYTE_OFFSET, mov(0), mov(40)),
    ("0:0", K.FIELD_BYTE_OFFSET, load(4, 0), load(4, 40)),
    ("0:1", K.FIELD_BYTE_OFFSET, mov(4), mov(8)),
    ("0:1:3", K.FIELD_BYTE_OFFSET, load(1, 7), load(1, 11)),
    ("0:1:3", K.FIELD_BYTE_SIZE, mov(1), mov(1)),
    ("0:2", K.FIELD_BYTE_OFFSET, load(4, 20), load(8, 24)),
    ("0:2", K.FIELD_BYTE_SIZE, mov(4), mov(8)),
    ("0:3", K.FIELD_BYTE_OFFSET, load(8, 24), load(8, 32)),
    ("1:0", K.FIELD_BYTE_OFFSET, mov(48), mov(104)),
    ("0:0", K.FIELD_SIGNED, mov(1), mov(1)),
    ("0:2", K.FIELD_RSHIFT_U64, mov(32), mov(0)),
    ("0:4", K.FIELD_BYTE_OFFSET, mov(32), mov(44)),
    ("0:4", K.FIELD_LSHIFT_U64, mov(63), mov(58)),
    ("0:4", K.FIELD_RSHIFT_U64, mov(63), mov(63)),
    ("0:6", K.FIELD_LSHIFT_U64, mov(61), mov(53)),
    ("0:6", K.FIELD_SIGNED, mov(1), mov(1)),
    ("0:0", K.FIELD_EXISTS, mov(1), mov(1)),
    ("0:5", K.FIELD_EXISTS, mov(1), mov(0)),
    ("0", K.TYPE_EXISTS, mov(1), mov(1)),
    ("0", K.TYPE_SIZE, mov(48), mov(64)),
    ("0", K.TYPE_MATCHES, mov(1), mov(0)),
    ("0", K.TYPE_ID_TARGET, wide(7), wide(8)),
    ("0", K.TYPE_ID_LOCAL, wide(7), wide(7)),
])
def test_kinds(access: str, kind: K, code: bytes, expected: bytes) -> None:
    local, target, mine = worlds()
    out, result = one(local, target, mine, access, kind, code)
    assert out == expected, result
    assert not result.poisoned


@pytest.mark.parametrize(("kind", "value"), [(K.TYPE_EXISTS, 0), (K.TYPE_SIZE, 0), (K.TYPE_ID_TARGET, 0),
                                             (K.TYPE_MATCHES, 0)])
def test_types_that_are_not_there_answer_zero(kind: K, value: int) -> None:
    local = World()
    id = local.struct("missing", 4, ("a", local.int, 0))
    old = {K.TYPE_SIZE: 4, K.TYPE_ID_TARGET: id}.get(kind, 1)
    out, result = one(local, World(), id, "0", kind, mov(old))
    assert out == mov(value) and result.problem is None


@pytest.mark.parametrize("code", [load(4, 36), mov(36), wide(36)])
def test_what_is_missing_poisons(code: bytes) -> None:
    local, target, mine = worlds()
    out, result = one(local, target, mine, "0:5", K.FIELD_BYTE_OFFSET, code)
    assert out == struct.pack("<BBhi", 0x85, 0, 0, POISON_IMM) * (len(code) // 8)
    assert result.poisoned and result.problem == "struct task___mine.gone is not in the kernel's BTF"
    assert result.what == "offset of struct task___mine.gone"


def test_missing_type_is_named() -> None:
    local = World()
    id = local.struct("nowhere___v2", 4, ("a", local.int, 0))
    _, result = one(local, World(), id, "0:0", K.FIELD_BYTE_OFFSET, mov(0))
    assert result.problem is not None and "no type called 'nowhere'" in result.problem


def test_enumerators() -> None:
    local, target = World(), World()
    enum = local.b.add_enum("e", [("A", 1), ("B___old", 2), ("C", 3)])
    target.b.add_enum("e", [("B", 1 << 33), ("A", -5)])
    code = wide(1)
    assert one(local, target, enum, "0", K.ENUMVAL_VALUE, code)[0] == wide((1 << 64) - 5)
    assert one(local, target, enum, "1", K.ENUMVAL_VALUE, wide(2))[0] == wide(1 << 33)
    assert one(local, target, enum, "2", K.ENUMVAL_EXISTS, mov(1))[0] == mov(0)
    assert one(local, target, enum, "1", K.ENUMVAL_EXISTS, mov(1))[0] == mov(1)
    assert one(local, target, enum, "2", K.ENUMVAL_VALUE, wide(3))[1].poisoned


def test_flexible_arrays_and_last_elements() -> None:
    local, target = World(), World()
    mine = local.struct("s", 8, ("n", local.u32, 0), ("data", local.b.add_array(local.u32, 1, local.u32), 4))
    target.struct("s", 8, ("k", target.u64, 0), ("data", target.b.add_array(target.u32, 0, target.u32), 8))
    assert one(local, target, mine, "0:1:5", K.FIELD_BYTE_OFFSET, mov(24))[0] == mov(28)
    inside = local.struct("t", 8, ("data", local.b.add_array(local.u32, 1, local.u32), 0), ("n", local.u32, 4))
    with pytest.raises(RelocationError, match="element 5 of an array of 1"):
        one(local, target, inside, "0:0:5", K.FIELD_BYTE_OFFSET, mov(20))


def test_array_too_short_in_target() -> None:
    local, target = World(), World()
    mine = local.struct("s", 40, ("a", local.b.add_array(local.u32, 9, local.u32), 0), ("n", local.u32, 36))
    target.struct("s", 12, ("a", target.b.add_array(target.u32, 2, target.u32), 0), ("n", target.u32, 8))
    assert one(local, target, mine, "0:0:5", K.FIELD_BYTE_OFFSET, mov(20))[1].poisoned
    assert one(local, target, mine, "0:0:1", K.FIELD_BYTE_OFFSET, mov(4))[0] == mov(4)


def test_incompatible_fields_do_not_match() -> None:
    local, target = World(), World()
    mine = local.struct("s", 8, ("a", local.u32, 0))
    target.struct("s", 8, ("a", target.pointer, 0))
    assert one(local, target, mine, "0:0", K.FIELD_EXISTS, mov(1))[0] == mov(0)


def test_ambiguity_is_an_error() -> None:
    local, target = World(), World()
    mine = local.struct("s", 4, ("a", local.u32, 0))
    target.struct("s", 8, ("a", target.u32, 4))
    target.struct("s", 16, ("a", target.u32, 4), ("b", target.u32, 8))
    assert one(local, target, mine, "0:0", K.FIELD_BYTE_OFFSET, mov(0))[0] == mov(4), "two that agree are fine"
    target.struct("s", 16, ("a", target.u32, 12))
    with pytest.raises(RelocationError, match="ambiguous"):
        one(local, target, mine, "0:0", K.FIELD_BYTE_OFFSET, mov(0))


def test_candidates_narrow_down() -> None:
    """A field that only one of two namesakes has decides for the fields after it."""
    local, target = World(), World()
    mine = local.struct("s", 8, ("only", local.u32, 0), ("a", local.u32, 4))
    target.struct("s", 8, ("a", target.u32, 0))
    target.struct("s", 8, ("a", target.u32, 4), ("only", target.u32, 0))
    relos = [CoreRelo(0, mine, "0:0", K.FIELD_BYTE_OFFSET), CoreRelo(8, mine, "0:1", K.FIELD_BYTE_OFFSET)]
    out, _ = relocate(mov(0) + mov(4), relos, local.b.build(), [target.b.build()])
    assert out == mov(0) + mov(4)


def test_modules_are_asked_when_vmlinux_does_not_know() -> None:
    local, target, mine = worlds()
    other = local.struct("nfs", 4, ("a", local.u32, 0))
    kernel = target.b.build()
    b = Builder(base=kernel)
    nfs = b.add_struct("nfs", 8, [T.Member("a", target.u32, 32)])
    module = b.build()
    opened: list[str] = []

    def open_module(name: str, base: Btf) -> Btf:
        opened.append(name)
        return module

    kernels = BtfSet(kernel, ["nfs"], open_module)
    built = local.b.build()
    relocate(mov(0), [CoreRelo(0, mine, "0:0", K.FIELD_BYTE_OFFSET)], built, kernels)
    assert not opened
    out, (result,) = relocate(mov(0), [CoreRelo(0, other, "0:0", K.FIELD_BYTE_OFFSET)], built, kernels)
    assert out == mov(4) and (result.target, result.target_type) == (1, nfs)


def test_matching_types() -> None:
    local, target = World(), World()
    mine = local.struct("s", 8, ("a", local.u32, 0), ("p", local.pointer, 8))
    target.struct("s", 24, ("p", target.pointer, 0), ("b", target.u64, 8), ("a", target.u32, 16))
    assert one(local, target, mine, "0", K.TYPE_MATCHES, mov(1))[0] == mov(1)
    signed = local.struct("s", 8, ("a", local.int, 0))
    assert one(local, target, signed, "0", K.TYPE_MATCHES, mov(1))[0] == mov(0)
    enum = local.b.add_enum("e", [("A", 1)])
    target.b.add_enum("e", [("B", 1), ("A", 2)])
    assert one(local, target, enum, "0", K.TYPE_MATCHES, mov(1))[0] == mov(1)


@pytest.mark.parametrize(("access", "kind", "code", "message"), [
    ("0:0", K.FIELD_BYTE_OFFSET, mov(4), "contains 4, but by the program's own types it should be 0"),
    ("0:0", K.FIELD_BYTE_OFFSET, struct.pack("<BBhi", 0xBF, 0x21, 0, 0), "takes a register"),
    ("0:0", K.FIELD_BYTE_OFFSET, struct.pack("<BBhi", 0x95, 0, 0, 0), "no place"),
    ("0:0", K.FIELD_BYTE_OFFSET, load(4, 0)[:7], "outside"),
    ("0:99", K.FIELD_BYTE_OFFSET, mov(0), "member 99"),
    ("0:0:1", K.FIELD_BYTE_OFFSET, mov(0), "which has no parts"),
    ("0:x", K.FIELD_BYTE_OFFSET, mov(0), "not a list of numbers"),
    ("", K.FIELD_BYTE_OFFSET, mov(0), "not a list of numbers"),
    ("0:1", K.TYPE_EXISTS, mov(0), "should be one number"),
    ("0", 99, mov(0), "kind 99 is unknown"),
    ("0:1:2", K.FIELD_SIGNED, mov(0), "no signedness"),
    ("0", K.ENUMVAL_VALUE, mov(0), "no enumerator"),
])
def test_errors(access: str, kind: K, code: bytes, message: str) -> None:
    local, target, mine = worlds()
    with pytest.raises(RelocationError, match=re.escape(message)):
        one(local, target, mine, access, kind, code)


def test_signed_fields_cannot_change_their_width() -> None:
    local, target = World(), World()
    mine = local.struct("s", 8, ("a", local.int, 0))
    target.struct("s", 8, ("a", target.b.add_int("long", 8, signed=True), 0))
    with pytest.raises(RelocationError, match="reads 4 bytes, but the field has 8"):
        one(local, target, mine, "0:0", K.FIELD_BYTE_OFFSET, load(4, 0))


SOURCE = """
#define PAI __attribute__((preserve_access_index))
typedef unsigned int u32; typedef unsigned long long u64; typedef unsigned char u8; typedef unsigned short u16;
struct list_head { struct list_head *next; } PAI;
struct mm_struct { int dummy; unsigned long arg_start; } PAI;
struct task_struct___my { int pid; struct task_struct___my *real_parent; char comm[16]; struct mm_struct *mm;
    u64 start_time; unsigned sched_reset_on_fork:1; unsigned in_execve:1; } PAI;
struct task_struct { int nonexistent; u32 flags; int tgid; struct list_head tasks; } PAI;
struct sk_buff { int dummy; u32 len; u8 pkt_type:3; u16 protocol; char cb[48];
    union { struct { u8 x1; u16 vlan_tci; }; }; u8 ip_summed:2; } PAI;
struct no_such_struct { int a; } PAI;
enum bpf_map_type { BPF_MAP_TYPE_ARRAY = 77, NOPE_XYZ = 9 };
typedef struct { int counter; } atomic_t___x;
#define FI(e, k) __builtin_preserve_field_info(e, k)
#define TI(t, k) __builtin_preserve_type_info(*(t *)0, k)
#define ID(t, k) __builtin_btf_type_id(*(t *)0, k)
#define EV(v, k) __builtin_preserve_enum_value(*(enum bpf_map_type *)v, k)
__attribute__((section("raw_tp/x"), used)) int prog(u64 *ctx)
{
    struct task_struct___my *t = (void *)ctx[0];
    struct task_struct *q = (void *)ctx[0];
    struct sk_buff *s = (void *)ctx[1];
    u64 r = (u64)&t->pid - (u64)t;
    r += FI(t->pid, 0) + FI(t->real_parent->comm[3], 0) * 3 + FI(t->comm, 1) * 5 + FI(t->mm->arg_start, 0) * 7;
    r += FI(t->start_time, 3) * 2 + FI(t->sched_reset_on_fork, 0) * 11 + FI(t->sched_reset_on_fork, 1) * 13;
    r += FI(t->sched_reset_on_fork, 4) * 17 + FI(t->sched_reset_on_fork, 5) * 19 + FI(t->sched_reset_on_fork, 2);
    r += FI(t->in_execve, 4) + FI(q->nonexistent, 2) + FI(q->flags, 2) + FI(q->tasks.next, 0);
    if (FI(q->nonexistent, 2))
        r += FI(q->nonexistent, 0);
    r += FI(s->len, 0) + FI(s->pkt_type, 4) * 23 + FI(s->protocol, 0) * 29 + FI(s->cb[5], 0) * 31;
    r += FI(s->vlan_tci, 0) * 37 + FI(s->ip_summed, 0) * 41 + FI(s->ip_summed, 4) * 43 + FI(s->ip_summed, 5) * 47;
    r += TI(struct no_such_struct, 0) * 53 + TI(struct task_struct, 0) * 59 + TI(struct task_struct, 1) * 61;
    r += TI(struct no_such_struct, 1) + ID(struct task_struct, 0) * 67 + ID(struct task_struct, 1) * 71;
    r += ID(struct no_such_struct, 1) + EV(BPF_MAP_TYPE_ARRAY, 1) * 73 + EV(BPF_MAP_TYPE_ARRAY, 0) * 79;
    r += EV(NOPE_XYZ, 0) * 83 + TI(atomic_t___x, 0) * 3 + TI(atomic_t___x, 1) * 5;
    if (ctx[3] == 77)
        r += ((struct task_struct *)ctx[4])->nonexistent;
    return r;
}
"""


@pytest.mark.kernel
def test_libbpf_patches_the_same(tmp_path: Path) -> None:
    """bpftool's debug output tells every patch of libbpf; the verifier then refuses the program, so nothing stays."""
    kernel = vmlinux()
    sections = compile_bpf(SOURCE, tmp_path)
    local = Btf.parse(sections[".BTF"])
    relos = BtfExt.parse(sections[".BTF.ext"], local).core_relos["raw_tp/x"]
    _, results = relocate(sections["raw_tp/x"], relos, local, [kernel])
    start = time.process_time()
    relocate(sections["raw_tp/x"], relos[:20], Btf.parse(sections[".BTF"]), [kernel])
    assert time.process_time() - start < 0.010, "20 relocations with a warm index"
    log = bpftool("-d", "prog", "load", sections[".path"].decode(), "/sys/fs/bpf/ebpf-test-never-pinned", errors=True)
    patched = {int(m[1]): m for m in re.finditer(r"relo #(\d+): patched insn #(\d+) .* (\d+) -> (\d+)", log)}
    poisoned = {int(m[1]) for m in re.finditer(r"relo #(\d+): substituting insn", log)}
    if not patched:
        pytest.skip("bpftool says nothing about relocations here (no privilege?)")
    assert len(results) == len(patched) + len(poisoned) > 30
    for n, result in enumerate(results):
        assert result.poisoned == (n in poisoned), result
        if not result.poisoned:
            at, new = map(int, patched[n].group(2, 4))  # group 3 is the compiler's idea, which nobody needs
            assert (result.relo.insn_off // 8, result.new) == (at, new), result
