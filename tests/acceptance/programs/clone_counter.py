#!/usr/bin/python3
# Counts system calls in a hash, read every now and then.
from time import sleep

from bcc import BPF

text = """
BPF_HASH(calls);

int count(void *ctx) {
    u64 key = 56, zero = 0, *n;

    n = calls.lookup_or_try_init(&key, &zero);
    if (n)
        (*n)++;
    return 0;
}
"""

b = BPF(text=text)
b.attach_kprobe(event="sys_clone", fn_name="count")
while True:
    sleep(0.5)
    for k, v in b["calls"].items():
        print(k.value, v.value, flush=True)
