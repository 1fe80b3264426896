// BCC's dialect: tracepoints by macro, stacks, per-CPU arrays, lookup_or_try_init.
#include <linux/sched.h>
struct val_t { u64 switches; u64 last; };
BPF_HASH(tasks, u32, struct val_t);
BPF_STACK_TRACE(stacks, 1024);
BPF_PERCPU_ARRAY(scratch, struct val_t, 1);
BPF_ARRAY(total, u64, 1);

TRACEPOINT_PROBE(sched, sched_switch)
{
    u32 pid = args->prev_pid;
    struct val_t zero = {}, *v = tasks.lookup_or_try_init(&pid, &zero);
    if (!v)
        return 0;
    v->switches++;
    v->last = bpf_ktime_get_ns();
    int zeroth = 0;
    struct val_t *s = scratch.lookup(&zeroth);
    if (s)
        s->switches += args->next_pid & 1 ? 2 : 1;
    total.increment(0);
    if (args->prev_comm[0] == 'k')
        bpf_trace_printk("%s -> %d\\n", args->prev_comm, args->next_pid);
    return stacks.get_stackid(args, 0) < 0 ? 0 : 1;
}
