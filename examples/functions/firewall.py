"""An XDP firewall: networks that are blocked in an LPM trie, ports in a hash, verdicts counted.

    python firewall.py INTERFACE 10.0.0.0/8 192.0.2.7 ... [--port 25 ...]
"""

import argparse
import ipaddress
import time

from packets import ETH_P_IP, ETHERNET_BYTES, Ethernet, IPv4, Ports, ports_offset

import ebpf
from ebpf import be32, linux, u8, u16, u32, u64


class Prefix(ebpf.Struct):
    bits: u32
    address: be32


networks = ebpf.LpmTrie(Prefix, u64)
ports = ebpf.Hash(u16, u8)
verdicts = ebpf.PerCpuArray(u64, 2)


def dropped():
    verdicts[0] += 1
    return linux.XDP_DROP


@ebpf.xdp
def firewall(ctx):
    eth = ctx.load(Ethernet)
    if eth is None or eth.type != ETH_P_IP:
        return linux.XDP_PASS
    ip = ctx.load(IPv4, ETHERNET_BYTES)
    if ip is None:
        return dropped()
    hits = networks.get(Prefix(bits=32, address=ip.source))
    if hits is not None:
        return dropped()
    if ip.protocol == linux.IPPROTO_TCP or ip.protocol == linux.IPPROTO_UDP:
        header = ctx.load(Ports, ports_offset(ip))
        if header is None or header.target in ports:
            return dropped()
    verdicts[1] += 1
    return linux.XDP_PASS


PROGRAMS = (firewall,)


def block(network: str) -> None:
    """Block an address or a network, ``10.0.0.0/8``."""
    n = ipaddress.ip_network(network)
    networks[Prefix(bits=n.prefixlen, address=int(n.network_address))] = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("interface")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--port", type=int, action="append", default=[])
    args = parser.parse_args()
    with ebpf.attach(firewall.on(interface=args.interface)):
        for network in args.networks:
            block(network)
        for port in args.port:
            ports[port] = 1
        while True:
            time.sleep(1)
            blocked, passed = (sum(each) for each in verdicts)
            print(f"passed {passed}, dropped {blocked}")


if __name__ == "__main__":
    main()
