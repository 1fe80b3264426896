"""Programs of both dialects: each compiles without a warning and loads, here and on every guest kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
PROGRAMS = sorted(p.name for p in CORPUS.glob("*.c"))


def load(name: str) -> None:
    from ebpf.abi.programs import ProgType
    from ebpf.compiler import Options, compile_c_full
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import load
    from ebpf.object import read_object

    text = (CORPUS / name).read_text()
    facts = SystemFacts()
    compiled = compile_c_full(text, filename=name, facts=facts, options=Options())
    assert [d.message for d in compiled.diagnostics] == []
    obj = read_object(compiled.elf, name)
    # BCC's programs get their type from how they are attached.
    types = {p: ProgType.KPROBE for p, spec in obj.programs.items() if spec.type is None}
    with load(obj, types=types) as loaded:
        assert set(loaded.programs) == set(obj.programs) != set()


@pytest.mark.kernel
@pytest.mark.parametrize("name", PROGRAMS)
def test_loads_here(name: str) -> None:
    from ebpf.errors import KernelError
    from ebpf.kernel.tracepipe import tracefs

    if "TRACEPOINT_PROBE" in (CORPUS / name).read_text():
        try:
            tracefs()
        except KernelError as error:
            pytest.skip(error.message)
    load(name)


@pytest.mark.guest(smoke=True, timeout_s=240)
@pytest.mark.parametrize("name", PROGRAMS)
def test_loads_in_guests(name: str) -> None:
    load(name)


def test_the_corpus_has_both_dialects() -> None:
    texts = [(CORPUS / name).read_text() for name in PROGRAMS]
    assert sum("SEC(" in t for t in texts) >= 5
    assert sum(bool(re.search(r"^(BPF_\w+|TRACEPOINT_PROBE)\(", t, re.M)) for t in texts) >= 2
