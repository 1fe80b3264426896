"""Scripts that are recorded, and run again on the recording: in the machine, so that any user can run these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import ebpf

SCRIPT = """
    BEGIN { printf("begin %s %d\\n", comm, pid); time("%Y-%m-%d\\n"); }
    tracepoint:syscalls:sys_enter_openat /pid == cpid/ {
        printf("%s %d %s %s\\n", comm, tid - pid, probe, str(args.filename));
        @opens[str(args.filename)] = count(); @day = strftime("%j", nsecs);
    }
    tracepoint:syscalls:sys_exit_open* /pid == cpid/ { @ret[probe, args.ret < 0] = count(); }
    END { printf("end %d\\n", elapsed > 0); clear(@day); }
"""


def said(trace: ebpf.Trace) -> str:
    out: list[str] = []
    trace.run(out.append, quiet=True)
    return "".join(out)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("recorded") / "cat.rec"
    with ebpf.record(path):
        text = said(ebpf.trace(SCRIPT, command=["/bin/cat", "/dev/null"], backend="machine"))
    return path, text


def test_a_recording_says_what_was_said(recorded: tuple[Path, str]) -> None:
    path, text = recorded
    assert "cat 0 tracepoint:syscalls:sys_enter_openat /dev/null\n" in text
    assert "@ret[tracepoint:syscalls:sys_exit_openat, 0]: " in text and "end 1\n" in text
    assert said(ebpf.trace(replay=path)) == text
    assert said(ebpf.trace(SCRIPT, replay=path)) == text


def test_another_script_sees_the_same_events(recorded: tuple[Path, str]) -> None:
    path, text = recorded
    with ebpf.trace('tracepoint:syscalls:sys_enter_openat { @n = count(); print((comm, cpid == pid)); }',
                    replay=path) as trace:
        values = [event.values for event in trace]
        assert set(values) == {(("cat", 1),)} and len(values) == trace.maps["@n"].value > 1
    assert len(values) == text.count("sys_enter_openat ")


def test_what_a_damaged_recording_still_says(recorded: tuple[Path, str], tmp_path: Path) -> None:
    path, text = recorded
    cut = tmp_path / "cut.rec"
    cut.write_bytes(path.read_bytes()[:-40])
    told: list[str] = []
    assert "sys_enter_openat /" in said(ebpf.trace(replay=cut, warn=told.append))
    assert len(told) == 1 and "cut short at byte" in told[0]


def test_exit_ends_a_replay(recorded: tuple[Path, str]) -> None:
    text = said(ebpf.trace("tracepoint:syscalls:sys_enter_openat { @n++; if (@n == 2) { exit(3); } }",
                           replay=recorded[0]))
    assert text.strip() == "@n: 2"


def test_what_cannot_be_replayed_or_recorded(recorded: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = recorded
    with pytest.raises(ebpf.UnknownName, match="none of the recorded programs"):
        said(ebpf.trace("tracepoint:syscalls:sys_enter_kill { @ = count(); }", replay=path))
    with pytest.raises(ebpf.UsageError, match="no command or process"):
        ebpf.trace(SCRIPT, replay=path, command=["/bin/true"])
    with pytest.raises(ebpf.FormatError, match="no recording"):
        ebpf.trace("BEGIN { }", replay=__file__)
    other = tmp_path / "other.rec"
    with ebpf.record(other):
        pass
    with pytest.raises(ebpf.UsageError, match="no script's recording"):
        ebpf.trace(replay=other)
