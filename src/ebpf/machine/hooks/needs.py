"""What a program may ask of the task that it runs for, read from its instructions: who asks nothing need not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.helpers import HELPERS_BY_ID
from ebpf.isa.insn import OP_CALL
from ebpf.machine.tracing.events import Needs

if TYPE_CHECKING:
    from ebpf.machine.interpreter import Program

_COMM = frozenset(("bpf_get_current_comm", "bpf_trace_printk", "bpf_trace_vprintk"))  # a printed line names the task
_IDS = frozenset(("bpf_get_current_uid_gid",))
_CGROUP = frozenset(("bpf_get_current_cgroup_id", "bpf_get_current_ancestor_cgroup_id"))
_TASK = frozenset(("bpf_get_current_task", "bpf_get_current_task_btf"))
# Helpers that look at no task, or that the record answers. Every other one has the task stand still.
_FREE = frozenset("""
bpf_map_lookup_elem bpf_map_update_elem bpf_map_delete_elem bpf_map_push_elem bpf_map_pop_elem bpf_map_peek_elem
bpf_map_lookup_percpu_elem bpf_for_each_map_elem bpf_ktime_get_ns bpf_ktime_get_boot_ns bpf_ktime_get_coarse_ns
bpf_ktime_get_tai_ns bpf_jiffies64 bpf_trace_printk bpf_trace_vprintk bpf_get_prandom_u32 bpf_get_smp_processor_id
bpf_get_numa_node_id bpf_get_current_pid_tgid bpf_get_ns_current_pid_tgid bpf_perf_event_output bpf_ringbuf_output
bpf_ringbuf_reserve bpf_ringbuf_submit bpf_ringbuf_discard bpf_ringbuf_query bpf_ringbuf_reserve_dynptr
bpf_ringbuf_submit_dynptr bpf_ringbuf_discard_dynptr bpf_probe_read_kernel bpf_probe_read_kernel_str bpf_get_func_ip
bpf_get_attach_cookie bpf_get_func_arg bpf_get_func_ret bpf_get_func_arg_cnt bpf_spin_lock bpf_spin_unlock bpf_loop
bpf_strtol bpf_strtoul bpf_strncmp bpf_snprintf bpf_dynptr_from_mem bpf_dynptr_read bpf_dynptr_write bpf_dynptr_data
""".split()) | _COMM | _IDS | _CGROUP


def _helpers(program: Program) -> set[str]:
    """The helpers that it calls, by name ("": one that nobody knows)."""
    used = set()
    for insn in program.image.insns.values():
        if insn.opcode == OP_CALL and not insn.src:
            helper = HELPERS_BY_ID.get(insn.imm)
            used.add(helper.name if helper is not None else "")
    return used


def looks_at_task(program: Program) -> bool:
    """Whether it asks for the task's struct task_struct."""
    return not _TASK.isdisjoint(_helpers(program))


def needs_of(program: Program) -> Needs:
    """Whether the task must wait for ``program``, and what its record should tell if not."""
    used = _helpers(program)
    if not used <= _FREE:
        return Needs()
    return Needs(wait=False, comm=bool(used & _COMM), ids=bool(used & _IDS), cgroup=bool(used & _CGROUP))
