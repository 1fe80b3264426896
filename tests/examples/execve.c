/* examples/functions/execve.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#define WORDS 16
#define WORD_BYTES 64

struct command { __u32 pid, count; char words[WORDS][WORD_BYTES]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct command);
} commands SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve") int execve(struct trace_event_raw_sys_enter *ctx)
{
    const char **argv = (const char **)ctx->args[1];
    struct command *e = bpf_ringbuf_reserve(&commands, sizeof(*e), 0);
    __u32 i;

    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->count = 0;
    for (i = 0; i < WORDS; i++) {
        __builtin_memset(e->words[i], 0, WORD_BYTES);
        asm volatile("" ::: "memory"); /* all at once is more than LLVM writes out */
    }
    for (i = 0; i < WORDS; i++) {
        const char *word = 0;

        bpf_probe_read_user(&word, sizeof(word), &argv[i]);
        if (!word)
            break;
        bpf_probe_read_user_str(e->words[i], WORD_BYTES, word);
        e->count = i + 1;
    }
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
