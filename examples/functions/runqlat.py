"""How long tasks that could run wait for a CPU, as a histogram of microseconds."""

import time

import ebpf
from ebpf import i32, linux, u64

woken = ebpf.Hash(i32, u64)
waited = ebpf.Log2Histogram()


def wake(task):
    if task.pid != 0:
        woken[task.pid] = ebpf.ktime_ns()


@ebpf.tp_btf("sched_wakeup")
def sched_wakeup(ctx, task):
    wake(task)


@ebpf.tp_btf("sched_wakeup_new")
def sched_wakeup_new(ctx, task):
    wake(task)


@ebpf.tp_btf("sched_switch")
def sched_switch(ctx, preempt, previous, following):
    if preempt:  # it could go on, but has to wait
        wake(previous)
    start = woken.pop(following.pid)
    if start is not None:
        waited.increment((ebpf.ktime_ns() - start) // linux.NSEC_PER_USEC)


PROGRAMS = (sched_wakeup, sched_wakeup_new, sched_switch)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            pass
        print(waited)


if __name__ == "__main__":
    main()
