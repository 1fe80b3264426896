"""Who opens which file: a line for each call of openat and openat2.

    python opensnoop.py [--pid PID]
"""

import argparse

import ebpf
from ebpf import chars, i32, u32


class Opened(ebpf.Struct):
    pid: u32
    uid: u32
    result: i32
    flags: i32
    comm: chars[16]
    path: chars[256]


class Call(ebpf.Struct):
    path: ebpf.u64
    flags: i32


only_pid = ebpf.Global(u32, const=True)
calls = ebpf.Hash(u32, Call)
opened = ebpf.RingBuf(Opened)


def begin(path, flags):
    if only_pid.value == 0 or only_pid.value == ebpf.pid():
        calls[ebpf.tid()] = Call(path=path, flags=flags)


def end(result):
    call = calls.get(ebpf.tid())
    if call is None:
        return
    opened.send(Opened(pid=ebpf.pid(), uid=ebpf.uid(), result=i32(result), flags=call.flags, comm=ebpf.comm(),
                       path=ebpf.read_user_str(call.path)))
    del calls[ebpf.tid()]


@ebpf.tracepoint("syscalls:sys_enter_openat")
def enter_openat(ctx):
    begin(ebpf.address_of(ctx.args.filename), ctx.args.flags)


@ebpf.tracepoint("syscalls:sys_exit_openat")
def exit_openat(ctx):
    end(ctx.args.ret)


PROGRAMS = (enter_openat, exit_openat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pid", type=int, default=0)
    only_pid.initial = parser.parse_args().pid
    print(f"{'PID':<8} {'COMM':<16} {'RESULT':>6} PATH")
    with ebpf.attach(*PROGRAMS):
        for e in opened:
            print(f"{e.pid:<8} {e.comm.decode(errors='replace'):<16} {e.result:>6} {e.path.decode(errors='replace')}")


if __name__ == "__main__":
    main()
