#!/usr/bin/python3
# One line per clone system call, through the kernel's trace pipe.
from bcc import BPF

text = """
int on_clone(void *ctx) {
    bpf_trace_printk("somebody clones\\n");
    return 0;
}
"""

b = BPF(text=text)
b.attach_kprobe(event="sys_clone", fn_name="on_clone")
b.trace_print()
