"""Programs with words swapped at random: the front end answers with a tree that holds, or says what is wrong."""

from __future__ import annotations

import random
import re
import warnings

import pytest

from ebpf.compiler.c.checktree import check
from ebpf.compiler.py.compiler import check_functions
from ebpf.errors import EbpfError, InternalError
from tests.compiler.py.py_support import define, programs_of, read_cases
from tests.compiler.py.test_programs import FILE
from tests.compiler.trace.trace_support import FakeFacts

WORD = re.compile(r"\w+|[^\w\s]+")
EACH = 400


@pytest.mark.parametrize("seed", range(2))
def test_mutations(seed: int) -> None:
    r = random.Random(seed)
    facts = FakeFacts()
    texts = [text for _, text, _ in read_cases(FILE)]
    pool = [word for text in texts for word in WORD.findall(text)]
    compiled = 0
    for _ in range(EACH):
        text = r.choice(texts)
        for _ in range(r.choice((1, 1, 2, 3))):
            m = r.choice(list(WORD.finditer(text)))
            text = text[: m.start()] + r.choice(pool) + text[m.end() :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                programs = programs_of(define(text + "\n"))
        except Exception:  # Python itself refuses the module
            continue
        if programs:
            try:
                unit, _ = check_functions(programs, facts=facts)
            except InternalError:
                raise
            except EbpfError:
                continue
            assert not check(unit), text
            compiled += 1
    assert compiled > EACH // 100
