"""`ebpf trace` and `bpftrace` as their users meet them: what they print, where, and their exit status.

Scripts here run BEGIN and END and nothing of the system's; probes of all kinds are tested in guests (tests/trace_guest).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf
from ebpf.cli import trace as command
from tests.cli.test_cli import ENVIRONMENT, run

HELLO = 'BEGIN { @x[1] = 2; printf("hello\\n"); exit(); }'


def trace(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return run("trace", *arguments, **options)


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "ebpf.cli", "trace", *arguments], text=True, env=ENVIRONMENT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


# ---- the command line ------------------------------------------------------------------------------


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bpftrace")
    command.configure(parser)
    return command.parse(parser, list(arguments))


def test_options_may_stand_anywhere() -> None:
    args = parsed("tool.bt", "5", "-p", "7", "sixth", "-f", "json")
    assert (args.arguments, args.pid, args.format) == (["tool.bt", "5", "sixth"], 7, "json")
    args = parsed("-lv", "kprobe:vfs_*")
    assert args.list and args.verbose and args.arguments == ["kprobe:vfs_*"]


def test_d_takes_a_stage_or_none() -> None:
    assert parsed("-d", "tool.bt").stage == "plan" and parsed("-dd", "tool.bt").arguments == ["tool.bt"]
    assert parsed("-d", "dis", "tool.bt").stage == "dis"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFTRACE_STRLEN", "100")  # its name in 0.17
    monkeypatch.setenv("BPFTRACE_MAX_MAP_KEYS", "7")
    assert command._options(parsed("-e", "x"))["config"] == {"max_strlen": "100", "max_map_keys": "7"}
    monkeypatch.setenv("BPFTRACE_MAX_STRLEN", "200")
    assert command._options(parsed("-e", "x"))["config"]["max_strlen"] == "200"


def test_the_command_has_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bpftrace v0.")
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: bpftrace [OPTION...] FILE")


def test_no_script_and_no_file() -> None:
    done = trace()
    assert done.returncode == 2 and "no script" in done.stderr and "-e" in done.stderr
    done = trace("/nonexistent.bt")
    assert done.returncode == 1 and done.stderr == "ebpf: /nonexistent.bt: No such file or directory\n"


def test_mistakes_are_told_where_they_are() -> None:
    done = trace("-e", 'BEGIN { printf("x\\n") printf("y\\n"); }')
    assert done.returncode == 1 and "stdin:1:" in done.stderr and "`;`" in done.stderr
    assert done.stdout == ""


# ---- running ---------------------------------------------------------------------------------------


@pytest.fixture(params=["kernel", "machine"])
def somewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the kernel, and in the machine."""
    if request.param == "kernel":
        request.getfixturevalue("privileged")
    monkeypatch.setitem(ENVIRONMENT, "EBPF_BACKEND", request.param)


both = pytest.mark.usefixtures("somewhere")


@both
def test_a_script_of_one_line() -> None:
    done = trace("-e", HELLO)
    assert (done.stdout, done.stderr, done.returncode) == ("Attaching 1 probe...\nhello\n\n\n@x[1]: 2\n", "", 0)


@both
def test_json_lines() -> None:
    done = trace("-f", "json", "-e", HELLO)
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["attached_probes", "printf", "map"]


@both
def test_a_script_file_and_its_parameters(tmp_path: Path) -> None:
    path = tmp_path / "tool.bt"
    path.write_text("#!/usr/bin/env bpftrace\nBEGIN { printf(\"%d %s\\n\", $1, str($2)); exit(); }\n")
    assert trace("-q", str(path), "7", "seven").stdout == "7 seven\n\n\n"
    assert trace("-q", "-", "8", "eight", input=path.read_text()).stdout == "8 eight\n\n\n"


@both
def test_output_goes_to_a_file(tmp_path: Path) -> None:
    done = trace("-o", str(tmp_path / "out"), "-e", HELLO)
    assert done.stdout == "" and "hello\n" in (tmp_path / "out").read_text()


@both
def test_the_status_of_exit() -> None:
    assert trace("-e", "BEGIN { exit(7); }").returncode == 7


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Read up to that line; a process that ends before says why."""
    assert process.stdout is not None and process.stderr is not None
    for read in process.stdout:
        if read == line:
            return
    pytest.fail(f"it ended before it printed {line!r}: {process.stderr.read()}")


@both
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_runs_end_and_prints_maps(number: signal.Signals) -> None:
    with start("-e", 'BEGIN { @x = 1; printf("begun\\n"); } END { printf("end\\n"); }') as process:
        assert process.stdout is not None
        wait_for(process, "begun\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("end\n\n\n@x: 1\n", "", 0)


@both
def test_ctrl_c_twice_ends_at_once() -> None:
    """The first comes while the script waits for a command of its own; the second does not wait for that."""
    with start("--unsafe", "-e", 'BEGIN { printf("begun\\n"); system("exec sleep 60"); } END { printf("end\\n"); }',
               start_new_session=True) as process:
        assert process.stdout is not None
        wait_for(process, "begun\n")
        while process.poll() is None:  # signals that come at the same time are one
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert process.returncode in (130, -signal.SIGINT)  # the latter: one more while it was leaving
        assert "end" not in process.stdout.read()


@both
def test_a_reader_that_leaves_ends_it() -> None:
    with start("-e", 'BEGIN { printf("begun\\n"); }') as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr is not None and process.stderr.read() == ""


@both
def test_it_ends_with_its_command_and_passes_on_its_output() -> None:
    done = trace("-q", "-c", "echo from the command", "-e", 'END { printf("end\\n"); }')
    assert done.stdout == "from the command\nend\n\n\n"
    done = trace("-c", "no-such-command", "-e", HELLO)
    assert done.returncode == 2 and "no command 'no-such-command'" in done.stderr


@both
def test_what_may_harm_wants_a_word() -> None:
    done = trace("-e", 'BEGIN { system("echo harm"); exit(); }')
    assert done.returncode != 0 and "--unsafe" in done.stderr
    assert "harm\n" in trace("--unsafe", "-e", 'BEGIN { system("echo harm"); exit(); }').stdout


@both
def test_a_dry_run_fires_nothing() -> None:
    done = trace("--dry-run", "-e", HELLO)
    assert (done.stdout, done.returncode) == ("", 0)


# ---- without privilege -----------------------------------------------------------------------------


def test_a_check_loads_nothing() -> None:
    done = trace("--check", "-e", HELLO)
    assert (done.stdout, done.returncode) == ("stdin: right for this kernel\n", 0), done.stderr
    assert trace("--check", "-e", "kprobe:vfs_raed { }").returncode == 1


def test_in_the_machine_on_a_command() -> None:
    done = trace("--backend", "machine", "-q", "-c", "/bin/echo hello", "-e",
                 'BEGIN { printf("begin\\n"); } tracepoint:syscalls:sys_enter_execve { join(args->argv); } '
                 'tracepoint:syscalls:sys_enter_write { @[comm, args->fd] = count(); } END { printf("end\\n"); }')
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    lines.remove("hello")  # the command's own: when it comes, nobody promises
    assert lines == ["begin", "/bin/echo hello", "end", "@[echo, 1]: 1"]


def test_what_only_a_kernel_has_is_told_in_the_machine() -> None:
    done = trace("--backend", "machine", "-c", "true", "-e", "kprobe:vfs_read { @ = count(); }")
    assert done.returncode == 4 and "tracepoint:syscalls:sys_enter_read" in done.stderr


def test_probes_are_listed() -> None:
    done = trace("-l", f"uprobe:{os.path.realpath(sys.executable)}:*")
    assert done.returncode == 0 and all(line.startswith("uprobe:/") for line in done.stdout.splitlines())
    done = trace("-lv", "tracepoint:syscalls:sys_enter_openat")
    assert "const char * filename" in done.stdout
    done = trace("-l", "uprobe:/nonexistent:*")
    assert done.returncode == 1 and "/nonexistent" in done.stderr


def test_the_object_and_its_instructions(tmp_path: Path) -> None:
    assert trace("--emit-elf", str(tmp_path / "out.o"), "-e", HELLO).returncode == 0
    assert ebpf.open(tmp_path / "out.o").programs
    assert "exit" in trace("-d", "dis", "-e", HELLO).stdout
    assert json.loads(trace("-d", "plan", "-e", HELLO).stdout)


def test_info() -> None:
    done = trace("--info")
    assert done.returncode == 0 and done.stdout.startswith("System\n  OS: Linux")
