"""Packets: loads and stores, checksums, moving and resizing, verdicts (net/core/filter.c)."""

from __future__ import annotations

from errno import EACCES, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from ebpf.abi.actions import TC_ACT_REDIRECT, TC_ACT_SHOT, XDP_ABORTED, XDP_REDIRECT
from ebpf.errors import MachineFault
from ebpf.machine import checksums
from ebpf.machine.environment import Redirect
from ebpf.machine.helpers.table import helper, s32, u32
from ebpf.machine.maps.targets import BROADCAST, DevMapHash, Targets
from ebpf.machine.packets import ETHERNET_BYTES, XDP_FRAME_BYTES, Packet

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

ENOTSUPP = 524
INT_MAX = 0x7FFFFFFF
MAX_SKB_BYTES = 16384
_RECOMPUTE_CSUM, _INVALIDATE_HASH = 1, 2
_HDR_FIELD_MASK, _PSEUDO_HDR, _MARK_MANGLED_0, _MARK_ENFORCE = 0xF, 0x10, 0x20, 0x40
_META_MAX_BYTES = 252


def packet_of(env: Environment) -> Packet:
    if env.packet is None:
        raise MachineFault("a packet helper in a program that has no packet", access="call")
    return env.packet


def _load(env: Environment, to: int, size: int, data: bytes | None) -> int:
    if data is None:
        env.space.clear(to, size)
        return -EFAULT
    env.space.write(to, data)
    return 0


@helper
def bpf_skb_load_bytes(env: Environment, skb: int, offset: int, to: int, len: int) -> int:
    at, size = u32(offset), u32(len)
    return _load(env, to, size, packet_of(env).read(at, size) if at <= INT_MAX else None)


@helper
def bpf_skb_load_bytes_relative(env: Environment, skb: int, offset: int, to: int, len: int, start_header: int) -> int:
    packet, at, size = packet_of(env), u32(offset), u32(len)
    base = {0: packet.mac, 1: packet.network}.get(u32(start_header))
    data = packet.data_at(base + at, size) if base is not None and at <= 0xFFFF else None
    return _load(env, to, size, data)


@helper
def bpf_skb_store_bytes(env: Environment, skb: int, offset: int, from_: int, len: int, flags: int) -> int:
    packet, at, size = packet_of(env), u32(offset), u32(len)
    if flags & ~(_RECOMPUTE_CSUM | _INVALIDATE_HASH):
        return -EINVAL
    if at > INT_MAX or not packet.write(at, env.space.read(from_, size)):
        return -EFAULT
    if flags & _INVALIDATE_HASH:
        packet.set("hash", 0)
    packet.place()
    return 0


@helper
def bpf_skb_pull_data(env: Environment, skb: int, len: int) -> int:
    """Everything is linear here: only too much can fail."""
    packet = packet_of(env)
    if u32(len) > packet.length:
        return -ENOMEM
    packet.place()
    return 0


def _checksum_at(packet: Packet, offset: int) -> int | None:
    if offset > 0xFFFF or offset & 1:
        return None
    data = packet.read(offset, 2)
    return None if data is None else int.from_bytes(data, "little")


@helper
def bpf_l3_csum_replace(env: Environment, skb: int, offset: int, from_: int, to: int, flags: int) -> int:
    packet, at = packet_of(env), u32(offset)
    if flags & ~_HDR_FIELD_MASK:
        return -EINVAL
    checksum = _checksum_at(packet, at)
    if checksum is None:
        return -EFAULT
    size = flags & _HDR_FIELD_MASK
    if size == 0:
        if from_:
            return -EINVAL
        checksum = checksums.replace_by_difference(checksum, to)
    elif size == 2:
        checksum = checksums.replace2(checksum, from_, to)
    elif size == 4:
        checksum = checksums.replace4(checksum, from_, to)
    else:
        return -EINVAL
    packet.write(at, checksum.to_bytes(2, "little"))
    packet.place()
    return 0


@helper
def bpf_l4_csum_replace(env: Environment, skb: int, offset: int, from_: int, to: int, flags: int) -> int:
    packet, at = packet_of(env), u32(offset)
    if flags & ~(_MARK_MANGLED_0 | _MARK_ENFORCE | _PSEUDO_HDR | _HDR_FIELD_MASK):
        return -EINVAL
    checksum = _checksum_at(packet, at)
    if checksum is None:
        return -EFAULT
    mangled = flags & _MARK_MANGLED_0
    if mangled and not flags & _MARK_ENFORCE and not checksum:
        return 0
    size = flags & _HDR_FIELD_MASK
    if size == 0:
        if from_:
            return -EINVAL
        checksum = checksums.replace_by_difference(checksum, to)
    elif size in (2, 4):
        mask = (1 << size * 8) - 1
        checksum = checksums.replace4(checksum, from_ & mask, to & mask)
    else:
        return -EINVAL
    if mangled and not checksum:
        checksum = 0xFFFF
    packet.write(at, checksum.to_bytes(2, "little"))
    packet.place()
    return 0


@helper
def bpf_csum_diff(env: Environment, from_: int, from_size: int, to: int, to_size: int, seed: int) -> int:
    """16 bits, as on every architecture since Linux 6.13."""
    old_size, new_size, seed = u32(from_size), u32(to_size), u32(seed)
    if (old_size | new_size) & 3:
        return -EINVAL
    old, new = env.space.read(from_, old_size), env.space.read(to, new_size)
    if old_size and new_size:
        return checksums.to_16(checksums.sub(checksums.partial(new, seed), checksums.partial(old, 0)))
    if new_size:
        return checksums.to_16(checksums.partial(new, seed))
    if old_size:
        return checksums.to_16(~checksums.partial(old, ~seed & 0xFFFFFFFF) & 0xFFFFFFFF)
    return seed


@helper
def bpf_csum_update(env: Environment, skb: int, csum: int) -> int:
    """Packets here have no checksum of the device's."""
    return -ENOTSUPP


@helper
def bpf_skb_change_tail(env: Environment, skb: int, len: int, flags: int) -> int:
    packet, size = packet_of(env), u32(len)
    if flags or size > MAX_SKB_BYTES or size < packet.network - packet.start:
        return -EINVAL
    packet.resize(packet.start, packet.start + size)
    return 0


@helper
def bpf_skb_change_head(env: Environment, skb: int, head_room: int, flags: int) -> int:
    """Zeros in front, as far as the headroom reaches."""
    packet, size = packet_of(env), u32(head_room)
    if flags or packet.length + size > MAX_SKB_BYTES:
        return -EINVAL
    if size > packet.start:
        return -ENOMEM
    start = packet.start - size
    packet.buffer[start:packet.start] = bytes(size)
    packet.mac = start
    packet.resize(start, packet.end)
    return 0


@helper
def bpf_skb_change_type(env: Environment, skb: int, type: int) -> int:
    packet, kind = packet_of(env), u32(type)
    if packet.get("pkt_type") > 3 or kind > 3:
        return -EINVAL
    packet.set("pkt_type", kind)
    return 0


@helper
def bpf_set_hash(env: Environment, skb: int, hash: int) -> int:
    packet_of(env).set("hash", u32(hash))
    return 0


@helper
def bpf_set_hash_invalid(env: Environment, skb: int) -> int:
    packet_of(env).set("hash", 0)
    return 0


@helper
def bpf_get_hash_recalc(env: Environment, skb: int) -> int:
    """The packet's hash; one that is missing is made of its addresses and ports (the kernel's is keyed by a secret)."""
    packet = packet_of(env)
    if not packet.get("hash"):
        from zlib import crc32

        packet.set("hash", crc32(packet.data_at(packet.network, min(40, packet.end - packet.network)) or b"") | 1)
    return packet.get("hash")


# ---- XDP ----

@helper
def bpf_xdp_adjust_head(env: Environment, xdp_md: int, delta: int) -> int:
    packet, move = packet_of(env), s32(delta)
    metadata = packet.start - packet.meta
    start = packet.start + move
    if start < XDP_FRAME_BYTES + metadata or start > packet.end - ETHERNET_BYTES:
        return -EINVAL
    if metadata:
        packet.buffer[start - metadata:start] = packet.buffer[packet.meta:packet.start]
    packet.meta = start - metadata
    packet.resize(start, packet.end)
    return 0


@helper
def bpf_xdp_adjust_tail(env: Environment, xdp_md: int, delta: int) -> int:
    packet, move = packet_of(env), s32(delta)
    end = packet.end + move
    if end > len(packet.buffer) or end < packet.start + ETHERNET_BYTES:
        return -EINVAL
    packet.resize(packet.start, end)
    return 0


@helper
def bpf_xdp_adjust_meta(env: Environment, xdp_md: int, delta: int) -> int:
    packet = packet_of(env)
    meta = packet.meta + s32(delta)
    if meta < XDP_FRAME_BYTES or meta > packet.start:
        return -EINVAL
    size = packet.start - meta
    if size & 3 or size > _META_MAX_BYTES:
        return -EACCES
    packet.meta = meta
    packet.place()
    return 0


def _xdp_range(packet: Packet, offset: int, size: int) -> int:
    if offset > 0xFFFF or size > 0xFFFF:
        return -EFAULT
    return -EINVAL if offset + size > packet.length else 0


@helper
def bpf_xdp_load_bytes(env: Environment, xdp_md: int, offset: int, buf: int, len: int) -> int:
    packet, at, size = packet_of(env), u32(offset), u32(len)
    error = _xdp_range(packet, at, size)
    if not error:
        env.space.write(buf, packet.read(at, size) or b"")
    return error


@helper
def bpf_xdp_store_bytes(env: Environment, xdp_md: int, offset: int, buf: int, len: int) -> int:
    packet, at, size = packet_of(env), u32(offset), u32(len)
    error = _xdp_range(packet, at, size)
    if not error:
        packet.write(at, env.space.read(buf, size))
    return error


@helper
def bpf_xdp_get_buff_len(env: Environment, xdp_md: int) -> int:
    return packet_of(env).length


# ---- verdicts ----

@helper
def bpf_redirect(env: Environment, ifindex: int, flags: int) -> int:
    """Noted in `Run.redirect`; the verdict to return."""
    if packet_of(env).is_xdp:
        if flags:
            return XDP_ABORTED
        env.redirect = Redirect(u32(ifindex), flags)
        return XDP_REDIRECT
    if flags & ~1:
        return TC_ACT_SHOT
    env.redirect = Redirect(u32(ifindex), flags)
    return TC_ACT_REDIRECT


@helper
def bpf_redirect_map(env: Environment, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect` with the map's name; ``flags & 3`` is the verdict where there is no such entry."""
    targets = env.map(map)
    if not isinstance(targets, (Targets, DevMapHash)):
        raise MachineFault(f"bpf_redirect_map through {targets.name!r}, which holds no targets", access="call")
    if flags & ~(3 | targets.redirect_flags):
        return XDP_ABORTED
    index = u32(key).to_bytes(4, "little")
    found = targets.user_lookup(index)
    if isinstance(found, int):
        if not flags & BROADCAST:
            return flags & 3
        found = bytes(4)
    env.redirect = Redirect(int.from_bytes(found[:4], "little"), flags, map=targets.name)
    return XDP_REDIRECT


@helper
def bpf_redirect_peer(env: Environment, ifindex: int, flags: int) -> int:
    if flags:
        return TC_ACT_SHOT
    env.redirect = Redirect(u32(ifindex), 0, peer=True)
    return TC_ACT_REDIRECT


@helper
def bpf_redirect_neigh(env: Environment, ifindex: int, params: int, plen: int, flags: int) -> int:
    if (u32(plen) and u32(plen) < 20) or flags:
        return TC_ACT_SHOT
    env.redirect = Redirect(u32(ifindex), neighbour=True)
    return TC_ACT_REDIRECT


@helper
def bpf_clone_redirect(env: Environment, skb: int, ifindex: int, flags: int) -> int:
    """A copy of the packet as it is now, noted in `Run.clones`."""
    if flags & ~1:
        return -EINVAL
    env.clones.append((packet_of(env).data(), Redirect(u32(ifindex), flags)))
    return 0
