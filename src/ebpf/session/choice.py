"""Which backend a session gets: the kernel where this user may load programs, else the userspace machine.

Asked in this order: `ebpf.load(backend=…)`, `ebpf.use(…)`, the environment's EBPF_BACKEND, and at last the capabilities
of this process and the load itself, which is the smallest real operation that there is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.errors import PrivilegeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.object import Object
    from ebpf.session.backend import Backend
    from ebpf.session.recordings import Recorder

BACKENDS = ("kernel", "machine", "auto")
ENGINES = ("interpreter", "jit")
VARIABLE = "EBPF_BACKEND"


class Choice(NamedTuple):
    """``backend``: ``"kernel"`` or ``"machine"``; ``why``, in a few words; ``asked``: somebody said so."""

    backend: str
    why: str
    asked: bool


class Wish:
    """What `use` was told, for the rest of the process."""

    __slots__ = ("backend", "command", "engine", "implied", "pcap", "recorder", "told", "untold")

    def __init__(self) -> None:
        self.backend = "auto"
        self.implied = False  # the machine, by what it is to trace
        self.command: tuple[str, ...] = ()
        self.pcap = ""
        self.engine = ENGINES[0]
        self.recorder: Recorder | None = None  # what `record` began
        self.told = False  # the line about the machine is written once
        self.untold: str | None = None  # why it is the machine, until it is known whether anything is traced


wish = Wish()


class Used:
    """What `use` says, as a context manager: what was said before holds again at the end of the block."""

    __slots__ = ("_before",)
    _FIELDS = ("backend", "implied", "command", "pcap", "engine")

    def __init__(self) -> None:
        self._before = [getattr(wish, name) for name in self._FIELDS]

    def __enter__(self) -> Used:
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in zip(self._FIELDS, self._before):
            setattr(wish, name, value)


def use(backend: str | None = None, *, command: Sequence[str] = (), pcap: str | os.PathLike[str] = "",
        engine: str = "") -> Used:
    """Say where `load` takes programs from now on, in this process: ``"kernel"``, ``"machine"``, or ``"auto"``.

    ``command`` (a program and its arguments) is what the machine traces, with all its children, in place of its own
    demonstration; it starts when something is attached and the script waits. ``pcap`` (a capture file) is what arrives
    at the machine's network devices. ``engine``: how the machine runs programs, ``"interpreter"`` (the default) or
    ``"jit"`` (native code). All of these are for the machine, and choose it unless something else is said.

    ``with ebpf.use(…):`` says it for the sessions of that block alone.

    Raises `UsageError` for what does not go together, and for a command that could not run; for a capture what
    `ebpf.read_pcap` raises.
    """
    if isinstance(command, str):
        raise UsageError(f"command is a list of words, not {command!r}", helps=(f"command={command.split()!r}",))
    if engine not in ("", *ENGINES):
        raise UsageError(f"there is no engine {engine!r}", helps=(f"there are {' and '.join(ENGINES)}",))
    chosen, said = _checked(backend or "auto", "use(backend=…)"), ""
    implied = chosen == "auto" and bool(command or pcap or engine)
    if implied:
        variable = os.environ.get(VARIABLE, "")
        if variable and _checked(variable, VARIABLE) == "kernel":
            chosen, said = "kernel", f"{VARIABLE}=kernel says that programs go there"
        else:
            chosen = "machine"
    if chosen == "kernel" and engine:
        raise UsageError(f"engine {engine!r} is the machine's: a kernel has its own", notes=(said,) * bool(said))
    if chosen == "kernel" and (command or pcap):
        source, instead = ("command", "the kernel's programs see the whole system: start the command beside them") \
            if command else ("capture", "`ebpf test-run --pcap FILE` runs a program on its packets, in the kernel too")
        raise UsageError(f"a {source} is an event source of the machine, not of the kernel",
                         notes=(said,) * bool(said), helps=(instead,))
    words = tuple(map(os.fspath, command))
    if words:
        from ebpf.machine.tracing.tracer import find_command

        find_command(words, None, os.environ)
    if pcap:
        _look_into(os.fspath(pcap))
    used = Used()
    wish.backend = chosen
    wish.implied = implied
    wish.command = words
    wish.pcap = os.fspath(pcap)
    wish.engine = engine or ENGINES[0]
    return used


def _look_into(capture: str) -> None:
    """Whether it is a capture at all; what comes through a pipe is only there once."""
    if os.path.exists(capture) and not os.path.isfile(capture) and not os.path.isdir(capture):
        return
    from ebpf.machine.network import read_pcap

    next(read_pcap(capture), None)


def choose(backend: str | None = None, obj: Object | None = None) -> Choice:
    """Where ``obj`` (or any program) would go."""
    if backend is not None and (given := _checked(backend, "backend")) != "auto":
        return Choice(given, "asked for", True)
    if wish.backend != "auto":
        return Choice(wish.backend, "asked for", True)
    variable = os.environ.get(VARIABLE, "")
    if variable and (given := _checked(variable, VARIABLE)) != "auto":
        return Choice(given, f"{VARIABLE}={variable}", True)
    from ebpf.kernel.privileges import effective_capabilities, in_user_namespace

    held = effective_capabilities()
    missing = [name for name in _needs(obj) if name not in held]
    if missing:
        return Choice("machine", f"it takes {' and '.join(missing)}", False)
    if in_user_namespace():
        from ebpf.kernel.token import available

        if available():
            return Choice("kernel", "a BPF token delegates it", False)
        return Choice("machine", "capabilities of a user namespace do not count for eBPF, and no BPF token is there",
                      False)
    return Choice("kernel", "this user may load programs", False)


def _needs(obj: Object | None) -> list[str]:
    """Capabilities that loading wants."""
    from ebpf.abi.programs import PROGRAM_TYPES

    needs = ["CAP_BPF"]
    for spec in obj.programs.values() if obj is not None else ():
        row = PROGRAM_TYPES.get(spec.type) if spec.type is not None else None
        needs += [name for name in row.capabilities if name not in needs] if row is not None else []
    return needs


def _checked(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise UsageError(f"{where}: there is no backend {name!r}", helps=(f"there are {', '.join(BACKENDS)}",))
    return name


def load_in(backend: str | None, obj: Object, **how: Any) -> Backend:
    """``obj`` in the backend that was asked for, or in the one that this user may use."""
    choice = choose(backend, obj)
    if choice.backend == "kernel" and ("cpus" in how or "engine" in how):
        raise UsageError("cpus and engine are the machine's: a kernel has its own",
                         helps=('load(…, backend="machine", cpus=…)',))
    if choice.backend == "kernel":
        from ebpf.session.on_kernel import load

        try:
            return load(obj, **how)
        except PrivilegeError as error:
            # A seccomp filter, a security module: what capabilities do not tell.
            if choice.asked:
                raise
            choice = Choice("machine", error.message, False)
    from ebpf.session.on_machine import load as load_machine

    if not choice.asked:
        wish.untold = f"no privilege to load programs into the kernel ({choice.why}): "
    elif backend is None and wish.implied:
        wish.untold = ""
    try:
        return load_machine(obj, interrupts=backend != "machine", **how)
    except BaseException:
        tell_where(False)
        raise


def tell_where(traces: bool) -> None:
    """Say that it is the machine if that is still to be said; ``traces``: something is attached to events."""
    if wish.untold is not None:
        tell(wish.untold, traces=traces)
        wish.untold = None


def tell(why: str, how: str = "`ebpf run FILE -- COMMAND`, `ebpf tools NAME -- COMMAND` trace a command", *,
         traces: bool = True) -> None:
    """Say once that it is the machine, and not the kernel; ``how`` a command can be named, if it ``traces`` one."""
    if wish.told:
        return
    wish.told = True
    import sys

    seen = [f"which traces {os.path.basename(wish.command[0])}"] if wish.command else []
    if wish.pcap:
        seen.append(f"where the packets of {wish.pcap} arrive")
    what = ", " + (" and ".join(seen) or f"which traces a demonstration ({how})") if traces else ""
    sys.stderr.write(f"ebpf: {why}running in the userspace machine{what}\n")
    sys.stderr.flush()
