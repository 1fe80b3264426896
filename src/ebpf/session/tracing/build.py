"""From a script to a `Trace`: compiled, or taken from the cache, which imports no compiler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ebpf.errors import CompileError, FormatError, KernelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ebpf.compiler.trace import ScriptOptions
    from ebpf.compiler.trace.plan import Plan
    from ebpf.object import Object
    from ebpf.session.tracing.replaying import Replay
    from ebpf.session.tracing.trace import Trace


def trace(script: str | Path = "", *params: str | int, command: Sequence[str] = (), pid: int | None = None,
          backend: str | None = None, unsafe: bool = False, filename: str | None = None,
          options: Mapping[str, Any] | None = None, btf: str | Path | None = None, formats: str | Path | None = None,
          replay: str | Path | None = None, cache: bool = True,
          warn: Callable[[str], Any] | None = None) -> Trace:
    """A script of the tracing language (bpftrace's), ready to run: iterate over it for what it says.

    ``script`` is its text, or the path of a file with it (a ``Path``, or a ``str`` in one line that ends in ``.bt``);
    ``params`` are its positional parameters (``$1``, …). ``command`` is started, traced, and the script ends with it;
    ``pid``: the script ends with that process. ``backend``: see `load`. ``unsafe`` allows system(), signal() and
    override(). ``options``: ``config`` (what a config block could say: ``{"max_strlen": 200}``), ``include_dirs``,
    ``includes``.
    ``btf`` (a vmlinux, or its types) and ``formats`` (a copy of tracefs' events) stand in for the running kernel's, for
    `Trace.check`. ``replay``, a recording (`record`), takes the place of a running system; the script may be left out
    if one was recorded. Raises `CompileError` with one diagnostic for each mistake; more may go wrong when it starts.
    """
    from ebpf.compiler.cache import Store
    from ebpf.compiler.trace import compile_trace_cached
    from ebpf.kernel.facts import SystemFacts

    recorded = None
    if replay is not None:
        from ebpf.session.tracing.replaying import Replay

        recorded = Replay(replay)
        if not script:
            return _recorded(recorded, os.path.basename(os.fspath(replay)), unsafe, warn)
    text, name = _read_script(script)
    store = Store() if cache else None
    other = None
    if btf is not None or formats is not None:
        from ebpf.session.tracing.elsewhere import OtherKernel

        other, store = OtherKernel(btf, formats), None  # the cache keeps what was compiled for this kernel
    try:
        elf = compile_trace_cached(text, filename=filename or name, facts=other or SystemFacts(store), store=store,
                                   options=_script_options(params, options or {}), meanwhile=_import_what_runs)
    except CompileError as error:
        if other is not None:
            error.notes = (*error.notes, *other.unsure)
        raise
    from ebpf.session.tracing.trace import Trace

    return Trace(elf, name=os.path.basename(filename or name), command=command, pid=pid, backend=backend, unsafe=unsafe,
                 warn=warn, other=other, replay=recorded)


def _import_what_runs() -> None:
    """What comes after the compiler, imported while LLVM works and we would wait."""
    import json  # the plan  # noqa: F401

    import ebpf.abi.sections
    import ebpf.object.datasec
    import ebpf.object.maps
    import ebpf.session.tracing.trace  # noqa: F401


def _recorded(replay: Replay, name: str, unsafe: bool, warn: Callable[[str], Any] | None) -> Trace:
    """The script that was recorded, on its own recording."""
    from ebpf.session.tracing.trace import Trace

    if replay.script is None:
        raise UsageError(f"{name} is no script's recording: say which script is to see its events",
                         helps=("ebpf trace --record FILE makes a recording that holds its script",))
    return Trace(replay.script, name=name, unsafe=unsafe, warn=warn, replay=replay)


def _script_options(params: Sequence[str | int], options: Mapping[str, Any]) -> ScriptOptions:
    from ebpf.compiler.trace import ScriptOptions

    given = dict(options)
    config = given.pop("config", {})
    if unknown := given.keys() - set(ScriptOptions._fields) | given.keys() & {"params"}:
        known = ", ".join(name for name in ScriptOptions._fields if name != "params")
        raise UsageError(f"there is no option {min(unknown)!r}", helps=(f"there are {known}",))
    for name in ("include_dirs", "includes"):
        given[name] = tuple(map(os.fspath, given.get(name, ())))
    return ScriptOptions(params=tuple(map(str, params)),
                         config=tuple(sorted((str(name), str(value)) for name, value in config.items())), **given)


def open_script(data: bytes, name: str) -> tuple[Object, Plan]:
    """The object and the plan in it."""
    from ebpf.compiler.trace.plan import SECTION, Plan
    from ebpf.object.elf import ElfImage
    from ebpf.object.reader import read_object

    section = ElfImage.parse(data).get(SECTION)
    if section is None:
        raise FormatError("the object was not made from a script", helps=("ebpf trace --emit-elf FILE makes one",))
    plan = Plan.parse(bytes(section.data))
    return read_object(data, name or "script"), plan


def _read_script(script: str | Path) -> tuple[str, str]:
    if not isinstance(script, (str, os.PathLike)):
        raise UsageError(f"a script's text or a path is wanted, not {type(script).__name__}")
    if isinstance(script, str) and ("\n" in script or not script.endswith(".bt")):
        return script, "<script>"
    try:
        with open(script, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(), os.fspath(script)
    except OSError as error:
        raise KernelError(f"open({os.fspath(script)})", error.errno or 0) from None
