"""docs/machine.md: how the machine differs from a kernel, hook by hook, helper by helper, map by map, from the tables of the code."""

# ruff: noqa: E501  (a row a name: wrapping the rows would hide them)
from __future__ import annotations

import sys
from collections.abc import Iterable

from generate_tables import _escape, _table

INTRO = """# The machine and a kernel

Without privilege, programs run in this process: verified first, then interpreted or compiled, on maps of this process, fired by what a
traced command does or by packets. What follows is what differs from a kernel. Made from the tables in the code by `./dev docs`.

- Programs run one at a time, whatever fires them: locks are never contended, atomic operations are never raced.
- There is one CPU (`Machine(obj, cpus=N)` makes more), and the current task is the traced one.
- There is no kernel memory. What a hook hands over (arguments of system calls, registers, strings) is there; a probe read of
  anything else fails with -EFAULT, as one of a bad address does in a kernel.
- Hash order, LRU order and Bloom bits are the machine's own; what a program or its user can rely on is the kernel's.
- A program is refused where a kernel would refuse it, with the same reasons, and sometimes accepted where a kernel gives up: loops with a
  proven bound are not followed round by round (`ebpf verify` says when a kernel's budget would be exceeded). Programs are judged as if
  their user were privileged.
"""

# What each kind of hook is here. A kind that the code has and that is missing here is an error.
HOOKS = {
    "kprobe": "functions that begin a system call (`__x64_sys_openat`, `do_sys_openat2`, …), of the traced command and its children. `ctx` holds the registers as the kernel's function would see them. Functions inside the kernel: an answer that says so and names a hook that would do",
    "kretprobe": "the same, at the system call's end; the result is in its register",
    "tracepoint": "`syscalls:*`, `raw_syscalls:*`, `sched:sched_process_fork`, `sched_process_exec`, `sched_process_exit`, `task:task_newtask`, with the kernel's record layout",
    "raw_tracepoint": "the same tracepoints; a `struct task_struct *` argument is there when the kernel's types are known",
    "uprobe": "functions and addresses of programs and libraries in the traced command, by symbol, address or offset",
    "uretprobe": "their returns",
    "usdt": "statically defined probes of the command's programs and libraries",
    "perf_event": "a timer at the frequency or period asked for; hardware counters are a kernel's",
    "interval": "a timer",
    "tracing": "`fentry` and `fexit` of functions that begin a system call",
}
PACKETS = (
    ("XDP", "packets of a network device in a network namespace of its own, or of a pcap file; the verdict is carried out (pass, drop, transmit, redirect)"),
    ("tc (`SCHED_CLS`, `SCHED_ACT`)", "the same, incoming and outgoing"),
    ("socket filters", "the same; the result is how many bytes are kept"),
    ("the other types", "`Machine.run(program, data, ctx=…)`: one event at a time, as `BPF_PROG_TEST_RUN` does it"),
)
SUBJECTS = {
    "maps": "Maps", "dynptrs": "Dynptrs", "events": "Events", "loops": "Loops and callbacks", "packets": "Packets",
    "printing": "Text", "probing": "Memory of others", "strings": "Strings and numbers", "tasks": "Tasks, clocks, random numbers",
    "timers": "Timers and locks", "tracing": "Traced functions", "rings": "Ring buffers", "storage": "Local storage",
}


def page() -> str:
    return "\n".join([INTRO, *_hooks(), *_helpers(), *_kfuncs(), *_maps()]).rstrip() + "\n"


def _hooks() -> Iterable[str]:
    from ebpf.machine.hooks.hooks import _KINDS
    from ebpf.machine.hooks.targets import _INSTEAD

    if HOOKS.keys() != _KINDS.keys():
        raise SystemExit(f"kinds of hooks that are not described, or not there: {', '.join(HOOKS.keys() ^ _KINDS.keys())}")
    yield "## Hooks"
    yield ""
    yield from _table(("hook", "here"), [(f"`{name}`", text) for name, text in HOOKS.items()] + list(PACKETS))
    yield ""
    yield "Cgroup, LSM, `struct_ops`, iterator and netfilter hooks exist only in a kernel; their programs run by `Machine.run`."
    yield ""
    yield "### Functions inside the kernel, and the hook that shows the same from a command's side"
    yield ""
    instead: dict[str, list[str]] = {}
    for function, hook in _INSTEAD.items():
        instead.setdefault(hook, []).append(f"`{function}`")
    yield from _table(("instead of", "attach to"), [(", ".join(names), f"`{hook}`") for hook, names in instead.items()])
    yield ""


def _first(text: str | None) -> str:
    return _escape(" ".join((text or "").split("\n\n")[0].split()).replace("``", "`"))


def _helpers() -> Iterable[str]:
    from ebpf.abi.helpers import HELPERS_BY_ID
    from ebpf.machine.helpers import HELPERS, by_id

    by_id()
    names = [helper.name for helper in HELPERS_BY_ID.values()]
    here = {*HELPERS, "bpf_tail_call"}
    yield "## Helpers"
    yield ""
    yield f"{len(here)} of {len(names)}. Where nothing is said, the result, the errors and what is written are the kernel's."
    yield ""
    groups: dict[str, list[str]] = {}
    for name in names:
        if name in HELPERS:
            groups.setdefault(HELPERS[name].function.__module__.rpartition(".")[2], []).append(name)
    for module in sorted(groups, key=lambda m: SUBJECTS.get(m, m)):
        yield f"### {SUBJECTS.get(module, module.capitalize())}"
        yield ""
        yield from _table(("helper", "here"), [(f"`{n}`", _first(HELPERS[n].function.__doc__)) for n in groups[module]])
        yield ""
    yield "### Not here"
    yield ""
    yield "A program that calls one of these stops there with `NotSupported`, which names it:"
    yield ""
    yield ", ".join(f"`{n}`" for n in names if n not in here and n != "bpf_unspec") + "."
    yield ""


def _kfuncs() -> Iterable[str]:
    from ebpf.machine.helpers.kfuncs import KFUNCS

    yield "## Kernel functions (kfuncs)"
    yield ""
    yield from _table(("function", "here"), [(f"`{n}`", _first(k.function.__doc__)) for n, k in KFUNCS.items()])
    yield ""
    yield "Any other: refused by the verifier, by name."
    yield ""


def _maps() -> Iterable[str]:
    from ebpf.abi.maps import MAP_TYPES, MapType
    from ebpf.machine.maps import MAPS

    yield "## Maps"
    yield ""
    rows = []
    for type in MAP_TYPES:
        made = MAPS.get(int(type))
        text = made.__doc__ if made is not None else "only in a kernel"
        if made is not None and text == "See the module's text.":
            text = sys.modules[made.__module__].__doc__
        rows.append((f"`{MapType(type).name}`", _first(text)))
    yield from _table(("type", "here"), rows)
    yield ""
