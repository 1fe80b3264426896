"""`verify`: from an object's program to a `Verified`, or to a refusal that says what to change."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import VerifierError
from ebpf.verifier.depth import check_depth
from ebpf.verifier.explore import Explorer
from ebpf.verifier.options import Options
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import BTF, CTX, SOCK_COMMON, SOCKET, TCP_SOCK, XDP_SOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.object import Linked, Object
    from ebpf.verifier.program import MapInfo, Program
    from ebpf.verifier.ranges import Range

_FOLLOWED = 300_000  # instructions, when loops are followed round by round after all
KERNEL_BUDGET = 1_000_000  # instructions that a kernel looks at before it gives up
# Accesses through these are rewritten by kernels: one instruction cannot serve one of them and anything else.
_EXCLUSIVE = sum(1 << k for k in (CTX, SOCKET, SOCK_COMMON, TCP_SOCK, XDP_SOCK, BTF))


class Verified(NamedTuple):
    """A program proven safe, and what was found on the way.

    ``paths``, ``states`` (kept for comparison) and ``insns_visited`` count the work, ``stack_bytes`` is the deepest
    stack of any chain of calls, ``seconds`` the time it took. ``kernel_budget_exceeded``: a kernel would look at more
    than a million instructions and give up. Facts by slot: ``pointer_kinds`` (bits, `ebpf.verifier.values`) that an
    access goes through, ``maps`` where it is always the same map, ``outcomes`` of conditional jumps (1: never taken, 2:
    always, 3: both, 0: never reached), ``reached``. ``context_bytes``: how much of its context it may touch.
    ``result`` contains every value that the program can return (with
    `Options.track_result`).
    """

    program: Program
    paths: int
    states: int
    insns_visited: int
    stack_bytes: int
    seconds: float
    kernel_budget_exceeded: bool
    pointer_kinds: tuple[int, ...]
    maps: Mapping[int, MapInfo]
    outcomes: bytes
    reached: bytes
    result: Range | None
    context_bytes: int


def verify_program(program: Program, options: Options | None = None) -> Verified:
    """Verify a prepared program; raises `ebpf.verifier.refuse.Refuse` (`verify` makes a readable error of it)."""
    started = time.perf_counter()
    x = Explorer(program, options or Options())
    try:
        with _not_collecting():
            return _judge(x, started)
    except Refuse as refusal:
        refusal.trail = x.trail_to(refusal.slot)
        if refusal.slot < 0:
            refusal.slot = x.slot
        raise


@contextmanager
def _not_collecting() -> Iterator[None]:
    """States refer to earlier ones and never the other way round, so counting references frees them; looking for
    circles among a hundred thousand live objects again and again made long programs twice as slow (and more than
    linear)."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _judge(x: Explorer, started: float) -> Verified:
    try:
        return _explore(x, started)
    except Refuse:
        if not x.proved:
            raise
        # What was guessed of a loop may have been too wide for what comes behind it.
        followed = x.options._replace(unroll=True, max_insns=min(x.options.max_insns, _FOLLOWED))
        try:
            return _explore(Explorer(x.program, followed), started)
        except Refuse:
            pass
        raise


def _explore(x: Explorer, started: float) -> Verified:
    program = x.program
    check_depth(program, x.stack_used, set())  # recursion first: following it would take long
    x.run(program.subprogs[0])
    done = {0}
    while x.globals_called - done:
        index = min(x.globals_called - done)
        done.add(index)
        x.run(program.subprogs[index])
    stack = check_depth(program, x.stack_used, x.tail_callers)
    for slot, kinds in enumerate(x.kinds):
        if kinds & _EXCLUSIVE and kinds & (kinds - 1):
            raise Refuse(
                "V0103",
                "different kinds of pointers reach this instruction, one of them the context or a kernel object",
                row="pointer-mix",
                slot=slot,
            )
    maps = {slot: info for slot, info in x.maps.items() if info}
    return Verified(
        program,
        x.paths,
        x.states,
        x.insns,
        stack,
        time.perf_counter() - started,
        x.insns + x.extra_insns > KERNEL_BUDGET,
        tuple(x.kinds),
        maps,
        bytes(x.outcomes),
        bytes(x.visited),
        x.result,
        x.context_bytes,
    )


def verify_raw(code: bytes, memory_bytes: int, *, options: Options | None = None) -> Verified:
    """Verify bare instructions, run with r1 = a block of ``memory_bytes`` bytes (0: no block) and r2 = its length.

    Code that no path reaches is left alone: it cannot do harm, and hand-written code has it. (A kernel refuses it.)
    Raises `VerifierError`; `ebpf.errors.InsnError` for bytes that are no program.
    """
    from ebpf.isa import decode
    from ebpf.verifier.program import Program
    from ebpf.verifier.report import explain_program

    program = None
    try:
        with _not_collecting():
            program = Program(decode(code), type=0, name="code", dead_code=True)
            program.memory_bytes = memory_bytes
            return verify_program(program, options)
    except Refuse as refusal:
        error: VerifierError = explain_program("code", program, refusal)
    raise error


def verify(
    obj: Object, program: str, *, options: Options | None = None, linked: Linked | None = None
) -> Verified:
    """Verify the program (or function) ``program`` of the object.

    ``linked``: it was linked, and its CO-RE relocations were made, already. Raises `VerifierError` whose diagnostic has
    the source line, the reason, the way that leads there and what would mend it; `ebpf.errors.RelocationError` or
    `UnknownName` if the object does not hold together.
    """
    from ebpf.verifier.prepare import link_for, prepare
    from ebpf.verifier.report import explain

    options = options or Options()
    prepared = None
    if linked is None:
        linked = link_for(obj, program, options)
    try:
        with _not_collecting():
            prepared = prepare(obj, program, linked, options)
            return verify_program(prepared, options)
    except Refuse as refusal:
        error: VerifierError = explain(obj, program, linked, prepared, refusal)
    raise error
