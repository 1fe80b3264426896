"""A verifier's refusal in the user's terms, whoever refused: place in the source, words of the row that fits, facts of
the way there.

`ebpf.kernel.refusal` brings what it reads out of a kernel's log, `ebpf.verifier.report` what our own verifier knows;
both fill the rows of
`abi.refusals` here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.contracts import CHANGES_PACKET
from ebpf.abi.refusals import REGISTER_KINDS
from ebpf.diagnostics import Span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALL = re.compile(r"call (?P<name>\w+)#(?P<id>-?\d+)|call (?P<kfunc>[a-z]\w+)")
_RELEASES = {"bpf_ringbuf_submit", "bpf_ringbuf_discard", "bpf_sk_release"}
_RELEASE_HELP = {
    "bpf_ringbuf_reserve": "end every path after the reservation with `bpf_ringbuf_submit(p, 0)` or "
    "`bpf_ringbuf_discard(p, 0)`",
    "bpf_sk_lookup_tcp": "call `bpf_sk_release(sk)` on every path after the lookup succeeded",
    "bpf_sk_lookup_udp": "call `bpf_sk_release(sk)` on every path after the lookup succeeded",
    "bpf_skc_lookup_tcp": "call `bpf_sk_release(sk)` on every path after the lookup succeeded",
}
_TASK_SOURCES = {"bpf_get_current_task"}


class SourceLine(NamedTuple):
    """Where an instruction came from; ``insn_index`` is the first slot that the line covers."""

    insn_index: int
    file: str
    line: int
    column: int
    text: str


class Step(NamedTuple):
    at: int  # slot, as the log counts
    text: str


def place(index: int | None, lines: Sequence[SourceLine]) -> Span | None:
    found = None
    for line in lines:
        if index is None or line.insn_index > index:
            break
        # Line 0 is what the compiler made up; the line before it is what the reader knows.
        if line.line:
            found = line
    if found is None:
        return None
    end = found.column + len(expression_at(found.text, found.column)) if found.column else 0
    return Span(found.file, found.line, found.column, end, found.text)


def expression_at(text: str, column: int) -> str:
    m = re.match(r"[*&!~-]*\s*\(?[A-Za-z_]\w*(?:\[[^\]]*\]|->\w+|\.\w+)*(?:\([^()]*\))?", text[column - 1 :])
    return m[0] if m else text[column - 1 : column]


def format_step(insn: Step | None) -> str:
    return f"{insn.at}: {insn.text}" if insn else ""


class Facts:
    """What rows may speak of, worked out only when a row asks."""

    def __init__(
        self,
        reason: str,
        groups: Mapping[str, str | None],
        insns: list[Step],
        lines: Sequence[SourceLine],
        span: Span | None,
        program_type: str,
    ) -> None:
        self.reason, self.insns, self.lines, self.span = reason, insns, lines, span
        self.program_type = program_type
        self.groups = {k: v for k, v in groups.items() if v is not None}
        register = self.groups.get("register") or self.groups.get("register2")
        self.origin_insn = self._trace(register.lower()) if register else None
        if "alloc" in self.groups:
            wanted = int(self.groups["alloc"])
            self.origin_insn = next((i for i in reversed(insns) if i.at == wanted), None)
        self.origin_span = place(self.origin_insn.at, lines) if self.origin_insn else None
        call = CALL.search(self.origin_insn.text) if self.origin_insn else None
        self.origin = (call["name"] or call["kfunc"]) if call else ""
        self.origin_label = f"`{self.origin}` gave the value here" if self.origin else "the value was made here"

    def has(self, name: str) -> bool:
        return bool(self.get(name))

    def fill(self, template: str) -> str:
        return template.format_map(_Lookup(self))

    def get(self, name: str) -> str:
        maker = getattr(self, f"_get_{name}", None)
        return maker() if maker else self.groups.get(name, "")

    def _get_reason(self) -> str:
        return self.reason

    def _get_program_type(self) -> str:
        return f"a program of type {self.program_type}" if self.program_type else "this type of program"

    def _get_name(self) -> str:
        if self.span is None or not self.span.column:
            return "this pointer"
        text = self.span.text[self.span.column - 1 :]
        m = re.match(r"[*&!~(\s]*([A-Za-z_]\w*)", text)
        if m and m[1] not in ("return", "if", "else", "for", "while", "u8", "u16", "u32", "u64", "int", "long"):
            return m[1]
        m = re.search(r"\*\s*([A-Za-z_]\w*)|([A-Za-z_]\w*)\s*(?:->|\[)", text)
        return (m[1] or m[2]) if m else "this pointer"

    def _get_helper(self) -> str:
        called = self.groups.get("called", "").split("#")[0]
        if called and called != "unknown":
            return called
        if self.insns and (m := CALL.search(self.insns[-1].text)):
            name = m["name"] or m["kfunc"] or ""
            return f"#{m['id']}" if name in ("unknown", "") else name
        return f"#{self.groups['called'].split('#')[-1]}" if "called" in self.groups else ""

    def _get_origin(self) -> str:
        return self.origin

    def _get_origin_task(self) -> str:
        return self.origin if self.origin in _TASK_SOURCES else ""

    def _get_origin_context(self) -> str:
        text = self.origin_insn.text if self.origin_insn else ""
        return text if re.search(r"= \*\(u\d+ \*\)\(r(?!10)\d+ [+-]", text) else ""

    def _get_origin_note(self) -> str:
        if self.origin:
            return f"the value came from `{self.origin}`"
        return f"the value was made by instruction {format_step(self.origin_insn)}" if self.origin_insn else ""

    def _get_released_by(self) -> str:
        """The helper that gave the memory back, if the register once held what a reservation gave."""
        if self.origin not in ("bpf_ringbuf_reserve", "bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp"):
            return ""
        for insn in reversed(self.insns):
            if (m := CALL.search(insn.text)) and m["name"] in _RELEASES:
                return m["name"]
        return ""

    def _get_moved_by(self) -> str:
        """The helper that may have moved the packet since the register was loaded from the context."""
        if not self._get_origin_context():
            return ""
        for insn in reversed(self.insns):
            if insn is self.origin_insn:
                break
            if (m := CALL.search(insn.text)) and m["name"] in CHANGES_PACKET:
                return m["name"]
        return ""

    def _get_release_help(self) -> str:
        return _RELEASE_HELP.get(self.origin, "release it on every path")

    def _get_mentions_lock(self) -> str:
        return "lock" if "lock" in self.reason else ""

    def _get_last(self) -> str:
        return str(int(self.groups["offset"]) + int(self.groups["size"]) - 1)

    def _get_wanted(self) -> str:
        return str(int(self.groups["offset"]) + int(self.groups["size"]))

    def _get_proven(self) -> str:
        count = int(self.groups["range"])
        return f"bytes 0..{count - 1} are proven readable here" if count else "no byte is proven readable here"

    def _get_range_words(self) -> str:
        found = self.groups["range"]
        if m := re.fullmatch(r"\[(-?\d+), (-?\d+)\]", found):
            return f"{m[1]}..{m[2]}"
        # Before 6.8 the range is a tnum (value; mask); with mask 2**n - 1 and value 0 that is 0..mask.
        if m := re.fullmatch(r"\((0x[0-9a-f]+); (0x[0-9a-f]+)\)", found):
            value, mask = int(m[1], 16), int(m[2], 16)
            return f"{value}..{value | mask}" if mask else str(value)
        return found

    def _get_has_words(self) -> str:
        has = self.groups["has"]
        if "unknown scalar" in has:
            return "a value that may be anything"
        numbers = dict(re.findall(r"(smin|smax)=(-?\d+)", has))
        if numbers:
            low, high = numbers.get("smin", "?"), numbers.get("smax", "?")
            return f"{low}" if low == high else f"{low}..{high}"
        if m := re.search(r"\((0x[0-9a-f]+); 0x0\)", has):
            return str(int(m[1], 16))
        return has

    def _get_found_words(self) -> str:
        return _kind_in_words(self.groups.get("found", ""))

    def _get_expected_words(self) -> str:
        # A log line may be cut, so of a long list only its first entry is sure to be there.
        names = [k.strip() for k in self.groups.get("expected", "").split(",")]
        if names[0] == "fp":
            return "memory with known bounds (a local variable, a map's value)"
        return _kind_in_words(names[0])

    def _trace(self, register: str) -> Step | None:
        """The instruction that made what ``register`` holds at the end: back through copies, spills and additions."""
        for insn in reversed(self.insns[:-1]):
            text = insn.text
            if text.startswith("call "):
                if register == "r0":
                    return insn
                continue
            m = re.match(r"(?P<left>[rw]\d+|\*\(u\d+ \*\)\(r10 [+-]\d+\)) (?P<op>[^ ]*=) (?P<right>.*)$", text)
            if not m:
                continue
            left = m["left"].replace("w", "r") if m["left"][0] == "w" else m["left"]
            if left != register or m["op"] != "=":
                continue
            right = m["right"]
            if re.fullmatch(r"r\d+", right) or re.fullmatch(r"\*\(u64 \*\)\(r10 [+-]\d+\)", right):
                register = right
                continue
            return insn
        return None


class _Lookup(dict[str, str]):
    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def __missing__(self, key: str) -> str:
        return self._facts.get(key)


def _kind_in_words(kind: str) -> str:
    return REGISTER_KINDS.get(kind, REGISTER_KINDS.get(kind.rstrip("_"), f"`{kind}`" if kind else ""))
