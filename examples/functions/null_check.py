"""What may be missing has to be asked for before it is used.

    python null_check.py

`unchecked` is refused when it is compiled, at the line that uses the entry; `checked` is what was meant.
"""

import time

import ebpf
from ebpf import u64

CLONE = 56


class Counter(ebpf.Struct):
    calls: u64


syscalls = ebpf.Hash(u64, Counter)


@ebpf.ksyscall("clone")
def unchecked(ctx):
    p = syscalls.get(CLONE)
    p.calls += 1


@ebpf.ksyscall("clone")
def checked(ctx):
    p = syscalls.get(CLONE)
    if p is not None:
        p.calls += 1


PROGRAMS = (checked,)


def main() -> None:
    try:
        ebpf.attach(unchecked).close()
    except ebpf.CompileError as error:
        print(error)
    with ebpf.attach(checked):
        syscalls[CLONE] = Counter(0)
        while True:
            time.sleep(3)
            print(dict(syscalls))


if __name__ == "__main__":
    main()
