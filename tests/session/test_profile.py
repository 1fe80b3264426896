"""`ebpf prog profile`: counters around a program. A guest has no counters of a processor, so software ones are counted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

import ebpf

TEXT = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, int); __type(value, long); } seen SEC(".maps");
SEC("socket") int a_program_with_a_long_name(struct __sk_buff *packet)
{
    for (int i = 0; i < 8; i++) {
        int key = i;
        long value = i;
        bpf_map_update_elem(&seen, &key, &value, 0);
    }
    return packet->len;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_a_program_of_our_own() -> None:
    with ebpf.load(ebpf.compile(TEXT), backend="kernel") as session:
        program = session.programs["a_program_with_a_long_name"]
        id = program.raw.info().id  # type: ignore[attr-defined]
        with ebpf.inventory.profile(id, ["task-clock", "page-faults"]) as profiler:
            program.test_run(bytes(64), repeat=5)
            profile = profiler.read()
        assert profile.runs == 5
        clock, faults = profile.metrics
        assert (clock.name, faults.name, faults.total) == ("task-clock", "page-faults", 0)
        assert clock.total > 5 * 8 and 0.9 < clock.share <= 1.0

        # The command, while the program runs.
        over = threading.Event()

        def run() -> None:
            while not over.wait(0.05):
                program.test_run(bytes(64), repeat=2)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            command = [sys.executable, "-m", "ebpf.cli", "prog", "profile", str(id), "--duration", "1", "--json",
                       "--metrics", "cpu-clock"]
            done = subprocess.run(command, capture_output=True, text=True)
        finally:
            over.set()
            thread.join()
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["runs"] >= 2 and told["metrics"][0]["name"] == "cpu-clock" and told["metrics"][0]["total"] > 0
        with pytest.raises(ebpf.UnknownName, match="task-clok"):
            ebpf.inventory.profile(id, ["task-clok"])
        with pytest.raises(ebpf.UsageError, match="one to 8 metrics"):
            ebpf.inventory.profile(id, [])
