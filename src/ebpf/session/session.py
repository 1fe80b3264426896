"""`load` and `Session`: an object in the kernel or the machine, with all that belongs to it, until it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.abi.programs import ProgType
from ebpf.diagnostics import Names, unknown_name
from ebpf.errors import AttachError, EbpfError, NotSupported, UsageError
from ebpf.session.maps import Map
from ebpf.session.programs import Program

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ebpf.kernel.dropping import Dropped
    from ebpf.kernel.programs import KernelProgram
    from ebpf.machine.machine import Machine
    from ebpf.machine.recording import Recording
    from ebpf.object import Object, ProgramSpec
    from ebpf.session.backend import Backend, LinePipe, Link
    from ebpf.session.events import EventStream
    from ebpf.session.functions.function import Function
    from ebpf.session.poller import Poller
    from ebpf.session.usdt_specs import UsdtSpecs
    from ebpf.session.variables import Variables

_SLICE_S = 0.25  # an endless wait looks up this often, for Ctrl-C and CPUs that come online


class _EventType:
    """The type of a map's events, looked up when somebody asks: most sessions never do."""

    __slots__ = ("_name", "_obj")

    def __init__(self, obj: Object, name: str) -> None:
        self._obj = obj
        self._name = name

    def __call__(self) -> int:
        found = self._obj.events.get(self._name)
        if found is not None:
            return found
        spec = self._obj.maps[self._name]
        # `__type(value, int)` of a perf event array is the descriptor that the kernel keeps in it, not a record.
        return 0 if spec.type == MapType.PERF_EVENT_ARRAY and spec.value_size == 4 else spec.value_type_id


def _about_section(spec: ProgramSpec) -> str:
    text = f"{spec.name}: section {spec.section!r}"
    if spec.info is not None:
        return text
    from ebpf.abi.sections import SECTION_NAMES
    from ebpf.diagnostics import did_you_mean

    head, slash, target = spec.section.partition("/")
    similar = did_you_mean(head, SECTION_NAMES, limit=1)
    return f"{text} is not known" + (f"; did you mean {similar[0] + slash + target!r}?" if similar else "")


class Session:
    """An object in the kernel or the machine: its `programs` and `maps` by name, and the `links` made through them.

    A context manager. `close` (or the end of ``with``, whatever ended it, Ctrl-C too) detaches, then closes everything.
    If the process is killed the kernel does the same, since nothing but file descriptors holds it; what was pinned
    stays.
    """

    def __init__(self, backend: Backend) -> None:
        self._usdt_specs: UsdtSpecs | None = None
        self._backend = backend
        self.obj: Object = backend.obj
        self.programs: dict[str, Program] = Names("program")
        self.maps: dict[str, Map] = Names("map")
        self.links: list[Link] = []
        self._closed = False
        self._variables: Variables | None = None
        self._callbacks: dict[str, tuple[EventStream, Callable[[Any], Any]]] = {}
        obj = self.obj
        for name, raw in backend.maps.items():
            spec = obj.maps[name]
            self.maps[name] = Map(raw, spec=spec, btf=obj.btf, key_type_id=spec.key_type_id,
                                  value_type_id=spec.value_type_id, event_type=_EventType(obj, name))
        for name, program in backend.programs.items():
            self.programs[name] = Program(self, program, obj.programs[name])

    def __repr__(self) -> str:
        state = " (closed)" if self._closed else ""
        return (f"<Session {self.obj.name}: {len(self.programs)} programs, {len(self.maps)} maps, "
                f"{len(self.links)} links{state}>")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether no more events will come: what the machine traces has ended. In a kernel never."""
        return self._backend.ended

    @property
    def backend(self) -> str:
        """Where it runs: ``"kernel"``, or ``"machine"``, the userspace one."""
        return self._backend.name

    @property
    def machine(self) -> Machine:
        """The userspace machine beneath: its clock, task and memory (`environment`), `run` with all that it tells.

        `NotSupported` for a session in the kernel.
        """
        found: Machine | None = getattr(self._backend, "machine", None)
        if found is None:
            raise NotSupported("what only the userspace machine has", who="a session in the kernel",
                               instead='load(…, backend="machine")')
        return found

    def load_program(self, name: str, *, type: int | None = None, expected_attach_type: int | None = None,
                     attach_to: str | None = None, log_level: int | None = None, ifindex: int = 0,
                     target: Program | KernelProgram | None = None,
                     signature: bytes | Callable[[bytes], bytes] | None = None, keyring: int = 0) -> Program:
        """Load one more program of the object (``load(obj, load_programs=False)`` loads none), as its section says or
        as told.

        `type` (`ProgType`), `expected_attach_type` and `attach_to` are for programs whose section does not say.
        ``target``: the program whose function `attach_to` (by default the section's) a freplace program replaces, or an
        fentry or fexit program follows. ``ifindex`` binds an XDP program to a device. ``signature`` (PKCS#7, or a
        function that makes it of the instructions as they go to the kernel) is checked against ``keyring``; Linux 6.18.
        """
        found = self.programs.get(name)
        if found is not None:
            return found
        if name not in self.obj.programs:
            raise unknown_name("program", name, self.obj.programs)
        raw = self._backend.load_program(name, type=type, expected_attach_type=expected_attach_type,
                                         attach_to=attach_to, log_level=log_level, ifindex=ifindex,
                                         attach_prog_fd=target.fileno() if target is not None else 0,
                                         signature=signature, keyring=keyring)
        self.programs[name] = made = Program(self, raw, self.obj.programs[name])
        return made

    @property
    def variables(self) -> Variables:
        """Global variables of the programs, typed, by name: ``session.variables["count"] = 0``."""
        if self._variables is None:
            from ebpf.session.variables import Variables

            self._variables = Variables(self.obj, self._backend.maps)
        return self._variables

    # ---- attaching ----

    @property
    def usdt_specs(self) -> UsdtSpecs | None:
        """What programs are told about the arguments of static probes, if they ask in libbpf's way."""
        from ebpf.session.usdt_specs import BY_ADDRESS, SPECS, UsdtSpecs

        if self._usdt_specs is None and SPECS in self.maps:
            self._usdt_specs = UsdtSpecs(self.maps[SPECS], self.maps.get(BY_ADDRESS))
        return self._usdt_specs

    def attach(self, *names: str) -> list[Link]:
        """Attach programs where their sections say, and struct_ops maps: those named, or all whose section names a
        target.

        All or none: if one cannot be attached, those before it are detached again. `AttachError` if there is none to
        attach.
        """
        if self._closed:
            raise UsageError("the session is closed")
        wanted = [self.programs[n] for n in names if n in self.programs or n not in self._tables] if names else [
            p for p in self.programs.values() if (info := p.spec.info if p.spec is not None else None) and
            info.auto_attach]
        tables = [n for n in self._tables if not names or n in names]
        if not wanted and not tables:
            raise AttachError("no program's section says where to attach it",
                              helps=tuple(_about_section(spec) for spec in self.obj.programs.values()))
        made: list[Link] = []
        try:
            for program in wanted:
                made.append(program.attach())
            for name in tables:
                made.append(self.attach_struct_ops(name))
        except BaseException:
            for link in reversed(made):
                self.disown(link)
                link.detach()
            raise
        return made

    @property
    def _tables(self) -> list[str]:
        return [name for name, spec in self.obj.maps.items() if spec.type == MapType.STRUCT_OPS]

    def attach_struct_ops(self, name: str) -> Link:
        """Register the struct_ops map ``name`` (a variable in ``SEC(".struct_ops.link")``): the kernel calls its
        programs in place of functions of its own from now on. Linux 5.6.

        `NotSupported` where the kernel has no such struct; `AttachError` if the name inside is taken.
        """
        return self.adopt(self._backend.attach_table(name))

    def replay(self, path: str | os.PathLike[str], each: Callable[[Any], Any] | None = None) -> Recording:
        """Feed the events of a recording (`ebpf.record`) to the programs of this session, which is in the machine::

            with ebpf.load(obj, backend="machine") as session:
                session.replay("clone.rec")

        Maps and streams then hold what they held where it was recorded. ``each`` is called after every event (to empty
        a ring buffer, say). The recording comes back: ``lost``, and ``damage`` if its file is not whole. Raises
        `FormatError` for a file that is no recording, `UnknownName` if it is of other programs.
        """
        from ebpf.session.recordings import replay

        return replay(self, path, each)

    def adopt(self, link: Link) -> Link:
        """Make a link part of the session: it is detached when the session is closed."""
        if self._closed:
            link.detach()
            raise UsageError("the session is closed")
        self.links = [old for old in self.links if old.attached]
        self.links.append(link)
        return link

    def disown(self, link: Link) -> None:
        """The other way round: the link lives as long as its owner keeps it."""
        self.links = [other for other in self.links if other is not link]

    # ---- events ----

    def events(self, type: Any = None, *, timeout: float | None = None, pages: int = 64) -> EventStream:
        """The events of that type: ``async for event in session.events(Event)``, or ``.batches()`` of arrays.

        ``type``: a class derived from `Struct`, or a type's name in the object (``"struct event"``); it may be left
        away where only one map carries events. ``timeout`` (seconds) ends a quiet iteration. `UsageError` where no
        map, or more than one, carries such events.
        """
        from ebpf.session.events import find_stream

        return find_stream(self, type, timeout=timeout, pages=pages)

    def on_event(self, map_name: str, callback: Callable[[Any], Any], *, type: str | None = None,
                 pages: int = 64) -> None:
        """Call ``callback(event)`` during `poll` for every event of that ring buffer or perf event array.

        Another callback for the same map takes the place of the first.
        """
        self._callbacks[map_name] = (self.maps[map_name].events(type=type, pages=pages), callback)

    def poll(self, timeout: float | None = None) -> int:
        """Wait up to ``timeout`` seconds (``None``: for ever) for events and hand them to the callbacks; how many.

        What a callback raises comes out here; the event that it was given counts as read, those after it are for the
        next call.
        """
        import time

        if self._closed:
            raise UsageError("the session is closed")
        if not self._callbacks:
            raise UsageError("nothing to poll: no callback is set",
                             helps=("set one with session.on_event(map, callback)",))
        deadline = None if timeout is None else time.monotonic() + timeout
        while streams := [pair for pair in self._callbacks.values() if not pair[0].closed]:
            count = sum(stream.consume(callback) for stream, callback in streams if not stream.closed)
            left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
            if count or left < 0:
                return count
            watch = self.poller()
            try:
                for stream, _ in streams:
                    stream.refresh()
                    watch.add(stream.fileno(), lambda: 1)
                watch.poll(left)
            finally:
                watch.close()
        if self._closed:
            return 0  # a callback has closed the session
        raise UsageError("nothing to poll: the event streams of all callbacks are closed",
                         helps=("session.on_event(map, callback) opens one",))

    def poller(self) -> Poller:
        """Something that waits on several descriptors at once and calls their handlers."""
        from ebpf.session.poller import Poller

        return Poller()

    @property
    def lost(self) -> int:
        """Events of all maps that were reported as lost."""
        return sum(map.lost for map in self.maps.values())

    def trace_pipe(self) -> LinePipe:
        """What programs print with ``bpf_trace_printk``: a file-like object to iterate over or `read_line` from.

        A kernel has only one such pipe: lines of other programs come through it too.
        """
        return self._backend.trace_pipe()

    # ---- the end ----

    def drop_privileges(self, user: str | int | None = None, *, keep: Iterable[str] = ()) -> Dropped:
        """Give up, for good, what is no longer needed once everything is attached: all capabilities but ``keep``, root.

        The process becomes ``user`` (a name or uid; without one whoever called sudo; else the user stays), and programs
        that it starts gain nothing. What is attached stays; maps and events are read as before (before Linux 5.19
        CAP_BPF is kept where that takes it). Loading, attaching and `Program.test_run` are over. Raises `UsageError`
        if this process has several threads or there is no such user.
        """
        from ebpf.kernel.dropping import drop

        maps = [m.raw.fileno() for m in self.maps.values()] if self.backend == "kernel" else []
        return drop(user=user, keep=keep, maps=maps)

    def close(self) -> None:
        """Detach, close and forget everything; doing so again is harmless."""
        if self._closed:
            return
        self._closed = True
        links, self.links = self.links, []
        problem: EbpfError | OSError | None = None
        for link in reversed(links):
            try:
                link.detach()
            except (EbpfError, OSError) as error:  # go on: the rest must not stay attached
                problem = problem or error
        for map in self.maps.values():
            map.close()
        self._backend.close()
        if problem is not None:
            raise problem

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Program]:
        return iter(self.programs.values())


def load(obj: Object | bytes | str | Path | Function | Sequence[Function], *, backend: str | None = None,
         load_programs: bool | Iterable[str] = True,
         types: Mapping[str, int | str] | None = None, max_entries: Mapping[str, int] | None = None,
         variables: Mapping[str, Any] | None = None, data: Mapping[str, bytes] | None = None,
         reuse: Mapping[str, Map] | None = None, log_level: int = 0, cpus: int | None = None,
         engine: str | None = None) -> Session:
    """Create the maps of ``obj`` and load its programs, in the kernel or the machine. Nothing is attached yet.

    ``obj`` is what `compile` or `open` gave, an object file's path or bytes, or a Python function that a decorator
    (`kprobe`, `xdp`, …) made a program of, or several in a list (`attach` would attach them, too).

    ``backend``: ``"kernel"``, ``"machine"`` (the userspace machine: no privilege needed), or by default what `use` or
    EBPF_BACKEND said, else the kernel where this user may load programs, else the machine, which one line on standard
    error says.

    ``load_programs``: all, none, or those names. ``types`` gives program types (`ProgType`, or ``"xdp"``) where
    sections do not. ``variables`` sets global variables, constants too. ``max_entries`` and ``data`` (contents of
    ``.data``, ``.rodata``, … as bytes) replace what the object says; ``reuse`` shares maps of another session.
    ``log_level`` 1 or 2 keeps the verifier's log of programs that it accepts, too (``program.raw.log``). ``cpus``: how
    many the machine has (by default as many as this host); ``engine``: its way to run programs, as of `use`. Raises
    `VerifierError`, `RelocationError`, `PrivilegeError`, …; nothing stays behind then.
    """
    from ebpf.object.spec import Object
    from ebpf.session.choice import load_in

    if not isinstance(obj, Object) and (isinstance(obj, (list, tuple)) or hasattr(obj, "attach_options")):
        from ebpf.session.functions.attaching import load_functions

        functions: Any = obj if isinstance(obj, (list, tuple)) else [obj]
        return load_functions(functions, backend=backend, load_programs=load_programs, types=types, maps=reuse,
                              max_entries=max_entries, variables=variables, data=data, log_level=log_level, cpus=cpus,
                              engine=engine)
    if not isinstance(obj, Object):
        from ebpf.session.build import open_object

        if not isinstance(obj, bytes) and str(obj).endswith(".c"):
            raise UsageError(f"{obj!s} is C, not an object", helps=("compile it first: load(compile(path))",))
        source: Any = obj
        obj = open_object(source)
    if variables:
        from ebpf.session.variables import initial_data

        data = initial_data(obj, variables, data or {})
    loaded = load_in(backend, obj, load_programs=load_programs, types=_types(obj, types), max_entries=max_entries,
                     data=data, reuse={name: m.raw for name, m in reuse.items()} if reuse else None,
                     log_level=log_level, **{n: v for n, v in (("cpus", cpus), ("engine", engine)) if v is not None})
    try:
        return Session(loaded)
    except BaseException:
        loaded.close()
        raise


def _types(obj: Object, types: Mapping[str, int | str] | None) -> dict[str, int]:
    """Program types by number, for programs that there are."""
    found: dict[str, int] = {}
    for name, given in (types or {}).items():
        if name not in obj.programs:
            raise unknown_name("program", name, obj.programs)
        type = ProgType.named(given) if isinstance(given, str) else given
        if type is None:
            names = [member.name.lower() for member in ProgType.members()]
            raise UsageError(f"there is no program type {given!r}", helps=(f"there are: {', '.join(names[1:])}",))
        found[name] = int(type)
    return found
