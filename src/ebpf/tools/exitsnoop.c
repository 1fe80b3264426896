#include "common.h"

struct ended {
    struct who who;
    __u32 ppid;
    int exit_code;              /* as wait(2) has it: the status above bit 8, the signal below, bit 7: a core */
    __u64 age_ns;
};

const volatile bool threads_too = false;
const volatile bool failed_only = false;

EVENTS(struct ended);

SEC("tracepoint/sched/sched_process_exit")
int process_exit(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    __u64 id = bpf_get_current_pid_tgid();
    struct ended *event;
    int code;

    if ((id >> 32) != (__u32)id && !threads_too)
        return 0;
    code = BPF_CORE_READ(task, exit_code);
    if (!wanted() || (failed_only && !code))
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        return 0;
    }
    fill_who(&event->who);
    event->ppid = BPF_CORE_READ(task, real_parent, tgid);
    event->exit_code = code;
    event->age_ns = event->who.time_ns - BPF_CORE_READ(task, start_time);
    bpf_ringbuf_submit(event, 0);
    return 0;
}
