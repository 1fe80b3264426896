"""`Session.drop_privileges`: what is attached goes on, what would need privilege is over; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PROLOGUE = '''
import os
import ebpf
TEXT = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, long); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
SEC("socket") int f(void *ctx) { int k = 1; long v = 2; bpf_map_update_elem(&seen, &k, &v, 0);
    bpf_ringbuf_output(&events, &v, 8, 0); return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
def capabilities():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")]
session = ebpf.load(ebpf.compile(TEXT), backend="kernel")
stream = session.maps["events"].events()
session.programs["f"].test_run(bytes(64))
'''


def other_user() -> int:
    """Somebody else who may read this Python and this package; else the user of this process (capabilities only)."""
    from ebpf.kernel.dropping import _unreadable

    return 65534 if not _unreadable(65534, 65534, []) else os.getuid()


def in_child(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROLOGUE + textwrap.dedent(text)], capture_output=True, text=True,
                          timeout=60, env={**os.environ, **environment})


@pytest.mark.kernel
def test_maps_and_events_are_read_as_before() -> None:
    user = other_user()
    done = in_child(f"""
        user = {user}""" + """
        left = session.drop_privileges(user)
        assert (os.getresuid(), os.getresgid()) == ((user,) * 3, (user,) * 3), os.getresuid()
        assert left.uid == user and set(left.kept) <= {"CAP_BPF"}, left
        assert sum(bin(mask).count("1") for mask in capabilities()[:2]) == 2 * len(left.kept), capabilities()
        assert capabilities()[2] == capabilities()[4] == 0
        assert dict(session.maps["seen"].items()) == {1: 2}
        session.maps["seen"][7] = 9
        records = []
        assert stream.consume(records.append) == 1 and records
        assert os.path.exists("/proc/self/fd/0") and os.readlink("/proc/self/exe")
        try:
            ebpf.load(session.obj, backend="kernel")
        except ebpf.PrivilegeError as error:
            print("refused:", error.needs)
        """)
    assert done.returncode == 0 and "refused:" in done.stdout, done.stderr


@pytest.mark.kernel
def test_whoever_called_sudo_is_who_goes_on() -> None:
    done = in_child("""
        try:
            left = session.drop_privileges()
            print(left.uid, left.gid, os.getgroups())
        except ebpf.UsageError as error:
            print(error.message)
        """, SUDO_UID="1234", SUDO_GID="4321")
    expected = "1234 4321 [4321]" if other_user() else "user 1234 may not read "
    assert done.stdout.startswith(expected), (done.stdout, done.stderr)


@pytest.mark.kernel
def test_what_is_kept_is_kept() -> None:
    done = in_child('left = session.drop_privileges(0, keep=["CAP_BPF", "CAP_PERFMON"]); '
                    'session.programs["f"].test_run(bytes(64)); print(*left.kept)', SUDO_UID="")
    assert done.stdout == "CAP_BPF CAP_PERFMON\n", done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize(("call", "message"), [
    ('session.drop_privileges("nobody-here")', "there is no user 'nobody-here'"),
    ('session.drop_privileges(keep=["CAP_FLY"])', "CAP_FLY: no capability that eBPF knows"),
    ("import threading; t = threading.Thread(target=__import__('time').sleep, args=(9,), daemon=True); t.start(); "
     "session.drop_privileges()", "this process has 2 threads"),
])
def test_mistakes(call: str, message: str) -> None:
    done = in_child(f"try:\n    {call}\nexcept ebpf.UsageError as error:\n    print(error)\n    print(capabilities()[0] != 0)")
    assert message in done.stdout and done.stdout.endswith("True\n"), (done.stdout, done.stderr)


@pytest.mark.kernel
def test_the_option(tmp_path: object) -> None:
    """A C program whose uprobe sees this process alone, read by a command that has become another user."""
    text = '''
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long); } calls SEC(".maps");
SEC("uprobe/libc:getppid") int f(void *ctx) { int k = 0; long *n = bpf_map_lookup_elem(&calls, &k); if (n) ++*n; return 0; }
char LICENSE[] SEC("license") = "GPL";
'''
    path = f"{tmp_path}/calls.c"
    with open(path, "w") as file:
        file.write(text)
    with subprocess.Popen([sys.executable, "-m", "ebpf.cli", "run", "--drop-privileges", str(other_user()), "-p", str(os.getpid()),
                           "--duration", "1", "--json", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stderr is not None and process.stdout is not None
        said = ""
        for line in process.stderr:
            said += line
            if "privileges dropped" in line:
                break
        for _ in range(5):
            os.getppid()
        out = process.stdout.read()
        said += process.stderr.read()
    assert f"privileges dropped: uid {other_user()}, gid {other_user()}" in said, said
    assert '"value": 5' in out, (out, said)
