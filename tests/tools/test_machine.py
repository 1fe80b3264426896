"""Tools on a command, in the userspace machine: what an ordinary user gets. And what cannot be had there, in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ebpf.tools import TOOLS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def tool(cache: str, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "EBPF_CACHE_DIR": cache, "EBPF_BACKEND": "machine" if os.geteuid() == 0 else "auto"}
    return subprocess.run([sys.executable, "-m", "ebpf.cli", "tools", *words], capture_output=True, text=True, env=env,
                          timeout=120, check=False)


def items(cache: str, *words: str) -> list[dict[str, Any]]:
    done = tool(cache, words[0], "--json", *words[1:])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_opensnoop(cache: str) -> None:
    found = items(cache, "opensnoop", "--", "cat", "/etc/hostname", "/nonexistent")
    by_path = {one["path"]: one for one in found}
    assert by_path["/etc/hostname"]["fd"] >= 0 and by_path["/etc/hostname"]["comm"] == "cat"
    assert by_path["/nonexistent"]["error"] == "ENOENT" and by_path["/nonexistent"]["fd"] is None
    done = tool(cache, "opensnoop", "-x", "-d", "/nonexistent", "--", "cat", "/nonexistent")
    assert [line.split()[1:] for line in done.stdout.splitlines()] == [
        ["COMM", "FD", "ERROR", "PATH"], ["cat", "-", "ENOENT", "/nonexistent"]]


def test_execsnoop(cache: str) -> None:
    found = items(cache, "execsnoop", "-x", "--", "sh", "-c", "/bin/echo 'a b' ''; /nonexistent; true")
    assert [(one["error"], one["arguments"]) for one in found[1:]] == [
        ("", ["/bin/echo", "a b", ""]), ("ENOENT", ["/nonexistent"])]
    assert found[1]["ppid"] == found[0]["pid"]
    assert "'a b' ''" in tool(cache, "execsnoop", "--no-header", "--", "echo", "a b", "").stdout


def test_execsnoop_counts_what_it_does_not_show(cache: str) -> None:
    found = items(cache, "execsnoop", "--max-args", "2", "--", "true", *map(str, range(9)))
    assert (found[0]["arguments"][1:], found[0]["more"]) == (["0", "1"], 7)


def test_exitsnoop(cache: str) -> None:
    found = items(cache, "exitsnoop", "--", "sh", "-c", "/bin/false; sleep 9 & kill -9 $!; wait; exit 3")
    assert sorted((one["comm"], one["status"], one["signal"]) for one in found) == [
        ("false", 1, ""), ("sh", 3, ""), ("sleep", 0, "SIGKILL")] or {one["signal"] for one in found} >= {"SIGKILL"}
    assert all(one["age_s"] > 0 for one in found)


def test_killsnoop(cache: str) -> None:
    found = items(cache, "killsnoop", "--", "sh", "-c", "sleep 9 & kill -USR1 $!; kill -0 999999; wait")
    assert [(one["signal"], one["error"]) for one in found] == [("SIGUSR1", ""), ("0", "ESRCH")]


def test_mountsnoop(cache: str) -> None:
    found = items(cache, "mountsnoop", "--", sys.executable, "-c",
                  "import ctypes; ctypes.CDLL(None).mount(b'from', b'/nonexistent', b'tmpfs', 1, b'size=1m')")
    assert [(one["operation"], one["source"], one["target"], one["flags"], one["data"]) for one in found] == [
        ("mount", "from", "/nonexistent", "MS_RDONLY", "size=1m")]
    assert found[0]["error"] in ("ENOENT", "EPERM")


def test_syscount(cache: str) -> None:
    found = items(cache, "syscount", "--syscall", "getpgid", "--", sys.executable, "-c", "import os; [os.getpgid(0) for _ in range(7)]")
    assert [(one["name"], one["count"]) for one in found] == [("getpgid", 7)]
    failed = items(cache, "syscount", "-e", "ENOENT", "--", "cat", "/nonexistent")
    assert any(one["name"] == "openat" for one in failed)


def test_gethostlatency(cache: str) -> None:
    found = items(cache, "gethostlatency", "--", sys.executable, "-c", "import socket; socket.getaddrinfo('localhost', 80)")
    assert [one["host"] for one in found] == ["localhost"] and found[0]["latency_ms"] > 0


def test_sslsniff(cache: str, tmp_path: Path) -> None:
    pytest.importorskip("ssl")
    (tmp_path / "talk.py").write_text(_TALK)
    subprocess.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -subj /CN=localhost"
                   .split(), cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    found = items(cache, "sslsniff", "--", sys.executable, str(tmp_path / "talk.py"), str(tmp_path))
    assert sorted((one["direction"], one["data"]) for one in found) == [
        ("READ", "the answer"), ("READ", "the question"), ("WRITE", "the answer"), ("WRITE", "the question")]


_TALK = """
import socket, ssl, sys, threading
server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=f"{sys.argv[1]}/cert")
server.load_cert_chain(f"{sys.argv[1]}/cert", f"{sys.argv[1]}/key")
here, there = socket.socketpair()
def answer():
    with server.wrap_socket(there, server_side=True) as talk:
        talk.recv(100)
        talk.sendall(b"the answer")
thread = threading.Thread(target=answer)
thread.start()
with client.wrap_socket(here, server_hostname="localhost") as talk:
    talk.sendall(b"the question")
    talk.recv(100)
thread.join()
"""

_PATHS = """
#include <stdlib.h>
static void walk(unsigned path, int depth);
__attribute__((noinline)) static void left(unsigned path, int depth) { walk(path, depth); __asm__ volatile(""); }
__attribute__((noinline)) static void right(unsigned path, int depth) { walk(path, depth); __asm__ volatile(""); }
__attribute__((noinline)) static void walk(unsigned path, int depth)
{
    if (depth)
        (path & 1 ? right : left)(path >> 1, depth - 1);
    else { void *volatile block = malloc(4321); (void)block; }
    __asm__ volatile("");
}
int main(void) { for (unsigned path = 0; path < 1024; path++) walk(path, 10); return 0; }
"""

_PROGRAM = """
#include <stdlib.h>
#include <time.h>
__attribute__((noinline)) void *leaky(int size) { return malloc(size); }
__attribute__((noinline)) long burn(void)
{
    struct timespec now;
    volatile long sum = 0;
    do { for (int i = 0; i < 100000; i++) sum += i; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); }
    while (now.tv_sec == 0 && now.tv_nsec < 600000000);
    return sum;
}
int main(void) { for (int i = 0; i < 3; i++) leaky(5000 + i); free(malloc(7777)); burn(); return 0; }
"""


def build(text: str, made: Path) -> str:
    from shutil import which

    if which("gcc") is None:
        pytest.skip("no gcc")
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-x", "c", "-", "-o", made],
                   input=text, text=True, check=True)
    return str(made)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(_PROGRAM, tmp_path_factory.mktemp("program") / "leaker")


def test_none_of_a_thousand_stacks_is_lost(cache: str, tmp_path: Path) -> None:
    found = items(cache, "memleak", "--min-size", "4321", "--max-size", "4321", "--top", "5000", "--",
                  build(_PATHS, tmp_path / "paths"))
    assert len(found) == len({tuple(one["stack"]) for one in found}) == 1024
    assert all(one["blocks"] == 1 for one in found)


def test_memleak(cache: str, program: str) -> None:
    found = items(cache, "memleak", "--min-size", "5000", "--max-size", "9999", "--", program)
    assert sum(one["held_bytes"] for one in found) == 15003
    assert all("leaky" in one["stack"] for one in found)


def test_profile_and_its_flame_graph(cache: str, program: str, tmp_path: Path) -> None:
    assert any("burn" in one["user"] and one["comm"] == "leaker" for one in items(cache, "profile", "--", program))
    page = tmp_path / "flame.html"
    done = tool(cache, "profile", "--flame", str(page), "--", program)
    assert done.returncode == 0 and "samples in" in done.stdout
    assert "burn" in page.read_text() and "http" not in page.read_text().replace("http://www.w3.org", "")


def test_funclatency(cache: str, program: str) -> None:
    found = items(cache, "funclatency", "-m", f"{program}:leaky", "--", program)
    assert sum(bucket["count"] for bucket in found[0]["buckets"]) == 3


def test_from_python(cache: str) -> None:
    text = ("from ebpf.tools import opensnoop\n"
            "for event in opensnoop.events(command=['cat', '/etc/hostname'], path='hostname'):\n"
            "    print(type(event).__name__, event.path, event.fd)\n")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, "EBPF_CACHE_DIR": cache})
    assert "Open /etc/hostname 3" in done.stdout, done.stderr


def test_a_command_leaves_what_was_used_before() -> None:
    text = ("import ebpf; from ebpf.session.choice import choose; from ebpf.tools import opensnoop\n"
            "ebpf.use('machine', command=['true'])\n"
            "print([event.path for event in opensnoop.events(command=['test', '-r', '/x'], path='ld.so.cache')])\n"
            "from ebpf.session.choice import wish; print(wish.backend, wish.command)\n"
            "with ebpf.use('kernel'): print(choose().backend)\n"
            "print(choose().backend)\n")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["['/etc/ld.so.cache']", "machine ('true',)", "kernel", "machine"], done.stderr


@pytest.mark.parametrize("name", [name for name in TOOLS if name.startswith(("bio", "tcp"))][:3])
def test_what_needs_a_kernel_says_so(cache: str, name: str) -> None:
    done = tool(cache, name, "--", "true")
    assert done.returncode == 4 and "inside the kernel" in done.stderr and "sudo ebpf tools" in done.stderr


@pytest.mark.parametrize(("words", "status", "text"), [
    (("opensnoop", "-p", "999999999"), 2, "no process"), (("opensnoop", "--"), 2, "no command behind --"),
    (("opensnoop", "--cgroup", "/nonexistent"), 2, "no control group"), (("opensnoop", "--duration", "x"), 2, "no number of seconds"),
    (("killsnoop", "-s", "NOPE"), 2, "no signal 'NOPE'"), (("syscount", "--syscall", "opneat"), 2, "similar: openat"),
    (("funclatency",), 2, "which function"), (("opensnoop", "--nope"), 2, "unrecognized"),
    (("funclatency", "/nonexistent:f", "--", "true"), 1, "nonexistent"),
])
def test_bad_input_is_told_in_a_line(cache: str, words: tuple[str, ...], status: int, text: str) -> None:
    done = tool(cache, *words)
    assert done.returncode == status and text in done.stderr and "Traceback" not in done.stderr


def test_nobody_reads_any_more(cache: str) -> None:
    text = f"{sys.executable} -m ebpf.cli tools opensnoop -- ls -R /usr/include | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "EBPF_CACHE_DIR": cache, "EBPF_BACKEND": "machine"})
    assert "Traceback" not in done.stderr and "a bug of ours" not in done.stderr
