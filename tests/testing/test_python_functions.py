"""Programs that are Python functions, tested, covered and debugged as those in C."""

from __future__ import annotations

import pytest

from ebpf.cli import main
from tests.testing.conftest import Run

MODULE = '''
import ebpf
from ebpf import u32, u64

seen = ebpf.Hash(u32, u64, max_entries=16)

@ebpf.xdp
def small(ctx):
    size = ctx.data_end - ctx.data
    if size < 60:
        seen[0] += 1
        return 1
    return 2
'''


def test_verdicts_maps_and_coverage(project: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(small_packets=MODULE)
    result = project('''
from small_packets import seen, small

def test_small(ebpf_machine):
    rig = ebpf_machine.load(small)
    assert rig.send(bytes(40)) == "XDP_DROP"
    assert seen[0] == 1 and rig.maps["seen"][0] == 1
''', "--ebpf-cov=term", apart=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["small_packets.py * 5 * 1 * 2 * 1 *9->12, 12"])


def test_the_debugger_stands_in_the_python_source(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    path = pytester.makepyfile(small_packets=MODULE)
    assert main(["debug", str(path), "--data", "00" * 40, "--commands", "s; s; c; map seen"]) == 0
    out = capsys.readouterr().out
    assert "if size < 60:" in out and "seen[0] += 1" in out and "ended with XDP_DROP" in out and "0: 1" in out
