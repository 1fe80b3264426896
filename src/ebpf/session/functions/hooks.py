"""The decorators by their names: `ebpf.kprobe`, `ebpf.xdp`, … (`decorators`). ``hooks.pyi`` tells editors of them.

``docs/generate.py`` writes that file from the same table.
"""

from __future__ import annotations

from ebpf.session.functions.decorators import HOOKS, Hook


def __getattr__(name: str) -> Hook:
    found = HOOKS.get(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(HOOKS)
