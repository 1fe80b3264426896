"""What LLVM said when it gave up, as diagnostics: where, why, and what to write instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ebpf.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.compiler.c.source import SourceMap
    from ebpf.compiler.llvm.child import CodeGenerationError

# "error: prog.c:12:3: in function f i32 (ptr): Looks like the BPF stack limit is exceeded. …"
_LINE = re.compile(
    r"(?:error|warning): (?P<file>[^\n]*?):(?P<line>\d+):(?P<column>\d+): in function (?P<function>\S+) "
    r"[^\n]*?\): (?P<text>[^\n]*)"
)
_LIBCALL = re.compile(r"built-in function '(?P<name>\w+)'")

# What LLVM's words mean for the author: (a part of them, code, message, notes, helps). First match wins.
_MEANINGS: tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "stack limit",
        "C0601",
        "`{function}` needs more than the 512 bytes of stack that BPF has",
        ("all variables of the function and of what is inlined into it count together",),
        ("keep large buffers in a per-CPU array map with one entry: look entry 0 up and use the pointer",),
    ),
    (
        "'memcpy'",
        "C0602",
        "a copy in `{function}` is too long to be done in registers",
        (),
        ("copy in pieces of at most 1 KiB, or in a loop",),
    ),
    ("'memset'", "C0602", "a fill in `{function}` is too long to be done in registers", (), ("fill in a loop",)),
    ("'memmove'", "C0602", "a move in `{function}` is too long to be done in registers", (), ("copy in a loop",)),
    (
        "'__multi3'",
        "C0603",
        "`{function}` multiplies to 128 bits, which BPF cannot",
        ("the optimiser recognises a 64 × 64 → 128 bit product even where it is spelled in parts",),
        ("use `unsigned __int128` for the product: this compiler then does it by hand",),
    ),
    (
        "signed div",
        "C0604",
        "`{function}` divides signed integers, which BPF can only since -mcpu=v4",
        (),
        ('divide unsigned values, or compile for `mcpu="v4"` (Linux 6.6)',),
    ),
    ("too many arg", "C0605", "`{function}` passes more than five arguments", (), ("pass a pointer to a struct",)),
    (
        "stack arguments are not supported",
        "C0605",
        "`{function}` passes more than five arguments",
        (),
        ("pass a pointer to a struct",),
    ),
    (
        "aggregate returns",
        "C0605",
        "`{function}` returns more than a register holds",
        (),
        ("return through a pointer",),
    ),
    (
        "variable length",
        "C0606",
        "`{function}` has an array whose length is known only at run time",
        (),
        ("give it a constant length",),
    ),
    (
        "dynamic stack",
        "C0606",
        "`{function}` has an array whose length is known only at run time",
        (),
        ("give it a constant length",),
    ),
    (
        "Non-constant offset",
        "C0607",
        "`{function}` reads the context at an offset that is no constant",
        ("the verifier accepts only constant offsets into the context",),
        ("use a switch over constant indices",),
    ),
    (
        "supported only",
        "C0608",
        "`{function}` uses an instruction that this -mcpu lacks",
        (),
        ("compile for a newer `mcpu`",),
    ),
)

# How it ended where the program is not to blame, or not only: message, note (else its own words), help.
_UNFINISHED: dict[str, tuple[str, str, str]] = {
    "timeout": ("the code generator did not finish in time", "LLVM was ended; very large unrolled loops do this",
                "unroll less, or move code into functions that are not inlined"),
    "SIGKILL": ("the code generator was killed", "the kernel does that when memory runs out, its own or the cgroup's",
                "give it 100 MB more, or compile elsewhere and load the object"),
    "not started": ("the code generator could not be started", "", "raise the limit of open files: ulimit -n 1024"),
}


def explain(error: CodeGenerationError, sources: SourceMap, filename: str, mcpu: str,
            functions: Mapping[str, Span | None]) -> list[Diagnostic]:
    """At least one error; LLVM's own words stay as a note.

    ``functions`` are the program's, by name: where LLVM tells no line, the function that it was busy with is the place.
    """
    if error.how == "missing":
        return [
            Diagnostic(
                "error",
                "C0609",
                "compiling needs the llvmlite package, which cannot be imported",
                notes=(error.stderr.strip(),),
                helps=(
                    "pip install llvmlite" if "ModuleNotFoundError" in error.stderr else
                    "raise the memory limit (ulimit -v), or install it: pip install --force-reinstall llvmlite",
                ),
            )
        ]
    if error.how in _UNFINISHED:
        message, note, help = _UNFINISHED[error.how]
        notes = (note or error.stderr.strip(),)
        return [Diagnostic("error", "C0610", message, Span(filename, 1), notes=notes, helps=(help,))]
    out: list[Diagnostic] = []
    seen: set[tuple[str, str]] = set()
    for m in _LINE.finditer(error.stderr):
        span = _span(sources, m["file"], int(m["line"]), int(m["column"])) or functions.get(m["function"])
        diagnostic = _one(m["text"], m["function"], span, mcpu)
        key = (diagnostic.message, str(diagnostic.span))
        if key not in seen:
            seen.add(key)
            out.append(diagnostic)
    if out:
        return out
    words = error.stderr.strip()
    function = _function_in(words)
    if not function and len(functions) == 1:
        function = next(iter(functions))
    return [_one(words, function, functions.get(function) or Span(filename, 1), mcpu, how=error.how)]


def pointer_call(sources: SourceMap, file: str, line: int, column: int) -> Diagnostic:
    """The message about a call whose target the optimiser could not find out either."""
    return Diagnostic(
        "error",
        "C0613",
        "this calls through a pointer that is not known before the program runs",
        _span(sources, file, line, column),
        notes=("the kernel has no instruction that calls through a register",),
        helps=(
            "choose by `if` or `switch` and call the functions by name; a table of functions has to be `const`, "
            "its index a constant or that of an unrolled loop; programs are chosen by `bpf_tail_call`",
        ),
    )


def _one(words: str, function: str, span: Span | None, mcpu: str, how: str = "") -> Diagnostic:
    for part, code, message, notes, helps in _MEANINGS:
        if part.lower() in words.lower():
            return Diagnostic(
                "error",
                code,
                message.format(function=function or "the program"),
                span,
                notes=(*notes, f"LLVM: {_first_line(words)}"),
                helps=helps,
            )
    libcall = _LIBCALL.search(words)
    if libcall:
        return Diagnostic(
            "error",
            "C0611",
            f"`{function}` does something that BPF has no instructions for",
            span,
            notes=(f"LLVM wanted to call `{libcall['name']}`",),
            helps=("use integers of at most 64 bits",),
        )
    notes = tuple(n for n in (f"LLVM: {_first_line(words)}" if words else "", f"it ended by {how}" if how else "") if n)
    return Diagnostic(
        "error",
        "C0612",
        f"LLVM cannot make BPF code (-mcpu={mcpu}) of `{function or 'the program'}`",
        span,
        notes=notes,
        helps=("this may be a bug of ours: please report it with the source",),
    )


def _first_line(words: str) -> str:
    return next((line.strip() for line in words.splitlines() if line.strip()), "")[:300]


def _function_in(words: str) -> str:
    m = re.search(r"In function: (\S+)|Running pass '[^']*' on function '@([^']+)'", words)
    return (m[1] or m[2]) if m else ""


def _span(sources: SourceMap, file: str, line: int, column: int) -> Span | None:
    if line == 0 or file == "<unknown>":
        return None
    text = sources.file_text(file)
    lines = text.splitlines() if text is not None else []
    return Span(file, line, column, 0, lines[line - 1] if line <= len(lines) else "")
