"""Static probes of user programs (USDT): a uprobe at each place of the probe; the kernel keeps its semaphore (4.20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.binaries.find import find_binary
from ebpf.binaries.usdt import find_usdt
from ebpf.kernel.attach import uprobe
from ebpf.kernel.attach.link import LinkGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, binary: str, name: str, *, provider: str = "", pid: int | None = None,
           cookie: int | None = None, cookies: Sequence[int] = ()) -> LinkGroup:
    """Run `program` wherever the static probe `name` of `binary` (a path, a library's short name or a program on PATH)
    is hit: all places or none.

    `cookies` gives each place, in the order of the notes, one of its own. `pid`: in that process only.
    `TargetNotFound` lists the probes that the file has.
    """
    path = find_binary(binary, pid)
    target = f"{path}:{provider}:{name}" if provider else f"{path}:{name}"
    links: list[KernelLink] = []
    try:
        for i, place in enumerate(find_usdt(path, name, provider)):
            links.append(uprobe.attach_at(program, path, place.offset, pid=pid, ref_ctr_offset=place.semaphore,
                                          cookie=cookies[i] if cookies else cookie, target=target))
    except BaseException:
        for link in links:
            link.detach()
        raise
    return LinkGroup(links, kind="usdt", target=target, program=program.name)
