"""What a tool is: its options, its program, and how a record becomes an item.

`EventTool` shows what happens as it happens, `ReportTool` what an interval added up to. A tool overrides little: see
`opensnoop` for the one, `syscount` for the other.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.tools._columns import Column, Table, clock_time, json_line
from ebpf.tools._options import ALWAYS, FILTERS, Option, Options, option, positive, values
from ebpf.tools._values import Clock, cut_comm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
_SLICE_S = 0.25
_LOOK_S = 0.03
_TIME = Column("TIME", "time", 12, clock_time, True, "timestamp")


class Tool:
    """One tool. Subclasses set what is below and override `settings`, `attach` and what makes items."""

    name = ""
    about = ""  #: sentences for --help
    examples: tuple[tuple[str, str], ...] = ()  #: (arguments, what that does)
    options: tuple[Option, ...] = ()
    filters: tuple[str, ...] = ("pid", "tid", "uid", "comm", "cgroup", "container")
    columns: tuple[Column, ...] = ()
    #: Where it cannot run as an ordinary user, on a command: why, and what would do; "" where it can.
    kernel_only = ""
    summarises = False

    # ---- options ----

    def all_options(self) -> tuple[Option, ...]:
        """Its own, those it filters by, and everybody's."""
        return (*self.options, *(FILTERS[name] for name in self.filters), *ALWAYS)

    def parse(self, given: Mapping[str, Any]) -> Options:
        """The options' values; `UsageError` for what does not fit."""
        return values(self.all_options(), given)

    def table(self, options: Options) -> Table:
        """The columns that the options want."""
        every = self.columns if self.summarises else (_TIME, *self.columns)
        return Table([c for c in every if not c.option or getattr(options, c.option, False)])

    # ---- the program ----

    def settings(self, options: Options) -> dict[str, Any]:
        """Constants of the program."""
        return {}

    def programs(self, options: Options) -> Iterable[str] | None:
        """Which programs are loaded; None: all."""
        return None

    def attach(self, session: ebpf.Session, options: Options) -> None:
        """Attach them: by default where their sections say, tracepoints that this kernel lacks left out."""
        attach_those_there(session)

    def defines(self, options: Options) -> tuple[str, ...]:
        """Macros that the program is compiled with."""
        return ()

    def max_entries(self, options: Options) -> dict[str, int]:
        """Sizes of maps, where the program's own are not what is wanted."""
        return {}

    def load(self, options: Options, command: Sequence[str] = ()) -> ebpf.Session:
        """Its program, compiled (or from the cache), loaded and attached.

        ``command``: what is traced in the userspace machine, with its children, in place of the whole system.
        """
        if self.kernel_only and command:
            raise ebpf.NotSupported(f"{self.name} on a command", who="the userspace machine",
                                    notes=(self.kernel_only,), instead=f"run it as root: sudo ebpf tools {self.name}")
        constants = {**self._filter_constants(options), **self.settings(options)}
        obj = ebpf.compile(f"{HERE}/{self.name}.c", include_dirs=(HERE,), dialect="libbpf",
                           defines=self.defines(options))
        wanted = self.programs(options)
        with ExitStack() as stack:
            if command:
                stack.enter_context(ebpf.use("machine", command=command))  # for this session alone
            try:
                # The machine by its name, for a command: the end of that ends the items, and not the process.
                backend = "kernel" if self.kernel_only else "machine" if command else None
                session = ebpf.load(obj, backend=backend, variables=constants, max_entries=self.max_entries(options),
                                    load_programs=True if wanted is None else wanted)
                try:
                    self.attach(session, options)
                except BaseException:
                    session.close()
                    raise
            except ebpf.PrivilegeError as error:
                if self.kernel_only and self.kernel_only not in error.notes:
                    error.notes = (*error.notes, self.kernel_only)
                raise
        return session

    def _filter_constants(self, options: Options) -> dict[str, Any]:
        found: dict[str, Any] = {"own_pid": os.getpid()}
        for name in ("pid", "tid"):
            if name in self.filters and getattr(options, name) is not None:
                found[f"only_{name}"] = getattr(options, name)
        if "uid" in self.filters and options.uid is not None:
            found |= {"only_uid": options.uid, "any_uid": False}
        if "comm" in self.filters and options.comm is not None:
            found |= {"only_comm": cut_comm(options.comm), "any_comm": False}
        if "cgroup" in self.filters and (options.cgroup is not None or options.container is not None):
            from ebpf.tools._groups import find_container, find_group

            if options.cgroup is not None and options.container is not None:
                raise ebpf.UsageError("a container is a control group: give one of the two")
            group = find_group(options.cgroup) if options.cgroup is not None else find_container(options.container)
            found |= {"only_cgroup": group.id, "only_cgroup_level": group.level}
        return found

    # ---- items ----

    def items(self, session: ebpf.Session, options: Options) -> Iterator[Any]:
        """What it shows, until what is watched has ended; never for a kernel. ``None`` from time to time."""
        raise NotImplementedError

    def run(self, given: Mapping[str, Any], command: Sequence[str] = ()) -> Iterator[Any]:
        """The items from Python: options by name; what is attached is detached when the iteration ends."""
        options = self.parse(given)
        with self.load(options, command) as session:
            for item in self.items(session, options):
                if item is not None:
                    yield item

    def lost(self, session: ebpf.Session) -> int:
        """Records for which there was no room."""
        return session.lost + int(session.variables["lost"])

    def lost_words(self, count: int) -> str:
        """What that means."""
        return f"{count} events came faster than they were read"


class EventTool(Tool):
    """A tool whose program sends a record for each event, through the ring buffer ``events``."""

    def item(self, record: Any, options: Options, clock: Clock) -> Any:
        """What a record says, as the tool's named tuple; ``None``: nothing."""
        raise NotImplementedError

    def items(self, session: ebpf.Session, options: Options) -> Iterator[Any]:
        import time

        clock = Clock()
        end = None if options.duration is None else time.monotonic() + options.duration
        stream = session.maps["events"].events()
        found: list[Any] = []
        while True:
            ended = session.ended  # what it left behind is read below
            left = _SLICE_S if end is None else min(_SLICE_S, end - time.monotonic())
            stream.consume(found.append, timeout=max(left, 0))
            for record in found:
                made = self.item(record, options, clock)
                if made is not None:
                    yield made
            if found:
                found = []
                yield None
            elif ended:
                return
            if end is not None and time.monotonic() >= end:
                return


class ReportTool(Tool):
    """A tool that adds up in maps and says so each interval, or at the end."""

    summarises = True
    interval: float | None = None  #: by default: None at the end alone

    def all_options(self) -> tuple[Option, ...]:
        own = (option("interval", kind=positive, default=self.interval, metavar="INTERVAL",
                      help="seconds between reports" + ("" if self.interval else "; without it one at the end")),
               option("count", kind=int, metavar="COUNT", help="how many reports"))
        return (*self.options, *own, *(FILTERS[name] for name in self.filters), *ALWAYS)

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[Any]:
        """The items of an interval that took so long; what was counted starts anew."""
        raise NotImplementedError

    def lines(self, report: Report, options: Options) -> Iterator[str]:
        """The report as text: a table, by default; as JSON where that was asked for."""
        if options.json:
            yield from map(json_line, report.items)
            return
        table = self.table(options)
        if options.timestamp:
            import time

            yield clock_time(time.time())
        if not options.no_header:
            yield table.header()
        yield from map(table.line, report.items)
        if options.interval is not None:
            yield ""

    def items(self, session: ebpf.Session, options: Options) -> Iterator[Any]:
        for report in self.reports(session, options):
            yield from report.items

    def look(self, session: ebpf.Session) -> None:
        """Called often while a command is traced: what can be known only while its processes live."""

    def _wait(self, session: ebpf.Session, until: float | None) -> bool:
        """Until then, or the end of what is traced; whether that was it."""
        import time

        slice_s = _SLICE_S if session.backend == "kernel" else _LOOK_S
        while not session.ended:
            left = slice_s if until is None else min(slice_s, until - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
            if session.backend != "kernel":
                self.look(session)
        return True

    def reports(self, session: ebpf.Session, options: Options) -> Iterator[Report]:
        """Each interval's items; an interrupt (Ctrl-C) while it waits ends the last one early."""
        import time

        began = time.monotonic()
        end = None if options.duration is None else began + options.duration
        left = options.count
        while True:
            interrupted = False
            next_at = None if options.interval is None else began + options.interval
            try:
                ended = self._wait(session, min((at for at in (next_at, end) if at is not None), default=None))
            except KeyboardInterrupt:
                interrupted = ended = True
            now = time.monotonic()
            yield Report(list(self.collect(session, options, now - began)), now - began, interrupted)
            began = now
            left = None if left is None else left - 1
            if ended or left == 0 or (end is not None and now >= end):
                return


class Report:
    """An interval's items; ``interrupted``: Ctrl-C ended it."""

    __slots__ = ("interrupted", "items", "seconds")

    def __init__(self, items: list[Any], seconds: float, interrupted: bool) -> None:
        self.items = items
        self.seconds = seconds
        self.interrupted = interrupted


def attach_those_there(session: ebpf.Session) -> None:
    """Attach every program where its section says; a hook that this kernel lacks is left out if another is there."""
    missing = None
    attached = False
    for program in session.programs.values():
        try:
            program.attach()
            attached = True
        except ebpf.TargetNotFound as error:
            missing = error
    if not attached and missing is not None:
        raise missing


def attach_first(session: ebpf.Session, *names: str, needed: bool = True) -> None:
    """Attach the first of these programs whose hook this kernel has, in that form."""
    for name in names:
        try:
            session.programs[name].attach()
            return
        except (ebpf.AttachError, ebpf.KernelError):
            if needed and name == names[-1]:
                raise
