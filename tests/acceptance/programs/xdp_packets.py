#!/usr/bin/python3
# Counts packets that arrive on eth0.
from time import sleep

from bcc import BPF

text = """
BPF_HASH(packets);

int count(struct xdp_md *ctx) {
    u64 key = 0, counter = 0, *p;

    p = packets.lookup(&key);
    if (p != 0)
        counter = *p;
    counter++;
    packets.update(&key, &counter);
    return XDP_PASS;
}
"""

b = BPF(text=text)
b.attach_xdp(dev="eth0", fn=b.load_func("count", BPF.XDP))
while True:
    sleep(0.3)
    for k, v in b["packets"].items():
        print(f"key {k.value}, counter {v.value}", flush=True)
