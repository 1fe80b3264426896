"""Keys of longest-prefix tries as IP networks: the prefix's length in bits, then the address in network byte order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.errors import UsageError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_LENGTH = 4  # bytes of the prefix's length


def encode_network(key: Any, size: int, map_name: str) -> bytes | None:
    """The bytes of a network, an address or their text as a key of ``size`` bytes; ``None``: it is something else."""
    if isinstance(key, str):
        import ipaddress

        try:
            key = ipaddress.ip_network(key, strict=False)
        except ValueError as error:
            raise UsageError(f"map {map_name!r}: {error}", helps=('write "10.0.0.0/8" or "2001:db8::/32"',)) from None
    packed = getattr(key, "packed", None)
    length = getattr(key, "max_prefixlen", None)
    if packed is None and hasattr(key, "network_address"):
        packed, length = key.network_address.packed, key.prefixlen
    if not isinstance(packed, bytes) or not isinstance(length, int):
        return None
    if len(packed) != size - _LENGTH:
        raise UsageError(f"map {map_name!r}: {key} has an address of {len(packed)} bytes, its keys of {size - _LENGTH}")
    return length.to_bytes(_LENGTH, "little") + packed


def decode_network(data: bytes) -> IPv4Network | IPv6Network:
    """A key's bytes as a network; `UsageError` where addresses are neither 4 nor 16 bytes long."""
    import ipaddress

    address, length = data[_LENGTH:], int.from_bytes(data[:_LENGTH], "little")
    if len(address) == 4:
        return ipaddress.IPv4Network((address, length), strict=False)
    if len(address) == 16:
        return ipaddress.IPv6Network((address, length), strict=False)
    raise UsageError(f"keys of {len(data)} bytes are no IP networks: they have 8 or 20")
