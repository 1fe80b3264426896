"""The package's own tools: from the start of the process to attached, beside BCC's script of that name.

Both print their titles once everything is attached: the first line that comes is the end of the start. They watch the
whole system, so this is for a guest: ``python -m bench tools --guest 6.1``.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import ebpf
from bench.harness import PYTHON, Report, Row, ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOOLS = ("opensnoop", "execsnoop", "tcpconnect", "killsnoop")
_FIRST, _CACHED = 0.5, 0.2  # of BCC's


def run(report: Report) -> None:
    try:
        known = ebpf.host.tracepoints("syscalls")
    except ebpf.EbpfError:
        known = []
    if not known or os.geteuid():
        report.skip("starts of tools", "no tracepoints of system calls here, or no root: --guest 6.1")
        return
    for name in TOOLS:
        theirs = f"/usr/sbin/{name}-bpfcc"
        if not os.path.exists(theirs):
            report.skip(name, "bpfcc-tools is not installed")
            continue
        ours = [PYTHON, "-m", "ebpf.cli", "tools", name]
        with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as warm:
            seconds: dict[str, list[float]] = {"first": [], "cached": [], "peer": []}
            _start(ours, {"EBPF_CACHE_DIR": warm})
            for _ in range(report.rounds):
                with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as cold:
                    seconds["first"].append(_start(ours, {"EBPF_CACHE_DIR": cold}))
                seconds["cached"].append(_start(ours, {"EBPF_CACHE_DIR": warm}))
                seconds["peer"].append(_start(["/usr/bin/python3", theirs], {}))
        median = {which: statistics.median(values) for which, values in seconds.items()}
        for which, target in (("first", _FIRST), ("cached", _CACHED)):
            report.add(Row(f"start to attached, {name}, {which}", ms(median[which]), ms(median["peer"]),
                           median[which] / median["peer"], target))


def _start(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds until the first line."""
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONUNBUFFERED": "1", **env}) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    if not line:
        raise RuntimeError(f"{argv[-1]} said nothing")
    return taken
