"""The example firewall's own tests: all pass, for a user without any privilege, and quickly."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.conftest import PLUGIN

ROOT = Path(__file__).parents[2]
# Of processor time, which other work on the machine hardly changes; the time on the clock is measured in bench.
LIMIT_S = 3.0


@pytest.mark.slow
def test_two_hundred_tests_in_three_seconds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, "-p", "no:cacheprovider", "-c", os.devnull,
               "--rootdir", str(ROOT / "examples" / "firewall"), str(ROOT / "examples" / "firewall")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "EBPF_BACKEND": "machine"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python keeps what it has compiled
    taken: list[float] = []
    # A second run only after one that was too slow: it may have been the first that compiles the firewall.
    while not taken or (len(taken) == 1 and taken[0] >= LIMIT_S):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None and int(passed[1]) >= 200
    assert min(taken) < LIMIT_S, f"{min(taken):.2f} s of processor time"
