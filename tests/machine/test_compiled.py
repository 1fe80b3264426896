"""Compiled C in the machine and in this machine's kernel: the compiler's own cases, and programs that use maps, packets and helpers."""

from __future__ import annotations

import random
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ebpf.machine import Machine
from ebpf.object import Object, read_object
from tests.compiler import differential

pytestmark = pytest.mark.kernel
CASES = sorted((Path(differential.__file__).parent / "against_clang").glob("*.c"))
PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_the_compilers_cases(path: Path) -> None:
    """By clang where a current one is there and takes the case (it has no 128-bit division), else by our own compiler."""
    from ebpf.errors import CompileError

    try:
        elf = differential.clangs(path.read_text(), mcpu="v4")
    except (pytest.skip.Exception, CompileError):
        elf = differential.ours(path.read_text(), str(path), mcpu="v4")
    kernel = differential.Runner(elf)
    machine = Machine(read_object(elf, "case"))
    shared = machine.maps[".data.shared"]
    try:
        for row in differential.vectors(25, seed=3):
            expected = kernel.run(row)
            shared.update(bytes(4), struct.pack("<8Q", *row) + bytes(8 * 128))
            result = machine.run("test", ctx=bytes(8)).result
            assert (result, struct.unpack_from("<128Q", shared.lookup(bytes(4)) or b"", 64)) == expected, row
    finally:
        kernel.close()


@cache
def compiled(name: str) -> Object:
    from ebpf.compiler import Options, compile_c

    path = PROGRAMS / name
    elf = compile_c(path.read_text(), filename=str(path), facts=_facts(), options=Options(dialect="libbpf", mcpu="v3"))
    return read_object(elf, name)


@cache
def _facts() -> Any:
    from ebpf.kernel.facts import SystemFacts

    return SystemFacts()


def packets(count: int, seed: int = 7) -> list[bytes]:
    """Ethernet frames: IPv4 with TCP or UDP, some cut short, some of other kinds."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        payload = rng.randbytes(rng.choice((0, 1, 7, 40, 200)))
        transport = struct.pack(">HHIIBBHHH", rng.getrandbits(16), rng.choice((80, 443, 22)), 1, 2, 0x50, rng.getrandbits(6), 4, rng.getrandbits(16), 0)
        protocol = rng.choice((6, 17))
        body = (transport if protocol == 6 else transport[:8]) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), rng.getrandbits(16), 0, 64, protocol, rng.getrandbits(16),
                         rng.randbytes(4), bytes((10, 0, rng.randrange(4), rng.randrange(8))))
        frame = rng.randbytes(12) + struct.pack(">H", rng.choice((0x800, 0x800, 0x800, 0x86DD, 0x806))) + ip + body
        out.append(frame if rng.random() < 0.8 else frame[:rng.randrange(14, len(frame))])
    return out


class Both:
    """One object, loaded twice."""

    def __init__(self, obj: Object) -> None:
        from ebpf.kernel.loader import load

        self.machine = Machine(obj)
        self.kernel = load(obj, load_programs=[name for name in obj.programs if name == "tail_second"])

    def run(self, program: str, data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        ours = self.machine.run(program, data)
        theirs = self.kernel.load_program(program).test_run(data)
        return (ours.result, ours.data), (theirs.result, theirs.data)

    def compare(self, program: str, frames: list[bytes]) -> set[int]:
        results = set()
        for frame in frames:
            mine, theirs = self.run(program, frame)
            assert mine == theirs, (program, frame.hex())
            results.add(mine[0])
        return results

    def compare_map(self, name: str) -> int:
        mine, theirs = self.machine.maps[name].read_all(), self.kernel.maps[name].read_all()

        def pairs(bulk: Any) -> dict[bytes, bytes]:
            k, v = len(bulk.keys) // max(bulk.count, 1), len(bulk.values) // max(bulk.count, 1)
            return {bytes(bulk.keys[k * n:k * n + k]): bytes(bulk.values[v * n:v * n + v]) for n in range(bulk.count)}

        assert pairs(mine) == pairs(theirs)
        return mine.count


@pytest.fixture
def both(request: pytest.FixtureRequest) -> Any:
    loaded = Both(compiled(request.param))
    yield loaded
    loaded.kernel.close()


@pytest.mark.parametrize("both", ["packets.c"], indirect=True)
@pytest.mark.parametrize("program", ["parse", "resize", "load_store", "checksums", "encap", "tc_edit", "tc_resize", "filter", "tail_first"])
def test_packet_programs(both: Both, program: str) -> None:
    skb = program in ("tc_edit", "tc_resize", "filter")  # the kernel makes no skb of a packet that is cut within its headers
    results = both.compare(program, [p for p in packets(60) if not skb or len(p) >= 54])
    assert len(results) > 1, "every packet went the same way: the program tests nothing"
    both.compare_map("counts")
    both.compare_map("seen")


@pytest.mark.parametrize("both", ["packets.c"], indirect=True)
def test_redirects_through_maps(both: Both) -> None:
    for index in (1, 3):
        for name in ("devices", "by_number"):
            for maps in (both.machine.maps, both.kernel.maps):
                maps[name].update(index.to_bytes(4, "little"), (1).to_bytes(4, "little"))  # lo
    assert len(both.compare("to_device", packets(80))) > 4
    for maps in (both.machine.maps, both.kernel.maps):
        assert maps["devices"].lookup((3).to_bytes(4, "little")) == (1).to_bytes(4, "little")
        assert maps["devices"].delete((3).to_bytes(4, "little"))
        assert maps["devices"].lookup((3).to_bytes(4, "little")) is None
    both.compare("to_device", packets(40, seed=9))


def headers(count: int) -> list[bytes]:
    """Frames whose first bytes are anything, with VLAN tags, IPv4, IPv6 and other things behind them."""
    rng = random.Random(11)
    out = []
    for _ in range(count):
        tags = b"".join(rng.choice((b"\x81\0", b"\x88\xa8")) + rng.randbytes(2) for _ in range(rng.choice((0, 0, 0, 1, 2, 3))))
        kind = rng.choice((b"\x08\0", b"\x08\0", b"\x86\xdd", b"\x08\6", b"\0\x2e"))
        ip = {b"\x08\0": 0x45, b"\x86\xdd": 0x60}.get(kind, 0)
        body = bytes((ip | rng.randrange(16) * (ip == 0x60), rng.getrandbits(8))) + rng.randbytes(rng.choice((60, 100, 1400)))
        out.append(rng.randbytes(12) + tags + kind + body)
    return out


@pytest.mark.parametrize("both", ["headers.c"], indirect=True)
@pytest.mark.parametrize("program", ["vlan", "room", "proto", "mark", "levels"])
def test_headers_come_and_go(both: Both, program: str) -> None:
    results = set()
    for frame in headers(250):
        mine, theirs = both.run(program, frame)
        words = [struct.unpack("<16Q", b.maps["out"].read_all().values) for b in (both.machine, both.kernel)]
        assert (mine, words[0]) == (theirs, words[1]), (program, frame[:40].hex(), [hex(w) for w in words[0]], [hex(w) for w in words[1]])
        results.add((mine[0], words[0][:2]))
    assert len(results) > 2, "every packet went the same way: the program tests nothing"


@pytest.mark.parametrize("both", ["helpers.c"], indirect=True)
@pytest.mark.parametrize("program", ["strings", "formats", "maps", "loops", "queues", "ring", "pointers", "prefixes", "locks", "nested", "dynamic", "iterators"])
def test_helper_programs(both: Both, program: str) -> None:
    """Each writes what its helpers gave into the array ``out``; the packet's first bytes are its input."""
    for seed in range(6):
        both.run(program, random.Random(seed).randbytes(64))
        mine, theirs = (b.maps["out"].read_all() for b in (both.machine, both.kernel))
        words = [struct.unpack(f"<{len(b.values) // 8}Q", b.values) for b in (mine, theirs)]
        differing = [(n, hex(a), hex(b)) for n, (a, b) in enumerate(zip(*words)) if a != b]
        assert not differing
    assert any(words[0]), "the program wrote nothing"
    assert both.compare_map("numbers") >= 0
