"""Program types and attach types, with what each gives a program and asks of a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ebpf.abi.named import NamedInt

if TYPE_CHECKING:
    from typing import Final


class ProgType(NamedInt):
    """enum bpf_prog_type."""

    PREFIX: ClassVar[str] = "BPF_PROG_TYPE_"
    if TYPE_CHECKING:
        UNSPEC: Final[ProgType]
        SOCKET_FILTER: Final[ProgType]
        KPROBE: Final[ProgType]
        SCHED_CLS: Final[ProgType]
        SCHED_ACT: Final[ProgType]
        TRACEPOINT: Final[ProgType]
        XDP: Final[ProgType]
        PERF_EVENT: Final[ProgType]
        CGROUP_SKB: Final[ProgType]
        CGROUP_SOCK: Final[ProgType]
        LWT_IN: Final[ProgType]
        LWT_OUT: Final[ProgType]
        LWT_XMIT: Final[ProgType]
        SOCK_OPS: Final[ProgType]
        SK_SKB: Final[ProgType]
        CGROUP_DEVICE: Final[ProgType]
        SK_MSG: Final[ProgType]
        RAW_TRACEPOINT: Final[ProgType]
        CGROUP_SOCK_ADDR: Final[ProgType]
        LWT_SEG6LOCAL: Final[ProgType]
        LIRC_MODE2: Final[ProgType]
        SK_REUSEPORT: Final[ProgType]
        FLOW_DISSECTOR: Final[ProgType]
        CGROUP_SYSCTL: Final[ProgType]
        RAW_TRACEPOINT_WRITABLE: Final[ProgType]
        CGROUP_SOCKOPT: Final[ProgType]
        TRACING: Final[ProgType]
        STRUCT_OPS: Final[ProgType]
        EXT: Final[ProgType]
        LSM: Final[ProgType]
        SK_LOOKUP: Final[ProgType]
        SYSCALL: Final[ProgType]
        NETFILTER: Final[ProgType]


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
        CGROUP_INET_INGRESS: Final[AttachType]
        CGROUP_INET_EGRESS: Final[AttachType]
        CGROUP_INET_SOCK_CREATE: Final[AttachType]
        CGROUP_SOCK_OPS: Final[AttachType]
        SK_SKB_STREAM_PARSER: Final[AttachType]
        SK_SKB_STREAM_VERDICT: Final[AttachType]
        CGROUP_DEVICE: Final[AttachType]
        SK_MSG_VERDICT: Final[AttachType]
        CGROUP_INET4_BIND: Final[AttachType]
        CGROUP_INET6_BIND: Final[AttachType]
        CGROUP_INET4_CONNECT: Final[AttachType]
        CGROUP_INET6_CONNECT: Final[AttachType]
        CGROUP_INET4_POST_BIND: Final[AttachType]
        CGROUP_INET6_POST_BIND: Final[AttachType]
        CGROUP_UDP4_SENDMSG: Final[AttachType]
        CGROUP_UDP6_SENDMSG: Final[AttachType]
        LIRC_MODE2: Final[AttachType]
        FLOW_DISSECTOR: Final[AttachType]
        CGROUP_SYSCTL: Final[AttachType]
        CGROUP_UDP4_RECVMSG: Final[AttachType]
        CGROUP_UDP6_RECVMSG: Final[AttachType]
        CGROUP_GETSOCKOPT: Final[AttachType]
        CGROUP_SETSOCKOPT: Final[AttachType]
        TRACE_RAW_TP: Final[AttachType]
        TRACE_FENTRY: Final[AttachType]
        TRACE_FEXIT: Final[AttachType]
        MODIFY_RETURN: Final[AttachType]
        LSM_MAC: Final[AttachType]
        TRACE_ITER: Final[AttachType]
        CGROUP_INET4_GETPEERNAME: Final[AttachType]
        CGROUP_INET6_GETPEERNAME: Final[AttachType]
        CGROUP_INET4_GETSOCKNAME: Final[AttachType]
        CGROUP_INET6_GETSOCKNAME: Final[AttachType]
        XDP_DEVMAP: Final[AttachType]
        CGROUP_INET_SOCK_RELEASE: Final[AttachType]
        XDP_CPUMAP: Final[AttachType]
        SK_LOOKUP: Final[AttachType]
        XDP: Final[AttachType]
        SK_SKB_VERDICT: Final[AttachType]
        SK_REUSEPORT_SELECT: Final[AttachType]
        SK_REUSEPORT_SELECT_OR_MIGRATE: Final[AttachType]
        PERF_EVENT: Final[AttachType]
        TRACE_KPROBE_MULTI: Final[AttachType]
        LSM_CGROUP: Final[AttachType]
        STRUCT_OPS: Final[AttachType]
        NETFILTER: Final[AttachType]
        TCX_INGRESS: Final[AttachType]
        TCX_EGRESS: Final[AttachType]
        TRACE_UPROBE_MULTI: Final[AttachType]
        CGROUP_UNIX_CONNECT: Final[AttachType]
        CGROUP_UNIX_SENDMSG: Final[AttachType]
        CGROUP_UNIX_RECVMSG: Final[AttachType]
        CGROUP_UNIX_GETPEERNAME: Final[AttachType]
        CGROUP_UNIX_GETSOCKNAME: Final[AttachType]
        NETKIT_PRIMARY: Final[AttachType]
        NETKIT_PEER: Final[AttachType]
        TRACE_KPROBE_SESSION: Final[AttachType]
        TRACE_UPROBE_SESSION: Final[AttachType]


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
