"""ELF images: read, changed, written; and what other readers think of what we write."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from ebpf.errors import BtfError, EbpfError, ElfError, FormatError, RelocationError
from ebpf.object import ElfImage, link, read_object
from ebpf.object.elf import SHT_STRTAB

from .corpus import SOURCES, compiled, slim

TINY_SECTIONS = ("", ".strtab", "license", ".symtab")


def put_header(body: bytearray, table: int, sections: int) -> None:
    struct.pack_into("<16sHHIQQQIHHHHHH", body, 0, b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, table, 0, 64, 0, 0, 64,
                     sections, 1)


def tiny() -> bytes:
    """A minimal object by hand: a license, a symbol, no code."""
    strings = b"\0.strtab\0license\0.symtab\0LICENSE\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", strings.index(b"LICENSE"), 0x11, 0, 2, 0, 4)
    body = bytearray(64)
    offsets = []
    for part in (strings, b"GPL\0", symbols):
        offsets.append(len(body))
        body += part
    headers = bytes(64)
    for name, type_, offset, size, strtab, entry in ((".strtab", 3, offsets[0], len(strings), 0, 0),
                                                   ("license", 1, offsets[1], 4, 0, 0),
                                                   (".symtab", 2, offsets[2], len(symbols), 1, 24)):
        headers += struct.pack("<IIQQQQIIQQ", strings.index(name.encode()), type_, 3 if type_ == 1 else 0, 0, offset,
                               size, strtab, 1 if strtab else 0, 1, entry)
    put_header(body, len(body), 4)
    return bytes(body) + headers


def test_a_hand_made_object() -> None:
    image = ElfImage.parse(tiny())
    assert tuple(s.name for s in image.sections) == TINY_SECTIONS
    assert [(s.name, s.section, s.size) for s in image.symbols] == [("", 0, 0), ("LICENSE", 2, 4)]
    assert read_object(tiny()).license == "GPL"
    again = image.emit()
    assert read_object(again) == read_object(tiny())
    assert ElfImage.parse(again).emit() == again


@pytest.mark.parametrize(("change", "offset", "words"), [
    (lambda b: b"", 0, "not an ELF file"),
    (lambda b: b"BC\xc0\xde" + b, 0, "begins with 42 43 c0 de"),
    (lambda b: b[:40], 40, "cut off"),
    (lambda b: put(b, 4, b"\x01"), 4, "32-bit"),
    (lambda b: put(b, 5, b"\x02"), 5, "big-endian"),
    (lambda b: put(b, 18, b"\x3e\x00"), 18, "not BPF"),
    (lambda b: put(b, 16, b"\x02\x00"), 16, "not a relocatable object"),
    (lambda b: b[:-1], None, "the file has"),
    (lambda b: put(b, 62, b"\x09\x00"), 62, "there are 4"),
    (lambda b: put(b, 62, b"\x02\x00"), 62, "no string table"),
    (lambda b: put(b, 60, b"\xff\xff"), None, "section header table"),
    (lambda b: put(b, len(b) - 64 + 32, struct.pack("<Q", 1 << 60)), None, "reaches to byte"),
    (lambda b: put(b, len(b) - 64 + 32, struct.pack("<Q", 47)), None, "not a multiple of 24"),
    (lambda b: put(put(b, len(b) - 128 + 32, struct.pack("<Q", 300)), len(b) - 192 + 32, struct.pack("<Q", 300)), None,
     "overlaps"),
    (lambda b: put(b, len(b) - 64, struct.pack("<I", 999)), len(tiny()) - 64, "outside its string table"),
])
def test_damage_is_told(change: object, offset: int | None, words: str) -> None:
    with pytest.raises(ElfError) as caught:
        list(ElfImage.parse(change(tiny())).symbols)  # type: ignore[operator]
    assert words in str(caught.value)
    if offset is not None:
        assert caught.value.offset == offset


def put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new):]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_is_emitted_means_the_same(name: str) -> None:
    data = compiled(name)
    image = ElfImage.parse(data)
    again = image.emit()
    assert read_object(again) == read_object(data)
    assert ElfImage.parse(again).emit() == again


def test_dropping_replacing_adding() -> None:
    data, small = compiled("hello"), slim("hello")
    assert len(small) < len(data) / 2
    image = ElfImage.parse(small)
    assert not [s.name for s in image.sections if "debug" in s.name or "eh_frame" in s.name]
    before, after = read_object(data), read_object(small)
    assert after.programs == before.programs
    assert after.maps == before.maps
    assert after.events == {"counts": 5}
    assert not before.events


def test_what_is_needed_is_not_dropped() -> None:
    image = ElfImage.parse(compiled("hello"))
    with pytest.raises(ElfError, match="`counts` in it is still used"):
        image.drop(".maps")
    with pytest.raises(ElfError, match="relocations of `socket` reach behind"):
        image.replace("socket", b"\x95" + bytes(7))
    with pytest.raises(ElfError, match="no section `nothing`"):
        image.replace("nothing", b"")


@pytest.mark.parametrize("name", ["hello", "rich", "calls"])
@pytest.mark.parametrize("tool", ["llvm-readelf", "llvm-objdump", "readelf", "bpftool"])
def test_others_read_what_we_write(tmp_path: Path, name: str, tool: str) -> None:
    command = {"llvm-readelf": ["llvm-readelf-14", "-a"], "llvm-objdump": ["llvm-objdump-14", "-d", "-S", "-r"],
               "readelf": ["readelf", "-a", "-W"], "bpftool": ["bpftool", "gen", "skeleton"]}[tool]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "p.o").write_bytes(slim(name))
    done = subprocess.run([*command, "p.o"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    # What a reader finds odd, it says in these words.
    complaints = [line for line in (done.stdout + done.stderr).splitlines()
                  if any(w in line.lower() for w in ("warning", "error", "invalid", "skipping", "corrupt"))]
    # binutils before 2.41 does not know BPF's relocations by name.
    assert [c for c in complaints if "unrecognized relocation" not in c.lower() and "reloc type" not in c] == []
    if tool == "llvm-objdump":
        assert f"<{next(iter(read_object(compiled(name)).programs))}>:" in done.stdout


def test_damaged_objects_are_refused_or_read() -> None:
    """Truncations and flipped bits: a value or an error of ours, quickly, in bounded memory."""
    rng = random.Random(20240917)
    try:
        objects = [compiled(name) for name in SOURCES]
    except pytest.skip.Exception:
        objects = [tiny()]
    refused = read = 0
    for _ in range(700):
        data = bytearray(rng.choice(objects))
        kind = rng.random()
        if kind < 0.25:
            del data[rng.randrange(len(data)):]
        else:
            # Headers and tables at the end, and the types, are where damage does most.
            for _ in range(rng.choice((1, 1, 3, 20))):
                at = rng.choice((rng.randrange(64), rng.randrange(len(data)), len(data) - 1 - rng.randrange(2000)))
                data[at] = rng.choice((0, 255, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
        try:
            obj = read_object(bytes(data))
            _ = obj.events
            for program in obj.programs:
                with suppress(RelocationError):
                    link(obj, program)
            image = ElfImage.parse(bytes(data))
            image.drop(".debug*", ".eh_frame")
            ElfImage.parse(image.emit())
            read += 1
        except FormatError as error:
            assert isinstance(error, (ElfError, BtfError))
            assert str(error)
            refused += 1
        except EbpfError as error:  # pragma: no cover
            raise AssertionError(f"damage should be a FormatError: {error!r}") from error
    assert refused > 100
    assert len(objects) == 1 or read > 50


def hostile() -> dict[str, bytes]:
    """Objects that try to cost more than they weigh."""
    names = b"\0" + b"a" * 50_000 + b"\0"
    deep = struct.pack("<IBBHQQ", 1, 0x12, 0, 0, 0, 8)
    return {
        "symbols with overlapping names": _object(names, b"".join(deep[4:].rjust(24, b"\0") if i == 0 else
                                                   struct.pack("<I", i) + deep[4:] for i in range(20_000))),
        "many symbols": _object(b"\0a\0", deep * 40_000),
        "many sections": _object(b"\0a\0", b"", extra=20_000),
    }


def _object(strings: bytes, symbols: bytes, extra: int = 0) -> bytes:
    body = bytearray(64) + strings + symbols
    table = len(body)
    headers = bytes(64) + struct.pack("<IIQQQQIIQQ", 0, SHT_STRTAB, 0, 0, 64, len(strings), 0, 0, 1, 0)
    headers += struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 64 + len(strings), len(symbols), 1, 1, 1, 24)
    headers += struct.pack("<IIQQQQIIQQ", 1, 1, 6, 0, 64, 0, 0, 0, 1, 0) * extra
    put_header(body, table, 3 + extra)
    return bytes(body) + headers


@pytest.mark.parametrize("name", sorted(hostile()))
def test_memory_stays_in_proportion(name: str) -> None:
    data = hostile()[name]
    tracemalloc.start()
    try:
        read_object(data)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 10 * len(data) + 100_000, f"{peak / len(data):.1f} times"
