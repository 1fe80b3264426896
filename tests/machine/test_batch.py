"""Many packets in one call are as many calls with one: results, packets and maps, whatever form they come in."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebpf.errors import MachineFault, UsageError
from ebpf.machine import Machine
from ebpf.machine.network import demonstration_packets
from ebpf.object import Object


@cache
def programs() -> Object:
    import ebpf

    return ebpf.compile(Path(__file__).parent / "programs" / "packets.c", dialect="libbpf")


def packets(count: int) -> list[bytes]:
    rng = random.Random(5)
    made = demonstration_packets()
    return [p + rng.randbytes(rng.choice((0, 0, 3, 60))) for p in (rng.choice(made) for _ in range(count))]


def one_by_one(program: str, frames: list[bytes]) -> tuple[list[int], list[bytes], bytes]:
    machine = Machine(programs())
    runs = [machine.run(program, frame) for frame in frames]
    return [r.result for r in runs], [r.data for r in runs], bytes(machine.maps["counts"].read_all().values)


# Programs that move the packet, resize it, and make it begin elsewhere leave nothing of that to the next one.
@pytest.mark.parametrize("program", ["parse", "resize", "load_store", "encap", "tc_edit", "tc_resize", "filter"])
def test_as_many_single_runs(program: str) -> None:
    frames = packets(120)
    machine = Machine(programs())
    runs = machine.run_many(program, frames, keep=True)
    assert (runs.results.tolist(), runs.packets, bytes(machine.maps["counts"].read_all().values)) == one_by_one(program, frames)
    assert sum(runs.counts().values()) == 120 and list(runs.counts().values()) == sorted(runs.counts().values(), reverse=True)
    assert all(window > 255 for window in machine.environment.space.readable), "the last packet is still there"


def test_forms_of_packets() -> None:
    frames = [p[:60].ljust(60, b"\1") for p in packets(30)]
    expected = Machine(programs()).run_many("parse", frames).results.tolist()
    rows = np.frombuffer(b"".join(frames), np.uint8).reshape(30, 60)
    wide = np.zeros((30, 70), np.uint8)
    wide[:, :60] = rows
    buffer = b"xyz" + b"--".join(frames)
    for form in (tuple(frames), map(bytes, frames), rows, wide[:, :60], (buffer, range(3, 3 + 62 * 30, 62), [60] * 30),
                 (bytearray(buffer), np.arange(3, 3 + 62 * 30, 62), np.full(30, 60, np.uint32)), [memoryview(f) for f in frames]):
        runs = Machine(programs()).run_many("parse", form, numpy=True)
        assert isinstance(runs.results, np.ndarray) and runs.results.dtype == np.uint32
        assert runs.results.tolist() == expected and runs.packets is None
    assert Machine(programs()).run_many("parse", []).results.tolist() == []
    assert len(Machine(programs()).run_many("parse", np.zeros((0, 60), np.uint8)).results) == 0


@pytest.mark.parametrize(("wrong", "message"), [
    ([bytes(60), b"short"], "packet 1 has 5 bytes: 14 to 65536 are possible"),
    ([bytes(60), 7], "packet 1 is of type int"),
    ((bytes(100), [0, 50], [50, 51]), "packet 1 (bytes 50 to 101) lies outside of the buffer, which has 100 bytes"),
    ((bytes(100), [0, 50], [50]), "2 offsets, but 1 lengths"),
    ((bytes(100), [-1], [50]), "(buffer, offsets, lengths)"),
    (("text", [0], [50]), "(buffer, offsets, lengths)"),
    (np.zeros(60, np.uint8), "two dimensions"),
    (np.zeros((2, 60), np.uint32), "two dimensions"),
    (np.zeros((2, 6), np.uint8), "packet 0 has 6 bytes"),
])
def test_wrong_packets_are_refused_before_anything_runs(wrong: Any, message: str) -> None:
    machine = Machine(programs())
    with pytest.raises(UsageError) as caught:
        machine.run_many("parse", wrong)
    assert message in str(caught.value)
    assert not any(machine.maps["counts"].read_all().values)


def test_a_context_for_all() -> None:
    import ebpf

    machine = Machine(ebpf.compile('#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int where(struct xdp_md *ctx) { return ctx->ingress_ifindex; }\n'
                                   'SEC("tp/x/y") int trace(void *ctx) { return 0; }\nchar LICENSE[] SEC("license") = "GPL";'))
    assert machine.run_many("where", packets(3), ctx={"ingress_ifindex": 7}).results.tolist() == [7, 7, 7]
    with pytest.raises(UsageError, match="does not work on packets"):
        machine.run_many("trace", packets(1))


def test_a_fault_ends_it_and_says_where() -> None:
    from tests.machine.test_machine import events

    machine = Machine(events(), verify=False)
    with pytest.raises(MachineFault, match="byte 100 of packet"):
        machine.run_many("unchecked", [bytes(128), bytes(64), bytes(128)])
    assert machine.run("unchecked", bytes(128)).result == 0
