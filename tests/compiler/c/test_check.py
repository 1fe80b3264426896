"""The checker: trees and messages as data (check_trees.txt, check_mistakes.txt), C's rules against real compilers.

``EBPF_REWRITE=1 pytest tests/compiler/c/test_check.py`` writes both files anew from what the checker does now; read the difference.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.compiler.c import checktree, tree, types as C
from ebpf.compiler.c.checker_codes import CODES
from ebpf.compiler.c.checktree_format import format_tree
from ebpf.compiler.c.constexpr import evaluate
from ebpf.diagnostics import format_diagnostics
from tests.compiler.c.check_support import FakeFacts, checked

HERE = Path(__file__).parent
REWRITE = os.environ.get("EBPF_REWRITE") == "1"


def read_cases(name: str) -> list[tuple[str, str, str]]:
    """(title, program, expectation) of each case of a data file."""
    out = []
    for case in (HERE / name).read_text().strip("\n").split("\n====\n"):
        head, _, expected = case.strip("\n").partition("\n----")
        title, _, text = head.partition("\n")
        out.append((title.removeprefix("# "), text + "\n", expected.strip("\n")))
    return out


def outcome(name: str, text: str) -> str:
    unit, found = checked(text)
    if name == "check_mistakes.txt":
        return format_diagnostics(found)
    errors = [d for d in found if d.severity == "error"]
    assert not errors, format_diagnostics(errors)
    assert checktree.check(unit) == []
    return format_tree(unit).rstrip("\n")


@pytest.mark.parametrize("name", ["check_trees.txt", "check_mistakes.txt"])
def test_data(name: str) -> None:
    cases = read_cases(name)
    results = [(title, text, outcome(name, text)) for title, text, _ in cases]
    if REWRITE:
        body = "\n====\n".join(f"# {title}\n{text.strip(chr(10))}\n----\n{result}" for title, text, result in results)
        (HERE / name).write_text(body + "\n")
        return
    for (title, _, expected), (_, _, got) in zip(cases, results, strict=True):
        assert got == expected, title


def test_every_message_has_a_row_and_a_place() -> None:
    for _, text, _ in read_cases("check_mistakes.txt"):
        for d in checked(text)[1]:
            assert d.code in CODES
            assert d.span is not None, d.message


def compiler() -> str:
    for name in ("gcc", "clang"):
        if found := shutil.which(name):
            return found
    pytest.skip("needs gcc or clang, to compare with")


def accepts(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.c"
    path.write_text(text)
    done = subprocess.run([compiler(), "-fsyntax-only", "-w", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


def random_record(rng: random.Random, number: int) -> str:
    members = []
    for i in range(rng.randint(1, 9)):
        base = rng.choice(["char", "unsigned char", "short", "int", "unsigned int", "long", "unsigned long long", "_Bool", "void *", "__int128"])
        kind = rng.random()
        width = {"char": 8, "unsigned char": 8, "short": 16, "int": 32, "unsigned int": 32, "long": 64, "unsigned long long": 64, "_Bool": 1}
        if kind < 0.4 and base in width:
            members.append(f"{base} b{i} : {rng.randint(1, width[base])};")
        elif kind < 0.45 and base in width:
            members.append(f"{base} : 0;")
        elif kind < 0.6:
            members.append(f"{base} m{i}[{rng.randint(1, 5)}];")
        elif kind < 0.65:
            members.append(f"{base} m{i} __attribute__((aligned({rng.choice([2, 4, 8, 16])})));")
        elif kind < 0.75:
            members.append(f"union {{ {base} m{i}; struct {{ char c{i}; short d{i}; }}; }};")
        else:
            members.append(f"{base} m{i};")
    members.append("char last;")
    packed = " __attribute__((packed))" if rng.random() < 0.25 else ""
    return f"struct s{number} {{ {' '.join(members)} }}{packed};"


def test_records_are_laid_out_as_compilers_do(tmp_path: Path) -> None:
    rng = random.Random(20)
    texts = [random_record(rng, n) for n in range(150)]
    unit, found = checked("\n".join(texts) + "\n" + "\n".join(f"struct s{n} v{n} SEC(\"x\");" for n in range(150)))
    assert not found, format_diagnostics(found[:3])
    lines = list(texts)
    for n, v in enumerate(unit.globals):
        record = C.strip(v.type)
        assert isinstance(record, C.Record)
        lines.append(f"_Static_assert(sizeof(struct s{n}) == {record.size} && _Alignof(struct s{n}) == {record.align}, \"s{n}\");")
        for name in flat_names(record):
            path = record.find(name)
            assert path is not None
            if not path[-1].bit_size:
                lines.append(f"_Static_assert(__builtin_offsetof(struct s{n}, {name}) == {sum(f.bit_offset for f in path) // 8}, \"{name}\");")
    accepts("\n".join(lines), tmp_path)


def flat_names(record: C.Record) -> list[str]:
    from ebpf.compiler.c.checker_access import member_names

    return member_names(record)


def random_constant(rng: random.Random, depth: int) -> str:
    if depth == 0:
        value = rng.choice([0, 1, 2, 3, 7, 31, 255, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40])
        return f"{value}{rng.choice(['', 'u', 'l', 'ul', 'll', 'ull'])}"
    if rng.random() < 0.2:
        kind = rng.choice(["char", "unsigned char", "short", "unsigned short", "int", "unsigned", "long", "unsigned long", "_Bool"])
        return f"(({kind})({random_constant(rng, depth - 1)}))"
    if rng.random() < 0.2:
        return f"({rng.choice('-~!')}{random_constant(rng, depth - 1)})"
    if rng.random() < 0.1:
        return f"({random_constant(rng, depth - 1)} ? {random_constant(rng, depth - 1)} : {random_constant(rng, depth - 1)})"
    op = rng.choice("& | ^ < > == != <= >= && ||".split())
    return f"({random_constant(rng, depth - 1)} {op} {random_constant(rng, depth - 1)})"


def test_constants_have_the_values_and_types_that_compilers_give_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    texts = [random_constant(rng, 4) for _ in range(200)]
    body = "\n".join(f"({t});" for t in texts)
    unit, found = checked(f"int f(void *ctx) {{ {body} return 0; }}", "bcc")
    assert not [d for d in found if d.severity == "error"], format_diagnostics(found[:3])
    block = next(f for f in unit.functions if f.name == "f").body
    assert block is not None
    lines = []
    for t, s in zip(texts, block.items, strict=False):
        assert isinstance(s, tree.Evaluate)
        value = evaluate(s.expr)
        assert value is not None, t
        kind = C.format_ctype(s.expr.type)
        lines.append(f"_Static_assert(({t}) == ({kind}){value % 2**64}ull && _Generic({t}, {kind}: 1, default: 0), \"\");")
    accepts("\n".join(lines), tmp_path)


def test_checktree_sees_broken_trees() -> None:
    unit, _ = checked("int f(void *ctx) { int a = 1; return a; }", "bcc")
    function = unit.functions[0]
    assert function.body is not None
    declare, last = function.body.items
    assert isinstance(last, tree.Return) and isinstance(last.value, tree.Convert)
    last.value = last.value.operand  # an lvalue is no value
    assert any("lvalue" in p for p in checktree.check(unit))
    assert isinstance(declare, tree.Declare) and declare.init is not None
    declare.init.parts[0].offset = 2
    assert any("outside" in p for p in checktree.check(unit))


def test_the_programs_own_types_beat_the_kernels() -> None:
    unit, found = checked("struct sock { int mine; }; int f(struct pt_regs *ctx, struct sock *sk) { return sk->mine; }", "bcc")
    assert not found
    _, found = checked("int f(struct pt_regs *ctx, struct sock *sk) { return sk->mine; }", "bcc")
    assert [d.code for d in found] == ["C0303"]


def test_only_what_is_used_is_read_from_btf() -> None:
    unit, found = checked("int f(struct pt_regs *ctx, struct sock *sk) { return sk->__sk_common.skc_family; }", "bcc")
    assert not found
    record = C.strip(C.strip(unit.functions[0].body.items[0].variable.type).target)  # type: ignore[union-attr]
    assert isinstance(record, C.Record) and record.complete
    inner = C.strip(record.fields[0].type)
    assert isinstance(inner, C.Record) and inner.complete
    net = C.strip(C.strip(inner.find("skc_net")[0].type).target)  # type: ignore[index,union-attr]
    assert isinstance(net, C.Record) and not net.complete  # named, never asked


def test_without_btf_context_structs_come_from_the_table() -> None:
    text = "int f(struct pt_regs *ctx, int a) { return a; } int g(struct xdp_md *ctx) { return ctx->data + XDP_PASS; }"
    unit, found = checked(text, "bcc", FakeFacts(with_btf=False))
    assert not found
    assert checktree.check(unit) == []
    _, found = checked("int f(struct pt_regs *ctx, struct sock *sk) { return sk->x; }", "bcc", FakeFacts(with_btf=False))
    assert any("no BTF" in n for n in found[0].notes)


def test_many_mistakes_end_the_run() -> None:
    _, found = checked("int f(void *ctx) { " + " ".join(f"unknown{i};" for i in range(50)) + " return 0; }", "bcc")
    assert len([d for d in found if d.severity == "error"]) == 20
