"""Counts packets in a hash: what is missing there is made, and no CPU loses another's count."""

import sys
import time

import ebpf
from ebpf import linux, u32, u64

counts = ebpf.Hash(u32, u64, 64)


@ebpf.xdp
def count(ctx):
    counts[0] += 1
    return linux.XDP_PASS


PROGRAMS = (count,)


def main() -> None:
    with ebpf.attach(count.on(interface=sys.argv[1] if len(sys.argv) > 1 else "eth0")):
        while True:
            time.sleep(1)
            print(dict(counts))


if __name__ == "__main__":
    main()
