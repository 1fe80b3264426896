"""Arguments of a program's functions by their names, out of its DWARF: seen by the kernel, the machine, and bpftrace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf

TYPES = r"""
#include <stdio.h>
enum color { RED, GREEN = 5 };
struct inner { int a; char name[8]; };
typedef struct { short x, y; } point_t;
struct pair { long a, b; };
struct big { long a[3]; };
struct mixed { double d; int i; };
struct node { struct node *next; struct inner in; unsigned flag : 3, rest : 5; union { long l; char c[8]; }; };
int scalars(_Bool yes, signed char c, unsigned char u, short s, unsigned short us, int i, long l, enum color col);
int pointers(const struct node *n, const char *text, int *numbers, point_t **pp);
int values(point_t p, struct pair q, struct big b, struct inner in, int last);
int floats(double d, int i, float f, struct mixed m, int j);
struct big returned(int a, int b);
"""
FUNCTIONS = r"""
int scalars(_Bool yes, signed char c, unsigned char u, short s, unsigned short us, int i, long l, enum color col)
{ return yes + c + u + s + us + i + (int)l + col; }
int pointers(const struct node *n, const char *text, int *numbers, point_t **pp) { return n->in.a + *text + *numbers; }
int values(point_t p, struct pair q, struct big b, struct inner in, int last) { return p.x + q.a + b.a[0] + in.a + last; }
int floats(double d, int i, float f, struct mixed m, int j) { return (int)d + i + (int)f + m.i + j; }
struct big returned(int a, int b) { return (struct big){{ a, b }}; }
"""
MAIN = r"""
int main(void)
{
    struct node second = { 0, { 22, "second" }, 1, 2, { 3 } }, first = { &second, { 11, "first" }, 5, 17, { -4 } };
    int numbers[] = { 7, 8 };
    point_t p = { 3, -4 }, *pp = &p;
    const char *text = "hello";
    fprintf(stderr, "%s\n", text);  /* what was never looked at, a probe cannot read */
    scalars(1, -2, 200, -300, 60000, -70000, -5000000000, GREEN);
    pointers(&first, text, numbers, &pp);
    values(p, (struct pair){ 10, -20 }, (struct big){{ 1, 2, -3 }}, (struct inner){ 33, "by" }, 44);
    floats(1.5, 6, 2.5f, (struct mixed){ 1.0, 9 }, 77);
    return returned(8, 9).a[0] != 8;
}
"""
SCRIPT = r"""
uprobe:PATH:scalars { printf("%d %d %d %d %d %d %d %s\n", args.yes, args.c, args.u, args.s, args.us, args.i, args.l, args.col); }
uprobe:PATH:pointers { printf("%d %s %d %d %d %s ", args.n->in.a, args.n->in.name, args.n->flag, args->n->rest, args.n->l,
    args.n->next->in.name); printf("%s %d %d %d %d\n", str(args.text), *args.numbers, args.numbers[1], (*args.pp)->x, (*args.pp)->y); }
uprobe:PATH:values { $p = args.p; printf("%d %d %d %d %d %d ", $p.x, $p.y, args.q.a, args.q.b, args.b.a[0], args.b.a[2]);
    printf("%d %s %d\n", args.in.a, args.in.name, args.last); }
uprobe:PATH:floats { printf("%d %d\n", args.i, args.j); }
uprobe:PATH:returned { printf("%d %d\n", args.a, args.b); }
uprobe:PATH:pointers { $n = (struct node *)arg0; printf("%d %d\n", $n->in.a, sizeof(struct node)); }
"""
SAID = """1 -2 200 -300 60000 -70000 -5000000000 GREEN
11 first 5 17 -4 second hello 7 8 3 -4
11 32
3 -4 10 -20 1 -3 33 by 44
6 77
8 9
"""
# How a number that is not wide enough is sent by GCC and Clang is the same; what is in memory differs by optimisation.
WAYS = ["gcc -g -O0", "gcc -g -O2", "clang-14 -g -O1", "clang-14 -gdwarf-4 -O0"]


@pytest.fixture(scope="module", params=WAYS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    words = request.param.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    folder: Path = tmp_path_factory.mktemp("typed")
    (folder / "typed.h").write_text(TYPES)
    (folder / "typed.c").write_text('#include "typed.h"\n' + FUNCTIONS)
    (folder / "main.c").write_text('#include "typed.h"\n' + MAIN)
    subprocess.run([*words, "-w", "typed.c", "main.c", "-o", "typed"], cwd=folder, check=True)
    return str(folder / "typed")


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def test_arguments_have_names_and_types(program: str, backend: str) -> None:
    with ebpf.trace(SCRIPT.replace("PATH", program), command=[program], backend=backend) as trace:
        said = [event.text for event in trace]
    assert sorted("".join(said).splitlines()) == sorted(SAID.splitlines())


def test_what_is_listed_is_what_bpftrace_lists(program: str) -> None:
    listed = {probe.name.rpartition(":")[2]: probe.arguments
              for probe in ebpf.list_probes(f"uprobe:{program}:*", arguments=True)}
    assert listed["values"] == ("point_t p", "struct pair q", "struct big b", "struct inner in", "int last")
    assert listed["pointers"] == ("const struct node *n", "const char *text", "int *numbers", "point_t **pp")
    if shutil.which("bpftrace") is None or os.geteuid():
        return
    done = subprocess.run(["bpftrace", "-lv", f"uprobe:{program}:*"], capture_output=True, text=True, check=True)
    theirs: dict[str, list[str]] = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith(" "):
            theirs[name].append(re.sub(r"\W+", " ", line).strip())
        elif line:
            name = line.rpartition(":")[2]
            theirs[name] = []
    for name in ("scalars", "pointers", "values", "floats", "returned"):
        assert [re.sub(r"\W+", " ", a).strip() for a in listed[name]] == theirs[name]


@pytest.mark.parametrize(("probe", "expected"), [
    ("floats { print(args.d); }", "floating-point register"),
    ("floats { print(args.m); }", "floating-point register"),
    ("scalars { print(args.colour); }", "its arguments are: _Bool yes, signed char c"),
    ("pointers { print(args.n->inn.a); }", "did you mean `in`?"),
    ("s* { print(args.i); }", "differs from function to function"),
    ("scalars+4 { print(args.i); }", "where a function begins"),
    ("_start { print(args.i); }", "does not tell the arguments of `_start`"),
])
def test_mistakes(program: str, probe: str, expected: str) -> None:
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.trace(f"uprobe:{program}:{probe}", backend="machine")
    assert expected in str(caught.value).replace("bool", "_Bool").replace("__Bool", "_Bool")


def test_without_debug_information_it_is_said(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    (tmp_path / "plain.c").write_text("int f(int x) { return x; } int main(void) { return f(0); }")
    subprocess.run(["gcc", "plain.c", "-o", "plain"], cwd=tmp_path, check=True)
    with pytest.raises(ebpf.CompileError, match=r"no debug information \(DWARF\)"):
        ebpf.trace(f"uprobe:{tmp_path}/plain:f {{ print(args.x); }}", backend="machine")
    # What the kernel has of that name serves then, as it always did.
    ebpf.trace(f"uprobe:{tmp_path}/plain:f {{ print(((struct task_struct *)arg0)->pid); }}", backend="machine")
    # The file as it is now counts, also where the script was compiled before.
    subprocess.run(["gcc", "-g", "plain.c", "-o", "plain"], cwd=tmp_path, check=True)
    with ebpf.trace(f"uprobe:{tmp_path}/plain:f {{ print(args.x); }}", command=[f"{tmp_path}/plain"],
                    backend="machine") as trace:
        assert [event.values for event in trace] == [(0,)]
