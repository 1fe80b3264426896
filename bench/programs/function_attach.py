"""From a decorator to an attached program, with everything that is imported for it; prints the seconds it took.

The program is of the kind that counts and sends events. It filters a socket of
this process's own.
"""

import socket
import time

import ebpf

sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

start, cpu = time.perf_counter(), time.process_time()

seen = ebpf.Hash(ebpf.u32, ebpf.u64, max_entries=1024)


class Event(ebpf.Struct):
    size: ebpf.u32
    mark: ebpf.u32
    protocol: ebpf.u16


events = ebpf.RingBuf(Event)


@ebpf.socket_filter(socket=sock)
def count(skb):
    seen[skb.protocol] += 1
    if skb.len > 64:
        events.send(Event(size=skb.len, mark=skb.mark, protocol=ebpf.u16(skb.protocol)))
    return skb.len


with ebpf.attach(count, backend="kernel") as session:
    print(time.perf_counter() - start, time.process_time() - cpu)
