"""How maps and programs show themselves in a notebook: HTML that stands for itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ebpf.errors import EbpfError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.object import Object
    from ebpf.session.functions.function import Function
    from ebpf.session.maps import Map
    from ebpf.verifier import Verified

_ROWS = 20  # of a map; the rest is a number
_LEFT = "text-align:left;font-family:ui-monospace,monospace;white-space:pre;padding:0 .7em 0 0"
_PALE = "color:#777"

# What an instruction's access goes through, by the verifier's kinds of pointers.
_POINTERS = ("number", "context", "stack", "map", "map value", "map key", "packet", "packet metadata", "packet end",
             "flow keys", "socket", "socket", "TCP socket", "XDP socket", "buffer", "kernel object", "per-CPU object",
             "memory", "record", "function", "dynptr", "arena")


def map_page(map: Map) -> str:
    """A map: what it is, and its first entries as a table."""
    if map.raw.closed:
        return f"<code>{escape(repr(map))}, closed</code>"
    try:
        entries = map.items()
    except EbpfError:  # a queue, a buffer of events
        return f"<code>{escape(repr(map))}</code>"
    head, rows = _table(entries[:_ROWS], map.per_cpu)
    more = f"<div style='{_PALE}'>… {len(entries) - _ROWS} more</div>" if len(entries) > _ROWS else ""
    return (f"<div><b>{escape(map.name)}</b> <span style='{_PALE}'>{map.type.name.lower()}, {len(entries)} of "
            f"{map.max_entries}</span></div>{_html_table(head, rows)}{more}")


def _table(entries: list[tuple[Any, Any]], per_cpu: bool) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: members of structs are columns, and so are CPUs."""
    if not entries:
        return ["key", "value"], []
    key, value = entries[0]
    keys, values = _names(key), _names(value) if not per_cpu else []
    head = [*(keys or ["key"]), *(values or ([f"CPU {i}" for i in range(len(value))] if per_cpu else ["value"]))]
    rows = []
    for key, value in entries:
        row = [_text(getattr(key, name)) for name in keys] or [_text(key)]
        row += [_text(getattr(value, name)) for name in values] or (
            [_text(one) for one in value] if per_cpu else [_text(value)])
        rows.append(row)
    return head, rows


def _names(value: Any) -> list[str]:
    """The members of a struct, whichever class it is of."""
    fields = getattr(type(value), "fields", None)  # a program's own class
    if isinstance(fields, dict):
        return list(fields)
    return list(getattr(value, "_fields", ()))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        shown = value.decode("utf-8", "replace")
        return shown if shown.isprintable() else value.hex(" ")
    name: Any = getattr(value, "name", None)  # an enumerator
    return f"{name} ({int(value)})" if isinstance(value, int) and isinstance(name, str) and name else str(value)


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


# ---- programs ----


def function_page(function: Function) -> str:
    """A Python function: its source, its instructions and what the verifier found, line by line."""
    try:
        obj = function.object
    except EbpfError as error:
        return f"<pre>{escape(function.source)}</pre><pre>{escape(str(error))}</pre>"
    first = function.function.__code__.co_firstlineno
    lines = dict(enumerate(function.source.splitlines(), first))
    return program_page(obj, function.name, lines, function.function.__code__.co_filename)


def program_page(obj: Object, name: str, lines: dict[int, str] | None = None, filename: str = "") -> str:
    """Source, bytecode and verifier facts of a program side by side.

    ``lines`` of its file ``filename`` are shown whether or not they made instructions; without them, those are shown
    that the object quotes.
    """
    from ebpf.object.linker import link
    from ebpf.session.verification import verify

    linked = link(obj, name)
    verdict: Verified | None = None
    try:
        verdict = verify(obj, name)
        found = (f"safe: {verdict.insns_visited} instructions followed on {verdict.paths} paths, "
                 f"{verdict.stack_bytes} bytes of stack")
    except EbpfError as error:
        found = f"refused: {error}"
    rows = []
    shown: set[int] = set()
    for file, line, text, insns in _blocks(linked, verdict):
        mine = lines is not None and (not filename or file == filename)
        if mine and lines is not None:
            for number in [n for n in lines if n < line and n not in shown]:  # what made no instructions of its own
                rows.append(_row(str(number), lines[number], "", ""))
                shown.add(number)
            text = lines.get(line, text)
        again = line in shown if mine else False
        if mine:
            shown.add(line)
        facts = "\n".join(fact for _, fact in insns)
        style = f" style='{_PALE}'" if again else ""
        rows.append(_row(str(line or ""), text, "\n".join(insn for insn, _ in insns), facts, style))
    for number in (n for n in lines or () if n not in shown):
        rows.append(_row(str(number), (lines or {})[number], "", ""))
    spec = obj.programs.get(name) or obj.functions[name]
    head = "".join(f"<th style='{_LEFT}'>{column}</th>" for column in ("", "source", "bytecode", "verifier"))
    return (f"<div><b>{escape(name)}</b> <span style='{_PALE}'>{escape(spec.section)}, {len(linked.code) // 8} "
            f"instructions</span><br><span style='white-space:pre'>{escape(found)}</span></div>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _row(number: str, source: str, code: str, facts: str, style: str = "") -> str:
    pale, left = f"{_LEFT};{_PALE};vertical-align:top", f"{_LEFT};vertical-align:top"
    cells = ((pale, number), (left, source), (left, code), (pale, facts))
    return f"<tr{style}>{''.join(f'<td style={chr(34)}{how}{chr(34)}>{escape(cell)}</td>' for how, cell in cells)}</tr>"


def _blocks(linked: Any, verdict: Verified | None) -> Iterator[tuple[str, int, str, list[tuple[str, str]]]]:
    """(file, line, its text, [(instruction, fact)]): instructions in order, cut where another line begins."""
    from ebpf.isa import disassemble

    infos = {info.insn_off: info for info in linked.line_info}
    symbols = {r.slot: r for r in linked.relocations}
    file, line, text = "", 0, ""
    block: list[tuple[str, str]] = []
    for slot, _, insn in disassemble(linked.code):
        info = infos.get(slot)
        if info is not None and info.line and (info.file, info.line) != (file, line):
            if block:
                yield file, line, text, block
            file, line, text, block = info.file, info.line, info.text, []
        symbol = symbols.get(slot)
        note = f"  // {symbol.symbol}" if symbol is not None else ""
        block.append((f"{slot:4}: {insn}{note}", "" if verdict is None else _fact(verdict, slot)))
    if block:
        yield file, line, text, block


def _fact(verdict: Verified, slot: int) -> str:
    if not verdict.reached[slot]:
        return "never reached"
    kinds = [name for kind, name in enumerate(_POINTERS) if verdict.pointer_kinds[slot] >> kind & 1]
    map = verdict.maps.get(slot)
    outcome = {1: "never taken", 2: "always taken"}.get(verdict.outcomes[slot], "")
    where = " or ".join(dict.fromkeys(kinds))
    if map is not None and map.name:
        where = f"{where} of {map.name}" if where else f"map {map.name}"
    return outcome or where
