"""Without privilege the same scripts run in the userspace machine, unmodified, on real events."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ebpf.machine.network import demonstration_packets, write_pcap
from tests.acceptance.process import EBPF, PROGRAMS, PYTHON, Running, run, shows_our_frames

pytest.importorskip("llvmlite")

USER = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
BARE = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")  # root by name, with nothing that makes it so
NO_CHOICE = {"EBPF_BACKEND": "", "EBPF_CACHE_DIR": ""}


@cache
def nobody() -> tuple[str, ...]:
    """What makes a command one of an ordinary user's."""
    if os.geteuid():
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv(1) here")
    can = "import os, sys, llvmlite; sys.exit(not os.access(sys.executable, os.X_OK))"
    asked = subprocess.run([*USER, *PYTHON, "-c", can], capture_output=True)
    return USER if asked.returncode == 0 else BARE  # this Python lies where other users may not look


def user_runs(*words: str | Path, **how: object) -> Running:
    return run([*nobody(), *words], cwd="/", env=NO_CHOICE, **how)


def notices(program: Running) -> list[str]:
    return [line for line in program.err.splitlines() if line.startswith("ebpf: ")]


def test_a_script_sees_a_demonstration() -> None:
    """`python script.py`, and nothing else: one line says where it runs; it ends by itself, quietly."""
    program = user_runs(*PYTHON, PROGRAMS / "clone_lines.py")
    assert program.process.returncode == 0, str(program)
    lines = program.out.splitlines()
    assert len(lines) >= 5 and all(re.search(r"\S+-\d+ +\[\d+\] \S+ +\d+\.\d+: .*: somebody clones", line)
                                   for line in lines), program.out
    assert len(program.err.splitlines()) == 1, program.err
    assert re.search(r"no privilege .*CAP_BPF.*userspace machine.*demonstration", program.err)


def test_ctrl_c_ends_it_as_ever() -> None:
    with Running([*nobody(), *PYTHON, PROGRAMS / "clone_by_name.py"], cwd="/", env=NO_CHOICE) as program:
        program.wait_for("by name", times=2)
        assert program.end(signal.SIGINT) == -signal.SIGINT and "Traceback" not in program.err


@pytest.mark.parametrize("who", ["user", "anybody"])
def test_a_command_and_its_children(who: str) -> None:
    """Whoever says --machine gets it, privileged or not; the command's output and status are its own."""
    start = nobody() if who == "user" else ()
    program = run([*start, *EBPF, "run", *(["--machine"] if who == "anybody" else []), PROGRAMS / "clone_by_name.py", "--",
                   "sh", "-c", "(true); (true); echo said; exit 3"], env=NO_CHOICE)
    assert program.process.returncode == 0, str(program)
    assert len(re.findall(r"sh-\d+ .*by name", program.out)) == 2 and program.out.count("said\n") == 1
    assert notices(program)[-1] == "ebpf: sh has ended with exit status 3" and not shows_our_frames(program.err)
    said = ["ebpf: running in the userspace machine, which traces sh"] if who == "user" else []
    assert notices(program)[:-1] == said, "the command chose the machine; whoever asked for it knows"


def test_a_map_that_is_read_now_and_then() -> None:
    """What the command left in the map is seen once more after its end."""
    forks = "import os\nfor _ in range(5): os.fork() or os._exit(0); os.wait()"
    program = user_runs(*EBPF, "run", PROGRAMS / "clone_counter.py", "--", sys.executable, "-c", forks)
    assert program.process.returncode == 0 and program.out.splitlines()[-1] == "56 5", str(program)


def test_events_through_a_perf_buffer() -> None:
    program = user_runs(*EBPF, "run", PROGRAMS / "listings.py", "--", "ls", "/dev")
    assert program.process.returncode == 0 and re.search(r"(?m)^\d+ ls$", program.out), str(program)
    assert program.out.endswith("bye\n"), "no Ctrl-C came"


SEND = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n" \
       "for _ in range(7): s.sendto(b'x', ('192.0.2.1', 7)); s.recv(9)"


def test_packets_of_a_network_of_its_own() -> None:
    program = run([*EBPF, "run", "--machine", PROGRAMS / "xdp_packets.py", "--", sys.executable, "-c", SEND],
                  env=NO_CHOICE)
    if "no network device of our own" in program.err:
        pytest.skip(program.err)
    counts = [int(n) for n in re.findall(r"counter (\d+)", program.out)]
    assert program.process.returncode == 0 and counts and counts[-1] >= 7, str(program)


def test_packets_of_a_capture(tmp_path: Path) -> None:
    packets = demonstration_packets()
    write_pcap(tmp_path / "some.pcap", packets)
    tmp_path.chmod(0o755)
    program = user_runs(*EBPF, "run", "--pcap", tmp_path / "some.pcap", PROGRAMS / "xdp_packets.py")
    if program.process.returncode and "Permission denied" in program.err:
        pytest.skip("an ordinary user may not look into pytest's directory")
    assert program.process.returncode == 0 and program.out.splitlines()[-1] == f"key 0, counter {len(packets)}", str(program)


def test_bundled_packets_where_namespaces_are_refused() -> None:
    """As on a distribution that keeps user namespaces to root: one line says so, and there is something to see."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here: the test would have nothing to take away")
    program = run(["unshare", "-Ur", "sh", "-c", 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"', "sh",
                   *PYTHON, PROGRAMS / "xdp_packets.py"], env={**NO_CHOICE, "EBPF_BACKEND": "machine"})
    counts = [int(n) for n in re.findall(r"counter (\d+)", program.out)]
    assert program.process.returncode == 0 and counts == sorted(counts) and counts[-1] > 0, str(program)
    assert len(notices(program)) == 1 and "bundled packets arrive at eth0 instead" in program.err


def test_an_unchecked_pointer_is_refused_by_our_verifier() -> None:
    program = user_runs(*PYTHON, PROGRAMS / "unchecked.py")
    assert program.process.returncode == 1 and "Traceback" not in program.err
    assert "error[V0201]: `n` may be NULL here" in program.err and re.search(r"--> \S*:8:\d+", program.err), program.err
    assert "*n += 1;" in program.err and re.search(r"= help: .*`if \(", program.err) and "unchecked.py:1" in program.err


PROGRAM = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u32 pid; char comm[16]; char path[32]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct event); } events SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_openat") int opens(struct trace_event_raw_sys_enter *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)ctx->args[1]);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_a_program_of_c_reads_the_commands_memory(tmp_path: Path) -> None:
    (tmp_path / "opens.c").write_text(PROGRAM)
    program = run([*EBPF, "run", "--machine", "--json", tmp_path / "opens.c", "--", "cat", "/etc/hosts"], env=NO_CHOICE)
    assert program.process.returncode == 0, str(program)
    events = [json.loads(line)["event"] for line in program.out.splitlines() if line.startswith('{"map"')]
    assert {"comm": "cat", "path": "/etc/hosts"}.items() <= events[-1].items() and events[-1]["pid"] > 1


MISTAKES = {
    "no such command": (("--machine", "clone_lines.py", "--", "no-such-command"), 2, "no command 'no-such-command' on PATH"),
    "no command": (("--machine", "clone_lines.py", "--"), 2, "no command behind --"),
    "no capture": (("--pcap", "unchecked.py", "xdp_packets.py"), 1, "neither pcap nor pcapng"),
    "a capture that is not there": (("--pcap", "missing.pcap", "xdp_packets.py"), 1, "missing.pcap: No such file"),
    "a command for the kernel": (("--kernel", "clone_lines.py", "--", "true"), 2, "an event source of the machine"),
    "a command that is killed": (("--machine", "clone_lines.py", "--", "sh", "-c", "kill -9 $$"), 0, "ended by SIGKILL"),
    "only in a kernel": (("--machine", "vfs.py"), 1, "does not support"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_clear_answer(name: str, tmp_path: Path) -> None:
    words, status, answer = MISTAKES[name]
    (tmp_path / "vfs.py").write_text("from bcc import BPF\nBPF(text='int kprobe__vfs_read(void *ctx) { return 0; }')\n")
    for script in PROGRAMS.glob("*.py"):
        shutil.copy(script, tmp_path)
    program = run([*EBPF, "run", *words], cwd=tmp_path, env=NO_CHOICE)
    assert program.process.returncode == status and answer in program.err, str(program)
    assert not shows_our_frames(program.err)


def test_the_kernel_alone_if_that_is_asked_for() -> None:
    program = user_runs(*EBPF, "run", "--kernel", PROGRAMS / "clone_lines.py")
    assert program.process.returncode == 1 and "this user lacks CAP_BPF" in program.err and not program.out
