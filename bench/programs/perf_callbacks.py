"""Events of 48 bytes through `perf_buffer_poll` and its callbacks. Runs under BCC and under us alike; prints events a
second of processor time.
"""

import sys
import time

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from fill import test_run

from bcc import BPF

N, PAGES = 20_000, 512
b = BPF(text="""
struct event { u64 a[6]; };
BPF_PERF_OUTPUT(events);
int emit(struct __sk_buff *skb) {
    struct event e = {};
    e.a[0] = 1;
    events.perf_submit(skb, &e, sizeof(e));
    return 0;
}
""")
fn = b.load_func("emit", BPF.SOCKET_FILTER)
seen = 0


def callback(cpu, data, size):
    global seen
    seen += 1


b["events"].open_perf_buffer(callback, page_cnt=PAGES)
seconds = 0.0
for _ in range(8):
    seen = 0
    test_run(fn.fd, N)
    start = time.process_time()
    while seen < N:
        b.perf_buffer_poll(1000)
    seconds += time.process_time() - start
print(8 * N / seconds)
