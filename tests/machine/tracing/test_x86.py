"""The length of x86-64 instructions, beside objdump; and what is done in their place."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ebpf.binaries.find import find_library
from ebpf.machine.tracing.x86 import MAX_BYTES, condition_holds, decode, jump_target, without_relative

_LINE = re.compile(r"\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t?(.*)")


@pytest.mark.parametrize("name", ["c", "m", "ld-linux-x86-64.so.2"])
def test_lengths_are_objdumps(name: str) -> None:
    library = find_library(name)
    if shutil.which("objdump") is None or library is None:
        pytest.skip("objdump or the library is missing")
    listing = subprocess.run(["objdump", "-d", "-w", "--insn-width=16", library], capture_output=True, text=True,
                             check=True).stdout
    wrong, count = [], 0
    for line in listing.splitlines():
        match = _LINE.match(line)
        # What objdump itself could not make sense of, or shows apart from its prefixes.
        if match is None or re.match(r"\(bad\)|rex|data16|[cdefgs]s |lock$|rep|f(st(cw|sw|env)|save|clex|init) ", match[2]):
            continue
        code = bytes.fromhex(match[1])
        found = decode(code.ljust(MAX_BYTES, b"\x90"))
        count += 1
        if found is None or found.length != len(code) or (found.relative >= 0) != ("(%rip)" in match[2]):
            wrong.append(f"{line.strip()}: {found}")
    assert not wrong, "\n".join(wrong[:20])
    assert count > 10_000


@pytest.mark.parametrize("code", ["", "48", "0f", "e8000000", "06", "c5f8", "8fe878c2ec0e"])
def test_what_is_no_instruction_or_cut_short(code: str) -> None:
    assert decode(bytes.fromhex(code)) is None


@pytest.mark.parametrize(("name", "code", "flags", "taken"), [
    ("overflow", 0, 1 << 11, True), ("not overflow", 1, 1 << 11, False), ("below", 2, 1, True), ("above", 7, 0, True),
    ("above, equal", 7, 1 << 6, False), ("equal", 4, 1 << 6, True), ("sign", 8, 1 << 7, True), ("parity", 10, 4, True),
    ("less", 12, 1 << 7, True), ("less, both", 12, 1 << 7 | 1 << 11, False), ("greater", 15, 0, True),
    ("greater, zero", 15, 1 << 6, False), ("less or equal", 14, 1 << 11, True),
])
def test_conditions(name: str, code: int, flags: int, taken: bool) -> None:
    assert condition_holds(code, flags) is taken


@pytest.mark.parametrize(("code", "target"), [
    ("ebfe", 0x1000), ("e9fbffffff", 0x1000), ("e800000000", 0x1005), ("7405", 0x1007), ("7505", 0x1002),
    ("0f8400010000", 0x1106), ("e305", 0x1002), ("c3", None), ("ff20", None),
])
def test_where_jumps_lead(code: str, target: int | None) -> None:
    raw = bytes.fromhex(code)
    found = decode(raw.ljust(MAX_BYTES, b"\x90"))
    assert found is not None
    assert jump_target(found, raw, 0x1000, 1 << 6, 1) == target


@pytest.mark.parametrize(("code", "copy", "register"), [
    ("8b0511223344", "8b8611223344", 6),              # mov 0x…(%rip), %eax → 0x…(%rsi)
    ("8b3511223344", "8bb711223344", 7),              # mov 0x…(%rip), %esi: rsi is taken
    ("4c8b0511223344", "4c8b8611223344", 6),          # mov 0x…(%rip), %r8
    ("4d8b0511223344", "4c8b8611223344", 6),          # REX.B means nothing there, and would with a register
    ("c5fa100511223344", "c5fa108611223344", 6),      # vmovss 0x…(%rip), %xmm0
    ("c4e248f33511223344", "c4e248f3b711223344", 7),  # a group of BMI1: ModRM's middle and vvvv name rsi
])
def test_an_address_that_was_relative(code: str, copy: str, register: int) -> None:
    raw = bytes.fromhex(code)
    found = decode(raw.ljust(MAX_BYTES, b"\x90"))
    assert found is not None and found.relative >= 0
    assert without_relative(found, raw) == (bytes.fromhex(copy), register)
