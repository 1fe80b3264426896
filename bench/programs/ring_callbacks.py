"""Drain a million 48-byte ring-buffer records through `open_ring_buffer` callbacks. Runs under BCC and under us
alike; prints records a second.
"""

import sys
import time

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from fill import EMIT, test_run

from bcc import BPF

N = 1_000_000
b = BPF(text=EMIT)
fn = b.load_func("emit", BPF.SOCKET_FILTER)
seen = 0


def callback(ctx, data, size):
    global seen
    seen += 1


b["events"].open_ring_buffer(callback)
best = 0.0
for _ in range(3):
    seen = 0
    test_run(fn.fd, N)
    start = time.perf_counter()
    b.ring_buffer_consume()
    best = max(best, seen / (time.perf_counter() - start))
    assert seen == N, seen
print(best)
