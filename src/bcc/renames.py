"""Functions that this kernel has renamed, inlined or given up: where a script's probes go instead, by the one table of
`ebpf.abi.renamed`. Each time a line on standard error says so.
"""

from __future__ import annotations

import re
import sys

import ebpf
from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What was probed instead → the name that the script knows: `BPF.ksym` says that one, which scripts look for.
asked: dict[str, str] = {}
_told: set[str] = set()


def note(text: str) -> None:
    """Tell it once."""
    if text not in _told:
        _told.add(text)
        print(f"note: {text}", file=sys.stderr)


def where(kind: str, function: str) -> str:
    """The function to probe: another where the calls that this one used to get go past it now."""
    found = host.moved(f"{kind}:{function}")
    if found is None:
        return function
    name = found.partition(":")[2]
    note(f"this kernel's callers of {function} call {name}: probing that")
    asked[name] = function
    return name


def absorbed(kind: str, function: str) -> bool:
    """Whether the function is gone and another, which the script probes too, sees what it would have seen."""
    other = host.absorbed(f"{kind}:{function}")
    if other is None:
        return False
    note(f"this kernel has no function {function}: what it did goes through {other.partition(':')[2]}")
    return True


def attach_instead(b: Any, kind: str, function: str, fn_name: bytes, program: Any) -> Any:
    """A link to what this kernel has in place of ``function``; None if nothing is known of, or can be probed."""
    for found in host.replacements(f"{kind}:{function}"):
        what, _, name = found.partition(":")
        try:
            if what == "tracepoint":
                if kind != "kprobe" or not host.has_same_arguments(found):
                    continue
                link = _as_raw_tracepoint(b, fn_name.decode(), name.rpartition(":")[2])
            else:
                link = program.attach_kretprobe(name) if what == "kretprobe" else program.attach_kprobe(name)
        except ebpf.TargetNotFound:
            continue
        if link is not None:
            note(f"this kernel has no function {function} that can be probed: using the {what} {name}")
            asked[name] = function
            return link
    return None


def _as_raw_tracepoint(b: Any, fn_name: str, event: str) -> Any:
    """The function compiled once more, with a tracepoint's arguments for a function's, on the same maps."""
    head = re.compile(rf"\b{re.escape(fn_name)}\s*\(\s*struct\s+pt_regs\s*\*")
    source, times = head.subn(f"{fn_name}(struct bpf_raw_tracepoint_args *", b.compiled["source"])
    if times != 1:
        return None
    obj = ebpf.compile(source, **b.compiled["options"])
    session = ebpf.load(obj, load_programs=False, reuse=dict(b.session.maps))
    b.more_sessions.append(session)
    return session.load_program(fn_name, type=ebpf.ProgType.RAW_TRACEPOINT).attach_raw_tracepoint(event)


def inlined(pattern: str) -> bool:
    """Whether a script that asks for exactly this function, which is gone, may be told that it is there."""
    return host.is_inlined(f"kprobe:{pattern}")


__all__ = ["absorbed", "asked", "attach_instead", "inlined", "note", "where"]
