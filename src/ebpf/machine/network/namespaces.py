"""Network namespaces without root: making them (in a process of ours that has one thread), and entering one."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

NEW_USER, NEW_NET = 0x10000000, 0x40000000
_PR_CAP_AMBIENT, _AMBIENT_RAISE = 47, 2
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_CAP_NET_BIND_SERVICE, _CAP_NET_ADMIN, _CAP_NET_RAW = 10, 12, 13
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def unshare(flags: int) -> None:
    """Leave those namespaces for new ones. (os.unshare came with Python 3.12.)"""
    _checked(_libc.unshare(flags))


def set_namespace(fd: int, kind: int) -> None:
    """Enter the namespace behind ``fd``."""
    _checked(_libc.setns(fd, kind))


def own_user_namespace() -> None:
    """Enter a new user namespace in which we are who we were, with every capability over what we make in it."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(NEW_USER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


class Inside(NamedTuple):
    """A way into a network namespace; ``user`` is -1 where no user namespace was needed. Call it in a process with one
    thread (between fork and exec)."""

    user: int
    net: int

    def __call__(self) -> None:
        if self.user >= 0:
            set_namespace(self.user, NEW_USER)
        set_namespace(self.net, NEW_NET)
        if self.user >= 0 and os.geteuid():
            _keep_capabilities()


def end_with_parent() -> None:
    """This process is killed when the thread that started it ends, however that comes; call it last before exec."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))


def _keep_capabilities() -> None:
    """Whoever is not root loses capabilities by exec, but the ambient ones: what ping and tcpdump need stays."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for capabilities above 31
    _checked(_libc.capget(header, data))
    data[2], data[5] = data[1], data[4]
    _checked(_libc.capset(header, data))
    for capability in (_CAP_NET_BIND_SERVICE, _CAP_NET_ADMIN, _CAP_NET_RAW):
        _checked(_libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, capability, 0, 0))
