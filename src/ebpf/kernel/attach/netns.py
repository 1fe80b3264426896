"""Network namespaces: flow dissectors and socket look-ups (BPF links: Linux 5.8 and 5.9)."""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING

from ebpf.errors import AttachError, EbpfError, TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe, queried
from ebpf.kernel.attach.link import create

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, namespace: str = "/proc/self/ns/net") -> KernelLink:
    """Run `program` (a flow dissector, or sk_lookup) for the network namespace at path `namespace`."""
    try:
        fd = sys.OwnedFd(os.open(namespace, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise TargetNotFound(f"no network namespace {namespace}: {error.strerror}", name=namespace) from None

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to {namespace}", errno, needs=("CAP_BPF", "CAP_NET_ADMIN"))
        if errno in (_errno.EEXIST, _errno.EBUSY, _errno.E2BIG):
            return AttachError(f"{namespace} has a {program.type_name} program already",
                               notes=describe(queried(fd.fileno(), program.expected_attach_type)),
                               helps=("detach the link that holds it (`ebpf link list`)",))
        if errno == _errno.EINVAL:
            return TargetNotFound(f"{namespace} is no network namespace", name=namespace)
        return None

    try:
        return create(program, target_fd=fd.fileno(), attach_type=program.expected_attach_type, kind="netns",
                      target=namespace, explain=explain)
    finally:
        fd.close()
