"""Static probes of a program of our own, in its own process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.abi.programs import ProgType
from ebpf.errors import TargetNotFound
from ebpf.kernel import programs
from ebpf.kernel.attach import usdt
from tests.binaries.static_probes import build
from tests.kernel import code
from tests.kernel.test_own import count, counter_map

pytestmark = pytest.mark.kernel


def test_a_static_probe_counts_and_its_semaphore_goes_up_and_down(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    path = build(tmp_path)
    with counter_map() as m, subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdin is not None and app.stdout is not None

        def step() -> str:
            assert app.stdin is not None and app.stdout is not None
            app.stdin.write("\n")
            app.stdin.flush()
            return app.stdout.readline().strip()

        p = programs.load_program(code.counter(m.fileno()), type=ProgType.KPROBE)
        assert (step(), count(m)) == ("semaphore 0", 0)
        with usdt.attach(p, path, "begin", provider="app", pid=app.pid) as link:
            assert link.kind == "usdt" and link.attached
            assert [step() for _ in range(3)] == ["semaphore 1"] * 3
            assert count(m) == 3
        assert (step(), count(m)) == ("semaphore 0", 3)
        with usdt.attach(p, path, "end", pid=app.pid) as both:
            assert len(both.links) == 2
            step()
        assert count(m) == 5
        with pytest.raises(TargetNotFound, match="no static probe 'ends'"):
            usdt.attach(p, path, "ends", pid=app.pid)
        app.stdin.close()
