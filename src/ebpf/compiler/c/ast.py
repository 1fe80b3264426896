"""The syntax tree of restricted C: what was written, with its place, before any meaning.

``loc`` and ``end`` are positions that `source.SourceMap` turns into file, line and column; ``end`` is exclusive.
Inside a macro's expansion they are those of the outermost use (a macro's arguments keep their own), which is what a
reader of the source can point at. Declarators that share their specifiers (``struct s { … } a, *b;``) share the
type's node: a record or enum with members is declared once, by the node's identity.
A node is made once per construct and never changed, but freezing costs four times its making, so these are plain.
"""

from __future__ import annotations

from ebpf.compiler.c.nodes import NodeBase, field

# ---------------------------------------------------------------------------------------------- types as written


class Node(NodeBase):
    loc: int
    end: int


class Attribute(Node):
    """``__attribute__((name(args)))``, ``SEC("x")`` (as ``section``), ``__always_inline`` and the like, by plain
    name.
    """

    name: str
    args: list[Expr]


class BuiltinType(Node):
    """A type spelled by keywords, in canonical order: ``"unsigned long"``, ``"_Bool"``, ``"unsigned __int128"``,
    ``"void"``.
    """

    name: str


class NamedType(Node):
    """A typedef's name."""

    name: str


class RecordType(Node):
    """``struct tag { … }``; ``members`` is None where only the tag is given."""

    kind: str  # "struct" | "union"
    tag: str | None
    members: list[MemberDecl] | None
    attributes: list[Attribute]


class MemberDecl(Node):
    """One member; ``name`` is None for an anonymous record or a nameless bit-field."""

    name: str | None
    type: TypeExpr
    bit_width: Expr | None
    attributes: list[Attribute]


class EnumType(Node):
    """``enum tag : underlying { … }``; ``enumerators`` is None where only the tag is given."""

    tag: str | None
    enumerators: list[Enumerator] | None
    attributes: list[Attribute]
    underlying: TypeExpr | None = None


class Enumerator(Node):
    name: str
    value: Expr | None


class TypeofType(Node):
    """``typeof(expr)`` or ``typeof(type)``: exactly one of the two is set."""

    expr: Expr | None
    type: TypeExpr | None


class PointerTo(Node):
    target: TypeExpr


class ArrayOf(Node):
    element: TypeExpr
    size: Expr | None


class FunctionOf(Node):
    """``parameters`` is None for an empty ``()``; ``(void)`` is an empty list."""

    result: TypeExpr
    parameters: list[Parameter] | None
    variadic: bool


class Qualified(Node):
    """``const``, ``volatile``, ``restrict``, ``_Atomic`` (a set) around a type, and attributes that came with it."""

    type: TypeExpr
    qualifiers: frozenset[str]
    attributes: list[Attribute]


class Parameter(Node):
    name: str | None
    type: TypeExpr
    attributes: list[Attribute]


TypeExpr = (BuiltinType | NamedType | RecordType | EnumType | TypeofType | PointerTo | ArrayOf | FunctionOf | Qualified)

# ---------------------------------------------------------------------------------------------------- declarations


class VarDecl(Node):
    """A variable, or a function's declaration without body (``type`` is then a `FunctionOf`)."""

    name: str
    type: TypeExpr
    init: Expr | InitList | None
    storage: str | None  # "static" | "extern" | "register" | "auto" | None
    attributes: list[Attribute]
    inline: bool = False


class TypedefDecl(Node):
    name: str
    type: TypeExpr
    attributes: list[Attribute]


class TypeDecl(Node):
    """A record or enum declared on its own: ``struct key { u32 a; };``."""

    type: TypeExpr


class StaticAssert(Node):
    condition: Expr
    message: str


class MacroCall(Node):
    """A call at file scope: ``BPF_HASH(counts, u32, u64, 1024);``. An argument may be a `TypeArg` (or None if
    empty).
    """

    name: str
    args: list[Expr | None]


class Wrapper(Node):
    """The macro that headed a function: ``TRACEPOINT_PROBE(sched, sched_switch)``, ``KFUNC_PROBE(name, …)``,
    ``int BPF_KPROBE(name, …)``, ``BPF_PROG``, ``BPF_KSYSCALL``, ``BPF_UPROBE``, ``BPF_KRETPROBE`` …

    ``names`` are the leading identifiers; parameters that follow stand in the function's own type.
    """

    kind: str
    names: list[str]


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


class TranslationUnit(Node):
    """``includes`` are the names of all headers asked for, kernel's and own, in order."""

    items: list[ExternalDecl]
    includes: list[str] = field(default_factory=list)


ExternalDecl = VarDecl | TypedefDecl | TypeDecl | StaticAssert | MacroCall | FunctionDef

# ----------------------------------------------------------------------------------------------------- expressions


class Name(Node):
    name: str


class IntLiteral(Node):
    """``suffix`` in lower case, canonical (``""``, ``"u"``, ``"l"``, ``"ul"``, ``"ll"``, ``"ull"``); ``decimal``
    decides C's choice of type.
    """

    value: int
    suffix: str
    decimal: bool


class FloatLiteral(Node):
    text: str


class CharLiteral(Node):
    value: int


class StringLiteral(Node):
    """Adjacent literals joined; ``value`` without the closing NUL."""

    value: bytes


class Unary(Node):
    """``op``: ``- + ~ ! * &``, and ``++x --x x++ x--`` spelled so."""

    op: str
    operand: Expr


class Binary(Node):
    """Arithmetic, comparison, ``&&``, ``||`` and ``,``."""

    op: str
    left: Expr
    right: Expr
    op_loc: int


class Assign(Node):
    """``op`` is ``=``, ``+=``, …"""

    op: str
    target: Expr
    value: Expr
    op_loc: int


class Conditional(Node):
    """``a ? b : c``; ``then`` is None in GNU's ``a ?: c``."""

    condition: Expr
    then: Expr | None
    otherwise: Expr


class Call(Node):
    """A call, builtin macros with meaning (``BPF_CORE_READ``, ``bpf_trace_printk``…) and map methods included."""

    function: Expr
    args: list[Expr]


class TypeArg(Node):
    """A type where a call's argument stands: ``bpf_core_type_exists(struct x)``, ``container_of(p, struct s, m)``."""

    type: TypeExpr


class Index(Node):
    base: Expr
    index: Expr


class Member(Node):
    base: Expr
    name: str
    arrow: bool
    name_loc: int


class Cast(Node):
    type: TypeExpr
    operand: Expr


class CompoundLiteral(Node):
    type: TypeExpr
    init: InitList


class SizeofExpr(Node):
    operand: Expr


class SizeofType(Node):
    type: TypeExpr


class AlignofType(Node):
    type: TypeExpr


class Offsetof(Node):
    """``offsetof(type, a.b[2])``; a designator is a member's name or an index."""

    type: TypeExpr
    designators: list[str | Expr]


class StmtExpr(Node):
    """GNU's ``({ … })``."""

    body: Block


class Generic(Node):
    """``_Generic(control, type: expr, default: expr)``; None stands for ``default``."""

    control: Expr
    choices: list[tuple[TypeExpr | None, Expr]]


class InitItem(Node):
    """``.a[2] = value``; a designator is a member's name, an index, or a (first, last) range."""

    designators: list[str | Expr | tuple[Expr, Expr]]
    value: Expr | InitList


class InitList(Node):
    items: list[InitItem]


Expr = (Name | IntLiteral | FloatLiteral | CharLiteral | StringLiteral | Unary | Binary | Assign | Conditional | Call
        | TypeArg | Index | Member | Cast | CompoundLiteral | SizeofExpr | SizeofType | AlignofType | Offsetof
        | StmtExpr | Generic)

# ------------------------------------------------------------------------------------------------------ statements


class Block(Node):
    items: list[Stmt]


class DeclStmt(Node):
    declarations: list[VarDecl | TypedefDecl | TypeDecl | StaticAssert]


class ExprStmt(Node):
    """``expr`` is None for a lone ``;``."""

    expr: Expr | None


class If(Node):
    condition: Expr
    then: Stmt
    otherwise: Stmt | None


class While(Node):
    condition: Expr
    body: Stmt
    unroll: int | None = None  # `#pragma unroll`: 0 = fully, n = n times, 1 = not at all


class DoWhile(Node):
    body: Stmt
    condition: Expr
    unroll: int | None = None


class For(Node):
    init: DeclStmt | ExprStmt | None
    condition: Expr | None
    step: Expr | None
    body: Stmt
    unroll: int | None = None


class Switch(Node):
    value: Expr
    body: Stmt


class Case(Node):
    """``case low:`` or GNU's ``case low ... high:``; what follows is its own statement in the block."""

    low: Expr
    high: Expr | None
    body: Stmt


class Default(Node):
    body: Stmt


class Label(Node):
    name: str
    body: Stmt


class Goto(Node):
    label: str


class Break(Node):
    pass


class Continue(Node):
    pass


class Return(Node):
    value: Expr | None


class AsmOperand(Node):
    name: str | None
    constraint: str
    expr: Expr


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
