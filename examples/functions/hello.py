"""Says hello for each clone system call: to the trace pipe, and to a buffer that Python reads."""

import ebpf
from ebpf import chars, u32


class Cloned(ebpf.Struct):
    pid: u32
    comm: chars[16]


clones = ebpf.RingBuf(Cloned)


@ebpf.ksyscall("clone")
def hello(ctx):
    ebpf.printk(f"hello from {ebpf.comm()}")
    clones.send(Cloned(pid=ebpf.pid(), comm=ebpf.comm()))


PROGRAMS = (hello,)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        for e in clones:
            print(f"hello from {e.comm.decode(errors='replace')} ({e.pid})")


if __name__ == "__main__":
    main()
