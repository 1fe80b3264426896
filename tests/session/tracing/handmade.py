"""Scripts made by hand: programs in C and the plan beside them, so that the runtime is tested without the language."""

from __future__ import annotations

from ebpf.compiler.trace.plan import SECTION, Event, Map, Plan, Probe, Type
from ebpf.object.elf import ElfImage
from ebpf.session.build import compile_bytes

INT, TEXT = Type("int", 8, True), Type("str", 16)
COUNT = Type("count", 8)

_HEAD = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, %(ring)d); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
    lost SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 100); __type(key, u64); __type(value, u64); }
    at_c SEC(".maps");
struct record { u32 event; u32 zero; u64 number; char text[16]; };
/* Event 0: printf("%%d %%s\\n", number, comm). Event 1: exit(number). 2: print(@c). 3: clear(@c). 4: time. 5: system. */
static __always_inline void send(u32 event, u64 number)
{
    struct record *r = bpf_ringbuf_reserve(&events, sizeof(struct record), 0);
    if (!r) {
        u32 first = 0;
        u64 *count = bpf_map_lookup_elem(&lost, &first);
        if (count)
            *count += 1;
        return;
    }
    r->event = event; r->zero = 0; r->number = number;
    bpf_get_current_comm(r->text, sizeof(r->text));
    bpf_ringbuf_submit(r, 0);
}
static __always_inline void count(u64 key)
{
    u64 one = 1, *value = bpf_map_lookup_elem(&at_c, &key);
    if (value)
        *value += 1;
    else
        bpf_map_update_elem(&at_c, &key, &one, 0);
}
char LICENSE[] SEC("license") = "GPL";
"""
_EVENTS = (
    Event("printf", 32, ((8, INT), (16, TEXT)), "%d %s\n"), Event("exit", 32, ((8, INT),)),
    Event("print_map", 32, (), map="@c"), Event("clear", 32, (), map="@c"), Event("time", 32, (), "%Y\n"),
    Event("system", 32, ((8, INT),), "echo number %d"), Event("helper_error", 32, ((8, INT),), "map_update_elem", line=3),
    Event("printf", 32, ((8, INT),), "%d\n"),
)


def script(*probes: tuple[Probe, str, str], ring: int = 65536, config: dict[str, object] | None = None,
           unsafe: tuple[str, ...] = ()) -> bytes:
    """An object: for each probe its plan, its section and its body in C."""
    text = _HEAD % {"ring": ring}
    for probe, section, body in probes:
        text += f'SEC("{section}") int {probe.program}(void *ctx) {{ {body} return 0; }}\n'
    image = ElfImage.parse(compile_bytes(text, filename="handmade.c", dialect="libbpf"))
    plan = Plan(tuple(probe for probe, _, _ in probes), _EVENTS, (Map("@c", "at_c", INT, COUNT, True),), config or {},
                "handmade", unsafe, (), ())
    image.add(SECTION, plan.emit())
    return image.emit()


def own(kind: str, body: str) -> tuple[Probe, str, str]:
    """A BEGIN or END."""
    return Probe(kind, kind, "", kind.upper(), 1, {}), f"raw_tp/{kind}", body
