"""Storage of tasks, sockets, inodes and control groups; maps of sockets and control groups."""

from __future__ import annotations

from errno import EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.environment import Redirect
from ebpf.machine.helpers.table import helper, u32
from ebpf.machine.maps.sockets import CgroupArray, ReuseportArray, SockHash, SockMap
from ebpf.machine.maps.storages import CgroupStorage, LocalStorage

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

_SK_DROP, _SK_PASS = 0, 1
_INGRESS = 1


@helper
def bpf_get_current_task_btf(env: Environment) -> int:
    """An address that stands for the task; nothing can be read there."""
    return env.task.address or env.owner("task", env.task.tid)


def _storage(env: Environment, map: int) -> LocalStorage:
    found = env.map(map)
    if not isinstance(found, LocalStorage):
        raise MachineFault(f"map {found.name!r} is no local storage", access="call")
    return found


def _owner(env: Environment, storage: LocalStorage, pointer: int) -> int:
    # A task that a tracer knows by its kernel's address is the user's by its thread id.
    if storage.kind == "task" and pointer and pointer == env.task.address:
        return env.owner("task", env.task.tid)
    return pointer


def _get(env: Environment, map: int, owner: int, value: int, flags: int) -> int:
    storage = _storage(env, map)
    initial = env.space.read(value, storage.value_size) if value else None
    return storage.storage_get(_owner(env, storage, owner), initial, flags)


def _delete(env: Environment, map: int, owner: int) -> int:
    storage = _storage(env, map)
    return storage.storage_delete(_owner(env, storage, owner))


@helper
def bpf_task_storage_get(env: Environment, map: int, task: int, value: int, flags: int) -> int:
    return _get(env, map, task, value, flags)


@helper
def bpf_task_storage_delete(env: Environment, map: int, task: int) -> int:
    return _delete(env, map, task)


@helper
def bpf_sk_storage_get(env: Environment, map: int, sk: int, value: int, flags: int) -> int:
    return _get(env, map, sk, value, flags)


@helper
def bpf_sk_storage_delete(env: Environment, map: int, sk: int) -> int:
    return _delete(env, map, sk)


@helper
def bpf_inode_storage_get(env: Environment, map: int, inode: int, value: int, flags: int) -> int:
    return _get(env, map, inode, value, flags)


@helper
def bpf_inode_storage_delete(env: Environment, map: int, inode: int) -> int:
    return _delete(env, map, inode)


@helper
def bpf_cgrp_storage_get(env: Environment, map: int, cgroup: int, value: int, flags: int) -> int:
    return _get(env, map, cgroup, value, flags)


@helper
def bpf_cgrp_storage_delete(env: Environment, map: int, cgroup: int) -> int:
    return _delete(env, map, cgroup)


@helper
def bpf_get_local_storage(env: Environment, map: int, flags: int) -> int:
    found = env.map(map)
    if not isinstance(found, CgroupStorage):
        raise MachineFault(f"map {found.name!r} is no storage of control groups", access="call")
    return found.local_storage()


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
    return _redirect(env, map, _index(key), flags)


@helper
def bpf_msg_redirect_map(env: Environment, msg: int, map: int, key: int, flags: int) -> int:
    return _redirect(env, map, _index(key), flags)


@helper
def bpf_sk_redirect_hash(env: Environment, skb: int, map: int, key: int, flags: int) -> int:
    return _redirect(env, map, env.space.read(key, env.map(map).key_size), flags)


@helper
def bpf_msg_redirect_hash(env: Environment, msg: int, map: int, key: int, flags: int) -> int:
    return _redirect(env, map, env.space.read(key, env.map(map).key_size), flags)


def _add(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    sockets = _sockets(env, map)
    if isinstance(sockets, ReuseportArray):
        return -EINVAL
    # Of a connection, the machine knows the context alone: that is its number.
    return sockets.add_socket(env.space.read(key, sockets.key_size), skops, flags)


@helper
def bpf_sock_map_update(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    return _add(env, skops, map, key, flags)


@helper
def bpf_sock_hash_update(env: Environment, skops: int, map: int, key: int, flags: int) -> int:
    if not isinstance(env.map(map), SockHash):
        return -EINVAL
    return _add(env, skops, map, key, flags)


@helper
def bpf_sk_select_reuseport(env: Environment, reuse: int, map: int, key: int, flags: int) -> int:
    sockets = _sockets(env, map)
    if flags:
        return -EINVAL
    found = sockets.socket(env.space.read(key, sockets.key_size))
    if found is None:
        return -ENOENT
    env.redirect = Redirect(found, 0, map=sockets.name)
    return 0
