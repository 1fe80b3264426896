"""The notation, held against independent witnesses: LLVM's assemblers and bpftool's view of a loaded program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ebpf import isa
from ebpf.isa.forms import FORMS, Form
from ebpf.object.elf import ElfImage
from tests.object.corpus import compiled

BITS = 0x12345678_00000029_FFF8_76_00  # dst 6, src 7, off -8, imm 41


def example(form: Form) -> isa.Insn:
    word = BITS & ~form.mask | form.match
    imm = 0 if form.op == "ld_ind" else word >> 32 & 0xFFFFFFFF  # LLVM writes no offset there
    off = word >> 16 & 0xFFFF
    if form.opcode == 0x18 and form.high:
        imm |= 0x12345678 << 32
    elif form.opcode != 0x18:
        imm -= imm >> 31 << 32
    return isa.Insn(form.opcode, word >> 8 & 15, word >> 12 & 15, off - (off >> 15 << 16), imm)


def llvm_spelling(insn: isa.Insn) -> str:
    """LLVM's assembler wants other words in a few places."""
    text = str(insn)
    if insn.opcode == 0x18:
        text += " ll"
    text = re.sub(r"(?:unknown|bpf_\w+)#(-?\d+)", r"\1", text)
    text = re.sub(r"goto(l?) pc", r"goto\1 ", text)
    text = re.sub(r"skb\[r(\d+) \+ 0\]", r"skb[r\1]", text)
    text = text.replace("atomic64_fetch", "atomic_fetch")
    text = re.sub(r"atomic(64)?_(cmp)?xchg\(\(u\d+ \*\)\((r\d+ [-+]\d+)\)",
                  lambda m: f"{m[2] or ''}xchg{'' if m[1] else '32'}_{m[1] or '32'}({m[3]}", text)
    narrow = "(u64" not in text
    if narrow and re.search("load_acquire|store_release|atomic|lock|32_32", text):
        text = re.sub(r"\br(\d+)(?! [-+]\d+[,)])", r"w\1", text)
    return text


@pytest.mark.parametrize("form", [f for f in FORMS if not f.internal], ids=lambda f: f"{f.opcode:02x} {f.template}")
def test_the_assembler_takes_llvms_spelling(form: Form) -> None:
    insn = example(form)
    assert isa.assemble(llvm_spelling(insn) if assembles(form) else str(insn)) == [insn]


def assembles(form: Form) -> bool:
    # What LLVM has no text for: packet loads, pseudo values, addr_space_cast, kernel functions.
    return not (form.internal or form.op in ("gotox", "addr_space_cast", "call_kfunc", "call_local")
                or form.opcode == 0x18 and form.match >> 12 & 15)


def _text_section(path: Path) -> bytes:
    return ElfImage.parse(path.read_bytes()).section(".text").data


@pytest.mark.skipif(not shutil.which("clang-14"), reason="clang-14 is not installed")
def test_every_v3_form_against_clang(tmp_path: Path) -> None:
    # LLVM 14 has no text for some instructions: those are compared by the newer assembler below.
    newer = ("6.6", "6.9", "6.15")
    rows = [f for f in FORMS if assembles(f) and f.since not in newer and "atomic" not in f.op and f.op not in
            ("callx", "xchg", "cmpxchg", "may_goto", "mod", "jset", "st")]
    _compare(rows, ["clang-14", "-target", "bpf", "-mcpu=v3"], tmp_path)


@pytest.mark.skipif(find_spec("ziglang") is None, reason="the ziglang wheel is not installed")
def test_every_form_against_a_recent_llvm(tmp_path: Path) -> None:
    rows = [f for f in FORMS if assembles(f)]
    _compare(rows, [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding-none", "-mcpu=v4"], tmp_path)


def _compare(rows: list[Form], command: list[str], tmp_path: Path) -> None:
    insns = [example(form) for form in rows]
    source = tmp_path / "a.s"
    source.write_text(".text\n" + "\n".join(map(llvm_spelling, insns)) + "\n")
    done = subprocess.run([*command, "-c", str(source), "-o", str(tmp_path / "a.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    theirs = isa.decode(_text_section(tmp_path / "a.o"))
    assert list(map(str, theirs)) == list(map(str, insns))
    assert theirs == insns


PROGRAM = """
struct { int (*type)[2]; int (*key_size)[4]; int (*value_size)[8]; int (*max_entries)[4]; } m
    __attribute__((section(".maps"), used));
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*ktime)(void) = (void *)5;
static __attribute__((noinline)) int twice(int x) { asm volatile("" : "+r"(x)); return x * 2; }
__attribute__((section("socket"), used)) int f(unsigned *ctx) {
    int k = 3; unsigned short h = ctx[0];
    long *v = lookup(&m, &k);
    if (v) { __sync_fetch_and_add(v, ktime()); *v = __builtin_bswap16(h) + -*v; *(short *)v = 7; }
    unsigned long d = v ? (unsigned long)*v / (h | 1) : 9;
    if ((int)d > 5 || (d & 64)) d ^= 0x123456789abcdefL;
    return twice((int)d >> 3);
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.mark.skipif(not (shutil.which("clang-14") and shutil.which("bpftool")), reason="needs clang-14 and bpftool")
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="loading a program needs root")
@pytest.mark.parametrize("cpu", ["v1", "v3"])
def test_a_loaded_program_reads_as_bpftool_prints_it(tmp_path: Path, cpu: str) -> None:
    (tmp_path / "p.c").write_text(PROGRAM)
    subprocess.run(["clang-14", "-target", "bpf", f"-mcpu={cpu}", "-O2", "-g", "-c", "p.c", "-o", "p.o"],
                   cwd=tmp_path, check=True)
    pin = f"/sys/fs/bpf/ebpf_isa_test_{os.getpid()}_{cpu}"
    loaded = subprocess.run(["bpftool", "prog", "load", "p.o", pin], cwd=tmp_path, capture_output=True, text=True)
    if loaded.returncode:
        pytest.skip(f"this kernel or user cannot load a socket filter: {loaded.stderr.strip().splitlines()[-1]}")
    try:
        text = subprocess.check_output(["bpftool", "prog", "dump", "xlated", "pinned", pin], text=True)
        subprocess.run(["bpftool", "prog", "dump", "xlated", "pinned", pin, "file", str(tmp_path / "raw")], check=True)
    finally:
        Path(pin).unlink()
    theirs = {int(m[1]): m[2] for m in re.finditer(r"^ *(\d+): \([0-9a-f]{2}\) (.*)$", text, re.MULTILINE)}
    code = (tmp_path / "raw").read_bytes()
    ours = {slot: line for slot, _, line in isa.disassemble(code, translated=True)}
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    for slot, line in ours.items():
        if line.startswith("call"):
            continue  # bpftool prints addresses and kernel symbols there, which are not in the bytes
        assert line == theirs[slot], slot



@pytest.mark.skipif(not shutil.which("llvm-objdump-14"), reason="llvm-objdump-14 is not installed")
@pytest.mark.parametrize("name", ["hello", "rich", "calls", "externs"])
def test_what_llvm_objdump_prints_assembles(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.o").write_bytes(compiled(name))
    text = subprocess.check_output(["llvm-objdump-14", "-d", "--no-show-raw-insn", "p.o"], cwd=tmp_path, text=True)
    image = ElfImage.parse(compiled(name))
    for part in text.split("Disassembly of section ")[1:]:
        section, _, body = part.partition(":\n")
        lines = [m[1] for m in re.finditer(r"^ +\d+:\t(.*)$", body, re.MULTILINE)]
        ours = isa.assemble("\n".join(lines))
        theirs = isa.decode(image.section(section).data)
        # LLVM prints a local call as it prints a helper's.
        assert ours == [isa.Insn(i.opcode, i.dst, 0, i.off, i.imm) if i.opcode == 0x85 else i for i in theirs]
