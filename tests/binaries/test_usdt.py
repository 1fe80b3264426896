"""Static probes of user programs: the arguments' notation, notes built by hand, and a program that gcc built."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from ebpf.binaries.elf import Binary
from ebpf.binaries.usdt import UsdtArgument as A, find_usdt, parse_arguments, usdt_probes
from ebpf.errors import ElfError, NotSupported, TargetNotFound
from tests.binaries.static_probes import build

AARCH64 = 183


@pytest.mark.parametrize(("text", "arguments"), [
    ("", ()),
    ("8@%rdi", (A(8, False, register="di"),)),
    ("-4@%esi 1@%al", (A(4, True, register="si"), A(1, False, register="ax"))),
    ("2@%r9w -1@%r15b", (A(2, False, register="r9"), A(1, True, register="r15"))),
    ("4@$5 -8@$-17 8@$0x10", (A(4, False, 5), A(8, True, -17), A(8, False, 16))),
    ("-4@-20(%rbp)", (A(4, True, -20, "bp", True),)),
    ("8@(%rax) 8@8(%rdx,%rcx,4) 8@(%rdx,%rcx)",
     (A(8, False, 0, "ax", True), A(8, False, 8, "dx", True, "cx", 4), A(8, False, 0, "dx", True, "cx", 1))),
])
def test_x86_arguments(text: str, arguments: tuple[A, ...]) -> None:
    assert parse_arguments(text) == arguments


@pytest.mark.parametrize(("text", "arguments"), [
    ("8@x0 -4@w21", (A(8, False, register="regs[0]"), A(4, True, register="regs[21]"))),
    ("-4@[sp, 60] 8@[x29]", (A(4, True, 60, "sp", True), A(8, False, 0, "regs[29]", True))),
    ("-4@-1 8@5", (A(4, True, -1), A(8, False, 5))),
])
def test_aarch64_arguments(text: str, arguments: tuple[A, ...]) -> None:
    assert parse_arguments(text, AARCH64) == arguments


@pytest.mark.parametrize("text", ["8f@%xmm0", "8@%xmm0", "3@%rax", "8@symbol(%rip)", "rubbish", "8@%rax rubbish", "8@"])
def test_what_no_program_can_read_is_refused_by_name(text: str) -> None:
    with pytest.raises(NotSupported, match="static probe"):
        parse_arguments(text)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(NotSupported, match="machine type 8"):
        parse_arguments("8@x0", 8)


def elf(note: bytes, *, base: int = 0x2000) -> bytes:
    """An x86-64 file with one segment (address 0x1000, whole file), a note section and .stapsdt.base."""
    names = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0"
    at = 64 + 56
    sections = [(0, 0, 0, 0, 0), (names.index(b".note"), 7, 0, at, len(note)), (names.index(b".stapsdt.b"), 1, base, at, 1),
                (names.index(b".shstrtab"), 3, 0, at + len(note), len(names))]
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, kind, 0, address, offset, size, 0, 0, 1, 0)
                     for name, kind, address, offset, size in sections)
    start = at + len(note) + len(names)
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, start, 0, 64, 56, 1, 64, 4, 3)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x1000, 0x1000, 0x4000, 0x4000, 0x1000)
    return header + segment + note + names + table


def note(address: int, base: int, semaphore: int, *texts: bytes) -> bytes:
    description = struct.pack("<QQQ", address, base, semaphore) + b"".join(t + b"\0" for t in texts)
    return struct.pack("<III", 8, len(description), 3) + b"stapsdt\0" + description.ljust(-(-len(description) // 4) * 4, b"\0")


def test_a_prelinked_file_has_moved(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(elf(note(0x1234, 0x1800, 0x1300, b"app", b"done", b"4@%eax"), base=0x1A00))
    [probe] = usdt_probes(str(tmp_path / "f"))
    assert (probe.provider, probe.name, probe.address, probe.offset) == ("app", "done", 0x1434, 0x434)
    assert probe.semaphore == 0x500 and probe.arguments == (A(4, False, register="ax"),)


@pytest.mark.parametrize("damaged", [
    note(0x1234, 0, 0, b"app", b"done", b"")[:-9],
    note(0x1234, 0, 0),
    note(0x123400, 0, 0, b"app", b"done", b""),
    note(0x1234, 0, 0x123400, b"app", b"done", b""),
    struct.pack("<III", 8, 1 << 31, 3) + b"stapsdt\0",
])
def test_damage_is_one_error_that_names_the_file(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "damaged").write_bytes(elf(damaged))
    with pytest.raises(ElfError, match="damaged"):
        usdt_probes(str(tmp_path / "damaged"))


def test_a_program_with_probes(tmp_path: Path) -> None:
    gcc, readelf = shutil.which("gcc"), shutil.which("readelf")
    if gcc is None or readelf is None:
        pytest.skip("no gcc or no readelf here")
    path = build(tmp_path)
    listed = subprocess.run([readelf, "-n", path], capture_output=True, text=True, check=True).stdout
    begin, *ends = usdt_probes(path)
    assert f"Location: 0x{begin.address:016x}" in listed and begin.semaphore and begin.arguments == (A(4, True, 7),)
    assert [e.arguments[0] for e in ends] == [A(8, False, register="ax")] * 2
    assert find_usdt(path, "end", "app") == tuple(ends) == find_usdt(path, "end")
    assert Binary(path).build_id.hex() in listed and Binary(path).build_id
    assert Path(path).read_bytes()[begin.offset] == 0x90  # nop
    with pytest.raises(TargetNotFound) as caught:
        find_usdt(path, "ends")
    assert "app:end" in caught.value.similar


def test_a_file_without_probes_says_so() -> None:
    import sys

    libraries = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(".so")]
    plain = next((f for f in libraries if not usdt_probes(f)), None) or sys.executable
    with pytest.raises(TargetNotFound, match="no static probe 'nothing'"):
        find_usdt(plain, "nothing")
