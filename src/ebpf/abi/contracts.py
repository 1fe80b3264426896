"""What each helper asks of its arguments and promises of its result, and which program types may call it.

The C signatures are in `ebpf.abi.helpers`; a contract adds what C cannot say: that two arguments are a block of memory and its
length, that the result may be NULL, that something is taken and must be given back. One row a helper, in words:

==========  ==================================================================================================
argument    the caller passes
==========  ==================================================================================================
any         any value that was initialised
map         a map; ``key``, ``value`` are memory of that map's key and value size (``value!`` is written, ``value?`` may be NULL)
mem         memory that is read; its length is the next argument. ``mem!`` is written (it need not be initialised),
            ``mem=`` is read and written; a ``?`` after it: NULL is allowed when the length may be 0
size        the length of the memory before it, at least 1; ``size0`` may be 0; ``alloc`` a constant length of the memory returned
mem:N       N bytes that are read, ``mem!:N`` N bytes that are written
ctx         the program's context (``ctx?`` or NULL)
str         the address of a constant, terminated string in a read-only map
lock timer  a ``struct bpf_spin_lock`` / ``bpf_timer`` in a map's value; ``kptr`` a field of a map's value that holds a kernel pointer
func stack? a callback; memory of the caller's stack for it, or NULL
dynptr      an initialised dynptr on the stack; ``dynptr!`` 16 bytes that become one; ``dynptr-`` one that is given back
record-     what ``bpf_ringbuf_reserve`` gave, given back
sock        a socket of any kind (``sock-`` given back); ``skc`` a ``struct bpf_sock``'s common part; ``sk?`` a full socket or NULL
btf:NAME    a kernel object of that type; ``btf?-`` any, or NULL, given away; ``percpu`` a per-CPU kernel variable
==========  ==================================================================================================

Results: ``int``, ``void``, ``value?`` and ``value`` (of the map), ``sk? skc? tcp?`` sockets or NULL, ``record?`` memory of ``alloc``
bytes or NULL, ``dynmem?`` a slice of a dynptr, ``btf:NAME`` and ``btf?:NAME``, ``kptr?`` what the kptr field is declared as, ``percpu?``.
Facts: the prototypes in the kernel's kernel/bpf, kernel/trace and net/core, 6.1 to 7.2.
"""

# ruff: noqa: E501  (a row a helper)
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.programs import ProgType

if TYPE_CHECKING:
    from collections.abc import Mapping


class Contract(NamedTuple):
    """One helper's contract: kinds of its arguments and of its result (see the module's text)."""

    name: str
    args: tuple[str, ...]
    result: str


_ROWS = """
bpf_map_lookup_elem map key -> value?
bpf_map_update_elem map key value any -> int
bpf_map_delete_elem map key -> int
bpf_map_push_elem map value any -> int
bpf_map_pop_elem map value! -> int
bpf_map_peek_elem map value! -> int
bpf_map_lookup_percpu_elem map key any -> value?
bpf_get_prandom_u32 -> int
bpf_get_smp_processor_id -> int
bpf_get_numa_node_id -> int
bpf_ktime_get_ns -> int
bpf_ktime_get_boot_ns -> int
bpf_ktime_get_coarse_ns -> int
bpf_ktime_get_tai_ns -> int
bpf_get_current_pid_tgid -> int
bpf_get_current_uid_gid -> int
bpf_get_current_comm mem! size -> int
bpf_spin_lock lock -> void
bpf_spin_unlock lock -> void
bpf_jiffies64 -> int
bpf_get_current_cgroup_id -> int
bpf_get_current_ancestor_cgroup_id any -> int
bpf_strtol mem size any mem!:8 -> int
bpf_strtoul mem size any mem!:8 -> int
bpf_strncmp mem size str -> int
bpf_get_ns_current_pid_tgid any any mem! size -> int
bpf_copy_from_user mem! size0 any -> int
bpf_copy_from_user_task mem! size0 any btf:task_struct any -> int
bpf_per_cpu_ptr percpu any -> percpu?
bpf_this_cpu_ptr percpu -> percpu
bpf_snprintf mem!? size0 str mem? size0 -> int
bpf_timer_init timer map any -> int
bpf_timer_set_callback timer func -> int
bpf_timer_start timer any any -> int
bpf_timer_cancel timer -> int
bpf_kptr_xchg kptr btf?- -> kptr?
bpf_dynptr_from_mem mem= size0 any dynptr! -> int
bpf_dynptr_read mem! size0 dynptr any any -> int
bpf_dynptr_write dynptr any mem size0 any -> int
bpf_dynptr_data dynptr any alloc -> dynmem?
bpf_override_return ctx any -> int
bpf_probe_read mem! size0 any -> int
bpf_probe_read_str mem! size0 any -> int
bpf_probe_read_user mem! size0 any -> int
bpf_probe_read_user_str mem! size0 any -> int
bpf_probe_read_kernel mem! size0 any -> int
bpf_probe_read_kernel_str mem! size0 any -> int
bpf_probe_write_user any mem size -> int
bpf_trace_printk mem size any any any -> int
bpf_trace_vprintk mem size mem? size0 -> int
bpf_seq_printf btf:seq_file mem size mem? size0 -> int
bpf_seq_write btf:seq_file mem size0 -> int
bpf_seq_printf_btf btf:seq_file mem size0 any -> int
bpf_perf_event_read map any -> int
bpf_perf_event_read_value map any mem! size -> int
bpf_perf_event_output ctx map any mem size0 -> int
bpf_get_current_task -> int
bpf_get_current_task_btf -> btf:task_struct
bpf_task_pt_regs btf:task_struct -> btf:pt_regs
bpf_current_task_under_cgroup map any -> int
bpf_send_signal any -> int
bpf_send_signal_thread any -> int
bpf_d_path btf:path mem! size0 -> int
bpf_snprintf_btf mem! size mem size any -> int
bpf_get_func_ip ctx -> int
bpf_get_attach_cookie ctx -> int
bpf_get_branch_snapshot mem! size0 any -> int
bpf_get_func_arg ctx any mem!:8 -> int
bpf_get_func_ret ctx mem!:8 -> int
bpf_get_func_arg_cnt ctx -> int
bpf_perf_prog_read_value ctx mem! size -> int
bpf_read_branch_records ctx mem!? size0 any -> int
bpf_skb_store_bytes ctx any mem size any -> int
bpf_skb_load_bytes ctx any mem! size -> int
bpf_skb_load_bytes_relative ctx any mem! size any -> int
bpf_skb_pull_data ctx any -> int
bpf_sk_fullsock skc -> sk?
bpf_l3_csum_replace ctx any any any any -> int
bpf_l4_csum_replace ctx any any any any -> int
bpf_csum_diff mem? size0 mem? size0 any -> int
bpf_csum_update ctx any -> int
bpf_csum_level ctx any -> int
bpf_clone_redirect ctx any any -> int
bpf_redirect any any -> int
bpf_redirect_peer any any -> int
bpf_redirect_neigh any mem? size0 any -> int
bpf_redirect_map map any any -> int
bpf_msg_apply_bytes ctx any -> int
bpf_msg_cork_bytes ctx any -> int
bpf_msg_pull_data ctx any any any -> int
bpf_msg_push_data ctx any any any -> int
bpf_msg_pop_data ctx any any any -> int
bpf_msg_redirect_map ctx map any any -> int
bpf_msg_redirect_hash ctx map key any -> int
bpf_sk_redirect_map ctx map any any -> int
bpf_sk_redirect_hash ctx map key any -> int
bpf_sock_map_update ctx map key any -> int
bpf_sock_hash_update ctx map key any -> int
bpf_skb_cgroup_classid ctx -> int
bpf_get_cgroup_classid ctx -> int
bpf_get_route_realm ctx -> int
bpf_get_hash_recalc ctx -> int
bpf_set_hash_invalid ctx -> int
bpf_set_hash ctx any -> int
bpf_skb_vlan_push ctx any any -> int
bpf_skb_vlan_pop ctx -> int
bpf_skb_change_proto ctx any any -> int
bpf_skb_change_type ctx any -> int
bpf_skb_adjust_room ctx any any any -> int
bpf_skb_change_tail ctx any any -> int
bpf_skb_change_head ctx any any -> int
bpf_xdp_get_buff_len ctx -> int
bpf_xdp_adjust_head ctx any -> int
bpf_xdp_load_bytes ctx any mem! size -> int
bpf_xdp_store_bytes ctx any mem size -> int
bpf_xdp_adjust_tail ctx any -> int
bpf_xdp_adjust_meta ctx any -> int
bpf_skb_output btf:sk_buff map any mem size0 -> int
bpf_xdp_output btf:xdp_buff map any mem size0 -> int
bpf_skb_get_tunnel_key ctx mem! size any -> int
bpf_skb_get_tunnel_opt ctx mem! size -> int
bpf_skb_set_tunnel_key ctx mem size any -> int
bpf_skb_set_tunnel_opt ctx mem size -> int
bpf_skb_under_cgroup ctx map any -> int
bpf_skb_cgroup_id ctx -> int
bpf_skb_ancestor_cgroup_id ctx any -> int
bpf_sk_cgroup_id sock -> int
bpf_sk_ancestor_cgroup_id sock any -> int
bpf_get_socket_cookie ctx -> int
bpf_get_netns_cookie ctx? -> int
bpf_get_socket_uid ctx -> int
bpf_setsockopt ctx any any mem size -> int
bpf_getsockopt ctx any any mem! size -> int
bpf_sock_ops_cb_flags_set ctx any -> int
bpf_bind ctx mem size -> int
bpf_skb_get_xfrm_state ctx any mem! size any -> int
bpf_fib_lookup ctx mem= size any -> int
bpf_check_mtu ctx any mem=:4 any any -> int
bpf_lwt_push_encap ctx any mem size -> int
bpf_lwt_seg6_store_bytes ctx any mem size -> int
bpf_lwt_seg6_action ctx any mem size -> int
bpf_lwt_seg6_adjust_srh ctx any any -> int
bpf_skc_lookup_tcp ctx mem size any any -> skc?
bpf_sk_lookup_tcp ctx mem size any any -> sk?
bpf_sk_lookup_udp ctx mem size any any -> sk?
bpf_sk_release sock- -> int
bpf_tcp_sock skc -> tcp?
bpf_get_listener_sock skc -> sk?
bpf_skb_ecn_set_ce ctx -> int
bpf_tcp_check_syncookie sock mem size mem size -> int
bpf_tcp_gen_syncookie sock mem size mem size -> int
bpf_sk_assign ctx sock any -> int
bpf_load_hdr_opt ctx mem= size any -> int
bpf_store_hdr_opt ctx mem size any -> int
bpf_reserve_hdr_opt ctx any any -> int
bpf_skb_set_tstamp ctx any any -> int
bpf_tcp_raw_gen_syncookie_ipv4 mem:20 mem size -> int
bpf_tcp_raw_gen_syncookie_ipv6 mem:40 mem size -> int
bpf_tcp_raw_check_syncookie_ipv4 mem:20 mem:20 -> int
bpf_tcp_raw_check_syncookie_ipv6 mem:40 mem:20 -> int
bpf_sk_select_reuseport ctx map key any -> int
bpf_sk_storage_get map sock value? any -> value?
bpf_sk_storage_delete map sock -> int
bpf_skc_to_tcp6_sock sock -> btf?:tcp6_sock
bpf_skc_to_tcp_sock sock -> btf?:tcp_sock
bpf_skc_to_tcp_timewait_sock sock -> btf?:tcp_timewait_sock
bpf_skc_to_tcp_request_sock sock -> btf?:tcp_request_sock
bpf_skc_to_udp6_sock sock -> btf?:udp6_sock
bpf_skc_to_unix_sock sock -> btf?:unix_sock
bpf_skc_to_mptcp_sock skc -> btf?:mptcp_sock
bpf_sock_from_file btf:file -> btf?:socket
bpf_get_local_storage map any -> value
bpf_get_retval -> int
bpf_set_retval any -> int
bpf_sysctl_get_name ctx mem! size any -> int
bpf_sysctl_get_current_value ctx mem! size -> int
bpf_sysctl_get_new_value ctx mem! size -> int
bpf_sysctl_set_new_value ctx mem size -> int
bpf_get_stackid ctx map any -> int
bpf_get_stack ctx mem! size0 any -> int
bpf_get_task_stack btf:task_struct mem! size0 any -> int
bpf_ringbuf_reserve map alloc any -> record?
bpf_ringbuf_submit record- any -> void
bpf_ringbuf_discard record- any -> void
bpf_ringbuf_output map mem size0 any -> int
bpf_ringbuf_query map any -> int
bpf_ringbuf_reserve_dynptr map any any dynptr! -> int
bpf_ringbuf_submit_dynptr dynptr- any -> void
bpf_ringbuf_discard_dynptr dynptr- any -> void
bpf_user_ringbuf_drain map func stack? any -> int
bpf_task_storage_get map btf:task_struct value? any -> value?
bpf_task_storage_delete map btf:task_struct -> int
bpf_inode_storage_get map btf:inode value? any -> value?
bpf_inode_storage_delete map btf:inode -> int
bpf_cgrp_storage_get map btf:cgroup value? any -> value?
bpf_cgrp_storage_delete map btf:cgroup -> int
bpf_bprm_opts_set btf:linux_binprm any -> int
bpf_ima_inode_hash btf:inode mem! size -> int
bpf_ima_file_hash btf:file mem! size -> int
bpf_sys_bpf any mem size -> int
bpf_sys_close any -> int
bpf_kallsyms_lookup_name mem size0 any mem!:8 -> int
bpf_btf_find_by_name_kind mem size any any -> int
bpf_find_vma btf:task_struct any func stack? any -> int
bpf_for_each_map_elem map func stack? any -> int
bpf_loop any func stack? any -> int
bpf_tail_call ctx map any -> void
bpf_rc_repeat ctx -> int
bpf_rc_keydown ctx any any any -> int
bpf_rc_pointer_rel ctx any any -> int
"""


def _parse_rows(rows: str) -> dict[str, Contract]:
    out = {}
    for line in rows.strip().splitlines():
        left, result = line.split(" -> ")
        name, *args = left.split()
        out[name] = Contract(name, tuple(args), result)
    return out


CONTRACTS: Mapping[str, Contract] = _parse_rows(_ROWS)
"""Helper's name → its contract. A helper without one cannot be called in a verified program."""

# What differs by program type: (type, helper) → contract.
_T = ProgType
SPECIAL_CONTRACTS: Mapping[tuple[int, str], Contract] = {
    (int(_T.SK_LOOKUP), "bpf_sk_assign"): Contract("bpf_sk_assign", ("ctx", "sk?", "any"), "int"),
    (int(_T.TRACING), "bpf_get_socket_cookie"): Contract("bpf_get_socket_cookie", ("sock",), "int"),
    (int(_T.LSM), "bpf_setsockopt"): Contract("bpf_setsockopt", ("sock", "any", "any", "mem", "size"), "int"),
    (int(_T.LSM), "bpf_getsockopt"): Contract("bpf_getsockopt", ("sock", "any", "any", "mem!", "size"), "int"),
    (int(_T.TRACING), "bpf_xdp_get_buff_len"): Contract("bpf_xdp_get_buff_len", ("btf:xdp_buff",), "int"),
}

# Helpers that take something which must be given back; the result's reference ends with a `-` argument.
ACQUIRING = frozenset("bpf_ringbuf_reserve bpf_sk_lookup_tcp bpf_sk_lookup_udp bpf_skc_lookup_tcp bpf_kptr_xchg".split())
# Helpers whose result is a view of the reference given as their first argument, valid as long as it is.
BORROWING = frozenset("bpf_sk_fullsock bpf_tcp_sock bpf_skc_to_tcp6_sock bpf_skc_to_tcp_sock bpf_skc_to_udp6_sock "
                      "bpf_skc_to_tcp_timewait_sock bpf_skc_to_tcp_request_sock bpf_skc_to_mptcp_sock bpf_skc_to_unix_sock".split())
# Helpers that may move or resize the packet: what was proven of it is void afterwards.
CHANGES_PACKET = frozenset("""bpf_skb_store_bytes bpf_skb_vlan_push bpf_skb_vlan_pop bpf_skb_change_proto bpf_skb_change_head bpf_skb_change_tail
bpf_skb_adjust_room bpf_skb_pull_data bpf_clone_redirect bpf_l3_csum_replace bpf_l4_csum_replace bpf_xdp_adjust_head
bpf_xdp_adjust_meta bpf_xdp_adjust_tail bpf_msg_pull_data bpf_msg_push_data bpf_msg_pop_data bpf_lwt_push_encap
bpf_lwt_seg6_store_bytes bpf_lwt_seg6_adjust_srh bpf_lwt_seg6_action bpf_store_hdr_opt bpf_reserve_hdr_opt""".split())
# Helpers whose memory arguments may lie in a packet.
TAKES_PACKET = frozenset("""bpf_map_lookup_elem bpf_map_update_elem bpf_map_delete_elem bpf_map_push_elem bpf_map_lookup_percpu_elem
bpf_csum_diff bpf_skc_lookup_tcp bpf_sk_lookup_tcp bpf_sk_lookup_udp bpf_tcp_check_syncookie bpf_tcp_gen_syncookie
bpf_tcp_raw_gen_syncookie_ipv4 bpf_tcp_raw_gen_syncookie_ipv6 bpf_tcp_raw_check_syncookie_ipv4
bpf_tcp_raw_check_syncookie_ipv6""".split())
# Results that have a range: (lowest, highest); (0, 0) stands for "at most the length that was passed".
RESULT_RANGES: Mapping[str, tuple[int, int]] = {
    "bpf_get_smp_processor_id": (0, 8191),
    "bpf_get_stack": (0, 0), "bpf_get_task_stack": (0, 0), "bpf_probe_read_str": (0, 0),
    "bpf_probe_read_kernel_str": (0, 0), "bpf_probe_read_user_str": (0, 0),
}
# Map types that a helper works on (a helper that is not listed takes any map), by the kernel's names.
MAP_TYPES_OF: Mapping[str, frozenset[str]] = {name: frozenset(types.split()) for name, types in {
    "bpf_tail_call": "PROG_ARRAY", "bpf_perf_event_read": "PERF_EVENT_ARRAY", "bpf_perf_event_output": "PERF_EVENT_ARRAY",
    "bpf_perf_event_read_value": "PERF_EVENT_ARRAY", "bpf_skb_output": "PERF_EVENT_ARRAY", "bpf_xdp_output": "PERF_EVENT_ARRAY",
    "bpf_get_stackid": "STACK_TRACE", "bpf_current_task_under_cgroup": "CGROUP_ARRAY", "bpf_skb_under_cgroup": "CGROUP_ARRAY",
    "bpf_redirect_map": "DEVMAP DEVMAP_HASH CPUMAP XSKMAP", "bpf_sk_redirect_map": "SOCKMAP", "bpf_msg_redirect_map": "SOCKMAP",
    "bpf_sock_map_update": "SOCKMAP", "bpf_sk_redirect_hash": "SOCKHASH", "bpf_msg_redirect_hash": "SOCKHASH",
    "bpf_sock_hash_update": "SOCKHASH", "bpf_get_local_storage": "CGROUP_STORAGE PERCPU_CGROUP_STORAGE",
    "bpf_sk_select_reuseport": "REUSEPORT_SOCKARRAY SOCKMAP SOCKHASH", "bpf_map_peek_elem": "QUEUE STACK BLOOM_FILTER",
    "bpf_map_pop_elem": "QUEUE STACK", "bpf_map_push_elem": "QUEUE STACK BLOOM_FILTER",
    "bpf_map_lookup_percpu_elem": "PERCPU_ARRAY PERCPU_HASH LRU_PERCPU_HASH", "bpf_sk_storage_get": "SK_STORAGE",
    "bpf_sk_storage_delete": "SK_STORAGE", "bpf_inode_storage_get": "INODE_STORAGE", "bpf_inode_storage_delete": "INODE_STORAGE",
    "bpf_task_storage_get": "TASK_STORAGE", "bpf_task_storage_delete": "TASK_STORAGE", "bpf_cgrp_storage_get": "CGRP_STORAGE",
    "bpf_cgrp_storage_delete": "CGRP_STORAGE", "bpf_ringbuf_output": "RINGBUF", "bpf_ringbuf_reserve": "RINGBUF",
    "bpf_ringbuf_query": "RINGBUF", "bpf_ringbuf_reserve_dynptr": "RINGBUF", "bpf_user_ringbuf_drain": "USER_RINGBUF",
    "bpf_for_each_map_elem": "HASH PERCPU_HASH LRU_HASH LRU_PERCPU_HASH ARRAY PERCPU_ARRAY",
    "bpf_map_lookup_elem": "HASH ARRAY PERCPU_HASH PERCPU_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS "
                           "SOCKMAP SOCKHASH XSKMAP DEVMAP DEVMAP_HASH CPUMAP REUSEPORT_SOCKARRAY",
    "bpf_map_update_elem": "HASH ARRAY PERCPU_HASH PERCPU_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE SOCKMAP SOCKHASH",
    "bpf_map_delete_elem": "HASH ARRAY PERCPU_HASH PERCPU_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE SOCKMAP SOCKHASH",
}.items()}
# The other way round: a map of this type may be given only to these helpers (types that are not listed: to any).
HELPERS_OF_MAP: Mapping[str, frozenset[str]] = {type: frozenset(n for n, types in MAP_TYPES_OF.items() if type in types) for type in (
    "PROG_ARRAY PERF_EVENT_ARRAY RINGBUF USER_RINGBUF STACK_TRACE CGROUP_ARRAY CGROUP_STORAGE PERCPU_CGROUP_STORAGE DEVMAP DEVMAP_HASH "
    "CPUMAP XSKMAP ARRAY_OF_MAPS HASH_OF_MAPS SOCKMAP SOCKHASH REUSEPORT_SOCKARRAY QUEUE STACK SK_STORAGE TASK_STORAGE INODE_STORAGE "
    "CGRP_STORAGE BLOOM_FILTER ARENA STRUCT_OPS").split()}

# Kernel functions (kfuncs) by name, in the same words. `+rcu` and `+preempt` open a section that `-rcu`, `-preempt` close (as
# results: the call itself gives nothing); `cast` an object of the type whose id is the second argument, to be read only; `arena`
# an address in the arena; `btf-` a kernel object that is given back. Iterators and what allocates objects have rules of their own.
_KFUNC_ROWS = """
bpf_rcu_read_lock -> +rcu
bpf_rcu_read_unlock -> -rcu
bpf_preempt_disable -> +preempt
bpf_preempt_enable -> -preempt
bpf_task_acquire btf:task_struct -> btf?:task_struct
bpf_task_from_pid any -> btf?:task_struct
bpf_task_from_vpid any -> btf?:task_struct
bpf_task_release btf-:task_struct -> void
bpf_task_under_cgroup btf:task_struct btf:cgroup -> int
bpf_cgroup_acquire btf:cgroup -> btf?:cgroup
bpf_cgroup_ancestor btf:cgroup any -> btf?:cgroup
bpf_cgroup_from_id any -> btf?:cgroup
bpf_task_get_cgroup1 btf:task_struct any -> btf?:cgroup
bpf_cgroup_release btf-:cgroup -> void
bpf_rdonly_cast any any -> cast
bpf_dynptr_adjust dynptr any any -> int
bpf_dynptr_is_null dynptr -> int
bpf_dynptr_is_rdonly dynptr -> int
bpf_dynptr_size dynptr -> int
bpf_arena_alloc_pages map any any any any -> arena
bpf_arena_free_pages map any any -> void
bpf_get_cpu_time_counter -> int
bpf_cpu_time_counter_to_ns any -> int
"""
KFUNCS: Mapping[str, Contract] = _parse_rows(_KFUNC_ROWS)
"""Kernel function's name → its contract. One without cannot be called in a verified program."""
# Those whose result must be given back.
KFUNCS_ACQUIRING = frozenset("bpf_task_acquire bpf_task_from_pid bpf_task_from_vpid bpf_cgroup_acquire bpf_cgroup_ancestor bpf_cgroup_from_id "
                             "bpf_task_get_cgroup1".split())

_BASE = """bpf_map_lookup_elem bpf_map_update_elem bpf_map_delete_elem bpf_map_push_elem bpf_map_pop_elem bpf_map_peek_elem
bpf_map_lookup_percpu_elem bpf_get_prandom_u32 bpf_get_smp_processor_id bpf_get_numa_node_id bpf_tail_call bpf_ktime_get_ns
bpf_ktime_get_boot_ns bpf_ktime_get_tai_ns bpf_ringbuf_output bpf_ringbuf_reserve bpf_ringbuf_submit bpf_ringbuf_discard
bpf_ringbuf_query bpf_for_each_map_elem bpf_loop bpf_strncmp bpf_strtol bpf_strtoul bpf_spin_lock bpf_spin_unlock bpf_jiffies64
bpf_per_cpu_ptr bpf_this_cpu_ptr bpf_timer_init bpf_timer_set_callback bpf_timer_start bpf_timer_cancel bpf_kptr_xchg
bpf_user_ringbuf_drain bpf_ringbuf_reserve_dynptr bpf_ringbuf_submit_dynptr bpf_ringbuf_discard_dynptr bpf_dynptr_from_mem
bpf_dynptr_read bpf_dynptr_write bpf_dynptr_data bpf_trace_printk bpf_trace_vprintk bpf_get_current_task bpf_get_current_task_btf
bpf_probe_read_user bpf_probe_read_kernel bpf_probe_read_user_str bpf_probe_read_kernel_str bpf_snprintf bpf_snprintf_btf
bpf_task_pt_regs bpf_get_current_pid_tgid bpf_get_ns_current_pid_tgid bpf_get_current_cgroup_id bpf_get_current_ancestor_cgroup_id
bpf_cgrp_storage_get bpf_cgrp_storage_delete"""
_SK_BASE = _BASE + """ bpf_skc_to_tcp6_sock bpf_skc_to_tcp_sock bpf_skc_to_tcp_timewait_sock bpf_skc_to_tcp_request_sock bpf_skc_to_udp6_sock
bpf_skc_to_unix_sock bpf_skc_to_mptcp_sock bpf_ktime_get_coarse_ns"""
_TRACING = _BASE + """ bpf_get_current_uid_gid bpf_get_current_comm bpf_perf_event_read bpf_perf_event_read_value
bpf_current_task_under_cgroup bpf_probe_write_user bpf_probe_read bpf_probe_read_str bpf_send_signal bpf_send_signal_thread
bpf_get_task_stack bpf_copy_from_user bpf_copy_from_user_task bpf_task_storage_get bpf_task_storage_delete bpf_get_func_ip
bpf_get_branch_snapshot bpf_find_vma bpf_perf_event_output bpf_get_stackid bpf_get_stack bpf_get_attach_cookie"""
_CGROUP = " bpf_get_local_storage bpf_get_retval bpf_set_retval bpf_get_current_uid_gid bpf_get_current_comm bpf_get_cgroup_classid"
_LOOKUP = " bpf_sk_lookup_tcp bpf_sk_lookup_udp bpf_sk_release bpf_skc_lookup_tcp"
_STORAGE = " bpf_sk_storage_get bpf_sk_storage_delete"
_SYNCOOKIE = """ bpf_tcp_check_syncookie bpf_tcp_gen_syncookie bpf_tcp_raw_gen_syncookie_ipv4 bpf_tcp_raw_gen_syncookie_ipv6
bpf_tcp_raw_check_syncookie_ipv4 bpf_tcp_raw_check_syncookie_ipv6"""
_FILTER = _SK_BASE + " bpf_skb_load_bytes bpf_skb_load_bytes_relative bpf_get_socket_cookie bpf_get_socket_uid bpf_perf_event_output"
_TC = _SK_BASE + _LOOKUP + _STORAGE + _SYNCOOKIE + """ bpf_skb_store_bytes bpf_skb_load_bytes bpf_skb_load_bytes_relative bpf_skb_pull_data
bpf_csum_diff bpf_csum_update bpf_csum_level bpf_l3_csum_replace bpf_l4_csum_replace bpf_clone_redirect bpf_get_cgroup_classid
bpf_skb_vlan_push bpf_skb_vlan_pop bpf_skb_change_proto bpf_skb_change_type bpf_skb_adjust_room bpf_skb_change_tail
bpf_skb_change_head bpf_skb_get_tunnel_key bpf_skb_set_tunnel_key bpf_skb_get_tunnel_opt bpf_skb_set_tunnel_opt bpf_redirect
bpf_redirect_neigh bpf_redirect_peer bpf_get_route_realm bpf_get_hash_recalc bpf_set_hash_invalid bpf_set_hash bpf_perf_event_output
bpf_skb_under_cgroup bpf_get_socket_cookie bpf_get_netns_cookie bpf_get_socket_uid bpf_fib_lookup bpf_check_mtu bpf_sk_fullsock bpf_skb_get_xfrm_state
bpf_skb_cgroup_classid bpf_skb_cgroup_id bpf_skb_ancestor_cgroup_id bpf_tcp_sock bpf_get_listener_sock bpf_skb_ecn_set_ce
bpf_sk_assign bpf_skb_set_tstamp"""
_LWT_OUT = _SK_BASE + """ bpf_skb_load_bytes bpf_skb_pull_data bpf_csum_diff bpf_get_cgroup_classid bpf_get_route_realm
bpf_get_hash_recalc bpf_perf_event_output bpf_skb_under_cgroup"""
_TRAMPOLINE = """ bpf_skb_output bpf_xdp_output bpf_skc_to_tcp6_sock bpf_skc_to_tcp_sock bpf_skc_to_tcp_timewait_sock
bpf_skc_to_tcp_request_sock bpf_skc_to_udp6_sock bpf_skc_to_unix_sock bpf_skc_to_mptcp_sock bpf_sk_storage_get bpf_sk_storage_delete
bpf_sock_from_file bpf_get_socket_cookie bpf_xdp_get_buff_len bpf_seq_printf bpf_seq_write bpf_seq_printf_btf bpf_d_path
bpf_get_func_arg bpf_get_func_ret bpf_get_func_arg_cnt"""

_CALLABLE: dict[ProgType, str] = {
    _T.SOCKET_FILTER: _FILTER,
    _T.KPROBE: _TRACING + " bpf_override_return",
    _T.SCHED_CLS: _TC, _T.SCHED_ACT: _TC,
    _T.TRACEPOINT: _TRACING,
    _T.XDP: _SK_BASE + _LOOKUP + _SYNCOOKIE + """ bpf_perf_event_output bpf_csum_diff bpf_xdp_adjust_head bpf_xdp_adjust_meta bpf_redirect
        bpf_redirect_map bpf_xdp_adjust_tail bpf_xdp_get_buff_len bpf_xdp_load_bytes bpf_xdp_store_bytes bpf_fib_lookup bpf_check_mtu""",
    _T.PERF_EVENT: _TRACING + " bpf_perf_prog_read_value bpf_read_branch_records",
    _T.CGROUP_SKB: _FILTER + _CGROUP + _LOOKUP + _STORAGE + """ bpf_sk_fullsock bpf_skb_cgroup_id bpf_skb_ancestor_cgroup_id bpf_sk_cgroup_id
        bpf_sk_ancestor_cgroup_id bpf_tcp_sock bpf_get_listener_sock bpf_skb_ecn_set_ce bpf_get_netns_cookie""",
    _T.CGROUP_SOCK: _SK_BASE + _CGROUP + " bpf_get_socket_cookie bpf_get_netns_cookie bpf_perf_event_output bpf_sk_storage_get",
    _T.LWT_IN: _LWT_OUT + " bpf_lwt_push_encap", _T.LWT_OUT: _LWT_OUT,
    _T.LWT_XMIT: _LWT_OUT + """ bpf_skb_get_tunnel_key bpf_skb_set_tunnel_key bpf_skb_get_tunnel_opt bpf_skb_set_tunnel_opt bpf_redirect
        bpf_clone_redirect bpf_skb_change_tail bpf_skb_change_head bpf_skb_store_bytes bpf_csum_update bpf_csum_level
        bpf_l3_csum_replace bpf_l4_csum_replace bpf_set_hash_invalid bpf_lwt_push_encap""",
    _T.LWT_SEG6LOCAL: _LWT_OUT + " bpf_lwt_seg6_store_bytes bpf_lwt_seg6_action bpf_lwt_seg6_adjust_srh",
    _T.SOCK_OPS: _SK_BASE + _CGROUP + _STORAGE + """ bpf_setsockopt bpf_getsockopt bpf_sock_ops_cb_flags_set bpf_sock_map_update
        bpf_sock_hash_update bpf_get_socket_cookie bpf_perf_event_output bpf_get_netns_cookie bpf_load_hdr_opt bpf_store_hdr_opt
        bpf_reserve_hdr_opt bpf_tcp_sock""",
    _T.SK_SKB: _SK_BASE + _LOOKUP + """ bpf_skb_store_bytes bpf_skb_load_bytes bpf_skb_pull_data bpf_skb_change_tail bpf_skb_change_head
        bpf_skb_adjust_room bpf_get_socket_cookie bpf_get_socket_uid bpf_sk_redirect_map bpf_sk_redirect_hash bpf_perf_event_output""",
    _T.SK_MSG: _SK_BASE + _STORAGE + """ bpf_msg_redirect_map bpf_msg_redirect_hash bpf_msg_apply_bytes bpf_msg_cork_bytes bpf_msg_pull_data
        bpf_msg_push_data bpf_msg_pop_data bpf_perf_event_output bpf_get_current_uid_gid bpf_get_netns_cookie bpf_get_cgroup_classid""",
    _T.RAW_TRACEPOINT: _TRACING, _T.RAW_TRACEPOINT_WRITABLE: _TRACING,
    _T.CGROUP_DEVICE: _BASE + _CGROUP + " bpf_perf_event_output",
    _T.CGROUP_SOCK_ADDR: _SK_BASE + _CGROUP + _LOOKUP + _STORAGE + """ bpf_bind bpf_get_socket_cookie bpf_get_netns_cookie bpf_perf_event_output
        bpf_setsockopt bpf_getsockopt""",
    _T.LIRC_MODE2: _BASE + " bpf_rc_repeat bpf_rc_keydown bpf_rc_pointer_rel",
    _T.SK_REUSEPORT: _BASE + """ bpf_sk_select_reuseport bpf_skb_load_bytes bpf_skb_load_bytes_relative bpf_get_socket_cookie
        bpf_ktime_get_coarse_ns""",
    _T.FLOW_DISSECTOR: _SK_BASE + " bpf_skb_load_bytes",
    _T.CGROUP_SYSCTL: _BASE + _CGROUP + """ bpf_sysctl_get_name bpf_sysctl_get_current_value bpf_sysctl_get_new_value
        bpf_sysctl_set_new_value bpf_ktime_get_coarse_ns bpf_perf_event_output""",
    _T.CGROUP_SOCKOPT: _BASE + _CGROUP + _STORAGE + """ bpf_get_netns_cookie bpf_setsockopt bpf_getsockopt bpf_tcp_sock bpf_perf_event_output
        bpf_ktime_get_coarse_ns""",
    _T.TRACING: _TRACING + _TRAMPOLINE,
    _T.LSM: _TRACING + _TRAMPOLINE + """ bpf_inode_storage_get bpf_inode_storage_delete bpf_bprm_opts_set bpf_ima_inode_hash
        bpf_ima_file_hash bpf_setsockopt bpf_getsockopt bpf_get_retval bpf_set_retval""",
    _T.SK_LOOKUP: _SK_BASE + " bpf_perf_event_output bpf_sk_assign bpf_sk_release",
    _T.SYSCALL: _BASE + " bpf_sys_bpf bpf_sys_close bpf_kallsyms_lookup_name bpf_btf_find_by_name_kind bpf_copy_from_user "
                        "bpf_copy_from_user_task bpf_get_current_comm",
    _T.NETFILTER: _BASE, _T.STRUCT_OPS: _TRACING,
}
_sets: dict[int, frozenset[str]] = {}


def helpers_of(type: int) -> frozenset[str]:
    """Names of the helpers that programs of this type may call (the newest kernel's set)."""
    found = _sets.get(type)
    if found is None:
        found = _sets[type] = frozenset(_CALLABLE.get(ProgType(type), _BASE).split())
    return found


def contract_of(type: int, helper: str) -> Contract | None:
    """The contract of ``helper`` in a program of that type; ``None`` if it has none."""
    return SPECIAL_CONTRACTS.get((int(type), helper)) or CONTRACTS.get(helper)
