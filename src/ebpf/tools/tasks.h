/* Tasks that are switched in and out. */
#ifndef EBPF_TOOLS_TASKS_H
#define EBPF_TOOLS_TASKS_H

struct task_struct___5_14 {
    volatile long state;                /* __state since 5.14 */
} __attribute__((preserve_access_index));

struct task_struct___now {
    unsigned int __state;
} __attribute__((preserve_access_index));

static __always_inline long state_of(struct task_struct *task)
{
    struct task_struct___now *now = (void *)task;

    if (bpf_core_field_exists(now->__state))
        return BPF_CORE_READ(now, __state);
    return BPF_CORE_READ((struct task_struct___5_14 *)task, state);
}

/* The filters for a task that is not the one on the CPU. */
static __always_inline bool task_wanted(struct task_struct *task)
{
    char comm[16];

    if (only_pid && BPF_CORE_READ(task, tgid) != only_pid)
        return false;
    if (only_tid && BPF_CORE_READ(task, pid) != only_tid)
        return false;
    if (!any_uid && BPF_CORE_READ(task, cred, uid.val) != only_uid)
        return false;
    if (only_cgroup && !group_wanted(task))
        return false;
    if (!any_comm) {
        BPF_CORE_READ_STR_INTO(&comm, task, comm);
        if (!comm_wanted(comm))
            return false;
    }
    return true;
}

#endif
