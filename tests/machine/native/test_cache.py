"""Native code on disk: a second start has no LLVM; what is not ours, changed or cut short is made again, never run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

SCRIPT = """
import sys
from ebpf import isa
from ebpf.machine import run_raw
from ebpf.machine.native import codegen
print(run_raw(isa.encode(isa.assemble("r0 = *(u8 *)(r1 +1)\\nr0 *= 3\\nexit")), bytes([1, %d]), engine="jit"), codegen._child is not None,
      "llvmlite" in sys.modules, "ebpf.compiler.c.parser" in sys.modules)
"""


def run(folder: Path, number: int = 5) -> tuple[int, bool]:
    """The program's result, and whether LLVM was needed."""
    done = subprocess.run([sys.executable, "-c", SCRIPT % number], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "EBPF_CACHE_DIR": str(folder)})
    assert not done.returncode, done.stderr
    result, generated, has_llvm, has_compiler = done.stdout.split()
    assert has_llvm == "False" and has_compiler == "False"
    return int(result), generated == "True"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cache"
    made.mkdir(mode=0o700)
    return made


def entry(folder: Path) -> Path:
    [file] = folder.glob("native-*")
    return file


def test_the_second_start_has_no_llvm(folder: Path) -> None:
    assert run(folder) == (15, True)
    assert run(folder, 7) == (21, False)


def test_code_for_another_length_is_other_code(folder: Path) -> None:
    from ebpf import isa
    from ebpf.machine.native.program import _key
    from ebpf.verifier import verify_raw

    code = isa.encode(isa.assemble("r0 = *(u8 *)(r1 +1)\nif r2 > 9 goto +1\nr0 = 1\nexit".replace("+1\nr0 = 1", "over\nr0 = 1").replace("\nexit", "\nover: exit")))
    assert _key(verify_raw(code, 4), {}, False) != _key(verify_raw(code, 16), {}, False)
    assert _key(verify_raw(code, 4), {}, False) != _key(verify_raw(code, 4), {}, True)
    assert _key(verify_raw(code, 4), {}, False) == _key(verify_raw(code, 4), {}, False)


def _flip(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


@pytest.mark.parametrize("damage", [lambda d: d[:len(d) // 2], _flip, lambda d: b"", lambda d: b"\x7fELF" + d],
                         ids=["cut short", "a bit changed", "empty", "something else"])
def test_a_damaged_file_is_made_again(folder: Path, damage: object) -> None:
    assert run(folder) == (15, True)
    file = entry(folder)
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert run(folder) == (15, True)
    assert run(folder) == (15, False)


def test_what_others_may_write_is_not_used(folder: Path) -> None:
    assert run(folder) == (15, True)
    file = entry(folder)
    file.chmod(0o622)
    assert run(folder) == (15, True)
    assert run(folder)[1] is False  # the file was replaced
    folder.chmod(0o777)
    assert run(folder) == (15, True)
    assert run(folder) == (15, True)


def test_what_belongs_to_another_user_is_not_used(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    assert run(folder) == (15, True)
    file = entry(folder)
    os.chown(file, 65534, 65534)
    assert run(folder) == (15, True)
    os.chown(folder, 65534, 65534)
    assert run(folder) == (15, True)
    assert run(folder) == (15, True)
