"""Programs as Python sees them: look at one, run it on test data, attach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import ProgType
from ebpf.abi.sections import SectionInfo, parse_section
from ebpf.errors import AttachError, UsageError
from ebpf.session.choice import wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.object import ProgramSpec
    from ebpf.session.backend import Link, ProgramInfo, RawProgram, TestRun
    from ebpf.session.maps import Map
    from ebpf.session.session import Session


class Program:
    """A program, loaded into the kernel or the machine.

    `attach` goes by the program's section (``SEC("kprobe/vfs_read")``); the other ``attach_`` methods name the hook.
    Each returns a `Link`: the program runs until the link is detached or closed, the session ends, or this process
    does.
    """

    __slots__ = ("_session", "name", "raw", "section", "spec", "type")

    def __init__(self, session: Session, raw: RawProgram, spec: ProgramSpec | None) -> None:
        self._session = session
        #: the program beneath
        self.raw = raw
        self.spec = spec
        self.name: str = raw.name if spec is None else spec.name
        self.section: str = "" if spec is None else spec.section
        self.type = ProgType(raw.type)

    def __repr__(self) -> str:
        return f"<Program {self.name}: {self.type.name.lower()}>"

    def fileno(self) -> int:
        """The program's file descriptor."""
        return self.raw.fileno()

    @property
    def context_fields(self) -> dict[str, int]:
        """The fields of its context that `test_run` takes by name, and the bytes of each; pointers are left out."""
        from ebpf.abi.context_layouts import context_layout

        layout = context_layout(int(self.type))
        return {field.name: field.end - field.offset for field in layout.fields
                if not field.pointer and field.unit == field.end - field.offset
                and not field.name.startswith("pad")} if layout is not None else {}

    @property
    def takes_packets(self) -> bool:
        """Whether its event is a packet: `test_run` wants ``data`` then."""
        from ebpf.machine.packets import PACKET_TYPES

        return int(self.type) in PACKET_TYPES

    @property
    def info(self) -> ProgramInfo:
        """What is known about it: id, tag, sizes, how often and how long it ran."""
        return self.raw.info()

    def test_run(self, data: bytes = b"", context: bytes | Mapping[str, Any] = b"", *, repeat: int = 0, flags: int = 0,
                 cpu: int = 0) -> TestRun:
        """Run it on ``data`` (a packet) and ``context``; nothing is attached. Gives `.result` and `.data`.

        ``data`` has at least 14 bytes (an Ethernet header) for programs that see packets. ``.result`` is the return
        value as unsigned 32 bits, ``.duration_ns`` the mean of ``repeat`` runs. A context may be given by its fields'
        names (``{"ingress_ifindex": 2}``; `UnknownName` says which there are). The machine runs programs of every
        type; the kernel network programs, raw tracepoints (5.10) and syscall programs, `NotSupported` for others.
        """
        if isinstance(context, Mapping):
            context = self._encode_context(context, len(data)) if context else b""
        return self.raw.test_run(data, context, repeat=repeat, flags=flags, cpu=cpu)

    def _encode_context(self, fields: Mapping[str, Any], length: int) -> bytes:
        from ebpf.machine.contexts import encode_context

        if self.spec is None:
            raise UsageError(f"{self.name!r} was not loaded from an object: give its context as bytes")
        if self.type == ProgType.XDP:
            fields = {"data_end": length, **fields}  # the kernel cuts the packet there
        btf = None
        if self.spec.core_relos:
            from ebpf.kernel.facts import kernel_btf

            btf = kernel_btf()
        return encode_context(self._session.obj, self.spec, int(self.type), fields, btf)

    def result_name(self, result: int) -> str:
        """What a return value is called (``"XDP_DROP"``, ``"TC_ACT_OK"``); empty where such results have no names."""
        from ebpf.abi.actions import action_name

        return action_name(int(self.type), result)

    def _repr_html_(self) -> str:
        from html import escape

        if self.spec is None:
            return f"<code>{escape(repr(self))}</code>"
        from ebpf.session.notebook import program_page

        return program_page(self._session.obj, self.name)

    def pin(self, path: str) -> None:
        """Keep the program under ``path`` on a BPF file system (``/sys/fs/bpf/…``), beyond the end of this process.

        Removing the file unpins it. `KernelError` if it exists already.
        """
        self.raw.pin(path)

    # ---- attaching ----

    def attach(self) -> Link:
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

    def attach_kprobe(self, function: str, *, offset: int = 0, cookie: int | None = None) -> Link:
        """Run when the kernel function is entered. ``sys_clone`` finds the running kernel's name of a system call.

        ``offset``: that many bytes into it; ``cookie``, here and below: what bpf_get_attach_cookie() gives (Linux
        5.15). `TargetNotFound` if there is no such function (``similar`` has some that there are), `AttachError` if it
        cannot be probed (inlined, blacklisted), `NotSupported` without kprobes; in the machine for all but system
        calls.
        """
        return self._attach("kprobe", function, offset=offset, cookie=cookie)

    def attach_kretprobe(self, function: str, *, cookie: int | None = None) -> Link:
        """Run when the kernel function returns: ``PT_REGS_RC(ctx)`` is its result. Errors as of `attach_kprobe`."""
        return self._attach("kretprobe", function, cookie=cookie)

    def attach_kprobes(self, functions: Sequence[str], *, retprobe: bool = False, partly: bool = False) -> Any:
        """Run at every one of the functions, all or none; `ebpf.host.functions` finds them by a regular expression.

        ``partly``: functions that cannot be probed are passed over, unless none can; ``link.functions`` are the others.
        Where the kernel can (kprobe.multi, Linux 5.18), a copy of the program is attached to all of them at once;
        else each takes some 20 ms.
        """
        return self._attach("kprobes", functions, retprobe=retprobe, partly=partly)

    def attach_tracepoint(self, category: str, name: str | None = None, *, pid: int | None = None,
                          cookie: int | None = None) -> Link:
        """Run at a tracepoint: ``attach_tracepoint("sched", "sched_switch")`` or ``("sched:sched_switch")``.

        ``pid``: only while that process runs. `TargetNotFound` if there is none of that name; needs tracefs.
        """
        if name is None:
            category, _, name = category.replace("/", ":", 1).partition(":")
        return self._attach("tracepoint", f"{category}:{name}", pid=pid, cookie=cookie)

    def attach_raw_tracepoint(self, name: str) -> Link:
        """Run at the tracepoint ``name``, with its arguments as the kernel passes them (Linux 4.17)."""
        return self._attach("raw_tracepoint", name)

    def attach_uprobe(self, binary: str, symbol: str | None = None, *, address: int | None = None, offset: int = 0,
                      pid: int | None = None, cookie: int | None = None) -> Link:
        """Run when a user program or library enters the function ``symbol`` (or executes ``address``, or the file
        offset).

        ``binary``: a path, a library's short name (``"c"``), or a program on PATH; ``pid``: only in that process.
        Needs CAP_SYS_ADMIN. `TargetNotFound` if there is no such file, function or process.
        """
        return self._attach("uprobe", binary, symbol=symbol, address=address, offset=offset, pid=pid, cookie=cookie)

    def attach_uretprobe(self, binary: str, symbol: str | None = None, *, address: int | None = None, offset: int = 0,
                         pid: int | None = None, cookie: int | None = None) -> Link:
        """Run when the function returns. Parameters and errors are `attach_uprobe`'s."""
        return self._attach("uretprobe", binary, symbol=symbol, address=address, offset=offset, pid=pid, cookie=cookie)

    def attach_usdt(self, binary: str, name: str, *, provider: str = "", pid: int | None = None,
                    cookie: int | None = None) -> Link:
        """Run wherever the static probe ``name`` (of ``provider``) in a user program or library is hit.

        ``binary`` and ``pid`` as for `attach_uprobe`. `TargetNotFound` lists the probes that the file has. Programs
        that take its arguments (``BPF_USDT``, ``bpf_usdt_arg``) find them, and ``cookie`` by ``bpf_usdt_cookie``.
        """
        specs = self._session.usdt_specs
        if specs is None:
            return self._attach("usdt", binary, name=name, provider=provider, pid=pid, cookie=cookie)
        from ebpf.binaries.find import find_binary
        from ebpf.binaries.usdt import find_usdt
        from ebpf.session.usdt_specs import attach_with_specs

        path = find_binary(binary, pid)
        places = find_usdt(path, name, provider)
        cookies = attach_with_specs(self, specs, path, places, pid=pid, cookie=cookie)
        return self._attach("usdt", path, name=name, provider=provider, pid=pid, cookies=cookies)

    def attach_perf_event(self, event: str | int, config: int = 0, *, period: int = 0, frequency: int = 0,
                          pid: int | None = None, cpu: int | None = None, cookie: int | None = None,
                          cgroup: str | None = None) -> Link:
        """Run at every ``period``-th event, or ``frequency`` times a second, on every CPU or one, or in one process.

        ``event``: a name as perf(1) has it (``"cpu-clock"``, ``"page-faults"``, ``"cycles"``), or the kernel's number
        of the type, and ``config`` the number of the event. ``cgroup``: only while its processes run. `NotSupported`
        where the machine lacks the counter.
        """
        type = event
        if isinstance(event, str):
            from ebpf.abi.perf_events import PERF_EVENTS

            if event not in PERF_EVENTS:
                from ebpf.diagnostics import unknown_name

                raise unknown_name("perf event", event, PERF_EVENTS)
            type, config = PERF_EVENTS[event]
        return self._attach("perf_event", type, config=config, period=period, frequency=frequency, pid=pid, cpu=cpu,
                            cookie=cookie, cgroup=cgroup)

    def attach_xdp(self, device: str | int, *, flags: int = 0, chain: int | None = None) -> Link:
        """Run for every packet that arrives at the network device (by name or index). One program for each device,
        but with ``chain`` up to sixteen: the next one runs when one says XDP_PASS, lower numbers first; other processes
        join the same chain.

        Linux 5.9. ``flags``: 2 the generic way (any device), 4 the driver's own, 8 offloaded; 0 lets the kernel choose.
        `AttachError` if the device has a program already, `TargetNotFound` if there is no such device. In the machine
        the device is one of a network of its own (docs/machine.md).
        """
        how: dict[str, Any] = {} if chain is None else {"chain": chain}
        return self._attach("xdp", device, flags=flags, **how)

    def attach_tcx(self, device: str | int, side: str = "ingress", *, before: Link | Program | int | None = None,
                   after: Link | Program | int | None = None) -> Link:
        """Run for packets that arrive at the network device (``"ingress"``) or leave it (``"egress"``) (Linux 6.6).

        ``before``, ``after``: a program that is attached there (its link, itself, or its id); ``before=0`` is the very
        front; by default it comes last. `TargetNotFound` if there is no such device.
        """
        return self._attach("tcx", device, side=side, before=_beneath(before), after=_beneath(after))

    def attach_tc(self, device: str | int, side: str = "ingress", *, priority: int = 0) -> Link:
        """The older way, on every kernel: a tc filter. Lower priorities (1 to 65535) come first; 0: the kernel chooses.

        The kernel would keep it after our end, so a small process waits to take it off (`Program.attach_tcx` needs
        none). The device's clsact queueing discipline is made if it is missing, and stays.
        """
        return self._attach("tc", device, side=side, priority=priority)

    def attach_lwt(self, network: str, device: str | int, *, metric: int = 77) -> Link:
        """Make a route to ``network`` (``"10.9.0.0/24"``) through the device, whose packets an lwt_in, lwt_out,
        lwt_xmit or lwt_seg6local program sees (Linux 4.10, 4.18). The route goes with the link, and with this process.
        """
        return self._attach("lwt", network, device=device, metric=metric)

    def attach_uprobes(self, binary: str, functions: str | Sequence[str], *, retprobe: bool = False,
                       pid: int | None = None) -> Link:
        """Run at many functions of a user program or library: names, or a pattern (``"malloc*"``), by one system call.

        For programs in sections ``uprobe.multi`` (Linux 6.6) and ``uprobe.session`` (6.13).
        """
        return self._attach("uprobe_multi", binary, functions=functions, retprobe=retprobe, pid=pid)

    def attach_watchpoint(self, address: int, *, length: int = 8, mode: str = "w", pid: int | None = None) -> Link:
        """Run when ``length`` bytes (1, 2, 4, 8) at ``address`` are read, written or executed (``mode``: r, w, x, rw).

        ``pid``: in that process; without one the kernel's addresses, on every CPU. `NotSupported` without debug
        registers.
        """
        return self._attach("watchpoint", address, length=length, mode=mode, pid=pid)

    def attach_reuseport(self, sock: Any) -> None:
        """Choose among the sockets that share this one's address by SO_REUSEPORT (Linux 4.19), until they are gone."""
        self._session._backend.attach_reuseport(self.raw, sock)

    def attach_netkit(self, device: str | int, side: str = "primary", *, before: Link | Program | int | None = None,
                      after: Link | Program | int | None = None) -> Link:
        """The same for a netkit device, on its ``"primary"`` or ``"peer"`` side (Linux 6.7)."""
        return self._attach("netkit", device, side=side, before=_beneath(before), after=_beneath(after))

    def attach_netns(self, namespace: str = "/proc/self/ns/net") -> Link:
        """Run a flow dissector or sk_lookup program for the network namespace at that path (Linux 5.7, 5.9)."""
        return self._attach("netns", namespace)

    def attach_netfilter(self, hook: str, *, family: str = "ipv4", priority: int = 0, defragment: bool = False) -> Link:
        """Run at netfilter's ``hook`` (``"prerouting"`` … ``"postrouting"``) of this network namespace (Linux 6.4).

        Lower priorities come first, and each has one program; ``defragment``: it sees whole packets (6.6).
        """
        return self._attach("netfilter", hook, family=family, priority=priority, defragment=defragment)

    def attach_sockmap(self, map: Map) -> Link:
        """Run an sk_msg or sk_skb program for the sockets that are put into ``map`` from now on (Linux 6.10)."""
        return self._attach("sockmap", map.raw)

    def attach_socket(self, sock: Any) -> None:
        """Filter what the socket receives, for as long as it is open.

        The program returns how many bytes of a packet the socket gets; 0 drops it.
        """
        self._session._backend.attach_socket(self.raw, sock)

    def attach_raw_socket(self, device: str) -> Link:
        """A packet socket on ``device`` ("": all) that receives what the program lets through.

        ``link.fileno()`` is the socket, non-blocking.
        """
        return self._attach("raw_socket", device)

    def attach_cgroup(self, cgroup: str | int, *, attach_type: int | None = None,
                      before: Link | Program | int | None = None, after: Link | Program | int | None = None) -> Link:
        """Run for the processes of the control group at path ``cgroup`` (version 2) and those below it (Linux 5.7).

        ``attach_type`` (`AttachType`) where the section leaves it open (``cgroup/skb``). `TargetNotFound` if there is
        no such group. Several programs run in the order of their coming; ``before``, ``after`` as for `attach_tcx`
        (Linux 6.17).
        """
        return self._attach("cgroup", cgroup, attach_type=attach_type, before=_beneath(before), after=_beneath(after))

    def attach_tracing(self) -> Link:
        """Attach an fentry, fexit, fmod_ret, tp_btf, LSM or freplace program to the target that it was loaded for.

        Linux 5.5, LSM 5.7; `NotSupported` where the kernel is built without.
        """
        return self._attach("tracing", None)

    def read_iterator(self, *, map: Map | None = None, pid: int | None = None, tid: int | None = None,
                      cgroup: str | None = None) -> bytes:
        """Run an iterator program over everything it iterates, once; what it writes (Linux 5.8).

        ``map``: over that map's elements (bpf_map_elem, sockmap, …); ``pid``, ``tid``: over that process or thread;
        ``cgroup``: that group and those below it (6.1).
        """
        import os

        over: dict[str, Any] = {"map": map.raw if map is not None else None, "pid": pid, "tid": tid}
        given = {name: value for name, value in over.items() if value is not None}
        if cgroup is None:
            return self._session._backend.read_iterator(self.raw, **given)
        group = os.open(cgroup, os.O_RDONLY)
        try:
            return self._session._backend.read_iterator(self.raw, cgroup=group, **given)
        finally:
            os.close(group)

    def read_rows(self, *, type: str | None = None, **over: Any) -> list[Any]:
        """The same for a program that writes records (``bpf_seq_write``): typed values.

        ``type`` names their type (``"struct row"``) where the object does not say it, as those of other compilers.
        """
        from ebpf.btf import codec
        from ebpf.session.types import codec_in

        obj = self._session.obj
        known = obj.events.get(f"{self.name}()")
        if type is None and (known is None or obj.btf is None):
            raise UsageError(f"the object does not say what {self.name!r} writes", helps=(
                'name the type: read_rows(type="struct row")', "or read text with read_iterator()"))
        found = codec(obj.btf, known) if type is None and known and obj.btf else codec_in(obj.btf, type or "")
        return list(found.decode_many(self.read_iterator(**over)))

    def _attach(self, kind: str, target: Any, **details: Any) -> Link:
        if wish.recorder is not None:
            return self._session.adopt(wish.recorder.attach(self, kind, target, details))
        return self._session.adopt(self._session._backend.attach(kind, self.raw, target, **details))


def _beneath(anchor: Any) -> Any:
    """What a place among other programs is named by: a program of the session as the one beneath it."""
    return anchor.raw if isinstance(anchor, Program) else anchor


def _kprobe(program: Program, info: SectionInfo) -> Link:
    function, _, offset = info.attach_to.partition("+")
    if info.kind.endswith("ret") or info.kind.startswith("kret"):
        return program.attach_kretprobe(function)
    try:
        return program.attach_kprobe(function, offset=int(offset, 0) if offset else 0)
    except ValueError:
        raise UsageError(f"program {program.name!r}: {offset!r} in section {program.section!r} is no number") from None


def _kprobe_multi(program: Program, info: SectionInfo) -> Link:
    return program._attach("kprobe_multi", info.attach_to, retprobe=info.kind.startswith("kret"))


def _syscall(program: Program, info: SectionInfo) -> Link:
    function = "sys_" + info.attach_to
    return program.attach_kretprobe(function) if info.kind.startswith("kret") else program.attach_kprobe(function)


def _uprobe(program: Program, info: SectionInfo) -> Link:
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


def _uprobe_multi(program: Program, info: SectionInfo) -> Link:
    binary, colon, pattern = info.attach_to.rpartition(":")
    if not colon:
        raise AttachError(f"program {program.name!r}: section {program.section!r} names a file but no functions",
                          helps=(f'write SEC("{info.kind}/{info.attach_to}:pattern"), or use attach_uprobes',))
    return program.attach_uprobes(binary, pattern, retprobe=info.kind.startswith("uret"))


def _usdt(program: Program, info: SectionInfo) -> Link:
    binary, _, probe = info.attach_to.partition(":")
    provider, colon, name = probe.partition(":")
    if not colon:
        raise AttachError(f"program {program.name!r}: section {program.section!r} does not name a static probe",
                          helps=(f'write SEC("{info.kind}/path:provider:name"), or use attach_usdt',))
    return program.attach_usdt(binary, name, provider=provider)


def _tracepoint(program: Program, info: SectionInfo) -> Link:
    if "/" not in info.attach_to:
        raise AttachError(f"program {program.name!r}: section {program.section!r} lacks the tracepoint's category",
                          helps=(f'write SEC("{info.kind}/category/{info.attach_to}")',))
    return program.attach_tracepoint(info.attach_to)


def _raw_tracepoint(program: Program, info: SectionInfo) -> Link:
    return program.attach_raw_tracepoint(info.attach_to)


def _tracing(program: Program, info: SectionInfo) -> Link:
    return program.attach_tracing()


def _iterator(program: Program, info: SectionInfo) -> Link:
    return program._attach("iterator", None)


_BY_SECTION: dict[str, Callable[[Program, SectionInfo], Link]] = {
    "kprobe": _kprobe, "kretprobe": _kprobe, "kprobe.multi": _kprobe_multi, "kretprobe.multi": _kprobe_multi,
    "ksyscall": _syscall, "kretsyscall": _syscall,
    "usdt": _usdt, "usdt.s": _usdt,
    "uprobe": _uprobe, "uprobe.s": _uprobe, "uretprobe": _uprobe, "uretprobe.s": _uprobe,
    "tracepoint": _tracepoint, "tp": _tracepoint,
    "raw_tracepoint": _raw_tracepoint, "raw_tp": _raw_tracepoint, "raw_tracepoint.w": _raw_tracepoint,
    "raw_tp.w": _raw_tracepoint,
    "tp_btf": _tracing, "fentry": _tracing, "fentry.s": _tracing, "fexit": _tracing, "fexit.s": _tracing,
    "fmod_ret": _tracing, "fmod_ret.s": _tracing, "lsm": _tracing, "lsm.s": _tracing, "freplace": _tracing,
    "iter": _iterator, "iter.s": _iterator, "kprobe.session": _kprobe_multi,
    **dict.fromkeys(("uprobe.multi", "uprobe.multi.s", "uretprobe.multi", "uretprobe.multi.s", "uprobe.session",
                     "uprobe.session.s"), _uprobe_multi),
}

# What to use where a section leaves the target open.
_HOW: dict[ProgType, str] = {
    ProgType.KPROBE: "attach_kprobe, attach_kretprobe, attach_uprobe or attach_uretprobe",
    ProgType.TRACEPOINT: "attach_tracepoint",
    ProgType.RAW_TRACEPOINT: "attach_raw_tracepoint",
    ProgType.XDP: "attach_xdp(device)",
    ProgType.SOCKET_FILTER: "attach_socket(socket) or attach_raw_socket(device)",
    ProgType.SCHED_CLS: "attach_tcx(device) or attach_tc(device)",
    ProgType.SK_MSG: "attach_sockmap(map)", ProgType.SK_SKB: "attach_sockmap(map)",
    ProgType.SK_REUSEPORT: "attach_reuseport(socket)", ProgType.SK_LOOKUP: "attach_netns(path)",
    ProgType.FLOW_DISSECTOR: "attach_netns(path)", ProgType.NETFILTER: "attach_netfilter(hook)",
    ProgType.SYSCALL: "test_run(context=…): nothing calls it by itself",
    ProgType.STRUCT_OPS: "session.attach_struct_ops(map)", ProgType.LSM: "attach_cgroup(path)",
    **dict.fromkeys((ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL),
                    "attach_lwt(network, device)"),
    ProgType.PERF_EVENT: "attach_perf_event(\"cpu-clock\", frequency=…)",
    **dict.fromkeys((ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK, ProgType.CGROUP_DEVICE, ProgType.CGROUP_SOCK_ADDR,
                     ProgType.CGROUP_SYSCTL, ProgType.CGROUP_SOCKOPT, ProgType.SOCK_OPS), "attach_cgroup(path)"),
}
