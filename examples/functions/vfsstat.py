"""Calls of the kernel's file operations, once a second."""

import time

import ebpf
from ebpf import u64

NAMES = ("read", "write", "fsync", "open", "create")
entered = ebpf.PerCpuArray(u64, len(NAMES))


@ebpf.kprobe("vfs_read")
def vfs_read(ctx):
    entered[0] += 1


@ebpf.kprobe("vfs_write")
def vfs_write(ctx):
    entered[1] += 1


@ebpf.kprobe("vfs_fsync_range")
def vfs_fsync(ctx):
    entered[2] += 1


@ebpf.kprobe("vfs_open")
def vfs_open(ctx):
    entered[3] += 1


@ebpf.kprobe("vfs_create")
def vfs_create(ctx):
    entered[4] += 1


PROGRAMS = (vfs_read, vfs_write, vfs_fsync, vfs_open, vfs_create)


def main() -> None:
    print(" ".join(f"{name + '/s':>10}" for name in NAMES))
    with ebpf.attach(*PROGRAMS):
        before = [0] * len(NAMES)
        while True:
            time.sleep(1)
            now = [sum(per_cpu) for per_cpu in entered]
            print(" ".join(f"{b - a:>10}" for a, b in zip(before, now, strict=True)))
            before = now


if __name__ == "__main__":
    main()
