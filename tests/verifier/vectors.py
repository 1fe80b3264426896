"""The kernel's verifier test vectors as values: code, maps, program type, the kernel's verdict.

They are GPL-2.0 and therefore not part of this project: they are read from where Debian's package linux-source-6.1 (or a kernel tree) puts
them: `EBPF_VERIFIER_VECTORS` names the directory ``tools/testing/selftests/bpf/verifier``, or the usual places are looked at.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ebpf.abi.contexts import DECLARATIONS
from ebpf.abi.helpers import HELPERS_BY_NAME
from ebpf.abi.programs import AttachType, ProgType
from ebpf.verifier.program import MapInfo, Reference

from .c_tables import Block, Call, read_blocks, string

_DIRECTORY = "tools/testing/selftests/bpf/verifier"


@cache
def directory() -> Path | None:
    """Where the vectors are, or ``None``. Debian's archive is unpacked (once: it takes a minute) into the user's cache."""
    named = os.environ.get("EBPF_VERIFIER_VECTORS")
    unpacked = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ebpf-vectors"
    candidates = (
        [Path(named)]
        if named
        else [
            *(p / _DIRECTORY for p in sorted(Path("/usr/src").glob("linux-source-6.1"))),
            Path("/usr/src/linux") / _DIRECTORY,
            unpacked / "linux-source-6.1" / _DIRECTORY,
        ]
    )
    archive = Path("/usr/src/linux-source-6.1.tar.xz")
    if not named and not any((c / "and.c").is_file() for c in candidates) and archive.exists():
        _unpack(archive, unpacked)
    return next((c for c in candidates if (c / "and.c").is_file()), None)


def _unpack(archive: Path, where: Path) -> None:
    """One directory of the archive; complete or not there at all."""
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=where.parent) as fresh:
            subprocess.run(["tar", "-xJf", archive, "-C", fresh, f"linux-source-6.1/{_DIRECTORY}"], check=True, capture_output=True)
            os.rename(fresh, where)
            os.mkdir(fresh)  # for the context manager to remove
    except (OSError, subprocess.CalledProcessError):
        return  # no tar, no xz, no home, or another process was first


class Vector(NamedTuple):
    """One case. ``code`` are its instructions (bytes), ``references`` its maps by slot, ``accepted`` the kernel's verdict as root."""

    file: str
    name: str
    code: bytes
    type: int
    attach_type: int
    attach_to: str
    references: dict[int, Reference]
    kfuncs: dict[int, str]
    flags: int
    accepted: bool
    reason: str

    @property
    def id(self) -> str:
        return f"{self.file}: {self.name}"


# Maps by the names that the vectors' fix-up tables use: (type, key size, value size, entries, flags, special fields of the value)
_KPTR = ("kptr", 8, "ref_kfunc")
_MAPS: dict[str, MapInfo] = {
    "hash_8b": MapInfo("hash_8b", 1, 8, 8, 1),
    "hash_48b": MapInfo("hash_48b", 1, 8, 48, 1),
    "hash_16b": MapInfo("hash_16b", 1, 8, 16, 1),
    "array_48b": MapInfo("array_48b", 2, 4, 48, 1),
    "sockmap": MapInfo("sockmap", 15, 4, 4, 1),
    "sockhash": MapInfo("sockhash", 18, 4, 4, 1),
    "xskmap": MapInfo("xskmap", 17, 4, 4, 1),
    "stacktrace": MapInfo("stacktrace", 7, 4, 8, 1),
    "prog1": MapInfo("prog1", 3, 4, 4, 4),
    "prog2": MapInfo("prog2", 3, 4, 4, 8),
    "in_map": MapInfo("in_map", 12, 4, 4, 1, inner=MapInfo("inner", 2, 4, 4, 1)),
    "cgroup_storage": MapInfo("cgroup_storage", 19, 16, 64, 0),
    "percpu_cgroup_storage": MapInfo("percpu_cgroup_storage", 21, 16, 64, 0),
    "spin_lock": MapInfo("spin_lock", 2, 4, 8, 1, fields={4: ("lock", 4, None)}),
    "array_ro": MapInfo("array_ro", 2, 4, 48, 1, 1 << 7),
    "array_wo": MapInfo("array_wo", 2, 4, 48, 1, 1 << 8),
    "array_small": MapInfo("array_small", 2, 4, 1, 1),
    "sk_storage_map": MapInfo("sk_storage", 24, 4, 8, 0, fields={4: ("lock", 4, None)}),
    "event_output": MapInfo("event_output", 4, 4, 4, 0),
    "reuseport_array": MapInfo("reuseport_array", 20, 4, 8, 1),
    "ringbuf": MapInfo("ringbuf", 27, 0, 0, 4096),
    "timer": MapInfo("timer", 2, 4, 16, 1, fields={0: ("timer", 16, None)}),
    "kptr": MapInfo(
        "kptr",
        2,
        4,
        24,
        1,
        fields={
            0: ("kptr", 8, None),
            8: ("kptr_ref", 8, "prog_test_ref_kfunc"),
            16: ("kptr_ref", 8, "prog_test_member"),
        },
    ),
}

_OPERATIONS = {
    "ADD": 0x00,
    "SUB": 0x10,
    "MUL": 0x20,
    "DIV": 0x30,
    "OR": 0x40,
    "AND": 0x50,
    "LSH": 0x60,
    "RSH": 0x70,
    "NEG": 0x80,
    "MOD": 0x90,
    "XOR": 0xA0,
    "MOV": 0xB0,
    "ARSH": 0xC0,
    "END": 0xD0,
    "JA": 0x00,
    "JEQ": 0x10,
    "JGT": 0x20,
    "JGE": 0x30,
    "JSET": 0x40,
    "JNE": 0x50,
    "JSGT": 0x60,
    "JSGE": 0x70,
    "CALL": 0x80,
    "EXIT": 0x90,
    "JLT": 0xA0,
    "JLE": 0xB0,
    "JSLT": 0xC0,
    "JSLE": 0xD0,
    "W": 0x00,
    "H": 0x08,
    "B": 0x10,
    "DW": 0x18,
    "IMM": 0x00,
    "ABS": 0x20,
    "IND": 0x40,
    "MEM": 0x60,
    "ATOMIC": 0xC0,
    "XADD": 0xC0,
    "LD": 0,
    "LDX": 1,
    "ST": 2,
    "STX": 3,
    "ALU": 4,
    "JMP": 5,
    "JMP32": 6,
    "ALU64": 7,
    "K": 0,
    "X": 8,
    "FETCH": 1,
    "XCHG": 0xE1,
    "CMPXCHG": 0xF1,
    "TO_LE": 0,
    "TO_BE": 8,
    "PSEUDO_MAP_FD": 1,
    "PSEUDO_MAP_VALUE": 2,
    "PSEUDO_FUNC": 4,
    "PSEUDO_CALL": 1,
    "PSEUDO_KFUNC_CALL": 2,
    "PSEUDO_MAP_IDX": 5,
    "PSEUDO_MAP_IDX_VALUE": 6,
    "FUNC_loop": 181,
    "F_CURRENT_NETNS": -1,
    "SK_LOOKUP_F_REPLACE": 1,
    "SK_LOOKUP_F_NO_REUSEPORT": 2,
    "MAX_VAR_SIZ": 1 << 29,
    "MAX_VAR_OFF": 1 << 29,
}
_NAMES = {
    **{f"BPF_{k}": v for k, v in _OPERATIONS.items()},
    **{f"BPF_REG_{i}": i for i in range(11)},
    "BPF_REG_AX": 11,
    "BPF_REG_FP": 10,
    **{f"BPF_REG_ARG{i}": i for i in range(1, 6)},
    "INT_MIN": -(1 << 31),
    "INT_MAX": (1 << 31) - 1,
    "UINT_MAX": (1 << 32) - 1,
    "LLONG_MIN": -(1 << 63),
    "S64_MIN": -(1 << 63),
    "S32_MIN": -(1 << 31),
    "U32_MAX": (1 << 32) - 1,
    "MAX_ENTRIES": 11,
    "TEST_DATA_LEN": 64,
    "POINTER_VALUE": 0xCAFE4A11,
    "EINVAL": 22,
    "BPF_MAX_TRAMP_LINKS": 38,
    "BPF_F_SLEEPABLE": 16,
    "BPF_FROM_BE": 8,
    "BPF_FROM_LE": 0,
    "SHRT_MAX": 32767,
    "SHRT_MIN": -32768,
    "UINT32_MAX": (1 << 32) - 1,
    "MAIN_TYPE": 6,
    "CALLBACK_TYPE": 7,
    "EFAULT": 14,
    "ENOENT": 2,
    "SK_DROP": 0,
    "SK_PASS": 1,
    "XDP_PASS": 2,
    "BPF_F_TEST_STATE_FREQ": 8,
    "BPF_F_ANY_ALIGNMENT": 2,
    "BPF_F_TEST_RND_HI32": 4,
    "BPF_F_STRICT_ALIGNMENT": 1,
    "F_LOAD_WITH_STRICT_ALIGNMENT": 2,
    "F_NEEDS_EFFICIENT_UNALIGNED_ACCESS": 1,
    "BPF_F_NO_PREALLOC": 1,
    "BPF_F_RDONLY_PROG": 128,
    "BPF_F_CURRENT_CPU": 0xFFFFFFFF,
    "BPF_LOCAL_STORAGE_GET_F_CREATE": 1,
    "BPF_SK_STORAGE_GET_F_CREATE": 1,
    "false": 0,
    "true": 1,
}
_TEST_STRUCTS = {
    "test_val": "struct test_val { unsigned int index; int foo[11]; };",
    "other_val": "struct other_val { long long foo; long long bar; };",
    "bpf_xdp_sock": "struct bpf_xdp_sock { __u32 queue_id; };",
    "bpf_sock_tuple": "struct bpf_sock_tuple { __u32 all[9]; };",
    "bpf_perf_event_data": "struct bpf_perf_event_data { __u64 regs[21]; __u64 sample_period; __u64 addr; };",
}
_SIZES = {
    "__u8": 1,
    "__u16": 2,
    "__be16": 2,
    "__u32": 4,
    "__s32": 4,
    "__be32": 4,
    "__u64": 8,
    "int": 4,
    "long": 8,
    "char": 1,
    "short": 2,
}


@cache
def _layout(struct_name: str) -> dict[str, tuple[int, int, int]]:
    """Member → (offset, element size, whole size) of a flat struct; "" is the struct itself."""
    text = _TEST_STRUCTS.get(struct_name) or DECLARATIONS[struct_name]
    body = re.sub(r"/\*.*?\*/|//[^\n]*", "", text[text.index("{") + 1 : text.rindex("}")], flags=re.S)
    while "union" in body:  # of a union its first member
        body = re.sub(r"union\s*\{\s*([^;{}]*?);[^{}]*\}", r"\1", body)
    at, out = 0, {}
    for row in body.split(";"):
        words = row.replace("*", " * ").split()
        if not words:
            continue
        m = re.match(r"(\w*)(?:\[(\d+)\])?$", words[-1])
        assert m, row
        is_pointer = "*" in words
        size = (
            8
            if is_pointer
            else 8
            if words[:2] == ["long", "long"]
            else _SIZES[[w for w in words[:-1] if w in _SIZES][0]]
        )
        at = (at + size - 1) // size * size
        whole = size * int(m[2] or 1)
        out[m[1]] = (at, size, whole)
        at += whole
    out[""] = (0, 1, (at + 7) // 8 * 8 if any(s == 8 for _, s, _ in out.values()) else at)
    return out


def evaluate(tokens: list[str]) -> int:
    """A constant expression."""
    out: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token in ("offsetof", "offsetofend", "sizeof"):
            depth, end = 0, at + 1
            while True:
                depth += (tokens[end] == "(") - (tokens[end] == ")")
                end += 1
                if not depth:
                    break
            out.append(str(_place(token, tokens[at + 2 : end - 1])))
            at = end
            continue
        if (
            token == "("
            and at + 2 < len(tokens)
            and tokens[at + 2] == ")"
            and re.fullmatch(r"__[us]\d+|int|uint32_t|[su]\d+|__be\d+", tokens[at + 1])
        ):
            at += 3  # a cast: results are cut to their field's width anyway
            continue
        if re.match(r"\d", token):
            out.append(
                str(int(re.sub(r"[uUlL]+$", "", token), 0))
                if not re.fullmatch(r"0[0-7]+", token)
                else str(int(token, 8))
            )
        elif re.match(r"[A-Za-z_]", token):
            out.append(str(_name(token)))
        elif token == "/":
            out.append("//")
        else:
            out.append(token)
        at += 1
    return int(eval(" ".join(out)))


def _name(token: str) -> int:
    if token in _NAMES:
        return _NAMES[token]
    if token.startswith("BPF_FUNC_"):
        return HELPERS_BY_NAME["bpf_" + token[9:]].id
    if token.startswith("BPF_PROG_TYPE_"):
        return int(getattr(ProgType, token[14:]))
    found = AttachType.named(token)
    if found is None:
        raise KeyError(token)
    return int(found)


def _place(what: str, tokens: list[str]) -> int:
    if what == "sizeof":
        if tokens[0] != "struct":
            return _SIZES[tokens[-1]]
        return 36 if tokens[1] == "bpf_sock_tuple" else _layout(tokens[1])[""][2]
    struct_name, member = tokens[1], tokens[3]
    at, size, whole = _layout(struct_name)[member]
    if "[" in tokens:
        at += size * evaluate(tokens[tokens.index("[") + 1 : tokens.index("]")])
    return at + whole if what == "offsetofend" else at


def _insn(code: int, dst: int, src: int, off: int, imm: int) -> bytes:
    return struct.pack("<BBHI", code & 0xFF, (dst & 15) | (src & 15) << 4, off & 0xFFFF, imm & 0xFFFFFFFF)


def _wide(dst: int, src: int, low: int, high: int, off: int = 0, off2: int = 0) -> bytes:
    return _insn(0x18, dst, src, off, low) + _insn(0, 0, 0, off2, high)


def encode(item: object) -> bytes:
    """The bytes of one instruction macro (some stand for several instructions)."""
    if isinstance(item, Block):
        m = {k: evaluate(v) for k, v in item.members.items()}  # type: ignore[arg-type]
        return _insn(m.get("code", 0), m.get("dst_reg", 0), m.get("src_reg", 0), m.get("off", 0), m.get("imm", 0))
    if isinstance(item, list) and item and item[0] in ("BPF_DIRECT_PKT_R2", "BPF_RAND_UEXT_R7", "BPF_RAND_SEXT_R7"):
        return _SEQUENCES[item[0]]()
    assert isinstance(item, Call), item
    name = item.name
    if name == "BPF_SK_LOOKUP":
        return _sk_lookup(item.args[0][0])
    if name == "BPF_EMIT_CALL":
        return _insn(0x85, 0, 0, 0, evaluate(item.args[0]))
    a = [evaluate(t) for t in item.args]
    if name == "BPF_EXIT_INSN":
        return _insn(0x95, 0, 0, 0, 0)
    if name == "BPF_RAW_INSN":
        return _insn(*a)
    if name == "BPF_LD_IMM64":
        return _wide(a[0], 0, a[1], a[1] >> 32)
    if name == "BPF_LD_IMM64_RAW_FULL":
        return _wide(a[0], a[1], a[4], a[5], a[2], a[3])
    if name == "BPF_LD_MAP_FD":
        return _wide(a[0], 1, a[1], 0)
    if name == "BPF_LD_MAP_VALUE":
        return _wide(a[0], 2, a[1], a[2])
    if name in ("BPF_LDX_MEM", "BPF_STX_MEM"):
        return _insn((0x61 if name == "BPF_LDX_MEM" else 0x63) | a[0], a[1], a[2], a[3], 0)
    if name == "BPF_ST_MEM":
        return _insn(0x62 | a[0], a[1], 0, a[2], a[3])
    if name == "BPF_ATOMIC_OP":
        return _insn(0xC3 | a[0], a[2], a[3], a[4], a[1])
    if name == "BPF_JMP_A":
        return _insn(0x05, 0, 0, a[0], 0)
    if name == "BPF_CALL_REL":
        return _insn(0x85, 0, 1, 0, a[0])
    if name == "BPF_LD_ABS":
        return _insn(0x20 | a[0], 0, 0, 0, a[1])
    if name == "BPF_LD_IND":
        return _insn(0x40 | a[0], 0, a[1], 0, a[2])
    if name == "BPF_ENDIAN":
        return _insn(0xD4 | a[0], a[1], 0, 0, a[2])
    m = re.fullmatch(r"BPF_(MOV|ALU|JMP)(64|32)?_(REG|IMM)", name)
    assert m, name
    cls = {"MOV64": 7, "MOV32": 4, "ALU64": 7, "ALU32": 4, "JMP": 5, "JMP32": 6}[m[1] + (m[2] or "")]
    x = 8 if m[3] == "REG" else 0
    if m[1] == "MOV":
        return _insn(cls | 0xB0 | x, a[0], a[1] if x else 0, 0, 0 if x else a[1])
    off = a[3] if m[1] == "JMP" else 0
    return _insn(cls | a[0] | x, a[1], a[2] if x else 0, off, 0 if x else a[2])


def _sk_lookup(helper: str) -> bytes:
    return (
        _insn(0xB7, 2, 0, 0, 0)
        + _insn(0x63, 10, 2, -8, 0)
        + b"".join(_insn(0x7B, 10, 2, o, 0) for o in (-16, -24, -32, -40, -48))
        + _insn(0xBF, 2, 10, 0, 0)
        + _insn(0x07, 2, 0, 0, -48)
        + _insn(0xB7, 3, 0, 0, 36)
        + _insn(0xB7, 4, 0, 0, 0)
        + _insn(0xB7, 5, 0, 0, 0)
        + _insn(0x85, 0, 0, 0, HELPERS_BY_NAME["bpf_" + helper].id)
    )


def _direct_packet() -> bytes:
    return (
        _insn(0xB7, 0, 0, 0, 0)
        + _insn(0x61, 2, 1, 76, 0)
        + _insn(0x61, 3, 1, 80, 0)
        + _insn(0xBF, 4, 2, 0, 0)
        + _insn(0x07, 4, 0, 0, 8)
        + _insn(0xBD, 4, 3, 1, 0)
        + _insn(0x95, 0, 0, 0, 0)
    )


def _random(negative: bool) -> bytes:
    head = _insn(0x85, 0, 0, 0, 7) + _insn(0xBF, 7, 0, 0, 0)
    if negative:
        return head + _insn(0x47, 7, 0, 0, 0x80000000) + _insn(0x67, 7, 0, 0, 32) + _insn(0xC7, 7, 0, 0, 32)
    return head + _insn(0x67, 7, 0, 0, 33) + _insn(0x77, 7, 0, 0, 33)


_SEQUENCES = {
    "BPF_DIRECT_PKT_R2": _direct_packet,
    "BPF_RAND_UEXT_R7": lambda: _random(False),
    "BPF_RAND_SEXT_R7": lambda: _random(True),
}


def iter_vectors(where: Path) -> Iterator[Vector]:
    """Every case that is written out in the files (13 of about 1310 are made by C functions instead)."""
    for path in sorted(where.glob("*.c")):
        for block in read_blocks(path.read_text()):
            vector = _vector(path.name, block)
            if vector is not None:
                yield vector


def _vector(file: str, block: Block) -> Vector | None:
    members = block.members
    if "insns" not in members or "fill_helper" in members:
        return None
    insns = members["insns"]
    assert isinstance(insns, Block)
    code = b"".join(encode(i) for i in insns.items)
    while len(code) > 8 and code[-8] == 0 and code[-4:] == b"\0\0\0\0":
        code = code[:-8]
    references: dict[int, Reference] = {}
    kfuncs: dict[int, str] = {}
    for key, value in members.items():
        if key == "fixup_kfunc_btf_id":
            assert isinstance(value, Block)
            for pair in value.items:
                assert isinstance(pair, Block)
                kfuncs[evaluate(pair.items[1])] = string(pair.items[0])  # type: ignore[arg-type]
        elif key.startswith("fixup_"):
            assert isinstance(value, Block)
            info = _MAPS[key.removeprefix("fixup_map_").removeprefix("fixup_")]
            for at in (evaluate(i) for i in value.items):  # type: ignore[arg-type]
                off = struct.unpack_from("<I", code, at * 8 + 12)[0] if len(code) >= at * 8 + 16 else 0
                src = code[at * 8 + 1] >> 4 if len(code) > at * 8 + 1 else 0
                references[at] = Reference("value", info, off) if src == 2 else Reference("map", info)
    number = {k: evaluate(members[k]) for k in ("prog_type", "expected_attach_type") if k in members}  # type: ignore[arg-type]
    flags = evaluate(members["flags"]) if "flags" in members else 0  # type: ignore[arg-type]
    result = members.get("result", ["REJECT"])
    reason = string(members["errstr"]) if "errstr" in members else ""
    attach_to = string(members["kfunc"]) if "kfunc" in members else ""
    name = string(block.items[0])
    return Vector(
        file,
        name,
        code,
        number.get("prog_type", 0) or 1,
        number.get("expected_attach_type", 0),
        attach_to,
        references,
        kfuncs,
        flags,
        result[0] in ("ACCEPT", "VERBOSE_ACCEPT"),
        reason,
    )  # type: ignore[index]
