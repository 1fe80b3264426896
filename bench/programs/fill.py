"""What the benchmark programs share: running a loaded program many times, through bpf(BPF_PROG_TEST_RUN), under BCC
and under us alike.
"""

import ctypes
import os

_SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_BPF_PROG_TEST_RUN = 10
_ROUND = 100_000  # the kernel runs at most so many repeats in one call before it looks for signals

# A program that sends one 48-byte record each time it runs.
EMIT = """
struct event { u64 a[6]; };
BPF_RINGBUF_OUTPUT(events, 16384);
int emit(struct __sk_buff *skb) {
    struct event e = {};
    e.a[0] = 1;
    events.ringbuf_output(&e, sizeof(e), 1 /* BPF_RB_NO_WAKEUP */);
    return 0;
}
"""


def test_run(prog_fd, times):
    """Run the program behind ``prog_fd`` ``times`` times on a 64-byte packet."""
    libc = ctypes.CDLL(None, use_errno=True)
    packet = ctypes.create_string_buffer(64)
    for start in range(0, times, _ROUND):
        attr = (ctypes.c_uint64 * 10)()
        words = (ctypes.c_uint32 * 20).from_buffer(attr)
        words[0] = prog_fd
        words[2] = 64  # data_size_in
        words[8] = min(_ROUND, times - start)  # repeat
        attr[2] = ctypes.addressof(packet)  # data_in
        if libc.syscall(_SYS_BPF, _BPF_PROG_TEST_RUN, attr, ctypes.c_uint32(80)):
            raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN")
