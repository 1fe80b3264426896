"""Event streams in awkward moments: closed while somebody reads, callbacks that raise, several readers and maps."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import ebpf
from tests.session.objects import PACKET, loaded

pytestmark = pytest.mark.usefixtures("backend")

TYPED = """
struct note { u32 number; char name[12]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, int); __type(value, int); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, int); __type(value, int); } mixed SEC(".maps");
SEC("xdp") int send(struct xdp_md *ctx)
{
    struct note *reserved = bpf_ringbuf_reserve(&ring, sizeof(*reserved), 0), on_stack = { 5, "five" };
    u64 other = 7;
    if (!reserved)
        return 0;
    reserved->number = 4;
    __builtin_memcpy(reserved->name, "four\\0\\0\\0\\0\\0\\0\\0", 12);
    bpf_ringbuf_submit(reserved, 0);
    bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &on_stack, sizeof(on_stack));
    bpf_perf_event_output(ctx, &mixed, BPF_F_CURRENT_CPU, &on_stack, sizeof(on_stack));
    bpf_perf_event_output(ctx, &mixed, BPF_F_CURRENT_CPU, &other, sizeof(other));
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_record_types_are_seen_in_the_program() -> None:
    with ebpf.load(ebpf.compile(TYPED, dialect="libbpf")) as session:
        streams = {name: session.maps[name].events(timeout=0.1) for name in ("ring", "perf", "mixed")}
        session.programs["send"].test_run(PACKET)
        events = {name: list(stream) for name, stream in streams.items()}
    assert [(e.number, e.name) for e in events["ring"]] == [(4, b"four")]
    assert [(e.number, e.name) for e in events["perf"]] == [(5, b"five")]
    assert [type(e) for e in events["mixed"]] == [bytes, bytes]  # two types: neither is right for both


def test_closing_ends_an_iteration() -> None:
    with loaded("to_ring") as session:
        stream = session.maps["ring"].events()
        session.programs["to_ring"].test_run(PACKET, repeat=5)
        seen = 0
        for _ in stream:
            seen += 1
            if seen == 2:
                stream.close()
        assert seen == 2
        for read in (lambda: iter(stream), lambda: stream.poll(0), lambda: stream.consume(print),
                     lambda: stream.batches(), lambda: aiter(stream)):
            with pytest.raises(ebpf.UsageError, match="closed"):
                read()


def test_closing_from_another_thread_ends_a_wait() -> None:
    with loaded("to_ring") as session:
        stream = session.maps["ring"].events()
        timer = threading.Timer(0.05, stream.close)
        timer.start()
        start = time.monotonic()
        assert list(stream) == [] and time.monotonic() - start < 2
        timer.join()


@pytest.mark.parametrize(("program", "map"), [("to_ring", "ring"), ("to_perf", "perf")])
def test_closing_ends_an_async_iteration(program: str, map: str) -> None:
    async def main() -> list[int]:
        async def read() -> int:
            return len([event async for event in stream])

        with loaded(program) as session:
            stream = session.maps[map].events(type="struct pair")
            readers = [asyncio.create_task(read()) for _ in range(2)]  # they share what comes
            await asyncio.sleep(0.02)
            session.programs[program].test_run(PACKET, repeat=3)
            await asyncio.sleep(0.1)
            stream.close()
            return list(await asyncio.wait_for(asyncio.gather(*readers), 5))

    assert sum(asyncio.run(main())) == 3


def test_an_async_iteration_ends_with_its_timeout_and_its_task() -> None:
    async def main() -> None:
        with loaded("to_ring") as session:
            stream = session.maps["ring"].events(timeout=0.1)
            start = time.monotonic()
            session.programs["to_ring"].test_run(PACKET)
            assert [event.a async for event in stream] == [7] and 0.09 < time.monotonic() - start < 2
            endless = session.maps["ring"].events()

            async def read() -> None:
                async for _ in endless:
                    pass

            task = asyncio.create_task(read())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            session.programs["to_ring"].test_run(PACKET, repeat=2)
            assert endless.consume(lambda event: None) == 2  # still good

    asyncio.run(main())


@pytest.mark.parametrize(("program", "map"), [("to_ring", "ring"), ("to_perf", "perf")])
def test_another_stream_takes_over(program: str, map: str) -> None:
    with loaded(program) as session:
        first = session.maps[map].events(type="struct pair", timeout=0.1)
        session.programs[program].test_run(PACKET, repeat=5)
        for event in first:
            assert event.a
            break
        session.programs[program].test_run(PACKET)
        second = session.maps[map].events(type="struct pair", timeout=0.1)
        session.programs[program].test_run(PACKET)
        assert first.closed and len(list(second)) == 6
        with pytest.raises(ebpf.UnknownName):
            session.maps[map].events(type="struct pear")
        assert not second.closed


def test_lost_events_are_counted_over_streams(one_cpu: None) -> None:
    with loaded("to_perf") as session:
        map = session.maps["perf"]
        for _ in range(2):
            with map.events(pages=1, timeout=0.05) as stream:
                session.programs["to_perf"].test_run(PACKET, repeat=400)
                got = len(list(stream))
                session.programs["to_perf"].test_run(PACKET)
                assert len(list(stream)) == 1 and stream.lost == 400 - got > 0
        assert session.lost == map.lost > 400


def test_a_callback_that_raises() -> None:
    with loaded("to_ring", "to_perf") as session:
        got: list[str] = []

        def fail(event: object) -> None:
            got.append("ring")
            if got.count("ring") == 2:
                raise ZeroDivisionError

        session.on_event("ring", fail)
        session.on_event("perf", lambda e: got.append("perf"))
        session.programs["to_ring"].test_run(PACKET, repeat=4)
        session.programs["to_perf"].test_run(PACKET)
        with pytest.raises(ZeroDivisionError):
            session.poll(1)
        assert got == ["ring", "ring"]
        assert session.poll(1) == 3 and sorted(got) == ["perf", "ring", "ring", "ring", "ring"]


def test_a_callback_that_closes_the_session() -> None:
    with loaded("to_ring", "to_perf") as session:
        got: list[object] = []

        def close(event: object) -> None:
            got.append(event)
            session.close()

        session.on_event("ring", close)
        session.on_event("perf", got.append)
        session.programs["to_ring"].test_run(PACKET, repeat=4)
        session.poll(5)
        assert len(got) == 1
        with pytest.raises(ebpf.UsageError, match="closed"):
            session.poll()


def test_several_maps_wake_one_poll() -> None:
    with loaded("to_ring", "to_perf") as session:
        got: list[str] = []
        session.on_event("ring", lambda e: got.append("old"))
        session.on_event("ring", lambda e: got.append("ring"))
        session.on_event("perf", lambda e: got.append("perf"))
        for name in ("to_perf", "to_ring"):
            timer = threading.Timer(0.05, session.programs[name].test_run, (PACKET,))
            timer.start()
            assert session.poll(5) == 1 and got.pop() == name[3:]
            timer.join()
        session.maps["ring"].stream.close()  # type: ignore[union-attr]
        session.programs["to_perf"].test_run(PACKET)
        assert session.poll(5) == 1
        session.maps["perf"].stream.close()  # type: ignore[union-attr]
        with pytest.raises(ebpf.UsageError, match="closed"):
            session.poll()


def test_a_fast_sender_does_not_fill_our_memory() -> None:
    with loaded("to_ring") as session:
        stream = session.maps["ring"].events(timeout=0.05)
        session.programs["to_ring"].test_run(PACKET, repeat=5000)  # as many as fit
        assert stream.poll(1) and 0 < len(stream._pending) <= 4096
