"""From the probes of a plan to links: patterns are matched first, so that it is known how many there will be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ebpf.compiler.trace.plan import Probe
    from ebpf.session.session import Session

# What counts as one event where the script gives no number: as bpftrace has it.
_DEFAULT_COUNTS: Final = {
    "alignment-faults": 1, "bpf-output": 1, "context-switches": 1000, "cpu-clock": 1_000_000, "cpu-migrations": 1,
    "dummy": 1, "emulation-faults": 1, "major-faults": 1, "minor-faults": 100, "page-faults": 100,
    "task-clock": 1_000_000, "branches": 100_000, "branch-misses": 100_000, "bus-cycles": 100_000,
    "cache-misses": 1_000_000, "cache-references": 1_000_000, "cycles": 1_000_000, "instructions": 1_000_000,
    "ref-cycles": 1_000_000, "stalled-cycles-backend": 1_000_000, "stalled-cycles-frontend": 1_000_000,
}
_ALIASES: Final = {"cpu": "cpu-clock", "cs": "context-switches", "faults": "page-faults", "cpu-cycles": "cycles",
                   "branch-instructions": "branches"}
_IN_LIBC: Final = ("pthread", "rt", "dl", "util", "anl")  # libraries that became part of glibc's libc in 2.34


class Site(NamedTuple):
    """One place of a probe: its name as ``probe`` prints it, and what its kind needs to attach there."""

    name: str
    where: Any


def glob(pattern: str) -> str:
    """A pattern with ``*``, ``?`` and ``[…]`` as a regular expression for the whole name."""
    return "".join(".*" if part == "*" else "." if part == "?" else part if part.startswith("[") else re.escape(part)
                   for part in re.findall(r"\[[^\]]+\]|.", pattern))


def sites(probe: Probe, pid: int | None = None) -> list[Site]:
    """Where a probe will be attached. `TargetNotFound` if its pattern matches nothing."""
    find = _SITES.get(probe.kind)
    if not probe.details.get("wildcard") or find is None:
        if probe.kind in ("uprobe", "uretprobe") and probe.details.get("symbol"):
            _find_user_function(probe, pid)
        return [Site(probe.name, None)]
    found = find(probe, pid)
    if not found:
        raise TargetNotFound(f"{probe.name} matches nothing", name=probe.name,
                             helps=(f"list what there is: ebpf trace -l '{probe.kind}:*'",))
    return found


def _find_user_function(probe: Probe, pid: int | None) -> None:
    """Raise `TargetNotFound` if a program or library lacks the probe's function."""
    from ebpf.binaries.find import find_binary
    from ebpf.binaries.symbols import elf_symbols

    path, name = probe.details["path"], probe.details["symbol"]
    try:
        elf_symbols(find_binary(path, pid)).find(name)
    except TargetNotFound as error:
        library = path.removeprefix("lib").partition(".")[0]
        if library in _IN_LIBC and elf_symbols(find_binary("libc", pid)).address_of(name):
            error.helps = (f"it is in libc now (glibc 2.34): {probe.kind}:libc:{name}",)
        raise


def _kernel_functions(probe: Probe, pid: int | None) -> list[Site]:
    from ebpf.session.host import host

    pattern = probe.details["function"]
    # Parts that a compiler split off (vfs_statfs.part.0) are meant only where the pattern has a dot, as in bpftrace.
    names = [name for name in host.functions(glob(pattern)) if "." in pattern or "." not in name]
    module = probe.details.get("module")
    if module:
        from ebpf.kernel.symbols import kernel_symbols

        symbols, matches = kernel_symbols(), re.compile(glob(module)).fullmatch
        names = [name for name in names
                 if any(matches(symbol.module or "vmlinux") for symbol in symbols.find_all(name))]
    return [Site(f"{probe.kind}:{name}", name) for name in names]


def known_tracepoints(pattern: str) -> tuple[str, ...]:
    """Tracepoints whose ``category:name`` matches; without tracefs those of system calls, which every kernel has."""
    from ebpf.kernel.facts import SystemFacts

    return SystemFacts().tracepoints(pattern) or ()


def _tracepoints(probe: Probe, pid: int | None) -> list[Site]:
    names = known_tracepoints(f"{probe.details['category']}:{probe.details['event']}")
    return [Site(f"tracepoint:{name}", name) for name in names]


def _raw_tracepoints(probe: Probe, pid: int | None) -> list[Site]:
    names = sorted({name.partition(":")[2] for name in known_tracepoints(f"*:{probe.details['event']}")})
    return [Site(f"rawtracepoint:{name}", name) for name in names]


def _user_functions(probe: Probe, pid: int | None) -> list[Site]:
    from glob import glob as files

    from ebpf.session.host import host

    path = probe.details["path"]
    paths = sorted(files(path)) if any(c in path for c in "*?[") else [host.find_binary(path, pid)]
    matches = re.compile(glob(probe.details.get("symbol") or "")).fullmatch
    found = []
    for file in paths:
        try:
            functions = host.user_functions(file)
        except EbpfError:
            if len(paths) == 1:
                raise
            continue  # no program: a directory, a script
        seen = set()
        for name, (offset, _) in sorted(functions.items()):
            if matches(name) and offset not in seen:  # several names of one place are one probe
                seen.add(offset)
                found.append(Site(f"{probe.kind}:{file}:{name}", (file, name)))
    return found


def _usdt_sites(probe: Probe, pid: int | None) -> list[Site]:
    from ebpf.binaries.usdt import usdt_probes
    from ebpf.session.host import host

    details = probe.details
    provider = re.compile(glob(details.get("provider") or "*")).fullmatch
    event = re.compile(glob(details["event"])).fullmatch
    path = host.find_binary(details["path"], pid)
    found = dict.fromkeys((note.provider, note.name) for note in usdt_probes(path)
                          if provider(note.provider) and event(note.name))
    return [Site(f"usdt:{path}:{owner}:{name}", (path, owner, name)) for owner, name in found]


_SITES: Final[dict[str, Callable[[Probe, int | None], list[Site]]]] = {
    "kprobe": _kernel_functions, "kretprobe": _kernel_functions, "fentry": _kernel_functions,
    "fexit": _kernel_functions, "tracepoint": _tracepoints, "rawtracepoint": _raw_tracepoints,
    "uprobe": _user_functions, "uretprobe": _user_functions, "usdt": _usdt_sites,
}


class Attaching:
    """Attaches the probes of one script. `missing` says what becomes of probes that are not there: "error", "warn"
    (told by
    ``warn``) or "ignore".
    """

    def __init__(self, session: Session, *, pid: int | None = None, missing: str = "error",
                 warn: Callable[[str], object] = lambda text: None) -> None:
        self._session = session
        self._pid = pid
        self._missing = missing
        self._warn = warn
        self.problem: AttachError | None = None  #: the last that was only warned of

    def attach(self, probe: Probe, found: Sequence[Site], *, one_of_many: bool = False) -> bool:
        """Attach one probe at all its sites; the links are the session's. Whether it is attached.

        ``one_of_many``: it stands in a list of attach points, of which some may be missing.
        """
        attach = _ATTACH.get(probe.kind)
        if attach is None:
            raise NotSupported(f"{probe.kind} probes", who="ebpf")
        try:
            attach(self, probe, found)
            return True
        except AttachError as error:
            if self._missing == "error" and not one_of_many:
                raise
            self.problem = error
            if self._missing != "ignore":
                self._warn(f"{probe.name}: {error.message}")
            return False

    def _program(self, probe: Probe) -> Any:
        return self._session.programs[probe.program]

    def _each(self, probe: Probe, found: Sequence[Site], one: Callable[[Site, int], Any]) -> None:
        """Attach at every site; of several, those that refuse are passed over, unless all do."""
        problem: EbpfError | None = None
        done = 0
        for number, site in enumerate(found):
            try:
                one(site, number)
                done += 1
            except (AttachError, NotSupported) as error:
                if len(found) == 1:
                    raise
                problem = error
                self._warn(f"{site.name}: {error.message}")
        if problem is not None and not done:
            raise problem

    def _cookie(self, probe: Probe, number: int) -> int | None:
        return number if probe.details.get("cookie") else None

    def _kprobe(self, probe: Probe, found: Sequence[Site]) -> None:
        program, details = self._program(probe), probe.details
        returns = probe.kind == "kretprobe"
        if len(found) > 1 and not details.get("cookie"):
            program.attach_kprobes([site.where for site in found], retprobe=returns, partly=True)
            return

        def one(site: Site, number: int) -> Any:
            function, cookie = site.where or details["function"], self._cookie(probe, number)
            if returns:
                return program.attach_kretprobe(function, cookie=cookie)
            return program.attach_kprobe(function, offset=details.get("offset") or 0, cookie=cookie)

        self._each(probe, found, one)

    def _tracepoint(self, probe: Probe, found: Sequence[Site]) -> None:
        program, details = self._program(probe), probe.details
        self._each(probe, found, lambda site, number: program.attach_tracepoint(
            site.where or f"{details['category']}:{details['event']}", cookie=self._cookie(probe, number)))

    def _raw_tracepoint(self, probe: Probe, found: Sequence[Site]) -> None:
        program = self._program(probe)
        self._each(probe, found, lambda site, number: program.attach_raw_tracepoint(
            site.where or probe.details["event"]))

    def _uprobe(self, probe: Probe, found: Sequence[Site]) -> None:
        if len(found) > 1 and self._uprobes_at_once(probe, found):
            return
        program, details = self._program(probe), probe.details
        attach = program.attach_uretprobe if probe.kind == "uretprobe" else program.attach_uprobe

        def one(site: Site, number: int) -> Any:
            path, symbol = site.where or (details["path"], details.get("symbol") or None)
            return attach(path, symbol, address=None if symbol else details.get("address"),
                          offset=details.get("offset") or 0, pid=self._pid, cookie=self._cookie(probe, number))

        self._each(probe, found, one)

    def _uprobes_at_once(self, probe: Probe, found: Sequence[Site]) -> bool:
        """Attach with one system call a file, where the kernel can (uprobe.multi, Linux 6.6)."""
        from ebpf.abi.programs import AttachType, ProgType
        from ebpf.session.choice import wish

        session = self._session
        # Of a process only the first thread was seen before 6.10: there, each place by itself.
        if session.backend != "kernel" or self._pid is not None or wish.recorder is not None:
            return False
        backend: Any = session._backend
        files: dict[str, list[tuple[str, int]]] = {}
        for number, site in enumerate(found):
            path, symbol = site.where
            files.setdefault(path, []).append((symbol, number))
        links: list[Any] = []
        try:
            copy = backend.load_program(probe.program, type=ProgType.KPROBE, again=True,
                                        expected_attach_type=AttachType.TRACE_UPROBE_MULTI)
            try:
                for path, places in files.items():
                    links.append(backend.attach(
                        "uprobe_multi", copy, path, functions=[symbol for symbol, _ in places],
                        retprobe=probe.kind == "uretprobe",
                        cookies=[number for _, number in places] if probe.details.get("cookie") else ()))
            finally:
                copy.close()  # the links hold on to it
        except EbpfError:  # an older kernel, or one place among them that cannot be probed
            for link in links:
                link.detach()
            return False
        for link in links:
            session.adopt(link)
        return True

    def _usdt(self, probe: Probe, found: Sequence[Site]) -> None:
        program, details = self._program(probe), probe.details

        def one(site: Site, number: int) -> Any:
            path, provider, event = site.where or (details["path"], details.get("provider") or "", details["event"])
            return program.attach_usdt(path, event, provider=provider, pid=self._pid,
                                       cookie=self._cookie(probe, number))

        self._each(probe, found, one)

    def _timer(self, probe: Probe, found: Sequence[Site]) -> None:
        from ebpf.session.host import host

        details, program = probe.details, self._program(probe)
        rate = {"frequency": details["count"]} if details["unit"] == "hz" else {"period": details["period_ns"]}
        only = None if probe.kind == "profile" else host.online_cpus()[0]
        pid = self._pid if probe.kind == "profile" else None
        program.attach_perf_event("cpu-clock", cpu=only, pid=pid, **rate)

    def _counter(self, probe: Probe, found: Sequence[Site]) -> None:
        event = _ALIASES.get(probe.details["event"], probe.details["event"])
        period = probe.details.get("count") or _DEFAULT_COUNTS.get(event, 1)
        self._program(probe).attach_perf_event(event, period=period, pid=self._pid)

    def _watchpoint(self, probe: Probe, found: Sequence[Site]) -> None:
        details = probe.details
        address = details.get("address")
        if address is None:
            from ebpf.kernel.symbols import kernel_symbols

            address = kernel_symbols().address(details["symbol"])
            if address is None:
                raise TargetNotFound(f"the kernel has no symbol {details['symbol']!r}", name=details["symbol"])
        self._program(probe)._attach("watchpoint", address, length=details["length"], mode=details["mode"],
                                     pid=self._pid)

    def _tracing(self, probe: Probe, found: Sequence[Site]) -> None:
        from ebpf.session.choice import wish

        def one(site: Site, number: int) -> Any:
            if site.where is None:
                return self._program(probe).attach_tracing()
            session = self._session
            if wish.recorder is not None:
                raise NotSupported(f"recording {probe.kind} probes", who="ebpf",
                                   instead="kprobes, uprobes and tracepoints can be recorded")
            backend: Any = session._backend
            copy = backend.load_program(probe.program, attach_to=site.where, again=True)
            try:
                return session.adopt(backend.attach("tracing", copy, None))
            finally:
                copy.close()  # the link holds on to it

        self._each(probe, found, one)

    def _nothing(self, probe: Probe, found: Sequence[Site]) -> None:
        """Programs that the runtime starts itself."""


_ATTACH: Final[Mapping[str, Callable[[Attaching, Probe, Sequence[Site]], None]]] = {
    "begin": Attaching._nothing, "end": Attaching._nothing, "self": Attaching._nothing, "iter": Attaching._nothing,
    "kprobe": Attaching._kprobe, "kretprobe": Attaching._kprobe, "fentry": Attaching._tracing,
    "fexit": Attaching._tracing, "tracepoint": Attaching._tracepoint, "rawtracepoint": Attaching._raw_tracepoint,
    "uprobe": Attaching._uprobe, "uretprobe": Attaching._uprobe, "usdt": Attaching._usdt, "profile": Attaching._timer,
    "interval": Attaching._timer, "software": Attaching._counter, "hardware": Attaching._counter,
    "watchpoint": Attaching._watchpoint,
}


def check_pid(pid: int | None) -> None:
    """Refuse a process id that is none."""
    if pid is not None and pid <= 0:
        raise UsageError(f"a process id is positive, not {pid}")
