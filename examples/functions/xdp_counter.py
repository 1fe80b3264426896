"""Counts the packets that arrive on an interface."""

import sys
import time

import ebpf
from ebpf import linux, u64

packets = ebpf.PerCpuArray(u64, 1)


@ebpf.xdp
def count(ctx):
    packets[0] += 1
    return linux.XDP_PASS


PROGRAMS = (count,)


def main() -> None:
    with ebpf.attach(count.on(interface=sys.argv[1] if len(sys.argv) > 1 else "eth0")):
        while True:
            time.sleep(1)
            print(sum(packets[0]), "packets")


if __name__ == "__main__":
    main()
