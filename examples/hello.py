"""Hello, kernel: C text in, events out.

Compiles a program, has it verified, attaches it, and prints an event for each time that it runs. As root it runs in the
kernel, attached to one function of a child process that this script starts; with --system it greets every new process
of the whole system, until Ctrl-C. Without privilege it runs in the userspace machine, on a small demonstration.
"""

from __future__ import annotations

import subprocess
import sys

import ebpf

SOURCE = r"""
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct event {
    __u64 time_ns;
    __u32 pid;
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
    __type(value, struct event);
} events SEC(".maps");

SEC("kprobe")
int hello(struct pt_regs *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->time_ns = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""

# Waits for a line, then calls getpid() of the C library five times.
CHILD = "import os, sys, time; [(os.getpid(), time.sleep(0.1)) for _ in range(5 if sys.stdin.readline() else 0)]"


def main() -> int:
    program = ebpf.compile(SOURCE, filename="hello.c")
    print(f"compiled: {len(program.programs['hello'].code) // 8} instructions, without clang or kernel headers")
    try:
        return show(program, None)
    except (ebpf.PrivilegeError, ebpf.NotSupported) as error:
        print(f"not in the kernel: {error.message}")
    try:
        return show(program, "machine")
    except (ebpf.PrivilegeError, ebpf.NotSupported) as error:
        print(f"nor in the userspace machine: {error.message}\n`./dev run ebpf doctor` says more")
        return 1


def show(program: ebpf.Object, backend: str | None) -> int:
    with ebpf.load(program, backend=backend) as session:
        if session.backend == "machine":
            print("verified: by our own verifier; it runs in the userspace machine")
            return greet_demonstration(session)
        print("loaded: the kernel's verifier has accepted it")
        return greet_system(session) if sys.argv[1:] == ["--system"] else greet_child(session)


def greet(session: ebpf.Session, limit: int) -> int:
    """Print the next events; how many there were."""
    seen = 0
    for event in session.maps["events"].events(timeout=5):
        seen += 1
        print(f"  {event.time_ns / 1e9:.6f}  Hello, {event.comm.decode()} ({event.pid})!")
        if seen == limit:
            break
    return seen


def greet_child(session: ebpf.Session) -> int:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE) as child:
        session.programs["hello"].attach_uprobe("c", "getpid", pid=child.pid)
        print(f"attached: to getpid() of the C library, in process {child.pid} alone (--system: the whole system)")
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.close()
        seen = greet(session, 5)
    print("detached")
    return 0 if seen == 5 else 1


def greet_demonstration(session: ebpf.Session) -> int:
    session.programs["hello"].attach_kprobe("sys_clone")
    print("attached: to the system call clone, of a demonstration that starts processes")
    seen = greet(session, 5)
    print("detached")
    return 0 if seen == 5 else 1


def greet_system(session: ebpf.Session) -> int:
    session.programs["hello"].attach_kprobe("sys_clone")
    print("attached: to the system call clone, for every process; Ctrl-C ends it")
    try:
        while True:
            greet(session, 0)
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
