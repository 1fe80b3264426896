"""Every type of map, made and found empty: each call of the user's gives in the machine what it gives in this machine's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ebpf.abi.maps import BPF_F_NO_PREALLOC, MapType as T
from ebpf.errors import EbpfError, KernelError, MapError, NotSupported, PrivilegeError
from ebpf.machine import MapShape
from tests.machine.test_maps_contract import kernel_map, machine_map

# type: key size, value size, entries, flags
SHAPES: dict[T, tuple[int, int, int, int]] = {
    T.HASH: (4, 8, 4, 0),
    T.ARRAY: (4, 8, 4, 0),
    T.PROG_ARRAY: (4, 4, 4, 0),
    T.PERF_EVENT_ARRAY: (4, 4, 4, 0),
    T.PERCPU_HASH: (4, 8, 4, 0),
    T.PERCPU_ARRAY: (4, 8, 4, 0),
    T.STACK_TRACE: (4, 64, 4, 0),
    T.CGROUP_ARRAY: (4, 4, 4, 0),
    T.LRU_HASH: (4, 8, 4, 0),
    T.LRU_PERCPU_HASH: (4, 8, 4, 0),
    T.LPM_TRIE: (8, 8, 4, BPF_F_NO_PREALLOC),
    T.DEVMAP: (4, 4, 4, 0),
    T.DEVMAP_HASH: (4, 4, 4, 0),
    T.CPUMAP: (4, 4, 2, 0),
    T.XSKMAP: (4, 4, 4, 0),
    T.SOCKMAP: (4, 8, 4, 0),
    T.SOCKHASH: (4, 8, 4, 0),
    T.REUSEPORT_SOCKARRAY: (4, 8, 4, 0),
    T.QUEUE: (0, 8, 4, 0),
    T.STACK: (0, 8, 4, 0),
    T.RINGBUF: (0, 0, 4096, 0),
    T.BLOOM_FILTER: (0, 8, 4, 0),
    T.USER_RINGBUF: (0, 0, 4096, 0),
}


def calls(m: Any) -> dict[str, Callable[[], Any]]:
    first, past = bytes(m.key_size), b"\xff" * m.key_size
    value = bytes(m.value_stride)
    return {
        "look up": lambda: m.lookup(first),
        "look up past the end": lambda: m.lookup(past),
        "take": lambda: m.lookup_and_delete(first),
        "delete": lambda: m.delete(first),
        "delete past the end": lambda: m.delete(past),
        "the first key": lambda: m.next_key(),
        "the next key": lambda: m.next_key(first),
        "update with unknown flags": lambda: m.update(first, value, 64),
        "update with a lock": lambda: m.update(first, value, 4),
        "a key of the wrong size": lambda: m.lookup(first + b"x"),
        "a value of the wrong size": lambda: m.update(first, value + b"x"),
    }


def outcome(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except PrivilegeError:
        raise
    except (MapError, NotSupported, KernelError):
        return "refused"
    except EbpfError as error:
        return type(error).__name__


@pytest.mark.kernel
@pytest.mark.parametrize("build", ["", "ours"], ids=["python", "native"])
@pytest.mark.parametrize("type", list(SHAPES), ids=lambda t: t.name)
def test_as_the_kernel_answers(type: T, build: str) -> None:
    shape = MapShape("empty", type, *SHAPES[type])
    ours, theirs = machine_map(shape, build), kernel_map(shape)
    with theirs:
        expected = {name: outcome(call) for name, call in calls(theirs).items()}
    assert {name: outcome(call) for name, call in calls(ours).items()} == expected


@pytest.mark.kernel
@pytest.mark.parametrize("type", [T.DEVMAP, T.DEVMAP_HASH], ids=lambda t: t.name)
def test_interfaces(type: T) -> None:
    """Interface 1 is the loopback, on every Linux."""

    def story(m: Any) -> list[str]:
        zero, one, five = bytes(4), (1).to_bytes(4, "little"), (5).to_bytes(4, "little")
        return [
            outcome(lambda: m.update(one, one)),
            outcome(lambda: m.lookup(one)),
            outcome(lambda: m.update(one, one, 1)),
            outcome(lambda: m.update(five, one)),
            outcome(lambda: m.lookup(zero)),
            outcome(lambda: m.delete(one)),
            outcome(lambda: m.lookup(one)),
            outcome(lambda: m.next_key()),
        ]

    shape = MapShape("devices", type, 4, 4, 4)
    with kernel_map(shape) as theirs:
        assert story(machine_map(shape)) == story(theirs)
