"""bpf_fib_lookup over a table of routes that the user gives: ``machine.environment.routes = [Route(…), …]``.

Without a table the helper refuses: where a packet would go, only a kernel knows.
"""

from __future__ import annotations

from errno import EINVAL
from struct import pack_into, unpack_from
from typing import TYPE_CHECKING

from ebpf.errors import NotSupported
from ebpf.machine.environment import Route
from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

_PARAMS_BYTES = 64  # struct bpf_fib_lookup
_AF_INET, _AF_INET6 = 2, 10
_FAMILY, _LENGTH, _IFINDEX, _METRIC, _SOURCE, _DESTINATION, _VLAN, _SMAC, _DMAC = 0, 6, 8, 12, 16, 32, 48, 52, 58
_SKIP_NEIGHBOUR, _WITH_SOURCE, _ALL_FLAGS = 1 << 2, 1 << 4, 0x3F
_RESULTS = {"unicast": 0, "blackhole": 1, "unreachable": 2, "prohibit": 3, "local": 4}
_NOT_FORWARDED, _NO_NEIGHBOUR, _FRAGMENTATION_NEEDED, _NO_SOURCE = 4, 7, 8, 9


def find_route(routes: tuple[Route, ...], destination: bytes) -> Route | None:
    """The one with the longest prefix; of equal ones the first."""
    from ipaddress import ip_address, ip_network

    address = ip_address(destination)
    matching = [(network.prefixlen, -n, route) for n, route in enumerate(routes)
                if (network := ip_network(route.network)).version == address.version and address in network]
    return max(matching)[2] if matching else None


@helper
def bpf_fib_lookup(env: Environment, ctx: int, params: int, plen: int, flags: int) -> int:
    if not env.routes:
        raise NotSupported("the helper bpf_fib_lookup without a table of routes", who="the userspace machine",
                           instead="give it one: machine.environment.routes = (Route('0.0.0.0/0', ifindex=2), …)")
    if u32(plen) < _PARAMS_BYTES or flags & ~_ALL_FLAGS:
        return -EINVAL
    data = bytearray(env.space.read(params, _PARAMS_BYTES))
    family = data[_FAMILY]
    if family not in (_AF_INET, _AF_INET6):
        return -97  # EAFNOSUPPORT
    size = 4 if family == _AF_INET else 16
    route = find_route(tuple(env.routes), bytes(data[_DESTINATION:_DESTINATION + size]))
    if route is None:
        return _NOT_FORWARDED
    if route.kind != "unicast":
        return _RESULTS[route.kind]
    (length,) = unpack_from("<H", data, _LENGTH)
    result = 0
    pack_into("<I", data, _IFINDEX, route.ifindex)
    pack_into("<I", data, _METRIC, route.metric)
    if route.mtu and length > route.mtu:
        result = _FRAGMENTATION_NEEDED
    pack_into("<H", data, _LENGTH, route.mtu)
    if not result:
        result = _fill(data, route, flags, size)
    env.space.write(params, data)
    return result


def _fill(data: bytearray, route: Route, flags: int, size: int) -> int:
    from ipaddress import ip_address

    pack_into("<I", data, _VLAN, 0)
    if route.gateway:
        gateway = ip_address(route.gateway).packed
        data[_FAMILY] = _AF_INET if len(gateway) == 4 else _AF_INET6
        data[_DESTINATION:_DESTINATION + len(gateway)] = gateway
    if flags & _WITH_SOURCE:
        if not route.source:
            return _NO_SOURCE
        data[_SOURCE:_SOURCE + size] = ip_address(route.source).packed
    if flags & _SKIP_NEIGHBOUR:
        return 0
    if not route.dmac:
        return _NO_NEIGHBOUR
    data[_SMAC:_SMAC + 6], data[_DMAC:_DMAC + 6] = route.smac or bytes(6), route.dmac
    return 0
