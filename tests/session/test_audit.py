"""`ebpf audit` and `ebpf top`: what the kernel's facts are made into, and the facts of programs that we load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf
from ebpf.abi.abilities import ABILITIES, BY_TYPE
from ebpf.abi.helpers import HELPERS_BY_NAME
from ebpf.abi.programs import PROGRAM_TYPES, ProgType
from ebpf.kernel.attach.link_info import LinkInfo
from ebpf.kernel.programs import ProgramInfo
from ebpf.session.audit import Facts, judge
from ebpf.session.statistics import costs

QUIET = ProgramInfo(1, 1, "quiet", "00" * 8, 0, 16, 10_000_000_000, 0, (), True, 0, 0, 0, 2, 0, 0)


def facts(program: ProgramInfo, calls: frozenset[str] | None = frozenset(), **others: object) -> Facts:
    values = {"links": (), "targets": {}, "holders": {("program", 1): [(7, "agent")]}, "pins": {}, "deleted": frozenset(),
              "now_ns": 70_000_000_000}
    return Facts((program,), {program.id: calls}, **{**values, **others})  # type: ignore[arg-type]


CASES = {
    "a socket filter of a process": (facts(QUIET), 0, (), ()),
    "nobody holds it": (facts(QUIET, holders={}), 1, (), ("no process",)),
    "pinned": (facts(QUIET, holders={}, pins={("program", 1): ("/sys/fs/bpf/x",)}), 0, (), ()),
    "held through its link": (facts(QUIET, links=(LinkInfo(5, "xdp", 1, {}),), holders={("link", 5): [(7, "agent")]}), 0, (), ()),
    "writes memory": (facts(QUIET, frozenset({"bpf_probe_write_user"})), 6, ("writes user memory",), ()),
    "writes memory, and nobody owns it": (facts(QUIET, frozenset({"bpf_probe_write_user"}), holders={}), 8,
                                          ("writes user memory",), ("no process",)),
    "its owner's file is gone": (facts(QUIET, deleted=frozenset({7})), 1, (), ("agent(7): the executable",)),
    "several abilities, the worst first": (facts(QUIET, frozenset({"bpf_probe_read_user", "bpf_override_return"})), 6,
                                           ("overrides returns", "reads user memory"), ()),
    "a firewall": (facts(QUIET._replace(type=6)), 4, ("drops packets",), ()),
    "fmod_ret": (facts(QUIET._replace(type=26), links=(LinkInfo(5, "tracing", 1, {"attach_type": 26}),)), 6,
                 ("overrides returns",), ()),
    "instructions hidden": (facts(QUIET, None), 0, (), ("the kernel hides",)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_made_of_facts(case: str) -> None:
    given, attention, abilities, remarks = CASES[case]
    (found,) = judge(given)
    assert (found.attention, found.abilities, found.age_s) == (attention, abilities, 60.0)
    assert len(found.remarks) == len(remarks)
    assert all(text.startswith(start) for text, start in zip(found.remarks, remarks, strict=True))


def test_what_to_look_at_first_comes_first() -> None:
    programs = tuple(QUIET._replace(id=i) for i in range(1, 4))
    calls = {1: frozenset(), 2: frozenset({"bpf_override_return"}), 3: frozenset({"bpf_send_signal"})}
    given = Facts(programs, calls, (), {}, {("program", i): [(7, "x")] for i in calls}, {}, frozenset(), 0)
    assert [f.id for f in judge(given)] == [2, 3, 1]


def test_the_table_names_what_exists() -> None:
    """Every helper in it is a helper of the kernel's, but those that are kernel functions, or names of its own code."""
    others = {"bpf_probe_read_compat", "bpf_probe_read_compat_str", "bpf_send_signal_task", "bpf_copy_to_user",
              "bpf_copy_from_user_str", "bpf_xdp_redirect_map", "bpf_xdp_redirect", "bpf_sock_ops_cb_flags_set",
              "bpf_sk_setsockopt", "bpf_sock_addr_setsockopt", "bpf_sock_ops_setsockopt", "bpf_unlocked_sk_setsockopt",
              "bpf_sk_lookup_assign", "sk_skb_change_tail", "sk_skb_change_head", "sk_skb_adjust_room"}
    assert {c for a in ABILITIES for c in a.calls} - set(HELPERS_BY_NAME) <= others
    types = {ProgType(t).name.lower() for t in PROGRAM_TYPES}
    assert set(BY_TYPE) <= types


def test_costs_between_two_readings() -> None:
    before = [QUIET._replace(run_count=10, run_time_ns=1000), QUIET._replace(id=2)]
    after = [QUIET._replace(run_count=30, run_time_ns=5000), QUIET._replace(id=3, run_count=1, run_time_ns=10**9)]
    new, old = costs(before, after, 2.0)
    assert (new.id, new.runs, new.cpu_percent) == (3, 1, 50.0)
    assert (old.id, old.runs, old.run_time_ns, old.ns_per_run, old.runs_per_second) == (1, 20, 4000, 200.0, 10.0)
    assert costs([], [QUIET], 1.0)[0].ns_per_run == 0.0


PROGRAMS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 4); }
    jumps SEC(".maps");
SEC("kprobe/x") int killer(void *ctx) { bpf_send_signal(9); return 0; }
SEC("xdp") int filter(struct xdp_md *ctx) { bpf_tail_call(ctx, &jumps, 1); return 2; }
SEC("socket") int quiet(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.kernel
def test_programs_of_our_own(tmp_path: Path) -> None:
    with ebpf.load(ebpf.compile(PROGRAMS), backend="kernel") as session, ebpf.inventory.statistics() as statistics:
        ids = {name: session.programs[name].raw.info().id for name in ("killer", "filter", "quiet")}  # type: ignore[attr-defined]
        found = {f.id: f for f in ebpf.inventory.audit()}
        mine = {name: found[id] for name, id in ids.items()}
        me = os.getpid()
        assert mine["filter"].abilities == ("drops packets", "runs other programs")
        assert mine["killer"].abilities == ("sends signals",)
        assert mine["quiet"].abilities == () and mine["quiet"].attention <= 2
        assert all(f.owner_uid == os.geteuid() and 0 <= f.age_s < 600 for f in mine.values())
        assert all(pid != me for f in mine.values() for pid, _ in f.held_by)  # whoever asks is left out

        statistics.sample()
        session.programs["quiet"].test_run(bytes(64), repeat=1000)
        (cost,) = [c for c in statistics.sample() if c.id == ids["quiet"]]
        assert cost.runs >= 1000 and cost.run_time_ns > 0


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ebpf.cli", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.kernel
def test_the_commands() -> None:
    with ebpf.load(ebpf.compile(PROGRAMS), backend="kernel"):
        done = command("audit")
        assert "can       sends signals" in done.stdout and f"({os.getpid()})" in done.stdout, done.stderr
        rows = json.loads(command("audit", "--json", "--least", "4").stdout)
        assert {"killer", "filter"} <= {row["name"] for row in rows} and all(row["attention"] >= 4 for row in rows)
        done = command("top", "--interval", "0.05", "--count", "2", "--all")
        assert done.returncode == 0 and done.stdout.count("programs loaded") == 2 and "quiet" in done.stdout, done.stderr
        lines = command("top", "--interval", "0.05", "--count", "1", "--all", "--json").stdout.splitlines()
        assert {"killer", "filter", "quiet"} <= {json.loads(line)["name"] for line in lines}
    assert command("top", "--interval", "0").returncode == 2


@pytest.mark.guest
def test_what_can_deceive_comes_first() -> None:
    """A program that writes user memory, pinned and left by its process, is found by its helper, and its pin."""
    import ebpf

    text = PROGRAMS.replace("bpf_send_signal(9);", 'char c = 0; bpf_probe_write_user((void *)8, &c, 1);')
    path = "/sys/fs/bpf/left_behind"
    with ebpf.load(ebpf.compile(text), backend="kernel") as session:
        session.programs["killer"].raw.pin(path)  # type: ignore[attr-defined]
    found = next(f for f in ebpf.inventory.audit() if f.name == "killer")
    assert found.pins == (path,) and found.held_by == () and found.attention == 6
    assert found.abilities == ("writes user memory",)
