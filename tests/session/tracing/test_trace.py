"""A script's life: BEGIN, its records in order, exit, END, the maps; whatever ends it leaves nothing behind.

The scripts are made by hand. What runs here runs nothing but BEGIN and END, which the runtime itself starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time

import pytest

import ebpf
from ebpf.compiler.trace.plan import Probe
from ebpf.session.tracing.trace import Trace
from tests.session.tracing.handmade import own, script

pytestmark = pytest.mark.kernel
BACKENDS = ["kernel", "machine"]


def run(elf: bytes, **how: object) -> str:
    out: list[str] = []
    Trace(elf, **how).run(out.append)  # type: ignore[arg-type]
    return "".join(out)


@pytest.mark.parametrize("backend", BACKENDS)
def test_begin_and_end_frame_the_script(backend: str) -> None:
    elf = script(own("begin", "send(7, 1); count(5); send(1, 0);"), own("end", "send(7, 99);"))
    assert run(elf, backend=backend) == "Attaching 2 probes...\n1\n99\n\n\n@c[5]: 1\n"


def test_the_same_as_json() -> None:
    elf = script(own("begin", "send(7, 1); count(5); send(1, 0);"), own("end", "send(7, 99);"))
    out: list[str] = []
    Trace(elf, backend="kernel").run(out.append, format="json")
    assert [json.loads(line) for line in out] == [
        {"type": "attached_probes", "data": {"probes": 2}}, {"type": "printf", "data": "1\n"},
        {"type": "printf", "data": "99\n"}, {"type": "map", "data": {"@c": {"5": 1}}}]


def test_print_and_clear_of_maps_happen_in_the_order_of_the_program() -> None:
    elf = script(own("begin", "count(5); send(2, 0); send(3, 0); send(2, 0); send(7, 1); send(1, 0);"))
    assert run(elf, backend="kernel") == "Attaching 1 probe...\n@c[5]: 1\n\n1\n\n\n\n"


def test_nothing_that_follows_exit_is_said() -> None:
    elf = script(own("begin", "send(7, 1); send(1, 0); send(7, 2);"))
    assert "2" not in run(elf, backend="kernel").partition("...\n")[2]


def test_exit_has_a_status() -> None:
    assert Trace(script(own("begin", "send(1, 3);")), backend="kernel").run(lambda text: None) == 3
    assert Trace(script(own("begin", "send(1, 0);")), backend="kernel").run(lambda text: None) == 0


def test_maps_are_not_printed_where_the_script_says_so() -> None:
    elf = script(own("begin", "count(1); send(1, 0);"), config={"print_maps_on_exit": False})
    assert run(elf, backend="kernel") == "Attaching 1 probe...\n"


def test_quiet() -> None:
    out: list[str] = []
    Trace(script(own("begin", "send(1, 0);")), backend="kernel").run(out.append, quiet=True)
    assert "".join(out) == "\n\n\n"


def test_time_and_commands() -> None:
    elf = script(own("begin", "send(4, 0); send(5, 7); send(1, 0);"), unsafe=("system",))
    assert f"{time.strftime('%Y')}\nnumber 7\n" in run(elf, backend="kernel", unsafe=True)
    with pytest.raises(ebpf.UsageError, match="system") as caught:
        Trace(elf)
    assert "--unsafe" in str(caught.value)


def test_a_failing_helper_is_told() -> None:
    told: list[str] = []
    run(script(own("begin", "send(6, -7); send(1, 0);")), backend="kernel", warn=told.append)
    assert told == ["line 3: map_update_elem: Argument list too long (-7)"]


def test_what_found_no_room_is_counted_and_told() -> None:
    """4096 bytes hold 102 records of 40."""
    elf = script(own("begin", "for (int i = 0; i < 200; i++) send(7, i);"), own("end", ""), ring=4096)
    out: list[str] = []
    trace = Trace(elf, backend="kernel")
    trace.stop()
    trace.run(out.append)
    assert "".join(out).endswith("\n101\n\n\n\nLost 98 events\n")
    assert trace.lost == 98


@pytest.mark.parametrize("backend", BACKENDS)
def test_python_sees_typed_events_and_live_maps(backend: str) -> None:
    elf = script(own("begin", "send(0, 41); count(5); send(2, 0); send(1, 0);"))
    with Trace(elf, backend=backend) as trace:
        first, second = list(trace)
        assert trace.maps["@c"][5] == 1
    assert first.kind == "printf" and first.values[0] == 41 and first.text.startswith("41 ")
    assert second.kind == "map" and second.name == "@c" and second.values == ((5, 1),)


def test_async_iteration() -> None:
    async def texts() -> list[str]:
        trace = Trace(script(own("begin", "send(7, 1); send(7, 2); send(1, 0);"), own("end", "send(7, 3);")), backend="kernel")
        try:
            return [event.text async for event in trace]
        finally:
            trace.close()

    assert asyncio.run(texts()) == ["1\n", "2\n", "3\n"]


def test_poll_gives_what_there_is() -> None:
    with Trace(script(own("begin", "send(7, 1);")), backend="kernel") as trace:
        assert [event.text for event in trace.poll()] == ["1\n"]
        assert trace.poll(0.01) == []


def test_stop_ends_it_in_order() -> None:
    out: list[str] = []
    trace = Trace(script(own("begin", "send(7, 1);"), own("end", "send(7, 2);")), backend="kernel")

    def write(text: str) -> None:
        out.append(text)
        trace.stop()

    trace.run(write)
    assert "".join(out) == "Attaching 2 probes...\n1\n2\n\n\n\n"


def test_signals_run_their_probes() -> None:
    probe = Probe("self", "usr1", "signal:SIGUSR1", "self:signal:SIGUSR1", 1, {"signal": "SIGUSR1"})
    with Trace(script((probe, "raw_tp/usr1", "send(7, 5);")), backend="kernel") as trace:
        trace.signal("SIGHUP")
        trace.signal("SIGUSR1")
        assert [event.text for event in trace.poll(5)] == ["5\n"]


def test_it_ends_with_its_command_which_waits_for_the_probes(tmp_path: object) -> None:
    mark = f"{tmp_path}/ran"
    with Trace(script(own("begin", "send(7, 1);")), backend="kernel", command=["sh", "-c", f"echo > {mark}"]) as trace:
        assert [event.text for event in trace] == ["1\n"]
        assert os.path.exists(mark)


def test_a_command_that_does_not_exist_is_a_clear_error() -> None:
    elf = script(own("begin", "send(7, 1);"))
    with pytest.raises(ebpf.UsageError, match="no command 'no-such-command-here'"):
        Trace(elf, backend="kernel", command=["no-such-command-here"]).start()
    with pytest.raises(ebpf.UsageError, match="cannot be executed"):
        Trace(elf, backend="kernel", command=["/etc/passwd"]).start()


def test_a_command_is_ended_with_the_script() -> None:
    trace = Trace(script(own("begin", "send(1, 0);")), backend="kernel", command=["sleep", "1000"])
    list(trace)
    pid = trace._process.pid if trace._process is not None else 0
    trace.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_with_the_process_it_was_given() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        with Trace(script(own("begin", "send(7, 1);"), own("end", "send(7, 2);")), backend="kernel", pid=child.pid) as trace:
            events = iter(trace)
            assert next(events).text == "1\n"
            assert child.stdin is not None
            child.stdin.close()
            assert [event.text for event in events] == ["2\n"]


def test_a_process_that_has_ended_is_a_clear_error() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    elf = script(own("begin", "send(7, 1);"))
    with pytest.raises(ebpf.TargetNotFound, match=f"no process {child.pid}"):
        Trace(elf, backend="kernel", pid=child.pid).start()
    with pytest.raises(ebpf.UsageError, match="positive"):
        Trace(elf, backend="kernel", pid=-1).start()
    with pytest.raises(ebpf.UsageError, match="-c or -p"):
        Trace(elf, command=["true"], pid=1)


def test_a_reader_that_is_gone_ends_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(BrokenPipeError):
            Trace(script(own("begin", "send(7, 1);")), backend="kernel").run(lambda text: None, reader_gone=writing)
    finally:
        os.close(writing)


def test_a_writer_that_fails_leaves_nothing_behind() -> None:
    def broken(text: str) -> None:
        raise BrokenPipeError

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BrokenPipeError):
        Trace(script(own("begin", "send(7, 1);")), backend="kernel").run(broken)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_check_needs_no_privilege_and_a_dry_run_fires_nothing() -> None:
    elf = script(own("begin", "send(7, 1);"))
    Trace(elf).check()
    trace = Trace(elf, backend="kernel")
    trace.load()
    assert trace.session is not None and not trace.session.maps["events"].raw.ring_buffer().consume(print)
    trace.close()
    assert "begin:" in trace.dump("dis") and '"printf"' in trace.dump("plan")
