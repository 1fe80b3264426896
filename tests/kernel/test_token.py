"""BPF tokens: a user namespace of the test's own, to which its parent delegates a bpffs."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf

_libc = ctypes.CDLL(None, use_errno=True)
_FSMOUNT, _FSOPEN, _FSCONFIG, _MOVE_MOUNT = 432, 430, 431, 429  # the same numbers on every architecture
_SET_STRING, _CREATE = 1, 6
_CLONE_NEWUSER, _CLONE_NEWNS = 0x10000000, 0x00020000

WORK = """
import os, sys
import ebpf
from ebpf.kernel.privileges import in_user_namespace
assert in_user_namespace()
text = '''
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, long); } seen SEC(".maps");
SEC("xdp") int f(void *ctx) { int k = 1; long v = 2; bpf_map_update_elem(&seen, &k, &v, 0); return 2; }
char LICENSE[] SEC("license") = "GPL";
'''
with ebpf.load(ebpf.compile(text)) as session:
    session.programs["f"].test_run(bytes(64))
    print(session.backend, dict(session.maps["seen"].items()))
"""


def call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_namespace(folder: Path, delegate: bool) -> subprocess.CompletedProcess[str]:
    """`WORK` in a user namespace with a bpffs of its own at ``folder``; the parent gives it rights, or not."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    out = folder.parent / "out"
    child = os.fork()
    if child == 0:
        status = 99
        try:
            if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS):
                os._exit(77)
            theirs.send(b"u")
            theirs.recv(1)  # the ids are mapped
            fs = call(_FSOPEN, b"bpf", 0)
            socket.send_fds(theirs, [b"f"], [fs])
            theirs.recv(1)  # made
            mount = call(_FSMOUNT, fs, 0, 0)
            call(_MOVE_MOUNT, mount, b"", -100, os.fsencode(folder), 4)
            with open(out, "w") as file:
                done = subprocess.run([sys.executable, "-c", WORK], stdout=file, stderr=subprocess.STDOUT,
                                      env={**os.environ, "EBPF_TOKEN_PATH": str(folder), "EBPF_BACKEND": ""})
            status = done.returncode
        finally:
            os._exit(status)
    try:
        if ours.recv(1) == b"u":
            for name, line in (("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
                Path(f"/proc/{child}/{name}").write_text(line)
            ours.send(b"m")
            _, (fs,), *_ = socket.recv_fds(ours, 1, 1)
            for name in ("delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs") if delegate else ():
                call(_FSCONFIG, fs, _SET_STRING, name.encode(), b"any", 0)
            call(_FSCONFIG, fs, _CREATE, None, None, 0)
            ours.send(b"c")
    finally:
        theirs.close()
        ours.close()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 77:
        pytest.skip("this user may not make user namespaces")
    return subprocess.CompletedProcess("", status, out.read_text() if out.exists() else "", "")


def checked(tmp_path: Path) -> None:
    folder = tmp_path / "bpf"
    folder.mkdir()
    try:
        done = in_namespace(folder, delegate=True)
    except OSError as error:
        raise ebpf.NotSupported("BPF tokens", since="6.9") from error
    assert (done.returncode, done.stdout) == (0, "kernel {1: 2}\n"), done
    done = in_namespace(folder, delegate=False)
    assert done.returncode == 0 and done.stdout.endswith("machine {1: 2}\n"), done
    assert "no BPF token is there" in done.stdout


@pytest.mark.kernel
def test_delegated_rights_load_programs(tmp_path: Path) -> None:
    checked(tmp_path)


@pytest.mark.guest(kernels=("6.12", "7.2"))
def test_delegated_rights_load_programs_in_guests(tmp_path: Path) -> None:
    checked(tmp_path)
