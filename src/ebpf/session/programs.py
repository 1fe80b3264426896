"""Programs as Python sees them: look at one, run it on test data, attach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import AttachType, ProgType
from ebpf.abi.sections import SectionInfo, parse_section
from ebpf.errors import AttachError, EbpfError, KernelError, NotSupported, PrivilegeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.kernel.attach import KernelLink
    from ebpf.kernel.attach.link import LinkGroup
    from ebpf.kernel.programs import KernelProgram, ProgramInfo, TestRun
    from ebpf.object import ProgramSpec
    from ebpf.session.session import Session

_MANY = 4  # functions at which attaching to all at once pays


class Program:
    """A program, loaded into the kernel.

    `attach` goes by the program's section (``SEC("kprobe/vfs_read")``); the other ``attach_`` methods name the hook.
    Each returns a `Link`: the program runs until the link is detached or closed, the session ends, or this process
    does.
    """

    __slots__ = ("_session", "kernel", "name", "section", "spec", "type")

    def __init__(self, session: Session, kernel: KernelProgram, spec: ProgramSpec | None) -> None:
        self._session = session
        #: the program beneath
        self.kernel = kernel
        self.spec = spec
        self.name: str = kernel.name if spec is None else spec.name
        self.section: str = "" if spec is None else spec.section
        self.type = ProgType(kernel.type)

    def __repr__(self) -> str:
        return f"<Program {self.name}: {self.type.name.lower()}>"

    def fileno(self) -> int:
        """The program's file descriptor."""
        return self.kernel.fileno()

    @property
    def info(self) -> ProgramInfo:
        """What the kernel tells about it: id, tag, sizes, how often and how long it ran."""
        return self.kernel.info()

    def test_run(self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, flags: int = 0,
                 cpu: int = 0) -> TestRun:
        """Run it in the kernel on ``data`` (a packet) and ``context``; nothing is attached. Gives `.result` and
        `.data`.

        ``data`` has at least 14 bytes (an Ethernet header) for programs that see packets. ``.result`` is the return
        value as unsigned 32 bits, ``.duration_ns`` the mean of ``repeat`` runs. For network programs, raw tracepoints
        (5.10) and syscall programs; `NotSupported` for kprobes, tracepoints and others. Wants what loading wants.
        """
        return self.kernel.test_run(data, context, repeat=repeat, flags=flags, cpu=cpu)

    def pin(self, path: str) -> None:
        """Keep the program under ``path`` on a BPF file system (``/sys/fs/bpf/…``), beyond the end of this process.

        Removing the file unpins it. `KernelError` if it exists already.
        """
        self.kernel.pin(path)

    # ---- attaching ----

    def attach(self) -> KernelLink:
        """Attach where the program's section says (``"kprobe/…"``, ``"tracepoint/…"``, ``"uprobe/file:function"``, …).

        `AttachError` where the section does not name a target (``"xdp"``: use `attach_xdp` with a device).
        """
        info = parse_section(self.section) if self.section else None
        if info is None:
            raise AttachError(f"program {self.name!r}: its section {self.section!r} does not say where to attach it",
                              helps=("attach it with one of the attach_… methods",))
        handler = _BY_SECTION.get(info.kind)
        if handler is None or not info.auto_attach:
            how = _HOW.get(info.type)
            raise AttachError(f"program {self.name!r}: section {self.section!r} does not say where to attach it",
                              helps=(f"use {how}",) if how else ())
        return handler(self, info)

    def attach_kprobe(self, function: str, *, offset: int = 0) -> KernelLink:
        """Run when the kernel function is entered. ``sys_clone`` finds the running kernel's name of a system call.

        ``offset``: that many bytes into it. `TargetNotFound` if there is no such function (``similar`` has some that
        there are), `AttachError` if it cannot be probed (inlined, blacklisted), `NotSupported` without kprobes.
        """
        from ebpf.kernel.attach import kprobe

        return self._own(kprobe.attach(self.kernel, function, offset=offset))

    def attach_kretprobe(self, function: str) -> KernelLink:
        """Run when the kernel function returns: ``PT_REGS_RC(ctx)`` is its result. Errors as of `attach_kprobe`."""
        from ebpf.kernel.attach import kprobe

        return self._own(kprobe.attach(self.kernel, function, retprobe=True))

    def attach_kprobes(self, functions: Sequence[str], *, retprobe: bool = False, partly: bool = False) -> LinkGroup:
        """Run at every one of the functions, all or none; `ebpf.host.functions` finds them by a regular expression.

        ``partly``: functions that cannot be probed are passed over, unless none can; ``link.functions`` are the others.
        Where the kernel can (kprobe.multi, Linux 5.18), a copy of the program is attached to all of them at once;
        else each takes some 20 ms.
        """
        from ebpf.kernel.attach import kprobe, kprobe_multi

        functions = list(dict.fromkeys(functions))
        copy = self._for_kprobe_multi(len(functions))
        group: LinkGroup | None = None
        if copy is not None:
            try:
                group = kprobe_multi.attach_many(copy, functions, retprobe=retprobe, partly=partly)
            except (NotSupported, KernelError) as error:
                if copy is self.kernel or isinstance(error, PrivilegeError):
                    raise
            finally:
                if copy is not self.kernel:
                    copy.close()  # the link holds on to it
        if group is None:
            group = kprobe.attach_many(self.kernel, functions, retprobe=retprobe, partly=partly)
        self._own(group)
        return group

    def _for_kprobe_multi(self, functions: int) -> KernelProgram | None:
        """The program loaded for so many functions at once; None where that cannot be had, or does not pay."""
        from ebpf.kernel.features import have

        if self.type == ProgType.KPROBE and self.kernel.expected_attach_type == AttachType.TRACE_KPROBE_MULTI:
            return self.kernel
        if functions < _MANY or self.type != ProgType.KPROBE or not have("kprobe_multi"):
            return None
        try:
            return self._session._loaded.load_program(self.name, type=ProgType.KPROBE, again=True,
                                                      expected_attach_type=AttachType.TRACE_KPROBE_MULTI)
        except EbpfError:  # uses what only single kprobes may (bpf_override_return)
            return None

    def attach_tracepoint(self, category: str, name: str | None = None, *, pid: int | None = None) -> KernelLink:
        """Run at a tracepoint: ``attach_tracepoint("sched", "sched_switch")`` or ``("sched:sched_switch")``.

        ``pid``: only while that process runs. `TargetNotFound` if there is none of that name; needs tracefs.
        """
        from ebpf.kernel.attach import tracepoint

        if name is None:
            category, _, name = category.replace("/", ":", 1).partition(":")
        return self._own(tracepoint.attach(self.kernel, category, name, pid=pid))

    def attach_raw_tracepoint(self, name: str) -> KernelLink:
        """Run at the tracepoint ``name``, with its arguments as the kernel passes them (Linux 4.17)."""
        from ebpf.kernel.attach import raw_tracepoint

        return self._own(raw_tracepoint.attach(self.kernel, name))

    def attach_uprobe(self, binary: str, symbol: str | None = None, *, address: int | None = None, offset: int = 0,
                      pid: int | None = None) -> KernelLink:
        """Run when a user program or library enters the function ``symbol`` (or executes ``address``, or the file
        offset).

        ``binary``: a path, a library's short name (``"c"``), or a program on PATH; ``pid``: only in that process.
        Needs CAP_SYS_ADMIN. `TargetNotFound` if there is no such file, function or process.
        """
        from ebpf.kernel.attach import uprobe

        return self._own(uprobe.attach(self.kernel, binary, symbol=symbol, address=address, offset=offset, pid=pid))

    def attach_uretprobe(self, binary: str, symbol: str | None = None, *, address: int | None = None, offset: int = 0,
                         pid: int | None = None) -> KernelLink:
        """Run when the function returns. Parameters and errors are `attach_uprobe`'s."""
        from ebpf.kernel.attach import uprobe

        return self._own(uprobe.attach(self.kernel, binary, symbol=symbol, address=address, offset=offset, pid=pid,
                                       retprobe=True))

    def attach_perf_event(self, event: str | int, config: int = 0, *, period: int = 0, frequency: int = 0,
                          pid: int | None = None, cpu: int | None = None) -> KernelLink:
        """Run at every ``period``-th event, or ``frequency`` times a second, on every CPU or one, or in one process.

        ``event``: a name as perf(1) has it (``"cpu-clock"``, ``"page-faults"``, ``"cycles"``), or the kernel's number
        of the type, and ``config`` the number of the event. `NotSupported` where the machine lacks the counter.
        """
        from ebpf.kernel.attach import perf_event

        type = event
        if isinstance(event, str):
            if event not in perf_event.EVENTS:
                from ebpf.session.session import unknown_name

                raise unknown_name("perf event", event, perf_event.EVENTS)
            type, config = perf_event.EVENTS[event]
        assert isinstance(type, int)
        return self._own(perf_event.attach(self.kernel, type, config, period=period, frequency=frequency, pid=pid,
                                           cpu=cpu))

    def attach_xdp(self, device: str | int, *, flags: int = 0) -> KernelLink:
        """Run for every packet that arrives at the network device (by name or index). One program for each device.

        Linux 5.9. ``flags``: 2 the generic way (any device), 4 the driver's own, 8 offloaded; 0 lets the kernel choose.
        `AttachError` if the device has a program already, `TargetNotFound` if there is no such device.
        """
        from ebpf.kernel.attach import xdp

        return self._own(xdp.attach(self.kernel, device, flags=flags))

    def attach_socket(self, sock: Any) -> None:
        """Filter what the socket receives, for as long as it is open.

        The program returns how many bytes of a packet the socket gets; 0 drops it.
        """
        from ebpf.kernel.attach import socket_filter

        socket_filter.attach(self.kernel, sock)

    def attach_raw_socket(self, device: str) -> KernelLink:
        """A packet socket on ``device`` ("": all) that receives what the program lets through.

        ``link.fileno()`` is the socket, non-blocking.
        """
        from ebpf.kernel.attach import socket_filter

        return self._own(socket_filter.attach_raw(self.kernel, device))

    def attach_cgroup(self, cgroup: str | int, *, attach_type: int | None = None) -> KernelLink:
        """Run for the processes of the control group at path ``cgroup`` (version 2) and those below it (Linux 5.7).

        ``attach_type`` (`AttachType`) where the section leaves it open (``cgroup/skb``). `TargetNotFound` if there is
        no such group.
        """
        from ebpf.kernel.attach import cgroup as hook

        return self._own(hook.attach(self.kernel, cgroup, attach_type=attach_type))

    def attach_tracing(self) -> KernelLink:
        """Attach an fentry, fexit, fmod_ret, tp_btf, LSM or freplace program to the target that it was loaded for.

        Linux 5.5, LSM 5.7; `NotSupported` where the kernel is built without.
        """
        from ebpf.kernel.attach import tracing

        return self._own(tracing.attach(self.kernel))

    def read_iterator(self) -> bytes:
        """Run an iterator program over everything it iterates, once; the text that it writes (Linux 5.8)."""
        import os

        from ebpf.kernel.attach import tracing

        with tracing.attach_iterator(self.kernel) as link:
            reader = tracing.open_iterator(link)
            parts = []
            while part := os.read(reader.fileno(), 1 << 16):
                parts.append(part)
            reader.close()
            return b"".join(parts)

    def _own(self, link: KernelLink) -> KernelLink:
        return self._session.adopt(link)


def _kprobe(program: Program, info: SectionInfo) -> KernelLink:
    function, _, offset = info.attach_to.partition("+")
    if info.kind.endswith("ret") or info.kind.startswith("kret"):
        return program.attach_kretprobe(function)
    try:
        return program.attach_kprobe(function, offset=int(offset, 0) if offset else 0)
    except ValueError:
        raise UsageError(f"program {program.name!r}: {offset!r} in section {program.section!r} is no number") from None


def _kprobe_multi(program: Program, info: SectionInfo) -> KernelLink:
    from ebpf.kernel.attach import kprobe, kprobe_multi

    pattern = "".join(".*" if c == "*" else "." if c == "?" else c for c in info.attach_to)
    functions = kprobe.functions_matching(f"^{pattern}$")
    return program._own(kprobe_multi.attach_many(program.kernel, functions, retprobe=info.kind.startswith("kret"),
                                                 partly=True))


def _syscall(program: Program, info: SectionInfo) -> KernelLink:
    function = "sys_" + info.attach_to
    return program.attach_kretprobe(function) if info.kind.startswith("kret") else program.attach_kprobe(function)


def _uprobe(program: Program, info: SectionInfo) -> KernelLink:
    binary, colon, place = info.attach_to.rpartition(":")
    if not colon:
        raise AttachError(f"program {program.name!r}: section {program.section!r} names a file but no function",
                          helps=(f'write SEC("{info.kind}/{info.attach_to}:function"), or use attach_uprobe',))
    symbol, _, offset = place.partition("+")
    attach = program.attach_uretprobe if info.kind.startswith("uret") else program.attach_uprobe
    try:
        extra = int(offset, 0) if offset else 0
        if symbol[:1].isdigit():
            return attach(binary, offset=int(symbol, 0) + extra)
        return attach(binary, symbol, offset=extra)
    except ValueError:
        raise UsageError(f"program {program.name!r}: {place!r} in section {program.section!r} is no function") from None


def _tracepoint(program: Program, info: SectionInfo) -> KernelLink:
    if "/" not in info.attach_to:
        raise AttachError(f"program {program.name!r}: section {program.section!r} lacks the tracepoint's category",
                          helps=(f'write SEC("{info.kind}/category/{info.attach_to}")',))
    return program.attach_tracepoint(info.attach_to)


def _raw_tracepoint(program: Program, info: SectionInfo) -> KernelLink:
    return program.attach_raw_tracepoint(info.attach_to)


def _tracing(program: Program, info: SectionInfo) -> KernelLink:
    return program.attach_tracing()


def _iterator(program: Program, info: SectionInfo) -> KernelLink:
    from ebpf.kernel.attach import tracing

    return program._own(tracing.attach_iterator(program.kernel))


_BY_SECTION: dict[str, Callable[[Program, SectionInfo], KernelLink]] = {
    "kprobe": _kprobe, "kretprobe": _kprobe, "kprobe.multi": _kprobe_multi, "kretprobe.multi": _kprobe_multi,
    "ksyscall": _syscall, "kretsyscall": _syscall,
    "uprobe": _uprobe, "uprobe.s": _uprobe, "uretprobe": _uprobe, "uretprobe.s": _uprobe,
    "tracepoint": _tracepoint, "tp": _tracepoint,
    "raw_tracepoint": _raw_tracepoint, "raw_tp": _raw_tracepoint, "raw_tracepoint.w": _raw_tracepoint,
    "raw_tp.w": _raw_tracepoint,
    "tp_btf": _tracing, "fentry": _tracing, "fentry.s": _tracing, "fexit": _tracing, "fexit.s": _tracing,
    "fmod_ret": _tracing, "fmod_ret.s": _tracing, "lsm": _tracing, "lsm.s": _tracing, "freplace": _tracing,
    "iter": _iterator, "iter.s": _iterator,
}

# What to use where a section leaves the target open.
_HOW: dict[ProgType, str] = {
    ProgType.KPROBE: "attach_kprobe, attach_kretprobe, attach_uprobe or attach_uretprobe",
    ProgType.TRACEPOINT: "attach_tracepoint",
    ProgType.RAW_TRACEPOINT: "attach_raw_tracepoint",
    ProgType.XDP: "attach_xdp(device)",
    ProgType.SOCKET_FILTER: "attach_socket(socket) or attach_raw_socket(device)",
    ProgType.PERF_EVENT: "attach_perf_event(\"cpu-clock\", frequency=…)",
    **dict.fromkeys((ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK, ProgType.CGROUP_DEVICE, ProgType.CGROUP_SOCK_ADDR,
                     ProgType.CGROUP_SYSCTL, ProgType.CGROUP_SOCKOPT, ProgType.SOCK_OPS), "attach_cgroup(path)"),
}
