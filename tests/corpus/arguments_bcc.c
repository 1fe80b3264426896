// BCC's dialect: every way for a program to name itself and get its arguments.
// needs: trampolines
#include <uapi/linux/ptrace.h>
#include <linux/fs.h>
#include <linux/sched.h>

struct data_t { u32 pid; int ret; char name[64]; char comm[TASK_COMM_LEN]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(entered, u32, u64);

int syscall__execve(struct pt_regs *ctx, const char __user *filename, const char __user *const __user *argv)
{
    struct data_t data = { .pid = bpf_get_current_pid_tgid() >> 32 };
    const char *first = NULL;
    bpf_probe_read_user(&first, sizeof(first), (void *)&argv[1]);
    bpf_probe_read_user_str(data.name, sizeof(data.name), first ? (void *)first : (void *)filename);
    bpf_get_current_comm(&data.comm, sizeof(data.comm));
    events.perf_submit(ctx, &data, sizeof(data));
    return 0;
}

int kprobe__vfs_open(struct pt_regs *ctx, const struct path *path, struct file *file)
{
    struct qstr name = path->dentry->d_name;
    struct data_t data = { .pid = name.len, .ret = path->dentry->d_inode->i_mode };
    bpf_probe_read_kernel_str(&data.name, sizeof(data.name), name.name);
    if (file->f_op == NULL)
        return 0;
    events.perf_submit(ctx, &data, sizeof(data));
    return 0;
}

int kretprobe__vfs_open(struct pt_regs *ctx)
{
    if ((int)PT_REGS_RC(ctx) < 0)
        entered.increment((u32)bpf_get_current_pid_tgid());
    return 0;
}

int registers(struct pt_regs *ctx)
{
    u64 sum = PT_REGS_PARM1(ctx) + PT_REGS_PARM2(ctx) + PT_REGS_PARM3(ctx) + PT_REGS_PARM4(ctx) + PT_REGS_PARM5(ctx)
        + PT_REGS_PARM6(ctx) + PT_REGS_IP(ctx) + PT_REGS_SP(ctx) + PT_REGS_FP(ctx);
    u32 pid = sum;
    entered.update(&pid, &sum);
    return 0;
}

TRACEPOINT_PROBE(sched, sched_process_exec)
{
    struct data_t data = { .pid = args->pid, .ret = args->old_pid };
    TP_DATA_LOC_READ_STR(&data.name, filename, sizeof(data.name));
    events.perf_submit(args, &data, sizeof(data));
    return 0;
}

RAW_TRACEPOINT_PROBE(sched_switch)
{
    struct task_struct *prev = (struct task_struct *)ctx->args[1], *next = (struct task_struct *)ctx->args[2];
    if (prev->tgid != next->tgid && next->flags & PF_KTHREAD)
        bpf_trace_printk("%s\n", next->comm);
    return 0;
}

KFUNC_PROBE(vfs_read, struct file *file, char *buf, size_t count)
{
    u32 pid = bpf_get_current_pid_tgid();
    u64 mode = file->f_inode->i_mode + count;
    entered.update(&pid, &mode);
    return 0;
}

KRETFUNC_PROBE(vfs_read, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
    u32 pid = bpf_get_current_pid_tgid();
    if (ret < 0)
        entered.delete(&pid);
    return 0;
}

LSM_PROBE(file_open, struct file *file)
{
    return file->f_flags & O_TMPFILE && file->f_path.dentry->d_name.len > 200 ? -EPERM : 0;
}
