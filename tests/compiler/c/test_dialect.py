"""BCC's dialect: maps in libbpf's form, sections by name, tracepoint structs, events, which reads are reads."""

from __future__ import annotations

import pytest

from ebpf.compiler.c import checktree, tree, types as C
from ebpf.compiler.c.checktree_format import format_tree
from ebpf.compiler.c.dialect.map_methods import METHODS
from ebpf.compiler.c.dialect.maps import MAP_MACROS, TABLE_TYPES
from ebpf.compiler.c.dialect.packets import PACKETS, packet_record
from ebpf.compiler.c.dialect.tracepoint import parse_format
from ebpf.diagnostics import format_diagnostics
from tests.compiler.c.check_support import SCHED_SWITCH, FakeFacts, checked


def good(text: str, facts: FakeFacts | None = None, dialect: str = "bcc") -> tree.Unit:
    unit, found = checked(text, dialect, facts)
    assert not found, format_diagnostics(found)
    assert checktree.check(unit) == []
    return unit


def describe(v: tree.Variable) -> dict[str, object]:
    """A map variable as libbpf reads it."""
    record = C.strip(v.type)
    assert isinstance(record, C.Record) and v.section == ".maps"
    out: dict[str, object] = {}
    for f in record.fields:
        pointer = C.strip(f.type)
        assert isinstance(pointer, C.Pointer)
        inner = pointer.target
        out[f.name or ""] = inner.count if isinstance(inner, C.Array) and inner.element is C.INT else C.format_ctype(inner)
    return out


@pytest.mark.parametrize(("text", "expected"), [
    ("BPF_HASH(m)", {"type": 1, "key": "u64", "value": "u64", "max_entries": 10240}),
    ("BPF_HASH(m, u32, struct pt_regs, 7)", {"type": 1, "key": "u32", "value": "struct pt_regs", "max_entries": 7}),
    ("BPF_ARRAY(m)", {"type": 2, "key": "int", "value": "u64", "max_entries": 10240}),
    ("BPF_PERCPU_ARRAY(m, u32, 3)", {"type": 6, "key": "int", "value": "u32", "max_entries": 3}),
    ("BPF_HISTOGRAM(m)", {"type": 2, "key": "int", "value": "u64", "max_entries": 64}),
    ("BPF_HISTOGRAM(m, u32)", {"type": 1, "key": "u32", "value": "u64", "max_entries": 64}),
    ("BPF_PERF_OUTPUT(m)", {"type": 4, "key": "int", "value": "u32"}),
    ("BPF_RINGBUF_OUTPUT(m, 8)", {"type": 27, "max_entries": 32768}),
    ("BPF_STACK_TRACE(m, 1000)", {"type": 7, "key": "int", "value": "struct bpf_stacktrace", "max_entries": 1024}),
    ("BPF_LPM_TRIE(m)", {"type": 11, "key": "u64", "value": "u64", "max_entries": 10240, "map_flags": 1}),
    ("BPF_QUEUE(m, u32, 9)", {"type": 22, "value": "u32", "max_entries": 9}),
    ('BPF_TABLE("lru_percpu_hash", u32, u64, m, 5)', {"type": 10, "key": "u32", "value": "u64", "max_entries": 5}),
    ('BPF_F_TABLE("hash", u32, u64, m, 5, 1)', {"type": 1, "key": "u32", "value": "u64", "max_entries": 5, "map_flags": 1}),
    ("BPF_SOCKHASH(m)", {"type": 18, "key": "u32", "value": "u32", "max_entries": 10240}),
])  # fmt: skip
def test_maps(text: str, expected: dict[str, object]) -> None:
    assert describe(next(v for v in good(text + ";").globals if v.name == "m")) == expected


def test_what_libbpf_has_no_word_for_is_a_tag() -> None:
    unit = good('BPF_TABLE_PINNED("hash", u32, u64, a, 8, "/sys/fs/bpf/a"); BPF_TABLE_PUBLIC("array", int, u64, b, 1);')
    assert [v.tags for v in unit.globals if v.section == ".maps"] == [("pin:/sys/fs/bpf/a",), ("bcc:public",)]


def test_tables_agree_with_the_abi() -> None:
    from ebpf.abi.helpers import HELPERS_BY_NAME
    from ebpf.abi.maps import MapType

    for name in [r.type for r in MAP_MACROS.values() if r.type] + list(TABLE_TYPES.values()):
        assert name in ("HISTOGRAM", "EXTERN") or MapType.named(name) is not None, name
    for method in METHODS.values():
        assert all(MapType.named(t) is not None for t in method.types or ()), method.usage
    assert HELPERS_BY_NAME["bpf_map_lookup_elem"].id == 1


@pytest.mark.parametrize(("head", "section"), [
    ("kprobe__sys_clone(void *ctx)", "kprobe/sys_clone"), ("kretprobe__vfs_read(struct pt_regs *ctx)", "kretprobe/vfs_read"),
    ("raw_tracepoint__sched_switch(void *ctx)", "raw_tp/sched_switch"), ("hello(struct xdp_md *ctx)", "xdp"),
    ("tracepoint__sched__sched_switch(struct tracepoint__sched__sched_switch *args)", "tracepoint/sched/sched_switch"),
    ("hello(void *ctx)", "kprobe"), ("hello(struct pt_regs *ctx, int a)", "kprobe"), ("hello(struct __sk_buff *skb)", "socket"),
    ("hello(struct bpf_perf_event_data *ctx)", "perf_event"), ("hello(struct bpf_sock_ops *ops)", "sockops"),
    ("hello(struct bpf_raw_tracepoint_args *ctx)", "raw_tp"),
])  # fmt: skip
def test_sections(head: str, section: str) -> None:
    function = good(f"int {head} {{ return 0; }}").functions[0]
    assert (function.section, function.linkage, function.context) == (section, "program", True)


def test_functions_that_are_no_programs_are_inlined() -> None:
    unit = good("static int a(int x) { return x; } static inline int b(void) { return a(1); } int c(void *ctx) { return b(); }")
    assert [(f.name, f.linkage) for f in unit.functions] == [("a", "inline"), ("b", "inline"), ("c", "program")]


@pytest.mark.parametrize(("text", "licence"), [("", b"GPL\0"), ("BPF_LICENSE(MIT);", b"MIT\0"), ("BPF_LICENSE(Dual BSD/GPL);", b"Dual BSD/GPL\0")])
def test_licence(text: str, licence: bytes) -> None:
    unit = good(text + "int f(void *ctx) { return 0; }")
    value = next(v for v in unit.globals if v.section == "license").init
    assert value is not None and isinstance(value.parts[0].value, tree.StringConst)
    assert value.parts[0].value.value == licence


def body(text: str, facts: FakeFacts | None = None) -> str:
    return format_tree(good(text, facts)).partition("@kprobe\n")[2]


def test_only_arguments_that_are_used_are_fetched() -> None:
    assert body("int f(struct pt_regs *ctx, int a, int b, int c) { return b; }") == "  int b = {0: (int)[*[ctx].si]}\n  return [b]\n"


def test_a_system_calls_arguments_are_in_the_inner_registers_where_there_are_any() -> None:
    text = "int syscall__x(struct pt_regs *ctx, int a, int b, int c, int d) { return d; }"
    assert "probe4[&*(struct pt_regs *)[*[ctx].di].r10]" in body(text)
    assert "int d = {0: (int)[*[ctx].r10]}" in body(text, FakeFacts(wrapper=False))


@pytest.mark.parametrize(("expression", "reads"), [
    ("t->pid", 1), ("t->real_parent->pid", 2), ("&t->pid != 0", 0), ("&t->real_parent->pid != 0", 1), ("*t->comm", 1), ("t->comm[3]", 1),
    ("t->sib[0]->pid", 2), ("(*t).pid", 1), ("((struct task_struct *)(void *)t)->pid", 1), ("(1 ? t : 0)->pid", 1), ("(t + 1)->pid", 1),
    ("t->policy", 1), ("sizeof(t->pid)", 0), ("({ struct task_struct *q; q = t; q->pid; })", 1), ("local.p->pid", 1), ("local.n", 0),
    ("ctx->ip", 0), ("PT_REGS_RC(ctx)", 0), ("((struct sock *)PT_REGS_PARM2(ctx))->sk_flags", 1), ("stack->pid", 0),
])  # fmt: skip
def test_which_accesses_are_reads(expression: str, reads: int) -> None:
    text = ("struct both { struct task_struct *p; int n; };"
            "int f(struct pt_regs *ctx, struct task_struct *t) { struct both local = {}; struct task_struct mine = {}, *stack = &mine;"
            f" local.p = t; return {expression}; }}")  # fmt: skip
    assert body(text).partition("return")[2].count("probe4[") == reads


def test_marks_reach_through_functions_whatever_their_order() -> None:
    text = ("static struct task_struct *up(struct task_struct *t) { return t; } static int pid(struct task_struct *t) { return up(t)->pid; }"
            "int f(struct pt_regs *ctx, struct task_struct *t) { return pid(t); }")  # fmt: skip
    assert "return probe4[&*up(" in format_tree(good(text))


def test_fentry_arguments_are_read_directly() -> None:
    assert "probe" not in format_tree(good("KFUNC_PROBE(vfs_read, struct task_struct *t) { return t->real_parent->pid; }"))


def test_tracepoint_format() -> None:
    fields = parse_format(SCHED_SWITCH)
    assert [(f.name, f.offset, f.size, f.signed) for f in fields] == [
        ("prev_comm", 8, 16, False), ("prev_pid", 24, 4, True), ("prev_state", 32, 8, True), ("name", 40, 4, False), ("skaddr", 48, 8, False),
        ("mode", 56, 8, False)]  # fmt: skip
    unit = good("TRACEPOINT_PROBE(sched, sched_switch) { return args->prev_pid; }")
    record = C.strip(unit.functions[0].parameters[0].type.target)  # type: ignore[union-attr]
    assert isinstance(record, C.Record)
    assert {f.name: (f.bit_offset // 8, C.size_of(f.type)) for f in record.fields} == {
        "__do_not_use__": (0, 8), "prev_comm": (8, 16), "prev_pid": (24, 4), "__pad_28": (28, 4), "prev_state": (32, 8),
        "data_loc_name": (40, 4), "__pad_44": (44, 4), "skaddr": (48, 8), "mode": (56, 8)}  # fmt: skip
    assert record.size == 64


def test_events_are_noted() -> None:
    unit = good("struct d { u32 a; }; BPF_PERF_OUTPUT(ev); BPF_RINGBUF_OUTPUT(rb, 1);"
                "int f(void *ctx) { struct d d = {}; ev.perf_submit(ctx, &d, sizeof(d)); struct d *r = rb.ringbuf_reserve(sizeof(*r));"
                " if (r) rb.ringbuf_submit(r, 0); return 0; }")  # fmt: skip
    assert {n: C.format_ctype(t) for n, t in unit.events.items()} == {"ev": "struct d", "rb": "struct d"}


def test_a_missing_entry_is_made_in_plain_hashes_only() -> None:
    for macro, makes in (("BPF_HASH", 1), ("BPF_LRU_HASH", 0), ("BPF_PERCPU_HASH", 0)):
        assert format_tree(good(f"{macro}(m, u32); int f(void *ctx) {{ m.increment(3); return 0; }}")).count("bpf_map_update_elem") == makes


def test_void_programs_return_0() -> None:
    assert body("void f(void *ctx) { if (ctx) return; }").count("return 0") == 2


def test_number_of_processors_is_a_constant() -> None:
    assert "return 3" in body("int f(void *ctx) { return bpf_num_cpus(); }")


def test_packet_headers_have_their_sizes_on_the_wire() -> None:
    sizes = {tag: record.size for tag in PACKETS if (record := packet_record(tag)) is not None}
    expected = {"ethernet_t": 14, "dot1q_t": 4, "arp_t": 28, "ip_t": 20, "ip6_t": 40, "udp_t": 8, "tcp_t": 20, "vxlan_t": 8, "vxlan_gbp_t": 8}
    assert {tag: sizes[tag] for tag in expected} == expected


@pytest.mark.parametrize(("text", "bcc"), [
    ("int f(void *ctx) { return 0; }", True), ("BPF_HASH(m); int f(void *ctx) { return 0; }", True),
    ('SEC("xdp") int f(struct xdp_md *ctx) { return 0; }', False), ("#include <bpf/bpf_helpers.h>\nint f(void *ctx) { return 0; }", False),
])  # fmt: skip
def test_the_dialect_is_recognised(text: str, bcc: bool) -> None:
    unit = good(text, dialect="auto")
    assert any(v.name == "_license" for v in unit.globals) == bcc
