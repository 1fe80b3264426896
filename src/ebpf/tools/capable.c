#include "common.h"

struct question {
    int capability;
    __u32 options;
};

struct asked {
    struct who who;
    int capability;
    __u32 options;
    int result;                 /* 0: granted */
};

const volatile bool all_questions = false;      /* those that leave no trace in the audit log, too */
const volatile bool refused_only = false;

EVENTS(struct asked);
HASH(questions, __u32, struct question, 10240);

SEC("kprobe/cap_capable")
int BPF_KPROBE(ask, const struct cred *cred, struct user_namespace *namespace, int capability, unsigned int options)
{
    struct question question = { .capability = capability, .options = options };
    __u32 tid = bpf_get_current_pid_tgid();

    if ((options & 2 && !all_questions) || !wanted())   /* CAP_OPT_NOAUDIT */
        return 0;
    bpf_map_update_elem(&questions, &tid, &question, BPF_ANY);
    return 0;
}

SEC("kretprobe/cap_capable")
int BPF_KRETPROBE(answer, int result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct question *question = bpf_map_lookup_elem(&questions, &tid);
    struct asked *event;

    if (!question)
        return 0;
    if (!refused_only || result) {
        event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
        if (event) {
            fill_who(&event->who);
            event->capability = question->capability;
            event->options = question->options;
            event->result = result;
            bpf_ringbuf_submit(event, 0);
        } else {
            COUNT_LOST();
        }
    }
    bpf_map_delete_elem(&questions, &tid);
    return 0;
}
