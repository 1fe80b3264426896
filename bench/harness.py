"""Timing two commands or functions in turn, and the table that comes of it.

Runs alternate (ours, theirs, ours, …), so that a machine whose speed drifts hurts both alike; the ratio is that of
the medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(slots=True)
class Row:
    """One line of the table. ``target`` bounds ``ours / theirs`` from above, or from below where ``at_least``."""

    name: str
    ours: str
    theirs: str
    ratio: float | None
    target: float | None
    at_least: bool = False

    @property
    def ok(self) -> bool | None:
        if self.ratio is None or self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


@dataclass(slots=True)
class Report:
    """The rows so far, and what was left out and why."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    rounds: int = 7

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(format_row(row), flush=True)

    def skip(self, what: str, why: str) -> None:
        self.skipped.append(f"{what}: {why}")
        print(f"  {what:58} skipped: {why}", flush=True)


def format_row(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:8.2f}"
    sign = "≥" if row.at_least else "≤"
    target = "" if row.target is None else f"{sign} {row.target:g}"
    verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
    return f"  {row.name:58} {row.ours:>12} {row.theirs:>12} {ratio:>8} {target:>8}  {verdict}"


HEADER = f"  {'':58} {'ours':>12} {'peer':>12} {'ratio':>8} {'target':>8}"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: wall seconds, and the peak memory of itself and of its largest child, in MB."""

    seconds: float
    memory_mb: float
    output: str


def run_process(command: Sequence[str], env: Mapping[str, str] | None = None) -> Run:
    """Run ``command`` to its end. Raises `RuntimeError` with its output if it fails."""
    # "Warm" includes Python's own bytecode, whatever this session's environment says about writing it.
    whole = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | dict(env or {})
    start = time.perf_counter()
    process = subprocess.Popen(command, env=whole, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Run(seconds, usage.ru_maxrss / 1024, output)


def alternate(rounds: int, *jobs: Callable[[], float]) -> list[float]:
    """The median result of each job, after one round that does not count; the jobs take turns."""
    for job in jobs:
        job()
    results: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, out in zip(jobs, results, strict=True):
            out.append(job())
    return [statistics.median(r) for r in results]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def mb(value: float) -> str:
    return f"{value:.1f} MB"


def rate(per_second: float) -> str:
    return f"{per_second / 1e6:.2f} M/s"


def own_peak_mb() -> float:
    """Peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PYTHON = sys.executable
