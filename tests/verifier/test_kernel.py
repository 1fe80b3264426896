"""Objects compiled by clang: the running kernel and our verifier agree, and ours does not look at much more than the kernel."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from ebpf.errors import EbpfError, KernelError, VerifierError
from ebpf.object import Object, read_object
from ebpf.verifier import verify

from . import programs

CLANG = shutil.which("clang") or shutil.which("clang-14")


@cache
def compiled() -> Object:
    assert CLANG is not None
    with tempfile.TemporaryDirectory() as where:
        source = Path(where) / "programs.c"
        source.write_text(programs.TEXT)
        made = subprocess.run(
            [CLANG, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", str(source), "-o", "-"],
            stdout=subprocess.PIPE,
            check=True,
        )
    return read_object(made.stdout, "programs.c")


@pytest.mark.skipif(CLANG is None, reason="no clang")
@pytest.mark.parametrize(("name", "code"), programs.EXPECTED.items())
def test_verdict(name: str, code: str) -> None:
    try:
        found = verify(compiled(), name)
    except VerifierError as error:
        assert error.diagnostics[0].code == code, str(error)
        assert error.diagnostics[0].span is not None and error.diagnostics[0].span.text
        return
    assert code == "", f"accepted: {found.insns_visited} instructions"


@pytest.mark.skipif(CLANG is None, reason="no clang")
@pytest.mark.parametrize(("name", "code"), programs.EXPECTED.items())
def test_the_kernel_agrees(name: str, code: str) -> None:
    from ebpf.kernel.loader import load

    obj = compiled()
    try:
        loaded = load(obj, load_programs=False)
    except KernelError as error:
        pytest.skip(str(error))
    with loaded:
        try:
            program = loaded.load_program(name)
        except VerifierError:
            assert code, "the kernel refuses what we accept"
            return
        except EbpfError as error:
            pytest.skip(str(error))
        assert not code or name in programs.KERNEL_ACCEPTS, "the kernel accepts what we refuse"
        kernel = program.info().verified_insns
        if not code and kernel:
            assert verify(obj, name).insns_visited <= 1.5 * kernel + 20, kernel


def test_programs_are_here() -> None:
    assert Path(programs.__file__).exists() and len(programs.EXPECTED) > 10
