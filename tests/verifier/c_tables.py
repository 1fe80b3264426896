"""A reader for the kernel's verifier test vectors: C files of designated initialisers whose instructions are macro calls.

Only what those files use: comments, `#define` with parameters (`#` and `##` too), `#if` on byte order (little-endian), string concatenation,
constant expressions. Macros that stand for instructions are not expanded but left as calls, which `vectors` understands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'|[A-Za-z_]\w*|0[xX][0-9a-fA-F]+[uUlL]*|\d+[uUlL]*|<<|>>|##|\.\.\.|[-+*/%~!&|^?:<>=,.;(){}\[\]#]'
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


@dataclass
class Macro:
    params: list[str] | None
    body: list[str]


@dataclass
class Call:
    """``name(arg, …)`` in an initialiser; each argument is its tokens."""

    name: str
    args: list[list[str]]


@dataclass
class Block:
    """``{ … }``: positional items and ``.name = value`` members."""

    items: list[object] = field(default_factory=list)
    members: dict[str, object] = field(default_factory=dict)


def read_blocks(text: str) -> list[Block]:
    """The top-level initialisers of a file, macros expanded."""
    tokens = _expand_file(text)
    blocks, at = [], 0
    while at < len(tokens):
        if tokens[at] == "{":
            block, at = _block(tokens, at)
            blocks.append(block)
        else:
            at += 1
    return blocks


def _expand_file(text: str) -> list[str]:
    text = _COMMENT.sub(lambda m: "\n" * m[0].count("\n") or " ", text).replace("\\\n", " ")
    macros: dict[str, Macro] = {}
    out: list[str] = []
    keep: list[bool] = []
    pending: list[str] = []
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith("#"):
            out += _expand(pending, macros)
            pending = []
            word, _, rest = stripped[1:].strip().partition(" ")
            if word == "if":
                keep.append("LITTLE" in rest)
            elif word == "else":
                keep[-1] = not keep[-1]
            elif word == "endif":
                keep.pop()
            elif word == "undef":
                macros.pop(rest.strip(), None)
            elif word == "define" and all(keep):
                m = re.match(r"(\w+)(\(([^)]*)\))?(.*)", rest.strip(), re.S)
                assert m
                params = [p.strip() for p in m[3].split(",") if p.strip()] if m[2] else None
                macros[m[1]] = Macro(params, _TOKEN.findall(m[4]))
        elif all(keep):
            pending += _TOKEN.findall(line)
    return out + _expand(pending, macros)


def _expand(tokens: list[str], macros: dict[str, Macro], hidden: frozenset[str] = frozenset()) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(tokens):
        name = tokens[at]
        macro = macros.get(name)
        if macro is None or name in hidden:
            out.append(name)
            at += 1
            continue
        if macro.params is None:
            out += _expand(macro.body, macros, hidden | {name})
            at += 1
            continue
        if at + 1 >= len(tokens) or tokens[at + 1] != "(":
            out.append(name)
            at += 1
            continue
        args, at = split_arguments(tokens, at + 1)
        out += _expand(_substitute(macro, args), macros, hidden | {name})
    return out


def _substitute(macro: Macro, args: list[list[str]]) -> list[str]:
    values = dict(zip(macro.params or (), args, strict=False))
    out: list[str] = []
    body = macro.body
    at = 0
    while at < len(body):
        token = body[at]
        if token == "#" and at + 1 < len(body) and body[at + 1] in values:
            out.append('"' + " ".join(values[body[at + 1]]) + '"')
            at += 2
            continue
        piece = values.get(token, [token])
        if out and at and body[at - 1] == "##":
            out[-1:] = [out[-1] + (piece[0] if piece else ""), *piece[1:]]
        elif token != "##":
            out += piece
        at += 1
    return out


def split_arguments(tokens: list[str], at: int) -> tuple[list[list[str]], int]:
    """Arguments of the parenthesis that opens at ``at``, and where it ends."""
    depth, args, current = 0, [], []
    while True:
        token = tokens[at]
        at += 1
        if token in "([{":
            depth += 1
            if depth == 1:
                continue
        elif token in ")]}":
            depth -= 1
            if depth == 0:
                if current or args:
                    args.append(current)
                return args, at
        elif token == "," and depth == 1:
            args.append(current)
            current = []
            continue
        current.append(token)


def _block(tokens: list[str], at: int) -> tuple[Block, int]:
    block = Block()
    at += 1
    while tokens[at] != "}":
        if tokens[at] == ",":
            at += 1
        elif tokens[at] == "." and tokens[at + 2] == "=":
            block.members[tokens[at + 1]], at = _value(tokens, at + 3)
        else:
            value, at = _value(tokens, at)
            block.items.append(value)
    return block, at + 1


def _value(tokens: list[str], at: int) -> tuple[object, int]:
    if tokens[at] == "{":
        return _block(tokens, at)
    start = at
    if at + 1 < len(tokens) and tokens[at + 1] == "(" and re.match(r"BPF_[A-Z]|BTF_", tokens[at]):
        args, end = split_arguments(tokens, at + 1)
        if tokens[end] in ",}":
            return Call(tokens[at], args), end
    if tokens[at] == "(" and tokens[at + 1] == "struct":  # (struct bpf_insn) { … }
        _, after = split_arguments(tokens, at)
        if tokens[after] == "{":
            return _block(tokens, after)
    depth = 0
    while depth or tokens[at] not in ",}":
        depth += (tokens[at] in "([{") - (tokens[at] in ")]}")
        at += 1
    return tokens[start:at], at


def string(value: object) -> str:
    """Adjacent string literals as one string."""
    assert isinstance(value, list)
    return "".join(eval(t) for t in value if t.startswith('"'))
