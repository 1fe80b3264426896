"""From text to an object that others can read, and what is said when LLVM cannot go on."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.compiler import Options, compile_c, compile_c_full
from ebpf.errors import CompileError
from ebpf.object import read_object
from tests.compiler.test_cache import Facts

LICENSE = 'char LICENSE[] SEC("license") = "GPL";\n'


def build(text: str, **options: object) -> bytes:
    return compile_c(text, filename="prog.c", facts=Facts(), options=Options(**options))  # type: ignore[arg-type]


def refused(text: str, **options: object) -> list[tuple[str, int | None, str]]:
    with pytest.raises(CompileError) as caught:
        build(text, **options)
    return [(d.code, d.span and d.span.line, d.message) for d in caught.value.diagnostics if d.severity == "error"]


def test_too_much_stack_names_the_function_and_the_way_out() -> None:
    text = """
struct big { char bytes[600]; };
SEC("socket") int hungry(struct __sk_buff *skb)
{
    struct big b = {};
    bpf_skb_load_bytes(skb, 0, &b, sizeof(b));
    return b.bytes[3];
}
"""
    with pytest.raises(CompileError) as caught:
        build(text + LICENSE)
    found = caught.value.diagnostics[0]
    assert found.code == "C0601" and "`hungry`" in found.message
    assert found.span is not None and found.span.file == "prog.c" and 4 <= found.span.line <= 7
    assert "per-CPU array" in found.helps[0]


@pytest.mark.parametrize(("body", "code"), [
    ("short s = skb->len; return __sync_fetch_and_add(&s, 1);", "C0506"),
    ('asm volatile("r1 = 5"); return 0;', "C0503"),
    ("unsigned __int128 a = skb->len, r; return __builtin_mul_overflow(a, a, &r);", "C0502"),
])  # fmt: skip
def test_what_bpf_cannot_do_is_told_with_its_place(body: str, code: str) -> None:
    errors = refused(f'SEC("socket") int f(struct __sk_buff *skb)\n{{\n    {body}\n}}\n' + LICENSE)
    assert [(c, line) for c, line, _ in errors] == [(code, 3)]


def test_six_parameters_are_inlined() -> None:
    text = """
static int many(int a, int b, int c, int d, int e, int f) { return a + b + c + d + e + f; }
SEC("socket") int f(struct __sk_buff *skb) { return many(skb->len, 2, 3, 4, 5, 6) + many(1, skb->len, 2, 3, 4, 5); }
"""
    assert not read_object(build(text + LICENSE)).functions


def test_a_wide_product_spelled_in_parts() -> None:
    text = """
static u64 high(u64 a, u64 b)
{
    u64 a0 = (u32)a, a1 = a >> 32, b0 = (u32)b, b1 = b >> 32, p = a0 * b0, t = a1 * b0 + (p >> 32), w = a0 * b1 + (u32)t;
    return a1 * b1 + (t >> 32) + (w >> 32);
}
SEC("socket") int f(struct __sk_buff *skb) { u64 n = skb->len; return high(n * n, n * 77777777777); }
"""
    assert read_object(build(text + LICENSE)).programs.keys() == {"f"}


PROGRAM = """\
struct record { u32 pid; char comm[16]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, u32, struct record);
static const char greeting[] = "hello";
int on_call(struct pt_regs *ctx)
{
    struct record r = {};
    r.pid = bpf_get_current_pid_tgid();
    bpf_get_current_comm(&r.comm, sizeof(r.comm));
    events.perf_submit(ctx, &r, sizeof(r));
    return 0;
}
"""


def test_the_object_has_what_loaders_read_and_no_more() -> None:
    obj_bytes = build(PROGRAM, dialect="bcc")
    obj = read_object(obj_bytes)
    assert obj.btf is not None
    assert obj.maps.keys() == {"events", "counts"}
    record = obj.btf.type(obj.events["events"])
    assert record.name == "record" and [m.name for m in record.members] == ["pid", "comm"]  # type: ignore[union-attr]
    lines = {line.line: line.text for line in obj.programs["on_call"].line_infos}
    assert lines[10].strip() == "events.perf_submit(ctx, &r, sizeof(r));"
    assert all(line.file == "prog.c" for line in obj.programs["on_call"].line_infos)
    for absent in (b".debug_info", b".eh_frame", b".llvm_addrsig", b".rodata.str"):
        assert absent not in obj_bytes


def test_a_function_may_have_its_sections_name() -> None:
    """LLVM, and clang with it, gives up on `SEC("xdp") int xdp(…)`; BCC's users call their programs so."""
    obj = read_object(build("int xdp(struct xdp_md *ctx) { return 2; }\nint kprobe(void *ctx) { return 0; }", dialect="bcc"))
    assert {name: spec.section for name, spec in obj.programs.items()} == {"xdp": "xdp", "kprobe": "kprobe"}
    assert [line.line for line in obj.programs["kprobe"].line_infos][0] == 2


@pytest.mark.skipif(shutil.which("llvm-objdump") is None, reason="needs llvm-objdump")
def test_llvm_objdump_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(build(PROGRAM, dialect="bcc"))
    text = subprocess.run(["llvm-objdump", "-dr", tmp_path / "a.o"], capture_output=True, text=True, check=True).stdout
    assert "<on_call>:" in text and "call 25" in text and "R_BPF_64_64\tevents" in text


@pytest.mark.skipif(shutil.which("bpftool") is None, reason="needs bpftool")
def test_bpftool_reads_its_types(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(build(PROGRAM, dialect="bcc"))
    run = subprocess.run(["bpftool", "-j", "btf", "dump", "file", tmp_path / "a.o"], capture_output=True, check=True)
    types = json.loads(run.stdout)["types"]
    functions = {t["name"]: t for t in types if t["kind"] == "FUNC"}
    assert functions["on_call"]["linkage"] == "global"
    prototype = next(t for t in types if t["id"] == functions["on_call"]["type_id"])
    assert [p["name"] for p in prototype["params"]] == ["ctx"]
    assert {s["name"] for s in types if s["kind"] == "DATASEC"} >= {".maps", "license"}


def test_warnings_come_along() -> None:
    compiled = compile_c_full(
        'SEC("socket") int f(void *c) { int *p = c; char *q = p; return !q; }\n' + LICENSE,
        filename="prog.c",
        facts=Facts(),
    )  # type: ignore[arg-type]
    assert [d.severity for d in compiled.diagnostics] == ["warning"]
    assert compiled.elf[:4] == b"\x7fELF"


def test_several_mistakes_in_one_run() -> None:
    errors = refused('SEC("socket") int f(void *c) { return one; }\nSEC("socket") int g(void *c) { return two(); }\n')
    assert [line for _, line, _ in errors] == [1, 2]


def test_calls_through_pointers_that_stay_unknown() -> None:
    """An instruction for them exists, but the kernel takes it of nobody; those that the optimiser resolves are fine."""
    text = """\
static __noinline int one(int x) { return x + 1; }
static __noinline int two(int x) { return x + 2; }
static int (*const table[])(int) = { one, two };
SEC("socket") int f(struct __sk_buff *skb)
{
    int (*chosen)(int) = skb->len ? one : two;
    int sum = table[0](1) + table[1](2);
    return sum + chosen(3);
}
"""
    assert [(code, line) for code, line, _ in refused(text)] == [("C0613", 8)]
    assert read_object(build(text.replace("skb->len", "1"))).programs.keys() == {"f"}


@pytest.mark.parametrize("attribute, relocated", [("", 0), ("__attribute__((preserve_access_index))", 1)])
def test_a_context_is_read_at_its_members_offset(attribute: str, relocated: int) -> None:
    """Relocatable or not: LLVM's pass for constant offsets into contexts would fold the relocatable one wrongly."""
    text = f"""
struct entry {{ u64 flags; u64 id; u64 args[6]; }} {attribute};
SEC("tracepoint/raw_syscalls/sys_enter") int f(struct entry *ctx) {{ return ctx->args[1]; }}
"""
    program = read_object(build(text)).programs["f"]
    from ebpf.isa import decode

    loads = [(i.src, i.off) for i in decode(program.code) if i.opcode & 7 == 1]
    assert loads == [(1, 24)]
    assert len(program.core_relos) == relocated
