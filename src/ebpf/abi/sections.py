"""Section names of libbpf objects: what ``SEC("kprobe/do_unlinkat")`` says about a program.

The names are libbpf's (docs "Program types and ELF sections"); a row is: name, program type, attach type, rules.
A name that ends in ``+`` may stand alone or be followed by ``/`` and a target; one that ends in ``/`` must be.
"""

from __future__ import annotations

from functools import lru_cache

from ebpf.abi.programs import AttachType, ProgType


class SectionInfo:
    """What a section name says.

    ``type`` and ``attach_type`` (``None``: the type has none); ``attach_to`` is the text after the slash ("" if none);
    ``kind`` is the table's own name (``"kprobe"``, ``"usdt"``); ``sleepable``: BPF_F_SLEEPABLE; ``frags``:
    BPF_F_XDP_HAS_FRAGS; ``needs_btf_target``: attach_to names a kernel function, tracepoint or hook in BTF;
    ``attach_type_optional``: old kernels without that attach type take the program without it;
    ``auto_attach``: the name alone is enough to attach the program.
    """

    __slots__ = ("attach_to", "attach_type", "attach_type_optional", "auto_attach", "frags", "kind",
                 "needs_btf_target", "sleepable", "type")

    def __init__(self, kind: str, type: ProgType, attach_type: AttachType | None, rules: str, attach_to: str) -> None:
        self.kind = kind
        self.type = type
        self.attach_type = attach_type
        self.attach_to = attach_to
        self.sleepable = "s" in rules
        self.frags = "f" in rules
        self.needs_btf_target = "b" in rules
        self.attach_type_optional = "o" in rules
        self.auto_attach = "a" in rules and (bool(attach_to) or "A" in rules)

    def __repr__(self) -> str:
        return f"SectionInfo({self.kind!r}, {self.type!r}, {self.attach_type!r}, attach_to={self.attach_to!r})"


_P, _A = ProgType, AttachType
# Rules: s sleepable, f XDP fragments, b target looked up in BTF, o attach type optional, a attaches by its name alone
# if a target is given, A even without one.
_ROWS: tuple[tuple[str, ProgType, AttachType | None, str], ...] = (
    ("socket", _P.SOCKET_FILTER, None, ""),
    ("sk_reuseport/migrate", _P.SK_REUSEPORT, _A.SK_REUSEPORT_SELECT_OR_MIGRATE, ""),
    ("sk_reuseport", _P.SK_REUSEPORT, _A.SK_REUSEPORT_SELECT, "o"),
    ("kprobe+", _P.KPROBE, None, "a"),
    ("uprobe+", _P.KPROBE, None, "a"),
    ("uprobe.s+", _P.KPROBE, None, "sa"),
    ("kretprobe+", _P.KPROBE, None, "a"),
    ("uretprobe+", _P.KPROBE, None, "a"),
    ("uretprobe.s+", _P.KPROBE, None, "sa"),
    ("kprobe.multi+", _P.KPROBE, _A.TRACE_KPROBE_MULTI, "a"),
    ("kretprobe.multi+", _P.KPROBE, _A.TRACE_KPROBE_MULTI, "a"),
    ("kprobe.session+", _P.KPROBE, _A.TRACE_KPROBE_SESSION, "a"),
    ("uprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, "a"),
    ("uretprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, "a"),
    ("uprobe.session+", _P.KPROBE, _A.TRACE_UPROBE_SESSION, "a"),
    ("uprobe.multi.s+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, "sa"),
    ("uretprobe.multi.s+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, "sa"),
    ("uprobe.session.s+", _P.KPROBE, _A.TRACE_UPROBE_SESSION, "sa"),
    ("ksyscall+", _P.KPROBE, None, "a"),
    ("kretsyscall+", _P.KPROBE, None, "a"),
    ("usdt+", _P.KPROBE, None, "a"),
    ("usdt.s+", _P.KPROBE, None, "sa"),
    ("tc/ingress", _P.SCHED_CLS, _A.TCX_INGRESS, "o"),
    ("tc/egress", _P.SCHED_CLS, _A.TCX_EGRESS, "o"),
    ("tcx/ingress", _P.SCHED_CLS, _A.TCX_INGRESS, "o"),
    ("tcx/egress", _P.SCHED_CLS, _A.TCX_EGRESS, "o"),
    ("tc", _P.SCHED_CLS, None, ""),
    ("classifier", _P.SCHED_CLS, None, ""),
    ("action", _P.SCHED_ACT, None, ""),
    ("netkit/primary", _P.SCHED_CLS, _A.NETKIT_PRIMARY, ""),
    ("netkit/peer", _P.SCHED_CLS, _A.NETKIT_PEER, ""),
    ("tracepoint+", _P.TRACEPOINT, None, "a"),
    ("tp+", _P.TRACEPOINT, None, "a"),
    ("raw_tracepoint+", _P.RAW_TRACEPOINT, None, "a"),
    ("raw_tp+", _P.RAW_TRACEPOINT, None, "a"),
    ("raw_tracepoint.w+", _P.RAW_TRACEPOINT_WRITABLE, None, "a"),
    ("raw_tp.w+", _P.RAW_TRACEPOINT_WRITABLE, None, "a"),
    ("tp_btf+", _P.TRACING, _A.TRACE_RAW_TP, "ba"),
    ("fentry+", _P.TRACING, _A.TRACE_FENTRY, "ba"),
    ("fmod_ret+", _P.TRACING, _A.MODIFY_RETURN, "ba"),
    ("fexit+", _P.TRACING, _A.TRACE_FEXIT, "ba"),
    ("fentry.s+", _P.TRACING, _A.TRACE_FENTRY, "bsa"),
    ("fmod_ret.s+", _P.TRACING, _A.MODIFY_RETURN, "bsa"),
    ("fexit.s+", _P.TRACING, _A.TRACE_FEXIT, "bsa"),
    ("freplace+", _P.EXT, None, "ba"),
    ("lsm+", _P.LSM, _A.LSM_MAC, "ba"),
    ("lsm.s+", _P.LSM, _A.LSM_MAC, "bsa"),
    ("lsm_cgroup+", _P.LSM, _A.LSM_CGROUP, "b"),
    ("iter+", _P.TRACING, _A.TRACE_ITER, "ba"),
    ("iter.s+", _P.TRACING, _A.TRACE_ITER, "bsa"),
    ("syscall", _P.SYSCALL, None, "s"),
    ("xdp.frags/devmap", _P.XDP, _A.XDP_DEVMAP, "f"),
    ("xdp/devmap", _P.XDP, _A.XDP_DEVMAP, "o"),
    ("xdp.frags/cpumap", _P.XDP, _A.XDP_CPUMAP, "f"),
    ("xdp/cpumap", _P.XDP, _A.XDP_CPUMAP, "o"),
    ("xdp.frags", _P.XDP, _A.XDP, "f"),
    ("xdp", _P.XDP, _A.XDP, "o"),
    ("perf_event", _P.PERF_EVENT, None, ""),
    ("lwt_in", _P.LWT_IN, None, ""),
    ("lwt_out", _P.LWT_OUT, None, ""),
    ("lwt_xmit", _P.LWT_XMIT, None, ""),
    ("lwt_seg6local", _P.LWT_SEG6LOCAL, None, ""),
    ("sockops", _P.SOCK_OPS, _A.CGROUP_SOCK_OPS, "o"),
    ("sk_skb/stream_parser", _P.SK_SKB, _A.SK_SKB_STREAM_PARSER, "o"),
    ("sk_skb/stream_verdict", _P.SK_SKB, _A.SK_SKB_STREAM_VERDICT, "o"),
    ("sk_skb/verdict", _P.SK_SKB, _A.SK_SKB_VERDICT, "o"),
    ("sk_skb", _P.SK_SKB, None, ""),
    ("sk_msg", _P.SK_MSG, _A.SK_MSG_VERDICT, "o"),
    ("lirc_mode2", _P.LIRC_MODE2, _A.LIRC_MODE2, "o"),
    ("flow_dissector", _P.FLOW_DISSECTOR, _A.FLOW_DISSECTOR, "o"),
    ("cgroup_skb/ingress", _P.CGROUP_SKB, _A.CGROUP_INET_INGRESS, "o"),
    ("cgroup_skb/egress", _P.CGROUP_SKB, _A.CGROUP_INET_EGRESS, "o"),
    ("cgroup/skb", _P.CGROUP_SKB, None, ""),
    ("cgroup/sock_create", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_CREATE, ""),
    ("cgroup/sock_release", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_RELEASE, ""),
    ("cgroup/sock", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_CREATE, "o"),
    ("cgroup/post_bind4", _P.CGROUP_SOCK, _A.CGROUP_INET4_POST_BIND, ""),
    ("cgroup/post_bind6", _P.CGROUP_SOCK, _A.CGROUP_INET6_POST_BIND, ""),
    ("cgroup/bind4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET4_BIND, ""),
    ("cgroup/bind6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET6_BIND, ""),
    ("cgroup/connect4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET4_CONNECT, ""),
    ("cgroup/connect6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET6_CONNECT, ""),
    ("cgroup/connect_unix", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UNIX_CONNECT, ""),
    ("cgroup/sendmsg4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UDP4_SENDMSG, ""),
    ("cgroup/sendmsg6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UDP6_SENDMSG, ""),
    ("cgroup/sendmsg_unix", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UNIX_SENDMSG, ""),
    ("cgroup/recvmsg4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UDP4_RECVMSG, ""),
    ("cgroup/recvmsg6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UDP6_RECVMSG, ""),
    ("cgroup/recvmsg_unix", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UNIX_RECVMSG, ""),
    ("cgroup/getpeername4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET4_GETPEERNAME, ""),
    ("cgroup/getpeername6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET6_GETPEERNAME, ""),
    ("cgroup/getpeername_unix", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UNIX_GETPEERNAME, ""),
    ("cgroup/getsockname4", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET4_GETSOCKNAME, ""),
    ("cgroup/getsockname6", _P.CGROUP_SOCK_ADDR, _A.CGROUP_INET6_GETSOCKNAME, ""),
    ("cgroup/getsockname_unix", _P.CGROUP_SOCK_ADDR, _A.CGROUP_UNIX_GETSOCKNAME, ""),
    ("cgroup/sysctl", _P.CGROUP_SYSCTL, _A.CGROUP_SYSCTL, ""),
    ("cgroup/getsockopt", _P.CGROUP_SOCKOPT, _A.CGROUP_GETSOCKOPT, ""),
    ("cgroup/setsockopt", _P.CGROUP_SOCKOPT, _A.CGROUP_SETSOCKOPT, ""),
    ("cgroup/dev", _P.CGROUP_DEVICE, _A.CGROUP_DEVICE, "o"),
    ("struct_ops+", _P.STRUCT_OPS, _A.STRUCT_OPS, ""),
    ("struct_ops.s+", _P.STRUCT_OPS, _A.STRUCT_OPS, "s"),
    ("sk_lookup", _P.SK_LOOKUP, _A.SK_LOOKUP, ""),
    ("netfilter", _P.NETFILTER, _A.NETFILTER, ""),
)

SECTION_NAMES: tuple[str, ...] = tuple(row[0].rstrip("+") for row in _ROWS)
"""Every name of the table, for suggestions."""

TARGETED_SECTIONS: frozenset[str] = frozenset(row[0][:-1] for row in _ROWS if row[0].endswith("+"))
"""Those that a target may follow, after a slash."""

_EXACT = {row[0].rstrip("+"): row for row in _ROWS}


@lru_cache(1024)
def parse_section(name: str) -> SectionInfo | None:
    """What a section called ``name`` says about its program; ``None`` if that is no program section's name.

    A leading ``?`` (libbpf: do not load by itself) is ignored here.
    """
    name = name.removeprefix("?")
    row = _EXACT.get(name)
    if row is not None:
        return SectionInfo(row[0].rstrip("+"), row[1], row[2], row[3], "")
    head, slash, target = name.partition("/")
    row = _EXACT.get(head)
    if row is None or not slash or not row[0].endswith("+"):
        return None
    return SectionInfo(head, row[1], row[2], row[3], target)


def section_autoload(name: str) -> bool:
    """Whether libbpf would load the program by itself (``SEC("?…")`` says no)."""
    return not name.startswith("?")
