"""Which capabilities each hook needs: each row of the contract is loaded and attached with ever fewer of them.

What is found is least: with one capability less, the kernel refuses. (What a smaller set is refused, a larger one is
not; so whatever could be given up early can be given up late.) The process stays root, for whom files of tracefs and
control groups are readable without any capability.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ebpf
from ebpf.errors import EbpfError, NotSupported
from ebpf.kernel import dropping
from ebpf.kernel.privileges import CAPABILITIES
from tests.kernel.contract import hooks, triggers

# In the order in which they are given up: the mightiest first.
GIVEN_UP = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SYS_PTRACE", "CAP_SYSLOG", "CAP_IPC_LOCK", "CAP_NET_RAW",
            "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF")
assert set(GIVEN_UP) == set(CAPABILITIES)
USUAL = GIVEN_UP[-3:]


#: These put themselves into maps which, like them, belong to the network.
_WITH_MAPS = (hooks.sockmap, hooks.through_cpu, hooks.through_device)


def alone(row: hooks.Row, obj: Any) -> Any:
    """The object with the maps that the row's program uses: others may ask for more than the hook does."""
    from ebpf.object import link

    if row.attach in _WITH_MAPS:
        return obj
    names = [row.name.partition(":")[0], *(["asks"] if row.attach is hooks.replaced else [])]
    used = {symbol for name in names for _, kind, symbol, _ in link(obj, name).relocations if kind in ("map", "data")}
    return type(obj)(obj.name, obj.license, 0, obj.programs, obj.functions,
                     {name: spec for name, spec in obj.maps.items() if name in used}, obj.btf, obj.externs,
                     obj.functions_at, None)


def least(row: hooks.Row, obj: Any, group: str | None) -> list[str] | None:
    """The capabilities that ``row`` needs on this kernel; None where it has no such hook."""
    obj, held = alone(row, obj), list(USUAL)
    if _try(row, obj, group, held) is not None:
        held = list(GIVEN_UP)
        refused = _try(row, obj, group, held)
        if isinstance(refused, NotSupported):
            return None
        if refused is not None:
            raise refused
    for capability in tuple(held):
        fewer = [c for c in held if c != capability]
        if _try(row, obj, group, fewer) is None:
            held = fewer
    return sorted(held)


def _try(row: hooks.Row, obj: Any, group: str | None, held: list[str]) -> EbpfError | OSError | None:
    """Load and attach with these capabilities alone: None, or why not. What is attached is taken off again."""
    name = row.name.partition(":")[0]
    effective, permitted, inheritable = dropping._capabilities()
    with ExitStack() as stack:
        dropping._set_capabilities(sum(1 << CAPABILITIES[c] for c in held) & permitted, permitted, inheritable)
        try:
            session = stack.enter_context(ebpf.load(obj, backend="kernel", load_programs=[]))
            world = hooks.World(session, stack, group)
            row.attach(world, session.load_program(name) if name != "freplace" else None)
        except (EbpfError, OSError) as error:
            return error
        finally:
            dropping._set_capabilities(effective, permitted, inheritable)
    return None


def iter_results(only: list[str], *, everything: bool) -> Iterator[tuple[str, list[str] | str | None]]:
    """Each hook (of ``only``, if it names any) with what it needs, None where it is not there, or what went wrong."""
    obj = hooks.program_object(hooks.SOURCE)
    veth = triggers.devices()
    home, group = hooks._move_into_a_group()
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
    before = paranoid.read_text() if everything and paranoid.exists() else None
    if before is not None and int(before) > 2:  # a patch of Debian's, by which CAP_PERFMON is not enough
        paranoid.write_text("2")
    try:
        for row in hooks.ROWS:
            if (row.wide and not everything) or (not veth and "v1" in str(row.attach)):
                continue
            if only and row.name.partition(":")[0] not in only:
                continue
            try:
                yield row.name, least(row, obj, group)
            except Exception as error:  # the others are to be heard, too
                yield row.name, f"{type(error).__name__}: {error}"
    finally:
        if before is not None:
            paranoid.write_text(before)
        hooks.leave_group(home, group)
