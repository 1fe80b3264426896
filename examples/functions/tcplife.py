"""How long TCP connections lived (IPv4): a line for each that is closed."""

import ipaddress

import ebpf
from ebpf import be32, chars, linux, u16, u32, u64


class Life(ebpf.Struct):
    pid: u32
    source: be32
    target: be32
    source_port: u16
    target_port: u16
    ns: u64
    comm: chars[16]


class Owner(ebpf.Struct):
    pid: u32
    comm: chars[16]


born = ebpf.Hash(u64, u64)
owners = ebpf.Hash(u64, Owner)
lives = ebpf.RingBuf(Life)


@ebpf.raw_tracepoint("inet_sock_set_state")
def set_state(ctx, sk, old, new):
    if sk.sk_protocol != linux.IPPROTO_TCP or sk.__sk_common.skc_family != linux.AF_INET:
        return
    key = ebpf.address_of(sk)
    if new < linux.TCP_FIN_WAIT1:
        born[key] = ebpf.ktime_ns()
    if new == linux.TCP_SYN_SENT or new == linux.TCP_LAST_ACK:
        owners[key] = Owner(pid=ebpf.pid(), comm=ebpf.comm())
    if new != linux.TCP_CLOSE:
        return
    start = born.pop(key)
    if start is None:
        return
    owner = owners.get(key)
    common = sk.__sk_common
    life = Life(ns=ebpf.ktime_ns() - start, source=ebpf.ntohl(common.skc_rcv_saddr),
                target=ebpf.ntohl(common.skc_daddr), source_port=common.skc_num,
                target_port=ebpf.ntohs(common.skc_dport))
    if owner is None:
        life.pid = ebpf.pid()
        life.comm = ebpf.comm()
    else:
        life.pid = owner.pid
        life.comm = owner.comm
    lives.send(life)
    del owners[key]


PROGRAMS = (set_state,)


def main() -> None:
    print(f"{'PID':<8} {'COMM':<16} {'FROM':<22} {'TO':<22} ms")
    with ebpf.attach(*PROGRAMS):
        for e in lives:
            source = f"{ipaddress.ip_address(e.source)}:{e.source_port}"
            target = f"{ipaddress.ip_address(e.target)}:{e.target_port}"
            print(f"{e.pid:<8} {e.comm.decode(errors='replace'):<16} {source:<22} {target:<22} {e.ns / 1e6:.3f}")


if __name__ == "__main__":
    main()
