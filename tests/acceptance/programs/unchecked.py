#!/usr/bin/python3
# A mistake that everybody makes once: the looked-up pointer is used without a check.
from bcc import BPF

text = """
BPF_HASH(calls);

int count(void *ctx) {
    u64 key = 56, *n;

    n = calls.lookup(&key);
    *n += 1;
    return 0;
}
"""

b = BPF(text=text)
b.attach_kprobe(event="sys_clone", fn_name="count")
