"""Decorated functions: every hook has a decorator, options go where they belong, mistakes get one clear answer."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

import ebpf
from ebpf.abi.sections import SECTION_NAMES, parse_section
from ebpf.session.functions.attaching import family_of
from ebpf.session.functions.decorators import HOOKS

from . import programs as p

PACKET = bytes(64)


def nothing(ctx: Any) -> int:
    return 0


def test_every_section_has_a_decorator() -> None:
    made = {section for hook in HOOKS.values() for section in hook.sections.values()}
    assert set(SECTION_NAMES) - made == {"tp", "raw_tp", "raw_tp.w", "classifier"}, "these have longer names"
    for hook in HOOKS.values():
        assert getattr(ebpf, hook.__name__) is hook
        for section in hook.sections.values():
            assert family_of(section)[1].kind == section


@pytest.mark.parametrize(("decorate", "section", "options"), [
    (lambda: ebpf.tracepoint("syscalls:sys_enter_openat"), "tracepoint/syscalls/sys_enter_openat", {}),
    (lambda: ebpf.tracepoint("syscalls/sys_enter_openat", pid=7), "tracepoint/syscalls/sys_enter_openat", {"pid": 7}),
    (lambda: ebpf.kprobe("vfs_read+0x10", cookie=3), "kprobe/vfs_read+0x10", {"cookie": 3}),
    (lambda: ebpf.uprobe("malloc", binary="c"), "uprobe/c:malloc", {}),
    (lambda: ebpf.uprobe("/bin/sh:main", sleepable=True), "uprobe.s//bin/sh:main", {}),
    (lambda: ebpf.usdt("python:line", binary="python3", pid=1), "usdt/python3:python:line", {"pid": 1}),
    (lambda: ebpf.fentry("vfs_read", sleepable=True), "fentry.s/vfs_read", {}),
    (lambda: ebpf.lsm("file_open"), "lsm/file_open", {}),
    (lambda: ebpf.iter("task"), "iter/task", {}),
    (lambda: ebpf.xdp(interface="veth0", flags=2), "xdp", {"interface": "veth0", "flags": 2}),
    (lambda: ebpf.xdp("devmap", frags=True), "xdp.frags/devmap", {}),
    (lambda: ebpf.tc("egress", interface=3), "tc/egress", {"interface": 3}),
    (lambda: ebpf.tc, "tc", {}),
    (lambda: ebpf.sk_skb("stream_verdict"), "sk_skb/stream_verdict", {}),
    (lambda: ebpf.cgroup_skb("ingress", cgroup="/x"), "cgroup_skb/ingress", {"cgroup": "/x"}),
    (lambda: ebpf.cgroup_connect4(cgroup="/x"), "cgroup/connect4", {"cgroup": "/x"}),
    (lambda: ebpf.perf_event("cpu-clock", frequency=99), "perf_event", {"event": "cpu-clock", "frequency": 99}),
    (lambda: ebpf.netfilter("prerouting", priority=5), "netfilter", {"hook": "prerouting", "priority": 5}),
    (lambda: ebpf.socket_filter, "socket", {}),
])
def test_a_decorator_says_what_its_section_says(decorate: Callable[[], Any], section: str, options: dict[str, Any]) -> None:
    function = decorate()(nothing)
    assert isinstance(function, ebpf.Function)
    assert (function.section, function.attach_options, function.name) == (section, options, "nothing")
    assert parse_section(section) is not None and function.__wrapped__ is nothing


@pytest.mark.parametrize(("make", "said"), [
    (lambda: ebpf.xdp("devmpa"), "did you mean 'devmap'"),
    (lambda: ebpf.tcx(nothing), "no hook @ebpf.tcx alone"),
    (lambda: ebpf.kprobe("f", sleepable=True), "there is no sleepable one"),
    (lambda: ebpf.kprobe("f", pid=3)(nothing), "kprobe programs take no option 'pid'"),
    (lambda: ebpf.tracepoint("a:b", pdi=3)(nothing), "did you mean 'pid'"),
    (lambda: ebpf.xdp(ebpf.xdp(nothing)), "the target is text"),
    (lambda: ebpf.xdp()(ebpf.xdp(nothing)), "`nothing` is a program already"),
    (lambda: ebpf.cgroup_dev("x"), "takes no target"),
    (lambda: ebpf.tc("ingress")(print), "a function written with `def`"),
    (lambda: ebpf.kprobe(7), "the target is text, not 7"),
    (lambda: ebpf.xdp(nothing)(1), "Python cannot call it"),
    (lambda: ebpf.xdp(nothing).on(interfase="x"), "did you mean 'interface'"),
    (lambda: ebpf.xdp(nothing).program, "`nothing` is not loaded"),
    (lambda: pickle.dumps(ebpf.xdp(nothing)), "cannot be pickled: import it"),
    (lambda: ebpf.attach(), "no program is given"),
    (lambda: ebpf.attach(nothing), "nothing is no program"),  # type: ignore[arg-type]
    (lambda: ebpf.attach(ebpf.xdp(interface="x")(nothing), ebpf.tc("ingress", interface="x")(nothing)),
     "two programs are called 'nothing'"),
    (lambda: ebpf.load([p.make(), 3]), "3 is no program"),
])
def test_mistakes_get_one_clear_answer(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ebpf.UsageError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize(("function", "said"), [
    (lambda: ebpf.xdp(nothing), "ebpf.attach(nothing.on(interface=…))"),
    (lambda: ebpf.cgroup_connect4(nothing), "give cgroup= to its decorator"),
    (lambda: ebpf.kprobe("")(nothing), 'write @ebpf.kprobe("…")'),
    (lambda: ebpf.sk_msg(nothing), "give map= to its decorator"),
])
def test_attaching_nowhere_is_told_before_anything_is_compiled(function: Callable[[], Any], said: str) -> None:
    with pytest.raises(ebpf.AttachError) as caught:
        ebpf.attach(function())
    assert said in str(caught.value) and "`ebpf.load` loads it without attaching" in str(caught.value)


def test_what_a_function_tells_of_itself() -> None:
    function = p.make()
    assert function.__name__ == "count" and function.__doc__ == "Counts." and "xdp" in repr(function)
    assert function.source.startswith("@ebpf.xdp\ndef count(ctx):") and function.source.endswith("limit.value\n")
    assert function.object.programs["count"] is function.spec
    assert set(function.globals) == {"wanted", "limit"}
    page = function._repr_html_()
    assert "call bpf_map_lookup_elem" in page and "opens" in page and "instructions followed" in page


def test_a_function_can_be_run_at_once_and_its_maps_read() -> None:
    function = p.make()
    assert function.session is None
    assert function.test_run(PACKET).result == 1
    function.test_run(PACKET)
    assert p.opens == {1: 2} and function.session is not None and function.session.backend == "machine"
    with ebpf.load(function, backend="machine"):
        assert not p.opens, "a session of its own"
        assert function.test_run(PACKET).result == 1
        assert p.opens == {1: 1}
    assert function.session is None, "the trial has ended with it"
    function.test_run(PACKET)
    function.reset()
    with pytest.raises(ebpf.UsageError, match="its session is closed"):
        p.opens[1]


def test_maps_in_the_place_of_declared_ones(backend: str) -> None:
    function = p.make()
    if backend == "machine":
        with ebpf.load(function) as session, pytest.raises(ebpf.NotSupported, match="maps that several sessions share"):
            ebpf.load(function, reuse={"opens": session.maps["opens"]})
        return
    other = ebpf.compile("BPF_HASH(mine, u32, u64, 1000);", dialect="bcc")
    with ebpf.load(other) as first, ebpf.load(function, reuse={p.opens: first.maps["mine"]}):  # type: ignore[dict-item]
        function.test_run(PACKET)
        assert first.maps["mine"][1] == 1 and p.opens == {1: 1}
        with pytest.raises(ebpf.UsageError, match="is not used by these programs"):
            ebpf.load(function, reuse={ebpf.Hash(ebpf.u32, ebpf.u64): first.maps["mine"]})  # type: ignore[dict-item]
