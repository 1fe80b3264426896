"""Random C programs without undefined behaviour: the same text for the same seed."""

from __future__ import annotations

import random

TYPES = {"u8": 8, "s8": 8, "u16": 16, "s16": 16, "u32": 32, "s32": 32, "u64": 64, "s64": 64}
_RECORD = """\
struct mixed {{ {a} a; u32 b : {n1}; s32 c : {n2}; {d} d[4]; struct {{ {e} e; u16 f; }} in; union {{ u64 whole; u8
bytes[8]; }}; }};
"""


class _Writer:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.depth = 0
        self.names: list[tuple[str, str]] = []
        self.counter = 0
        self.budget = 40
        self.loops = 0

    def pick(self, *items: str) -> str:
        return self.rng.choice(items)

    def fresh(self, hint: str) -> str:
        self.counter += 1
        return f"{hint}{self.counter}"

    def put(self, line: str) -> None:
        self.lines.append("    " * (self.depth + 1) + line)

    def number(self) -> str:
        n = self.rng.choice(
            (0, 1, 2, 3, 7, 10, 100, 255, 256, 1000, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40)
        )
        return f"{n}ull" if n > 0xFFFFFFFF else f"{n}u" if n > 0x7FFFFFFF or self.rng.random() < 0.2 else str(n)

    def leaf(self) -> str:
        r = self.rng.random()
        if r < 0.6 and self.names:
            return self.rng.choice(self.names)[0]
        if r < 0.7:
            return self.pick(
                "m.a",
                "m.b",
                "m.c",
                "m.in.e",
                "m.in.f",
                "m.whole",
                f"m.d[{self.rng.randrange(4)}]",
                f"m.bytes[{self.rng.randrange(8)}]",
            )
        if r < 0.75:
            return f"table[HIDE({self.leaf()}) & 7]"
        return self.number()

    def expr(self, depth: int = 3) -> str:
        r = self.rng.random()
        if depth == 0 or r < 0.15:
            return self.leaf()
        a = self.expr(depth - 1)
        if r < 0.25:
            return f"({self.pick('-', '~', '!')}{a})"
        if r < 0.35:
            return f"(({self.rng.choice(list(TYPES))}){a})"
        b = self.expr(depth - 1)
        if r < 0.65:
            return f"({a} {self.pick('+', '-', '*', '&', '|', '^')} {b})"
        if r < 0.72:
            return f"((u64)({a}) {self.pick('<<', '>>')} (({b}) & 63))"
        if r < 0.76:
            return f"((s64)({a}) >> (({b}) & 63))"
        if r < 0.80:
            return f"((u32)({a}) {self.pick('/', '%')} ((u32)({b}) | 1))"
        if r < 0.90:
            return f"({a} {self.pick('==', '!=', '<', '<=', '>', '>=')} {b})"
        if r < 0.94:
            return f"({a} {self.pick('&&', '||')} {b})"
        if r < 0.97:
            return f"({a} ? {b} : {self.expr(depth - 1)})"
        return f"{self.pick('f0', 'f1')}({a}, {b})"

    def target(self) -> str:
        r = self.rng.random()
        if r < 0.65:
            return self.rng.choice([n for n in self.names if not n[0].startswith("i")])[0]
        return self.pick(
            "m.a",
            "m.b",
            "m.c",
            "m.in.e",
            "m.in.f",
            "m.whole",
            f"m.d[AT(HIDE({self.leaf()}) & 3)]",
            f"p->d[{self.rng.randrange(4)}]",
            "p->in.e",
        )

    def statement(self) -> None:
        self.budget -= 1
        r = self.rng.random()
        if r < 0.35 or self.depth > 2 or self.budget < 0:
            self.put(f"{self.target()} {self.pick('=', '=', '+=', '-=', '*=', '&=', '|=', '^=')} {self.expr()};")
        elif r < 0.42:
            self.put(f"{self.target()}{self.pick('++', '--')};")
        elif r < 0.47:
            self.put(f"{self.target()} {self.pick('<<', '>>')}= {self.rng.randrange(8)};")
        elif r < 0.57:
            name, kind = self.fresh("v"), self.rng.choice(list(TYPES))
            self.put(f"{kind} {name} = {self.expr()};")
            self.names.append((name, kind))
        elif r < 0.75:
            self.put(f"if ({self.expr()}) {{")
            self.block()
            if self.rng.random() < 0.5:
                self.put("} else {")
                self.block()
            self.put("}")
        elif r < 0.87 and not self.loops:  # the verifier walks every round of every loop
            name = self.fresh("i")
            self.put(f"for (int {name} = 0; {name} < {self.rng.randrange(1, 6)}; {name}++) {{")
            self.names.append((name, "int"))
            self.loops += 1
            self.block(extra=self.pick("", "", f"if ({self.expr(1)}) break;", f"if ({self.expr(1)}) continue;"))
            self.loops -= 1
            self.names = [n for n in self.names if n[0] != name]
            self.put("}")
        elif r < 0.95:
            self.put(f"switch ({self.expr(2)}) {{")
            for value in self.rng.sample(range(-3, 12), 3):
                self.put(f"case {value}: {self.target()} = {self.expr(2)}; {self.pick('break;', '')}")
            self.put(f"default: {self.target()} ^= {self.expr(2)};")
            self.put("}")
        else:
            self.put(f"{{ struct mixed t = m; t.d[{self.rng.randrange(4)}] = {self.expr(2)}; m = t; }}")

    def block(self, extra: str = "") -> None:
        known = len(self.names)
        self.depth += 1
        if extra:
            self.put(extra)
        for _ in range(self.rng.randrange(1, 4)):
            self.statement()
        self.depth -= 1
        del self.names[known:]


def program(seed: int) -> str:
    w = _Writer(seed)
    kinds = list(TYPES)
    head = _RECORD.format(
        a=w.rng.choice(kinds),
        d=w.rng.choice(kinds),
        e=w.rng.choice(kinds),
        n1=w.rng.randrange(1, 32),
        n2=w.rng.randrange(1, 32),
    )
    head += "static const u16 table[8] = { 3, 1, 4, 1, 5, 9, 2, 65535 };\n"
    for i in range(2):
        a, b, r = (w.rng.choice(kinds) for _ in range(3))
        how = w.pick("static", "static __attribute__((noinline))", "static inline __attribute__((always_inline))")
        head += (
            f"{how} {r} f{i}({a} x, {b} y) {{ return x {w.pick('+', '*', '^')} y {w.pick('-', '|')} {w.number()}; }}\n"
        )
    w.put("u64 *out = io->out;")
    w.put("int n = 0;")
    w.put("struct mixed m = {}, *p = &m;")
    for i in range(6):
        kind = w.rng.choice(kinds)
        w.put(f"{kind} a{i} = io->in[{i}];")
        w.names.append((f"a{i}", kind))
    top = list(w.names)
    for _ in range(w.rng.randrange(6, 14)):
        w.statement()
    for name, _ in top:
        w.put(f"OUT({name});")
    for field in ("a", "b", "c", "d[0]", "d[1]", "d[2]", "d[3]", "in.e", "in.f", "whole"):
        w.put(f"OUT(m.{field});")
    w.put("return n;")
    return head + "TEST\n{\n" + "\n".join(w.lines) + "\n}\n"
