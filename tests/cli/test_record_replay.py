"""`ebpf record` and `ebpf replay`: the same lines again, from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.errors import NotSupported

PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct event { unsigned pid; char path[60]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_openat") int opened(long *ctx)
{
    struct event event = { .pid = bpf_get_current_pid_tgid() >> 32 };
    bpf_probe_read_user_str(event.path, sizeof(event.path), (void *)ctx[3]);
    bpf_ringbuf_output(&events, &event, sizeof(event), 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def ebpf(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "ebpf.cli", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=60)
    if done.returncode == 4:
        raise NotSupported("tracing here")
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("record")
    (made / "prog.c").write_text(PROGRAM)
    (made / "other.c").write_text(PROGRAM.replace("opened", "closed").replace("sys_enter_openat", "sys_enter_close"))
    opens = "import os\nfor n in range(200): os.open(f'/dev/null', 0)\ntry: os.open('/no/such/file', 0)\nexcept OSError: pass"
    done = ebpf("record", "--machine", "prog.c", "--", sys.executable, "-I", "-S", "-c", opens, folder=made)
    assert done.returncode == 0, done.stderr
    (made / "printed").write_text(done.stdout)
    assert "prog.rec: " in done.stderr and done.stdout.count("/dev/null") == 200
    return made


def test_the_same_lines_again(folder: Path) -> None:
    done = ebpf("replay", "prog.rec", "prog.c", folder=folder)
    assert (done.returncode, done.stdout) == (0, (folder / "printed").read_text())
    assert f"prog.rec: {len(done.stdout.splitlines())} events of Linux " in done.stderr


def test_a_file_cut_short(folder: Path) -> None:
    (folder / "cut.rec").write_bytes((folder / "prog.rec").read_bytes()[:9000])
    done = ebpf("replay", "cut.rec", "prog.c", folder=folder)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines and lines == (folder / "printed").read_text().splitlines()[:len(lines)]
    assert "cut short at byte 8" in done.stderr and f"{len(lines)} events before it are good" in done.stderr


@pytest.mark.parametrize(("words", "status", "message"), [
    (("replay", "prog.c", "prog.c"), 1, "prog.c is no recording"),
    (("replay", "nowhere.rec", "prog.c"), 1, "nowhere.rec: No such file"),
    (("replay", "prog.rec", "other.c"), 1, "has none of the recorded programs: 'opened' (tracepoint/syscalls/sys_enter_openat)"),
    (("record", "nowhere.c"), 1, "nowhere.c: No such file"),
    (("record", "--machine", "--piece-bytes", "7", "prog.c", "--", "true"), 2, "piece_bytes=7"),
    (("record", "-o", "/nowhere/x.rec", "--machine", "prog.c", "--", "true"), 1, "/nowhere/x.rec: No such file"),
])
def test_mistakes(folder: Path, words: tuple[str, ...], status: int, message: str) -> None:
    done = ebpf(*words, folder=folder)
    assert done.returncode == status and message in done.stderr and not done.stdout
    assert not (folder / "nowhere.rec").exists()
