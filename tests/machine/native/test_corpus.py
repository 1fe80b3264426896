"""The project's own programs in both engines: same results, same packets, same maps; checked mode never fires."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from ebpf.abi.programs import ProgType
from ebpf.errors import EbpfError, KernelError, MachineFault, NotSupported, VerifierError
from ebpf.machine import Clock, Machine, Task
from ebpf.machine.native.program import NativeProgram
from ebpf.machine.packets import PACKET_TYPES
from ebpf.object import Object, read_object
from tests.compiler.test_corpus import CORPUS, PROGRAMS, directive
from tests.machine.test_compiled import packets

pytest.importorskip("llvmlite")
SEED = 5


class Stopped(Clock):
    """Time that both engines agree on."""

    def monotonic_ns(self) -> int:
        return 123_456_789_000

    boot_ns = tai_ns = monotonic_ns


@cache
def compiled(name: str) -> tuple[Object, dict[str, int]]:
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.tracepipe import tracefs

    text = (CORPUS / name).read_text()
    if "TRACEPOINT_PROBE" in text:
        try:
            tracefs()
        except KernelError as error:
            pytest.skip(error.message)
    obj = read_object(compile_c(text, filename=name, facts=SystemFacts(), options=Options()), name)
    types = {p: int(ProgType.KPROBE) for p, spec in obj.programs.items() if spec.type is None}
    types |= {p: int(getattr(ProgType, t)) for p, _, t in (w.partition("=") for w in directive(text, "types").split())}
    return obj, types


def machine(name: str, engine: str) -> Machine:
    from ebpf.kernel.facts import SystemFacts

    obj, types = compiled(name)
    return Machine(obj, types=types, engine=engine, seed=SEED, clock=Stopped(), task=Task(pid=7, tid=8, uid=9, comm=b"both"),
                   cpus=2, btf=SystemFacts().btf(), ksyms={"schedule": 0xFFFF_FFFF_8100_0000})


def outcome(m: Machine, program: str, data: bytes | None, ctx: bytes | None, cpu: int) -> Any:
    try:
        run = m.run(program, data, ctx=ctx, cpu=cpu)
    except (MachineFault, NotSupported) as error:
        return type(error).__name__
    # Addresses differ: of the context only what lies outside of the packet's is compared.
    return run.result, run.data, run.redirect, run.clones, run.return_value, run.override


def contents(m: Machine) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in m.maps.items():
        try:
            bulk = each.read_all()
        except EbpfError:
            drain = getattr(each, "drain", None)
            found[name] = [getattr(r, "data", r) for r in drain()] if drain is not None else None
            continue
        k, v = each.key_size, len(bulk.values) // max(bulk.count, 1)
        found[name] = {bytes(bulk.keys[k * n:k * n + k]): bytes(bulk.values[v * n:v * n + v]) for n in range(bulk.count)}
    return found


def events(type: int, count: int) -> list[tuple[bytes | None, bytes | None]]:
    if type in PACKET_TYPES:
        return [(packet, None) for packet in packets(count)]
    rng = random.Random(3)
    # Small numbers and zeros: what leads into a kernel's memory finds nothing there in either engine.
    return [(None, b"".join(rng.choice((0, 1, 3, rng.getrandbits(20))).to_bytes(8, "little") for _ in range(32)))
            for _ in range(count)]


@pytest.mark.kernel
@pytest.mark.parametrize("name", PROGRAMS)
def test_both_engines_agree(name: str) -> None:
    interpreter, native, checked = machine(name, "interpreter"), machine(name, "jit"), machine(name, "jit")
    ran = 0
    for program in compiled(name)[0].programs:
        try:
            found = interpreter.program(program)
        except (VerifierError, NotSupported) as error:
            with pytest.raises(type(error)):
                native.program(program)
            continue
        slow = checked.program(program)
        assert isinstance(slow, NativeProgram)
        slow.checked = True
        for n, (data, ctx) in enumerate(events(found.type, 12)):
            expected = outcome(interpreter, program, data, ctx, n % 2)
            assert outcome(native, program, data, ctx, n % 2) == expected, (program, n)
            assert outcome(checked, program, data, ctx, n % 2) == expected, (program, n)
            ran += 1
        assert not slow.refused
    assert ran
    expected_maps = contents(interpreter)
    assert contents(native) == expected_maps
    assert contents(checked) == expected_maps
    assert list(native.environment.printed) == list(interpreter.environment.printed)
