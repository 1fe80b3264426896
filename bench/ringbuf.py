"""Draining a million 48-byte ring-buffer records: callbacks through `bcc` under both, and our batches."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench import peer
from bench.harness import PYTHON, Report, Row, rate, run_process
from bench.programs.fill import EMIT

PROGRAMS = Path(__file__).parent / "programs"
SCRIPT = str(PROGRAMS / "ring_callbacks.py")
N = 1_000_000


def run(report: Report) -> None:
    import ebpf

    reason = peer.why_absent()
    theirs, ours, batches = [], [], []
    with ebpf.load(ebpf.compile(EMIT, dialect="bcc")) as session:
        program = session.programs["emit"]
        events = session.maps["events"].events()
        # Warm: NumPy imported, and every page of the 64 MB buffer touched, for which it takes two rounds.
        for _ in range(2):
            program.test_run(bytes(64), repeat=N)
            assert sum(map(len, events.batches(timeout=0))) == N
        for _ in range(report.rounds):
            if reason is None:
                theirs.append(float(run_process(peer.command(SCRIPT)).output.split()[-1]))
            ours.append(float(run_process([PYTHON, SCRIPT]).output.split()[-1]))
            program.test_run(bytes(64), repeat=N)
            start = time.perf_counter()
            seen = total = 0
            for batch in events.batches(timeout=0):
                seen += len(batch)
                total += int(batch["a"][:, 0].sum())
            batches.append(seen / (time.perf_counter() - start))
            assert (seen, total) == (N, N), (seen, total)
    best = statistics.median(batches)
    report.add(Row("drain 48-byte ring-buffer records in batches (bound: 10 M/s)", rate(best), "-", best / 10e6, 1.0,
                   at_least=True))
    if reason:
        report.skip("ring-buffer callbacks beside BCC", reason)
        return
    mine, bcc = statistics.median(ours), statistics.median(theirs)
    report.add(Row("drain them through bcc's callbacks", rate(mine), rate(bcc), mine / bcc, 1.0, at_least=True))


