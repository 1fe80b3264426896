// BCC's dialect and everything that the preprocessor does on the way: pasting, strings, variadic macros, conditions.
#include <uapi/linux/ptrace.h>
#include <linux/blk-mq.h>
#include <linux/fs.h>
#include <linux/version.h>

#define COUNTER(name, kind) \
    BPF_HISTOGRAM(name##_##kind); \
    static void add_##name(u64 value) \
    { \
        name##_##kind.increment(bpf_log2l(value)); \
    }
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define LOG(format, ...) bpf_trace_printk(TEXT(LEVEL) ": " format "\n", ##__VA_ARGS__)
#define LEVEL 3
#define PICK(_1, _2, _3, NAME, ...) NAME
#define MAX2(a, b) ((a) > (b) ? (a) : (b))
#define MAX3(a, b, c) MAX2(a, MAX2(b, c))
#define MAX_OF(...) PICK(__VA_ARGS__, MAX3, MAX2)(__VA_ARGS__)

#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 0, 0) && defined(CONFIG_NET) && !defined(NO_SUCH_THING)
#  define MODERN 1
#elif 1 / 1 == 2
#  error "never seen"
#else
#  define MODERN 0
#endif

#ifdef __x86_64__
#define WORD u64
#else
#define WORD unsigned long
#endif

/* The kernel has a struct of this name too, and this one is meant. */
struct mnt_namespace {
    atomic_t count;
    struct { u32 inum; } ns;
};

BPF_HASH(start, WORD);
COUNTER(latency, us)

#undef LEVEL
#define LEVEL 7

int enter(struct pt_regs *ctx, struct file *file, char __user *buf, size_t count)
{
    WORD id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
    struct mnt_namespace mine = { .ns.inum = __LINE__ };
    if (MODERN && file->f_mode & FMODE_READ)
        start.update(&id, &now);
    LOG("%d of %d in %u", (int)MAX_OF(count, 1, 2), (int)MAX_OF(1, sizeof(mine)), mine.ns.inum);
    LOG("done");
    return 0;
}

int leave(struct pt_regs *ctx)
{
    WORD id = bpf_get_current_pid_tgid(), *since = start.lookup(&id);
    if (since == NULL)
        return 0;
    add_latency((bpf_ktime_get_ns() - *since) / NSEC_PER_USEC);
    start.delete(&id);
    return 0;
}
