"""Ring buffers, perf buffers, stacks: what programs send to the user."""

from __future__ import annotations

from errno import EFAULT, EINVAL
from struct import pack
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.helpers.table import helper, u32
from ebpf.machine.maps.buffers import PerfEventArray, RingBuffer
from ebpf.machine.maps.stacks import SKIP_FIELD_MASK, USER_STACK, StackTraces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.machine.environment import Environment
    from ebpf.machine.maps.base import MachineMap

_CTXLEN_SHIFT, _CTXLEN_MASK, _INDEX_MASK = 32, 0xFFFFF << 32, 0xFFFFFFFF
_USER_BUILD_ID = 1 << 11


def _wrong(map: MachineMap, wanted: str) -> MachineFault:
    return MachineFault(f"map {map.name!r} is no {wanted}", access="call")


def _ring(env: Environment, address: int) -> RingBuffer:
    found = env.map(address)
    if not isinstance(found, RingBuffer):
        raise _wrong(found, "ring buffer")
    return found


def owner(env: Environment, record: int) -> RingBuffer:
    """The ring buffer that an open record belongs to."""
    for candidate in env.maps.values():
        if isinstance(candidate, RingBuffer) and candidate.owns(record):
            return candidate
    raise MachineFault(f"{record:#x} is no record that was reserved and is still open", address=record)


@helper
def bpf_ringbuf_output(env: Environment, ringbuf: int, data: int, size: int, flags: int) -> int:
    return _ring(env, ringbuf).output(env.space.read(data, size), flags)


@helper
def bpf_ringbuf_reserve(env: Environment, ringbuf: int, size: int, flags: int) -> int:
    return _ring(env, ringbuf).reserve(size, flags)


@helper
def bpf_ringbuf_submit(env: Environment, data: int, flags: int) -> int:
    owner(env, data).submit(data, flags)
    return 0


@helper
def bpf_ringbuf_discard(env: Environment, data: int, flags: int) -> int:
    owner(env, data).discard(data, flags)
    return 0


@helper
def bpf_ringbuf_query(env: Environment, ringbuf: int, flags: int) -> int:
    return _ring(env, ringbuf).query(flags)


@helper
def bpf_perf_event_output(env: Environment, ctx: int, map: int, flags: int, data: int, size: int) -> int:
    """In programs that have a packet, bits 32 to 51 of ``flags`` ask for so many bytes of it behind the data."""
    array = env.map(map)
    if not isinstance(array, PerfEventArray):
        raise _wrong(array, "perf event array")
    packet = b""
    if env.packet is not None:
        if flags & ~(_CTXLEN_MASK | _INDEX_MASK):
            return -EINVAL
        wanted = (flags & _CTXLEN_MASK) >> _CTXLEN_SHIFT
        if wanted > env.packet.length:
            return -EFAULT
        packet = env.packet.data()[:wanted]
    elif flags & ~_INDEX_MASK:
        return -EINVAL
    return array.output(flags, env.space.read(data, size) + packet)


def _stack(env: Environment, flags: int) -> Sequence[int]:
    return env.task.user_stack if flags & USER_STACK else env.task.kernel_stack


@helper
def bpf_get_stackid(env: Environment, ctx: int, map: int, flags: int) -> int:
    """The id of the task's stack (`Task.user_stack`, `Task.kernel_stack`); -EFAULT if that is not known."""
    traces = env.map(map)
    if not isinstance(traces, StackTraces):
        raise _wrong(traces, "stack trace map")
    return traces.stack_id(_stack(env, flags), flags)


@helper
def bpf_get_stack(env: Environment, ctx: int, buf: int, size: int, flags: int) -> int:
    """Return addresses into ``buf``; how many bytes. The rest is cleared."""
    length = u32(size)
    if flags & ~(SKIP_FIELD_MASK | USER_STACK) or length % 8:
        env.space.clear(buf, length)
        return -EINVAL
    env.space.clear(buf, length)
    stack = _stack(env, flags)[flags & SKIP_FIELD_MASK:][:length // 8]
    if not stack:
        return -EFAULT
    env.space.write(buf, pack(f"<{len(stack)}Q", *stack))
    return len(stack) * 8
