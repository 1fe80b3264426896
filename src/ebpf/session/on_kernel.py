"""A session in the running kernel: its `Backend`. What attaching means is in `ebpf.kernel.attach`, a module a hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import EbpfError, KernelError, NotSupported, PrivilegeError, UsageError
from ebpf.kernel.loader import load as load_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ebpf.kernel.attach import KernelLink
    from ebpf.kernel.attach.link import LinkGroup
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import KernelObject
    from ebpf.kernel.programs import KernelProgram
    from ebpf.kernel.tracepipe import TracePipe
    from ebpf.object import Object
    from ebpf.session.backend import RawMap

_MANY = 4  # functions at which attaching to all at once pays


def load(obj: Object, *, load_programs: bool | Iterable[str], types: Mapping[str, int],
         max_entries: Mapping[str, int] | None, data: Mapping[str, bytes] | None, reuse: Mapping[str, RawMap] | None,
         log_level: int) -> OnKernel:
    """Maps and programs of ``obj`` in the kernel."""
    shared: dict[str, Any] = {}  # of each map a descriptor of our own: whoever ends first ends nobody else
    try:
        for name, map in (reuse or {}).items():
            if not hasattr(map, "duplicate"):
                raise UsageError(f"map {map.name!r} is the userspace machine's: a kernel's programs cannot share it")
            shared[name] = map.duplicate()
        return OnKernel(load_object(obj, load_programs=load_programs, types=types, max_entries=max_entries, data=data,
                                    reuse=shared, log_level=log_level, facts=_facts))
    except BaseException:
        for map in shared.values():
            map.close()
        raise


def _facts() -> SystemFacts:
    """The running kernel's types, found through the index that compiling keeps: 150 ms less for CO-RE."""
    from ebpf.compiler.cache import Store
    from ebpf.kernel.facts import SystemFacts

    return SystemFacts(Store())


class OnKernel:
    """See `ebpf.session.backend.Backend`."""

    name = "kernel"
    ended = False

    def __init__(self, loaded: KernelObject) -> None:
        self._loaded = loaded
        self.obj = loaded.obj
        self.maps = loaded.maps
        self.programs = loaded.programs
        self.load_program = loaded.load_program

    def attach(self, kind: str, program: KernelProgram, target: Any, **details: Any) -> KernelLink:
        """Attach it: one function below for each ``kind``."""
        if kind == "kprobes":
            return self._attach_kprobes(program, target, **details)
        if kind == "xdp" and details.get("chain") is not None:
            return self._attach_to_chain(program, target, **details)
        link: KernelLink = _ATTACH[kind](program, target, **details)
        return link

    def _attach_kprobes(self, program: KernelProgram, functions: Sequence[str], *, retprobe: bool,
                        partly: bool) -> LinkGroup:
        from ebpf.kernel.attach import kprobe, kprobe_multi

        functions = list(dict.fromkeys(functions))
        copy = self._for_kprobe_multi(program, len(functions))
        if copy is not None:
            try:
                return kprobe_multi.attach_many(copy, functions, retprobe=retprobe, partly=partly)
            except (NotSupported, KernelError) as error:
                if copy is program or isinstance(error, PrivilegeError):
                    raise
            finally:
                if copy is not program:
                    copy.close()  # the link holds on to it
        return kprobe.attach_many(program, functions, retprobe=retprobe, partly=partly)

    def _for_kprobe_multi(self, program: KernelProgram, functions: int) -> KernelProgram | None:
        """The program loaded for so many functions at once; None where that cannot be had, or does not pay."""
        from ebpf.kernel.features import have

        if program.type == ProgType.KPROBE and program.expected_attach_type == AttachType.TRACE_KPROBE_MULTI:
            return program
        if functions < _MANY or program.type != ProgType.KPROBE or not have("kprobe_multi"):
            return None
        try:
            return self._loaded.load_program(program.name, type=ProgType.KPROBE, again=True,
                                             expected_attach_type=AttachType.TRACE_KPROBE_MULTI)
        except EbpfError:  # uses what only single kprobes may (bpf_override_return)
            return None

    def _attach_to_chain(self, program: KernelProgram, device: str | int, *, flags: int, chain: int) -> KernelLink:
        from ebpf.kernel import xdp_chain
        from ebpf.kernel.attach import xdp_chain as hook

        def member(place: xdp_chain.Chain, slot: int) -> KernelProgram:
            return self._loaded.load_program(program.name, again=True, reshape=lambda linked, code: xdp_chain.as_member(
                linked, code, place, slot))

        return hook.attach(member, device, chain, flags=flags)

    def attach_table(self, name: str) -> KernelLink:
        """Register a struct_ops map."""
        return self._loaded.attach_table(name)

    def attach_socket(self, program: KernelProgram, sock: Any) -> None:
        """Filter what the socket receives."""
        from ebpf.kernel.attach import socket_filter

        socket_filter.attach(program, sock)

    def attach_reuseport(self, program: KernelProgram, sock: Any) -> None:
        """Choose among the sockets of a group."""
        from ebpf.kernel.attach import socket_filter

        socket_filter.attach_reuseport(program, sock)

    def read_iterator(self, program: KernelProgram, **over: Any) -> bytes:
        """What an iterator program writes in one round."""
        import os

        from ebpf.kernel.attach import tracing

        with tracing.attach_iterator(program, **over) as link:
            reader = tracing.open_iterator(link)
            parts = []
            while part := os.read(reader.fileno(), 1 << 16):
                parts.append(part)
            reader.close()
            return b"".join(parts)

    def trace_pipe(self) -> TracePipe:
        """The kernel's one."""
        from ebpf.kernel.tracepipe import TracePipe

        return TracePipe()

    def close(self) -> None:
        """Close what is loaded."""
        self._loaded.close()


def _kprobe(program: KernelProgram, function: str, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import kprobe

    return kprobe.attach(program, function, **how)


def _kretprobe(program: KernelProgram, function: str, **how: Any) -> KernelLink:
    return _kprobe(program, function, retprobe=True, **how)


def _kprobe_multi(program: KernelProgram, pattern: str, *, retprobe: bool) -> KernelLink:
    from ebpf.kernel.attach import kprobe, kprobe_multi

    regex = "".join(".*" if c == "*" else "." if c == "?" else c for c in pattern)
    return kprobe_multi.attach_many(program, kprobe.functions_matching(f"^{regex}$"), retprobe=retprobe, partly=True)


def _tracepoint(program: KernelProgram, target: str, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import tracepoint

    category, _, name = target.partition(":")
    return tracepoint.attach(program, category, name, **how)


def _raw_tracepoint(program: KernelProgram, name: str) -> KernelLink:
    from ebpf.kernel.attach import raw_tracepoint

    return raw_tracepoint.attach(program, name)


def _uprobe(program: KernelProgram, binary: str, **where: Any) -> KernelLink:
    from ebpf.kernel.attach import uprobe

    return uprobe.attach(program, binary, **where)


def _uretprobe(program: KernelProgram, binary: str, **where: Any) -> KernelLink:
    return _uprobe(program, binary, retprobe=True, **where)


def _usdt(program: KernelProgram, binary: str, **where: Any) -> KernelLink:
    from ebpf.kernel.attach import usdt

    return usdt.attach(program, binary, **where)


def _perf_event(program: KernelProgram, type: int, *, config: int, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import perf_event

    return perf_event.attach(program, type, config, **how)


def _xdp(program: KernelProgram, device: str | int, *, flags: int, chain: int | None = None) -> KernelLink:
    from ebpf.kernel.attach import xdp

    return xdp.attach(program, device, flags=flags)


def _uprobe_multi(program: KernelProgram, binary: str, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import uprobe_multi

    return uprobe_multi.attach(program, binary, **how)


def _tc(program: KernelProgram, device: str | int, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import tc

    return tc.attach(program, device, **how)


def _lwt(program: KernelProgram, network: str, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import lwt

    return lwt.attach(program, network, **how)


def _tcx(program: KernelProgram, device: str | int, **where: Any) -> KernelLink:
    from ebpf.kernel.attach import tcx

    return tcx.attach(program, device, **where)


def _netkit(program: KernelProgram, device: str | int, **where: Any) -> KernelLink:
    return _tcx(program, device, kind="netkit", **where)


def _netns(program: KernelProgram, namespace: str) -> KernelLink:
    from ebpf.kernel.attach import netns

    return netns.attach(program, namespace)


def _netfilter(program: KernelProgram, hook: str, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import netfilter

    return netfilter.attach(program, hook, **how)


def _sockmap(program: KernelProgram, map: Any) -> KernelLink:
    from ebpf.kernel.attach import sockmap

    return sockmap.attach(program, map)


def _raw_socket(program: KernelProgram, device: str) -> KernelLink:
    from ebpf.kernel.attach import socket_filter

    return socket_filter.attach_raw(program, device)


def _cgroup(program: KernelProgram, group: str | int, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import cgroup

    return cgroup.attach(program, group, **how)


def _tracing(program: KernelProgram, target: None) -> KernelLink:
    from ebpf.kernel.attach import tracing

    return tracing.attach(program)


def _watchpoint(program: KernelProgram, address: int, **how: Any) -> KernelLink:
    from ebpf.kernel.attach import watchpoint

    return watchpoint.attach(program, address, **how)


def _iterator(program: KernelProgram, target: None) -> KernelLink:
    from ebpf.kernel.attach import tracing

    return tracing.attach_iterator(program)


_ATTACH: dict[str, Callable[..., Any]] = {
    "kprobe": _kprobe, "kretprobe": _kretprobe, "kprobe_multi": _kprobe_multi, "tracepoint": _tracepoint,
    "raw_tracepoint": _raw_tracepoint, "uprobe": _uprobe, "uretprobe": _uretprobe, "usdt": _usdt,
    "perf_event": _perf_event,
    "tcx": _tcx, "netkit": _netkit, "netns": _netns, "netfilter": _netfilter, "sockmap": _sockmap,
    "xdp": _xdp, "raw_socket": _raw_socket, "cgroup": _cgroup, "tracing": _tracing, "iterator": _iterator,
    "watchpoint": _watchpoint, "uprobe_multi": _uprobe_multi, "tc": _tc, "lwt": _lwt,
}
