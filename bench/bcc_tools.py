"""Debian's BCC tools, all of them, from their start until they would wait for events: under BCC, under us the first
time, and from our cache; the peak memory of that; and events through ``perf_buffer_poll``.

Both compile and load and do not attach (`programs/tool_ready.py` says why), each in a mount namespace of its own, with
tracefs where no other process sees it. Tools that one of the two cannot bring that far on this kernel are left out and
counted.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from pathlib import Path

from bench import peer
from bench.harness import PYTHON, Report, Row, Run, mb, ms, rate, run_process

PROGRAMS = Path(__file__).parent / "programs"
TOOLS = Path("/usr/sbin")
_TRACEFS = "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec \"$@\""

# What a tool wants on its command line, where it wants something.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "argdist": ("-C", "p::vfs_read()"), "biolatpcts": ("/dev/vda",), "deadlock": ("1",), "funccount": ("vfs_read",),
    "funcinterval": ("vfs_read",), "funclatency": ("vfs_read",), "funcslower": ("vfs_read",), "netqtop": ("-n", "lo"),
    "stackcount": ("vfs_read",), "tcpsubnet": ("127.0.0.0/8",), "trace": ("vfs_read",), "ttysnoop": ("/dev/console",),
}


def run(report: Report) -> None:
    reason = peer.why_absent() or (None if tools() else "bpfcc-tools is not installed")
    if reason is not None:
        report.skip("the tools of BCC", reason)
        return
    first, cached, theirs = {}, {}, {}
    left_out = []
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as warm:
        for name in tools():
            script = [str(PROGRAMS / "tool_ready.py"), str(TOOLS / f"{name}-bpfcc"), *ARGUMENTS.get(name, ())]
            try:
                runs = [_once(peer.command(script[0], *script[1:]), None), _once([PYTHON, *script], warm)]
                runs += [_once([PYTHON, *script], warm), _once([PYTHON, *script], warm)]
            except RuntimeError:
                left_out.append(name)
                continue
            theirs[name], first[name], cached[name] = runs[0], runs[1], min(runs[2:], key=lambda r: r.seconds)
    if not theirs:
        report.skip("the tools of BCC", "none of them starts under both here")
        return
    for what, mine, times in (("first", first, 0.5), ("cached", cached, 0.2)):
        report.add(Row(f"start to ready, {len(theirs)} tools, {what}", ms(_mean(mine, "seconds")),
                       ms(_mean(theirs, "seconds")), _ratio(mine, theirs, "seconds"), times))
    report.add(Row("  peak memory of it, cached", mb(_mean(cached, "memory_mb")), mb(_mean(theirs, "memory_mb")),
                   _ratio(cached, theirs, "memory_mb"), 0.3))
    if left_out:
        report.skip(f"{len(left_out)} tools", f"not brought to ready by both here: {' '.join(left_out)}")
    script = str(PROGRAMS / "perf_callbacks.py")
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(report.rounds):
        rates[0].append(float(run_process([PYTHON, script]).output.split()[-1]))
        rates[1].append(float(run_process(peer.command(script)).output.split()[-1]))
    mine, bcc = (statistics.median(r) for r in rates)
    report.add(Row("48-byte events through perf_buffer_poll's callbacks", rate(mine), rate(bcc), mine / bcc, 1.0,
                   at_least=True))


def tools() -> list[str]:
    """The scripts of the package that are written in Python."""
    found = []
    for path in sorted(TOOLS.glob("*-bpfcc")):
        with path.open("rb") as file:
            if b"python" in file.readline():
                found.append(path.name.removesuffix("-bpfcc"))
    return found


def _once(command: list[str], cache: str | None) -> Run:
    done = run_process(["unshare", "-m", "sh", "-c", _TRACEFS, "sh", *command],
                       {} if cache is None else {"EBPF_CACHE_DIR": cache})
    if "READY" not in done.output:
        raise RuntimeError(done.output)
    return done


def _mean(runs: dict[str, Run], what: str) -> float:
    return math.exp(statistics.fmean(math.log(getattr(r, what)) for r in runs.values()))


def _ratio(ours: dict[str, Run], theirs: dict[str, Run], what: str) -> float:
    return math.exp(statistics.fmean(math.log(getattr(ours[n], what) / getattr(theirs[n], what)) for n in ours))
