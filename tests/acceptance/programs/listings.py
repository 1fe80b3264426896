#!/usr/bin/python3
# Who reads directories: an event per call, sent through a perf buffer.
from bcc import BPF

text = """
struct event {
    u32 pid;
    char comm[TASK_COMM_LEN];
};
BPF_PERF_OUTPUT(events);

int on_getdents(struct pt_regs *ctx) {
    struct event e = {};
    e.pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(&e.comm, sizeof(e.comm));
    events.perf_submit(ctx, &e, sizeof(e));
    return 0;
}
"""

b = BPF(text=text)
b.attach_kprobe(event=b.get_syscall_fnname("getdents64"), fn_name="on_getdents")


def show(cpu, data, size):
    event = b["events"].event(data)
    print(event.pid, event.comm.decode(), flush=True)


b["events"].open_perf_buffer(show)
while True:
    try:
        b.perf_buffer_poll()
    except KeyboardInterrupt:
        print("bye")
        break
