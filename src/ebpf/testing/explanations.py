"""What pytest shows of a comparison that failed: packets field by field, records member by member."""

from __future__ import annotations

from typing import Any

from ebpf import Record
from ebpf.testing.dissect import layers
from ebpf.testing.verdict import Verdict


def explain(op: str, left: Any, right: Any) -> list[str] | None:
    """Lines for ``assert left OP right``; ``None``: pytest's own words are as good."""
    if isinstance(left, Verdict) or isinstance(right, Verdict):
        return _verdicts(op, left, right)
    if op != "==":
        return None
    if isinstance(left, Record) or isinstance(right, Record):
        return _records(left, right)
    if type(left).__module__.startswith("scapy.") or type(right).__module__.startswith("scapy."):
        try:
            found = packet_differences(bytes(left), bytes(right))
            return ["packets differ", *found] if found else [
                "these packets are the same bytes, but scapy compares what was given, too: a checksum that is not yet",
                "computed is not equal to the computed one. Compare bytes(…) of both"]
        except (TypeError, ValueError):
            return None
    return None


def _verdicts(op: str, left: Any, right: Any) -> list[str]:
    lines = [f"{left!r} {op} {right!r}"]
    if isinstance(left, Verdict) and isinstance(right, Verdict) and op == "==":
        if left.result != right.result:
            lines.append(f"result: {left.name or left.signed} != {right.name or right.signed}")
        return [*lines, *packet_differences(left.data, right.data)]
    verdict = left if isinstance(left, Verdict) else right
    if verdict.sent:
        lines += ["the packet:", *(f"  {line}" for line in summary(verdict.sent))]
    return lines


def _records(left: Any, right: Any) -> list[str] | None:
    names = (left if isinstance(left, Record) else right)._fields
    lines = []
    for at, name in enumerate(names):
        mine, theirs = (_member(record, name, at) for record in (left, right))
        if mine != theirs:
            lines.append(f".{name}: {mine!r} != {theirs!r}")
    if not lines:
        return None
    same = len(names) - len(lines)
    return ["records differ", *lines, *([f"({same} other members are equal)"] if same else [])]


def _member(record: Any, name: str, at: int) -> Any:
    try:
        return record[name] if isinstance(record, (dict, Record)) else record[at]
    except (KeyError, IndexError, TypeError):
        return "<not there>"


def summary(data: bytes) -> list[str]:
    """A packet in lines, one a layer."""
    return [f"{layer.name}: " + ", ".join(f"{name} {value}" for name, value in layer.fields.items())
            for layer in layers(data)]


def packet_differences(left: bytes, right: bytes) -> list[str]:
    """The fields in which two packets differ, by layer; nothing if they are equal."""
    if left == right:
        return []
    mine, theirs = layers(left), layers(right)
    lines = []
    for a, b in zip(mine, theirs, strict=False):
        if a.name != b.name:
            lines.append(f"{a.name} != {b.name}")
            break
        lines += [f"{a.name}.{name}: {value} != {b.fields.get(name)}" for name, value in a.fields.items()
                  if b.fields.get(name) != value]
    if len(mine) != len(theirs):
        lines.append(f"layers: {' / '.join(x.name for x in mine)} != {' / '.join(x.name for x in theirs)}")
    if len(left) != len(right):
        lines.append(f"length: {len(left)} != {len(right)} bytes")
    if not lines:
        at = next(i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
        lines.append(f"byte {at}: {left[at]:#04x} != {right[at]:#04x}")
    return lines
