"""The verifier over a named corpus: time per instruction, instructions visited beside what this kernel says it
processed, growth.

The corpus: the project's own programs (``tests/corpus``, compiled here) and the BPF objects that Debian's packages
carry (fetched with ``apt-get download`` into a temporary directory; left out where that does not work).
"""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Report, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.object import Object

_CORPUS = Path(__file__).resolve().parents[1] / "tests" / "corpus"
PACKAGES = ("libxdp1", "ir-keytable")  # of Debian 12 and later: those that carry object files
MS_PER_INSN = 0.1
VISITED = 1.5


def debian_objects(where: str) -> Iterator[tuple[str, bytes]]:
    """(name, ELF bytes) of the objects in the packages; nothing where they cannot be fetched."""
    for package in PACKAGES:
        command = ["apt-get", "download", package]
        done = subprocess.run(command, cwd=where, capture_output=True, check=False, timeout=120)
        for archive in Path(where).glob(f"{package}_*.deb") if done.returncode == 0 else ():
            unpacked = Path(where) / package
            if subprocess.run(["dpkg-deb", "-x", archive, unpacked], capture_output=True, check=False).returncode:
                continue
            yield from ((f"{package}/{path.name}", path.read_bytes()) for path in sorted(unpacked.rglob("*.o")))


def objects(report: Report) -> Iterator[tuple[str, Object, dict[str, int]]]:
    """(name, object, program types that its sections do not say)."""
    from ebpf.compiler import Options, compile_c
    from ebpf.errors import EbpfError
    from ebpf.kernel.facts import SystemFacts
    from ebpf.object import read_object
    from tests.compiler.test_corpus import directive

    facts = SystemFacts()
    for path in sorted(_CORPUS.glob("*.c")):
        text = path.read_text()
        try:
            obj = read_object(compile_c(text, filename=path.name, facts=facts, options=Options()), path.name)
        except EbpfError as error:
            report.skip(path.name, error.message)
            continue
        yield path.name, obj, dict(w.split("=") for w in directive(text, "types").split())  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as where:
        found = list(debian_objects(where))
    if not found:
        report.skip("objects of Debian's packages", "apt-get download gave none")
    for name, data in found:
        try:
            yield name, read_object(data, name), {}
        except EbpfError as error:
            report.skip(name, error.message)


def typed(obj: Object, types: dict[str, int]) -> Object:
    """The object with a type for every program."""
    from ebpf.abi.programs import ProgType

    named = {name: ProgType(getattr(ProgType, str(type))) for name, type in types.items()}
    programs = {
        name: spec._replace(type=named.get(name) or spec.type or ProgType.KPROBE) for name, spec in obj.programs.items()
    }
    return type(obj)(obj.name, obj.license, obj.kernel_version, programs, obj.functions, obj.maps, obj.btf, obj.externs,
                     obj.functions_at, None)


def kernel_visited(obj: Object, name: str) -> int | None:
    """How many instructions this kernel says that it processed; ``None``: it does not say, or may not load it."""
    from ebpf.errors import EbpfError
    from ebpf.kernel.loader import load

    try:
        with load(obj, load_programs=False) as loaded:
            return loaded.load_program(name).info().verified_insns or None
    except EbpfError:
        return None


def run(report: Report) -> None:
    from ebpf.errors import EbpfError, VerifierError
    from ebpf.session.verification import verify

    per_insn: list[float] = []
    visited: list[tuple[float, str]] = []
    refused: list[str] = []
    count = insns = 0
    for file, raw, types in objects(report):
        obj = typed(raw, types)
        for name in obj.programs:
            try:
                best = min((verify(obj, name) for _ in range(report.rounds)), key=lambda v: v.seconds)
            except VerifierError as error:
                refused.append(f"{file} {name}: {error.diagnostics[0].code} {error.diagnostics[0].message}")
                continue
            except EbpfError as error:
                report.skip(f"{file} {name}", error.message)
                continue
            count += 1
            insns += best.program.length
            per_insn.append(1000 * best.seconds / best.program.length)
            kernel = kernel_visited(obj, name)
            if kernel:
                visited.append((best.insns_visited / kernel, f"{file} {name}"))
    mean = math.exp(statistics.fmean(map(math.log, per_insn)))
    report.add(Row(f"verify, ms per instruction ({count} programs, {insns} instructions)", f"{mean:.4f}",
                   f"{MS_PER_INSN}", mean / MS_PER_INSN, 1))
    for row in refused:
        print(f"    refused: {row}")
    if visited:
        geometric = math.exp(statistics.fmean(math.log(v) for v, _ in visited))
        worst, name = max(visited)
        report.add(Row(f"instructions visited by kernel's ({len(visited)} programs, mean)", f"{geometric:.2f}", "1",
                       geometric, VISITED))
        report.add(Row(f"the same, the worst: {name}", f"{worst:.2f}", "1", worst, None))
    else:
        report.skip("instructions visited beside the kernel's", "no program could be loaded here")
    pairs = [(growth(1000, 2), growth(10_000, 1)) for _ in range(max(report.rounds, 5))]
    small, large = (min(times) for times in zip(*pairs, strict=True))
    report.add(Row("verify ten times the instructions (1,000 to 10,000)", f"{large * 1000:.0f} ms",
                   f"{small * 1000:.0f} ms", large / small, 12))


def growth(length: int, rounds: int) -> float:
    """Seconds for a program of ``length`` instructions: conditions, map look-ups, the stack, packet reads."""
    from ebpf.abi.programs import ProgType
    from ebpf.isa import assemble
    from ebpf.verifier import verify_program
    from ebpf.verifier.program import MapInfo, Program, Reference

    block = """r2 = *(u32 *)(r6 +12)
if r2 > 0x5 goto pc+1
r7 += 1
r7 &= 255
*(u64 *)(r10 -8) = r7
r2 = r10
r2 += -8
r1 = map[id:0]
call bpf_map_lookup_elem#1
if r0 == 0x0 goto pc+2
r3 = *(u64 *)(r0 +0)
r7 ^= r3
r8 = r7
r8 &= 15"""
    insns = assemble("r6 = r1\nr7 = 0\n" + "\n".join([block] * (length // 15)) + "\nr0 = 2\nexit")
    info = MapInfo("m", 1, 8, 8, 100)
    best = math.inf
    gc.collect()
    gc.freeze()  # what the process holds besides is no part of the figure
    for _ in range(rounds):
        references, slot = {}, 0
        for insn in insns:
            if insn.opcode == 0x18:
                references[slot] = Reference("map", info)
            slot += insn.slots
        start = time.perf_counter()
        verify_program(Program(insns, type=int(ProgType.XDP), references=references))
        best = min(best, time.perf_counter() - start)
    return best
