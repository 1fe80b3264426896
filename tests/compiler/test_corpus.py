"""Programs of both dialects: each compiles without a warning and loads, here and on every guest kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
PROGRAMS = sorted(p.name for p in CORPUS.glob("*.c"))


#: Quick and telling: these run on every kernel also by default.
SMOKE = ("kprobe_bcc.c", "tracepoint_ringbuf.c", "xdp_firewall.c")


def directive(text: str, word: str) -> str:
    """What a comment line ``// WORD: …`` among the first lines says."""
    found = re.search(rf"^// {word}: (.*)$", text, re.M)
    return found[1] if found else ""


def have_trampolines() -> bool:
    """Whether fentry programs can be loaded at all: kernels without kprobes refuse them."""
    from ebpf.compiler import compile_c
    from ebpf.errors import EbpfError
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import load
    from ebpf.object import read_object

    text = 'SEC("fentry/vfs_read") int f(void *ctx) { return 0; }'
    try:
        load(read_object(compile_c(text, facts=SystemFacts()), "probe")).close()
    except EbpfError:
        return False
    return True


def load(name: str) -> None:
    """Compile and load a program of the corpus.

    ``// types: a=XDP b=KPROBE`` names the types of BCC programs, which their attachment decides; kprobe without it.
    ``// needs: 5.12`` (the first kernel with it) and ``// needs: trampolines`` tell what a refusal may be due to.
    """
    from ebpf.abi.programs import ProgType
    from ebpf.compiler import Options, compile_c_full
    from ebpf.errors import EbpfError, NotSupported
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import load
    from ebpf.object import read_object

    text = (CORPUS / name).read_text()
    facts = SystemFacts()
    compiled = compile_c_full(text, filename=name, facts=facts, options=Options())
    assert [d.message for d in compiled.diagnostics] == []
    obj = read_object(compiled.elf, name)
    types = {p: ProgType.KPROBE for p, spec in obj.programs.items() if spec.type is None}
    types |= {p: getattr(ProgType, t) for p, _, t in (w.partition("=") for w in directive(text, "types").split())}
    try:
        with load(obj, types=types) as loaded:
            assert not loaded.btf_problem
            assert set(loaded.programs) == set(obj.programs) != set()
    except EbpfError as error:
        for need in directive(text, "needs").split():
            if need == "trampolines":
                lacking = not have_trampolines()
            else:
                major, minor = map(int, need.split("."))
                lacking = facts.kernel_version < (major << 16) + (minor << 8)
            if lacking:
                raise NotSupported(f"what {name} uses: {need}") from error
        raise


@pytest.mark.kernel
@pytest.mark.parametrize("name", PROGRAMS)
def test_loads_here(name: str) -> None:
    from ebpf.errors import KernelError, NotSupported
    from ebpf.kernel.tracepipe import tracefs

    if "TRACEPOINT_PROBE" in (CORPUS / name).read_text():
        try:
            tracefs()
        except KernelError as error:
            pytest.skip(error.message)
    try:
        load(name)
    except NotSupported as error:
        pytest.skip(error.message)


@pytest.mark.guest(smoke=True, timeout_s=240)
@pytest.mark.parametrize("name", SMOKE)
def test_loads_in_every_guest(name: str) -> None:
    load(name)


@pytest.mark.guest(timeout_s=240)
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - set(SMOKE)))
def test_loads_in_guests(name: str) -> None:
    load(name)


def test_the_corpus_has_both_dialects() -> None:
    texts = [(CORPUS / name).read_text() for name in PROGRAMS]
    assert sum("SEC(" in t for t in texts) >= 5
    assert sum(bool(re.search(r"^(BPF_\w+|TRACEPOINT_PROBE)\(", t, re.M)) for t in texts) >= 2
