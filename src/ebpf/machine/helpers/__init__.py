"""The kernel's helper functions, as far as they make sense outside a kernel; one module a subject.

What is not in `HELPERS` refuses with `NotSupported` and its name when a program calls it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import HELPERS, Helper

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HELPERS", "TAIL_CALL", "Helper", "by_id"]

#: the number of bpf_tail_call, which is control flow: translator and stepper do it themselves
TAIL_CALL = 12


def _load() -> None:
    from ebpf.machine.helpers import (  # noqa: F401  (they enter themselves)
        dynptrs,
        encapsulation,
        events,
        loops,
        maps,
        packets,
        printing,
        probing,
        routes,
        sockets,
        storages,
        strings,
        tasks,
        timers,
        tracing,
        user_ringbuf,
    )


@cache
def by_id() -> Mapping[int, Helper]:
    """Number → helper."""
    from ebpf.abi.helpers import HELPERS_BY_NAME

    _load()
    return {HELPERS_BY_NAME[name].id: row for name, row in HELPERS.items()}
