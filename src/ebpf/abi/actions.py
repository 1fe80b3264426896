"""What a program's return value means, by the type of program: the names of include/uapi/linux/bpf.h and pkt_cls.h."""

from __future__ import annotations

from ebpf.abi.programs import ProgType

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_STOLEN, TC_ACT_QUEUED, TC_ACT_REDIRECT, TC_ACT_TRAP = -1, 0, 2, 4, 5, 7, 8

_XDP = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
_TC = {-1: "TC_ACT_UNSPEC", 0: "TC_ACT_OK", 1: "TC_ACT_RECLASSIFY", 2: "TC_ACT_SHOT", 3: "TC_ACT_PIPE",
       4: "TC_ACT_STOLEN", 5: "TC_ACT_QUEUED", 6: "TC_ACT_REPEAT", 7: "TC_ACT_REDIRECT", 8: "TC_ACT_TRAP"}
_ALLOW = {0: "deny", 1: "allow"}
_LWT = {0: "BPF_OK", 2: "BPF_DROP", 7: "BPF_REDIRECT", 128: "BPF_LWT_REROUTE"}
_SK = {0: "SK_DROP", 1: "SK_PASS"}

ACTIONS: dict[int, dict[int, str]] = {
    ProgType.XDP: _XDP, ProgType.SCHED_CLS: _TC, ProgType.SCHED_ACT: _TC,
    ProgType.LWT_IN: _LWT, ProgType.LWT_OUT: _LWT, ProgType.LWT_XMIT: _LWT,
    ProgType.SK_SKB: _SK, ProgType.SK_MSG: _SK, ProgType.SK_LOOKUP: _SK, ProgType.SK_REUSEPORT: _SK,
    ProgType.CGROUP_SKB: _ALLOW, ProgType.CGROUP_SOCK: _ALLOW, ProgType.CGROUP_DEVICE: _ALLOW,
    ProgType.CGROUP_SOCK_ADDR: _ALLOW, ProgType.CGROUP_SYSCTL: _ALLOW, ProgType.CGROUP_SOCKOPT: _ALLOW,
}


def action_name(type: int, result: int) -> str:
    """The name of a program's return value (unsigned 32 bits); empty where such results have no names."""
    return ACTIONS.get(type, {}).get(result - (result >> 31 << 32), "")
