"""Symbols of stripped programs: with the dynamic ones alone, out of .gnu_debugdata, and from debug files."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.binaries import debug_files
from ebpf.binaries.elf import Binary
from ebpf.binaries.symbols import ElfSymbols

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("objcopy") is None, reason="no gcc here")

SOURCE = r"""
static __attribute__((noinline)) int hidden(int x) { __asm__ volatile("" : "+r"(x)); return x * 3; }
__attribute__((noinline)) int shown(int x) { return hidden(x) + 1; }
int main(int argc, char **argv) { return shown(argc); }
"""


@pytest.fixture(params=["-pie", "-no-pie", "-static"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "app.c").write_text(SOURCE)
    done = subprocess.run(["gcc", "-O1", request.param, "-fPIE" if request.param == "-pie" else "-fno-pie",
                           "-Wl,--build-id", "app.c", "-o", "app"], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"gcc {request.param}: {done.stderr.strip().splitlines()[-1]}")
    return tmp_path / "app"


def tool(folder: Path, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True)


def same(path: Path, offset: int) -> None:
    stripped = ElfSymbols(str(path))
    assert stripped.find("hidden").offset == offset
    assert stripped.at(offset + 1) == ("hidden", 1)


def test_stripped_with_a_debug_file_beside_it(program: Path) -> None:
    whole = ElfSymbols(str(program)).find("hidden")
    assert ElfSymbols(str(program)).at(whole.offset + 2) == ("hidden", 2)
    tool(program.parent, "objcopy", "--only-keep-debug", "app", "app.debug")
    tool(program.parent, "strip", "app")
    assert "hidden" not in ElfSymbols(str(program)).functions
    tool(program.parent, "objcopy", "--add-gnu-debuglink=app.debug", "app")
    same(program, whole.offset)


def test_stripped_with_a_debug_file_by_build_id(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ElfSymbols(str(program)).find("hidden")
    identity = Binary(str(program)).build_id.hex()
    place = program.parent / "debug" / ".build-id" / identity[:2] / f"{identity[2:]}.debug"
    place.parent.mkdir(parents=True)
    tool(program.parent, "objcopy", "--only-keep-debug", "app", str(place))
    tool(program.parent, "strip", "app")
    found = [symbols.path for symbols in debug_files.iter_symbol_files(Binary(str(program)), str(program.parent / "debug"))]
    assert found == [str(place)]
    monkeypatch.setattr(debug_files.iter_symbol_files, "__defaults__", (str(program.parent / "debug"),))
    same(program, whole.offset)
    # A file of another build is not believed.
    tool(program.parent, "objcopy", "--remove-section=.note.gnu.build-id", str(place))
    assert not list(debug_files.iter_symbol_files(Binary(str(program)), str(program.parent / "debug")))


def test_minidebug(program: Path) -> None:
    whole = ElfSymbols(str(program)).find("hidden")
    tool(program.parent, "objcopy", "--only-keep-debug", "app", "mini")
    (program.parent / "mini.xz").write_bytes(lzma.compress((program.parent / "mini").read_bytes()))
    tool(program.parent, "strip", "app")
    tool(program.parent, "objcopy", "--add-section", ".gnu_debugdata=mini.xz", "app")
    same(program, whole.offset)
    (program.parent / "mini.xz").write_bytes(b"damaged")
    tool(program.parent, "objcopy", "--update-section", ".gnu_debugdata=mini.xz", "app")
    assert "hidden" not in ElfSymbols(str(program)).functions
