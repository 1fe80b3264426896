"""Which commands are executed: a line for each execve, with its first argument."""

import ebpf
from ebpf import chars, i32, u32


class Executed(ebpf.Struct):
    pid: u32
    ppid: i32
    uid: u32
    comm: chars[16]
    path: chars[128]
    argument: chars[64]


executed = ebpf.RingBuf(Executed)


@ebpf.tracepoint("syscalls:sys_enter_execve")
def execve(ctx):
    first = ebpf.read_user(ebpf.u64, ebpf.address_of(ctx.args.argv) + 8)
    executed.send(Executed(pid=ebpf.pid(), ppid=ebpf.current_task().real_parent.tgid, uid=ebpf.uid(),
                           comm=ebpf.comm(), path=ctx.args.filename, argument=ebpf.read_user_str(first)))


PROGRAMS = (execve,)


def main() -> None:
    print(f"{'PID':<8} {'PPID':<8} {'COMM':<16} COMMAND")
    with ebpf.attach(*PROGRAMS):
        for e in executed:
            words = " ".join(w.decode(errors="replace") for w in (e.path, e.argument) if w)
            print(f"{e.pid:<8} {e.ppid:<8} {e.comm.decode(errors='replace'):<16} {words}")


if __name__ == "__main__":
    main()
