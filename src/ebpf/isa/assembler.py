"""Text → instructions: the verifier's notation, with labels.

::

    loop:                                    // a label
        r1 = *(u64 *)(r10 -8)                ; comments run to the end of the line
        if r1 s> 0x5 goto done               // or: goto pc+3
        call bpf_ktime_get_ns                // or: call bpf_ktime_get_ns#5, call #5
        r2 = subprog[callback]               // a function's address; call pc+N and `call label` call one
        goto loop
    done: exit

As in the kernel's own output, ``r1 = 5`` is a move and ``r1 = 0x5`` (or ``r1 = 5 ll``, as LLVM writes it) a wide load.
Lines may be pasted from a verifier log or a bpftool dump: ``12: (bf) `` before an instruction is skipped.

How a line is understood: its registers and numbers are taken out, and what remains (the *shape*, ``r = * ( u64 * ) (
r N )``) is looked up among the shapes of the templates in `ebpf.isa.forms`.
"""

from __future__ import annotations

import re

from ebpf.diagnostics import Diagnostic, Span, did_you_mean
from ebpf.errors import CompileError
from ebpf.isa.forms import DST, FORMS, SRC
from ebpf.isa.insn import OP_CALL, OP_LDDW, PSEUDO_CALL, Insn
from ebpf.isa.text import _PLACEHOLDER, _helpers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.isa.forms import Form

CODES: dict[str, str] = {"A0001": "text that is no instruction"}

_TOKEN = re.compile(r"""
    (?P<reg>[rw](?:\d+)\b)
  | (?P<word>kernel-function|[A-Za-z_.$][\w.$]*)
  | (?P<op>s?(?:>>=|<<=)|s[/%]=|s[<>]=?|[-+*/%&|^=!<>]=|<<|>>)
  | (?P<num>(?:[+-]\s*)?(?:0[xX][0-9a-fA-F]+|\d+)\b)
  | (?P<sign>[-()*\[\]<>=&,#:+])
  | (?P<space>\s+)
  | (?P<bad>.)
""", re.VERBOSE)
_OP_FIRST = re.compile(r"s(?:>>=|[/%]=|[<>]=?)(?![\w])")  # `s>` begins like a word
_PREFIX = re.compile(r"\s*\d+:\s*(?:\([0-9a-fA-F]{2}\)\s*)?")
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*):(?!:)")
_COMMENT = re.compile(r"//.*|;.*|/\*.*?\*/")

_PLUS_MINUS = re.compile(r"\+\s*-(?=\d)")  # `[0]+-4`, `skb[r1 + -4]`: how the kernel prints a negative number there

_LIMITS = {"off": (-(1 << 15), (1 << 15) - 1), "imm": (-(1 << 31), (1 << 32) - 1), "uimm": (-(1 << 31), (1 << 32) - 1),
           "rel": (-(1 << 31), (1 << 31) - 1), "wide": (-(1 << 63), (1 << 64) - 1), "lo": (-(1 << 31), (1 << 32) - 1),
           "hi": (-(1 << 31), (1 << 32) - 1), "to": (0, 0xFFFF), "frm": (0, 0xFFFF)}
_SAMPLES = {"dst": "1", "src": "1", "off": "+1", "imm": "1", "uimm": "0x1", "rel": "+1", "wide": "0x1", "lo": "1",
            "hi": "1", "to": "1", "frm": "1", "helper": "bpf_x"}

# One token: kind, text, number (of a register or literal), column from 0, end column.
_Tok = tuple[str, str, int, int, int]


class _Mistake(Exception):
    def __init__(self, message: str, column: int, end: int, *, helps: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.column, self.end, self.helps = column, end, tuple(helps)


def assemble(text: str, *, filename: str = "<assembly>") -> list[Insn]:
    """The instructions that ``text`` spells, one to a line.

    Raises `CompileError` with one diagnostic per mistake: unknown instruction, number out of range, unknown label or
    helper.
    """
    table = _table()
    diagnostics: list[Diagnostic] = []
    lines: list[tuple[int, str, Form, dict[str, int], dict[str, _Tok], int]] = []
    labels: dict[str, int] = {}
    slot = 0
    for number, line in enumerate(text.splitlines(), 1):
        code = _PLUS_MINUS.sub(lambda m: " " * (len(m[0]) - 1) + "-", _COMMENT.sub(lambda m: " " * len(m[0]), line))
        start = 0
        if m := _PREFIX.match(code):
            start = m.end()
        try:
            while (m := _LABEL.match(code, start)) and m[1] not in table.words:
                if m[1] in labels:
                    raise _Mistake(f"label `{m[1]}` is defined twice", m.start(1), m.end(1))
                labels[m[1]] = slot
                start = m.end()
            tokens = _tokens(code, start, table.words)
            if not tokens:
                continue
            form, fields, names = table.match(tokens)
        except _Mistake as mistake:
            diagnostics.append(_diagnostic(mistake, filename, number, line))
            continue
        lines.append((number, line, form, fields, names, slot))
        slot += 2 if form.opcode == OP_LDDW else 1
    insns = []
    for number, line, form, fields, names, slot in lines:
        try:
            insns.append(_insn(form, fields, names, slot, labels))
        except _Mistake as mistake:
            diagnostics.append(_diagnostic(mistake, filename, number, line))
    if diagnostics:
        diagnostics.sort(key=lambda d: d.span.line if d.span else 0)
        raise CompileError(f"{filename}: {len(diagnostics)} line(s) could not be assembled", diagnostics=diagnostics)
    return insns


def _tokens(line: str, start: int, words: frozenset[str] | set[str]) -> list[_Tok]:
    out: list[_Tok] = []
    at = start
    while at < len(line):
        m = _OP_FIRST.match(line, at) if line[at] == "s" else None
        if m:
            out.append(("op", m[0], 0, at, m.end()))
            at = m.end()
            continue
        m = _TOKEN.match(line, at)
        assert m is not None  # `bad` matches anything
        kind, text, at = str(m.lastgroup), m[0], m.end()
        if kind == "bad":
            raise _Mistake(f"unexpected character `{text}`", m.start(), m.end())
        if kind == "reg":
            if int(text[1:]) > 10:
                raise _Mistake(f"there is no register `{text}`", m.start(), m.end(), helps=("registers are r0 to r10",))
            out.append(("reg", text[0], int(text[1:]), m.start(), m.end()))
        elif kind == "num":
            # `r1 + 5` and `r1 +5` are one shape; a number's value keeps the sign.
            digits = text.replace(" ", "").replace("\t", "").lower()
            value = int(digits, 16 if "x" in digits else 10)
            out.append(("hex" if "x" in digits else "num", text, value, m.start(), m.end()))
        elif kind == "word" and text not in words:
            out.append(("name", text, 0, m.start(), m.end()))
        elif kind != "space":
            out.append((kind, text, 0, m.start(), m.end()))
    return out


def _shape(tokens: Iterable[_Tok]) -> str:
    return " ".join({"num": "N", "hex": "X", "name": "L"}.get(kind) or text for kind, text, *_ in tokens)


class _Table:
    """Shapes → forms, with which operand each register, number and name of the shape is."""

    def __init__(self) -> None:
        #: shape → (form, operands): an operand is a name in `OPERANDS`, or a number that must stand there
        self.shapes: dict[str, tuple[Form, tuple[str | int, ...]]] = {}
        self.words: set[str] = {"ll", "fd", "xchg_64", "xchg32_32", "cmpxchg_64", "cmpxchg32_32"}
        for form in FORMS:
            literal = _PLACEHOLDER.sub(" ", form.template)
            self.words.update(re.findall(r"kernel-function|(?<![\w{])[A-Za-z_]\w*", literal))
        self.words -= {"r", "w", "r0"}
        loose: list[tuple[str, tuple[Form, tuple[str | int, ...]]]] = []
        for form in FORMS:
            for template in (*self._spellings(form.template), *_llvm_spellings(form.template)):
                shape, operands = self._parse(template)
                self.shapes.setdefault(shape, (form, operands))
                # Hexadecimal where the kernel prints decimal and the other way round, unless that means something else.
                loose += [(variant, (form, operands)) for variant in _variants(shape)]
        for shape, row in loose:
            self.shapes.setdefault(shape, row)

    @staticmethod
    def _spellings(template: str) -> Iterable[str]:
        if "{fd_idx}" in template:  # prints as nothing or as [N]: not one shape but two
            yield template.replace("{fd_idx}", "")
            yield template.replace("{fd_idx}", "[{off}]")
            return
        yield template
        if "{wide}" in template:
            yield template.replace("{wide}", "{wide} ll")
        if "goto" in template and "pc{" in template:
            yield template.replace("pc{", "{@")  # goto label
            yield template.replace("pc{", "{")   # goto +3, as LLVM writes it
        if template == "call pc{rel}":
            yield "call {@rel}"
        if "[{rel}]" in template:
            yield template.replace("{rel}", "{@rel}")
        if "{helper}" in template:
            yield template.replace("{helper}", "")
            yield template.replace("{helper}#", "")
        if "[id:{lo}]" in template:
            yield template.replace("[id:", "[fd:")

    def _parse(self, template: str) -> tuple[str, tuple[str | int, ...]]:
        names = []

        def sample(m: re.Match[str]) -> str:
            name = m[1]
            names.append(name.lstrip("@"))
            return "label_" if name.startswith("@") else _SAMPLES.get(name, "")

        text = re.sub(r"\{(@?\w+)\}", sample, template)
        tokens = _tokens(text, 0, self.words)
        operands: list[str | int] = []
        left = iter(names)
        # Literal registers and numbers of a template (r0, the [0] of a map value) are told from samples by value 0.
        for kind, _, value, *_ in tokens:
            if kind in ("reg", "num", "hex", "name"):
                literal = kind != "name" and value == 0
                operands.append(0 if literal else next(left))
        return _shape(tokens), tuple(operands)

    def match(self, tokens: list[_Tok]) -> tuple[Form, dict[str, int], dict[str, _Tok]]:
        row = self.shapes.get(_shape(tokens))
        if row is None and len(tokens) > 3 and tokens[-1][1] == ">" and tokens[-3][1] == "<":
            # LLVM adds the target's name: `goto +3 <LBB0_2>`
            row = self.shapes.get(_shape(tokens[:-3]))
            tokens = tokens[:-3]
        if row is None:
            raise self._unknown(tokens)
        form, operands = row
        fields: dict[str, int] = {}
        names: dict[str, _Tok] = {}
        values = [t for t in tokens if t[0] in ("reg", "num", "hex", "name")]
        for token, operand in zip(values, operands, strict=True):
            kind, text, value, column, end = token
            if isinstance(operand, int):
                if value != operand:
                    raise _Mistake(f"expected {text if kind == 'reg' else ''}{operand} here", column, end)
            elif kind == "name":
                names[operand] = token
            elif fields.setdefault(operand, value) != value:
                raise _Mistake(f"this must be the same register as before, {text}{fields[operand]}", column, end)
            else:
                low, high = _LIMITS.get(operand, (0, 10))
                if not low <= value <= high:
                    raise _Mistake(f"{value} does not fit: {low} to {high} can be encoded here", column, end)
        return form, fields, names

    def _unknown(self, tokens: list[_Tok]) -> _Mistake:
        shape = _shape(tokens)
        near = did_you_mean(shape, self.shapes, limit=1)
        helps = []
        if near:
            example = _PLACEHOLDER.sub(lambda m: _SAMPLES.get(m[1], ""), self.shapes[near[0]][0].template)
            helps = [f"similar: `{example}`"]
        return _Mistake("this is no BPF instruction", tokens[0][3], tokens[-1][4], helps=helps)


def _llvm_spellings(template: str) -> Iterable[str]:
    """How llvm-objdump prints the same, where that is another shape."""
    if "+ {imm}]" in template:
        yield template.replace(" + {imm}", "")
    narrow = "(u8 *)" in template or "(u16 *)" in template or "(u32 *)" in template
    if narrow and "skb" not in template:
        # Values of up to 32 bits are in w registers; the register of the address is followed by its offset.
        template = re.sub(r"\br(\{\w+\}|0)(?! \{off\})", r"w\1", template)
        yield template
    if "atomic64_fetch" in template:
        yield template.replace("atomic64_fetch", "atomic_fetch")
    if m := re.search(r"atomic(?:64)?_((?:cmp)?xchg)\(\(u(?:32|64) \*\)\((.*?)\)", template):
        yield template.replace(m[0], f"{m[1]}{'32_32' if narrow else '_64'}({m[2]}")


def _variants(shape: str) -> list[str]:
    out = [""]
    for part in shape.split(" "):
        out = [o + " " + p for o in out for p in (("N", "X") if part in ("N", "X") else (part,))]
    return [o[1:] for o in out]


_cached: _Table | None = None


def _table() -> _Table:
    global _cached
    if _cached is None:
        _cached = _Table()
    return _cached


def _insn(form: Form, fields: dict[str, int], names: dict[str, _Tok], slot: int, labels: dict[str, int]) -> Insn:
    """The instruction, with its labels and helper names looked up."""
    src_fixed = form.match >> 12 & 15
    for operand, (_, text, _, column, end) in names.items():
        if operand == "helper":
            _check_helper(text, fields.get("imm"), column, end)
            continue
        if text in labels:
            # Distances count from the instruction after this one; a function's address from the load itself,
            # for both the kernel adds one.
            distance = labels[text] - slot - 1
            low, high = _LIMITS[operand]
            if not low <= distance <= high:
                raise _Mistake(f"`{text}` is {distance:+d} slots away, further than this jump reaches", column, end,
                               helps=("use `gotol`",) if operand == "off" else ())
            fields[operand] = distance
        elif form.opcode == OP_CALL and src_fixed == PSEUDO_CALL:
            number = _helper_number(text, labels, column, end)
            return Insn(OP_CALL, imm=number)
        else:
            near = did_you_mean(text, labels)
            raise _Mistake(f"there is no label `{text}`", column, end,
                           helps=[f"did you mean `{n}`?" for n in near[:1]])
    fixed_off, fixed_imm = form.match >> 16 & 0xFFFF, form.match >> 32
    off = fields.get("off", fixed_off - (fixed_off >> 15 << 16))
    dst = fields.get("dst", 0) if form.free & DST else 0
    src = fields.get("src", 0) if form.free & SRC else src_fixed
    if form.opcode == OP_LDDW:
        low = fields.get("wide", fields.get("lo", fields.get("rel", 0)))
        high = low >> 32 if "wide" in fields else fields.get("hi", 0)
        imm = low & 0xFFFFFFFF | (high & 0xFFFFFFFF) << 32
        return Insn(OP_LDDW, dst, src, 0, imm)
    if "to" in fields:
        imm = fields["to"] << 16 | fields["frm"]
    else:
        imm = fields.get("imm", fields.get("uimm", fields.get("rel", fixed_imm)))
    imm &= 0xFFFFFFFF
    return Insn(form.opcode, dst, src, off, imm - (imm >> 31 << 32))


def _check_helper(name: str, number: int | None, column: int, end: int) -> None:
    known = {n: i for i, n in _helpers().items()}.get(name)
    if known is not None and number is not None and known != number:
        raise _Mistake(f"`{name}` is helper {known}, not {number}", column, end)


def _helper_number(name: str, labels: Iterable[str], column: int, end: int) -> int:
    numbers = {n: i for i, n in _helpers().items()}
    if name in numbers:
        return numbers[name]
    near = did_you_mean(name, [*labels, *numbers])
    raise _Mistake(f"`{name}` is neither a label nor a helper function", column, end,
                   helps=[f"did you mean `{n}`?" for n in near[:1]])


def _diagnostic(mistake: _Mistake, filename: str, number: int, line: str) -> Diagnostic:
    return Diagnostic("error", "A0001", str(mistake), Span(filename, number, mistake.column + 1, mistake.end + 1, line),
                      helps=mistake.helps)
