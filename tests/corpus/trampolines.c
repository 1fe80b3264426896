// fentry, fexit, tp_btf, raw tracepoints and LSM: typed arguments, direct reads of kernel structs.
// needs: 5.11 trampolines
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u64);
} since SEC(".maps");
__u64 switches, denied, bytes;

SEC("fentry/vfs_read")
int BPF_PROG(read_begins, struct file *file, char *buf, size_t count)
{
    if ((file->f_inode->i_mode & 0170000) == 0100000)
        bytes += count;
    return 0;
}

SEC("fexit/vfs_read")
int BPF_PROG(read_ends, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t result)
{
    if (result < 0 && file->f_path.dentry->d_name.len > 3)
        bytes -= count;
    return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exits, struct task_struct *task)
{
    struct task_struct *parent = task->real_parent;
    if (task->pid != task->tgid || parent->pid == 1)
        return 0;
    bpf_printk("%s ends under %d", task->comm, parent->pid);
    return 0;
}

SEC("raw_tp/sched_switch")
int raw(struct bpf_raw_tracepoint_args *ctx)
{
    struct task_struct *next = (struct task_struct *)ctx->args[2];
    switches += BPF_CORE_READ(next, pid) != 0;
    return 0;
}

SEC("lsm/file_open")
int BPF_PROG(opens, struct file *file)
{
    __u64 *when = bpf_task_storage_get(&since, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (when)
        *when = bpf_ktime_get_ns();
    if (file->f_flags & 0x40000000) {
        denied++;
        return -1;
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
