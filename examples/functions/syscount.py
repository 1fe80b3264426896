"""How many system calls each process makes, and how long they take, until Ctrl-C."""

import time

import ebpf
from ebpf import u32, u64


class Usage(ebpf.Struct):
    count: u64
    total_ns: u64


started = ebpf.Hash(u32, u64)
usage = ebpf.Hash(u32, Usage)


@ebpf.tracepoint("raw_syscalls:sys_enter")
def sys_enter(ctx):
    started[ebpf.tid()] = ebpf.ktime_ns()


@ebpf.tracepoint("raw_syscalls:sys_exit")
def sys_exit(ctx):
    start = started.get(ebpf.tid())
    if start is None:
        return
    entry = usage.setdefault(ebpf.pid())
    if entry is not None:
        entry.count += 1
        entry.total_ns += ebpf.ktime_ns() - start


PROGRAMS = (sys_enter, sys_exit)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            pass
        print(f"{'PID':<8} {'CALLS':>10} {'ms':>12}")
        for pid, u in sorted(usage.items(), key=lambda item: -item[1].count)[:20]:
            print(f"{pid:<8} {u.count:>10} {u.total_ns / 1e6:>12.3f}")


if __name__ == "__main__":
    main()
