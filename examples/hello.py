"""Hello, kernel: C text in, events out.

Compiles a program, loads it into the running kernel, attaches it to one function of a child process that this script
starts, and prints an event for each call. With --system it greets every new process of the machine, until Ctrl-C.
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
    system = sys.argv[1:] == ["--system"]
    program = ebpf.compile(SOURCE, filename="hello.c")
    code = program.programs["hello"].code
    print(f"compiled: {len(code) // 8} instructions, without clang or kernel headers")
    left_out = "loading and attaching it"
    try:
        with ebpf.load(program) as session:
            print("loaded: the kernel's verifier has accepted it")
            left_out = "attaching it"
            return greet_machine(session) if system else greet_child(session)
    except (ebpf.PrivilegeError, ebpf.NotSupported) as error:
        print("its instructions:")
        for slot, _, text in ebpf.disassemble(code):
            print(f"  {slot:3}: {text}")
        print(f"left out: {left_out} ({error.message}).\n"
              "Run it as root (sudo ./dev hello), or see what is missing: ./dev run ebpf doctor")
        return 0


def greet_child(session: ebpf.Session) -> int:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE) as child:
        session.programs["hello"].attach_uprobe("c", "getpid", pid=child.pid)
        print(f"attached: to getpid() of the C library, in process {child.pid} alone (--system: the whole machine)")
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.close()
        seen = 0
        for event in session.maps["events"].events(timeout=3):
            seen += 1
            print(f"  {event.time_ns / 1e9:.6f}  Hello, {event.comm.decode()} ({event.pid})!")
            if seen == 5:
                break
    print("detached")
    return 0 if seen == 5 else 1


def greet_machine(session: ebpf.Session) -> int:
    session.programs["hello"].attach_kprobe("sys_clone")
    print("attached: to the system call clone, for every process; Ctrl-C ends it")
    try:
        for event in session.maps["events"].events():
            print(f"  {event.time_ns / 1e9:.6f}  Hello, {event.comm.decode()} ({event.pid})!")
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
