"""Messages with a place in the source: what was wrong, where, why, and the edit that mends it.

Detecting a mistake and wording it are different jobs: passes build `Diagnostic` values; this module is the only
one that turns them into text (the form is rustc's, which people already know how to read) or JSON.

They are named tuples because `dataclasses` would cost every start 5 ms of importing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ebpf.errors import EbpfError, UnknownName

_Named = TypeVar("_Named")

Severity = Literal["error", "warning", "note"]


class Span(NamedTuple):
    """A stretch of one source line; ``line`` and ``column`` count from 1, ``end_column`` is exclusive.

    ``text`` is the whole source line, so that a span can be shown long after the file is gone.
    """

    file: str
    line: int
    column: int = 0
    end_column: int = 0
    text: str = ""


class Diagnostic(NamedTuple):
    """One message. ``label`` is written under the caret; ``notes`` are facts; ``helps`` are edits.

    ``insn`` is the instruction the message is about, in the kernel's notation (``"12: r2 = *(u8 *)(r1 + 13)"``).
    """

    severity: Severity
    code: str  # "C0102" compiler, "V0203" verifier, "A0001" assembler; `ebpf.explain` knows them all
    message: str
    span: Span | None = None
    label: str = ""
    insn: str = ""
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()
    related: tuple[tuple[Span, str], ...] = ()


def format_diagnostic(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """The diagnostic as text: headline, place, source line with a caret, notes, helps; no trailing newline."""
    d = diagnostic
    paint = _Paint(color)
    head = paint.by_severity(d.severity, f"{d.severity}[{d.code}]" if d.code else d.severity)
    lines = [f"{head}: {paint.bold(d.message)}"]
    width = max([len(str(s.line)) for s in (d.span, *(s for s, _ in d.related)) if s is not None], default=1)
    if d.span is not None:
        lines += _place(d.span, d.label, width, paint, d.severity, d.insn)
    elif d.insn:
        lines.append(f"{' ' * width}{paint.dim('-->')} insn {d.insn}")
    for span, label in d.related:
        lines += _place(span, label, width, paint, "note", "")
    bar = " " * (width + 1) + paint.dim("=")
    lines += [_hang(f"{bar} {paint.bold('note')}: ", n, width + 9) for n in d.notes]
    lines += [_hang(f"{bar} {paint.bold('help')}: ", h, width + 9) for h in d.helps]
    return "\n".join(lines)


def format_diagnostics(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Several diagnostics, an empty line between two."""
    return "\n\n".join(format_diagnostic(d, color=color) for d in diagnostics)


def format_error(error: EbpfError, *, color: bool = False) -> str:
    """An exception of ours as text: its diagnostics if it has any, else its message; then notes and helps."""
    parts = [format_diagnostics(error.diagnostics, color=color)] if error.diagnostics else [error.message]
    paint = _Paint(color)
    parts += [_hang(f"  = {paint.bold('note')}: ", n, 10) for n in error.notes]
    parts += [_hang(f"  = {paint.bold('help')}: ", h, 10) for h in error.helps]
    return "\n".join(parts)


def diagnostic_to_json(diagnostic: Diagnostic) -> Mapping[str, object]:
    """The diagnostic as plain values for `json.dumps`; absent parts are left out."""
    d = diagnostic
    out: dict[str, object] = {"severity": d.severity, "code": d.code, "message": d.message}
    if d.span is not None:
        out["span"] = {"file": d.span.file, "line": d.span.line, "column": d.span.column,
                       "end_column": d.span.end_column}
    for key in ("label", "insn", "notes", "helps"):
        if value := getattr(d, key):
            out[key] = list(value) if isinstance(value, tuple) else value
    return out


def did_you_mean(name: str, candidates: Iterable[str], *, limit: int = 3) -> Sequence[str]:
    """Those of ``candidates`` that someone who typed ``name`` may have meant, best first."""
    import difflib  # 3 ms; wanted only when something is wrong already

    pool = list(candidates)
    close = difflib.get_close_matches(name, pool, n=limit, cutoff=0.6)
    if len(close) < limit and len(name) >= 3:
        close += [c for c in pool if name in c and c not in close][: limit - len(close)]
    return close


def unknown_name(what: str, name: str, known: Iterable[str], *, where: str = "") -> UnknownName:
    """The error for a name that is not among ``known``: similar ones, else all. ``where`` ends its first line."""
    from ebpf.errors import UnknownName

    names = list(known)
    similar = did_you_mean(name, names)
    helps = (f"did you mean {' or '.join(map(repr, similar))}?",) if similar else (
        f"it has {', '.join(names)}" if names else f"it has no {what}s at all",)
    return UnknownName(f"no {what} called {name!r}{where}", name=name, similar=similar, helps=helps)


class Names(dict[str, _Named]):
    """Things by name; a name that is not there raises `UnknownName`, which says what similar ones are."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def __missing__(self, name: str) -> _Named:
        raise unknown_name(self._what, name, self)


def _place(span: Span, label: str, width: int, paint: _Paint, severity: Severity, insn: str) -> list[str]:
    where = f"{span.file}:{span.line}" + (f":{span.column}" if span.column else "")
    out = [f"{' ' * width}{paint.dim('-->')} {where}" + (f"        insn {insn}" if insn else "")]
    if span.text:
        out.append(f"{paint.dim(f'{span.line:{width}} |')} {span.text.replace(chr(9), ' ')}".rstrip())
        if span.column:
            caret = "^" * max(1, min(span.end_column or span.column + 1, len(span.text) + 2) - span.column)
            mark = paint.by_severity(severity, f"{caret} {label}".rstrip())
            out.append(f"{' ' * width} {paint.dim('|')} {' ' * (span.column - 1)}{mark}")
        elif label:
            out.append(f"{' ' * width} {paint.dim('|')} {paint.by_severity(severity, label)}")
    return out


def _hang(head: str, text: str, indent: int) -> str:
    return head + text.replace("\n", "\n" + " " * indent)


class _Paint:
    _BY_SEVERITY = {"error": "1;31", "warning": "1;33", "note": "1;36"}

    def __init__(self, on: bool) -> None:
        self._on = on

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self._sgr("1", text)

    def dim(self, text: str) -> str:
        return self._sgr("2;34", text)

    def by_severity(self, severity: Severity, text: str) -> str:
        return self._sgr(self._BY_SEVERITY[severity], text)
