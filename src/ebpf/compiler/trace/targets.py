"""Attach points: what is written after a provider's name → the plan's ``details``, checked against the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.compiler.trace import ast
from ebpf.compiler.trace.emit import Refused
from ebpf.compiler.trace.lexer import number
from ebpf.compiler.trace.providers import Provider, find_provider, provider_names
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.compiler.trace.state import ScriptState

_UNITS = {"hz": 0, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_SOFTWARE = (
    "alignment-faults",
    "bpf-output",
    "context-switches",
    "cs",
    "cpu-clock",
    "cpu",
    "cpu-migrations",
    "dummy",
    "emulation-faults",
    "major-faults",
    "minor-faults",
    "page-faults",
    "faults",
    "task-clock",
)
_HARDWARE = (
    "backend-stalls",
    "branch-instructions",
    "branches",
    "branch-misses",
    "bus-cycles",
    "cache-misses",
    "cache-references",
    "cpu-cycles",
    "cycles",
    "frontend-stalls",
    "instructions",
    "ref-cycles",
)
_MODES = frozenset("rwx")
_CATEGORIES = (
    "syscalls",
    "sched",
    "block",
    "irq",
    "net",
    "tcp",
    "skb",
    "sock",
    "kmem",
    "timer",
    "signal",
    "task",
    "writeback",
    "raw_syscalls",
    "vmscan",
    "workqueue",
    "power",
    "oom",
    "exceptions",
)


class Target(NamedTuple):
    """A resolved attach point."""

    provider: Provider
    point: ast.AttachPoint
    details: dict[str, Any]
    wildcard: bool

    @property
    def text(self) -> str:
        return ":".join(self.point.parts)

    @property
    def name(self) -> str:
        """What the builtin ``probe`` is: with the provider's full name."""
        return ":".join((self.provider.shown, *self.point.parts))


class Targets:
    def __init__(self, state: ScriptState) -> None:
        self.state = state

    def refuse(self, code: str, node: ast.Node, message: str, **more: Any) -> None:
        self.state.diagnostics.error(code, message, node.loc, node.end, **more)
        raise Refused

    def resolve(self, point: ast.AttachPoint, among: int) -> list[Target]:
        """The targets of an attach point; none if it is left out with a warning (``among`` several)."""
        provider = find_provider(point.provider)
        parts = [self.parameters(part, point) for part in point.parts]
        if provider is None:
            return self.unknown_provider(point)
        if not provider.least <= len(parts) <= provider.most or any(not p for p in parts):
            self.wrong_parts(provider, point, parts)
        point = ast.AttachPoint(point.loc, point.end, point.provider, parts, point.alias)
        return _RESOLVERS.get(provider.kind, Targets.plain)(self, provider, point, among)

    def parameters(self, part: str, point: ast.AttachPoint) -> str:
        """``$1`` within the name."""
        if "$" not in part:
            return part
        import re

        def one(m: re.Match[str]) -> str:
            index = int(m[1] or m[2])
            if index > len(self.state.params):
                self.refuse(
                    "T0218",
                    point,
                    f"`${index}` is part of this probe's name, and the script was given "
                    f"{len(self.state.params)} parameters",
                )
            return self.state.params[index - 1]

        return re.sub(r"\$(?:\((\d+)\)|(\d+))", one, part)

    def unknown_provider(self, point: ast.AttachPoint) -> list[Target]:
        word = point.provider
        close = did_you_mean(word.lower(), [n.lower() for n in provider_names()])
        close = [c.upper() if c in ("begin", "end") else c for c in close]
        written = ":".join((close[0], *point.parts)) if close else ""
        helps = (
            [f"did you mean `{written}`?"]
            if close
            else ["probes are written `kprobe:vfs_read`, `tracepoint:sched:sched_switch`, `interval:s:1`, `BEGIN`"]
        )
        if not point.parts and not close:
            self.refuse("T0109", point, f"`{word}` is no attach point", helps=helps)
        self.refuse("T0301", point, f"there is no kind of probe `{word}`", helps=helps)
        return []

    def wrong_parts(self, provider: Provider, point: ast.AttachPoint, parts: Sequence[str]) -> None:
        kind = provider.kind
        helps = [f"it is written `{provider.form}`"]
        if kind == "tracepoint" and len(parts) == 1 and parts[0]:
            found = self.find_category(parts[0])
            self.refuse(
                "T0109",
                point,
                "the tracepoint's category is missing",
                helps=[f"did you mean `tracepoint:{found}:{parts[0]}`?" if found else helps[0]],
            )
        if kind in ("uprobe", "uretprobe") and len(parts) == 1:
            self.refuse("T0109", point, "the function is missing", helps=helps)
        if not parts:
            self.refuse("T0109", point, f"`{provider.shown}` needs a target", helps=helps)
        if len(parts) > provider.most and provider.most == 0:
            self.refuse("T0109", point, f"`{provider.shown}` has no target", helps=["write it on its own"])
        self.refuse("T0109", point, f"this is no attach point of kind {provider.shown}", helps=helps)

    def find_category(self, event: str) -> str | None:
        for category in _CATEGORIES:
            if self.state.tracepoint_format(category, event) is not None:
                return category
        return None

    def missing(
        self, point: ast.AttachPoint, among: int, message: str, helps: Sequence[str], notes: Sequence[str] = ()
    ) -> list[Target]:
        """A target that does not exist: an error where it is the only one."""
        how = self.state.config.missing_probes
        if among > 1 and how != "error":
            if how == "warn":
                self.state.diagnostics.warning("T0302", message, point.loc, point.end, helps=helps, notes=notes)
            return []
        self.refuse("T0302", point, message, helps=helps, notes=notes)
        return []

    # --------------------------------------------------------------------------------------------------- by provider

    def plain(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        return [Target(provider, point, {}, False)]

    def function(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        parts = point.parts
        module = parts[0] if len(parts) == 2 else ""
        name, plus, offset = parts[-1].partition("+")
        details: dict[str, Any] = {"function": name}
        if module:
            details["module"] = module
        if plus:
            value = number(offset)
            if value is None:
                self.refuse("T0109", point, f"`{offset}` is no offset")
            details["offset"] = value
        value = number(name) if name[:1].isdigit() else None
        if value is not None:
            details = {"address": value}
            return [Target(provider, point, details, False)]
        wild = any(c in name for c in "*?[") or any(c in module for c in "*?")
        if wild:
            details["wildcard"] = True
            return [Target(provider, point, details, True)]
        if provider.kind in ("fentry", "fexit"):
            return [Target(provider, point, details, False)]
        if not module and not self.exists(name):
            notes: list[str] = []
            if name.startswith(("sys_", "SyS_")):
                short = name.partition("_")[2]
                real = f"{self.state.facts.syscall_prefix()}{short}"
                helps = [f"the kernel's symbol is `{real}`, or use `tracepoint:syscalls:sys_enter_{short}`"]
            else:
                helps = self.instead(f"{provider.kind}:{name}")
                # Near misses are looked for among all functions: only where that is the end of it.
                if not helps and (among == 1 or self.state.config.missing_probes == "error"):
                    similar = self.similar_functions(name)
                    helps = [f"did you mean {' or '.join(f'`{s}`' for s in similar)}?"] if similar else []
            return self.missing(point, among, f"there is no kernel function `{name}`", helps, notes)
        return [Target(provider, point, details, False)]

    def exists(self, name: str) -> bool:
        known = self.state.functions_known.get(name)
        if known is None:
            btf = self.state.checker.kernel.btf
            found = btf is not None and btf.find(name, 12) is not None  # type: ignore[arg-type]
            if not found:
                listed = self.state.facts.functions(name)
                found = listed is None or bool(listed)
            known = self.state.functions_known[name] = found
        return known

    def similar_functions(self, name: str) -> list[str]:
        kernel = self.state.checker.kernel
        near = [n for n in kernel.similar(name, 12) if n]
        return list(did_you_mean(name, near)) if near else []

    def tracepoint(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        category, event = point.parts
        details = {"category": category, "event": event}
        if any(c in category + event for c in "*?["):
            return [Target(provider, point, {**details, "wildcard": True}, True)]
        if self.state.tracepoint_format(category, event) is None:
            unknown = self.state.formats_unknown.get((category, event))
            if unknown is not None and category not in ("syscalls", "raw_syscalls"):  # those are all known
                message = f"tracepoint {category}:{event}: {unknown.message}"
                return self.missing(point, among, message, unknown.helps, unknown.notes)
            helps = self.instead(f"tracepoint:{category}:{event}")
            if not helps:
                near = self.state.facts.tracepoints(f"{category}:*") or ()
                if not near and (other := self.find_category(event)):
                    helps = [f"did you mean `tracepoint:{other}:{event}`?"]
                else:
                    close = did_you_mean(f"{category}:{event}", near or self.bundled())
                    helps = [f"did you mean {' or '.join(f'`tracepoint:{c}`' for c in close)}?"] if close else []
            return self.missing(point, among, f"there is no tracepoint `{category}:{event}`", helps)
        return [Target(provider, point, details, False)]

    def bundled(self) -> list[str]:
        from ebpf.abi.tracepoints import tracepoints

        return tracepoints()

    def instead(self, probe: str) -> list[str]:
        """The help that names what this kernel has in place of a hook, if it is known."""
        from ebpf.abi.renamed import replacements

        for found in replacements(probe):
            kind, _, name = found.partition(":")
            if (
                self.state.tracepoint_format(*name.split(":", 1)) is not None
                if kind == "tracepoint"
                else self.exists(name)
            ):
                return [f"this kernel has `{found}` instead"]
        return []

    def raw_tracepoint(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        event = point.parts[-1]
        wild = any(c in event for c in "*?[")
        details: dict[str, Any] = {"event": event}
        if len(point.parts) == 2:
            details["module"] = point.parts[0]
        if wild:
            details["wildcard"] = True
        return [Target(provider, point, details, wild)]

    def user_function(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        path, name = point.parts[0], point.parts[-1]
        name, plus, offset = name.partition("+")
        details: dict[str, Any] = {"path": path}
        value = number(name) if name[:1].isdigit() else None
        if value is not None:
            details["address"] = value
        else:
            details["symbol"] = name
        if len(point.parts) == 3:
            details["language"] = point.parts[1]
        if plus:
            value = number(offset)
            if value is None:
                self.refuse("T0109", point, f"`{offset}` is no offset")
            details["offset"] = value
        wild = any(c in path + name for c in "*?[")
        if wild:
            details["wildcard"] = True
        return [Target(provider, point, details, wild)]

    def usdt(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        parts = point.parts
        details: dict[str, Any] = {
            "path": parts[0],
            "provider": parts[1] if len(parts) == 3 else "",
            "event": parts[-1],
        }
        wild = any(c in "".join(parts) for c in "*?[")
        if wild:
            details["wildcard"] = True
        return [Target(provider, point, details, wild)]

    def timer(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        parts = point.parts
        form = f"`{provider.kind}:{'hz:99' if provider.kind == 'profile' else 's:1'}`"
        unit, count = "", 0
        if len(parts) == 2:
            value = number(parts[1])
            if parts[0] not in _UNITS:
                close = did_you_mean(parts[0], _UNITS)
                self.refuse(
                    "T0109",
                    point,
                    f"there is no unit `{parts[0]}`",
                    helps=[f"did you mean `{close[0]}`?"] if close else ["units are hz, s, ms and us"],
                )
            unit, count = parts[0], value or 0
        else:
            word = parts[0]
            digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
            unit = word[len(digits) :]
            value = number(digits) if digits else None
            if unit not in _UNITS or value is None:
                self.refuse(
                    "T0109",
                    point,
                    f"`{provider.kind}:{word}` has no unit",
                    helps=[f"write {form}, or a duration: `{provider.kind}:{digits or 1}s`"],
                )
            count = value or 0
        if count <= 0:
            self.refuse("T0109", point, "how often is a number above 0", helps=[f"write {form}"])
        period = 10**9 // count if unit == "hz" else count * _UNITS[unit]
        return [Target(provider, point, {"unit": unit, "count": count, "period_ns": max(period, 1)}, False)]

    def counter(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        known = _SOFTWARE if provider.kind == "software" else _HARDWARE
        event = point.parts[0]
        if event not in known:
            close = did_you_mean(event, known)
            self.refuse(
                "T0302",
                point,
                f"there is no {provider.kind} event `{event}`",
                helps=[f"did you mean `{close[0]}`?"] if close else [],
                notes=[f"there are {', '.join(known)}"],
            )
        details: dict[str, Any] = {"event": event, "count": 0}
        if len(point.parts) == 2:
            value = number(point.parts[1])
            if not value:
                self.refuse("T0109", point, f"`{point.parts[1]}` is no number of events above 0")
            details["count"] = value
        return [Target(provider, point, details, False)]

    def watchpoint(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        where, length, mode = point.parts
        size = number(length)
        if size not in (1, 2, 4, 8):
            self.refuse("T0109", point, f"a watchpoint is 1, 2, 4 or 8 bytes long, not {length}")
        if not mode or set(mode) - _MODES or len(set(mode)) != len(mode):
            self.refuse("T0109", point, f"`{mode}` is no way to access memory", helps=["modes are r, w, x and rw"])
        if "+" in where:
            self.refuse("T0303", point, "a function's argument cannot be watched",
                        helps=["watch an address: `watchpoint:0x…:8:w`, or a kernel's variable by its name"])
        value = number(where) if where[:1].isdigit() else None
        details: dict[str, Any] = {"length": size, "mode": mode}
        if value is not None:
            details["address"] = value
        else:
            details["symbol"] = where
        return [Target(provider, point, details, False)]

    def iterator(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        details = {"object": point.parts[0]}
        if len(point.parts) == 2:
            details["pin"] = point.parts[1]
        return [Target(provider, point, details, False)]

    def signal(self, provider: Provider, point: ast.AttachPoint, among: int) -> list[Target]:
        if point.parts[0] != "signal" or point.parts[1] != "SIGUSR1":
            self.refuse("T0109", point, "the script itself can be asked by `self:signal:SIGUSR1` alone")
        return [Target(provider, point, {"signal": point.parts[1]}, False)]


_RESOLVERS = {
    "kprobe": Targets.function,
    "kretprobe": Targets.function,
    "fentry": Targets.function,
    "fexit": Targets.function,
    "tracepoint": Targets.tracepoint,
    "rawtracepoint": Targets.raw_tracepoint,
    "uprobe": Targets.user_function,
    "uretprobe": Targets.user_function,
    "usdt": Targets.usdt,
    "profile": Targets.timer,
    "interval": Targets.timer,
    "software": Targets.counter,
    "hardware": Targets.counter,
    "watchpoint": Targets.watchpoint,
    "asyncwatchpoint": Targets.watchpoint,
    "iter": Targets.iterator,
    "self": Targets.signal,
}
