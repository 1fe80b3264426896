"""Maps of sockets and of control groups: what is in them, and which socket a program chose (`Run.redirect`)."""

from __future__ import annotations

from errno import EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.environment import Redirect
from ebpf.machine.helpers.table import helper, u32
from ebpf.machine.maps.sockets import CgroupArray, ReuseportArray, SockHash, SockMap

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

_SK_DROP, _SK_PASS = 0, 1
_INGRESS = 1


# ---- control groups ----


def _under(env: Environment, map: int, index: int) -> int:
    found = env.map(map)
    if not isinstance(found, CgroupArray):
        raise MachineFault(f"map {found.name!r} is no array of control groups", access="call")
    return found.holds_task(u32(index))


@helper
def bpf_current_task_under_cgroup(env: Environment, map: int, index: int) -> int:
    return _under(env, map, index)


@helper
def bpf_skb_under_cgroup(env: Environment, skb: int, map: int, index: int) -> int:
    """A packet's control group is the task's."""
    return _under(env, map, index)


# ---- sockets ----


def _sockets(env: Environment, map: int) -> SockMap:
    found = env.map(map)
    if not isinstance(found, SockMap):
        raise MachineFault(f"map {found.name!r} holds no sockets", access="call")
    return found


def _redirect(env: Environment, map: int, key: bytes, flags: int) -> int:
    sockets = _sockets(env, map)
    found = sockets.socket(key)
    if flags & ~_INGRESS or found is None:
        return _SK_DROP
    env.redirect = Redirect(found, flags, map=sockets.name)
    return _SK_PASS


def _index(key: int) -> bytes:
    return u32(key).to_bytes(4, "little")


@helper
def bpf_sk_redirect_map(env: Environment, skb: int, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect`; nothing is sent."""
    return _redirect(env, map, _index(key), flags)


@helper
def bpf_msg_redirect_map(env: Environment, msg: int, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect`; nothing is sent."""
    return _redirect(env, map, _index(key), flags)


@helper
def bpf_sk_redirect_hash(env: Environment, skb: int, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect`; nothing is sent."""
    return _redirect(env, map, env.space.read(key, env.map(map).key_size), flags)


@helper
def bpf_msg_redirect_hash(env: Environment, msg: int, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect`; nothing is sent."""
    return _redirect(env, map, env.space.read(key, env.map(map).key_size), flags)


def _add(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    sockets = _sockets(env, map)
    if isinstance(sockets, ReuseportArray):
        return -EINVAL
    return sockets.add_socket(env.space.read(key, sockets.key_size), skops, flags)


@helper
def bpf_sock_map_update(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    """The connection is known by the address of its context."""
    return _add(env, skops, map, key, flags)


@helper
def bpf_sock_hash_update(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    """The connection is known by the address of its context."""
    if not isinstance(env.map(map), SockHash):
        return -EINVAL
    return _add(env, skops, map, key, flags)


@helper
def bpf_sk_select_reuseport(env: Environment, reuse: int, map: int, key: int, flags: int) -> int:
    """Noted in `Run.redirect`."""
    sockets = _sockets(env, map)
    if flags:
        return -EINVAL
    found = sockets.socket(env.space.read(key, sockets.key_size))
    if found is None:
        return -ENOENT
    env.redirect = Redirect(found, 0, map=sockets.name)
    return 0
