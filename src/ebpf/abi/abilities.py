"""What programs can do to a system beyond looking at it: by the helpers and kernel functions they call, and by type.

One row an ability; what `ebpf audit` weighs. A call that only looks, or changes the program's own maps, has no row.
Some helpers are several functions in the kernel, by the type of the program that calls: those stand beside the helper's
own name (net/core/filter.c, kernel/trace/bpf_trace.c).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Ability(NamedTuple):
    """``calls``: names of helpers (or kernel functions), any of which gives the ability. ``weight``: 3 can deceive or
    take over other programs, 2 can stop or redirect what others do, 1 sees what is others' own."""

    name: str
    weight: int
    what: str
    calls: tuple[str, ...]


ABILITIES: Final = (
    Ability("writes user memory", 3, "can change the memory of any process at its probes: what a process reads from "
            "a system call (a file's text, a directory's entries) may not be what the kernel gave",
            ("bpf_probe_write_user", "bpf_copy_to_user")),
    Ability("overrides returns", 3, "can keep a kernel function from running and answer in its place (a system call "
            "that fails, a file that is not there)", ("bpf_override_return",)),
    Ability("sets return values", 2, "can change what a hook returns to its caller", ("bpf_set_retval",)),
    Ability("sends signals", 2, "can end or stop processes", (
        "bpf_send_signal", "bpf_send_signal_thread", "bpf_send_signal_task")),
    Ability("rewrites paths and sockets", 2, "can send a connection somewhere else, or change socket options", (
        "bpf_bind", "bpf_setsockopt", "bpf_sk_setsockopt", "bpf_sock_addr_setsockopt", "bpf_sock_ops_setsockopt",
        "bpf_unlocked_sk_setsockopt", "bpf_sk_lookup_assign", "bpf_sk_assign", "bpf_sk_select_reuseport",
        "bpf_sock_ops_cb_flags_set",
        "bpf_sysctl_set_new_value", "bpf_sk_redirect_map", "bpf_sk_redirect_hash", "bpf_msg_redirect_map",
        "bpf_msg_redirect_hash", "bpf_msg_push_data", "bpf_msg_pop_data")),
    Ability("changes packets", 2, "can change packets, their headers or their length", (
        "bpf_skb_store_bytes", "bpf_xdp_store_bytes", "bpf_l3_csum_replace", "bpf_l4_csum_replace", "bpf_skb_vlan_push",
        "bpf_skb_vlan_pop", "bpf_skb_change_proto", "sk_skb_change_tail", "sk_skb_change_head",
        "sk_skb_adjust_room", "bpf_skb_change_tail", "bpf_skb_change_head", "bpf_skb_adjust_room",
        "bpf_xdp_adjust_head", "bpf_xdp_adjust_tail", "bpf_skb_set_tunnel_key", "bpf_skb_set_tunnel_opt",
        "bpf_lwt_push_encap", "bpf_lwt_seg6_store_bytes", "bpf_skb_change_type", "bpf_store_hdr_opt")),
    Ability("redirects packets", 2, "can send packets to other interfaces, or copies of them", (
        "bpf_redirect", "bpf_xdp_redirect", "bpf_redirect_map", "bpf_redirect_peer", "bpf_redirect_neigh",
        "bpf_clone_redirect",
        "bpf_xdp_redirect_map")),
    Ability("reads user memory", 1, "can copy what processes have in memory: passwords, keys, traffic before it is "
            "encrypted", ("bpf_probe_read_user", "bpf_probe_read_user_str", "bpf_copy_from_user",
                          "bpf_copy_from_user_str", "bpf_copy_from_user_task")),
    Ability("reads kernel memory", 1, "can copy the kernel's memory", (
        "bpf_probe_read", "bpf_probe_read_str", "bpf_probe_read_kernel", "bpf_probe_read_kernel_str",
        "bpf_probe_read_compat", "bpf_probe_read_compat_str")),
    Ability("runs other programs", 1, "jumps into programs that can be exchanged in a map while it is attached",
            ("bpf_tail_call",)),
)

#: Program type, in small letters → what such a program can do by its answer alone.
BY_TYPE: Final = {
    "lsm": (2, "refuses operations"),
    "struct_ops": (2, "replaces kernel algorithms"),
    "xdp": (2, "drops packets"), "sched_cls": (2, "drops packets"), "sched_act": (2, "drops packets"),
    "netfilter": (2, "drops packets"), "cgroup_skb": (2, "drops packets"), "sk_skb": (2, "redirects packets"),
    "sk_msg": (2, "redirects packets"), "cgroup_sock": (2, "refuses sockets"),
    "cgroup_sock_addr": (2, "rewrites paths and sockets"), "cgroup_sysctl": (2, "refuses operations"),
    "cgroup_sockopt": (2, "rewrites paths and sockets"), "cgroup_device": (2, "refuses operations"),
    "sk_lookup": (2, "rewrites paths and sockets"), "flow_dissector": (1, "parses packets for others"),
    "sk_reuseport": (1, "chooses sockets"), "lirc_mode2": (1, "makes key presses"),
    "ext": (2, "replaces functions of programs"),
}
