"""The syntax tree of a script: what was written, with its place, before any meaning. ``loc`` and ``end`` are positions
of `compiler.c.source.SourceMap`.
"""

from __future__ import annotations

from ebpf.compiler.c.nodes import NodeBase


class Node(NodeBase):
    loc: int
    end: int


# ----------------------------------------------------------------------------------------------------- expressions


class Number(Node):
    value: int


class String(Node):
    value: bytes


class Bool(Node):
    value: bool


class Parameter(Node):
    """``$1``, ``$#`` (number 0)."""

    number: int


class Name(Node):
    """A builtin, an enumerator, a constant."""

    name: str


class Variable(Node):
    """``$x``; ``name`` with its sign."""

    name: str


class MapAccess(Node):
    """``@x[a, b]``; ``name`` with its sign; ``keys`` is None where there are no brackets."""

    name: str
    keys: list[Expr] | None


class Call(Node):
    name: str
    args: list[Expr]
    name_end: int


class Unary(Node):
    """``- ~ ! * &``, and ``++x --x x++ x--`` spelled so."""

    op: str
    operand: Expr


class Binary(Node):
    op: str
    left: Expr
    right: Expr


class Ternary(Node):
    condition: Expr
    then: Expr
    otherwise: Expr


class Member(Node):
    """``.name``, ``->name``, and ``.0`` of a tuple."""

    base: Expr
    name: str
    arrow: bool
    name_loc: int


class Index(Node):
    base: Expr
    index: Expr


class Cast(Node):
    type: TypeName
    operand: Expr


class Sizeof(Node):
    of: TypeName | Expr


class Offsetof(Node):
    of: TypeName | Expr
    path: list[str]


class Tuple(Node):
    items: list[Expr]


class Record(Node):
    """``(a = 1, b = 2)``."""

    names: list[str]
    items: list[Expr]


class BlockExpr(Node):
    """``{ …; value }``."""

    body: list[Stmt]
    value: Expr


class TypeName(Node):
    """A type as written: ``name`` with ``struct`` and the like, stars, and bounds of an array (None: ``[]``)."""

    name: str
    stars: int
    bounds: list[int | None]


Expr = (
    Number
    | String
    | Bool
    | Parameter
    | Name
    | Variable
    | MapAccess
    | Call
    | Unary
    | Binary
    | Ternary
    | Member
    | Index
    | Cast
    | Sizeof
    | Offsetof
    | Tuple
    | Record
    | BlockExpr
)

# ------------------------------------------------------------------------------------------------------ statements


class Evaluate(Node):
    expr: Expr


class Assign(Node):
    """``op`` is ``=``, ``+=``, …; ``target`` a variable, a map or ``_``."""

    op: str
    target: Expr
    value: Expr


class Let(Node):
    """``let $x : type = value``; both may be absent."""

    name: str
    type: TypeName | None
    value: Expr | None


class If(Node):
    condition: Expr
    then: list[Stmt]
    otherwise: list[Stmt] | None


class While(Node):
    condition: Expr
    body: list[Stmt]


class Unroll(Node):
    count: Expr
    body: list[Stmt]


class For(Node):
    """``for $x : @map`` or ``for $x : a..b`` (``last`` is set)."""

    name: str
    over: Expr
    last: Expr | None
    body: list[Stmt]


class Return(Node):
    value: Expr | None


class Jump(Node):
    """``break`` or ``continue``."""

    word: str


class Block(Node):
    body: list[Stmt]


Stmt = Evaluate | Assign | Let | If | While | Unroll | For | Return | Jump | Block

# ----------------------------------------------------------------------------------------------------- whole scripts


class AttachPoint(Node):
    """``provider:part:part``, as written; ``alias`` of ``name=probe``."""

    provider: str
    parts: list[str]
    alias: str | None


class Probe(Node):
    points: list[AttachPoint]
    predicate: Expr | None
    body: list[Stmt]


class Macro(Node):
    """``macro name($a, @b) { … }``; ``value`` is what its last expression gives."""

    name: str
    parameters: list[str]
    body: list[Stmt]
    value: Expr | None


class Function(Node):
    """``fn name($a : int64) : int64 { … }``."""

    name: str
    parameters: list[tuple[str, TypeName]]
    result: TypeName
    body: list[Stmt]


class Setting(Node):
    """One line of ``config = { name = value; }``."""

    name: str
    value: Expr


class MapDecl(Node):
    """``let @name = lruhash(entries);``."""

    name: str
    kind: str
    entries: Expr | None


class Import(Node):
    path: str


class Script(Node):
    items: list[Probe | Macro | Function | Setting | MapDecl | Import]


def walk(root: object) -> list[Node]:
    """All nodes of a tree, or of trees in lists, in no particular order."""
    out: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, (list, tuple)):
            stack += node
        elif isinstance(node, Node):
            out.append(node)
            stack += [getattr(node, f) for f in type(node)._fields[2:]]
    return out
