"""Records of packets to pcap files: what is kept, where packets begin, what is lost."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ebpf.compiler.trace.plan import Event, Plan
from ebpf.errors import UsageError
from ebpf.session.tracing.captures import Captures


class FakeNames:
    def seconds(self, ns: int) -> float:
        return 1000 + ns / 1e9


class FakeReader:
    rings: dict[int, Any] = {}

    def __init__(self, callback: Any, on_lost: Any) -> None:
        self.callback, self.on_lost, self.closed = callback, on_lost, False
        self.waiting: list[bytes] = []

    def consume(self) -> int:
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.callback(0, data)
        return len(waiting)

    def close(self) -> None:
        self.closed = True


class FakeMap:
    def perf_buffer(self, callback: Any, *, on_lost: Any, pages: int) -> FakeReader:
        assert pages == 64
        self.reader = FakeReader(callback, on_lost)
        return self.reader


def plan_of(*events: Event) -> Plan:
    return Plan((), events, (), {"perf_rb_pages": 48}, "t.bt", (), (), ())


def test_packets_go_to_their_files(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    plan = plan_of(Event("printf", 8), Event("skboutput", 24, text=one), Event("skboutput", 24, text=two, top=14),
                   Event("skboutput", 24, text=one, top=2))
    map: Any = FakeMap()
    captures = Captures(map, plan, FakeNames())  # type: ignore[arg-type]

    def record(number: int, when: int, length: int, packet: bytes) -> bytes:
        return struct.pack("=IIQQ", number, 0, when, length) + packet.ljust((len(packet) + 7) & ~7, b"?")

    map.reader.waiting += [record(1, 5, 3, b"abc"), record(2, 10**9, 16, b"ethernet headerIP"), record(3, 7, 4, b"wxyz"),
                           record(1, 9, 70000, bytes(70000))]
    assert captures.consume() == 4 and captures.consume() == 0
    head = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    expected = [(1000, 5, 3, 3, b"abc"), (1000, 7, 2, 2, b"yz"), (1000, 9, 65535, 70000, bytes(65535))]
    assert Path(one).read_bytes() == head + b"".join(struct.pack("=IIII", *row[:4]) + row[4] for row in expected)
    assert Path(two).read_bytes() == head + struct.pack("=IIII", 1001, 0, 2, 2) + b"rI"
    map.reader.on_lost(0, 3)
    map.reader.on_lost(1, 2)
    assert captures.lost == 5
    captures.close()
    assert map.reader.closed


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    plan = plan_of(Event("skboutput", 24, text=str(tmp_path / "good")), Event("skboutput", 24, text="/nowhere/x"))
    with pytest.raises(UsageError, match="/nowhere/x: No such file"):
        Captures(FakeMap(), plan, FakeNames())  # type: ignore[arg-type]
