// BCC's dialect: reads through kernel pointers in every form that people write.
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/mount.h>
#include <linux/pid_namespace.h>
#include <linux/blkdev.h>
#include <net/sock.h>
#include <linux/tcp.h>

struct sample { u64 a, b, c, d; char text[32]; struct qstr name; u8 byte; };
BPF_HASH(samples, u32, struct sample);
BPF_HASH(socks, u64, struct sock *);

static inline struct tcp_sock *as_tcp(struct sock *sk) { return (struct tcp_sock *)sk; }
static inline int ready(struct sock *sk) { return sk->__sk_common.skc_state == TCP_ESTABLISHED; }

int tasks(struct pt_regs *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task(), *parent = task->real_parent;
    struct sample s = {};
    u32 pid = task->tgid;
    s.a = task->nsproxy->pid_ns_for_children->ns.inum;
    s.b = parent->real_parent->pid + task->group_leader->start_time;
    s.c = task->mm ? task->mm->start_stack : 0;
    s.d = task->signal->rlim[RLIMIT_NOFILE].rlim_cur + (task->se).vruntime;
    s.byte = parent->comm[3];
    bpf_probe_read_kernel(&s.text, sizeof(task->comm), task->comm);
    samples.update(&pid, &s);
    return 0;
}

int files(struct pt_regs *ctx, struct file *file, struct dentry *dentries[])
{
    struct sample s = {}, *old;
    struct dentry *d = file->f_path.dentry, *second = dentries[1];
    struct inode *inode = file->f_inode;
    u32 key = inode->i_ino;
    int size = d->d_name.len;
    if (size == 0 || d == second || S_ISDIR(inode->i_mode) || !(*d).d_parent)
        return 0;
    s.name = d->d_name;
    s.a = MAJOR(inode->i_sb->s_dev) << 8 | MINOR(inode->i_sb->s_dev);
    s.b = inode->i_size > 1 << 20 ? inode->i_size >> 20 : inode->i_size;
    s.c = (unsigned long)file->f_op->read_iter;
    s.byte = *d->d_name.name;
    bpf_probe_read_kernel_str(&s.text, sizeof(s.text), (void *)d->d_name.name);
    old = samples.lookup(&key);
    if (old != 0 && old->a == s.a)
        old->d++;
    else
        samples.update(&key, &s);
    return 0;
}

int socket_enter(struct pt_regs *ctx, struct sock *sk)
{
    u64 id = bpf_get_current_pid_tgid();
    if (!ready(sk))
        return 0;
    socks.update(&id, &sk);
    return 0;
}

int socket_leave(struct pt_regs *ctx)
{
    u64 id = bpf_get_current_pid_tgid();
    struct sock **skp = socks.lookup(&id);
    struct sample s = {};
    u32 key = id;
    if (!skp)
        return 0;
    struct sock *sk = *skp;
    struct tcp_sock *tp = tcp_sk(sk);
    const struct inet_sock *inet = inet_sk(sk);
    s.a = tp->snd_cwnd + as_tcp(sk)->srtt_us;
    s.b = ntohs(sk->__sk_common.skc_dport) == ntohs(inet->inet_sport);
    s.c = sk->sk_receive_queue.qlen + sk->sk_wmem_queued;
    s.d = sk->__sk_common.skc_net.net->ns.inum;
    samples.update(&key, &s);
    socks.delete(&id);
    return 0;
}
