"""`attach`: functions compiled together, loaded, bound to their declarations, and each at its hook.

Where a program goes is in its section's name and in its decorator's options; rows of a table say which options a kind
of hook takes and how it is attached with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import ProgType
from ebpf.abi.sections import SectionInfo, parse_section
from ebpf.errors import AttachError, EbpfError, NotSupported, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ebpf.compiler.py.declarations import MapDecl
    from ebpf.object import Object
    from ebpf.session.functions.function import Function
    from ebpf.session.functions.globals import Global
    from ebpf.session.maps import Map
    from ebpf.session.programs import Program
    from ebpf.session.session import Session


def attach(*programs: Function, backend: str | None = None, maps: Mapping[Any, Any] | None = None,
           variables: Mapping[str | Global[Any], Any] | None = None,
           max_entries: Mapping[Any, int] | None = None) -> Session:
    """Compile functions, load them and attach each to its hook::

        with ebpf.attach(count, drop.on(interface="veth0")) as session:
            ...

    All of them share the maps and variables that they name; in a kernel a map that another open session uses already
    is shared with it, too. ``backend``: ``"kernel"``, ``"machine"``, or by default the kernel where this user may load
    programs, else the machine. ``maps`` puts other maps in the place of declared ones (by name or declaration: a
    `Map`, or another declared map that is live). ``variables`` sets global variables, ``max_entries`` sizes of maps.

    All or none: nothing stays behind where one cannot be compiled (`CompileError`), loaded (`VerifierError`) or
    attached (`AttachError`).
    """
    _checked(programs)
    for function in programs:
        _check_target(function)
    session = load_functions(programs, backend=backend, maps=maps, variables=variables, max_entries=max_entries)
    try:
        for function in programs:
            attach_function(session.programs[function.name], function)
    except BaseException:
        session.close()
        raise
    return session


def load_functions(programs: Iterable[Function], *, backend: str | None = None, maps: Mapping[Any, Any] | None = None,
                   variables: Mapping[Any, Any] | None = None, max_entries: Mapping[Any, int] | None = None,
                   **options: Any) -> Session:
    """The same without attaching; `ebpf.load` of functions."""
    from ebpf.compiler.py.declarations import collect
    from ebpf.session.session import load
    from ebpf.session.variables import find_variables

    functions = list(programs)
    obj = functions[0]._life.object if len(functions) == 1 and _checked(functions) else None
    obj = compile_functions(functions) if obj is None else obj
    uses = collect(functions)
    declared = {name: decl for name, decl in uses.maps.items() if name in obj.maps}
    held = {id(decl): name for name, decl in [*declared.items(), *uses.globals.items()]}
    values = {name: wanted for name, decl in uses.globals.items()
              if (wanted := getattr(decl, "_wanted", None)) is not None and name in find_variables(obj)}
    values.update({_name(given, held): value for given, value in (variables or {}).items()})
    given = {_name(which, held): map for which, map in (maps or {}).items()}
    if given:
        from ebpf.session.functions.sharing import check_given

        check_given(functions, declared, given)
    reuse = {**_shared(declared, backend, obj), **{name: _live(map) for name, map in given.items()}}
    session = load(obj, backend=backend, variables=values or None, reuse=reuse or None,
                   max_entries={_name(which, held): n for which, n in max_entries.items()} if max_entries else None,
                   **options)
    try:
        for name, decl in declared.items():
            _bind_map(session, name, decl)
        for name, variable in uses.globals.items():
            if name in session.variables:
                variable._bind(session, name)  # type: ignore[attr-defined]
        for function in functions:
            function._bind(session)
    except BaseException:
        session.close()
        raise
    return session


def compile_functions(functions: Sequence[Function]) -> Object:
    """The object of functions together, from the cache where it has them."""
    from ebpf.compiler.cache import Store
    from ebpf.compiler.py.declarations import compile_programs_cached
    from ebpf.kernel.facts import SystemFacts
    from ebpf.object.reader import read_object

    _checked(functions)
    store = Store()
    elf = compile_programs_cached(functions, facts=SystemFacts(store), store=store)
    return read_object(elf, functions[0].function.__module__.rpartition(".")[2])


def _checked(functions: Sequence[Function]) -> bool:
    from ebpf.session.functions.function import Function

    if not functions:
        raise UsageError("no program is given", helps=("ebpf.attach(count)",))
    names: dict[str, Function] = {}
    for function in functions:
        if not isinstance(function, Function):
            name = getattr(function, "__name__", repr(function))
            raise UsageError(f"{name} is no program", helps=("a decorator makes one of a function: @ebpf.kprobe(…)",))
        if names.setdefault(function.name, function) is not function:
            raise UsageError(f"two programs are called {function.name!r}",
                             helps=("give one another name: @ebpf.kprobe(…, name=\"other\")",))
    return True


def _name(given: Any, held: dict[int, str]) -> str:
    """What a declaration, or a name, is called in the object."""
    if isinstance(given, str):
        return given
    found = held.get(id(given))
    if found is None:
        raise UsageError(f"{given!r} is not used by these programs")
    return found


def _live(map: Any) -> Map:
    found: Map = getattr(map, "live", map)
    return found


def _shared(declared: Mapping[str, MapDecl], backend: str | None, obj: Object) -> dict[str, Map]:
    """Maps that an open session has for the same declaration, in the same backend."""
    held = {name: pair for name, decl in declared.items() if (pair := _held(decl)) is not None}
    if not held:
        return {}
    from ebpf.session.choice import choose

    if choose(backend, obj).backend != "kernel":
        return {}  # in the machine each session has maps of its own
    return {name: map for name, (session, map) in held.items() if session.backend == "kernel"}


def _held(decl: Any) -> tuple[Session, Map] | None:
    pair: tuple[Session, Map] | None = decl.in_session() if hasattr(decl, "in_session") else None
    return pair


def _bind_map(session: Session, name: str, decl: Any) -> None:
    from ebpf.session.functions.codecs import codec_for

    session.maps[name].declare(codec_for(decl.key), codec_for(decl.value))
    decl._bind(session, session.maps[name])


# ---- attaching ----


class Family:
    """How a kind of hook is attached: the options that it takes, those without which it cannot be, and the call."""

    __slots__ = ("attach", "needs", "options")

    def __init__(self, attach: Callable[[Program, SectionInfo, dict[str, Any]], Any], options: str,
                 needs: str = "") -> None:
        self.attach = attach
        self.options = tuple(options.split())
        self.needs = needs


def _by_section(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach()


def _nowhere(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    """Programs that are put into maps."""


def _probe(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    function, _, offset = info.attach_to.partition("+")
    if info.kind.startswith("kret"):
        return program.attach_kretprobe(function, **options)
    if offset:
        options = {"offset": int(offset, 0), **options}
    return program.attach_kprobe(function, **options)


def _syscall_probe(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    attach = program.attach_kretprobe if info.kind.startswith("kret") else program.attach_kprobe
    return attach(f"sys_{info.attach_to}", **options)


def _tracepoint(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_tracepoint(info.attach_to, **options)


def _user_probe(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    binary, _, place = info.attach_to.rpartition(":")
    symbol, _, offset = place.partition("+")
    attach = program.attach_uretprobe if info.kind.startswith("uret") else program.attach_uprobe
    extra = int(offset, 0) if offset else 0
    if symbol[:1].isdigit():
        return attach(binary, offset=int(symbol, 0) + extra, **options)
    return attach(binary, symbol or None, **({"offset": extra, **options} if extra else options))


def _usdt(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    binary, _, probe = info.attach_to.partition(":")
    provider, _, name = probe.rpartition(":")
    return program.attach_usdt(binary, name, provider=provider, **options)


def _xdp(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_xdp(options.pop("interface"), **options)


def _tc(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    """By a TCX link; where the kernel has none (before 6.6), or a priority asks for it, by a filter of tc's."""
    side = info.kind.partition("/")[2] or options.pop("side", "ingress")
    interface, priority = options.pop("interface"), options.pop("priority", None)
    if priority is not None:
        if options:
            raise UsageError(f"`{program.name}`: a priority is a tc filter's, {' and '.join(options)} a TCX link's",
                             helps=("give one or the other",))
        return program.attach_tc(interface, side, priority=priority)
    try:
        return program.attach_tcx(interface, side, **options)
    except NotSupported:
        if options:  # a place among other programs: filters have none
            raise
    return program.attach_tc(interface, side)


def _lwt(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_lwt(options.pop("network"), options.pop("interface"), **options)


def _reuseport(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_reuseport(options["socket"])


def _user_probes(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    binary, _, functions = info.attach_to.rpartition(":")
    if "functions" in options:
        binary, functions = info.attach_to, options.pop("functions")
    elif not binary:
        raise UsageError(f"`{program.name}`: {functions!r} is a file, and no functions of it are named",
                         helps=(f'write "{functions}:pattern*", or give functions=[…]',))
    return program.attach_uprobes(binary, functions, retprobe=info.kind.startswith("uret"), **options)


def _netkit(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_netkit(options.pop("interface"), info.kind.partition("/")[2], **options)


def _cgroup(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_cgroup(options.pop("cgroup"), **options)


def _socket_filter(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    if "socket" in options:
        return program.attach_socket(options["socket"])
    return program.attach_raw_socket(options["interface"])


def _perf_event(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_perf_event(options.pop("event"), **options)


def _netfilter(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_netfilter(options.pop("hook"), **options)


def _netns(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_netns(options.get("namespace", "/proc/self/ns/net"))


def _sockmap(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    return program.attach_sockmap(_live(options["map"]))


def _struct_ops(program: Program, info: SectionInfo, options: dict[str, Any]) -> Any:
    """The table goes in once, with all programs of it."""
    session, table = program._session, options["table"]
    if not any(link.attached and link.kind == "struct_ops" and link.program == table for link in session.links):
        session.attach_struct_ops(table)


_KPROBE = Family(_probe, "offset cookie", "target")
_USER = Family(_user_probe, "address pid cookie", "target")
_PLAIN = Family(_by_section, "", "target")
_IN_MAPS = Family(_nowhere, "")
_TC = Family(_tc, "interface side before after priority", "interface")
_LWT = Family(_lwt, "network interface metric", "network interface")
_USERS = Family(_user_probes, "functions pid", "target")
_CGROUP = Family(_cgroup, "cgroup attach_type", "cgroup")

_BY_KIND: dict[str, Family] = {
    "kprobe": _KPROBE, "kretprobe": Family(_probe, "cookie", "target"),
    "ksyscall": Family(_syscall_probe, "cookie", "target"), "kretsyscall": Family(_syscall_probe, "cookie", "target"),
    "uprobe": _USER, "uprobe.s": _USER, "uretprobe": _USER, "uretprobe.s": _USER,
    **dict.fromkeys(("uprobe.multi", "uprobe.multi.s", "uretprobe.multi", "uretprobe.multi.s", "uprobe.session",
                     "uprobe.session.s"), _USERS),
    "usdt": Family(_usdt, "pid cookie", "target"), "usdt.s": Family(_usdt, "pid cookie", "target"),
    "tracepoint": Family(_tracepoint, "pid cookie", "target"),
    "netkit/primary": Family(_netkit, "interface before after", "interface"),
    "netkit/peer": Family(_netkit, "interface before after", "interface"),
    "xdp": Family(_xdp, "interface flags", "interface"), "xdp.frags": Family(_xdp, "interface flags", "interface"),
    **dict.fromkeys(("xdp/devmap", "xdp/cpumap", "xdp.frags/devmap", "xdp.frags/cpumap"), _IN_MAPS),
    "lsm_cgroup": _CGROUP,
}
_BY_TYPE: dict[ProgType, Family] = {
    ProgType.SCHED_CLS: _TC,
    ProgType.SOCKET_FILTER: Family(_socket_filter, "interface socket", "interface"),
    ProgType.PERF_EVENT: Family(_perf_event, "event config period frequency pid cpu cookie", "event"),
    ProgType.NETFILTER: Family(_netfilter, "hook family priority defragment", "hook"),
    ProgType.SK_LOOKUP: Family(_netns, "namespace"), ProgType.FLOW_DISSECTOR: Family(_netns, "namespace"),
    ProgType.STRUCT_OPS: Family(_struct_ops, "table"),
    ProgType.SK_REUSEPORT: Family(_reuseport, "socket", "socket"),
    **dict.fromkeys((ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL), _LWT),
    ProgType.SK_MSG: Family(_sockmap, "map", "map"), ProgType.SK_SKB: Family(_sockmap, "map", "map"),
    **dict.fromkeys((ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK, ProgType.CGROUP_DEVICE, ProgType.CGROUP_SOCK_ADDR,
                     ProgType.CGROUP_SYSCTL, ProgType.CGROUP_SOCKOPT, ProgType.SOCK_OPS), _CGROUP),
}
# What an option is, for editors: `hooks.pyi`.
OPTION_TYPES: dict[str, str] = {
    "address": "int", "after": "Any", "attach_type": "int", "before": "Any", "cgroup": "str | int", "config": "int",
    "cookie": "int", "cpu": "int", "defragment": "bool", "event": "str | int", "family": "str", "flags": "int",
    "frequency": "int", "functions": "str | list[str]", "hook": "str", "interface": "str | int", "map": "Any",
    "metric": "int", "namespace": "str", "network": "str", "offset": "int",
    "period": "int", "pid": "int", "priority": "int", "side": "str", "socket": "Any", "table": "str",
}


def family_of(section: str) -> tuple[Family, SectionInfo]:
    """How programs of that section are attached."""
    info = parse_section(section)
    if info is None:
        raise UsageError(f"there is no hook with the section {section!r}")
    return _BY_KIND.get(info.kind) or _BY_TYPE.get(info.type) or _PLAIN, info


def check_options(name: str, section: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the hook does not take."""
    family, info = family_of(section)
    for option in options:
        if option not in family.options:
            from ebpf.diagnostics import did_you_mean

            similar = did_you_mean(option, family.options, limit=1)
            known = ", ".join(family.options) or "none"
            raise UsageError(f"`{name}`: {info.kind} programs take no option {option!r}",
                             helps=(f"did you mean {similar[0]!r}?" if similar else f"they take: {known}",))


def _check_target(function: Function) -> None:
    """Refuse a program of which nobody said where it goes, before anything is compiled."""
    family, info = family_of(function.section)
    options = function.attach_options
    if family.needs == "target":
        if not info.auto_attach:
            raise AttachError(f"`{function.name}`: its decorator names no target",
                              helps=(f"write @ebpf.{info.kind.replace('.', '_')}(\"…\")",
                                     "`ebpf.load` loads it without attaching"))
        return
    missing = [need for need in family.needs.split() if need not in options]
    if missing and "socket" not in options:
        named = ", ".join(f"{need}=…" for need in missing)
        raise AttachError(f"`{function.name}`: where to attach it is not said",
                          helps=(f"give {' and '.join(f'{need}=' for need in missing)} to its decorator, or here: "
                                 f"ebpf.attach({function.__name__}.on({named}))",
                                 "`ebpf.load` loads it without attaching"))


def attach_function(program: Program, function: Function) -> None:
    """Attach a loaded program where its decorator says."""
    family, info = family_of(function.section)
    options = {**function.options, **function.attach_options}
    if not options and info.auto_attach:
        program.attach()
        return
    try:
        family.attach(program, info, options)
    except ValueError as error:
        if isinstance(error, EbpfError):
            raise
        raise UsageError(f"`{function.name}`: {error}", notes=(f"section {function.section!r}",)) from None
