"""Finding and rendering `struct task_struct` in the kernel's BTF: the first time on a machine, and with the index in
the cache; bpftool beside it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.harness import PYTHON, Report, Row, ms, run_process

VMLINUX = "/sys/kernel/btf/vmlinux"
CODE = """
import time
import ebpf.btf.format, ebpf.compiler.cache, ebpf.kernel.facts, ebpf.session  # a user has them by then
start = time.perf_counter()
text = ebpf.host.btf().format("struct task_struct")
print(time.perf_counter() - start)
assert "pid" in text and len(text) > 4000
"""


def run(report: Report) -> None:
    if not Path(VMLINUX).exists():
        report.skip("types", f"no {VMLINUX}")
        return
    first, again, theirs = [], [], []
    bpftool = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    for _ in range(report.rounds):
        with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as cache:
            for times in (first, again):
                times.append(float(run_process([PYTHON, "-c", CODE], {"EBPF_CACHE_DIR": cache}).output.split()[-1]))
        if bpftool:
            start = time.perf_counter()
            dump = [bpftool, "btf", "dump", "file", VMLINUX, "format", "c"]
            subprocess.run(dump, stdout=subprocess.DEVNULL, check=True)
            theirs.append(time.perf_counter() - start)
    one, two = statistics.median(first), statistics.median(again)
    peer = ms(statistics.median(theirs)) if theirs else "-"
    report.add(Row("find and render task_struct, first (bound: 150 ms)", ms(one), peer, one / 0.150, 1.0))
    report.add(Row("find and render task_struct, again (bound: 10 ms)", ms(two), peer, two / 0.010, 1.0))
