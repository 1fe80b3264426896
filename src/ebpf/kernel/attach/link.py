"""The link: what holds a program to its hook.

A link is a file descriptor (a BPF link, or a perf event). It is detached by `KernelLink.detach`, at the end of
``with``, when nobody refers to it any more, and by the kernel when the process ends, however it ends; unless it was
pinned.
"""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING, Any

from ebpf.errors import AttachError, EbpfError, KernelError, NotSupported
from ebpf.kernel import maps, sys
from ebpf.kernel.attach.link_info import LinkInfo as LinkInfo, link_info as link_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ebpf.kernel.programs import KernelProgram


class KernelLink:
    """A program that is attached. `kind` is the hook's name (``"kprobe"``), `target` what it is attached to.

    `fds` are owned. `is_bpf_link` says whether the first is a BPF link: only those can be pinned and have an id.
    """

    __slots__ = ("__weakref__", "_after", "_fds", "is_bpf_link", "kind", "program", "target")

    def __init__(self, fds: Iterable[int], *, kind: str, target: str, program: str, is_bpf_link: bool,
                 after: Callable[[], Any] | None = None) -> None:
        self._fds = tuple(fds)
        self._after = after
        self.kind = kind
        self.target = target
        self.program = program
        self.is_bpf_link = is_bpf_link

    def __repr__(self) -> str:
        state = "" if self._fds else " (detached)"
        return f"<KernelLink {self.program} on {self.kind} {self.target}{state}>"

    def fileno(self) -> int:
        """The BPF link's or the perf event's descriptor; -1 once detached."""
        return self._fds[0] if self._fds else -1

    @property
    def attached(self) -> bool:
        """Whether we still hold it (a pinned one stays attached in the kernel beyond that)."""
        return bool(self._fds)

    def detach(self) -> None:
        """Take the program off its hook; doing so again is harmless. A pinned link stays: remove its pin."""
        fds, self._fds = self._fds, ()
        after, self._after = self._after, None
        for fd in fds:
            os.close(fd)
        if after is not None:
            after()

    close = detach

    def __enter__(self) -> KernelLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def __del__(self) -> None:
        if getattr(self, "_fds", ()):
            try:
                self.detach()
            except (OSError, TypeError, EbpfError):  # the interpreter may be half gone
                pass

    def pin(self, path: str) -> None:
        """Keep the program attached beyond this process, by a name on a BPF file system. Only BPF links can."""
        if not self.is_bpf_link:
            raise NotSupported(f"pinning a {self.kind} attachment that is no BPF link", since="5.15")
        maps.pin(self.fileno(), path)

    def update(self, program: KernelProgram) -> None:
        """Let another program of the same type take the place of ours at once, nothing missed in between (BPF links:
        Linux 5.7; not those of tracing and perf events).
        """
        if not self.is_bpf_link:
            raise NotSupported(f"changing the program of a {self.kind} attachment that is no BPF link",
                               instead="attach the new one, then detach this one")
        result, _ = sys.attempt("LINK_UPDATE", link_fd=self.fileno(), new_prog_fd=program.fileno())
        if result in (-_errno.ENOLINK, -_errno.ENODEV):
            raise AttachError(f"{self.kind} {self.target} is gone, and the attachment with it",
                              helps=("detach this link; attach anew when there is one again",))
        if result in (-_errno.EINVAL, -_errno.EOPNOTSUPP, -sys.ENOTSUPP):
            raise NotSupported(f"changing the program of a {self.kind} link", notes=(
                f"the kernel cannot, or {program.name!r} was loaded for something else",),
                instead="attach the new one, then detach this one")
        if result < 0:
            raise sys.failure("bpf(BPF_LINK_UPDATE)", -result, needs=("CAP_BPF",))
        self.program = program.name

    def info(self) -> LinkInfo | None:
        """What the kernel tells about it; None for a perf event without a BPF link."""
        return link_info(self.fileno()) if self.is_bpf_link else None


class LinkGroup(KernelLink):
    """Several links that come and go together (one program on many functions or CPUs).

    `functions` names those that it is attached to, where they are functions.
    """

    __slots__ = ("functions", "links")

    def __init__(self, links: Iterable[KernelLink], *, kind: str, target: str, program: str,
                 functions: Iterable[str] = ()) -> None:
        self.links = tuple(links)
        # One link is a group, too, that can be pinned and looked at.
        super().__init__((), kind=kind, target=target, program=program,
                         is_bpf_link=len(self.links) == 1 and self.links[0].is_bpf_link)
        self.functions = tuple(functions)

    @property
    def attached(self) -> bool:
        return any(link.attached for link in self.links)

    def fileno(self) -> int:
        return self.links[0].fileno() if self.links else -1

    def detach(self) -> None:
        for link in self.links:
            link.detach()

    close = detach

    def __repr__(self) -> str:
        return f"<LinkGroup {self.program} on {len(self.links)} × {self.kind} {self.target}>"

    def __enter__(self) -> LinkGroup:
        return self


def iter_links() -> Iterator[LinkInfo]:
    """Every BPF link in the kernel (needs CAP_SYS_ADMIN; Linux 5.8)."""
    for id in maps.iter_ids("LINK"):
        try:
            fd = sys.OwnedFd(sys.call("LINK_GET_FD_BY_ID", id=id))
        except KernelError as error:
            if error.errno == _errno.ENOENT:  # gone in the meantime
                continue
            raise
        yield link_info(fd.fileno())


def open_link_by_id(id: int) -> KernelLink:
    """The link with that id. Closing ours does not detach it while its owner holds it."""
    return _opened(sys.call("LINK_GET_FD_BY_ID", id=id), f"link {id}")


def open_pinned_link(path: str) -> KernelLink:
    """The link that is pinned under `path`."""
    name = os.fsencode(path) + b"\0"
    return _opened(sys.call("OBJ_GET", pathname=sys.address_of(name)), path)


def _opened(fd: int, target: str) -> KernelLink:
    info = link_info(fd)
    return KernelLink((fd,), kind=info.type, target=info.target or target, program=f"program {info.prog_id}",
                      is_bpf_link=True)


def create(program: KernelProgram, *, target_fd: int, attach_type: int, kind: str, target: str, flags: int = 0,
           extra: bytes = b"", explain: Callable[[int], EbpfError | None] | None = None) -> KernelLink:
    """BPF_LINK_CREATE. `explain` words an errno of this hook's own; the rest are worded here."""
    result, _ = sys.attempt("LINK_CREATE", prog_fd=program.fileno(), target_fd=target_fd & 0xFFFFFFFF,
                            attach_type=attach_type, flags=flags, extra=extra)
    if result < 0:
        raise (explain(-result) if explain else None) or refused(program, kind, target, -result)
    return KernelLink((result,), kind=kind, target=target, program=program.name, is_bpf_link=True)


def refused(program: KernelProgram, kind: str, target: str, errno: int, needs: tuple[str, ...] = ()) -> EbpfError:
    """The general error for an attachment that failed."""
    what = f"attaching {program.name!r} to {kind} {target}"
    if errno in (_errno.EPERM, _errno.EACCES):
        return sys.failure(what, errno, needs=needs or ("CAP_BPF", "CAP_PERFMON"))
    if errno in (_errno.EOPNOTSUPP, sys.ENOTSUPP, _errno.ENOSYS):
        return NotSupported(f"attaching to {kind} {target}")
    name = _errno.errorcode.get(errno, str(errno))
    notes: tuple[str, ...] = ()
    if errno == _errno.EINVAL:
        notes = (f"the program is of type {program.type_name}; is that the type for a {kind}?",)
    return AttachError(f"{what}: {os.strerror(errno)} ({name})", notes=notes)
