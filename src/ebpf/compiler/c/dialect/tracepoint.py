"""Tracepoints: the ``format`` text of tracefs → the struct that ``args`` points to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, types as C

if TYPE_CHECKING:
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.types import CType

_FIELD = re.compile(
    r"^\s*field:(?P<decl>[^;]+);\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>[01]);)?",
    re.MULTILINE,
)
_NAME = re.compile(r"(?P<type>.*?)(?P<name>[A-Za-z_]\w*)\s*(?P<array>(?:\[[^\]]*\])*)\s*$", re.DOTALL)
_HEADER_BYTES = 8  # common_type, common_flags, common_preempt_count, common_pid: the kernel lets no program read them


class TracepointField:
    """One line of the format; ``array`` is the text in brackets or ""."""

    __slots__ = ("array", "name", "offset", "signed", "size", "type")

    def __init__(self, type: str, name: str, array: str, offset: int, size: int, signed: bool) -> None:
        self.type, self.name, self.array, self.offset, self.size, self.signed = type, name, array, offset, size, signed


def parse_format(text: str) -> list[TracepointField]:
    """The fields of a ``format`` file, those of every event (``common_*``) left out."""
    out = []
    for m in _FIELD.finditer(text):
        decl = _NAME.match(m["decl"].strip())
        if decl is None or decl["name"].startswith("common_"):
            continue
        out.append(
            TracepointField(
                decl["type"].strip(), decl["name"], decl["array"], int(m["offset"]), int(m["size"]), m["signed"] == "1"
            )
        )
    return out


def tracepoint_record(c: Checker, category: str, event: str, node: ast.Node) -> C.Record:
    """``struct tracepoint__CATEGORY__EVENT``."""
    tag = f"tracepoint__{category}__{event}"
    known = c.file_scope.tags.get(tag)
    if isinstance(known, C.Record) and known.complete:
        return known
    record = _make(c, tag, category, event)
    if record is None:
        c.refuse(
            "C0405",
            node,
            f"there is no tracepoint `{category}:{event}`",
            helps=_similar(c, category, event),
            notes=["the running kernel may lack it, or /sys/kernel/tracing may not be readable"],
        )
    c.file_scope.tags[tag] = record
    return record


def named_record(c: Checker, tag: str) -> C.Record | None:
    """The record of ``struct tracepoint__c__e`` where the program names it itself."""
    category, _, event = tag[len("tracepoint__") :].partition("__")
    return _make(c, tag, category, event)


def _similar(c: Checker, category: str, event: str) -> list[str]:
    # Facts answer for one tracepoint at a time, so candidates come from the kernel's own structs for them.
    near = [
        n[len("trace_event_raw_") :]
        for n in c.kernel.similar(f"trace_event_raw_{event}", 4)
        if n.startswith("trace_event_raw_")
    ]
    return c.suggest(event, near) or [f"list those there are: `ls /sys/kernel/tracing/events/{category}`"]


def _make(c: Checker, tag: str, category: str, event: str) -> C.Record | None:
    text = c.facts.tracepoint_format(category, event)
    if text is None:
        return None
    record = C.Record("struct", tag, complete=True, align=8)
    end = _HEADER_BYTES
    record.fields.append(C.Field("__do_not_use__", c.kernel.typedef("u64") or C.ULLONG, 0))
    for f in parse_format(text):
        t, name = _field_type(c, f)
        if f.offset > end:
            record.fields.append(
                C.Field(f"__pad_{end}", C.Array(C.CHAR, f.offset - end), 8 * end, 0, len(record.fields))
            )
        record.fields.append(C.Field(name, t, 8 * f.offset, 0, len(record.fields)))
        end = max(end, f.offset + f.size)
    record.size = (end + 7) // 8 * 8
    return record


def _field_type(c: Checker, f: TracepointField) -> tuple[CType, str]:
    if f.type.startswith(("__data_loc", "__rel_loc")):
        return C.INT, f"data_loc_{f.name}"
    if f.array:
        element = _scalar(c, f.type, 0, f.signed)
        each = C.size_of(element) or 1
        return C.Array(element, f.size // each), f.name
    return _scalar(c, f.type, f.size, f.signed), f.name


def _scalar(c: Checker, text: str, size: int, signed: bool) -> CType:
    from ebpf.compiler.c.helper_types import base_type

    stars = text.count("*")
    words = [w for w in text.replace("*", " ").split() if w not in ("const", "volatile", "__user", "__rcu", "__percpu")]
    name = _KEYWORDS.get(" ".join(words), " ".join(words))
    t: CType
    if name.startswith("enum "):
        t = c.kernel.enum(name[5:]) or C.UINT
    else:
        t = base_type(name, c)
    if stars:
        for _ in range(stars):
            t = C.Pointer(t)
        if size in (0, 8):
            return t
    if size and (isinstance(C.strip(t), C.Void) or (not isinstance(C.strip(t), C.Record) and C.size_of(t) != size)):
        # Widened in the record: the stated size is what the kernel wrote.
        table = {1: (C.UCHAR, C.SCHAR), 2: (C.USHORT, C.SHORT), 4: (C.UINT, C.INT), 8: (C.ULONG, C.LONG)}
        return table[size][signed] if size in table else C.Array(C.CHAR, size)
    if not size and isinstance(C.strip(t), C.Void):
        return C.SCHAR if signed else C.UCHAR
    return t


_KEYWORDS = {
    "unsigned": "unsigned int",
    "long unsigned int": "unsigned long",
    "long int": "long",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
    "short int": "short",
    "short unsigned int": "unsigned short",
    "unsigned long int": "unsigned long",
    "unsigned long long int": "unsigned long long",
    "unsigned short int": "unsigned short",
}
