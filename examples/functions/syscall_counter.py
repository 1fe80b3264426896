"""How often each system call is made: a growing count by number, every three seconds."""

import time

import ebpf
from ebpf import i64, u64

counts = ebpf.Hash(i64, u64)


@ebpf.tracepoint("raw_syscalls:sys_enter")
def count(ctx):
    counts[ctx.args.id] += 1


PROGRAMS = (count,)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        while True:
            time.sleep(3)
            print(dict(sorted(counts.items())))


if __name__ == "__main__":
    main()
