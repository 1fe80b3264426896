"""A line for each listing of a directory: the task, its process, the CPU and when."""

import ebpf
from ebpf import chars, u32, u64


class Listed(ebpf.Struct):
    pid: u32
    cpu: u32
    ns: u64
    comm: chars[16]


listed = ebpf.RingBuf(Listed)


@ebpf.tracepoint("syscalls:sys_enter_getdents64")
def getdents(ctx):
    listed.send(Listed(pid=ebpf.pid(), cpu=ebpf.cpu(), ns=ebpf.ktime_ns(), comm=ebpf.comm()))


PROGRAMS = (getdents,)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        for e in listed:
            print(f"{e.comm.decode(errors='replace'):<16} {e.pid:<8} cpu {e.cpu} {e.ns / 1e9:.6f}")


if __name__ == "__main__":
    main()
