"""Names of hooks → what a tracer can watch, and for those that only a kernel has, which hook would do.

A function of the kernel is a hook here if a system call enters it at once: ``__x64_sys_clone`` (``sys_clone``),
``ksys_read``, and a few whose arguments are the call's own (`_INNER`). Everything deeper, ``vfs_read``,
``tcp_v4_connect``, exists only inside a kernel: nobody could say from outside when it runs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ebpf.abi.syscalls import kernel_function_of, number_of, plain_name, syscall_names
from ebpf.abi.tracepoints import tracepoint_fields, tracepoints
from ebpf.diagnostics import did_you_mean
from ebpf.errors import NotSupported, TargetNotFound

WHO = "the userspace machine"


class Function(NamedTuple):
    """A kernel function that system calls ``numbers`` enter.

    ``arguments`` ``None``: its only argument is the user's registers (the wrapper's way). Otherwise it has its own, by
    the call that enters it, each a rule: the number of the call's argument, or a name that `contexts` knows.
    """

    name: str
    numbers: tuple[int, ...]
    arguments: dict[int, tuple[int | str, ...]] | None


# Functions behind several calls: call → its arguments in the function's order. Names stand for what the kernel puts
# there: AT_FDCWD, the flags that creat(2) means, a struct open_how made of the call's arguments.
_INNER: dict[str, dict[str, tuple[int | str, ...]]] = {
    "do_sys_open": {"open": ("at_fdcwd", 0, 1, 2), "openat": (0, 1, 2, 3), "creat": ("at_fdcwd", 0, "creat_flags", 1)},
    "do_sys_openat2": {"open": ("at_fdcwd", 0, "open_how"), "openat": (0, 1, "openat_how"),
                       "creat": ("at_fdcwd", 0, "creat_how"), "openat2": (0, 1, "openat2_how")},
}
_WRAPPERS = ("__x64_sys_", "__arm64_sys_", "sys_")

# What people attach to inside the kernel → the hook here that shows the same from a command's side.
_INSTEAD: dict[str, str] = {function: hook for hook, functions in {
    "syscalls:sys_enter_read": "vfs_read",
    "syscalls:sys_enter_readv": "vfs_readv",
    "syscalls:sys_enter_write": "vfs_write",
    "syscalls:sys_enter_writev": "vfs_writev",
    "syscalls:sys_enter_openat": "vfs_open do_filp_open vfs_create",
    "syscalls:sys_enter_fsync": "vfs_fsync vfs_fsync_range",
    "syscalls:sys_enter_newfstatat": "vfs_statx",
    "syscalls:sys_enter_unlinkat": "vfs_unlink do_unlinkat",
    "syscalls:sys_enter_rename": "vfs_rename",
    "syscalls:sys_enter_renameat2": "do_renameat2",
    "syscalls:sys_enter_mkdir": "vfs_mkdir do_mkdirat",
    "syscalls:sys_enter_connect": "tcp_v4_connect tcp_v6_connect tcp_connect tcp_set_state "
                                  "sock:inet_sock_set_state",
    "syscalls:sys_exit_accept4": "inet_csk_accept",
    "syscalls:sys_enter_listen": "inet_listen",
    "syscalls:sys_enter_bind": "inet_bind",
    "syscalls:sys_enter_sendto": "tcp_sendmsg udp_sendmsg",
    "syscalls:sys_enter_recvfrom": "tcp_recvmsg udp_recvmsg",
    "syscalls:sys_exit_recvfrom": "tcp_cleanup_rbuf",
    "syscalls:sys_enter_close": "tcp_close",
    "syscalls:sys_enter_shutdown": "inet_shutdown",
    "sched:sched_process_fork": "kernel_clone _do_fork sched_fork sched:sched_wakeup_new",
    "task:task_newtask": "wake_up_new_task",
    "syscalls:sys_enter_execve": "do_execve do_execveat_common",
    "sched:sched_process_exec": "bprm_execve begin_new_exec",
    "sched:sched_process_exit": "do_exit do_group_exit sched:sched_process_free",
    "syscalls:sys_enter_clock_nanosleep": "do_nanosleep hrtimer_nanosleep",
    "syscalls:sys_enter_mmap": "do_mmap",
    "syscalls:sys_enter_kill": "do_send_sig_info signal:signal_generate",
    "syscalls:sys_enter_futex": "do_futex",
    "syscalls:sys_enter_sync": "sync_filesystem",
    "syscalls:sys_enter_mount": "mount_setattr path_mount",
}.items() for function in functions.split()}
# Functions whose names speak of a system call that has nothing to do with them.
_MISLEADING = frozenset(("oom_kill_process", "cap_capable"))


def find_function(name: str, arch: str) -> Function:
    """What a kprobe on ``name`` means here. `NotSupported` for what only a kernel has."""
    inner = _INNER.get(name)
    if inner is not None:
        calls = {number: rules for call, rules in inner.items() if (number := number_of(call, arch)) is not None}
        return Function(name, tuple(calls), calls)
    call = plain_name(name)
    number = None if call is None else number_of(call, arch)
    if call is not None and number is not None:
        if name.startswith(_WRAPPERS):
            return Function(name, (number,), None)
        return Function(name, (number,), {number: (0, 1, 2, 3, 4, 5)})
    if call is not None and name.startswith(_WRAPPERS):
        similar = did_you_mean(call, syscall_names(arch).values())
        prefix = name[:len(name) - len(call)]
        raise TargetNotFound(f"there is no system call {call!r}", name=name, similar=[prefix + s for s in similar],
                             helps=(f"similar: {', '.join(prefix + s for s in similar)}",) if similar else ())
    raise only_in_a_kernel("kernel function", name, arch)


def only_in_a_kernel(what: str, name: str, arch: str) -> NotSupported:
    """The answer for a hook that nothing outside a kernel can watch."""
    instead = _INSTEAD.get(name) or _nearest(name, arch)
    return NotSupported(
        f"the {what} {name}", who=WHO, notes=("it runs inside a kernel; a traced command shows what it asks of one",),
        instead=f"attach to tracepoint:{instead} instead" if instead else
        "run as root to use the kernel, or attach to a tracepoint of system calls (syscalls:sys_enter_…)")


def _nearest(name: str, arch: str) -> str | None:
    """The system call that a kernel function's name speaks of: ``xfs_file_read_iter`` of read."""
    if name in _MISLEADING:
        return None
    for word in re.split(r"[_:.]", name):
        for call in (word, word.removesuffix("at"), word.removesuffix("v"), word.removesuffix("msg")):
            if call in ("fork", "clone", "exec", "exit"):
                return f"sched:sched_process_{'fork' if call == 'clone' else call}"
            function = kernel_function_of(call)
            if number_of(call, arch) is not None and tracepoint_fields("syscalls", f"sys_enter_{function}"):
                return f"syscalls:sys_enter_{function}"
    return None


def check_tracepoint(category: str, name: str, arch: str) -> None:
    """Refuse a tracepoint that is not there: `TargetNotFound` for a typo, `NotSupported` for a kernel's own."""
    if tracepoint_fields(category, name) is not None:
        return
    if category in ("syscalls", "raw_syscalls"):
        similar = did_you_mean(f"{category}:{name}", tracepoints())
        raise TargetNotFound(f"there is no tracepoint {category}:{name}", name=f"{category}:{name}", similar=similar,
                             helps=(f"similar: {', '.join(similar)}",) if similar else ())
    raise only_in_a_kernel("tracepoint", f"{category}:{name}", arch)
