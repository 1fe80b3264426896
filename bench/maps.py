"""Reading a hash map of 100,000 entries: BCC's `items()` under both, and our NumPy arrays."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench import peer
from bench.harness import PYTHON, Report, Row, ms, run_process

SCRIPT = str(Path(__file__).parent / "programs" / "hash_items.py")
N = 100_000


def run(report: Report) -> None:
    import numpy

    import ebpf

    reason = peer.why_absent()
    theirs, ours, arrays = [], [], []
    with ebpf.load(ebpf.compile("BPF_HASH(h, u64, u64, 131072);", dialect="bcc")) as session:
        table = session.maps["h"]
        table.from_numpy(numpy.arange(N, dtype="u8"), numpy.arange(7, N + 7, dtype="u8"))
        table.to_numpy()  # warm: NumPy imported
        for _ in range(report.rounds):
            if reason is None:
                theirs.append(_last_number(run_process(peer.command(SCRIPT)).output))
            ours.append(_last_number(run_process([PYTHON, SCRIPT]).output))
            start = time.perf_counter()
            keys, values = table.to_numpy()
            arrays.append(time.perf_counter() - start)
            assert len(keys) == N and int(values.sum()) == int(keys.sum()) + 7 * N
    mine, numpy_ = statistics.median(ours), statistics.median(arrays)
    if reason:
        report.skip("maps beside BCC", reason)
        report.add(Row("read 100,000 hash entries, NumPy arrays", ms(numpy_), "-", None, None))
        return
    bcc = statistics.median(theirs)
    report.add(Row("read 100,000 hash entries, NumPy arrays", ms(numpy_), ms(bcc), numpy_ / bcc, 0.1))
    report.add(Row("read 100,000 hash entries, BCC's items()", ms(mine), ms(bcc), mine / bcc, 0.4))


def _last_number(output: str) -> float:
    return float(output.strip().splitlines()[-1])
