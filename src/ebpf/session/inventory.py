"""`ebpf.inventory`: every program, map and link that the kernel holds, ours or not, by id or by pinned path.

Listing and opening by id need CAP_SYS_ADMIN (what is pinned, CAP_BPF and permission on the file).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from ebpf.errors import EbpfError, KernelError, UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ebpf.abi.maps import MapInfo
    from ebpf.btf import Btf
    from ebpf.kernel.attach.link import KernelLink, LinkInfo
    from ebpf.kernel.programs import KernelProgram, ProgramInfo
    from ebpf.session.audit import Audited
    from ebpf.session.maps import Map
    from ebpf.session.profile import Profiler
    from ebpf.session.statistics import Statistics

_COMMANDS = {"program": "prog", "map": "map", "link": "link"}


class Inventory:
    """What the kernel holds. Use the one instance, `ebpf.inventory`."""

    __slots__ = ()

    def programs(self) -> Iterator[ProgramInfo]:
        """Every loaded program, by ascending id."""
        from ebpf.kernel.programs import iter_programs

        return iter_programs()

    def maps(self) -> Iterator[MapInfo]:
        """Every map, by ascending id."""
        from ebpf.kernel.maps import iter_maps

        return iter_maps()

    def links(self) -> Iterator[LinkInfo]:
        """Every link, by ascending id (Linux 5.8). Attachments made without one (tc filters, sockets) do not show."""
        from ebpf.kernel.attach.link import iter_links

        return iter_links()

    def program(self, which: int | str) -> KernelProgram:
        """The program with that id, pinned path, or name; `UnknownName` if there is none, or several of that name."""
        from ebpf.kernel import programs

        found: KernelProgram = self._open("program", which, programs.open_by_id, programs.open_pinned, self.programs)
        return found

    def map(self, which: int | str) -> Map:
        """The map with that id, pinned path, or name, its keys and values typed by the BTF that came with it."""
        from ebpf.kernel import maps
        from ebpf.session.maps import Map

        raw = self._open("map", which, maps.open_by_id, maps.open_pinned, self.maps)
        info = raw.info()
        return Map(raw, btf=self.types(info.btf_id), key_type_id=info.btf_key_type_id,
                   value_type_id=info.btf_value_type_id)

    def link(self, which: int | str) -> KernelLink:
        """The link with that id or pinned path. Closing it detaches nothing that somebody else holds."""
        from ebpf.kernel.attach.link import open_link_by_id, open_pinned_link

        found: KernelLink = self._open("link", which, open_link_by_id, open_pinned_link, None)
        return found

    def types(self, btf_id: int) -> Btf | None:
        """The types that a program or map brought along (``btf_id`` of its info); None if it brought none."""
        if not btf_id:
            return None
        from ebpf.btf.reader import Btf
        from ebpf.kernel.btf_objects import read_btf

        try:
            return Btf.parse(read_btf(btf_id))
        except EbpfError:  # a map without its types is still a map
            return None

    def audit(self) -> list[Audited]:
        """Every program with its owner, its pins, and what it could do to others; what to look at first in front.

        Needs CAP_SYS_ADMIN (`PrivilegeError`). What a program calls is known where this user may see kernel
        addresses.
        """
        from ebpf.session.audit import judge, read_facts

        return judge(read_facts())

    def called_functions(self, code: bytes) -> dict[int, str] | None:
        """Slot → helper or kernel function that is called there, of instructions as `KernelProgram.xlated` gives them.

        None where this user may not see addresses (kernel.kptr_restrict).
        """
        from ebpf.session.audit import called_functions

        return called_functions(code)

    def statistics(self) -> Statistics:
        """Have the kernel count runs and run time of every program, until the result is closed (Linux 5.8).

        Needs CAP_SYS_ADMIN (`PrivilegeError`). Counting costs each run of each program some tens of nanoseconds.
        """
        from ebpf.session.statistics import Statistics

        return Statistics()

    def profile(self, which: int | str, metrics: Sequence[str] = ("cycles", "instructions")) -> Profiler:
        """Count events of the processor while that program runs, until the result is closed; `Profiler.read` tells.

        ``which`` as for `program`; ``metrics`` by perf(1)'s names, eight at most. An fentry and an fexit program of
        ours run around it (Linux 5.7; the program must have types). `NotSupported` where this machine lacks a counter
        (virtual ones often have none of the processor's).
        """
        from ebpf.session.profile import Profiler

        with self.program(which) as program:
            return Profiler(program, metrics)

    def link_target(self, info: LinkInfo) -> str:
        """What a link is attached to, in words; "" where the kernel does not tell."""
        if info.type != "tracing":
            return info.target
        from ebpf.abi.programs import AttachType
        from ebpf.session.host import host

        attach_type, object_id, id = (info.details[k] for k in ("attach_type", "target_obj_id", "target_btf_id"))
        try:
            how = AttachType(attach_type).name.lower().removeprefix("trace_")
        except ValueError:
            how = f"attach type {attach_type}"
        types = host.btf() if object_id <= 1 else self.types(object_id)  # the kernel's own are the first that it makes
        try:
            name = types.type(id).name if types is not None and id else ""
        except EbpfError:
            name = ""
        return f"{how} {name.removeprefix('btf_trace_')}".rstrip()

    def map_type_name(self, type: int) -> str:
        """The kernel's name of a map type, in small letters: ``"percpu_hash"``."""
        from ebpf.abi.maps import MapType

        try:
            return MapType(type).name.lower()
        except ValueError:
            return f"type {type}"

    def holders(self, *, but_us: bool = False) -> dict[tuple[str, int], list[tuple[int, str]]]:
        """Which processes hold what, as far as this user may see: (kind, id) → [(pid, command)].

        ``but_us`` leaves this process out: to look at something is to hold it.
        """
        from ebpf.kernel.holders import holders

        return holders(but_us=but_us)

    def _open(self, kind: str, which: int | str, by_id: Callable[[int], Any], pinned: Callable[[str], Any],
              listing: Callable[[], Iterator[Any]] | None) -> Any:
        if isinstance(which, str) and not which.isdigit():
            if "/" in which:
                return self._pinned(kind, which, pinned)
            if listing is None:
                raise UsageError(f"a {kind} has no name: give its id or the path where it is pinned")
            rows = [(row.id, row.name) for row in listing()]
            # The kernel keeps 15 bytes of a name.
            ids = [id for id, name in rows if name == which[:15]]
            if len(ids) != 1:
                from ebpf.diagnostics import did_you_mean

                similar = did_you_mean(which, {name for _, name in rows if name})
                many = f"{len(ids)} {kind}s are called {which!r} (ids {', '.join(map(str, ids))})"
                raise UnknownName(many if ids else f"no {kind} is called {which!r}", name=which, similar=similar,
                                  helps=("give the id",) if ids else
                                  (f"similar names: {', '.join(similar)}",) if similar else ())
            which = ids[0]
        try:
            return by_id(int(which))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise UnknownName(f"there is no {kind} with id {which}", name=str(which)) from None
            raise

    def _pinned(self, kind: str, path: str, pinned: Callable[[str], Any]) -> Any:
        if not os.path.exists(path):
            raise UnknownName(f"nothing is pinned at {path}", name=path)
        try:
            opened = pinned(path)
        except KernelError as error:
            if error.errno in (errno.EINVAL, errno.EACCES) and os.access(path, os.R_OK):
                raise UsageError(f"what is at {path} is no pinned {kind}") from None
            raise
        # The kernel opens whatever is pinned there, and its "info" has no tag that would tell.
        from ebpf.kernel.pins import KINDS

        found = KINDS.get(os.readlink(f"/proc/self/fd/{opened.fileno()}"), kind)
        if found != kind:
            opened.close() if hasattr(opened, "close") else opened.detach()
            raise UsageError(f"what is pinned at {path} is a {found}, not a {kind}",
                             helps=(f"`ebpf {_COMMANDS[found]} show {path}`",))
        return opened


inventory = Inventory()
