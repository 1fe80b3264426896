"""Decoding and encoding: every form, strictness, limits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings, strategies as st

from ebpf import isa
from ebpf.errors import CompileError, InsnError
from ebpf.isa.forms import BY_OPCODE, FORMS, Form
from ebpf.isa.insn import OP_LDDW

OURS = [form for form in FORMS if not form.internal]


def instance(form: Form, bits: int) -> bytes:
    """Bytes of the form with its free fields filled from ``bits``, registers kept to r0..r10."""
    word = (bits & ~form.mask) & 0xFFFFFFFFFFFF00FF | form.match & ~0xFF00
    dst, src = (bits >> 8 & 15) % 11, (bits >> 12 & 15) % 11
    regs = (dst | src << 4) << 8
    word |= regs & ~form.mask | form.match & 0xFF00
    raw = word.to_bytes(8, "little")
    if form.opcode == OP_LDDW:
        raw += bytes(4) + (bits >> 64 & 0xFFFFFFFF if form.high else 0).to_bytes(4, "little")
    return raw


forms = st.sampled_from(OURS)
words = st.integers(0, (1 << 96) - 1)
programs = st.lists(st.tuples(forms, words), max_size=30).map(lambda rows: b"".join(instance(f, w) for f, w in rows))


@settings(max_examples=300, deadline=None)
@given(programs)
def test_round_trips(code: bytes) -> None:
    insns = isa.decode(code)
    assert isa.encode(insns) == code
    listing = list(isa.disassemble(code))
    assert [insn for _, insn, _ in listing] == insns
    assert isa.encode(isa.assemble("\n".join(text for _, _, text in listing))) == code


@pytest.mark.parametrize("form", OURS, ids=lambda f: f"{f.opcode:02x} {f.template}")
def test_each_form_round_trips(form: Form) -> None:
    for bits in (0, (1 << 96) - 1, 0x123456789ABCDEF012345678, 0x8000_0000_8000_0000_8000_0000):
        code = instance(form, bits)
        (insn,) = isa.decode(code)
        assert isa.form_of(insn) is form
        assert isa.encode([insn]) == code
        assert isa.encode(isa.assemble(str(insn))) == code


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=8, max_size=64))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        insns = isa.decode(data)
    except InsnError as error:
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
    else:
        assert isa.encode(insns) == data


def test_forms_do_not_overlap() -> None:
    """Of the forms that a program may contain, at most one matches any word: order cannot matter."""
    for rows in BY_OPCODE:
        own = [(mask, match) for mask, match, form in rows if not form.internal]
        for i, (mask, match) in enumerate(own):
            for mask2, match2 in own[i + 1:]:
                assert (match ^ match2) & mask & mask2, hex(match)


def test_every_opcode_of_rfc_9669_is_there() -> None:
    # Appendix A of the RFC, by class: arithmetic, jumps, loads and stores.
    alu = {code | source | cls for code in range(0, 0xD0, 0x10) for source in (0, 8) for cls in (4, 7)} - {0x8C, 0x8F}
    ends = {0xD4, 0xDC, 0xD7}
    jumps = {code | source | cls for code in (*range(0x10, 0x80, 0x10), *range(0xA0, 0xE0, 0x10)) for source in (0, 8)
             for cls in (5, 6)} | {0x05, 0x06, 0x85, 0x95}
    memory = {0x18, 0x61, 0x69, 0x71, 0x79, 0x62, 0x6A, 0x72, 0x7A, 0x63, 0x6B, 0x73, 0x7B, 0x81,
              0x89, 0x91, 0xC3, 0xDB}
    packet = {0x20, 0x28, 0x30, 0x40, 0x48, 0x50}
    rfc = {form.opcode for form in FORMS if form.group != "linux"}
    assert rfc == alu | ends | jumps | memory | packet
    assert {f.group for f in FORMS} == {"base32", "base64", "divmul32", "divmul64", "atomic32", "atomic64", "packet",
                                       "linux"}


@pytest.mark.parametrize(("raw", "offset", "words_"), [
    ("b7000000010000", 0, "multiple of 8"),
    ("b700000001000000ff00000000000000", 8, "unknown opcode 0xff"),
    ("b710000001000000", 0, "unexpected src"),
    ("b700010001000000", 0, "unexpected off"),
    ("bf12000001000000", 0, "unexpected imm"),
    ("b70b000001000000", 0, "no register r11"),
    ("bfb1000000000000", 0, "no register r11"),
    ("9500000001000000", 0, "unexpected imm"),
    ("1800000000000000", 0, "second slot is missing"),
    ("18000000000000000100000000000000", 8, "second slot"),
    ("18110000000000000000000001000000", 0, "second immediate"),
    ("1870000000000000" + "00" * 8, 0, "unexpected src"),
    ("d700000008000000", 0, "unexpected imm"),
    ("db120000e2000000", 0, "unexpected imm"),
    ("85300000010000 00", 0, "unexpected src"),
    ("bf12ffff00000000", 0, "made by the kernel only"),
])
def test_refusals_say_where_and_why(raw: str, offset: int, words_: str) -> None:
    with pytest.raises(InsnError, match=words_) as caught:
        isa.decode(bytes.fromhex(raw))
    assert caught.value.offset == offset


@pytest.mark.parametrize("insn", [
    isa.Insn(0xB7, 11), isa.Insn(0xB7, 16), isa.Insn(0xB7, imm=1 << 31), isa.Insn(0x05, off=1 << 15), isa.Insn(0xFF),
    isa.Insn(0x18, imm=1 << 64), isa.Insn(0x18, imm=-1), isa.Insn(0x18, src=1, imm=1 << 32), isa.Insn(0xBF, imm=1),
    isa.Insn(0xB7, src=3), isa.Insn(0xB7, -1), isa.Insn(0x1B7),
])
def test_encode_refuses_what_decode_would(insn: isa.Insn) -> None:
    with pytest.raises(InsnError) as caught:
        isa.encode([isa.Insn(0x95), insn])
    assert caught.value.offset == 8


def test_translated_programs_have_forms_of_their_own() -> None:
    code = bytes.fromhex("bf12ffff00000000" "8510030040420f00" "c200000000000000")
    with pytest.raises(InsnError):
        isa.decode(code)
    texts = [text for _, _, text in isa.disassemble(code, translated=True)]
    assert texts == ["r2 = &(void __percpu *)(r1)", "call pc+3#1000000", "nospec"]


def test_importing_isa_is_light() -> None:
    script = ("import sys; import ebpf.isa; ebpf.isa.decode(bytes.fromhex('9500000000000000'));"
              "late = ('ctypes', 'inspect', 'numpy', 'dataclasses', 'ebpf.abi', 'ebpf.isa.assembler');"
              "print([m for m in late if m in sys.modules])")
    found = subprocess.run([sys.executable, "-S", "-c", script], check=True, capture_output=True, text=True,
                           env={"PYTHONPATH": ":".join(p for p in sys.path if p)})
    assert found.stdout.strip() == "[]"


def test_mistakes_in_assembly_are_all_reported() -> None:
    with pytest.raises(CompileError) as caught:
        isa.assemble("""
            r1 = r11
            frob
            r1 += 99999999999
            goto strat
        start:
            call bpf_ktime_get_ms
            r1 = be16 r2
            *(u64 *)(r1 +40000) = 0
            call bpf_map_lookup_elem#2
        start: exit
        """)
    found = [(d.span.line, d.message) for d in caught.value.diagnostics if d.span]
    assert [line for line, _ in found] == [2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert "there is no register `r11`" in found[0][1]
    assert "did you mean `start`?" in str(caught.value)
    assert "did you mean `bpf_ktime_get_ns`?" in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(
    "r1 w2 = += ( ) * u32 u64 [ ] 5 0x5 -3 +4 goto pc if s> > < call # exit lock atomic_fetch_add , : foo pc+1 map id skb"
    ' - kernel-function ll " é 99999999999999999999'.split()), max_size=9).map(" ".join))
def test_any_text_assembles_or_is_refused(text: str) -> None:
    try:
        insns = isa.assemble(text)
    except CompileError as error:
        assert error.diagnostics
    else:
        assert isa.assemble("\n".join(map(str, insns))) == insns


def test_labels_comments_and_pasted_dumps() -> None:
    insns = isa.assemble("""
        loop:   r1 = *(u64 *)(r10 - 0x8)      // LLVM's spelling of an offset
                if r1 s> 5 goto done          ; kernel source lines begin so
                call bpf_ktime_get_ns
                call sub
                r2 = subprog[sub]
                goto loop
        6: (bf) r1 = r2
        done: exit
        sub:
                exit
    """)
    assert [str(insn) for insn in insns] == [
        "r1 = *(u64 *)(r10 -8)", "if r1 s> 0x5 goto pc+6", "call bpf_ktime_get_ns#5", "call pc+5",
        "r2 = subprog[+4]", "goto pc-7", "r1 = r2", "exit", "exit"]


def test_decimal_moves_and_hexadecimal_loads_wide() -> None:
    assert [insn.opcode for insn in isa.assemble("r1 = 5\nr1 = 0x5\nr1 = 5 ll\nw1 = 0x5")] == [0xB7, 0x18, 0x18, 0xB4]


def test_a_long_program_decodes_quickly() -> None:
    import time

    code = bytes.fromhex("bf21000000000000" "7921080000000000" "5501030005000000"
                         "1801000001000000" "0000000000000000") * 2000
    best = min(_timed(lambda: isa.decode(code), time.perf_counter) for _ in range(5))
    assert best < 0.05  # measured: 4 ms for 10,000 slots


def _timed(call: object, clock: object) -> float:
    start = clock()  # type: ignore[operator]
    call()  # type: ignore[operator]
    return float(clock() - start)  # type: ignore[operator]
