"""Program types and attach types, with what each gives a program and asks of a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ebpf.abi.named import NamedInt


class ProgType(NamedInt):
    """enum bpf_prog_type."""

    PREFIX: ClassVar[str] = "BPF_PROG_TYPE_"
    if TYPE_CHECKING:
        UNSPEC: ClassVar[ProgType]
        SOCKET_FILTER: ClassVar[ProgType]
        KPROBE: ClassVar[ProgType]
        SCHED_CLS: ClassVar[ProgType]
        SCHED_ACT: ClassVar[ProgType]
        TRACEPOINT: ClassVar[ProgType]
        XDP: ClassVar[ProgType]
        PERF_EVENT: ClassVar[ProgType]
        CGROUP_SKB: ClassVar[ProgType]
        CGROUP_SOCK: ClassVar[ProgType]
        LWT_IN: ClassVar[ProgType]
        LWT_OUT: ClassVar[ProgType]
        LWT_XMIT: ClassVar[ProgType]
        SOCK_OPS: ClassVar[ProgType]
        SK_SKB: ClassVar[ProgType]
        CGROUP_DEVICE: ClassVar[ProgType]
        SK_MSG: ClassVar[ProgType]
        RAW_TRACEPOINT: ClassVar[ProgType]
        CGROUP_SOCK_ADDR: ClassVar[ProgType]
        LWT_SEG6LOCAL: ClassVar[ProgType]
        LIRC_MODE2: ClassVar[ProgType]
        SK_REUSEPORT: ClassVar[ProgType]
        FLOW_DISSECTOR: ClassVar[ProgType]
        CGROUP_SYSCTL: ClassVar[ProgType]
        RAW_TRACEPOINT_WRITABLE: ClassVar[ProgType]
        CGROUP_SOCKOPT: ClassVar[ProgType]
        TRACING: ClassVar[ProgType]
        STRUCT_OPS: ClassVar[ProgType]
        EXT: ClassVar[ProgType]
        LSM: ClassVar[ProgType]
        SK_LOOKUP: ClassVar[ProgType]
        SYSCALL: ClassVar[ProgType]
        NETFILTER: ClassVar[ProgType]


ProgType.define("""
UNSPEC SOCKET_FILTER KPROBE SCHED_CLS SCHED_ACT TRACEPOINT XDP PERF_EVENT CGROUP_SKB CGROUP_SOCK LWT_IN LWT_OUT
LWT_XMIT SOCK_OPS SK_SKB CGROUP_DEVICE SK_MSG RAW_TRACEPOINT CGROUP_SOCK_ADDR LWT_SEG6LOCAL LIRC_MODE2 SK_REUSEPORT
FLOW_DISSECTOR CGROUP_SYSCTL RAW_TRACEPOINT_WRITABLE CGROUP_SOCKOPT TRACING STRUCT_OPS EXT LSM SK_LOOKUP SYSCALL
NETFILTER
""")


class AttachType(NamedInt):
    """enum bpf_attach_type."""

    PREFIX: ClassVar[str] = "BPF_"
    if TYPE_CHECKING:
        CGROUP_INET_INGRESS: ClassVar[AttachType]
        CGROUP_INET_EGRESS: ClassVar[AttachType]
        CGROUP_INET_SOCK_CREATE: ClassVar[AttachType]
        CGROUP_SOCK_OPS: ClassVar[AttachType]
        SK_SKB_STREAM_PARSER: ClassVar[AttachType]
        SK_SKB_STREAM_VERDICT: ClassVar[AttachType]
        CGROUP_DEVICE: ClassVar[AttachType]
        SK_MSG_VERDICT: ClassVar[AttachType]
        CGROUP_INET4_BIND: ClassVar[AttachType]
        CGROUP_INET6_BIND: ClassVar[AttachType]
        CGROUP_INET4_CONNECT: ClassVar[AttachType]
        CGROUP_INET6_CONNECT: ClassVar[AttachType]
        CGROUP_INET4_POST_BIND: ClassVar[AttachType]
        CGROUP_INET6_POST_BIND: ClassVar[AttachType]
        CGROUP_UDP4_SENDMSG: ClassVar[AttachType]
        CGROUP_UDP6_SENDMSG: ClassVar[AttachType]
        LIRC_MODE2: ClassVar[AttachType]
        FLOW_DISSECTOR: ClassVar[AttachType]
        CGROUP_SYSCTL: ClassVar[AttachType]
        CGROUP_UDP4_RECVMSG: ClassVar[AttachType]
        CGROUP_UDP6_RECVMSG: ClassVar[AttachType]
        CGROUP_GETSOCKOPT: ClassVar[AttachType]
        CGROUP_SETSOCKOPT: ClassVar[AttachType]
        TRACE_RAW_TP: ClassVar[AttachType]
        TRACE_FENTRY: ClassVar[AttachType]
        TRACE_FEXIT: ClassVar[AttachType]
        MODIFY_RETURN: ClassVar[AttachType]
        LSM_MAC: ClassVar[AttachType]
        TRACE_ITER: ClassVar[AttachType]
        CGROUP_INET4_GETPEERNAME: ClassVar[AttachType]
        CGROUP_INET6_GETPEERNAME: ClassVar[AttachType]
        CGROUP_INET4_GETSOCKNAME: ClassVar[AttachType]
        CGROUP_INET6_GETSOCKNAME: ClassVar[AttachType]
        XDP_DEVMAP: ClassVar[AttachType]
        CGROUP_INET_SOCK_RELEASE: ClassVar[AttachType]
        XDP_CPUMAP: ClassVar[AttachType]
        SK_LOOKUP: ClassVar[AttachType]
        XDP: ClassVar[AttachType]
        SK_SKB_VERDICT: ClassVar[AttachType]
        SK_REUSEPORT_SELECT: ClassVar[AttachType]
        SK_REUSEPORT_SELECT_OR_MIGRATE: ClassVar[AttachType]
        PERF_EVENT: ClassVar[AttachType]
        TRACE_KPROBE_MULTI: ClassVar[AttachType]
        LSM_CGROUP: ClassVar[AttachType]
        STRUCT_OPS: ClassVar[AttachType]
        NETFILTER: ClassVar[AttachType]
        TCX_INGRESS: ClassVar[AttachType]
        TCX_EGRESS: ClassVar[AttachType]
        TRACE_UPROBE_MULTI: ClassVar[AttachType]
        CGROUP_UNIX_CONNECT: ClassVar[AttachType]
        CGROUP_UNIX_SENDMSG: ClassVar[AttachType]
        CGROUP_UNIX_RECVMSG: ClassVar[AttachType]
        CGROUP_UNIX_GETPEERNAME: ClassVar[AttachType]
        CGROUP_UNIX_GETSOCKNAME: ClassVar[AttachType]
        NETKIT_PRIMARY: ClassVar[AttachType]
        NETKIT_PEER: ClassVar[AttachType]
        TRACE_KPROBE_SESSION: ClassVar[AttachType]
        TRACE_UPROBE_SESSION: ClassVar[AttachType]


AttachType.define("""
CGROUP_INET_INGRESS CGROUP_INET_EGRESS CGROUP_INET_SOCK_CREATE CGROUP_SOCK_OPS SK_SKB_STREAM_PARSER
SK_SKB_STREAM_VERDICT CGROUP_DEVICE SK_MSG_VERDICT CGROUP_INET4_BIND CGROUP_INET6_BIND CGROUP_INET4_CONNECT
CGROUP_INET6_CONNECT CGROUP_INET4_POST_BIND CGROUP_INET6_POST_BIND CGROUP_UDP4_SENDMSG CGROUP_UDP6_SENDMSG LIRC_MODE2
FLOW_DISSECTOR CGROUP_SYSCTL CGROUP_UDP4_RECVMSG CGROUP_UDP6_RECVMSG CGROUP_GETSOCKOPT CGROUP_SETSOCKOPT TRACE_RAW_TP
TRACE_FENTRY TRACE_FEXIT MODIFY_RETURN LSM_MAC TRACE_ITER CGROUP_INET4_GETPEERNAME CGROUP_INET6_GETPEERNAME
CGROUP_INET4_GETSOCKNAME CGROUP_INET6_GETSOCKNAME XDP_DEVMAP CGROUP_INET_SOCK_RELEASE XDP_CPUMAP SK_LOOKUP XDP
SK_SKB_VERDICT SK_REUSEPORT_SELECT SK_REUSEPORT_SELECT_OR_MIGRATE PERF_EVENT TRACE_KPROBE_MULTI LSM_CGROUP STRUCT_OPS
NETFILTER TCX_INGRESS TCX_EGRESS TRACE_UPROBE_MULTI CGROUP_UNIX_CONNECT CGROUP_UNIX_SENDMSG CGROUP_UNIX_RECVMSG
CGROUP_UNIX_GETPEERNAME CGROUP_UNIX_GETSOCKNAME NETKIT_PRIMARY NETKIT_PEER TRACE_KPROBE_SESSION TRACE_UPROBE_SESSION
""")


ATTACH_SINCE: dict[AttachType, str] = {
    **dict.fromkeys((AttachType.CGROUP_INET4_GETPEERNAME, AttachType.CGROUP_INET6_GETPEERNAME,
                     AttachType.CGROUP_INET4_GETSOCKNAME, AttachType.CGROUP_INET6_GETSOCKNAME), "5.8"),
    AttachType.XDP_DEVMAP: "5.8", AttachType.TRACE_ITER: "5.8", AttachType.CGROUP_INET_SOCK_RELEASE: "5.9",
    AttachType.XDP_CPUMAP: "5.9", AttachType.SK_LOOKUP: "5.9", AttachType.XDP: "5.9",
    AttachType.SK_SKB_VERDICT: "5.13", AttachType.SK_REUSEPORT_SELECT: "5.14",
    AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE: "5.14", AttachType.PERF_EVENT: "5.15",
    AttachType.TRACE_KPROBE_MULTI: "5.18", AttachType.LSM_CGROUP: "6.0", AttachType.NETFILTER: "6.4",
    AttachType.TCX_INGRESS: "6.6", AttachType.TCX_EGRESS: "6.6", AttachType.TRACE_UPROBE_MULTI: "6.6",
    **dict.fromkeys((AttachType.CGROUP_UNIX_CONNECT, AttachType.CGROUP_UNIX_SENDMSG, AttachType.CGROUP_UNIX_RECVMSG,
                     AttachType.CGROUP_UNIX_GETPEERNAME, AttachType.CGROUP_UNIX_GETSOCKNAME,
                     AttachType.NETKIT_PRIMARY, AttachType.NETKIT_PEER), "6.7"),
    AttachType.TRACE_KPROBE_SESSION: "6.10", AttachType.TRACE_UPROBE_SESSION: "6.13",
}
"""The first release with an attach type, where its program type is older."""


class ProgramType:
    """What a program type is: its context ``struct`` ("" where BTF or the hook decides), the first release ``since``.

    ``attach_type_required``: the kernel refuses BPF_PROG_LOAD without the right expected_attach_type.
    ``btf_target_required``: BPF_PROG_LOAD wants attach_btf_id. ``gpl_required``: other licences are refused.
    ``capabilities``: what a user needs beside CAP_BPF (kernels before 5.8: CAP_SYS_ADMIN).
    """

    __slots__ = ("attach_type_required", "btf_target_required", "capabilities", "context", "gpl_required", "since",
                 "type")

    def __init__(self, type: ProgType, context: str, since: str, flags: str, capabilities: str) -> None:
        self.type = type
        self.context = context
        self.since = since
        self.attach_type_required = "a" in flags
        self.btf_target_required = "b" in flags
        self.gpl_required = "g" in flags
        self.capabilities = tuple(capabilities.split())


_P = ProgType
_ROWS: tuple[tuple[ProgType, str, str, str, str], ...] = (
    (_P.SOCKET_FILTER, "__sk_buff", "3.19", "", ""),
    (_P.KPROBE, "pt_regs", "4.1", "", "CAP_PERFMON"),
    (_P.SCHED_CLS, "__sk_buff", "4.1", "", "CAP_NET_ADMIN"),
    (_P.SCHED_ACT, "__sk_buff", "4.1", "", "CAP_NET_ADMIN"),
    (_P.TRACEPOINT, "", "4.7", "", "CAP_PERFMON"),
    (_P.XDP, "xdp_md", "4.8", "", "CAP_NET_ADMIN"),
    (_P.PERF_EVENT, "bpf_perf_event_data", "4.9", "", "CAP_PERFMON"),
    (_P.CGROUP_SKB, "__sk_buff", "4.10", "", "CAP_NET_ADMIN"),
    (_P.CGROUP_SOCK, "bpf_sock", "4.10", "a", "CAP_NET_ADMIN"),
    (_P.LWT_IN, "__sk_buff", "4.10", "", "CAP_NET_ADMIN"),
    (_P.LWT_OUT, "__sk_buff", "4.10", "", "CAP_NET_ADMIN"),
    (_P.LWT_XMIT, "__sk_buff", "4.10", "", "CAP_NET_ADMIN"),
    (_P.SOCK_OPS, "bpf_sock_ops", "4.13", "", "CAP_NET_ADMIN"),
    (_P.SK_SKB, "__sk_buff", "4.14", "", "CAP_NET_ADMIN"),
    (_P.CGROUP_DEVICE, "bpf_cgroup_dev_ctx", "4.15", "", "CAP_NET_ADMIN"),
    (_P.SK_MSG, "sk_msg_md", "4.17", "", "CAP_NET_ADMIN"),
    (_P.RAW_TRACEPOINT, "bpf_raw_tracepoint_args", "4.17", "", "CAP_PERFMON"),
    (_P.CGROUP_SOCK_ADDR, "bpf_sock_addr", "4.17", "a", "CAP_NET_ADMIN"),
    (_P.LWT_SEG6LOCAL, "__sk_buff", "4.18", "", "CAP_NET_ADMIN"),
    (_P.LIRC_MODE2, "", "4.18", "", "CAP_PERFMON"),
    (_P.SK_REUSEPORT, "sk_reuseport_md", "4.19", "", ""),
    (_P.FLOW_DISSECTOR, "__sk_buff", "4.20", "", "CAP_NET_ADMIN"),
    (_P.CGROUP_SYSCTL, "bpf_sysctl", "5.2", "", "CAP_NET_ADMIN"),
    (_P.RAW_TRACEPOINT_WRITABLE, "bpf_raw_tracepoint_args", "5.2", "", "CAP_PERFMON"),
    (_P.CGROUP_SOCKOPT, "bpf_sockopt", "5.3", "a", "CAP_NET_ADMIN"),
    (_P.TRACING, "", "5.5", "ab", "CAP_PERFMON"),
    (_P.STRUCT_OPS, "", "5.6", "abg", "CAP_PERFMON"),
    (_P.EXT, "", "5.6", "b", "CAP_PERFMON CAP_NET_ADMIN"),
    (_P.LSM, "", "5.7", "abg", "CAP_PERFMON"),
    (_P.SK_LOOKUP, "bpf_sk_lookup", "5.9", "a", "CAP_NET_ADMIN"),
    (_P.SYSCALL, "", "5.14", "", ""),
    (_P.NETFILTER, "bpf_nf_ctx", "6.4", "a", "CAP_NET_ADMIN"),
)

PROGRAM_TYPES: dict[int, ProgramType] = {int(row[0]): ProgramType(*row) for row in _ROWS}
"""ProgType → its row."""
