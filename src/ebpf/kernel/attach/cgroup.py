"""Control groups (version 2): programs for the packets, sockets, system calls of all processes in a group.

By BPF link, Linux 5.7: older kernels have only attachments that outlive their process, which we do not make.
"""

from __future__ import annotations

import errno as _errno
import os
import struct
from typing import TYPE_CHECKING

from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe, queried
from ebpf.kernel.attach.link import create
from ebpf.kernel.attach.tcx import place

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.attach.tcx import Anchor
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, cgroup: str | int, *, attach_type: int | None = None, before: Anchor = None,
           after: Anchor = None) -> KernelLink:
    """Run `program` for the control group at path `cgroup` (or an open descriptor) and those below.

    `attach_type` where the program's section does not say it (``cgroup/skb``). Several programs may be attached at
    once, in the order of their coming, or `before` or `after` another one that is there (its link, the program or its
    id; 0: the very front, the very end; Linux 6.17).
    """
    wanted = program.expected_attach_type if attach_type is None else attach_type
    owned = None
    if isinstance(cgroup, str):
        try:
            owned = sys.OwnedFd(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise TargetNotFound(f"no control group {cgroup}: {error.strerror}", name=cgroup) from None
    fd = owned.fileno() if owned is not None else int(cgroup)

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.EPERM and (there := queried(fd, wanted)):
            return AttachError(f"{cgroup} has a program that lets no other beside it", notes=describe(there))
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to {cgroup}", errno, needs=("CAP_BPF", "CAP_NET_ADMIN"))
        if errno == _errno.EBADF:
            return AttachError(f"{cgroup} is not a version 2 control group",
                               helps=("mount -t cgroup2 none /sys/fs/cgroup; version 1 takes no programs",))
        if errno == _errno.EINVAL and flags:
            return NotSupported("an order among programs of a control group", since="6.17",
                                instead="attach them in that order")
        if errno == _errno.ENOENT and flags:
            return AttachError(f"the program that {program.name!r} should stand {'before' if before else 'after'} is "
                               f"not attached to {cgroup}")
        return None

    flags, relative = place(before, after)
    try:
        return create(program, target_fd=fd, attach_type=wanted, kind="cgroup", target=str(cgroup), explain=explain,
                      flags=flags, extra=struct.pack("@IxxxxQ", relative, 0) if flags else b"")
    finally:
        if owned is not None:
            owned.close()
