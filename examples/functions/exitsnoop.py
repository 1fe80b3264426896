"""Which processes end, how, and after how long."""

import ebpf
from ebpf import chars, i32, linux, u32, u64


class Ended(ebpf.Struct):
    pid: u32
    ppid: i32
    code: i32
    age_ns: u64
    comm: chars[16]


ended = ebpf.RingBuf(Ended)


@ebpf.tracepoint("sched:sched_process_exit")
def process_exit(ctx):
    if ebpf.pid() != ebpf.tid():  # a thread, not the process
        return
    task = ebpf.current_task()
    age = ebpf.ktime_ns() - task.start_time
    ended.send(Ended(pid=ebpf.pid(), ppid=task.real_parent.tgid, code=task.exit_code, age_ns=age, comm=ebpf.comm()))


PROGRAMS = (process_exit,)


def main() -> None:
    print(f"{'PID':<8} {'PPID':<8} {'AGE(s)':>8} {'EXIT':<10} COMM")
    with ebpf.attach(*PROGRAMS):
        for e in ended:
            how = f"signal {e.code & 0x7F}" if e.code & 0x7F else f"code {e.code >> 8}"
            print(f"{e.pid:<8} {e.ppid:<8} {e.age_ns / linux.NSEC_PER_SEC:>8.2f} {how:<10} "
                  f"{e.comm.decode(errors='replace')}")


if __name__ == "__main__":
    main()
