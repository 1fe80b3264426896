"""Patterns of uprobes, on a program of our own and in its own process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf

pytestmark = pytest.mark.kernel

SOURCE = """
#include <stdio.h>
#define WORK(n) __attribute__((noinline)) int work_##n(int x) { __asm__ volatile(""); return x + n; }
WORK(1) WORK(2) WORK(3) WORK(4)
int main(void)
{
    int sum = 0;
    for (int i = 0; i < 5; i++)
        sum += work_1(i) + work_2(i) + (i % 2 ? work_3(i) : 0);
    printf("%d\\n", sum);
    return 0;
}
"""
SCRIPT = """
    uprobe:PATH:work_* { @calls[probe, func] = count(); @sum[probe] = sum(arg0); }
    uretprobe:PATH:work_* { @returned = sum(retval); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    folder: Path = tmp_path_factory.mktemp("worker")
    (folder / "worker.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O1", str(folder / "worker.c"), "-o", str(folder / "worker")], check=True)
    return str(folder / "worker")


@pytest.mark.parametrize("own", [False, True], ids=["every process", "its process"])
def test_a_pattern_sees_all_its_functions(program: str, own: bool) -> None:
    """For all processes of that file at once where the kernel can, for one of them place by place."""
    with ebpf.trace(SCRIPT.replace("PATH", program), command=[program] if own else (), backend="kernel") as trace:
        assert trace.session is not None
        kinds = {link.kind for link in trace.session.links}
        assert kinds in ({"uprobe", "uretprobe"}, {"uprobe.multi", "uretprobe.multi"} if not own else set())
        if own:
            for _ in trace:
                pass
        else:
            done = subprocess.run([program], capture_output=True, text=True, check=True)
            assert done.stdout == "45\n"
        name = f"uprobe:{program}:work_"
        assert dict(trace.maps["@calls"]) == {(f"{name}{n}", f"work_{n}"): count for n, count in ((1, 5), (2, 5), (3, 2))}
        assert dict(trace.maps["@sum"]) == {f"{name}1": 10, f"{name}2": 10, f"{name}3": 4}
        assert trace.maps["@returned"].value == 45
