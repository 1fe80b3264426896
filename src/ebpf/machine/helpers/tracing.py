"""What a tracing program asks about the event that it runs for: `Event` of the machine's run says it."""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import helper, s32, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

M64 = 0xFFFFFFFFFFFFFFFF


@helper
def bpf_get_func_ip(env: Environment, ctx: int) -> int:
    return env.func_ip


@helper
def bpf_get_attach_cookie(env: Environment, ctx: int) -> int:
    return env.attach_cookie


@helper
def bpf_get_func_arg_cnt(env: Environment, ctx: int) -> int:
    return len(env.arguments)


@helper
def bpf_get_func_arg(env: Environment, ctx: int, n: int, value: int) -> int:
    if u32(n) >= len(env.arguments):
        return -EINVAL
    env.space.write(value, (env.arguments[u32(n)] & M64).to_bytes(8, "little"))
    return 0


@helper
def bpf_get_func_ret(env: Environment, ctx: int, value: int) -> int:
    if env.return_value is None:
        return -EOPNOTSUPP
    env.space.write(value, (env.return_value & M64).to_bytes(8, "little"))
    return 0


@helper
def bpf_override_return(env: Environment, regs: int, rc: int) -> int:
    """Noted in `Run.override`: who fired the event may act on it."""
    env.override = rc
    return 0


@helper
def bpf_get_retval(env: Environment) -> int:
    return env.return_value or 0


@helper
def bpf_set_retval(env: Environment, retval: int) -> int:
    value = s32(retval)
    if not -4095 <= value <= 0:
        return -EINVAL
    env.return_value = value
    return 0
