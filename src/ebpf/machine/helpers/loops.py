"""bpf_loop (kernel/bpf/bpf_iter.c). Tail calls are control flow: translator and stepper do them."""

from __future__ import annotations

from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import callback_helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

MAX_LOOPS = 8 << 20


@callback_helper
def bpf_loop(env: Environment, nr_loops: int, callback_fn: int, callback_ctx: int, flags: int) -> int:
    """``callback(index, ctx)`` until it returns 1; how many rounds there were."""
    rounds = u32(nr_loops)
    if flags:
        return -EINVAL
    if rounds > MAX_LOOPS:
        return -E2BIG
    function, depth = env.function(callback_fn), env.depth
    done = 0
    for index in range(rounds):
        done += 1
        if function(depth + 1, index, callback_ctx):
            break
    env.depth = depth
    return done
