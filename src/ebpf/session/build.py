"""`compile` and `open`: from text, a path or bytes to an `Object`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf.errors import FormatError, KernelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ebpf.btf import Btf
    from ebpf.object import Object


def compile_source(source: str | Path, *, filename: str | None = None, dialect: str = "auto", mcpu: str = "v3",
                   defines: Iterable[str] = (), include_dirs: Iterable[str] = (), cc: str | None = None,
                   btf: Btf | None = None, cache: bool = True) -> Object:
    """Compile C for the running kernel.

    ``source`` is C text, or the path of a file with it (a ``Path``, or a ``str`` in one line that ends in ``.c``).
    ``dialect``: ``"libbpf"`` (C as clang takes it), ``"bcc"``, or ``"auto"``. ``mcpu``: ``"v1"`` to ``"v4"``.
    ``defines``: ``"NAME"`` or ``"NAME=value"``. ``cc`` compiles with clang instead of our own compiler: a command, or
    ``"clang"`` for the one on PATH or in the ``ziglang`` wheel. ``btf`` stands in for the running kernel's types.
    ``cache`` keeps and reuses results on disk. Raises `CompileError` with one diagnostic for each mistake.
    """
    text, name = _read_source(source)
    data = compile_bytes(text, filename=filename or name, dialect=dialect, mcpu=mcpu, defines=tuple(defines),
                         include_dirs=tuple(include_dirs), cc=cc, btf=btf, cache=cache)
    from ebpf.object.reader import read_object

    return read_object(data, os.path.basename(filename or name) or "object")


def compile_bytes(text: str, *, filename: str, dialect: str = "auto", mcpu: str = "v3", defines: tuple[str, ...] = (),
                  include_dirs: tuple[str, ...] = (), cc: str | None = None, btf: Btf | None = None,
                  cache: bool = True) -> bytes:
    """The same, as the bytes of an ELF object."""
    if cc is not None:
        from ebpf.compiler.clang import compile_with_clang

        return compile_with_clang(text, filename=filename, cc=cc, mcpu=mcpu, defines=defines, include_dirs=include_dirs)
    from ebpf.compiler import compile_cached
    from ebpf.compiler.cache import Store
    from ebpf.kernel.facts import SystemFacts

    store = Store() if cache else None
    facts = SystemFacts(store, btf)
    if btf is not None:
        store = None  # the cache keeps what was compiled for this kernel
    return compile_cached(text, filename=filename, facts=facts, store=store, dialect=dialect, mcpu=mcpu,
                          defines=defines, include_dirs=include_dirs)


def _read_source(source: str | Path) -> tuple[str, str]:
    if not isinstance(source, (str, os.PathLike)):  # `open` would take an int for a descriptor, and close it
        raise UsageError(f"C text or a path is wanted, not {type(source).__name__}")
    if isinstance(source, str) and ("\n" in source or not source.endswith(".c")):
        if source and not any(c in source for c in "\n;{("):  # no C at all: a path, most likely
            raise UsageError(f"{source!r} is neither C text nor the path of a .c file",
                             helps=("give the path of a file with another ending as pathlib.Path",))
        return source, "<text>"
    try:
        with open(source, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(), os.fspath(source)
    except OSError as error:
        raise KernelError(f"open({os.fspath(source)})", error.errno or 0) from None


def open_object(source: str | Path | bytes) -> Object:
    """Read an object file (a path, or its bytes) that this package, clang or gcc made.

    Raises `ElfError` or `BtfError`, whose message begins with the path.
    """
    from ebpf.object.reader import read_object

    if isinstance(source, (bytes, bytearray, memoryview)):
        return read_object(bytes(source))
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"a path or bytes are wanted, not {type(source).__name__}")
    try:
        with open(source, "rb") as file:
            data = file.read()
    except OSError as error:
        raise KernelError(f"open({os.fspath(source)})", error.errno or 0) from None
    try:
        return read_object(data, os.path.basename(os.fspath(source)))
    except FormatError as error:
        error.message = f"{os.fspath(source)}: {error.message}"
        raise
