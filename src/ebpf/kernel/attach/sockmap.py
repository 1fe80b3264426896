"""Sockmaps and sockhashes: programs for the messages of the sockets that a map holds.

By BPF link (Linux 6.10); before that by BPF_PROG_ATTACH, with a janitor that takes the program off when we end.
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, EbpfError, NotSupported
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe, queried
from ebpf.kernel.attach.janitor import Janitor
from ebpf.kernel.attach.link import create, refused

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.maps import KernelMap
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, map: KernelMap) -> KernelLink:
    """Run `program` (sk_msg or sk_skb, as its section says) for the sockets that are put into `map` from now on, until
    they are taken out: a socket keeps the programs of the moment. One program of each kind.
    """
    attach_type = program.expected_attach_type or (AttachType.SK_MSG_VERDICT if program.type == ProgType.SK_MSG else
                                                   AttachType.SK_SKB_STREAM_VERDICT)

    def explain(errno: int) -> EbpfError | None:
        if errno in (_errno.EBUSY, _errno.EEXIST):
            return AttachError(f"map {map.name!r} has such a program already",
                               notes=describe(queried(map.fileno(), attach_type)))
        if errno == _errno.EINVAL:
            return NotSupported(f"links of sockmaps (map {map.name!r})", since="6.10")
        return None

    try:
        return create(program, target_fd=map.fileno(), attach_type=attach_type, kind="sockmap", target=map.name,
                      explain=explain)
    except NotSupported:
        return _without_link(program, map, attach_type)


def _without_link(program: KernelProgram, map: KernelMap, attach_type: int) -> KernelLink:
    # BPF_PROG_ATTACH would replace what is there.
    if there := queried(map.fileno(), attach_type):
        raise AttachError(f"map {map.name!r} has such a program already", notes=describe(there))
    janitor = Janitor("program", map.fileno(), attach_type, program.fileno(), fds=(map.fileno(), program.fileno()))
    result, _ = sys.attempt("PROG_ATTACH", target_fd=map.fileno(), attach_bpf_fd=program.fileno(),
                            attach_type=attach_type)
    if result < 0:
        janitor.dismiss()
        raise refused(program, "sockmap", map.name, -result, needs=("CAP_NET_ADMIN",))
    return janitor.link(kind="sockmap", target=map.name, program=program.name)
