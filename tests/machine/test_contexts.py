"""Contexts by field names: the program itself says what it found in them."""

from __future__ import annotations

from copy import copy
from functools import cache

import pytest

from ebpf.abi.programs import ProgType
from ebpf.errors import UnknownName, UsageError
from ebpf.machine import Machine
from ebpf.object import Object, read_object

SOURCE = """
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct opened { unsigned long long common; long nr; int flags; unsigned short mode; char name[8]; };

SEC("xdp") int queue(struct xdp_md *ctx) { return ctx->ingress_ifindex * 100 + ctx->rx_queue_index; }
SEC("tc") int marks(struct __sk_buff *skb) { return skb->mark + skb->cb[4]; }
SEC("kprobe/f") int registers(struct pt_regs *ctx) { return PT_REGS_PARM1(ctx) * 10 + PT_REGS_RC(ctx); }
SEC("tracepoint/x/y") int record(struct opened *ctx)
{
    return ctx->nr * 1000 + ctx->flags * 100 + ctx->mode * 10 + (ctx->name[1] == 'b');
}
SEC("sk_lookup") int untyped(void *ctx) { return ((struct bpf_sk_lookup *)ctx)->local_port; }
char LICENSE[] SEC("license") = "GPL";
"""


@cache
def obj() -> Object:
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts

    return read_object(compile_c(SOURCE, filename="contexts.c", facts=SystemFacts(), options=Options(dialect="libbpf")))


@pytest.mark.parametrize(("program", "fields", "result"), [
    ("queue", {"ingress_ifindex": 7, "rx_queue_index": 3}, 703),
    ("marks", {"mark": 40, "cb": (0, 0, 0, 0, 2)}, 42),
    ("registers", {"parm1": 6, "rc": 5}, 65),
    ("registers", {"di": 6, "ax": 5}, 65),
    ("record", {"nr": 2, "flags": 3, "mode": 4, "name": b"abc"}, 2341),
    ("record", {}, 0),
    ("untyped", {"local_port": 53}, 53),
])
def test_fields_are_where_the_program_reads_them(program: str, fields: dict[str, object], result: int) -> None:
    packet = bytes(64) if program in ("queue", "marks") else None
    assert Machine(obj(), verify=False).run(program, packet, ctx=fields).result == result


def test_without_types_the_table_of_contexts_knows_the_fields() -> None:
    bare = copy(obj())
    bare.btf = None
    machine = Machine(bare)
    assert machine.run("queue", bytes(64), ctx={"ingress_ifindex": 7, "rx_queue_index": 3}).result == 703
    assert machine.run("marks", bytes(64), ctx={"mark": 40, "cb": (0, 0, 0, 0, 2)}).result == 42


@pytest.mark.parametrize(("program", "fields", "error", "words"), [
    ("queue", {"ingress_ifndex": 7}, UnknownName, "did you mean 'ingress_ifindex'"),
    ("registers", {"parm9": 7}, UnknownName, "no argument called 'parm9'"),
    ("record", {"mode": 1 << 16}, UsageError, "mode"),
    ("record", {"name": b"far too long"}, UsageError, "name"),
    ("untyped", {"local_port": 1 << 32}, UsageError, "local_port"),
])
def test_what_does_not_fit_is_named(program: str, fields: dict[str, object], error: type[Exception], words: str) -> None:
    packet = bytes(64) if program == "queue" else None
    with pytest.raises(error) as caught:
        Machine(obj(), verify=False).run(program, packet, ctx=fields)
    shown = f"{caught.value} {getattr(caught.value, 'helps', '')}"
    assert words in shown


def test_a_program_type_given_by_the_caller_decides_the_context() -> None:
    machine = Machine(obj(), types={"untyped": int(ProgType.XDP)}, verify=False)
    with pytest.raises(UnknownName, match="local_port"):
        machine.run("untyped", bytes(64), ctx={"local_port": 80})
