"""Our verdict beside this machine's kernel: on the project's own programs, and on random ones."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ebpf.abi.programs import ProgType
from ebpf.isa import assemble, decode, encode
from ebpf.verifier import Options, verify_program
from ebpf.verifier.program import Program
from ebpf.verifier.refuse import Refuse

pytestmark = pytest.mark.kernel

_CORPUS = Path(__file__).resolve().parents[1] / "corpus"
# Why a kernel may refuse what we accept: we know more of a number than it does, or do not follow what it follows round by round.
EXPLAINED = {
    "precision": r"unbounded|invalid (unbounded )?variable-offset|min value|max value|pointer arithmetic|makes .* pointer be out of bounds",
    "complexity": r"too large|too complex|infinite loop",
}


@pytest.mark.parametrize("name", sorted(p.name for p in _CORPUS.glob("*.c")))
def test_our_own_programs(name: str) -> None:
    """What this kernel loads, we accept; what it refuses, we refuse."""
    from bench.verifier import typed
    from ebpf.compiler import Options as Compiling, compile_c
    from ebpf.errors import EbpfError, KernelError, VerifierError
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import load
    from ebpf.object import read_object
    from ebpf.session.verification import verify
    from tests.compiler.test_corpus import directive

    text = (_CORPUS / name).read_text()
    types = dict(w.split("=") for w in directive(text, "types").split())
    try:
        compiled = compile_c(text, filename=name, facts=SystemFacts(), options=Compiling())
    except KernelError as error:
        pytest.skip(f"this host: {error.message}")  # no tracefs, where tracepoints are described
    obj = typed(read_object(compiled, name), types)  # type: ignore[arg-type]
    with load(obj, load_programs=False) as loaded:
        for program in obj.programs:
            try:
                verify(obj, program)
                ours = ""
            except VerifierError as error:
                ours = str(error)
            try:
                loaded.load_program(program).close()
                theirs = ""
            except VerifierError as error:
                theirs = str(error)
            except EbpfError:
                continue  # not for this kernel, for another reason than safety
            assert bool(ours) == bool(theirs), f"{program}: ours: {ours or 'safe'}\nthis kernel: {theirs or 'safe'}"


def some_code(rng: random.Random) -> bytes:
    """Numbers from the context, conditions, arithmetic, and accesses to 64 bytes of stack at what comes out."""
    lines = ["r6 = r1", *(f"r0 = *(u64 *)(r1 +{8 * n})\n*(u64 *)(r10 -{64 - 8 * n}) = r0" for n in range(8))]
    lines += [f"r{r} = *(u{rng.choice((8, 16, 32, 64))} *)(r6 +{64 + 8 * r})" for r in (7, 8, 9)]
    for n in range(rng.randrange(3, 12)):
        a, b = rng.sample((7, 8, 9), 2)
        kind = rng.random()
        if kind < 0.3:
            what = rng.choice((">", "<", "s>", "s<", ">=", "s<=", "==", "!=", "&"))
            lines += [f"if {rng.choice('rw')}{a} {what} {hex(rng.choice((1, 7, 8, 56, 63)))} goto a{n}",
                      f"r{b} = {rng.choice((0, 1, 8, 63, -1))}", f"a{n}: r0 = 0"]
        elif kind < 0.6:
            op = rng.choice(("+=", "-=", "*=", "&=", "|=", "^=", "<<=", ">>=", "s>>=", "/=", "%="))
            lines += [f"{rng.choice('rw')}{a} {op} {rng.choice((1, 2, 3, 7, 31))}"]
        elif kind < 0.7:
            lines += [f"{'r' if rng.random() < 0.5 else 'w'}{a} {rng.choice(('+=', '-=', '&=', '|='))} r{b}".replace("w", "r")]
        else:
            if rng.random() < 0.6:
                lines += [f"r{a} &= {rng.choice((7, 31, 56, 63))}"]
            lines += ["r1 = r10", f"r1 += -{rng.choice((64, 64, 32, 8))}", f"r1 += r{a}", f"r{b} = *(u8 *)(r1 +0)"]
    return encode(assemble("\n".join([*lines, "r0 = 0", "exit"])))


def test_random_programs() -> None:
    from ebpf.kernel.programs import LoadRefused, load_program

    rng = random.Random("agreement")
    both = neither = ours_only = theirs_only = 0
    for _ in range(150):
        code = some_code(rng)
        try:
            verify_program(Program(decode(code), type=int(ProgType.SYSCALL)), Options(max_insns=50_000))
            ours = True
        except Refuse:
            ours = False
        try:
            load_program(code, type=ProgType.SYSCALL, name="agreement", flags=1 << 4).close()
            theirs, log = True, ""
        except LoadRefused as error:
            theirs, log = False, error.log
        both, neither = both + (ours and theirs), neither + (not ours and not theirs)
        ours_only, theirs_only = ours_only + (ours and not theirs), theirs_only + (theirs and not ours)
        if ours and not theirs:
            assert any(re.search(words, log) for words in EXPLAINED.values()), f"{code.hex()}\n{log[-2000:]}"
    assert both > 20 and neither > 20, (both, neither)
    assert ours_only <= 10 and theirs_only <= 10, (ours_only, theirs_only)
