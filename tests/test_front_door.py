"""`import ebpf`: which names it offers, that each is there, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf

SOURCE = Path(ebpf.__file__)

# The public API. A name added or removed here is a decision, and a line in CHANGELOG.md.
NAMES = [
    "Array", "ArrayOfMaps", "AttachError", "AttachType", "Audited", "BloomFilter", "Btf", "CgroupArray",
    "CgrpStorage", "CompileError", "CpuMap", "Debugger", "DevMap", "DevMapHash", "Diagnostic", "EbpfError", "EventStream",
    "Finding", "FlameGraph", "FormatError", "Function", "Global", "Hash", "HashOfMaps", "Histogram", "InodeStorage",
    "InternalError", "KernelError", "KeyMissing", "Link", "LoadError", "Log2Histogram", "LpmTrie", "LruHash",
    "LruPerCpuHash", "Map", "MapError", "MapFull", "MapSpec", "MapType", "NotSupported", "Object", "PerCpuArray",
    "PerCpuHash", "PerfEventArray", "PrivilegeError", "ProgArray", "ProgType", "Program", "ProgramCost",
    "ProgramSpec", "Queue", "Record", "RelocationError", "ResizableHash", "ReuseportSockArray", "RingBuf",
    "Session", "SkStorage", "SockHash", "SockMap", "Stack", "StackTrace", "Struct", "TargetNotFound", "TaskStorage",
    "Trace", "TraceEvent", "UnknownName", "UsageError", "UserRingBuf", "VerifierError", "XskMap", "address_of",
    "attach", "be16", "be32", "be64", "boot_ns", "build", "cast", "cgroup_bind4", "cgroup_bind6", "cgroup_connect4",
    "cgroup_connect6", "cgroup_connect_unix", "cgroup_dev", "cgroup_getpeername4", "cgroup_getpeername6",
    "cgroup_getpeername_unix", "cgroup_getsockname4", "cgroup_getsockname6", "cgroup_getsockname_unix",
    "cgroup_getsockopt", "cgroup_id", "cgroup_post_bind4", "cgroup_post_bind6", "cgroup_recvmsg4",
    "cgroup_recvmsg6", "cgroup_recvmsg_unix", "cgroup_sendmsg4", "cgroup_sendmsg6", "cgroup_sendmsg_unix",
    "cgroup_setsockopt", "cgroup_skb", "cgroup_sock", "cgroup_sock_create", "cgroup_sock_release", "cgroup_sysctl",
    "chars", "comm", "compile", "contexts", "coverage", "cpu", "current_task", "debug", "disassemble", "examine", "explain",
    "fentry", "fexit", "flow_dissector", "fmod_ret", "format_diagnostic", "format_error", "freplace", "gid",
    "helpers", "host", "htonl", "htons", "i16", "i32", "i64", "i8", "inventory", "iter", "jiffies", "kprobe",
    "kprobe_multi", "kprobe_session", "kretprobe", "kretprobe_multi", "kretsyscall", "ksyscall", "ktime_ns", "link",
    "linux", "lirc_mode2", "list_probes", "load", "log2", "lsm", "lsm_cgroup", "lwt_in", "lwt_out", "lwt_seg6local",
    "lwt_xmit", "netfilter", "netkit", "noinline", "ntohl", "ntohs", "numa_node", "open", "perf_event", "pid",
    "pid_tgid", "printk", "random", "raw_tracepoint", "raw_tracepoint_w", "read_kernel", "read_kernel_str",
    "read_pcap", "read_user", "read_user_str", "record", "redirect", "signal", "sizeof", "sk_lookup", "sk_msg",
    "sk_reuseport", "sk_skb", "socket_filter", "sockops", "struct_ops", "stubs", "syscall", "tail_call", "tc",
    "tc_action", "tcx", "tid", "tp_btf", "trace", "tracepoint", "u16", "u32", "u64", "u8", "uid", "uprobe",
    "uprobe_multi", "uprobe_session", "uretprobe", "uretprobe_multi", "usdt", "use", "verify", "write_pcap", "xdp",
]


def test_offers_exactly_these_names() -> None:
    assert ebpf.__all__ == NAMES
    assert set(NAMES) <= set(dir(ebpf))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ebpf, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    block = next(n for n in ast.parse(SOURCE.read_text()).body if isinstance(n, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = [(node.module, alias.asname) for node in imports for alias in node.names]
    assert sorted(seen, key=str) == sorted(((home, name) for name, home in ebpf._HOME_OF.items()), key=str)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'attach_everything'"):
        ebpf.attach_everything  # noqa: B018


def test_errors_are_one_tree() -> None:
    errors = [getattr(ebpf, n) for n in NAMES if n.endswith("Error") or n in ("KeyMissing", "MapFull", "NotSupported",
                                                                             "TargetNotFound", "UnknownName")]
    assert all(issubclass(e, ebpf.EbpfError) for e in errors)


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has imported after ``statement``, beyond what it starts with."""
    code = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(SOURCE.parents[1])!r}); {statement}; " \
           "print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(out.split())


def test_importing_it_imports_nothing() -> None:
    # On measure: `typing` alone is 6 ms, `dataclasses` 11 ms, NumPy 80 ms, llvmlite 35 ms and 60 MB.
    assert modules_after("import ebpf") == {"ebpf", "__future__"}


def test_errors_cost_nothing_heavy() -> None:
    heavy = {"ctypes", "numpy", "llvmlite", "dataclasses", "inspect", "elftools", "pyroute2", "argparse", "subprocess"}
    assert not heavy & modules_after("import ebpf; ebpf.EbpfError")
