"""Storage that belongs to tasks, sockets, inodes and control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.helpers.table import helper
from ebpf.machine.maps.storages import CgroupStorage, LocalStorage

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

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
    """By thread id: it stays when the task has ended."""
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
    """The value of the task's control group, made when it is asked for first."""
    found = env.map(map)
    if not isinstance(found, CgroupStorage):
        raise MachineFault(f"map {found.name!r} is no storage of control groups", access="call")
    return found.local_storage()
