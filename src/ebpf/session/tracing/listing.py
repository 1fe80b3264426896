"""Which probes there are: for ``-l``, and for whoever looks for one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.errors import EbpfError
from ebpf.session.tracing.attaching import glob, known_tracepoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.btf import Btf


class ProbeInfo(NamedTuple):
    """A probe that can be attached: its name, and (where asked for) its arguments as C declares them."""

    name: str
    arguments: tuple[str, ...] = ()


_SHORT: Final = {"k": "kprobe", "kr": "kretprobe", "t": "tracepoint", "rt": "rawtracepoint", "u": "uprobe",
                 "ur": "uretprobe", "U": "usdt", "h": "hardware", "s": "software", "f": "fentry", "kfunc": "fentry",
                 "fr": "fexit", "kretfunc": "fexit", "it": "iter"}


def list_probes(pattern: str = "*", *, arguments: bool = False, pid: int | None = None) -> Iterator[ProbeInfo]:
    """Probes whose names match: ``"tracepoint:syscalls:*open*"``, ``"uprobe:/bin/bash:*"``, ``"*sleep*"`` (of any
    kind).

    ``arguments``: with their arguments (tracepoints, fentry and fexit: needs tracefs or the kernel's types). Programs
    and
    libraries are looked at only if the pattern names one; arguments of their functions: where they have DWARF.
    """
    kind, colon, rest = pattern.partition(":")
    kind = _SHORT.get(kind, kind.lower() if colon else kind)
    if colon and kind in _KINDS:
        yield from _KINDS[kind](rest or "*", arguments, pid)
        return
    wanted = re.compile(glob(pattern if "*" in pattern or "?" in pattern else f"*{pattern}*")).fullmatch
    for name in _EVERYWHERE:
        try:
            for probe in _KINDS[name]("*", arguments, pid):
                if wanted(probe.name):
                    yield probe
        except EbpfError:  # this kernel or user has none of that kind
            continue


def _functions(kind: str, rest: str) -> Iterator[str]:
    from ebpf.kernel.symbols import kernel_symbols
    from ebpf.session.host import host

    module, colon, function = rest.rpartition(":")
    for name in host.functions(glob(function)):
        if colon and not any(re.fullmatch(glob(module), symbol.module or "vmlinux")
                             for symbol in kernel_symbols().find_all(name)):
            continue
        yield name


def _kprobes(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    for name in _functions("kprobe", rest):
        yield ProbeInfo(f"kprobe:{name}")


def _kretprobes(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    for name in _functions("kretprobe", rest):
        yield ProbeInfo(f"kretprobe:{name}")


def _tracepoints(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    for name in known_tracepoints(rest if ":" in rest else f"{rest}:*"):
        yield ProbeInfo(f"tracepoint:{name}", _fields(name) if arguments else ())


def _fields(name: str) -> tuple[str, ...]:
    from ebpf.kernel.facts import SystemFacts

    text = SystemFacts().tracepoint_format(*name.split(":", 1)) or ""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*field:(.*?);", line)
        if match and not match[1].split()[-1].startswith("common_"):
            words = re.match(r"(.*?)\s*(\w+)((?:\[\w*\])?)$", match[1].strip())
            found.append(f"{words[1]} {words[2]}{words[3]}" if words else match[1])
    return tuple(found)


def _raw_tracepoints(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    for name in sorted({full.partition(":")[2] for full in known_tracepoints(f"*:{rest}")
                        if not full.startswith("syscalls:")}):
        yield ProbeInfo(f"rawtracepoint:{name}")


def _traced(kind: str, rest: str, arguments: bool) -> Iterator[ProbeInfo]:
    from ebpf.btf.types import Kind
    from ebpf.session.host import host

    btf = host.btf()
    if btf is None:
        return
    for name in _functions(kind, rest):
        found = btf.find(name, Kind.FUNC)
        if found is not None:
            yield ProbeInfo(f"{kind}:{name}", _parameters(btf, found, kind == "fexit") if arguments else ())


def _parameters(btf: Btf, function: int, returns: bool) -> tuple[str, ...]:
    from ebpf.btf import format_decl

    prototype = btf.type(btf.type(function).type)  # type: ignore[union-attr]
    found = [format_decl(btf, parameter.type, parameter.name) for parameter in prototype.params]  # type: ignore[union-attr]
    if returns:
        found.append(format_decl(btf, prototype.ret, "retval"))  # type: ignore[union-attr]
    return tuple(found)


def _fentry(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _traced("fentry", rest, arguments)


def _fexit(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _traced("fexit", rest, arguments)


def _user(kind: str, rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    from ebpf.session.host import host

    path, colon, symbol = rest.rpartition(":")
    if not colon:
        path, symbol = rest, "*"
    file = host.find_binary(path, pid)
    wanted = re.compile(glob(symbol)).fullmatch
    names = [name for name in sorted(host.user_functions(file)) if wanted(name)]
    told = _user_parameters(file, names) if arguments and kind == "uprobe" else {}
    for name in names:
        yield ProbeInfo(f"{kind}:{file}:{name}", told.get(name, ()))


def _user_parameters(file: str, names: list[str]) -> dict[str, tuple[str, ...]]:
    """What the file's debug information says of the functions' parameters; nothing where it has none."""
    from ebpf.binaries.dwarf_types import debug_types
    from ebpf.btf import Btf
    from ebpf.btf.types import Kind

    types = debug_types(file)
    if types is None:
        return {}
    btf = Btf.parse(types.functions_btf(frozenset(names)))
    return {name: _parameters(btf, id, False) for name, id in btf.iter_names(Kind.FUNC)}


def _uprobes(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _user("uprobe", rest, arguments, pid)


def _uretprobes(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _user("uretprobe", rest, arguments, pid)


def _usdt(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    from ebpf.binaries.usdt import usdt_probes
    from ebpf.session.host import host

    path, _, names = rest.partition(":")
    provider, colon, event = names.partition(":")
    if not colon:
        provider, event = "*", names or "*"
    file = host.find_binary(path, pid)
    for owner, name in sorted({(probe.provider, probe.name) for probe in usdt_probes(file)}):
        if re.fullmatch(glob(provider), owner) and re.fullmatch(glob(event), name):
            yield ProbeInfo(f"usdt:{file}:{owner}:{name}")


def _counters(kind: str, number: int, rest: str) -> Iterator[ProbeInfo]:
    from ebpf.abi.perf_events import PERF_EVENTS

    wanted = re.compile(glob(rest.rstrip(":"))).fullmatch
    for name, (type, _) in sorted(PERF_EVENTS.items()):
        if type == number and wanted(name):
            yield ProbeInfo(f"{kind}:{name}:")


def _hardware(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _counters("hardware", 0, rest)


def _software(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    return _counters("software", 1, rest)


def _iterators(rest: str, arguments: bool, pid: int | None) -> Iterator[ProbeInfo]:
    from ebpf.btf.types import Kind
    from ebpf.session.host import host

    btf = host.btf()
    wanted = re.compile(glob(rest)).fullmatch
    for name in sorted(name for name, _ in btf.iter_names(Kind.FUNC)) if btf is not None else ():
        if name.startswith("bpf_iter_") and wanted(name.removeprefix("bpf_iter_")):
            yield ProbeInfo(f"iter:{name.removeprefix('bpf_iter_')}")


_KINDS: Final[dict[str, Callable[[str, bool, int | None], Iterator[ProbeInfo]]]] = {
    "kprobe": _kprobes, "kretprobe": _kretprobes, "fentry": _fentry, "fexit": _fexit, "tracepoint": _tracepoints,
    "rawtracepoint": _raw_tracepoints, "uprobe": _uprobes, "uretprobe": _uretprobes, "usdt": _usdt,
    "hardware": _hardware, "software": _software, "iter": _iterators,
}
_EVERYWHERE: Final = ("hardware", "software", "tracepoint", "rawtracepoint", "iter", "fentry", "kprobe")
