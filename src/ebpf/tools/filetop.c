#include "common.h"
#include "histogram.h"

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFSOCK 0140000

struct key {
    __u64 inode;
    __u32 device;
    __u32 pid;
};

struct total {
    __u64 reads;
    __u64 writes;
    __u64 read_bytes;
    __u64 written_bytes;
    char kind;                  /* R: regular, S: socket, O: other */
    char comm[16];
    char name[64];
};

const volatile bool every_kind = false;

HASH(totals, struct key, struct total, 10240);
static const struct total no_total;

static __always_inline int count(struct file *file, __u64 bytes, bool writes)
{
    struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
    struct inode *inode = BPF_CORE_READ(file, f_inode);
    __u32 mode = BPF_CORE_READ(inode, i_mode) & S_IFMT;
    struct total *total;
    struct key key = {};

    if ((mode != S_IFREG && !every_kind) || !wanted())
        return 0;
    key.inode = BPF_CORE_READ(inode, i_ino);
    key.device = BPF_CORE_READ(inode, i_sb, s_dev);
    key.pid = bpf_get_current_pid_tgid() >> 32;
    total = FIND_OR_MAKE(&totals, &key, &no_total);
    if (!total)
        return 0;
    if (!total->kind) {
        total->kind = mode == S_IFREG ? 'R' : mode == S_IFSOCK ? 'S' : 'O';
        bpf_get_current_comm(total->comm, sizeof(total->comm));
        bpf_probe_read_kernel_str(total->name, sizeof(total->name), BPF_CORE_READ(dentry, d_name.name));
    }
    __sync_fetch_and_add(writes ? &total->writes : &total->reads, 1);
    __sync_fetch_and_add(writes ? &total->written_bytes : &total->read_bytes, bytes);
    return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(read, struct file *file, char *to, unsigned long bytes)
{
    return count(file, bytes, false);
}

SEC("kprobe/vfs_write")
int BPF_KPROBE(write, struct file *file, const char *from, unsigned long bytes)
{
    return count(file, bytes, true);
}
