"""Kinds of probes, one row each: names, how a target is written, what its programs are."""

from __future__ import annotations


class Provider:
    """``names``: first the plan's kind, then aliases, lower case. ``form``: how the target is written, for messages.
    ``least``, ``most``: how many parts follow the name. ``path``: the first part is a file. ``section``: the ELF
    section's head; ``context``: the struct that the program's context points to (None: untyped).
    """

    __slots__ = ("context", "form", "kind", "least", "most", "names", "path", "section", "shown")

    def __init__(
        self, names: str, form: str, least: int, most: int, section: str, context: str | None, *, path: bool = False
    ) -> None:
        self.names = tuple(names.split())
        self.kind = self.names[0]
        self.form, self.least, self.most = form, least, most
        self.section, self.context, self.path = section, context, path
        self.shown = self.kind.upper() if self.kind in ("begin", "end") else self.kind


_ROWS = (
    Provider("begin", "BEGIN", 0, 0, "raw_tp", None),
    Provider("end", "END", 0, 0, "raw_tp", None),
    Provider("self", "self:signal:SIGUSR1", 2, 2, "raw_tp", None),
    Provider("kprobe k", "kprobe:[module:]function[+offset]", 1, 2, "kprobe", "pt_regs"),
    Provider("kretprobe kr", "kretprobe:[module:]function", 1, 2, "kretprobe", "pt_regs"),
    Provider("fentry f kfunc", "fentry:[module:]function", 1, 2, "fentry", None),
    Provider("fexit fr kretfunc", "fexit:[module:]function", 1, 2, "fexit", None),
    Provider("tracepoint t", "tracepoint:category:event", 2, 2, "tracepoint", None),
    Provider("rawtracepoint rt", "rawtracepoint:[module:]event", 1, 2, "raw_tp", None),
    Provider("uprobe u", "uprobe:path:function[+offset]", 2, 3, "uprobe", "pt_regs", path=True),
    Provider("uretprobe ur", "uretprobe:path:function", 2, 3, "uretprobe", "pt_regs", path=True),
    Provider("usdt U", "usdt:path:[provider:]probe", 2, 3, "usdt", "pt_regs", path=True),
    Provider("profile p", "profile:hz:99", 1, 2, "perf_event", "bpf_perf_event_data"),
    Provider("interval i", "interval:s:1", 1, 2, "perf_event", "bpf_perf_event_data"),
    Provider("software s", "software:event[:count]", 1, 2, "perf_event", "bpf_perf_event_data"),
    Provider("hardware h", "hardware:event[:count]", 1, 2, "perf_event", "bpf_perf_event_data"),
    Provider("watchpoint w", "watchpoint:address:length:mode", 3, 3, "perf_event", "bpf_perf_event_data"),
    Provider("asyncwatchpoint aw", "asyncwatchpoint:address:length:mode", 3, 3, "perf_event", "bpf_perf_event_data"),
    Provider("iter it", "iter:object[:pin]", 1, 2, "iter", None),
)
PROVIDERS = {row.kind: row for row in _ROWS}
_BY_NAME = {name.lower(): row for row in _ROWS for name in row.names if name != "U"}


def find_provider(name: str) -> Provider | None:
    """The row of a probe's first word; ``U`` is usdt, ``u`` uprobe, other capitals do not count."""
    if name == "U":
        return PROVIDERS["usdt"]
    return _BY_NAME.get(name.lower())


def provider_names() -> list[str]:
    """Names people may have meant, for near misses."""
    return ["BEGIN", "END", *(n for row in _ROWS for n in row.names if len(n) > 2 and row.least)]
