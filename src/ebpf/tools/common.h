/* What every tool's program begins with: the types of the running kernel, who is at work, and whose work is wanted.
 *
 * The constants below are set before loading, so that the verifier removes the questions that nobody asked. */
#ifndef EBPF_TOOLS_COMMON_H
#define EBPF_TOOLS_COMMON_H

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

const volatile __u32 only_pid = 0;
const volatile __u32 only_tid = 0;
const volatile __u32 only_uid = 0;
const volatile bool any_uid = true;             /* 0 is a user */
const volatile __u64 only_cgroup = 0;           /* the group's id, and how deep it lies: those below it count, too */
const volatile int only_cgroup_level = 0;
const volatile bool any_comm = true;
const volatile char only_comm[16] = {};
const volatile __u32 own_pid = 0;               /* the tool's: what it does itself is nobody's business */

__u64 lost = 0;                                 /* records for which there was no room */

struct who {
    __u64 time_ns;                              /* since boot, suspended or not counted: CLOCK_MONOTONIC */
    __u32 pid;
    __u32 tid;
    __u32 uid;
    char comm[16];
};

static __always_inline void fill_who(struct who *who)
{
    __u64 id = bpf_get_current_pid_tgid();

    who->time_ns = bpf_ktime_get_ns();
    who->pid = id >> 32;
    who->tid = id;
    who->uid = bpf_get_current_uid_gid();
    bpf_get_current_comm(who->comm, sizeof(who->comm));
}

static __always_inline bool comm_wanted(const char *comm)
{
    if (any_comm)
        return true;
    for (int i = 0; i < 16; i++) {
        if (comm[i] != only_comm[i])
            return false;
        if (!comm[i])
            break;
    }
    return true;
}

struct cgroup___6_0 {
    __u64 ancestor_ids[0];              /* until 6.0 */
} __attribute__((preserve_access_index));

struct cgroup___now {
    struct cgroup *ancestors[0];
} __attribute__((preserve_access_index));

/* Whether a task's control group (version 2) is the one that was asked for, or lies below it. */
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

/* The same of the task on the CPU. */
static __always_inline bool own_group_wanted(void)
{
    struct cgroup___6_0 *old = NULL;

    if (bpf_core_field_exists(old->ancestor_ids))       /* on 5.10 tracing programs may not call what follows */
        return group_wanted((struct task_struct *)bpf_get_current_task());
    return bpf_get_current_ancestor_cgroup_id(only_cgroup_level) == only_cgroup;
}

/* Whether the process on the CPU is one of those that were asked for. */
static __always_inline bool wanted(void)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 pid = id >> 32;
    char comm[16];

    if (own_pid && pid == own_pid)
        return false;
    if (only_pid && pid != only_pid)
        return false;
    if (only_tid && (__u32)id != only_tid)
        return false;
    if (!any_uid && (__u32)bpf_get_current_uid_gid() != only_uid)
        return false;
    if (only_cgroup && !own_group_wanted())
        return false;
    if (!any_comm) {
        bpf_get_current_comm(comm, sizeof(comm));
        if (!comm_wanted(comm))
            return false;
    }
    return true;
}

#define COUNT_LOST() __sync_fetch_and_add(&lost, 1)

/* Where records go; TYPE tells Python what they are. */
#define EVENTS(TYPE)                                                                                                    \
    struct {                                                                                                            \
        __uint(type, BPF_MAP_TYPE_RINGBUF);                                                                             \
        __uint(max_entries, 1024 * 1024);                                                                               \
        __type(value, TYPE);                                                                                            \
    } events SEC(".maps")

#define HASH(NAME, KEY, VALUE, ENTRIES)                                                                                 \
    struct {                                                                                                            \
        __uint(type, BPF_MAP_TYPE_HASH);                                                                                \
        __uint(max_entries, ENTRIES);                                                                                   \
        __type(key, KEY);                                                                                               \
        __type(value, VALUE);                                                                                           \
    } NAME SEC(".maps")

char LICENSE[] SEC("license") = "GPL";

#endif
