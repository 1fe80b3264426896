"""Sockmaps and sockhashes (BPF links: Linux 6.10): programs for the messages of the sockets that a map holds."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.errors import AttachError, EbpfError, NotSupported
from ebpf.kernel.attach.link import create

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.maps import KernelMap
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, map: KernelMap) -> KernelLink:
    """Run `program` (sk_msg or sk_skb, as its section says) for the sockets that are put into `map` from now on, until
    they are taken out: a socket keeps the programs of the moment. One program of each kind.

    Older kernels have only attachments that outlive their process, which we do not make.
    """

    def explain(errno: int) -> EbpfError | None:
        if errno in (_errno.EBUSY, _errno.EEXIST):
            return AttachError(f"map {map.name!r} has such a program already")
        if errno == _errno.EINVAL:
            return NotSupported(f"links of sockmaps (map {map.name!r})", since="6.10")
        return None

    return create(program, target_fd=map.fileno(), attach_type=program.expected_attach_type, kind="sockmap",
                  target=map.name, explain=explain)
