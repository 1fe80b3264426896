"""What to use instead of a hook that a kernel lacks: program type or attach type, in small letters → advice."""

from __future__ import annotations

from typing import Final

INSTEAD: Final[dict[str, str]] = {
    "netfilter": "tc (attach_tc), or a cgroup_skb program",
    "sk_lookup": "an sk_reuseport program, or cgroup/bind",
    "struct_ops": "a module of the kernel",
    "syscall": "a raw tracepoint program and its test run",
    "lsm": "fmod_ret on a security_ function, or a kprobe that only watches",
    "lsm_cgroup": "an LSM program that looks at bpf_get_current_cgroup_id()",
    "tcx_ingress": "attach_tc", "tcx_egress": "attach_tc",
    "netkit_primary": "veth devices and tc", "netkit_peer": "veth devices and tc",
    "trace_kprobe_multi": "attach_kprobes, which attaches one by one",
    "trace_kprobe_session": "a kprobe and a kretprobe, and a map between them",
    "trace_uprobe_multi": "attach_uprobe for each function",
    "trace_uprobe_session": "a uprobe and a uretprobe, and a map between them",
    "cgroup_unix_connect": "an LSM program (unix_stream_connect)",
    "sk_skb_verdict": "SEC(\"sk_skb/stream_verdict\")",
    "ext": "a tail call through a prog array", "tracing": "kprobes",
}
