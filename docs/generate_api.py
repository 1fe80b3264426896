"""docs/api.md, from the docstrings of the front door's names (`generate.py` writes it)."""

from __future__ import annotations

import inspect

import ebpf

GROUPS = {
    "From source to the kernel": ("compile", "open", "load", "build"),
    "What is loaded": ("Session", "Program", "Map", "Link", "EventStream"),
    "Blueprints and types": ("Object", "ProgramSpec", "MapSpec", "Btf", "Record"),
    "The running system": ("host", "inventory", "examine", "Finding"),
    "Text": ("disassemble", "explain", "format_error", "format_diagnostic", "Diagnostic"),
}


def page() -> str:
    """The whole page."""
    named = {name for names in GROUPS.values() for name in names}
    errors = [n for n in ebpf.__all__ if isinstance(getattr(ebpf, n), type) and issubclass(getattr(ebpf, n), Exception)]
    rest = [n for n in ebpf.__all__ if n not in named and n not in errors]
    out = ["# API reference", "", "Made from the docstrings by `./dev docs`; `import ebpf` offers all of it.", ""]
    for title, names in {**GROUPS, **({"Other": tuple(rest)} if rest else {})}.items():
        out += [f"## {title}", ""]
        for name in names:
            out += _entry(name, getattr(ebpf, name))
    out += ["## Errors", "",
            "One tree. Every error has `message`, `notes`, `helps` and `diagnostics`; `str(error)` is all of it.", ""]
    out += ["| error | is also | meaning |", "|---|---|---|"]
    for name in sorted(errors, key=lambda n: (len(getattr(ebpf, n).__mro__), n)):
        kind = getattr(ebpf, name)
        shown = [b for b in kind.__bases__ if b is not Exception and not b.__name__.startswith("_")]
        bases = ", ".join(f"`{b.__name__}`" for b in shown)
        out.append(f"| `{name}` | {bases} | {_summary(kind)} |")
    return "\n".join(out).rstrip() + "\n"


def _entry(name: str, thing: object) -> list[str]:
    if isinstance(thing, type):
        fields = getattr(thing, "_fields", ())
        shown = f"({', '.join(fields)})" if fields and isinstance(fields, tuple) else ""
        return [f"### `{name}{shown}`", "", _doc(thing), "", *_members(thing)]
    if callable(thing):
        return [f"### `{name}{_signature(thing)}`", "", _doc(thing), ""]
    return [f"### `{name}`", "", _doc(type(thing)), "", *_members(type(thing))]


def _members(kind: type) -> list[str]:
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_") and name not in ("__getitem__", "__len__", "__iter__", "__aiter__", "__contains__"):
            continue
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if isinstance(member, property):
            rows.append(f"- `{name}`: {_summary(member)}")
        elif inspect.isfunction(member) and member.__doc__:
            rows.append(f"- `{name}{_signature(member)}`: {_summary(member)}")
    return [*rows, ""] if rows else []


def _signature(thing: object) -> str:
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "()"
    parts, starred = [], False
    for p in signature.parameters.values():
        if p.name == "self":
            continue
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        text = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        if p.annotation is not p.empty:
            text += f": {p.annotation}"
        if p.default is not p.empty:
            default = "..." if type(p.default) is object else repr(p.default)
            text += f" = {default}" if p.annotation is not p.empty else f"={default}"
        parts.append(text)
    result = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    return f"({', '.join(parts)}){result}"


def _doc(thing: object) -> str:
    return (inspect.getdoc(thing) or "").replace("``", "`").replace("\\ ", "")


def _summary(thing: object) -> str:
    """The first paragraph, in one line."""
    return " ".join(_doc(thing).split("\n\n")[0].split())
