"""Watchpoints on a process of our own: they see what is written, and `unwatch` takes them off."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf
from ebpf.binaries.symbols import elf_symbols

pytestmark = pytest.mark.kernel

SOURCE = r"""
#include <unistd.h>
volatile long watched;
int main(void)
{
    char byte;
    if (read(0, &byte, 1) == 1)
        watched = 1;
    if (read(0, &byte, 1) == 1)
        for (int i = 0; i < 7; i++)
            watched = i;
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    folder: Path = tmp_path_factory.mktemp("watched")
    (folder / "watched.c").write_text(SOURCE)
    subprocess.run(["gcc", "-no-pie", "-static", "watched.c", "-o", "watched"], cwd=folder, check=True)
    return str(folder / "watched")


@pytest.mark.parametrize("unwatch", [False, True])
def test_what_is_written_is_seen_until_unwatch(program: str, unwatch: bool) -> None:
    address = elf_symbols(program).address_of("watched")
    action = f'@n = count(); unwatch({address:#x});' if unwatch else "@n = count();"
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            with ebpf.trace(f'watchpoint:{address:#x}:8:w {{ {action} printf("seen\\n"); }}', pid=process.pid,
                            backend="kernel") as trace:
                assert trace.session is not None
                (link,) = trace.session.links
                assert link.kind == "watchpoint"
                process.stdin.write(b"x")
                process.stdin.flush()
                assert next(iter(trace)).text == "seen\n"  # what unwatch asked for was done before
                assert link.attached is not unwatch
                process.stdin.write(b"x")
                process.stdin.close()
                assert process.wait(60) == 0
                assert trace.maps["@n"].value == (1 if unwatch else 8)
        finally:
            process.kill()


def test_a_name_that_the_kernel_does_not_have() -> None:
    with pytest.raises(ebpf.TargetNotFound, match="no_such_variable"):
        ebpf.trace("watchpoint:no_such_variable:8:w { @ = count(); }", backend="kernel").start()
    with pytest.raises(ebpf.CompileError, match="argument cannot be watched"):
        ebpf.trace("watchpoint:vfs_read+arg1:8:w { @ = count(); }")
