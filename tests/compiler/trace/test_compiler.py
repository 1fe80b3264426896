"""The whole way: growth, the cache, the plan as bytes, helpers' errors, the scripts that Debian installs."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import time

import pytest

from ebpf.compiler.cache import Store
from ebpf.compiler.trace import ScriptOptions, compile_trace, compile_trace_cached
from ebpf.compiler.trace.compiler import check_script, compile_script
from ebpf.compiler.trace.plan import SECTION, Plan
from ebpf.errors import CompileError, FormatError
from ebpf.machine import Machine
from ebpf.object.elf import ElfImage
from ebpf.object.reader import read_object
from tests.compiler.trace.test_programs import CASES, PARAMS
from tests.compiler.trace.trace_support import FakeFacts, read_events, read_maps, run

TOOLS = sorted(glob.glob("/usr/sbin/*.bt"))


@pytest.mark.parametrize("script", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_plan_survives_the_object(script):
    compiled = compile_script(script, facts=FakeFacts(), options=ScriptOptions(PARAMS))
    assert Plan.parse(bytes(ElfImage.parse(compiled.elf).section(SECTION).data)) == _lists_as_tuples(compiled.plan)


def _lists_as_tuples(plan: Plan) -> Plan:
    return Plan.parse(plan.emit())


def test_plan_of_another_version_is_refused():
    with pytest.raises(FormatError, match="version 0"):
        Plan.parse(b'[0,[],[],[],{},"",[],[],[]]')
    with pytest.raises(FormatError):
        Plan.parse(b"{")


def test_typed_trees_keep_their_rules():
    from ebpf.compiler.c import checktree

    for _, script, _ in CASES:
        unit = check_script(script, facts=FakeFacts(), options=ScriptOptions(PARAMS)).unit
        assert checktree.check(unit) == []


def test_a_thousand_lines_grow_linearly():
    def seconds(lines: int) -> float:
        text = "BEGIN {\n" + "".join(f"@a[{i}] = {i};\n" for i in range(lines)) + "}\n"
        start = time.perf_counter()
        compile_trace(text, facts=FakeFacts())
        return time.perf_counter() - start

    few = min(seconds(250) for _ in range(2))
    many = min(seconds(1000) for _ in range(2))
    assert many < 9 * few


def test_a_hit_imports_no_compiler(tmp_path):
    store = Store(str(tmp_path))
    text = 'BEGIN { printf("x\\n"); }'
    first = compile_trace_cached(text, facts=FakeFacts(), store=store)
    code = (
        "import sys\n"
        "from ebpf.compiler.cache import Store\n"
        "from ebpf.compiler.trace import compile_trace_cached\n"
        "class Facts:\n"
        "    def __getattr__(self, name):\n"
        "        return {'arch': 'x86', 'kernel_id': 'test', 'kernel_version': 0x60C00, 'cpus_online': 2,\n"
        "                'cpus_possible': 2, 'page_size': 4096}[name]\n"
        f"elf = compile_trace_cached({text!r}, facts=Facts(), store=Store({str(tmp_path)!r}))\n"
        "bad = [m for m in sys.modules if m.startswith('ebpf.compiler.') and m not in\n"
        "       ('ebpf.compiler.cache', 'ebpf.compiler.trace', 'ebpf.compiler.trace.options')]\n"
        "print(len(elf), bad)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.stdout.split(" ", 1) == [str(len(first)), "[]\n"], done.stderr


def test_what_a_pattern_matched_is_a_fact(tmp_path):
    """Another kernel, with another function that matches, and the script is compiled again."""

    class Facts(FakeFacts):
        names: tuple[str, ...] = ("vfs_read",)

        def functions(self, pattern: str) -> tuple[str, ...] | None:
            return self.names

    store, facts = Store(str(tmp_path)), Facts(kernel_version=0x50A00)
    text = "kprobe:vfs_* { @[probe] = count(); }"
    first = compile_trace_cached(text, facts=facts, store=store)
    assert compile_trace_cached(text, facts=facts, store=store) == first
    facts.names, facts.kernel_id = ("vfs_read", "vfs_write"), "another build"
    again = compile_trace_cached(text, facts=facts, store=store)
    plan = Plan.parse(bytes(ElfImage.parse(again).section(SECTION).data))
    assert [p.name for p in plan.probes] == ["kprobe:vfs_read", "kprobe:vfs_write"]


def test_parameters_and_settings_belong_to_the_key(tmp_path):
    store = Store(str(tmp_path))
    objects = {
        compile_trace_cached(
            "BEGIN { @ = $1; @s = str(0); }", facts=FakeFacts(), store=store, options=ScriptOptions(params, tuple(config.items()))
        )
        for params in (("1",), ("2",))
        for config in ({}, {"BPFTRACE_MAX_STRLEN": "100"}, {"max_strlen": "200"})
    }
    assert len(objects) == 6


def test_names_tell_newer_kernels_from_older():
    """A pattern is one program where the kernel tells it which target it runs for, else one for each."""
    new = compile_script("kprobe:vfs_* { @[probe] = count(); }", facts=FakeFacts(kernel_version=0x60100)).plan
    old = compile_script("kprobe:vfs_* { @[probe] = count(); }", facts=FakeFacts(kernel_version=0x50A00)).plan
    assert [(p.target, p.details.get("cookie"), p.details.get("wildcard")) for p in new.probes] == [
        ("vfs_*", True, True)
    ]
    assert [p.target for p in old.probes] == ["vfs_read", "vfs_write", "vfs_open"]


def test_kernels_whose_atomic_instructions_give_nothing():
    """Before 5.12 an addition cannot tell what was there: it is read before, and still loses nothing."""
    from ebpf.isa import disassemble

    script = "BEGIN { @n++; @n += 5; $old = @n++; @old = $old; @new = ++@n; }"
    for version, fetches in ((0x50A00, 0), (0x50C00, 4)):
        facts = FakeFacts(kernel_version=version)
        code = read_object(compile_script(script, facts=facts).elf).programs["BEGIN"].code
        lines = [line for _, _, line in disassemble(code)]
        assert sum("fetch" in line for line in lines) == fetches and sum("lock" in line for line in lines) == 4 - fetches
        assert run(script, facts=facts).maps == {"@n": 8, "@old": 6, "@new": 8}


def test_kernels_without_ring_buffers_get_perf_buffers():
    elf = compile_trace('kprobe:vfs_read { printf("%d", pid); }', facts=FakeFacts(kernel_version=0x50700))
    assert read_object(elf).maps["events"].type.name == "PERF_EVENT_ARRAY"


def test_helpers_that_fail_are_told_when_asked():
    script = "let @m = hash(1); BEGIN { @m[1] = 1; @m[2] = 2; @s = str(9); }"
    for level, wanted in ((0, []), (1, ["bpf_map_update_elem"]), (2, ["bpf_map_update_elem", "bpf_probe_read_str"])):
        compiled = compile_script(script, facts=FakeFacts(), options=ScriptOptions(helper_errors=level))
        machine = Machine(read_object(compiled.elf))
        machine.run("BEGIN")
        assert [e[1] for e in read_events(compiled.plan, machine)] == wanted
        assert int.from_bytes(bytes(machine.maps["full"].lookup(bytes(4))), "little") == 1
        assert read_maps(compiled.plan, machine)["@m"] == {1: 1}


def test_a_parameter_that_is_no_number():
    with pytest.raises(CompileError, match=r"\$1 is `abc`, which is no number"):
        check_script("BEGIN { @ = $1 }", facts=FakeFacts(), options=ScriptOptions(("abc",)))
    with pytest.raises(CompileError, match="was given 0 parameters"):
        check_script("kprobe:$1 { }", facts=FakeFacts())
    assert run("kprobe:$1 { @ = 1 }", params=("vfs_read",)).plan.probes[0].target == "vfs_read"


def test_too_many_targets():
    class Facts(FakeFacts):
        def functions(self, pattern: str) -> tuple[str, ...] | None:
            return tuple(f"f{i}" for i in range(2000))

    with pytest.raises(CompileError, match="matches 2000 targets; 1024 are allowed"):
        check_script("fentry:f* { }", facts=Facts())


@pytest.mark.parametrize("text", ["", "// nothing\n", "#define X 1\n", "macro m() { 1 }"])
def test_a_script_without_probes(text):
    with pytest.raises(CompileError, match="this script has no probe"):
        check_script(text, facts=FakeFacts())


class Files(FakeFacts):
    """Facts with files."""

    files = {
        "lib/more.bt": 'import "more.bt";\nmacro three() { 3 }\nEND { @end = three(); }\n',
        "lib/mine.h": "#define ANSWER 42\nstruct mine { int a; short b; };\n",
    }

    def read_include(self, path: str) -> str | None:
        return self.files.get(path.removeprefix("./"))


def test_imports_and_headers():
    script = 'import "more.bt";\n#include "mine.h"\nBEGIN { @a = ANSWER; @s = sizeof(struct mine); @t = three(); }'
    text = script.replace("\n#include", "\n#include")
    compiled = compile_script(text, filename="lib/main.bt", facts=Files())
    machine = Machine(read_object(compiled.elf))
    for probe in compiled.plan.probes:
        machine.run(probe.program)
    assert read_maps(compiled.plan, machine) == {"@a": 42, "@s": 8, "@t": 3, "@end": 3}
    with pytest.raises(CompileError, match="looked for as lib/nothing.bt"):
        check_script('import "nothing.bt"; BEGIN { }', filename="lib/main.bt", facts=Files())


def test_headers_named_on_the_command_line():
    options = ScriptOptions(includes=("lib/mine.h",), include_dirs=(".",))
    plan = compile_script("BEGIN { @a = ANSWER; }", facts=Files(), options=options).plan
    assert plan.maps[0].name == "@a"


def test_static_probes_arguments():
    class Facts(FakeFacts):
        notes = ((0x1234, "-4@%edi 8@16(%rbp) 2@$7"),)

        def usdt_arguments(self, path: str, provider: str, name: str) -> tuple[tuple[int, str], ...] | None:
            return self.notes

    script = "usdt:/bin/x:prov:name { @a = arg0; @c = arg2; }"
    compiled = compile_script(script, facts=Facts())
    machine = Machine(read_object(compiled.elf))
    machine.run(compiled.plan.probes[0].program, ctx={"di": 0xFFFFFFFF})
    assert read_maps(compiled.plan, machine) == {"@a": -1, "@c": 7}
    with pytest.raises(CompileError, match="this probe has 3 arguments"):
        check_script("usdt:/bin/x:name { @ = arg3 }", facts=Facts())
    facts = Facts()
    # Where the places differ, the program looks where it is; two of them at one place of a page would look alike.
    facts.notes = ((0x1234, "-4@%edi"), (0x2AAC, "8@%rsi"), (0x3CC0, "-4@%edi"))
    compiled = compile_script("usdt:/bin/x:name { @ = arg0 }", facts=facts)
    for address, expected in ((0x55550001234, -2), (0x55550002AAC, 5), (0x55550003CC0, -2), (0x55550003CC1, 0)):
        machine = Machine(read_object(compiled.elf))
        machine.run(compiled.plan.probes[0].program, ctx={"di": 0xFFFFFFFE, "si": 5, "ip": address})
        assert read_maps(compiled.plan, machine) == {"@": expected}
    facts.notes = ((0x1234, "-4@%edi"), (0x2234, "-4@%esi"))
    with pytest.raises(CompileError, match="which of them was hit cannot be told"):
        check_script("usdt:/bin/x:name { @ = arg0 }", facts=facts)


def test_more_variables_than_the_stack_holds():
    count = 90
    lines = [f"$v{i} = nsecs + {i};" for i in range(count)] + [f"@x[{i}] = $v{i};" for i in range(count)]
    found = run("BEGIN { " + " ".join(lines) + " $i = 0; while ($i < 3) { $i++; @n = $i } }").maps
    assert found == {"@x": {i: 7_000_000_000 + i for i in range(count)}, "@n": 3}


def test_memory_beyond_what_is_per_cpu():
    """Strings of 40 KB: the scratch memory becomes an array with a part for each CPU."""
    script = "kprobe:vfs_read { $s = str(0x14000, 40000); @n = strlen($s); @same = $s == str(0x14000, 300); }"
    compiled = compile_script(script, facts=FakeFacts())
    scratch = read_object(compiled.elf).maps["scratch"]
    assert scratch.type.name == "ARRAY" and scratch.max_entries == 2
    assert run(script).maps == {"@n": 299, "@same": 1}


@pytest.mark.kernel
@pytest.mark.parametrize("script", [
    "kprobe:vfs_read { $s = str(arg1, 40000); @n = strlen($s); }",
    'BEGIN { @a = 1; @h = hist(5); printf("%s %d\\n", comm, @a); exit(); }',
    "kprobe:vfs_read { @[str(arg1), comm] = count(); @s = stats(arg2); @l = lhist(arg2, 0, 100, 10); }",
    "kprobe:vfs_read { $t = curtask; @n = $t->comm; @p = $t->real_parent->pid; @k[kstack(5), ustack] = count(); }",
    "BEGIN { @a[1] = 1; for ($kv : @a) { @b[$kv.0] = $kv.1 } @n = len(@a); }",
    'kprobe:vfs_read { join(arg1); @b = buf(arg1, arg2); @c = strcontains(comm, "x"); @e = str(arg1, 200) == comm; }',
    "profile:hz:99 { @[cpu, usermode] = count(); } interval:s:1 { print(@); clear(@); }",
])  # fmt: skip
def test_the_kernel_takes_what_was_compiled(script):
    from ebpf.kernel import loader
    from ebpf.kernel.facts import SystemFacts

    loaded = loader.load(read_object(compile_trace(script, facts=SystemFacts())))
    assert loaded.programs
    for program in loaded.programs.values():
        program.close()


# What the sample kernels lack: functions that were inlined or renamed, file systems that are no part of them.
_ABSENT = frozenset("biolatency biosnoop biostacks mdflush xfsdist swapin runqlen tcpdrop".split())


@pytest.mark.skipif(not TOOLS, reason="bpftrace's tools are not installed")
@pytest.mark.guest(thorough=True, timeout_s=600)
def test_installed_tools_load():
    """Every script of Debian's bpftrace package: compiled for this kernel, and taken by its verifier."""
    from ebpf.kernel import loader
    from ebpf.kernel.facts import SystemFacts

    facts = SystemFacts()
    refused = {}
    for path in TOOLS:
        name = os.path.basename(path).removesuffix(".bt")
        with open(path) as file:
            text = file.read()
        try:
            loaded = loader.load(read_object(compile_trace(text, filename=path, facts=facts)))
        except CompileError as error:
            refused[name] = str(error)
            continue
        for program in loaded.programs.values():
            program.close()
    assert set(refused) <= _ABSENT, refused
    assert all("T0302" in text or "T0210" in text for text in refused.values()), refused


def test_a_return_probe_knows_its_function_on_every_kernel():
    """Before Linux 5.15 no helper tells: each function has its own program, which holds the name."""
    script = "kretprobe:vfs_*, kretprobe:tcp_connect { @[func, 1] = count(); } kprobe:vfs_read { @[func, 0] = count(); }"
    old = compile_script(script, facts=FakeFacts(kernel_version=0x50A00))
    assert [(p.details["function"], p.program) for p in old.plan.probes if p.kind == "kretprobe"] == [
        (name, f"kretprobe_{name}") for name in ("vfs_read", "vfs_write", "vfs_open", "tcp_connect")]
    assert {"vfs_read", "vfs_write", "vfs_open", "tcp_connect"} <= set(read_object(old.elf).externs)
    new = compile_script(script, facts=FakeFacts(kernel_version=0x60100))
    assert len({p.program for p in new.plan.probes}) == 2 and not read_object(new.elf).externs
