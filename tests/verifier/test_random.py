"""Random programs: what is accepted runs in the checked interpreter without a fault, and returns a number that was foreseen."""

from __future__ import annotations

import random
import struct

import pytest

from ebpf.errors import VerifierError
from ebpf.verifier import Options, verify_raw

_ALU = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
_JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
_IMMEDIATES = (0, 1, 2, 7, 15, 16, 31, 32, 63, 64, 100, -1, -2, -128, 255, 0x7FFFFFFF, -0x80000000)
_BYTES = 64


def some_code(rng: random.Random) -> bytes:
    """Mostly sensible: registers set first, addresses made by masking, jumps forward, loops counted now and then."""
    out: list[tuple[int, int, int, int, int]] = [(0xBF, 6, 1, 0, 0)]
    out += [
        (0x61, r, 6, rng.randrange(0, 60), 0) if rng.random() < 0.6 else (0xB7, r, 0, 0, rng.choice(_IMMEDIATES))
        for r in (0, 3, 4, 5, 7, 8)
    ]
    out += [(0x79, 9, 6, rng.randrange(0, 56), 0), (0x7B, 10, 9, -8, 0), (0x7B, 10, 3, -16, 0)]
    numbers = (0, 3, 4, 5, 7, 8, 9)
    for _ in range(rng.randrange(5, 30)):
        kind, a, b = rng.random(), rng.choice(numbers), rng.choice(numbers)
        if kind < 0.5:
            op, cls = rng.choice(_ALU), rng.choice((4, 7))
            if rng.random() < 0.5:
                imm = rng.choice(_IMMEDIATES)
                if op in (0x60, 0x70, 0xC0):
                    imm &= 31 if cls == 4 else 63
                if op in (0x30, 0x90) and not imm:
                    imm = 3
                out.append((cls | op, a, 0, 0, imm))
            else:
                out.append((cls | op | 8, a, b, 0, 0))
        elif kind < 0.7:
            code = rng.choice((5, 6)) | rng.choice(_JUMPS)
            distance = rng.randrange(1, 6)
            out.append(
                (code, a, 0, distance, rng.choice(_IMMEDIATES)) if rng.random() < 0.6 else (code | 8, a, b, distance, 0)
            )
        elif kind < 0.85:
            size, width = rng.choice(((0x10, 1), (0x08, 2), (0x00, 4), (0x18, 8)))
            mask = rng.choice((7, 15, 31, 63))
            out += [(0x57, a, 0, 0, mask)] if rng.random() < 0.8 else [(0x25, a, 0, 3, rng.choice((20, 56, 60, 63)))]
            out += [(0xBF, 1, 6, 0, 0), (0x0F, 1, a, 0, 0)]
            off = rng.randrange(0, _BYTES - min(mask, 40))
            out.append((0x61 | size, b, 1, off, 0) if rng.random() < 0.7 else (0x63 | size, 1, b, off, 0))
        elif kind < 0.95:
            size = rng.choice((0x10, 0x08, 0x00, 0x18))
            width = {0x10: 1, 0x08: 2, 0x00: 4, 0x18: 8}[size]
            off = -rng.randrange(1, 16 // width + 1) * width
            out.append((0x61 | size, a, 10, off, 0) if rng.random() < 0.5 else (0x63 | size, 10, a, off, 0))
        else:
            out += [
                (0xB7, a, 0, 0, 0),
                (0x0F, b, a, 0, 0),
                (0x07, a, 0, 0, 1),
                (0xA5, a, 0, -3, rng.choice((3, 20, 200))),
            ]
    out += [(0xB7, 1, 0, 0, 0)] * 6
    out.append((0x95, 0, 0, 0, 0))
    return b"".join(struct.pack("<BBhi", c, d | s << 4, o, i) for c, d, s, o, i in out)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_accepted_never_faults(seed: int) -> None:
    raw = pytest.importorskip("ebpf.machine.raw")
    rng = random.Random(seed)
    accepted = 0
    for _ in range(60):
        code = some_code(rng)
        try:
            found = verify_raw(code, _BYTES, options=Options(max_insns=20_000, track_result=True))
        except VerifierError as error:
            assert error.diagnostics[0].code in (
                "V0104",
                "V0206",
                "V0211",
                "V0215",
                "V0209",
                "V0212",
                "V0401",
                "V0402",
                "V0204",
            ), str(error)
            continue
        accepted += 1
        program = raw.RawProgram(code)
        for _ in range(6):
            memory = bytes(rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8))) for _ in range(_BYTES))
            result = program.run(memory)
            assert found.result is not None and found.result.contains(result), (
                code.hex(),
                memory.hex(),
                result,
                found.result,
            )
    assert accepted >= 10, accepted
