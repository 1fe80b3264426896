"""Where arguments are by the calling conventions, and the types of a program that is probed."""

from __future__ import annotations

import pytest

from ebpf.compiler.c import types as C
from ebpf.compiler.trace.user_types import Place, places
from tests.compiler.trace.trace_support import FakeFacts, run

DOUBLE, FLOAT = C.Float("double", 8), C.Float("float", 4)


def record(*fields: C.CType) -> C.Record:
    made, at = C.Record("struct", "r", complete=True), 0
    for index, t in enumerate(fields):
        size = C.size_of(t) or 1
        at = (at + size - 1) // size * size
        made.fields.append(C.Field(f"f{index}", t, at * 8, 0, index))
        at += size
    made.align = max(C.size_of(t) or 1 for t in fields)
    made.size = (at + made.align - 1) // made.align * made.align
    return made


def reg(at: int, words: int = 1) -> Place:
    return Place("registers", at, words)


FLOATS = Place("float")
CASES = [
    ((C.INT, C.Pointer(C.INT), C.CHAR), C.INT, [reg(0), reg(1), reg(2)], [reg(0), reg(1), reg(2)]),
    ((C.LONG,) * 10, C.INT, [*[reg(i) for i in range(6)], *[Place("stack", i) for i in range(4)]],
     [*[reg(i) for i in range(8)], Place("stack", 0), Place("stack", 1)]),
    ((DOUBLE, C.INT, FLOAT, C.INT), C.INT, [FLOATS, reg(0), FLOATS, reg(1)], [FLOATS, reg(0), FLOATS, reg(1)]),
    ((record(C.INT, C.INT), C.INT), C.INT, [reg(0), reg(1)], [reg(0), reg(1)]),
    ((record(C.LONG, C.LONG), C.INT), C.INT, [reg(0, 2), reg(2)], [reg(0, 2), reg(2)]),
    ((record(C.LONG, C.LONG, C.LONG), C.INT), C.INT, [Place("stack", 0, 3), reg(0)], [Place("address", 0), reg(1)]),
    ((record(DOUBLE, C.LONG), C.INT), C.INT, [FLOATS, reg(1)], [reg(0, 2), reg(2)]),
    ((record(FLOAT, FLOAT), C.INT), C.INT, [FLOATS, reg(0)], [FLOATS, reg(0)]),
    ((record(FLOAT, C.INT), C.INT), C.INT, [reg(0), reg(1)], [reg(0), reg(1)]),
    ((C.INT, C.INT), record(C.LONG, C.LONG, C.LONG), [reg(1), reg(2)], [reg(0), reg(1)]),
    ((C.INT, C.INT), record(C.LONG, C.LONG), [reg(0), reg(1)], [reg(0), reg(1)]),
    # What does not fit as a whole goes to the stack, and what comes after it may still fit.
    ((*(C.LONG,) * 5, record(C.LONG, C.LONG), C.INT), C.INT,
     [*[reg(i) for i in range(5)], Place("stack", 0, 2), reg(5)], [*[reg(i) for i in range(5)], reg(5, 2), reg(7)]),
    ((C.INT128, C.INT), C.INT, [reg(0, 2), reg(2)], [reg(0, 2), reg(2)]),
]


@pytest.mark.parametrize(("parameters", "result", "x86", "arm64"), CASES, ids=range(len(CASES)))
def test_places(parameters, result, x86, arm64):
    prototype = C.Function(result, tuple(parameters))
    assert places(prototype, "x86") == x86
    assert places(prototype, "arm64") == arm64


def test_types_of_the_program_come_before_the_kernels():
    class Facts(FakeFacts):
        asked: list[tuple[str, str]] = []

        def user_types(self, path, name, near):
            self.asked.append((name, near))
            return super().user_types(path, name, near)

    facts = Facts()
    found = run("uprobe:/bin/x:take { @c = args.count; @s = sizeof(struct node); @k = sizeof(struct sock); }", facts=facts)
    assert found.maps["@s"] == 24 and found.maps["@k"] > 24
    # What is asked is answered once, and nothing is asked for that nobody named.
    assert facts.asked == [("take()", "take"), ("struct node", "take"), ("struct sock", "take")]
    facts.asked.clear()
    run("struct node { char a; }; uprobe:/bin/x:take { @s = sizeof(struct node); @t = arg0; } kprobe:vfs_read { @k = sizeof(struct sock); }",
        facts=facts)
    assert facts.asked == []
