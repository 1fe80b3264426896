"""`ebpf run` on a process of our own, and what `ebpf link` says of attachments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf
from ebpf import cli

PROGRAM = """
struct event { u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } slots SEC(".maps");
SEC("uprobe/c:getpgrp") int on_getpgrp(struct pt_regs *ctx)
{
    struct event e = { .pid = 7, .comm = "seven" };
    u32 index = 2;
    u64 *slot = bpf_map_lookup_elem(&slots, &index), number = 9;
    if (slot)
        ++*slot;
    bpf_ringbuf_output(&events, &e, sizeof(e), 0);
    MORE
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
TWO = "bpf_perf_event_output(ctx, &numbers, BPF_F_CURRENT_CPU, &number, sizeof(number));"
CALLS = "import os, time\nfor _ in range(100):\n    os.getpgrp(); time.sleep(0.05)"


def run_on_child(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``ebpf run`` of the text, attached to a child that calls getpgrp() all the time; options behind the file."""
    if ebpf.host.find_library("c") is None:
        pytest.skip("no libc found")
    (folder / "prog.c").write_text(text)
    with subprocess.Popen([sys.executable, "-c", CALLS]) as child:
        try:
            done = subprocess.run([sys.executable, "-m", "ebpf.cli", "run", "-p", str(child.pid), "prog.c", "--maps",
                                   "--duration", "0.5", *options], cwd=folder, text=True, capture_output=True,
                                  env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        finally:
            child.kill()
    if done.returncode in (cli.NOT_PERMITTED, cli.NOT_SUPPORTED):
        pytest.skip(done.stderr)
    return done


@pytest.mark.kernel
def test_events_are_typed_and_maps_are_told(tmp_path: Path) -> None:
    text = PROGRAM.replace("&numbers", "&events").replace("MORE", "").replace("numbers SEC", "unused SEC")
    text = "".join(line for line in text.splitlines(True) if "unused" not in line)
    done = run_on_child(tmp_path, text)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == '{.pid = 7, .comm = "seven"}', done.stderr
    assert lines[-3] == "slots: 4 entries" and lines[-2].startswith("  2: ") and lines[-1] == "  the other 3 zero"


@pytest.mark.kernel
def test_two_kinds_of_events_bear_their_maps_names(tmp_path: Path) -> None:
    lines = run_on_child(tmp_path, PROGRAM.replace("MORE", TWO)).stdout.splitlines()
    assert 'events: {.pid = 7, .comm = "seven"}' in lines and "numbers: 9" in lines


@pytest.mark.kernel
def test_events_as_json(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in run_on_child(tmp_path, PROGRAM.replace("MORE", TWO), "--json")
            .stdout.splitlines()]
    assert {"map": "events", "event": {"pid": 7, "comm": "seven"}} in rows and {"map": "numbers", "event": 9} in rows
    assert [e["key"] for e in rows[-1]["entries"]] == [0, 1, 2, 3] and rows[-1]["entries"][2]["value"] > 0


def test_arguments_are_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prog.c").write_text("int x;")
    assert cli.main(["run", str(tmp_path / "prog.c"), "more"]) == cli.WRONG_USAGE
    assert "takes no arguments" in capsys.readouterr().err


@pytest.mark.kernel
def test_links_say_what_they_are_attached_to(capsys: pytest.CaptureFixture[str]) -> None:
    text = """
SEC("raw_tp/sched_switch") int raw(void *ctx) { return 0; }
SEC("iter/task") int tasks(void *ctx) { return 0; }
SEC("uprobe") int user(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
    with ebpf.load(ebpf.compile(text, dialect="libbpf")) as session:
        links = session.attach("raw", "tasks")
        links.append(session.programs["user"].attach_uprobe("c", "getpgrp", pid=os.getpid()))
        ids = [info.id for link in links if (info := link.info()) is not None]
        assert cli.main(["link", "list", "--json"]) == 0
        rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
        assert [rows[id]["target"] for id in ids[:2]] == ["sched_switch", "task"]
        if len(ids) > 2 and rows[ids[2]]["target"]:  # Linux 6.6
            assert rows[ids[2]]["target"].startswith("uprobe /") and "libc" in rows[ids[2]]["target"]
        assert cli.main(["link", "show", str(ids[0])]) == 0
        assert "sched_switch" in capsys.readouterr().out
