"""Time, random numbers, CPUs, and the task in whose name the program runs."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

COMM_BYTES = 16
JIFFY_NS = 4_000_000  # HZ=250
COARSE_NS = JIFFY_NS


@helper
def bpf_ktime_get_ns(env: Environment) -> int:
    return env.clock.monotonic_ns()


@helper
def bpf_ktime_get_boot_ns(env: Environment) -> int:
    return env.clock.boot_ns()


@helper
def bpf_ktime_get_coarse_ns(env: Environment) -> int:
    """The monotonic clock as of the last tick."""
    now = env.clock.monotonic_ns()
    return now - now % COARSE_NS


@helper
def bpf_ktime_get_tai_ns(env: Environment) -> int:
    return env.clock.tai_ns()


@helper
def bpf_jiffies64(env: Environment) -> int:
    """Ticks of 4 ms; the kernel starts counting 5 minutes before the first 32-bit overflow, and so do we."""
    return (1 << 32) - 300 * 250 + env.clock.monotonic_ns() // JIFFY_NS


@helper
def bpf_get_prandom_u32(env: Environment) -> int:
    return env.random.getrandbits(32)


@helper
def bpf_get_smp_processor_id(env: Environment) -> int:
    return env.cpu


@helper
def bpf_get_numa_node_id(env: Environment) -> int:
    return 0


@helper
def bpf_get_current_pid_tgid(env: Environment) -> int:
    return env.task.pid << 32 | env.task.tid


@helper
def bpf_get_current_uid_gid(env: Environment) -> int:
    return env.task.gid << 32 | env.task.uid


@helper
def bpf_get_current_comm(env: Environment, buf: int, size_of_buf: int) -> int:
    size = u32(size_of_buf)
    env.space.clear(buf, size)
    env.space.write(buf, env.task.comm[:max(min(size, COMM_BYTES) - 1, 0)])
    return 0


@helper
def bpf_get_current_task(env: Environment) -> int:
    """The address of the kernel's ``struct task_struct``: 0 here, so that probe reads through it fail."""
    return env.task.address


@helper
def bpf_get_current_cgroup_id(env: Environment) -> int:
    return env.task.cgroup_id


@helper
def bpf_get_current_ancestor_cgroup_id(env: Environment, ancestor_level: int) -> int:
    """The root (id 1) at level 0, the task's own control group at level 1."""
    return {0: 1, 1: env.task.cgroup_id}.get(u32(ancestor_level), 0)


@helper
def bpf_get_ns_current_pid_tgid(env: Environment, dev: int, ino: int, nsdata: int, size: int) -> int:
    """There is one pid name space here, whose device and inode nobody checks."""
    if u32(size) != 8:
        return -EINVAL
    env.space.write(nsdata, env.task.tid.to_bytes(4, "little") + env.task.pid.to_bytes(4, "little"))
    return 0


def _send(env: Environment, sig: int, process: bool) -> int:
    number = u32(sig)
    if not 0 <= number <= 64:
        return -EINVAL
    env.signals.append((number, process))
    if env.on_signal is not None:
        env.on_signal(number, process)
    return 0


@helper
def bpf_send_signal(env: Environment, sig: int) -> int:
    return _send(env, sig, True)


@helper
def bpf_send_signal_thread(env: Environment, sig: int) -> int:
    return _send(env, sig, False)


# What a packet without a socket, or a task in no class, gets from the kernel.

@helper
def bpf_get_cgroup_classid(env: Environment, skb: int) -> int:
    return 0


@helper
def bpf_skb_cgroup_classid(env: Environment, skb: int) -> int:
    return 0


@helper
def bpf_get_route_realm(env: Environment, skb: int) -> int:
    return 0


@helper
def bpf_get_socket_cookie(env: Environment, ctx: int) -> int:
    return 0


@helper
def bpf_get_socket_uid(env: Environment, skb: int) -> int:
    return 65534  # overflowuid
