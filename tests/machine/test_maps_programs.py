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
