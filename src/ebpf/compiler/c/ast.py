"""The syntax tree of restricted C: what was written, with its place, before any meaning.

``loc`` and ``end`` are positions that `source.SourceMap` turns into file, line and column; ``end`` is exclusive.
Inside a macro's expansion they are those of the outermost use (a macro's arguments keep their own), which is what a
reader of the source can point at. Declarators that share their specifiers (``struct s { … } a, *b;``) share the
type's node: a record or enum with members is declared once, by the node's identity.
A node is made once per construct and never changed, but freezing a dataclass costs four times its making, so these
are plain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# ---------------------------------------------------------------------------------------------- types as written


@dataclass(slots=True, eq=False)
class Node:
    loc: int
    end: int


@dataclass(slots=True, eq=False)
class Attribute(Node):
    """``__attribute__((name(args)))``, ``SEC("x")`` (as ``section``), ``__always_inline`` and the like, by plain
    name.
    """

    name: str
    args: list[Expr]


@dataclass(slots=True, eq=False)
class BuiltinType(Node):
    """A type spelled by keywords, in canonical order: ``"unsigned long"``, ``"_Bool"``, ``"unsigned __int128"``,
    ``"void"``.
    """

    name: str


@dataclass(slots=True, eq=False)
class NamedType(Node):
    """A typedef's name."""

    name: str


@dataclass(slots=True, eq=False)
class RecordType(Node):
    """``struct tag { … }``; ``members`` is None where only the tag is given."""

    kind: str  # "struct" | "union"
    tag: str | None
    members: list[MemberDecl] | None
    attributes: list[Attribute]


@dataclass(slots=True, eq=False)
class MemberDecl(Node):
    """One member; ``name`` is None for an anonymous record or a nameless bit-field."""

    name: str | None
    type: TypeExpr
    bit_width: Expr | None
    attributes: list[Attribute]


@dataclass(slots=True, eq=False)
class EnumType(Node):
    """``enum tag : underlying { … }``; ``enumerators`` is None where only the tag is given."""

    tag: str | None
    enumerators: list[Enumerator] | None
    attributes: list[Attribute]
    underlying: TypeExpr | None = None


@dataclass(slots=True, eq=False)
class Enumerator(Node):
    name: str
    value: Expr | None


@dataclass(slots=True, eq=False)
class TypeofType(Node):
    """``typeof(expr)`` or ``typeof(type)``: exactly one of the two is set."""

    expr: Expr | None
    type: TypeExpr | None


@dataclass(slots=True, eq=False)
class PointerTo(Node):
    target: TypeExpr


@dataclass(slots=True, eq=False)
class ArrayOf(Node):
    element: TypeExpr
    size: Expr | None


@dataclass(slots=True, eq=False)
class FunctionOf(Node):
    """``parameters`` is None for an empty ``()``; ``(void)`` is an empty list."""

    result: TypeExpr
    parameters: list[Parameter] | None
    variadic: bool


@dataclass(slots=True, eq=False)
class Qualified(Node):
    """``const``, ``volatile``, ``restrict``, ``_Atomic`` (a set) around a type, and attributes that came with it."""

    type: TypeExpr
    qualifiers: frozenset[str]
    attributes: list[Attribute]


@dataclass(slots=True, eq=False)
class Parameter(Node):
    name: str | None
    type: TypeExpr
    attributes: list[Attribute]


TypeExpr = (BuiltinType | NamedType | RecordType | EnumType | TypeofType | PointerTo | ArrayOf | FunctionOf | Qualified)

# ---------------------------------------------------------------------------------------------------- declarations


@dataclass(slots=True, eq=False)
class VarDecl(Node):
    """A variable, or a function's declaration without body (``type`` is then a `FunctionOf`)."""

    name: str
    type: TypeExpr
    init: Expr | InitList | None
    storage: str | None  # "static" | "extern" | "register" | "auto" | None
    attributes: list[Attribute]
    inline: bool = False


@dataclass(slots=True, eq=False)
class TypedefDecl(Node):
    name: str
    type: TypeExpr
    attributes: list[Attribute]


@dataclass(slots=True, eq=False)
class TypeDecl(Node):
    """A record or enum declared on its own: ``struct key { u32 a; };``."""

    type: TypeExpr


@dataclass(slots=True, eq=False)
class StaticAssert(Node):
    condition: Expr
    message: str


@dataclass(slots=True, eq=False)
class MacroCall(Node):
    """A call at file scope: ``BPF_HASH(counts, u32, u64, 1024);``. An argument may be a `TypeArg` (or None if
    empty).
    """

    name: str
    args: list[Expr | None]


@dataclass(slots=True, eq=False)
class Wrapper(Node):
    """The macro that headed a function: ``TRACEPOINT_PROBE(sched, sched_switch)``, ``KFUNC_PROBE(name, …)``,
    ``int BPF_KPROBE(name, …)``, ``BPF_PROG``, ``BPF_KSYSCALL``, ``BPF_UPROBE``, ``BPF_KRETPROBE`` …

    ``names`` are the leading identifiers; parameters that follow stand in the function's own type.
    """

    kind: str
    names: list[str]


@dataclass(slots=True, eq=False)
class FunctionDef(Node):
    """``name`` is what was written (for a wrapper: its first name that names the function, else "")."""

    name: str
    type: FunctionOf
    storage: str | None
    inline: bool
    attributes: list[Attribute]
    body: Block
    wrapper: Wrapper | None = None
    name_loc: int = 0


@dataclass(slots=True, eq=False)
class TranslationUnit(Node):
    """``includes`` are the names of all headers asked for, kernel's and own, in order."""

    items: list[ExternalDecl]
    includes: list[str] = field(default_factory=list)


ExternalDecl = VarDecl | TypedefDecl | TypeDecl | StaticAssert | MacroCall | FunctionDef

# ----------------------------------------------------------------------------------------------------- expressions


@dataclass(slots=True, eq=False)
class Name(Node):
    name: str


@dataclass(slots=True, eq=False)
class IntLiteral(Node):
    """``suffix`` in lower case, canonical (``""``, ``"u"``, ``"l"``, ``"ul"``, ``"ll"``, ``"ull"``); ``decimal``
    decides C's choice of type.
    """

    value: int
    suffix: str
    decimal: bool


@dataclass(slots=True, eq=False)
class FloatLiteral(Node):
    text: str


@dataclass(slots=True, eq=False)
class CharLiteral(Node):
    value: int


@dataclass(slots=True, eq=False)
class StringLiteral(Node):
    """Adjacent literals joined; ``value`` without the closing NUL."""

    value: bytes


@dataclass(slots=True, eq=False)
class Unary(Node):
    """``op``: ``- + ~ ! * &``, and ``++x --x x++ x--`` spelled so."""

    op: str
    operand: Expr


@dataclass(slots=True, eq=False)
class Binary(Node):
    """Arithmetic, comparison, ``&&``, ``||`` and ``,``."""

    op: str
    left: Expr
    right: Expr
    op_loc: int


@dataclass(slots=True, eq=False)
class Assign(Node):
    """``op`` is ``=``, ``+=``, …"""

    op: str
    target: Expr
    value: Expr
    op_loc: int


@dataclass(slots=True, eq=False)
class Conditional(Node):
    """``a ? b : c``; ``then`` is None in GNU's ``a ?: c``."""

    condition: Expr
    then: Expr | None
    otherwise: Expr


@dataclass(slots=True, eq=False)
class Call(Node):
    """A call, builtin macros with meaning (``BPF_CORE_READ``, ``bpf_trace_printk``…) and map methods included."""

    function: Expr
    args: list[Expr]


@dataclass(slots=True, eq=False)
class TypeArg(Node):
    """A type where a call's argument stands: ``bpf_core_type_exists(struct x)``, ``container_of(p, struct s, m)``."""

    type: TypeExpr


@dataclass(slots=True, eq=False)
class Index(Node):
    base: Expr
    index: Expr


@dataclass(slots=True, eq=False)
class Member(Node):
    base: Expr
    name: str
    arrow: bool
    name_loc: int


@dataclass(slots=True, eq=False)
class Cast(Node):
    type: TypeExpr
    operand: Expr


@dataclass(slots=True, eq=False)
class CompoundLiteral(Node):
    type: TypeExpr
    init: InitList


@dataclass(slots=True, eq=False)
class SizeofExpr(Node):
    operand: Expr


@dataclass(slots=True, eq=False)
class SizeofType(Node):
    type: TypeExpr


@dataclass(slots=True, eq=False)
class AlignofType(Node):
    type: TypeExpr


@dataclass(slots=True, eq=False)
class Offsetof(Node):
    """``offsetof(type, a.b[2])``; a designator is a member's name or an index."""

    type: TypeExpr
    designators: list[str | Expr]


@dataclass(slots=True, eq=False)
class StmtExpr(Node):
    """GNU's ``({ … })``."""

    body: Block


@dataclass(slots=True, eq=False)
class Generic(Node):
    """``_Generic(control, type: expr, default: expr)``; None stands for ``default``."""

    control: Expr
    choices: list[tuple[TypeExpr | None, Expr]]


@dataclass(slots=True, eq=False)
class InitItem(Node):
    """``.a[2] = value``; a designator is a member's name, an index, or a (first, last) range."""

    designators: list[str | Expr | tuple[Expr, Expr]]
    value: Expr | InitList


@dataclass(slots=True, eq=False)
class InitList(Node):
    items: list[InitItem]


Expr = (Name | IntLiteral | FloatLiteral | CharLiteral | StringLiteral | Unary | Binary | Assign | Conditional | Call
        | TypeArg | Index | Member | Cast | CompoundLiteral | SizeofExpr | SizeofType | AlignofType | Offsetof
        | StmtExpr | Generic)

# ------------------------------------------------------------------------------------------------------ statements


@dataclass(slots=True, eq=False)
class Block(Node):
    items: list[Stmt]


@dataclass(slots=True, eq=False)
class DeclStmt(Node):
    declarations: list[VarDecl | TypedefDecl | TypeDecl | StaticAssert]


@dataclass(slots=True, eq=False)
class ExprStmt(Node):
    """``expr`` is None for a lone ``;``."""

    expr: Expr | None


@dataclass(slots=True, eq=False)
class If(Node):
    condition: Expr
    then: Stmt
    otherwise: Stmt | None


@dataclass(slots=True, eq=False)
class While(Node):
    condition: Expr
    body: Stmt
    unroll: int | None = None  # `#pragma unroll`: 0 = fully, n = n times, 1 = not at all


@dataclass(slots=True, eq=False)
class DoWhile(Node):
    body: Stmt
    condition: Expr
    unroll: int | None = None


@dataclass(slots=True, eq=False)
class For(Node):
    init: DeclStmt | ExprStmt | None
    condition: Expr | None
    step: Expr | None
    body: Stmt
    unroll: int | None = None


@dataclass(slots=True, eq=False)
class Switch(Node):
    value: Expr
    body: Stmt


@dataclass(slots=True, eq=False)
class Case(Node):
    """``case low:`` or GNU's ``case low ... high:``; what follows is its own statement in the block."""

    low: Expr
    high: Expr | None
    body: Stmt


@dataclass(slots=True, eq=False)
class Default(Node):
    body: Stmt


@dataclass(slots=True, eq=False)
class Label(Node):
    name: str
    body: Stmt


@dataclass(slots=True, eq=False)
class Goto(Node):
    label: str


@dataclass(slots=True, eq=False)
class Break(Node):
    pass


@dataclass(slots=True, eq=False)
class Continue(Node):
    pass


@dataclass(slots=True, eq=False)
class Return(Node):
    value: Expr | None


@dataclass(slots=True, eq=False)
class AsmOperand(Node):
    name: str | None
    constraint: str
    expr: Expr


@dataclass(slots=True, eq=False)
class Asm(Node):
    """``asm volatile(template : outputs : inputs : clobbers)``."""

    template: str
    outputs: list[AsmOperand]
    inputs: list[AsmOperand]
    clobbers: list[str]
    volatile: bool
    labels: list[str] = field(default_factory=list)  # of `asm goto`


Stmt = (Block | DeclStmt | ExprStmt | If | While | DoWhile | For | Switch | Case | Default | Label | Goto | Break
        | Continue | Return | Asm)
