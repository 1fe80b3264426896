"""Several threads on the C runtime at once: the driver `stress.c` checks what must always hold, sanitizers the rest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine.builds import compiled

DRIVER = Path(__file__).parent / "stress.c"
SANITIZED = {
    "thread": ("-O1", "-g", "-fsanitize=thread", "-DROUNDS=4000"),
    "address": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DROUNDS=4000"),
    "plain": ("-O2", "-DROUNDS=20000"),
}


def run(program: Path) -> None:
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    if "unexpected memory mapping" in done.stderr and shutil.which("setarch"):
        # Sanitizers of that age do not know the addresses that newer kernels give out.
        done = subprocess.run(["setarch", "-R", str(program)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr[:4000]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("how", list(SANITIZED))
def test_threads(compiler: str, how: str) -> None:
    try:
        program = compiled(compiler, *SANITIZED[how], str(DRIVER), "-lpthread", name=f"stress-{compiler}-{how}")
    except subprocess.CalledProcessError:
        if how == "plain":
            raise
        pytest.skip(f"{compiler} has no {how} sanitizer here")
    run(program)


def test_threads_on_what_our_compiler_made(tmp_path: Path) -> None:
    from ebpf.machine.native.codegen import compile_host
    from ebpf.machine.runtime.build import host_ir

    (tmp_path / "runtime.o").write_bytes(compile_host(host_ir("runtime.c")))
    run(compiled("gcc", "-O2", "-DROUNDS=20000", "-DSEPARATE", str(DRIVER), str(tmp_path / "runtime.o"), "-lpthread",
                 name="stress-ours"))
