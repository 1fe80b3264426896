"""A line for each call of open: the process and the path."""

import ebpf
from ebpf import chars, u32


class Opened(ebpf.Struct):
    pid: u32
    path: chars[64]


opens = ebpf.RingBuf(Opened)


@ebpf.tracepoint("syscalls:sys_enter_open")
def open(ctx):
    opens.send(Opened(pid=ebpf.pid(), path=ctx.args.filename))


PROGRAMS = (open,)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        for e in opens:
            print(e.pid, e.path.decode(errors="replace"))


if __name__ == "__main__":
    main()
