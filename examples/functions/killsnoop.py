"""Who sends which signal to whom, and whether it worked."""

import ebpf
from ebpf import chars, i32, u32


class Sent(ebpf.Struct):
    pid: u32
    target: i32
    signal: i32
    result: i32
    comm: chars[16]


class Call(ebpf.Struct):
    target: i32
    signal: i32


signals = ebpf.Hash(u32, Call)
sent = ebpf.RingBuf(Sent)


@ebpf.tracepoint("syscalls:sys_enter_kill")
def enter_kill(ctx):
    signals[ebpf.tid()] = Call(target=ctx.args.pid, signal=ctx.args.sig)


@ebpf.tracepoint("syscalls:sys_exit_kill")
def exit_kill(ctx):
    call = signals.get(ebpf.tid())
    if call is None:
        return
    sent.send(Sent(pid=ebpf.pid(), target=call.target, signal=call.signal, result=i32(ctx.args.ret),
                   comm=ebpf.comm()))
    del signals[ebpf.tid()]


PROGRAMS = (enter_kill, exit_kill)


def main() -> None:
    print(f"{'PID':<8} {'COMM':<16} {'SIGNAL':>6} {'TARGET':>8} {'RESULT':>6}")
    with ebpf.attach(*PROGRAMS):
        for e in sent:
            print(f"{e.pid:<8} {e.comm.decode(errors='replace'):<16} {e.signal:>6} {e.target:>8} {e.result:>6}")


if __name__ == "__main__":
    main()
