"""Damaged inputs with a fixed seed, and what must be true of whatever reads them: a value or one clear error, soon, in little memory.

``EBPF_FUZZ_CASES=N`` runs N cases of each target instead of `CASES`.
"""

from __future__ import annotations

import os
import random
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from ebpf.errors import EbpfError, InternalError

CASES = int(os.environ.get("EBPF_FUZZ_CASES", "150"))
SECONDS = 20  # for one case: a busy machine is forgiven, a loop without an end is not
_MEASURED = 10  # of so many cases the memory of one is measured: that takes time
_BASE_BYTES = 24 << 20  # modules that are imported, tables that are made once

_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def damaged(seed: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled, or numbers put in their places."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 3, 8, 20))):
        if not data:
            break
        at, kind = rng.randrange(len(data)), rng.random()
        if kind < 0.35:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8), data[at] ^ 1 << rng.randrange(8)))
        elif kind < 0.65:
            size = rng.choice((2, 4, 8))
            at -= at % size
            data[at:at + size] = (rng.choice(_NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, "little")[:max(0, len(data) - at)]
        elif kind < 0.75:
            del data[at:at + rng.choice((1, 4, 8, 24, 100))]
        elif kind < 0.85:
            data[at:at] = data[at:at + rng.choice((1, 4, 8, 24, 100))]
        elif kind < 0.95:
            other = rng.randrange(len(data))
            data[at:at + 8] = data[other:other + 8]
        else:
            del data[at:]
    return bytes(data)


def damaged_text(seed: str, rng: random.Random) -> str:
    """Words left out, doubled, exchanged; signs put in."""
    import re

    words = re.findall(r"\w+|\s+|[^\w\s]", seed)
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        at, other, kind = rng.randrange(len(words)), rng.randrange(len(words)), rng.random()
        if kind < 0.3:
            words[at] = ""
        elif kind < 0.5:
            words[at] += words[other]
        elif kind < 0.7:
            words[at], words[other] = words[other], words[at]
        elif kind < 0.95:
            words[at] = rng.choice(("(", ")", "{", "}", "*", "&", ";", ",", "0", "-1", "99999999999999999999", '"', "'", "#", "\\", "\n",
                                    "if", "struct", "[", "]", "...", "\0", "é", "1e9", "0x", "->", "/*", "//", "##", "goto", "sizeof"))
        else:
            return "".join(words[:at])
    return "".join(words)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def expired(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, inputs: Callable[[random.Random], bytes | str], read: Callable[..., object], *, times: int = 10,
         cases: int = CASES) -> None:
    """``cases`` inputs for ``read``: each a value or an `EbpfError` that is none of our own bugs; never above ``times`` the input's bytes."""
    good = 0
    for case in range(cases):
        rng = random.Random(f"{name} {case}")
        given = inputs(rng)
        measured = case % _MEASURED == 1
        if measured:
            tracemalloc.start()
        try:
            with within(SECONDS):
                read(given)
            good += 1
        except InternalError as error:
            pytest.fail(f"{name}, case {case}: {error}\n{given!r}")
        except EbpfError as error:
            assert error.message and "\n" not in error.message, (name, case, error)
        except TimeoutError as error:
            pytest.fail(f"{name}, case {case}: {error}\n{given!r}")
        except Exception as error:
            raise AssertionError(f"{name}, case {case}: {type(error).__name__}: {error}\n{given!r}") from error
        finally:
            if measured:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        if measured:
            assert peak <= times * len(given) + _BASE_BYTES, f"{name}, case {case}: {peak} bytes for {len(given)}"
    assert 0 < good or cases < 50, f"{name}: nothing was ever good: the damage is too great to test much"
