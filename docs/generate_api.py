"""docs/api.md, from the docstrings of the front door's names (`generate.py` writes it)."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import ebpf
from ebpf.abi.named import NamedInt

GROUPS = {
    "From source to a session": ("compile", "open", "load", "use", "build", "verify"),
    "What is loaded": ("Session", "Program", "Map", "Link", "EventStream", "Histogram"),
    "Blueprints and types": ("Object", "ProgramSpec", "MapSpec", "Btf", "Record"),
    "Programs as Python functions": ("attach", "Function", "Global"),
    "Maps that programs declare": (
        "Hash", "LruHash", "PerCpuHash", "LruPerCpuHash", "ResizableHash", "Array", "PerCpuArray", "LpmTrie", "Queue",
        "Stack",
        "BloomFilter", "RingBuf", "PerfEventArray", "UserRingBuf", "StackTrace", "ProgArray", "ArrayOfMaps",
        "HashOfMaps", "DevMap", "DevMapHash", "CpuMap", "XskMap", "SockMap", "SockHash", "ReuseportSockArray",
        "CgroupArray", "Log2Histogram", "SkStorage", "TaskStorage", "InodeStorage", "CgrpStorage"),
    "Decorators of programs": ebpf._HOMES["ebpf.session.functions.hooks"],
    "What programs call": ebpf._HOMES["ebpf.compiler.py.library"],
    "Types of Python programs": ebpf._HOMES["ebpf.compiler.py.types"],
    "The running system": ("host", "inventory", "examine", "Finding"),
    "Numbers of the kernel": ("ProgType", "MapType", "AttachType"),
    "Text": ("disassemble", "explain", "format_error", "format_diagnostic", "Diagnostic"),
}

# What the methods above give, where `ebpf` itself does not export it.
RETURNED = (
    "ebpf.session.backend:TestRun", "ebpf.session.backend:ProgramInfo", "ebpf.session.backend:LinePipe",
    "ebpf.kernel.programs:KernelProgram", "ebpf.kernel.maps:MapInfo",
    "ebpf.kernel.attach.link:LinkInfo", "ebpf.session.variables:Variables", "ebpf.session.toolchain:Built",
    "ebpf.session.explain:Explanation", "ebpf.kernel.tracepipe:TracePipe", "ebpf.session.poller:Poller",
    "ebpf.btf.values:Codec",
)
# Names of classes as the front door calls them.
ALIASES = {"KernelLink": "Link"}


def page() -> str:
    """The whole page."""
    named = {name for names in GROUPS.values() for name in names}
    errors = [n for n in ebpf.__all__ if isinstance(getattr(ebpf, n), type) and issubclass(getattr(ebpf, n), Exception)]
    rest = [n for n in ebpf.__all__ if n not in named and n not in errors]
    out = ["# API reference", "", "Made from the docstrings by `./dev docs`; `import ebpf` offers all of it.", ""]
    for title, names in {**GROUPS, **({"Other": tuple(rest)} if rest else {})}.items():
        out += [f"## {title}", ""]
        for name in names:
            if name in ebpf.__all__:
                out += _entry(name, getattr(ebpf, name))
    out += ["## What methods give", "", "These are not to be imported; they come from the methods above.", ""]
    for place in RETURNED:
        module, _, name = place.partition(":")
        out += _entry(name, getattr(import_module(module), name))
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
        head = [f"### {name}", ""] + (["```python", _wrapped(name + shown), "```", ""] if shown else [])
        return [*head, _doc(thing), "", *_numbers(thing), *_members(thing)]
    if callable(thing):
        return [f"### {name}", "", "```python", _wrapped(name + _signature(thing)), "```", "", _doc(thing), ""]
    return [f"### {name}", "", _doc(type(thing)), "", *_members(type(thing))]


def _numbers(kind: type) -> list[str]:
    if not issubclass(kind, NamedInt):
        return []
    return [", ".join(f"`{m.name}`" for m in kind.members()), ""]


def _members(kind: type) -> list[str]:
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_") and name not in ("__getitem__", "__len__", "__iter__", "__aiter__", "__contains__"):
            continue
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if isinstance(member, property):
            rows.append(f"- `{name}`: {_summary(member)}")
        elif inspect.isfunction(member) and member.__doc__ and not name.startswith("__"):
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
            default = "..." if type(p.default) is object or inspect.isfunction(p.default) else repr(p.default)
            text += f" = {default}" if p.annotation is not p.empty else f"={default}"
        parts.append(text)
    result = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    text = f"({', '.join(parts)}){result}"
    for old, new in ALIASES.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def _wrapped(text: str) -> str:
    """A long signature with one parameter a line."""
    if len(text) <= 100:
        return text
    at, depth, parts, start = text.index("("), 0, [], text.index("(") + 1
    for at in range(start, len(text)):
        depth += (text[at] in "([") - (text[at] in ")]")
        if depth < 0:
            break
        if text[at] == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:at].strip())
    lines = "".join(f"    {part},\n" for part in parts)
    return f"{text[:text.index('(') + 1]}\n{lines}{text[at:]}"


def _doc(thing: object) -> str:
    return (inspect.getdoc(thing) or "").replace("``", "`").replace("\\ ", "")


def _summary(thing: object) -> str:
    """The first paragraph, in one line."""
    return " ".join(_doc(thing).split("\n\n")[0].split())
