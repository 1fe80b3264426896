"""eBPF from Python: C text in, a program attached in the Linux kernel out, its maps and events as Python values.

::

    import ebpf

    with ebpf.load(ebpf.compile("prog.c")) as session:
        session.attach()
        for event in session.maps["events"].events():
            print(event.pid, event.comm)

Names are resolved when they are first used (PEP 562): ``import ebpf`` itself imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would cost 6 ms
if TYPE_CHECKING:
    from ebpf.abi.maps import MapType as MapType
    from ebpf.abi.programs import AttachType as AttachType, ProgType as ProgType
    from ebpf.btf import Btf as Btf, Record as Record
    from ebpf.compiler.py.library import (
        address_of as address_of,
        boot_ns as boot_ns,
        cast as cast,
        cgroup_id as cgroup_id,
        comm as comm,
        cpu as cpu,
        current_task as current_task,
        gid as gid,
        helpers as helpers,
        htonl as htonl,
        htons as htons,
        jiffies as jiffies,
        ktime_ns as ktime_ns,
        log2 as log2,
        noinline as noinline,
        ntohl as ntohl,
        ntohs as ntohs,
        numa_node as numa_node,
        pid as pid,
        pid_tgid as pid_tgid,
        printk as printk,
        random as random,
        read_kernel as read_kernel,
        read_kernel_str as read_kernel_str,
        read_user as read_user,
        read_user_str as read_user_str,
        redirect as redirect,
        signal as signal,
        sizeof as sizeof,
        tail_call as tail_call,
        tid as tid,
        uid as uid,
    )
    from ebpf.compiler.py.types import (
        Struct as Struct,
        be16 as be16,
        be32 as be32,
        be64 as be64,
        chars as chars,
        contexts as contexts,
        i8 as i8,
        i16 as i16,
        i32 as i32,
        i64 as i64,
        linux as linux,
        u8 as u8,
        u16 as u16,
        u32 as u32,
        u64 as u64,
    )
    from ebpf.debugger import Debugger as Debugger, debug as debug
    from ebpf.diagnostics import (
        Diagnostic as Diagnostic,
        format_diagnostic as format_diagnostic,
        format_error as format_error,
    )
    from ebpf.errors import (
        AttachError as AttachError,
        CompileError as CompileError,
        EbpfError as EbpfError,
        FormatError as FormatError,
        InternalError as InternalError,
        KernelError as KernelError,
        KeyMissing as KeyMissing,
        LoadError as LoadError,
        MapError as MapError,
        MapFull as MapFull,
        NotSupported as NotSupported,
        PrivilegeError as PrivilegeError,
        RelocationError as RelocationError,
        TargetNotFound as TargetNotFound,
        UnknownName as UnknownName,
        UsageError as UsageError,
        VerifierError as VerifierError,
    )
    from ebpf.isa import disassemble as disassemble
    from ebpf.machine.network.pcap import read_pcap as read_pcap, write_pcap as write_pcap
    from ebpf.object import MapSpec as MapSpec, Object as Object, ProgramSpec as ProgramSpec
    from ebpf.session import (
        EventStream as EventStream,
        Link as Link,
        Map as Map,
        Program as Program,
        Session as Session,
        compile as compile,
        load as load,
        open as open,
        use as use,
    )
    from ebpf.session.audit import Audited as Audited
    from ebpf.session.coverage import coverage as coverage
    from ebpf.session.doctor import Finding as Finding, examine as examine
    from ebpf.session.explain import explain as explain
    from ebpf.session.flamegraph import FlameGraph as FlameGraph
    from ebpf.session.functions.attaching import attach as attach
    from ebpf.session.functions.buffers import (
        BloomFilter as BloomFilter,
        CgrpStorage as CgrpStorage,
        InodeStorage as InodeStorage,
        PerfEventArray as PerfEventArray,
        Queue as Queue,
        RingBuf as RingBuf,
        SkStorage as SkStorage,
        Stack as Stack,
        TaskStorage as TaskStorage,
        UserRingBuf as UserRingBuf,
    )
    from ebpf.session.functions.containers import (
        DevMapHash as DevMapHash,
        Hash as Hash,
        HashOfMaps as HashOfMaps,
        LpmTrie as LpmTrie,
        LruHash as LruHash,
        LruPerCpuHash as LruPerCpuHash,
        PerCpuHash as PerCpuHash,
        ResizableHash as ResizableHash,
        SockHash as SockHash,
    )
    from ebpf.session.functions.counting import Log2Histogram as Log2Histogram
    from ebpf.session.functions.function import Function as Function
    from ebpf.session.functions.globals import Global as Global
    from ebpf.session.functions.hooks import (
        cgroup_bind4 as cgroup_bind4,
        cgroup_bind6 as cgroup_bind6,
        cgroup_connect4 as cgroup_connect4,
        cgroup_connect6 as cgroup_connect6,
        cgroup_connect_unix as cgroup_connect_unix,
        cgroup_dev as cgroup_dev,
        cgroup_getpeername4 as cgroup_getpeername4,
        cgroup_getpeername6 as cgroup_getpeername6,
        cgroup_getpeername_unix as cgroup_getpeername_unix,
        cgroup_getsockname4 as cgroup_getsockname4,
        cgroup_getsockname6 as cgroup_getsockname6,
        cgroup_getsockname_unix as cgroup_getsockname_unix,
        cgroup_getsockopt as cgroup_getsockopt,
        cgroup_post_bind4 as cgroup_post_bind4,
        cgroup_post_bind6 as cgroup_post_bind6,
        cgroup_recvmsg4 as cgroup_recvmsg4,
        cgroup_recvmsg6 as cgroup_recvmsg6,
        cgroup_recvmsg_unix as cgroup_recvmsg_unix,
        cgroup_sendmsg4 as cgroup_sendmsg4,
        cgroup_sendmsg6 as cgroup_sendmsg6,
        cgroup_sendmsg_unix as cgroup_sendmsg_unix,
        cgroup_setsockopt as cgroup_setsockopt,
        cgroup_skb as cgroup_skb,
        cgroup_sock as cgroup_sock,
        cgroup_sock_create as cgroup_sock_create,
        cgroup_sock_release as cgroup_sock_release,
        cgroup_sysctl as cgroup_sysctl,
        fentry as fentry,
        fexit as fexit,
        flow_dissector as flow_dissector,
        fmod_ret as fmod_ret,
        freplace as freplace,
        iter as iter,
        kprobe as kprobe,
        kprobe_multi as kprobe_multi,
        kprobe_session as kprobe_session,
        kretprobe as kretprobe,
        kretprobe_multi as kretprobe_multi,
        kretsyscall as kretsyscall,
        ksyscall as ksyscall,
        lirc_mode2 as lirc_mode2,
        lsm as lsm,
        lsm_cgroup as lsm_cgroup,
        lwt_in as lwt_in,
        lwt_out as lwt_out,
        lwt_seg6local as lwt_seg6local,
        lwt_xmit as lwt_xmit,
        netfilter as netfilter,
        netkit as netkit,
        perf_event as perf_event,
        raw_tracepoint as raw_tracepoint,
        raw_tracepoint_w as raw_tracepoint_w,
        sk_lookup as sk_lookup,
        sk_msg as sk_msg,
        sk_reuseport as sk_reuseport,
        sk_skb as sk_skb,
        socket_filter as socket_filter,
        sockops as sockops,
        struct_ops as struct_ops,
        syscall as syscall,
        tc as tc,
        tc_action as tc_action,
        tcx as tcx,
        tp_btf as tp_btf,
        tracepoint as tracepoint,
        uprobe as uprobe,
        uprobe_multi as uprobe_multi,
        uprobe_session as uprobe_session,
        uretprobe as uretprobe,
        uretprobe_multi as uretprobe_multi,
        usdt as usdt,
        xdp as xdp,
    )
    from ebpf.session.functions.sequences import (
        Array as Array,
        ArrayOfMaps as ArrayOfMaps,
        CgroupArray as CgroupArray,
        CpuMap as CpuMap,
        DevMap as DevMap,
        PerCpuArray as PerCpuArray,
        ProgArray as ProgArray,
        ReuseportSockArray as ReuseportSockArray,
        SockMap as SockMap,
        StackTrace as StackTrace,
        XskMap as XskMap,
    )
    from ebpf.session.histograms import Histogram as Histogram
    from ebpf.session.host import host as host
    from ebpf.session.inventory import inventory as inventory
    from ebpf.session.recordings import record as record
    from ebpf.session.statistics import ProgramCost as ProgramCost
    from ebpf.session.stubs import stubs as stubs
    from ebpf.session.toolchain import build as build, link as link
    from ebpf.session.tracing.build import trace as trace
    from ebpf.session.tracing.listing import list_probes as list_probes
    from ebpf.session.tracing.trace import Trace as Trace, TraceEvent as TraceEvent
    from ebpf.session.verification import verify as verify

__version__ = "0.1.0"

# Where each name lives. One row a module; `__all__` follows from it.
_HOMES = {
    "ebpf.abi.maps": (
        "MapType",
    ),
    "ebpf.abi.programs": (
        "AttachType", "ProgType",
    ),
    "ebpf.btf": (
        "Btf", "Record",
    ),
    "ebpf.debugger": (
        "Debugger", "debug",
    ),
    "ebpf.diagnostics": (
        "Diagnostic", "format_diagnostic", "format_error",
    ),
    "ebpf.errors": (
        "AttachError", "CompileError", "EbpfError", "FormatError", "InternalError", "KernelError", "KeyMissing",
        "LoadError", "MapError", "MapFull", "NotSupported", "PrivilegeError", "RelocationError", "TargetNotFound",
        "UnknownName", "UsageError", "VerifierError",
    ),
    "ebpf.isa": (
        "disassemble",
    ),
    "ebpf.machine.network.pcap": (
        "read_pcap", "write_pcap",
    ),
    "ebpf.object": (
        "MapSpec", "Object", "ProgramSpec",
    ),
    "ebpf.session": (
        "EventStream", "Link", "Map", "Program", "Session", "compile", "load", "open",
        "use",
    ),
    "ebpf.session.stubs": (
        "stubs",
    ),
    "ebpf.session.toolchain": (
        "build", "link",
    ),
    "ebpf.session.audit": (
        "Audited",
    ),
    "ebpf.session.statistics": (
        "ProgramCost",
    ),
    "ebpf.session.coverage": (
        "coverage",
    ),
    "ebpf.session.doctor": (
        "Finding", "examine",
    ),
    "ebpf.session.explain": (
        "explain",
    ),
    "ebpf.session.flamegraph": (
        "FlameGraph",
    ),
    "ebpf.session.histograms": (
        "Histogram",
    ),
    "ebpf.session.host": (
        "host",
    ),
    "ebpf.session.inventory": (
        "inventory",
    ),
    "ebpf.session.tracing.build": (
        "trace",
    ),
    "ebpf.session.tracing.listing": (
        "list_probes",
    ),
    "ebpf.session.tracing.trace": (
        "Trace", "TraceEvent",
    ),
    "ebpf.session.recordings": (
        "record",
    ),
    "ebpf.compiler.py.library": (
        "address_of", "boot_ns", "cast", "cgroup_id", "comm", "cpu", "current_task", "gid", "helpers", "htonl",
        "htons", "jiffies", "ktime_ns", "log2", "noinline", "ntohl", "ntohs", "numa_node", "pid", "pid_tgid",
        "printk", "random", "read_kernel", "read_kernel_str", "read_user", "read_user_str", "redirect",
        "signal", "sizeof", "tail_call", "tid", "uid",
    ),
    "ebpf.compiler.py.types": (
        "Struct", "be16", "be32", "be64", "chars", "contexts", "i16", "i32", "i64", "i8", "linux",
        "u16", "u32", "u64", "u8",
    ),
    "ebpf.session.functions.attaching": (
        "attach",
    ),
    "ebpf.session.functions.buffers": (
        "BloomFilter", "CgrpStorage", "InodeStorage", "PerfEventArray", "Queue", "RingBuf", "SkStorage",
        "Stack", "TaskStorage", "UserRingBuf",
    ),
    "ebpf.session.functions.containers": (
        "DevMapHash", "Hash", "HashOfMaps", "LpmTrie", "LruHash", "LruPerCpuHash", "PerCpuHash",
        "ResizableHash", "SockHash",
    ),
    "ebpf.session.functions.sequences": (
        "Array", "ArrayOfMaps", "CgroupArray", "CpuMap", "DevMap", "PerCpuArray", "ProgArray",
        "ReuseportSockArray", "SockMap", "StackTrace", "XskMap",
    ),
    "ebpf.session.functions.counting": (
        "Log2Histogram",
    ),
    "ebpf.session.functions.function": (
        "Function",
    ),
    "ebpf.session.functions.globals": (
        "Global",
    ),
    "ebpf.session.functions.hooks": (
        "cgroup_bind4", "cgroup_bind6", "cgroup_connect4", "cgroup_connect6", "cgroup_connect_unix",
        "cgroup_dev", "cgroup_getpeername4", "cgroup_getpeername6", "cgroup_getpeername_unix",
        "cgroup_getsockname4", "cgroup_getsockname6", "cgroup_getsockname_unix", "cgroup_getsockopt",
        "cgroup_post_bind4", "cgroup_post_bind6", "cgroup_recvmsg4", "cgroup_recvmsg6", "cgroup_recvmsg_unix",
        "cgroup_sendmsg4", "cgroup_sendmsg6", "cgroup_sendmsg_unix", "cgroup_setsockopt", "cgroup_skb",
        "cgroup_sock", "cgroup_sock_create", "cgroup_sock_release", "cgroup_sysctl", "fentry", "fexit",
        "flow_dissector", "fmod_ret", "freplace", "iter", "kprobe", "kprobe_multi", "kprobe_session",
        "kretprobe", "kretprobe_multi", "kretsyscall", "ksyscall", "lirc_mode2", "lsm", "lsm_cgroup", "lwt_in",
        "lwt_out", "lwt_seg6local", "lwt_xmit", "netfilter", "netkit", "perf_event", "raw_tracepoint",
        "raw_tracepoint_w", "sk_lookup", "sk_msg", "sk_reuseport", "sk_skb", "socket_filter", "sockops",
        "struct_ops", "syscall", "tc", "tc_action", "tcx", "tp_btf", "tracepoint", "uprobe", "uprobe_multi",
        "uprobe_session", "uretprobe", "uretprobe_multi", "usdt", "xdp",
    ),
    "ebpf.session.verification": (
        "verify",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value  # the next use costs nothing
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
