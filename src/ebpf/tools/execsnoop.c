#include "common.h"

#define WORDS 32                /* arguments of a command that are shown at most */
#define WORD 128                /* bytes of one */
#define ROOM (WORDS * WORD)

struct executed {
    struct who who;
    __u32 ppid;
    int result;                 /* 0, or an error number below zero */
    __u32 argument_count;
    __u32 length;               /* bytes of the arguments, each with the NUL at its end */
    char arguments[ROOM + WORD];
};

const volatile bool failed_too = false;
const volatile __u32 words_shown = 20;

/* Records are as long as their arguments: the last member is cut. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct executed);
} calls SEC(".maps");

static struct executed empty;

static __always_inline int enter(const char *path, const char *const *arguments)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct executed *event;
    const char *word;
    __u32 at = 0;
    long length;

    if (!wanted() || bpf_map_update_elem(&calls, &pid, &empty, BPF_ANY))
        return 0;
    event = bpf_map_lookup_elem(&calls, &pid);
    if (!event)
        return 0;
    event->argument_count = 0;
    length = bpf_probe_read_user_str(event->arguments, WORD, path);     /* what argv[0] says is the caller's choice */
    if (length > 0)
        at = length;
    for (__u32 i = 1; i < WORDS; i++) {
        if (bpf_probe_read_user(&word, sizeof(word), &arguments[i]) || !word)
            break;
        event->argument_count = i;
        if (i > words_shown)
            continue;
        /* WORDS words never pass ROOM; the verifier is told so in one step, and sees each round as the one before. */
        at &= ROOM - 1;
        length = bpf_probe_read_user_str(&event->arguments[at], WORD, word);
        if (length > 0)
            at += length & (2 * WORD - 1);
        barrier_var(at);
    }
    event->length = at;
    return 0;
}

static __always_inline int leave(long result)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct executed *event = bpf_map_lookup_elem(&calls, &pid);
    struct task_struct *task;
    __u32 length;

    if (!event)
        return 0;
    if (!result || failed_too) {
        fill_who(&event->who);
        task = (struct task_struct *)bpf_get_current_task();
        event->ppid = BPF_CORE_READ(task, real_parent, tgid);
        event->result = result;
        length = event->length;
        if (length <= ROOM && bpf_ringbuf_output(&events, (void *)event, offsetof(struct executed, arguments) + length, 0))
            COUNT_LOST();
    }
    bpf_map_delete_elem(&calls, &pid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_execve")
int enter_execve(struct trace_event_raw_sys_enter *ctx)
{
    return enter((const char *)ctx->args[0], (const char *const *)ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_execveat")
int enter_execveat(struct trace_event_raw_sys_enter *ctx)
{
    return enter((const char *)ctx->args[1], (const char *const *)ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_execve")
int exit_execve(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_execveat")
int exit_execveat(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}
