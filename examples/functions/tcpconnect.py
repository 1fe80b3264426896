"""Who opens TCP connections, to where (IPv4)."""

import ipaddress

import ebpf
from ebpf import be16, be32, chars, i32, linux, u32, u64


class Connected(ebpf.Struct):
    pid: u32
    source: be32
    target: be32
    port: be16
    comm: chars[16]


sockets = ebpf.Hash(u32, u64)
connected = ebpf.RingBuf(Connected)


@ebpf.kprobe("tcp_v4_connect")
def tcp_v4_connect(ctx, sk):
    sockets[ebpf.tid()] = ebpf.address_of(sk)


@ebpf.kretprobe("tcp_v4_connect")
def tcp_v4_connected(ctx, ret):
    address = sockets.pop(ebpf.tid())
    if address is None or i32(ret) != 0:
        return
    sk = ebpf.cast(linux.sock, address)
    common = sk.__sk_common
    connected.send(Connected(pid=ebpf.pid(), source=ebpf.ntohl(common.skc_rcv_saddr),
                             target=ebpf.ntohl(common.skc_daddr), port=ebpf.ntohs(common.skc_dport),
                             comm=ebpf.comm()))


PROGRAMS = (tcp_v4_connect, tcp_v4_connected)


def main() -> None:
    print(f"{'PID':<8} {'COMM':<16} {'FROM':<16} {'TO':<16} PORT")
    with ebpf.attach(*PROGRAMS):
        for e in connected:
            print(f"{e.pid:<8} {e.comm.decode(errors='replace'):<16} {ipaddress.ip_address(e.source)!s:<16} "
                  f"{ipaddress.ip_address(e.target)!s:<16} {e.port}")


if __name__ == "__main__":
    main()
