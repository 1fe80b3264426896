"""The type of a map's records, seen at the calls that send them."""

from __future__ import annotations

import pytest

from ebpf.compiler.c.types import format_ctype
from tests.compiler.c.check_support import checked

HEAD = """
struct event { unsigned int pid; unsigned int size; char comm[16]; };
struct other { unsigned long long at; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } pb SEC(".maps");
static int send(void *ctx, void *map) { struct event e = {}; return bpf_ringbuf_output(map, &e, sizeof(e), 0); }
SEC("kprobe/x") int f(void *ctx) {
"""

RESERVE = "bpf_ringbuf_reserve(&rb, "
CASES = {
    "reserve by initialiser": (f"struct event *e = {RESERVE} 24, 0);", {"rb": "struct event"}),
    "reserve by assignment": (f"struct event *e; e = {RESERVE} 24, 0);", {"rb": "struct event"}),
    "reserve by assignment in a condition": (f"struct event *e; if (!(e = {RESERVE} 24, 0))) return 0;",
                                             {"rb": "struct event"}),
    "reserve by cast": (f"void *e = (struct event *){RESERVE} 24, 0);", {"rb": "struct event"}),
    "reserve by sizeof a type": (f"void *e = {RESERVE} sizeof(struct event), 0);", {"rb": "struct event"}),
    "reserve by sizeof an object": (f"struct event *e = {RESERVE} sizeof(*e), 0);", {"rb": "struct event"}),
    "a typedef keeps its name": (f"typedef struct event record; record *e = {RESERVE} sizeof(record), 0);",
                                 {"rb": "record"}),
    "reserve with room behind": (f"struct event *e = {RESERVE} sizeof(*e) + 64, 0);", {}),
    "reserve of untyped bytes": (f"void *e = {RESERVE} 24, 0);", {}),
    "ring buffer output": ("struct event e = {}; bpf_ringbuf_output(&rb, &e, sizeof(e), 0);", {"rb": "struct event"}),
    "output through a pointer": ("struct event e = {}, *p = &e; bpf_ringbuf_output(&rb, p, sizeof(*p), 0);",
                                 {"rb": "struct event"}),
    "output of an integer": ("unsigned int pid = 1; bpf_ringbuf_output(&rb, &pid, sizeof pid, 0);",
                             {"rb": "unsigned int"}),
    "output of an array": ("char name[16] = {}; bpf_ringbuf_output(&rb, name, sizeof(name), 0);", {"rb": "char [16]"}),
    "output of a part": ("struct event e = {}; bpf_ringbuf_output(&rb, &e, 8, 0);", {}),
    "a length known at run time": ("struct event e = {}; unsigned long n = bpf_get_prandom_u32() & 15;"
                                   " bpf_ringbuf_output(&rb, &e, n, 0);", {}),
    "perf event output": ("struct event e = {}; bpf_perf_event_output(ctx, &pb, 0xffffffffULL, &e, sizeof(e));",
                          {"pb": "struct event"}),
    "two maps": (f"struct event *e = {RESERVE} 24, 0); struct other o = {{}};"
                 " bpf_perf_event_output(ctx, &pb, 0, &o, sizeof(o));", {"rb": "struct event", "pb": "struct other"}),
    "the same type twice": (f"struct event e = {{}}, *p = {RESERVE} sizeof(e), 0);"
                            " bpf_ringbuf_output(&rb, &e, sizeof(e), 0);", {"rb": "struct event"}),
    "types that differ": (f"struct event *e = {RESERVE} 24, 0); struct other o = {{}};"
                          " bpf_ringbuf_output(&rb, &o, sizeof(o), 0); bpf_ringbuf_output(&rb, &o, sizeof(o), 0);", {}),
    "a map that is an argument": ("send(ctx, &rb);", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_record_types(case: str) -> None:
    body, expected = CASES[case]
    unit, messages = checked("#include <bpf/bpf_helpers.h>\n" + HEAD + body + " return 0; }\n")
    assert not messages
    assert {name: format_ctype(t) for name, t in unit.events.items()} == expected
