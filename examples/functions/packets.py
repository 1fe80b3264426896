"""Headers of packets, for the examples that look into them."""

from typing import Annotated

import ebpf
from ebpf import be16, be32, u8

ETH_P_IP = 0x0800


class Ethernet(ebpf.Struct):
    target: Annotated[list[int], u8[6]]
    source: Annotated[list[int], u8[6]]
    type: be16


class IPv4(ebpf.Struct):
    version_length: u8
    service: u8
    length: be16
    id: be16
    fragment: be16
    ttl: u8
    protocol: u8
    checksum: be16
    source: be32
    target: be32


class Ports(ebpf.Struct):
    source: be16
    target: be16


ETHERNET_BYTES, IPV4_BYTES = Ethernet.size, IPv4.size


def ports_offset(ip: IPv4) -> int:
    """Where the header behind IPv4's begins."""
    return ETHERNET_BYTES + (ip.version_length & 15) * 4
