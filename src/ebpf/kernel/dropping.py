"""Giving up privileges once everything is attached: capabilities, the user, what a new program could gain.

What is attached stays so: a descriptor is right enough to read maps and buffers. Only kernels before 5.19 want CAP_BPF
for reading maps where kernel.unprivileged_bpf_disabled is set; that is found out by trying.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.errors import PrivilegeError, UsageError
from ebpf.kernel import sys
from ebpf.kernel.privileges import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NR = {"x86_64": (125, 126), "aarch64": (90, 91)}  # capget, capset
_VERSION_3: Final = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 8, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_LAST_CAPABILITY: Final = 63


class Dropped(NamedTuple):
    """What is left: the user and group, and the capabilities that were kept."""

    uid: int
    gid: int
    kept: tuple[str, ...]


def drop(*, user: str | int | None = None, keep: Iterable[str] = (), maps: Iterable[int] = ()) -> Dropped:
    """Give up all capabilities but ``keep``, for good, and become ``user`` (name or uid).

    Without ``user`` it is whoever called sudo (SUDO_UID, SUDO_GID); else the user stays. ``maps`` are descriptors of
    those that are still to be read: where this kernel wants CAP_BPF for that, it is kept. Raises `UsageError` if this
    process has several threads (a capability belongs to a thread), if there is no such user, or it could not import
    what is imported late (Python below root's home), `PrivilegeError` if this process may not become that user.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise UsageError(f"this process has {threads} threads, and privileges belong to a thread: drop them before any "
                         "other is started")
    uid, gid, groups = _identity(user)
    kept = set(keep)
    unknown = kept - CAPABILITIES.keys()
    if unknown:
        raise UsageError(f"{', '.join(sorted(unknown))}: no capability that eBPF knows",
                         helps=(f"they are {', '.join(CAPABILITIES)}",))
    if _reading_needs_cap_bpf(list(maps)):
        kept.add("CAP_BPF")
    if uid != os.getuid() and (hidden := _unreadable(uid, gid, groups)):
        raise UsageError(f"user {uid} may not read {hidden}: what Python imports later would not be found", helps=(
            "install Python and the package where everybody may read them, or give up capabilities only: user root",))
    permitted = _capabilities()[1]
    mask = sum(1 << CAPABILITIES[name] for name in kept) & permitted
    for number in range(_LAST_CAPABILITY + 1):
        _prctl(_PR_CAPBSET_DROP, number)  # as far as this process may
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl(_PR_SET_KEEPCAPS, 1)
    if (uid, gid) != (os.getuid(), os.getgid()):
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except PermissionError as error:
            raise PrivilegeError("setresuid()", error.errno or 0, needs=("CAP_SETUID", "CAP_SETGID"),
                                 message=f"this process may not become user {uid}") from None
    _set_capabilities(mask, mask, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 1)  # or /proc/self would be root's from now on
    return Dropped(uid, gid, tuple(sorted(name for name in kept if mask >> CAPABILITIES[name] & 1)))


def _identity(user: str | int | None) -> tuple[int, int, list[int]]:
    if user is None:
        uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if os.geteuid() == 0 and uid.isdigit() and gid.isdigit() and uid != "0":
            return int(uid), int(gid), [int(gid)]
        return os.geteuid(), os.getegid(), []
    import pwd

    try:
        row = pwd.getpwuid(int(user)) if str(user).isdigit() else pwd.getpwnam(str(user))
    except KeyError:
        if str(user).isdigit():
            return int(user), int(user), []
        raise UsageError(f"there is no user {user!r}") from None
    return row.pw_uid, row.pw_gid, os.getgrouplist(row.pw_name, row.pw_gid)


def _unreadable(uid: int, gid: int, groups: list[int]) -> str:
    """The directory of Python's library, or of this package, that the user may not read; a fork tries. "" if none."""
    directories = [os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__))]
    child = os.fork()
    if child == 0:
        status = 255
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            status = next((i for i, d in enumerate(directories) if not os.access(d, os.R_OK | os.X_OK)), 255)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return directories[status] if 0 <= status < len(directories) else ""


def _reading_needs_cap_bpf(maps: list[int]) -> bool:
    """Whether the kernel refuses to look into maps without CAP_BPF; found out by doing without for a moment."""
    if not maps:
        return False
    effective, permitted, inheritable = _capabilities()
    _set_capabilities(0, permitted, inheritable)
    try:
        # No key: the first one is asked for. Whatever else may be wrong with the question, EPERM comes first.
        result, _ = sys.attempt("MAP_GET_NEXT_KEY", map_fd=maps[0])
        return result == -1
    finally:
        _set_capabilities(effective, permitted, inheritable)


def _capabilities() -> tuple[int, int, int]:
    """This thread's effective, permitted and inheritable capabilities, as bits."""
    data = (ctypes.c_uint32 * 6)()
    _capability_call(0, data)
    low, high = data[:3], data[3:]
    return tuple(a | b << 32 for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    low = [n & 0xFFFFFFFF for n in (effective, permitted, inheritable)]
    _capability_call(1, (ctypes.c_uint32 * 6)(*low, *(n >> 32 for n in (effective, permitted, inheritable))))


def _capability_call(which: int, data: ctypes.Array[ctypes.c_uint32]) -> None:
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    result = sys.system_call(_NR[os.uname().machine][which], ctypes.addressof(header), ctypes.addressof(data))
    if result < 0:
        raise sys.failure("capset()" if which else "capget()", -result)


def _prctl(option: int, argument: int) -> None:
    """What cannot be done (a capability that this kernel has not, a bounding set that is not ours) is no mistake."""
    sys.prctl(option, argument)
