"""An L4 load balancer in XDP: connections to one address go to one of several machines, by a hash of their ends."""

import argparse
import ipaddress
import time
from typing import Annotated

from packets import ETH_P_IP, ETHERNET_BYTES, Ethernet, IPv4, Ports, ports_offset

import ebpf
from ebpf import be32, linux, u8, u16, u32, u64

MOST_BACKENDS = 16


class Backend(ebpf.Struct):
    address: be32
    mac: Annotated[list[int], u8[6]]  # what Python has, and what programs have


virtual = ebpf.Global(u32, const=True)
count = ebpf.Global(u32)
backends = ebpf.Array(Backend, MOST_BACKENDS)
packets = ebpf.PerCpuArray(u64, MOST_BACKENDS)


def mixed(x):
    """A number whose every bit depends on every bit of ``x``."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


def changed_checksum(checksum, old, new):
    """An internet checksum after 32 bits changed (RFC 1624)."""
    total = u32(~checksum & 0xFFFF)
    total += (~old & 0xFFFF) + (~(old >> 16) & 0xFFFF) + (new & 0xFFFF) + (new >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return u16(~total)


@ebpf.xdp
def balance(ctx):
    eth = ctx.load(Ethernet)
    if eth is None or eth.type != ETH_P_IP:
        return linux.XDP_PASS
    ip = ctx.load(IPv4, ETHERNET_BYTES)
    if ip is None or ip.target != virtual.value or ip.protocol != linux.IPPROTO_UDP:
        return linux.XDP_PASS
    ends = ctx.load(Ports, ports_offset(ip))
    available = count.value
    if ends is None or available == 0:
        return linux.XDP_DROP
    chosen = mixed(ip.source ^ (u32(ends.source) << 16 | ends.target)) % available
    backend = backends.get(chosen)
    if backend is None:
        return linux.XDP_DROP
    packets[chosen] += 1
    ip.checksum = changed_checksum(ip.checksum, ip.target, backend.address)
    ip.target = backend.address
    eth.source = eth.target
    eth.target = backend.mac
    return linux.XDP_TX


PROGRAMS = (balance,)


def use(addresses: list[tuple[str, bytes]]) -> None:
    """Send connections to these machines: an address and its MAC each."""
    for i, (address, mac) in enumerate(addresses):
        backends[i] = Backend(address=int(ipaddress.ip_address(address)), mac=list(mac))
    count.value = len(addresses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("interface")
    parser.add_argument("address", help="the virtual address")
    parser.add_argument("backends", nargs="+", help="ADDRESS=MAC")
    args = parser.parse_args()
    virtual.initial = int(ipaddress.ip_address(args.address))
    given = [b.split("=") for b in args.backends]
    with ebpf.attach(balance.on(interface=args.interface)):
        use([(address, bytes.fromhex(mac.replace(":", ""))) for address, mac in given])
        while True:
            time.sleep(1)
            print(*(sum(each) for each in list(packets)[: len(given)]))


if __name__ == "__main__":
    main()
