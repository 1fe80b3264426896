#!/usr/bin/python3
# The same, attached through the name of the function.
from bcc import BPF

BPF(text='int kprobe__sys_clone(void *ctx) { bpf_trace_printk("by name\\n"); return 0; }').trace_print()
