"""The same C through our compiler and clang, run on the same inputs by this machine's kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compiler import differential

HERE = Path(__file__).parent / "against_clang"
WIDE = HERE / "wide.c"
CASES = sorted(set(HERE.glob("*.c")) - {WIDE})
# Clang 14 makes code for some of these that the verifier wants otherwise; the wheel's is current.
pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def needs_kernel() -> None:
    from ebpf.errors import KernelError, NotSupported
    from ebpf.kernel.loader import load
    from ebpf.object import read_object

    elf = differential.ours('SEC("syscall") int test(struct io *io) { return 0; }')
    try:
        load(read_object(elf, "probe")).close()
    except (KernelError, NotSupported) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def needs_clang() -> None:
    differential._clang()


def compare(text: str, inputs: list[list[int]], mcpu: str = "v3") -> None:
    mine, theirs = differential.Runner(differential.ours(text, mcpu=mcpu)), None
    try:
        theirs = differential.Runner(differential.clangs(text, mcpu=mcpu))
        for row in inputs:
            a, b = mine.run(row), theirs.run(row)
            if a != b:
                slots = [i for i, (p, q) in enumerate(zip(a[1], b[1])) if p != q]
                pytest.fail(
                    f"inputs {[hex(v) for v in row]}: result {a[0]} / {b[0]}; first difference at out[{slots[:1]}]: "
                    f"{[(i, hex(a[1][i]), hex(b[1][i])) for i in slots[:4]]}"
                )
    finally:
        mine.close()
        if theirs is not None:
            theirs.close()


@pytest.mark.parametrize("mcpu", ["v3", "v4"])
@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_hand_written_cases(path: Path, mcpu: str, needs_kernel: None) -> None:
    compare(path.read_text(), differential.vectors(60, seed=1), mcpu)


def test_wide_integers(needs_kernel: None) -> None:
    """The text of wide.c, line by line, in Python's integers."""
    runner = differential.Runner(differential.ours(WIDE.read_text()))
    try:
        for row in differential.vectors(40, seed=3):
            expected = list(wide(*row[:4]))
            result, out = runner.run(row)
            assert (result, list(out[: len(expected)])) == (len(expected), expected), [hex(v) for v in row]
    finally:
        runner.close()


def wide(a: int, b: int, c: int, d: int) -> Iterator[int]:
    mask = (1 << 128) - 1
    x, y = a << 64 | b, c << 64 | d

    def signed(v: int, bits: int = 128) -> int:
        return v - (1 << bits) if v >> (bits - 1) & 1 else v

    def put(*values: int) -> Iterator[int]:
        for v in values:
            yield v & ((1 << 64) - 1)
            yield v >> 64 & ((1 << 64) - 1)

    def truncated(p: int, q: int) -> int:
        return abs(p) // abs(q) * (-1 if (p < 0) != (q < 0) else 1)

    s, t = signed(x), signed(y)
    yield from put(x + y, x - y, x & y, x | y, x ^ y, ~x, -x, x << 7, x >> 70, s >> 5)
    yield from (x < y, s < t, x == y, not x, y != 0)
    yield from put(signed(a, 64), signed(b & 0xFFFFFFFF, 32), x // 16, x % 4096)
    yield from put(x * y, a * c, signed(a, 64) * signed(d, 64), (x << (a & 127)) & mask, x >> (b & 127), s >> (c & 127))
    yield a * b >> 64
    y |= 1
    t = signed(y)
    yield from put(x // y, x % y, truncated(s, t), s - truncated(s, t) * t, x // 10, x % 1000003)


@pytest.mark.parametrize("seed", range(int(os.environ.get("EBPF_RANDOM_PROGRAMS", "24"))))
def test_random_programs(seed: int, needs_kernel: None) -> None:
    from tests.compiler.random_c import program

    compare(program(seed), differential.vectors(20, seed))
