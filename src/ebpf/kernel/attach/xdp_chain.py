"""An XDP program as a member of a device's chain (`ebpf.kernel.xdp_chain`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.errors import AttachError
from ebpf.kernel import sys, xdp_chain
from ebpf.kernel.attach import xdp
from ebpf.kernel.attach.conflict import describe
from ebpf.kernel.attach.janitor import Janitor
from ebpf.kernel.attach.link import KernelLink, iter_links
from ebpf.kernel.netlink import xdp_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.kernel.programs import KernelProgram
    from ebpf.kernel.xdp_chain import Chain


class ChainLink(KernelLink):
    """A member's place. Detaching takes it out first, then lets go of the chain."""

    __slots__ = ("chain",)

    def __init__(self, fds: tuple[int, ...], chain: Chain, *, target: str, program: str,
                 after: Callable[[], object]) -> None:
        super().__init__(fds, kind="xdp", target=target, program=program, is_bpf_link=False, after=after)
        self.chain = chain

    def members(self) -> list[int]:
        """Ids of the programs on the device, in the order in which they run."""
        return self.chain.ids()


def attach(load: Callable[[Chain, int], KernelProgram], device: str | int, priority: int, *,
           flags: int = 0) -> ChainLink:
    """Add the program that ``load`` gives for a chain and a slot; lower priorities run first, equals as they came.

    `AttachError` if the device runs a program that is no chain of ours, or has sixteen members.
    """
    index = xdp.device_index(device)
    with xdp_chain.locked(index):
        running = xdp_program(index)
        chain = xdp_chain.find(running) if running else None
        if chain is None:
            chain, dispatcher = xdp_chain.make()
            with dispatcher:
                holder = xdp.attach(dispatcher, device, flags=flags)  # names who is there, if somebody is
            fd, holder._fds = holder._fds[0], ()
        else:
            fd = _link_of(running, device)
        try:
            return _join(chain, fd, load, index, device, priority)
        except BaseException:
            sys.OwnedFd(fd).close()
            chain.close()
            raise


def _link_of(program_id: int, device: str | int) -> int:
    """A descriptor of our own of the link that holds the dispatcher."""
    for info in iter_links():
        if info.type == "xdp" and info.prog_id == program_id:
            return sys.call("LINK_GET_FD_BY_ID", id=info.id)
    raise AttachError(f"the chain of XDP programs on {device} is just being taken down", helps=("try again",))


def _join(chain: Chain, fd: int, load: Callable[[Chain, int], KernelProgram], index: int, device: str | int,
          priority: int) -> ChainLink:
    slot = chain.free_slot()
    if not slot:
        raise AttachError(f"{device} has {xdp_chain.MEMBERS} XDP programs in its chain: no more fit",
                          notes=describe(chain.ids()))
    with load(chain, slot) as member:
        fds = (chain.members.fileno(), chain.order.fileno())
        janitor = Janitor("xdp_chain", index, *fds, slot, member.info().id, fds=fds)
        try:
            chain.insert(slot, member.fileno(), priority)
        except BaseException:
            janitor.dismiss()
            raise
        link = janitor.link(kind="xdp", target=str(device), program=member.name)
    door, wait = link.fileno(), link._after
    link._fds, link._after = (), None

    def after() -> None:
        if wait is not None:
            wait()  # the janitor takes the member out; then the chain may go
        sys.OwnedFd(fd).close()
        chain.close()

    return ChainLink((door,), chain, target=f"{device} (chain, priority {priority})", program=member.name, after=after)
