"""The parser: trees and messages as data (trees.txt, mistakes.txt), places, pragmas, speed, mutated programs.

``EBPF_REWRITE=1 pytest tests/compiler/c/test_parser.py`` writes both files anew from what the parser does now; read the difference.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ebpf.compiler.c import ast
from ebpf.compiler.c.parser import parse
from ebpf.compiler.c.parser_dump import format_tree
from ebpf.compiler.c.preprocessor import preprocess
from ebpf.compiler.c.source import SourceMap
from ebpf.diagnostics import Diagnostic, format_diagnostics

HERE = Path(__file__).parent
KERNEL_TYPES = frozenset("u8 u16 u32 u64 s32 s64 __u8 __u16 __u32 __u64 size_t pid_t loff_t".split())


def run(text: str, sources: SourceMap | None = None) -> tuple[ast.TranslationUnit, list[Diagnostic]]:
    sources = sources or SourceMap()
    before = preprocess(sources, "t.c", text)
    unit, diagnostics = parse(before.tokens, sources, is_typedef=KERNEL_TYPES.__contains__)
    return unit, before.diagnostics + diagnostics


def read_trees() -> list[tuple[str, str, str]]:
    out = []
    for case in (HERE / "trees.txt").read_text().split("\n\n"):
        head, _, tree = case.strip("\n").partition("\n---\n")
        name, _, text = head.partition("\n")
        out.append((name.removeprefix("# "), text, tree))
    return out


def read_mistakes() -> list[tuple[str, str]]:
    cases = (HERE / "mistakes.txt").read_text().split("\n=====\n")
    return [(c.partition("\n---\n")[0], c.partition("\n---\n")[2].rstrip("\n")) for c in cases]


def rewrite() -> None:
    trees = [f"# {name}\n{text}\n---\n{format_tree(run(text)[0])}\n" for name, text, _ in read_trees()]
    (HERE / "trees.txt").write_text("\n".join(trees))
    mistakes = [f"{text}\n---\n{format_diagnostics(run(text)[1])}\n" for text, _ in read_mistakes()]
    (HERE / "mistakes.txt").write_text("\n=====\n".join(mistakes))


if os.environ.get("EBPF_REWRITE"):
    rewrite()
TREES = read_trees()
MISTAKES = read_mistakes()


@pytest.mark.parametrize("text, tree", [t[1:] for t in TREES], ids=[t[0] for t in TREES])
def test_tree(text, tree):
    unit, diagnostics = run(text)
    assert format_diagnostics(diagnostics) == ""
    assert format_tree(unit) == tree


@pytest.mark.parametrize("text, messages", MISTAKES, ids=range(len(MISTAKES)))
def test_messages(text, messages):
    assert format_diagnostics(run(text)[1]) == messages


ACCEPTED = (HERE / "accepted.txt").read_text().rstrip("\n").split("\n---\n")


@pytest.mark.parametrize("text", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(text):
    assert format_diagnostics([d for d in run(text)[1] if d.severity == "error"]) == ""


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_clang_accepts_the_same():
    """The texts of accepted.txt are C: clang takes every one of them."""
    for text in ACCEPTED:
        done = subprocess.run(
            ["clang", "-fsyntax-only", "-w", "-std=gnu2x", "-xc", "-"], input=text, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_places_cover_what_was_written():
    sources = SourceMap()
    text = "int f(int a) {\n  return (a + 1) * foo(a, 2)->x;\n}\nint y = a ? b : c;\n"
    unit, _ = run(text, sources)
    function, variable = unit.items
    assert isinstance(function, ast.FunctionDef) and isinstance(variable, ast.VarDecl)
    (statement,) = function.body.items
    assert isinstance(statement, ast.Return) and isinstance(statement.value, ast.Binary)
    assert sources.text(function.loc, function.end) == "int f(int a) {\n  return (a + 1) * foo(a, 2)->x;\n}"
    assert sources.text(statement.value.loc, statement.value.end) == "(a + 1) * foo(a, 2)->x"
    assert sources.text(statement.value.right.loc, statement.value.right.end) == "foo(a, 2)->x"
    assert sources.text(statement.value.op_loc, statement.value.op_loc + 1) == "*"
    assert variable.init is not None and sources.text(variable.init.loc, variable.init.end) == "a ? b : c"
    assert sources.text(function.name_loc, function.name_loc + 1) == "f"


def test_a_type_is_asked_for_once_and_only_where_it_matters():
    asked: list[str] = []

    def is_typedef(name: str) -> bool:
        asked.append(name)
        return name == "u64"

    sources = SourceMap()
    text = "int f(void) { u64 a = 1; u64 b = (a) + (u64)a; a = b; bpf_foo(a, b); p->x = a * b; return a; }"
    _, diagnostics = parse(preprocess(sources, "t.c", text).tokens, sources, is_typedef=is_typedef)
    assert diagnostics == [] and sorted(asked) == ["u64"]


def test_similar_types_are_suggested():
    sources = SourceMap()
    tokens = preprocess(sources, "t.c", "task_strukt *t;").tokens
    _, diagnostics = parse(tokens, sources, similar_types=lambda name: ["struct task_struct"])
    assert [d.helps for d in diagnostics] == [("did you mean `struct task_struct`?",)]


def test_deep_nesting_is_answered():
    for text in ("int x = " + "(" * 5000 + "1" + ")" * 5000 + ";", "void f(void) " + "{" * 5000 + "}" * 5000,
                 "int x = " + "-" * 5000 + "1;", "#if " + "(" * 5000 + "\n#endif"):  # fmt: skip
        _, diagnostics = run(text)
        assert ["nested too deeply" in d.message for d in diagnostics] == [True]
    chain = "int f(int a) {" + "".join(f"if (a == {n}) return {n}; else " for n in range(3000)) + "return 1; }"
    cases = "int f(int a) { switch (a) {" + "".join(f"case {n}: " for n in range(3000)) + "return 1; } }"
    long = "int x = 1" + " + 1" * 5000 + ";"
    for text in (chain, cases, long):
        assert run(text)[1] == []


def test_time_grows_with_the_text():
    body = "".join(f"static int f{n}(struct s *p, u32 k) {{ u64 a = k + {n}; if (a > 3 && p->x) {{ a += MAX(a, p->y[2]); }} return a; }}\n"
                   for n in range(100))  # fmt: skip
    head = "#define MAX(a, b) ((a) > (b) ? (a) : (b))\nstruct s { int x, y[4]; };\n"

    def seconds(times: int) -> float:
        start = time.process_time()
        assert run(head + body * times)[1] == []
        return time.process_time() - start

    seconds(1)
    small, large = min(seconds(2) for _ in range(5)), min(seconds(20) for _ in range(3))
    # Ten times the text. On a busy machine caches cost up to twice; squared time would be a hundredfold.
    assert large < 30 * small, f"{small:.3f} s for 200 lines, {large:.3f} s for 2,000"


def test_mutated_programs_give_messages_and_nothing_else():
    """Whatever is left out, doubled or swapped: a tree and diagnostics, no exception, no hang."""
    generator = random.Random(20250101)
    texts = [t[1] for t in TREES] + [m[0] for m in MISTAKES]
    junk = ["{", "}", "(", ")", ";", ",", "#", "##", "\n#if 0\n", "\n#endif\n", "\n#define X(a) a X\n", "X(", "struct", "int", "*", "=", "case",
            '"', "'", "/*", "\\\n", "[", "]", ":", "else", "typedef", "BPF_HASH(", "TRACEPOINT_PROBE(", "__VA_ARGS__", "\x00", "é", "0x"]  # fmt: skip
    refused = 0
    for _ in range(1500):
        text = generator.choice(texts)
        for _ in range(generator.randint(1, 4)):
            at, end = sorted((generator.randint(0, len(text)), generator.randint(0, len(text))))
            match generator.randint(0, 3):
                case 0:
                    text = text[:at] + text[min(end, at + 8) :]
                case 1:
                    text = text[:at] + generator.choice(junk) + text[at:]
                case 2:
                    text = text[:at] + text[at : min(end, at + 20)] * 2 + text[end:]
                case _:
                    text = text[:at]
                    text += generator.choice(texts)[-30:]
        unit, diagnostics = run(text)
        refused += any(d.severity == "error" for d in diagnostics)
        format_tree(unit)
        format_diagnostics(diagnostics)
        assert len([d for d in diagnostics if d.severity == "error"]) <= 40
    assert refused > 750  # the mutations do mutate
