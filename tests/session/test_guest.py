"""Sessions where they have a machine to themselves: many kernel functions at once."""

from __future__ import annotations

import os

import pytest

import ebpf
from bcc import BPF
from ebpf.kernel.features import have

TEXT = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u64); __type(value, u64); } ips SEC(".maps");
SEC("kprobe") int hit(struct pt_regs *ctx)
{
    u64 ip = ctx->ip, one = 1, *n = bpf_map_lookup_elem(&ips, &ip);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&ips, &ip, &one, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
CALLS = ("getppid", "getuid", "geteuid", "getgid", "getegid")


def call_all(times: int) -> None:
    for _ in range(times):
        for name in CALLS:
            getattr(os, name)()


def hits(entries: object) -> dict[str, int]:
    """Function → how often it was entered: the instruction pointer of a probe at its entry is inside of it."""
    found: dict[str, int] = {}
    for ip, n in entries:  # type: ignore[attr-defined]
        symbol = ebpf.host.kernel_symbol(int(getattr(ip, "value", ip)))
        name = symbol[0].partition("_sys_")[2] if symbol is not None else ""
        found[name] = found.get(name, 0) + int(getattr(n, "value", n))
    return found


@pytest.mark.guest(kernels=("6.1", "6.12", "7.2"), timeout_s=180)
def test_many_functions_at_once() -> None:
    obj = ebpf.compile(TEXT, dialect="libbpf")
    with ebpf.load(obj) as session:
        program = session.programs["hit"]
        names = [f"sys_{name}" for name in CALLS]
        group = program.attach_kprobes([*names, "no_such_function", names[0]], partly=True)
        assert len(group.functions) >= len(CALLS) and (len(group.links) < 5) == bool(have("kprobe_multi"))
        call_all(3)
        assert hits(session.maps["ips"].items()) == dict.fromkeys(CALLS, 3)
        group.detach()
        session.maps["ips"].clear()
        call_all(1)
        assert not hits(session.maps["ips"].items())
        with pytest.raises(ebpf.TargetNotFound):
            program.attach_kprobes([*names, "no_such_function"])
        with pytest.raises(ebpf.TargetNotFound):
            program.attach_kprobes(["no_such_function", "nor_this_one", "nor_that", "none"], partly=True)
        call_all(1)
        assert not hits(session.maps["ips"].items()) and not any(link.attached for link in session.links)


@pytest.mark.guest(kernels=("6.1", "6.12", "7.2"), timeout_s=180)
def test_bcc_attaches_by_pattern_and_detaches_one() -> None:
    obj = ebpf.compile(TEXT, dialect="libbpf")
    ebpf.compile = lambda *_, **__: obj  # type: ignore[attr-defined]
    with BPF(text="x") as b:
        prefix = b.get_syscall_prefix()
        pattern = b"^" + prefix + b"(" + "|".join(CALLS).encode() + b")$"
        assert b.get_kprobe_functions(pattern) == {prefix + name.encode() for name in CALLS}
        assert not any(n.startswith((b"perf_", b"__ftrace_invalid")) for n in b.get_kprobe_functions(b"_?_?[pf].*"))
        b.attach_kprobe(event_re=pattern, fn_name="hit")
        assert b.num_open_kprobes() == len(CALLS)
        call_all(2)
        assert hits(b["ips"].items()) == dict.fromkeys(CALLS, 2)
        b.detach_kprobe(event=prefix + b"getuid")
        b["ips"].clear()
        call_all(1)
        assert b.num_open_kprobes() == len(CALLS) - 1
        assert hits(b["ips"].items()) == {name: 1 for name in CALLS if name != "getuid"}
        for name in list(b.kprobe_fds):
            b.detach_kprobe_event(name)
        b["ips"].clear()
        call_all(1)
        assert b.num_open_kprobes() == 0 and not hits(b["ips"].items())
