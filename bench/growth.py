"""Compiling C that grows tenfold: the time may grow at most twelvefold, in functions, in one function's length and
in maps.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.harness import Report, Row, ms

if TYPE_CHECKING:
    from collections.abc import Callable


def many_functions(n: int) -> str:
    """``n`` programs of some ten lines, each with a map look-up."""
    head = "BPF_HASH(counts, u64, u64);\n"
    return head + "".join(f"""
int f{i}(struct pt_regs *ctx) {{
    u64 key = {i}, zero = 0, *value;
    if (PT_REGS_PARM1(ctx) == {i})
        return 0;
    value = counts.lookup_or_try_init(&key, &zero);
    if (value)
        *value += PT_REGS_PARM2(ctx);
    return 0;
}}
""" for i in range(n))


def long_function(n: int) -> str:
    """One program of ``n`` groups of statements that print and count: what bpftrace's users saw LLVM choke on."""
    body = "".join(f"""
    if (id == {i}) {{
        bpf_trace_printk("case {i} %d\\\\n", id);
        counts.increment(id);
    }}""" for i in range(n))
    head = "BPF_HASH(counts, u32, u64);\nint f(struct pt_regs *ctx) {\n    u32 id = PT_REGS_PARM1(ctx);"
    return f"{head}{body}\n    return 0;\n}}\n"


def many_maps(n: int) -> str:
    """``n`` maps, each used once."""
    maps = "".join(f"BPF_HASH(m{i}, u32, u64);\n" for i in range(n))
    uses = "".join(f"int f{i}(void *ctx) {{ u32 k = {i}; m{i}.increment(k); return 0; }}\n" for i in range(n))
    return maps + uses


CASES: tuple[tuple[str, Callable[[int], str], int], ...] = (
    ("functions", many_functions, 20), ("one function's length", long_function, 15), ("maps", many_maps, 15),
)


def run(report: Report) -> None:
    import ebpf

    def seconds(text: str) -> float:
        start = time.perf_counter()
        ebpf.compile(text, dialect="bcc", cache=False)
        return time.perf_counter() - start

    for name, make, n in CASES:
        small, large = make(n), make(10 * n)
        seconds(small)
        pairs = [(seconds(small), seconds(large)) for _ in range(max(1, report.rounds // 2))]
        one = statistics.median(p[0] for p in pairs)
        ten = statistics.median(p[1] for p in pairs)
        report.add(Row(f"compile ten times the {name} ({n} to {10 * n})", ms(ten), ms(one), ten / one, 12))
