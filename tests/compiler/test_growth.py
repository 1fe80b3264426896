"""Ten times the C takes at most twelve times as long: in functions, in maps, and in one function that prints a lot."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.compiler.test_cache import Facts


def functions(n: int) -> str:
    body = "".join(
        f"int f{i}(void *ctx) {{ u64 k = {i}, z = 0, *v = m.lookup_or_try_init(&k, &z); if (v) *v += {i}; return 0; }}\n"
        for i in range(n)
    )
    return "BPF_HASH(m, u64, u64);\n" + body


def maps(n: int) -> str:
    return "".join(
        f"BPF_HASH(m{i}, u32, u64);\nint f{i}(void *c) {{ u32 k = {i}; m{i}.increment(k); return 0; }}\n"
        for i in range(n)
    )


def prints(n: int) -> str:
    lines = "".join(f'    if (id == {i}) bpf_trace_printk("case {i}: %d\\n", id);\n' for i in range(n))
    return "int f(void *ctx) {\n    u32 id = bpf_get_current_pid_tgid();\n" + lines + "    return 0;\n}\n"


def seconds(text: str) -> float:
    from ebpf.compiler import Options, compile_c

    best = 1e9
    for _ in range(2):
        start = time.perf_counter()
        compile_c(text, facts=Facts(), options=Options(dialect="bcc"))  # type: ignore[arg-type]
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.slow
@pytest.mark.parametrize(("make", "n"), [(functions, 12), (maps, 12), (prints, 20)])
def test_time_grows_no_faster_than_the_text(make: Callable[[int], str], n: int) -> None:
    seconds(make(1))  # imports
    small, large = seconds(make(n)), seconds(make(10 * n))
    assert large <= 12 * small, f"{n}: {small:.3f} s, {10 * n}: {large:.3f} s"
