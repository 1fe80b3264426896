"""Random expressions: what programs compute, compared with Python's own integers cut to the width of each operation.

The rules here are those of docs/python.md, written a second time: types of results, wrap-around, floor division,
division by zero, exact comparisons, shifts modulo the width.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from tests.compiler.py.py_support import compiled, machine

TYPES = {"u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False),
         "i8": (1, True), "i16": (2, True), "i32": (4, True), "i64": (8, True)}
FORMATS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i", "i64": "q"}
EACH = 40


def wrap(value: int, t: str) -> int:
    size, signed = TYPES[t]
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value


def joined(a: str, b: str) -> str:
    (size_a, signed_a), (size_b, signed_b) = TYPES[a], TYPES[b]
    if signed_a == signed_b:
        return a if size_a >= size_b else b
    unsigned, signed = (size_b, size_a) if signed_a else (size_a, size_b)
    if signed > unsigned:
        return f"i{8 * signed}"
    return f"i{16 * unsigned}" if unsigned < 8 else "u64"


class Generator:
    """Expressions as (text, type, value)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        r = self.random
        self.variables = {}
        for t, (size, _) in TYPES.items():
            for i in range(2):
                value = r.choice((0, 1, 2, 7, r.getrandbits(8 * size), r.getrandbits(8 * size), (1 << 8 * size) - 1,
                                  1 << 8 * size - 1))
                self.variables[f"{t}_{i}"] = (t, wrap(value, t))

    def expression(self, depth: int) -> tuple[str, str, int]:
        r = self.random
        if not depth or r.random() < 0.1:
            name, (t, value) = r.choice(list(self.variables.items()))
            return f"v.{name}", t, value
        kind = r.random()
        if kind < 0.08:
            text, t, value = self.expression(depth - 1)
            op = r.choice("-~")
            return f"({op}{text})", t, wrap(-value if op == "-" else ~value, t)
        if kind < 0.2:
            text, _, value = self.expression(depth - 1)
            t = r.choice(list(TYPES))
            return f"{t}({text})", t, wrap(value, t)
        if kind < 0.32:
            condition, truth = self.condition(depth - 1)
            a_text, a, a_value = self.expression(depth - 1)
            b_text, b, b_value = self.expression(depth - 1)
            t = joined(a, b)
            return f"({a_text} if {condition} else {b_text})", t, wrap(a_value if truth else b_value, t)
        if kind < 0.42:
            a_text, a, a_value = self.expression(depth - 1)
            op = r.choice(("<<", ">>"))
            width = 8 * TYPES[a][0]
            work = max(width, 32)
            if r.random() < 0.6:
                count = r.randrange(width)
                count_text = str(count)
            else:
                count_text, _, count = self.expression(depth - 1)
                count &= work - 1
            return f"({a_text} {op} {count_text})", a, wrap(a_value << count if op == "<<" else a_value >> count, a)
        if kind < 0.5:
            a_text, a, a_value = self.expression(depth - 1)
            b_text, b, b_value = self.expression(depth - 1)
            t = joined(a, b)
            f, pick = r.choice((("min", min), ("max", max)))
            return f"{f}({a_text}, {b_text})", t, pick(wrap(a_value, t), wrap(b_value, t))
        a_text, a, a_value = self.expression(depth - 1)
        op = r.choice(("+", "-", "*", "//", "%", "&", "|", "^", "+", "-"))
        if r.random() < 0.3:
            size, signed = TYPES[a]
            literal = r.choice((1, 2, 3, 5, 8, 10, 16, 100, 127, (1 << 8 * size - signed) - 1))
            if signed and r.random() < 0.3 and op not in ("//", "%"):
                literal = -literal
            b_text, t, b_value = str(literal), a, literal
        else:
            b_text, b, b_value = self.expression(depth - 1)
            t = joined(a, b)
        return f"({a_text} {op} {b_text})", t, wrap(operate(op, wrap(a_value, t), wrap(b_value, t)), t)

    def condition(self, depth: int) -> tuple[str, bool]:
        r = self.random
        kind = r.random()
        if depth and kind < 0.25:
            a_text, a = self.condition(depth - 1)
            b_text, b = self.condition(depth - 1)
            op = r.choice(("and", "or"))
            return f"({a_text} {op} {b_text})", (a and b) if op == "and" else (a or b)
        if depth and kind < 0.35:
            text, a = self.condition(depth - 1)
            return f"(not {text})", not a
        a_text, _, a_value = self.expression(depth)
        b_text, _, b_value = self.expression(depth)
        if kind < 0.5:
            c_text, _, c_value = self.expression(depth)
            return f"({a_text} < {b_text} <= {c_text})", a_value < b_value <= c_value
        op = r.choice(("==", "!=", "<", "<=", ">", ">="))
        truth = {"==": a_value == b_value, "!=": a_value != b_value, "<": a_value < b_value, "<=": a_value <= b_value,
                 ">": a_value > b_value, ">=": a_value >= b_value}[op]
        return f"({a_text} {op} {b_text})", truth


def operate(op: str, a: int, b: int) -> int:
    if op == "//":
        return a // b if b else 0
    if op == "%":
        return a % b if b else a
    return {"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}[op]


def check(seed: int, *, run: Any = None) -> None:
    g = Generator(seed)
    expressions = [g.expression(4) for _ in range(EACH)]
    conditions = [g.condition(2) for _ in range(EACH // 4)]
    members = "".join(f"    {name}: {t}\n" for name, (t, _) in g.variables.items())
    lines = [f"    results[{i}] = u64({text})" for i, (text, _, _) in enumerate(expressions)]
    lines += [f"    results[{EACH + i}] = 1 if {text} else 0" for i, (text, _) in enumerate(conditions)]
    text = (f"class Values(Struct):\n{members}\nvalues = Array(Values)\nresults = Array(u64, {2 * EACH})\n"
            f'@program("raw_tp/test")\ndef main(ctx):\n    v = values.get(0)\n    if v is None:\n        return\n'
            + "\n".join(lines) + "\n")
    m = machine(compiled(text, f"seed{seed}.py").elf)
    layout = "@" + "".join(FORMATS[t] for t, _ in g.variables.values())
    data = struct.pack(layout, *(value for _, value in g.variables.values()))
    m.maps["values"].update(bytes(4), data.ljust(m.maps["values"].value_size, b"\0"))
    m.run("main")
    wanted = [(text, wrap(value, "u64")) for text, _, value in expressions] + [(t, int(v)) for t, v in conditions]
    for i, (expression, value) in enumerate(wanted):
        found = int.from_bytes(bytes(m.maps["results"].lookup(i.to_bytes(4, "little"))), "little")
        assert found == value, f"seed {seed}: {expression} is {found:#x}, not {value:#x}; {g.variables}"


@pytest.mark.parametrize("seed", range(5))
def test_expressions(seed: int) -> None:
    check(seed)
