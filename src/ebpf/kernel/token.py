"""BPF tokens (Linux 6.9): what an administrator has delegated to a user namespace through a bpffs of its own.

A bpffs that was mounted with ``delegate_cmds=…,delegate_maps=…,delegate_progs=…,delegate_attachs=…`` gives whoever
has CAP_BPF in its user namespace a descriptor that stands for these rights. Creating maps and loading programs and
types take it; where they are refused without, they are tried again with it. The variable EBPF_TOKEN_PATH (or libbpf's
own, LIBBPF_BPF_TOKEN_PATH) names the mount, /sys/fs/bpf is the default; an empty one means none.
"""

from __future__ import annotations

import os
from typing import Final

from ebpf.kernel import sys

_VARIABLES: Final = ("EBPF_TOKEN_PATH", "LIBBPF_BPF_TOKEN_PATH")
_DEFAULT: Final = "/sys/fs/bpf"
_BPF_F_TOKEN_FD: Final = 1 << 16
#: Command → the members that take the flag and the descriptor.
_MEMBERS: Final = {"MAP_CREATE": ("map_flags", "map_token_fd"), "PROG_LOAD": ("prog_flags", "prog_token_fd"),
                   "BTF_LOAD": ("btf_flags", "btf_token_fd")}

_token: sys.OwnedFd | None = None
_path: str | None = None  # where the last token, or the refusal of one, came from


def path() -> str:
    """The mount that is asked for a token; "" for none."""
    return next((os.environ[v] for v in _VARIABLES if v in os.environ), _DEFAULT)


def members(command: str, flags: int | bytes | None) -> dict[str, int | bytes] | None:
    """What ``command`` is given besides for it to use the token; None where it takes none, or there is none."""
    names = _MEMBERS.get(command)
    fd = _fileno() if names is not None else None
    if names is None or fd is None:
        return None
    return {names[0]: (flags if isinstance(flags, int) else 0) | _BPF_F_TOKEN_FD, names[1]: fd}


def flags_member(command: str) -> str | None:
    """The member of ``command`` that says that there is a token."""
    names = _MEMBERS.get(command)
    return names[0] if names is not None else None


def available() -> bool:
    """Whether this process has been delegated anything."""
    return _fileno() is not None


def _fileno() -> int | None:
    global _token, _path
    wanted = path()
    if wanted != _path:
        _path, _token = wanted, _create(wanted)
    return _token.fileno() if _token is not None else None


def _create(mount: str) -> sys.OwnedFd | None:
    if not mount:
        return None
    try:
        directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        result, _ = sys.attempt("TOKEN_CREATE", flags=0, bpffs_fd=directory)
    finally:
        os.close(directory)
    # Refused: no such command, no bpffs, nothing delegated, another user namespace.
    return sys.OwnedFd(result) if result >= 0 else None
