"""Programs and what they leave in their maps (programs.txt), after one run in the userspace machine.

``EBPF_REWRITE=1 pytest tests/compiler/py/test_programs.py`` writes the expectations anew; read the difference. Functions
that plain Python can run as well are compared with it (`test_as_in_python`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ebpf.abi.maps import MapType
from ebpf.compiler.py import compile_programs
from ebpf.compiler.py.compiler import check_functions
from ebpf.errors import CompileError
from ebpf.machine import Machine
from ebpf.verifier import verify
from tests.compiler.py.py_support import define, machine, programs_of, read_cases
from tests.compiler.trace.trace_support import OPENAT_CONTEXT, SAMPLE_CONTEXT, FakeFacts, kernel_memory

_UNREAD = (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY, MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER,
           MapType.PROG_ARRAY, MapType.STACK_TRACE, MapType.DEVMAP, MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
FILE = Path(__file__).parent / "programs.txt"


def outcome(text: str) -> str:
    """Maps that hold something, records, lines that were printed, and what programs returned."""
    from ebpf.compiler.c.checktree import check
    from ebpf.object.reader import read_object

    names = define(text + "\n")
    programs = programs_of(names)
    unit, _ = check_functions(programs, facts=FakeFacts())
    assert not check(unit)
    elf = compile_programs(programs, facts=FakeFacts()).elf
    obj = read_object(elf)
    m = machine(elf, btf=FakeFacts().btf())
    sock, address = kernel_memory(m)
    m.environment.task = m.environment.task._replace(address=address)
    lines = []
    for p in programs:
        assert verify(obj, p.name)
        kind = p.section.partition("/")[0]
        data = bytes(range(64)) if kind in ("xdp", "tc") else None
        ctx: object = None
        if kind == "tracepoint":
            ctx = SAMPLE_CONTEXT if p.section.endswith("sample") else OPENAT_CONTEXT
        elif kind == "kprobe":
            ctx = {"parm1": sock, "parm2": 0x12000, "parm3": 7, "ip": 0x1001}
        elif kind == "kretprobe":
            ctx = {"rc": 42}
        result = m.run(p.name, data=data, ctx=ctx).result  # type: ignore[arg-type]
        lines.append(f"{p.name} -> {result}")
    lines += contents(m)
    lines += [f"printed: {line}" for line in m.printed]
    return "\n".join(lines)


def contents(m: Machine) -> list[str]:
    lines = []
    for name, found in m.maps.items():
        if name.startswith("."):
            continue
        kind = MapType(found.type)
        if kind == MapType.RINGBUF:
            lines += [f"{name}: {bytes(record).hex()}" for record in found.drain()]
        if kind in _UNREAD:
            continue
        key = found.next_key(None)
        while key is not None:
            raw = found.lookup(key)
            value = b"".join(map(bytes, raw)) if isinstance(raw, (list, tuple)) else bytes(raw)
            if any(value):
                lines.append(f"{name}[{bytes(key).hex()}] = {value.hex()}")
            key = found.next_key(key)
    return lines


def rewrite() -> None:
    cases = [f"# {title}\n{text}\n---\n{outcome(text)}\n" for title, text, _ in read_cases(FILE)]
    FILE.write_text("\n=====\n".join(cases))


if os.environ.get("EBPF_REWRITE"):
    rewrite()
CASES = read_cases(FILE)


@pytest.mark.parametrize("text, expected", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_program(text: str, expected: str) -> None:
    assert outcome(text) == expected


@pytest.mark.kernel
@pytest.mark.parametrize("text", [c[1] for c in CASES if "loops over maps" in c[0]])
def test_loops_over_maps_in_the_kernel(text: str) -> None:
    import ebpf

    obj = ebpf.open(compile_programs(programs_of(define(text + "\n")), facts=FakeFacts()).elf)
    found = []
    for backend in ("machine", "kernel"):
        with ebpf.load(obj, backend=backend) as session:
            result = session.programs["main"].test_run().result
            found.append((result, sorted(session.maps["out"]), dict(session.maps["counts"])))
    assert found[0] == found[1] and any(found[0][1])


# Functions of numbers: what they give in a program is what they give in Python, where nothing overflows.
FUNCTIONS = """
def collatz(n):
    steps = 0
    while n != 1 and steps < 100:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps

def gcd(a, b):
    for _ in range(64):
        if b == 0:
            break
        a, b = b, a % b
    return a

def digits(n):
    total = count = 0
    while n > 0 and count < 20:
        total, n, count = total + n % 10, n // 10, count + 1
    return total * 100 + count

def primes(n):
    found = 0
    for i in range(2, 40):
        prime = True
        for j in range(2, 7):
            if j * j > i:
                break
            if i % j == 0:
                prime = False
                break
        if prime and i <= n:
            found += 1
    return found

def weekday(n):
    match n % 7:
        case 0:
            return 100
        case 5 | 6:
            return 200
        case d if d > 2:
            return 300 + d
        case other:
            return other

def chain(n):
    a = 1 if n > 10 else 2 if n > 5 else 3
    b = n > 3 and n < 20 or n == 77
    c = 0 <= n <= 50 < n + 45
    return a * 100 + (10 if b else 0) + (1 if c else 0) + (1000 if (m := n * 2) in (4, 8, 16) else 0) + m

def countdown(n):
    total = 0
    for i in range(10, -10, -3):
        total += i * n
    for a, b in ((1, 2), (3, 4)):
        if a == n:
            continue
        total += a * b
    return total

def nested(n):
    def_value = 0
    for i in range(5):
        for j in range(5):
            if j == n:
                break
            if (i + j) % 2:
                continue
            def_value += i * 10 + j
        if i == 3:
            break
    return def_value

def signed(n):
    x = n - 20
    return x // 3 * 1000 + x % 3 + abs(x) + min(x, -1, n) + max(x, 2)

def ranges(n):
    total = 0
    for i in range(3):
        total += i // 2
    for i in range(9, 60, 7):
        total = total * 3 // 2 + i % 4
    x = 0
    for i in range(12):
        x = (x + n * 7) & 63
        total += x // 5 + (x ^ i)
    y = 1
    while y < 500:
        total += y // 3
        y = y * 2 + 1
    z = 0
    for i in range(6):
        z -= i
        total += z // 2 + z % 5
    return total
"""
INPUTS = (0, 1, 2, 3, 5, 6, 7, 8, 12, 27, 49, 77, 360)


def test_as_in_python() -> None:
    names = define(FUNCTIONS, "functions.py")
    one = ["collatz", "digits", "primes", "weekday", "chain", "countdown", "nested", "signed", "ranges"]
    body = "".join(f"    results[{i}] = u64({f}(n))\n" for i, f in enumerate(one)) + "    results[9] = u64(gcd(n, 84))\n"
    text = (FUNCTIONS + "\ngiven = Array(i64, 1)\nresults = Array(u64, 10)\n"
            '@program("raw_tp/test")\ndef main(ctx):\n    n = given[0]\n' + body)
    elf = compile_programs(programs_of(define(text)), facts=FakeFacts()).elf
    m = machine(elf)
    for n in INPUTS:
        m.maps["given"].update(bytes(4), n.to_bytes(8, "little"))
        m.run("main")
        wanted = [names[f](n) for f in one] + [names["gcd"](n, 84)]
        found = [int.from_bytes(bytes(m.maps["results"].lookup(i.to_bytes(4, "little"))), "little", signed=True)
                 for i in range(10)]
        assert found == wanted, n


@pytest.mark.parametrize("body, needs", [
    ("for k in counts: pass", "loops over maps need Linux 5.13"),
    ("printk(f'{pid():08x}')", "a width in what is printed needs Linux 5.13"),
    ("printk(f'{pid()} {tid()} {uid()} {gid()}')", "printing more than three values at once needs Linux 5.16"),
    ("text: chars[16] = f'{pid()}'", "an f-string in memory needs Linux 5.13"),
])
def test_what_older_kernels_lack(body: str, needs: str) -> None:
    text = f'counts = Hash(u32, u64)\n@program("raw_tp/test")\ndef main(ctx):\n    {body}\n'
    with pytest.raises(CompileError, match=re.escape(needs)):
        compile_programs(programs_of(define(text)), facts=FakeFacts(kernel_version=0x50A00))
    assert compile_programs(programs_of(define(text)), facts=FakeFacts(kernel_version=0x51000)).elf


def test_what_older_kernels_can_print() -> None:
    text = "@program('raw_tp/test')\ndef main(ctx):\n    printk(f'{pid()} of {uid():x}, 100% done')\n"
    assert compile_programs(programs_of(define(text)), facts=FakeFacts(kernel_version=0x50A00)).elf
