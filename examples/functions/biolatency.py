"""How long block devices take for a request, as a histogram of microseconds."""

import time

import ebpf
from ebpf import linux, u64

issued = ebpf.Hash(u64, u64)
latency = ebpf.Log2Histogram()


@ebpf.raw_tracepoint("block_rq_issue")
def block_rq_issue(ctx, request):
    issued[ebpf.address_of(request)] = ebpf.ktime_ns()


@ebpf.raw_tracepoint("block_rq_complete")
def block_rq_complete(ctx, request):
    start = issued.pop(ebpf.address_of(request))
    if start is not None:
        latency.increment((ebpf.ktime_ns() - start) // linux.NSEC_PER_USEC)


PROGRAMS = (block_rq_issue, block_rq_complete)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            pass
        print(latency)


if __name__ == "__main__":
    main()
