// CO-RE: reads along paths, into variables and strings, bit-fields, flavours of a type, what exists, sizes, offsets.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

/* How the state of a task was called before Linux 5.14. */
struct task_struct___before { long state; } __attribute__((preserve_access_index));
struct task_struct___after { unsigned int __state; } __attribute__((preserve_access_index));
struct task_struct___none { int not_there; } __attribute__((preserve_access_index));
enum bpf_func_id___any { BPF_FUNC_loop___any = 181 };

struct report {
    __u32 pid, tgid, ppid, inum, level;
    long state;
    __u64 start, inode, mask, sizes;
    char comm[TASK_COMM_LEN], file[32];
    __u8 has_loop, traced;
};
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(__u32));
} reports SEC(".maps");

static long state_of(struct task_struct *task)
{
    struct task_struct___after *after = (void *)task;
    if (bpf_core_field_exists(after->__state))
        return BPF_CORE_READ(after, __state);
    return BPF_CORE_READ((struct task_struct___before *)task, state);
}

static __always_inline void fill(struct report *r, struct file *file)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    struct task_struct___none *none = (void *)task;
    struct dentry *dentry;
    const unsigned char *name;

    BPF_CORE_READ_INTO(&r->pid, task, pid);
    r->tgid = BPF_CORE_READ(task, tgid);
    r->ppid = BPF_CORE_READ(task, real_parent, tgid);
    r->inum = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
    r->level = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, level);
    r->start = BPF_CORE_READ(task, start_time);
    BPF_CORE_READ_STR_INTO(&r->comm, task, group_leader, comm);
    r->inode = BPF_CORE_READ(file, f_inode, i_ino);
    bpf_core_read(&dentry, sizeof(dentry), &file->f_path.dentry);
    name = BPF_CORE_READ(dentry, d_name.name);
    bpf_probe_read_kernel_str(r->file, sizeof(r->file), name);
    r->traced = BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait);
    r->sizes = bpf_core_type_size(struct task_struct) + bpf_core_field_size(task->comm) * 2
        + bpf_core_field_offset(task->pid);
    r->has_loop = bpf_core_enum_value_exists(enum bpf_func_id___any, BPF_FUNC_loop___any);
    if (bpf_core_field_exists(none->not_there))
        r->mask = BPF_CORE_READ(none, not_there);
    else
        r->mask = bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_ARRAY);
    r->state = state_of(task);
}

SEC("kprobe/vfs_write")
int BPF_KPROBE(on_write, struct file *file, const char *buf, size_t count, loff_t *pos)
{
    struct report report = {};
    fill(&report, file);
    if (count > 4096 || pos == NULL)
        report.mask |= 1ULL << 63;
    bpf_perf_event_output(ctx, &reports, BPF_F_CURRENT_CPU, &report, sizeof(report));
    return 0;
}

SEC("kprobe/__x64_sys_openat")
int BPF_KPROBE_SYSCALL(on_openat, int dfd, const char *filename, int flags)
{
    char text[32];
    long n = bpf_probe_read_user_str(text, sizeof(text), filename);
    if (n > 1 && flags & 1)
        bpf_printk("%s %d", text, dfd);
    return 0;
}

SEC("uretprobe")
int BPF_URETPROBE(on_return, int result)
{
    bpf_printk("returned %d at %lx", result, PT_REGS_IP(ctx));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
