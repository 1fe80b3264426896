// What is recorded in a kernel and replayed in the machine: strings, registers behind pointers, results, arguments of
// new programs, task and time. Only of the task that is called "recordee".
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct key { char text[60]; __u32 hook; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, struct key); __type(value, __u64); } seen SEC(".maps");
struct event { __u64 time; __u32 pid, uid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

static __always_inline int wanted(void)
{
    char comm[16];
    bpf_get_current_comm(comm, sizeof(comm));
    return comm[0] == 'r' && comm[1] == 'e' && comm[2] == 'c' && comm[5] == 'd' && comm[7] == 'e';
}

static __always_inline void count(struct key *key)
{
    __u64 one = 1, *value = bpf_map_lookup_elem(&seen, key);
    if (value)
        __sync_fetch_and_add(value, 1);
    else
        bpf_map_update_elem(&seen, key, &one, BPF_NOEXIST);
}

SEC("tracepoint/syscalls/sys_enter_openat") int opened(long *ctx)
{
    struct key key = { .hook = 1 };
    if (!wanted())
        return 0;
    bpf_probe_read_user_str(key.text, sizeof(key.text), (void *)ctx[3]);
    count(&key);
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (event) {
        event->time = bpf_ktime_get_ns();
        event->pid = bpf_get_current_pid_tgid() >> 32;
        event->uid = bpf_get_current_uid_gid();
        bpf_get_current_comm(event->comm, sizeof(event->comm));
        bpf_ringbuf_submit(event, 0);
    }
    return 0;
}

// The registers of the system call lie behind the wrapper's argument.
SEC("kprobe/sys_openat") int wrapper(struct pt_regs *ctx)
{
    struct key key = { .hook = 2 };
    struct pt_regs *regs = (void *)PT_REGS_PARM1(ctx);
    void *name = 0;
    if (!wanted())
        return 0;
    bpf_probe_read_kernel(&name, sizeof(name), &regs->si);
    bpf_probe_read_user_str(key.text, sizeof(key.text), name);
    count(&key);
    return 0;
}

SEC("kretprobe/sys_openat") int result(struct pt_regs *ctx)
{
    struct key key = { .hook = 3 };
    if (!wanted())
        return 0;
    long given = PT_REGS_RC(ctx);
    key.text[0] = given < 0 ? 'n' : 'y';
    key.text[1] = given & 0xff;
    count(&key);
    return 0;
}

// The second word of a command: a pointer behind a pointer.
SEC("tracepoint/syscalls/sys_enter_execve") int execute(long *ctx)
{
    struct key key = { .hook = 4 };
    void **argv = (void *)ctx[3], *word = 0;
    if (!wanted())
        return 0;
    bpf_probe_read_user(&word, sizeof(word), &argv[1]);
    bpf_probe_read_user_str(key.text, sizeof(key.text), word);
    count(&key);
    return 0;
}

SEC("raw_tp/sys_exit") int left(__u64 *ctx)
{
    struct key key = { .hook = 5 };
    if (!wanted())
        return 0;
    *(__s64 *)key.text = (__s64)ctx[1] < 0 ? (__s64)ctx[1] : 0;
    count(&key);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
