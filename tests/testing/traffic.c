#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } drops SEC(".maps");
struct event { __u32 pid; __u64 when; char comm[16]; char name[32]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct event); } events SEC(".maps");

SEC("xdp") int fw(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);
    __u64 one = 1, *n;
    __u32 src;

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(0x0800))
        return XDP_PASS;
    src = ip->saddr;
    if (src != bpf_htonl(0x0a000001))
        return XDP_PASS;
    bpf_printk("dropped %x", src);
    n = bpf_map_lookup_elem(&drops, &src);
    if (n)
        *n += 1;
    else
        bpf_map_update_elem(&drops, &src, &one, BPF_ANY);
    return XDP_DROP;
}

__u64 seen;
static int record(const char *name)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->when = bpf_ktime_get_ns();
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_probe_read_user_str(e->name, sizeof(e->name), name);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("kprobe/do_sys_openat2") int BPF_KPROBE(opened, int dfd, const char *filename) { return record(filename) + dfd; }
SEC("ksyscall/unlinkat") int BPF_KSYSCALL(unlinked, int dfd, const char *name) { return record(name) + dfd; }
SEC("tracepoint/syscalls/sys_enter_openat") int entered(struct trace_event_raw_sys_enter *ctx) { return record((const char *)ctx->args[1]) + ctx->id; }
SEC("fentry/vfs_unlink") int BPF_PROG(gone, struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry) { seen = dir->i_ino + dentry->d_parent->d_name.len; return 0; }
SEC("lsm/file_open") int BPF_PROG(deny, struct file *file, int ret) { return file->f_flags == 7 ? -1 : ret; }
SEC("tp_btf/sched_process_exit") int BPF_PROG(ended, struct task_struct *p) { seen = p->pid; return 0; }
char LICENSE[] SEC("license") = "GPL";
