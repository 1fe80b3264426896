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

struct cgroup___6_0 {
    __u64 ancestor_ids[0];              /* until 6.0 */
} __attribute__((preserve_access_index));

struct cgroup___now {
    struct cgroup *ancestors[0];
} __attribute__((preserve_access_index));

/* Whether its control group (version 2) is the one that was asked for, or lies below it. */
static __always_inline bool group_wanted(struct task_struct *task)
{
    struct cgroup *group = BPF_CORE_READ(task, cgroups, dfl_cgrp), *above = NULL;
    struct cgroup___6_0 *old = (void *)group;
    struct cgroup___now *now = (void *)group;
    __u64 id = 0;

    if (BPF_CORE_READ(group, level) < only_cgroup_level)
        return false;
    if (bpf_core_field_exists(old->ancestor_ids)) {
        bpf_probe_read_kernel(&id, sizeof(id), &old->ancestor_ids[only_cgroup_level]);
        return id == only_cgroup;
    }
    bpf_probe_read_kernel(&above, sizeof(above), &now->ancestors[only_cgroup_level]);
    return BPF_CORE_READ(above, kn, id) == only_cgroup;
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
