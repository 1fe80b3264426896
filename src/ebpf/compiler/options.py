"""What a compilation is asked for, apart from its text."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ebpf.errors import UsageError

Dialect = Literal["auto", "bcc", "libbpf"]
DIALECTS = ("auto", "bcc", "libbpf")
CPUS = ("v1", "v2", "v3", "v4")
TARGETS = ("bpf", "host")


class _Options(NamedTuple):
    dialect: Dialect = "auto"
    mcpu: str = "v3"
    defines: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = ()
    opt_level: int = 2
    arch: str | None = None
    target: Literal["bpf", "host"] = "bpf"
    partial: bool = False


class Options(_Options):
    """``dialect``: ``"bcc"`` (map macros and methods, reads through kernel pointers), ``"libbpf"`` (C as clang takes
    it), or ``"auto"``, which looks at the text. ``mcpu``: the instruction set, by clang's names; every kernel since
    5.10 runs ``"v3"``, 6.6 and later run ``"v4"``. ``defines`` are ``"NAME"`` or ``"NAME=value"``; ``include_dirs``
    are searched for ``#include "file"``.
    ``arch`` (``"x86"``, ``"arm64"``) names the registers of ``PT_REGS_PARM1`` and its sisters; None means the facts'
    own.
    ``opt_level``: 1, 2 or 3; BPF needs an optimiser, so there is no 0.
    ``target``: ``"host"`` is for the package's own C that runs in the process itself (the machine's maps): IR for
    ``arch`` instead of BPF, without BTF, and without what BPF calls and stacks are limited to.
    ``partial``: the object is one of several to be linked; another may define the functions that this one declares.
    """

    __slots__ = ()

    def __new__(
        cls,
        dialect: Dialect = "auto",
        mcpu: str = "v3",
        defines: tuple[str, ...] = (),
        include_dirs: tuple[str, ...] = (),
        opt_level: int = 2,
        arch: str | None = None,
        target: Literal["bpf", "host"] = "bpf",
        partial: bool = False,
    ) -> Options:
        if dialect not in DIALECTS:
            raise UsageError(f"dialect={dialect!r} is not one of {', '.join(DIALECTS)}")
        if mcpu not in CPUS:
            raise UsageError(f"mcpu={mcpu!r} is not one of {', '.join(CPUS)}")
        if opt_level not in (1, 2, 3):
            raise UsageError(f"opt_level={opt_level!r} is not 1, 2 or 3")
        if target not in TARGETS:
            raise UsageError(f"target={target!r} is not one of {', '.join(TARGETS)}")
        return super().__new__(cls, dialect, mcpu, defines, include_dirs, opt_level, arch, target, partial)
