"""Programs' view of maps: the same program in this machine's kernel, interpreted over maps in Python and native ones, and compiled."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ebpf.machine import Machine
from ebpf.machine.environment import Environment
from tests.machine.test_compiled import compiled

PACKET = bytes(64)
ENGINES = ["python maps", "native maps", "jit"]


def machine(engine: str, monkeypatch: pytest.MonkeyPatch) -> Machine:
    if engine == "jit":
        return Machine(compiled("all_maps.c"), engine="jit")
    monkeypatch.setattr(Environment, "native", property(lambda self: engine == "native maps"))
    return Machine(compiled("all_maps.c"))


def kernel(program: str) -> dict[str, Any]:
    from ebpf.kernel import load

    with load(compiled("all_maps.c")) as loaded:
        loaded.programs[program].test_run(PACKET)
        return seen(loaded.maps)


def seen(maps: Any) -> dict[str, Any]:
    """What the user finds in the maps afterwards, in a form that does not depend on order or on the number of CPUs."""
    out = bytes(maps["out"].read_all().values)
    found: dict[str, Any] = {"out": struct.unpack("<64q", out)}
    for name in ("hash", "trie", "locks"):
        m = maps[name]
        found[name] = {k: m.lookup(k) for k in m.keys()}
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", ["hashes", "others"])
def test_as_in_the_kernel(engine: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine(engine, monkeypatch)
    assert m.run(program, PACKET).result == 2
    assert seen(m.maps) == kernel(program)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_programs_sent(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine(engine, monkeypatch)
    m.run("others", PACKET)
    assert m.maps["ring"].drain() == [struct.pack("<2Q", 1, 2), struct.pack("<Q", 1234567)]
    assert m.maps["ring"].pending_bytes == 0 and m.maps["ring"].query(2) == m.maps["ring"].query(3) == 56


@pytest.mark.parametrize("engine", ENGINES)
def test_where_native_maps_are(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine(engine, monkeypatch)
    assert all(bool(map.native) == (engine != "python maps") for map in m.maps.values())
    assert m.maps["locks"].shape.lock_offset == 0 and not m.maps["locks"].special


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
class TestOwnedMaps:
    @staticmethod
    def make(engine: str) -> Machine:
        return Machine(compiled("owned_maps.c"), engine=engine)

    @staticmethod
    def variables(m: Machine) -> dict[str, int]:
        data = m.obj.maps[".bss"].variables
        contents = m.maps[".bss"].lookup(bytes(4)) or b""
        return {v.name: int.from_bytes(contents[v.offset:v.offset + 8], "little", signed=True) for v in data}

    def test_a_value_for_each_task(self, engine: str) -> None:
        m = self.make(engine)
        calls = m.maps["calls"]
        for tid in (7, 8, 7, 7):
            m.environment.task = m.environment.task._replace(tid=tid)
            m.run("count", ctx=(0, 1))
        assert [calls.lookup(n.to_bytes(4, "little")) for n in (7, 8, 9)] == [struct.pack("<Q", 3), struct.pack("<Q", 1), None]

    def test_control_groups(self, engine: str) -> None:
        m = self.make(engine)
        m.maps["groups"].update(bytes(4), m.environment.task.cgroup_id.to_bytes(4, "little"))
        m.run("count", ctx=(0, 1))
        assert (self.variables(m)["under"], self.variables(m)["missing"]) == (1, -11)

    def test_records_from_the_user(self, engine: str) -> None:
        m = self.make(engine)
        for n in (1, 2, 97, 5):
            m.maps["requests"].send(n.to_bytes(8, "little"))
        m.run("drain", ctx=(0, 1))
        assert (self.variables(m)["drained"], self.variables(m)["sum"]) == (3, 100)  # the callback stops it there
        m.maps["requests"].send(b"short")
        m.run("drain", ctx=(0, 1))
        assert (self.variables(m)["drained"], self.variables(m)["sum"]) == (1, 105)
        assert len(m.maps["requests"].samples) == 1 and not m.maps["requests"].busy


SOCKETS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); } socks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); } group SEC(".maps");
char LICENSE[] SEC("license") = "GPL";
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { return bpf_sk_redirect_map(skb, &socks, 2, BPF_F_INGRESS); }
SEC("sk_skb/stream_parser") int absent(struct __sk_buff *skb) { return bpf_sk_redirect_map(skb, &socks, 3, 0); }
"""


def test_where_a_program_sends_what_comes_from_a_socket() -> None:
    from ebpf.compiler import Options, compile_c
    from ebpf.object import read_object
    from tests.machine.test_compiled import _facts

    elf = compile_c(SOCKETS, filename="sockets.c", facts=_facts(), options=Options(dialect="libbpf"))
    m = Machine(read_object(elf, "sockets"))
    m.maps["socks"].update((2).to_bytes(4, "little"), (77).to_bytes(8, "little"))
    run = m.run("verdict", PACKET)
    assert (run.result, run.redirect and run.redirect[:3]) == (1, (77, 1, "socks"))
    run = m.run("absent", PACKET)
    assert (run.result, run.redirect) == (0, None)
