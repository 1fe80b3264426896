"""What every part of the checker shares: the state of one run, messages, scopes, small tree builders.

The checker is one class in layers, each in a file of its own: `CheckerBase` → `TypeChecker` (types as written) →
`ExprChecker` → `InitChecker` (initialisers) → `StmtChecker` → `Checker` (declarations and whole units). What a lower
layer
needs of a higher one is declared here and overridden there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ebpf.compiler.c import ast, tree
from ebpf.compiler.c.constexpr import evaluate, reduce
from ebpf.compiler.c.conversions import POISON
from ebpf.compiler.c.kernel_types import KernelTypes
from ebpf.compiler.c.scopes import Scope
from ebpf.compiler.c.source import Diagnostics
from ebpf.compiler.c.types import INT, LONG, ULLONG, ULONG, CType, Enum, Pointer, Record, format_ctype
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.compiler.c.dialect import BccDialect
    from ebpf.compiler.c.events import Sent
    from ebpf.compiler.c.source import SourceMap
    from ebpf.compiler.facts import Facts


class Refused(Exception):
    """An expression or declaration was refused and reported; caught at the next expression, statement or
    declaration.
    """


class FunctionState:
    """What is known of the function that is being checked."""

    __slots__ = ("decl", "gotos", "labels", "loops", "result", "returns_zero", "switches", "used")

    def __init__(self, decl: tree.FunctionDecl) -> None:
        self.decl = decl
        self.result = decl.type.result
        self.labels: dict[str, tree.Label] = {}
        self.gotos: list[tuple[ast.Goto, tree.Goto]] = []
        self.loops = 0
        self.switches: list[SwitchState] = []
        self.used: set[int] = set()  # ids of the variables that the body names
        self.returns_zero = False  # a program written as `void`


class SwitchState:
    __slots__ = ("cases", "default", "loops", "type")

    def __init__(self, type: CType, loops: int) -> None:
        self.type = type
        self.loops = loops
        self.cases: list[tree.CaseLabel] = []
        self.default: tree.CaseLabel | None = None


class CheckerBase:
    bcc: BccDialect | None = None

    def __init__(self, sources: SourceMap, facts: Facts, options: Any, filename: str) -> None:
        self.sources = sources
        self.facts = facts
        self.options = options
        self.diagnostics = Diagnostics(sources)
        self.file_scope = Scope(None)
        self.scope = self.file_scope
        self.unit = tree.Unit(filename, [], [])
        self.function: FunctionState | None = None
        self.preserve = 0  # depth of __builtin_preserve_access_index
        self.kernel = KernelTypes(facts, self.own_tag)
        self.own_tags: dict[tuple[str, str], ast.RecordType | ast.EnumType] = {}
        self.anonymous: dict[int, Record | Enum] = {}  # by id of the node that defines it
        self.hidden_names = 0
        self.references: list[tuple[ast.Node, tree.FunctionDecl]] = []  # uses of functions that had no body yet
        self.sent: list[Sent] = []  # calls that send records to Python

    # ------------------------------------------------------------------------------------------------ messages

    def error(
        self,
        code: str,
        node: ast.Node | tree.Expr,
        message: str,
        *,
        label: str = "",
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> None:
        self.diagnostics.error(
            code, message, node.loc, node.end, label=label, notes=notes, helps=helps, related=related
        )

    def refuse(
        self,
        code: str,
        node: ast.Node | tree.Expr,
        message: str,
        *,
        label: str = "",
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> NoReturn:
        """Report a mistake and give up the construct around it."""
        self.error(code, node, message, label=label, notes=notes, helps=helps, related=related)
        raise Refused

    def warn(
        self,
        code: str,
        node: ast.Node | tree.Expr,
        message: str,
        *,
        label: str = "",
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
    ) -> None:
        self.diagnostics.warning(code, message, node.loc, node.end, label=label, notes=notes, helps=helps)

    @staticmethod
    def suggest(name: str, candidates: Iterable[str], form: str = "did you mean {}?") -> list[str]:
        """The help that names near misses of ``name``, or none."""
        close = did_you_mean(name, candidates)
        return [form.format(" or ".join(f"`{c}`" for c in close))] if close else []

    # ------------------------------------------------------------------------------------------ higher layers

    def type_of(self, node: ast.TypeExpr) -> CType:
        raise NotImplementedError

    def expr(self, node: ast.Expr) -> tree.Expr:
        """The lvalue, designator or value that ``node`` is; never raises `Refused`."""
        raise NotImplementedError

    def value(self, node: ast.Expr) -> tree.Expr:
        """The value of ``node``: loaded, decayed."""
        raise NotImplementedError

    def read_external(self, place: tree.Expr) -> tree.Expr:
        """The value at a place in the kernel's memory (BCC's dialect)."""
        raise NotImplementedError

    def incomplete(self, node: ast.Node | tree.Expr, record: Record) -> None:
        """Refuse ``node``, which needs the members of a record that are not known."""
        raise NotImplementedError

    def own_tag(self, kind: str, tag: str) -> CType | None:
        """The program's own struct, union or enum of that tag at file scope, even one that is only defined further
        on.
        """
        return None

    # -------------------------------------------------------------------------------------------- tree builders

    def poison(self, node: ast.Node) -> tree.Expr:
        return tree.IntConst(POISON, node.loc, node.end, 0)

    @staticmethod
    def int_const(node: ast.Node | tree.Expr, value: int, type: CType = INT) -> tree.IntConst:
        return tree.IntConst(type, node.loc, node.end, reduce(value, type))

    def new_local(self, name: str, type: CType, node: ast.Node | tree.Expr) -> tree.Variable:
        """A variable that the program cannot name."""
        return tree.Variable(name, type, "local", node.loc, node.end)

    @staticmethod
    def declare(variable: tree.Variable, value: tree.Expr | None, *, whole: bool = False) -> tree.Declare:
        """``T variable = value;`` (None: zeroes)."""
        parts = [] if value is None else [tree.InitPart(0, value)]
        return tree.Declare(variable.loc, variable.end, variable, tree.Initializer(variable.type, parts, whole))

    @staticmethod
    def ref(variable: tree.Variable, node: ast.Node | tree.Expr) -> tree.VarRef:
        return tree.VarRef(variable.type, node.loc, node.end, variable)

    @classmethod
    def load_of(cls, variable: tree.Variable, node: ast.Node | tree.Expr) -> tree.Expr:
        return tree.Convert(variable.type, node.loc, node.end, "load", cls.ref(variable, node))

    @staticmethod
    def address(lvalue: tree.Expr) -> tree.Expr:
        return tree.AddressOf(Pointer(lvalue.type), lvalue.loc, lvalue.end, lvalue)

    @staticmethod
    def block(node: ast.Node | tree.Expr, items: list[tree.Stmt]) -> tree.Block:
        return tree.Block(node.loc, node.end, items)

    @classmethod
    def statements(cls, node: ast.Node | tree.Expr, items: list[tree.Stmt], value: tree.Expr) -> tree.StatementExpr:
        return tree.StatementExpr(value.type, node.loc, node.end, cls.block(node, items), value)

    @staticmethod
    def evaluate_stmt(e: tree.Expr) -> tree.Evaluate:
        return tree.Evaluate(e.loc, e.end, e)

    def constant_of(self, e: tree.Expr) -> int | None:
        return evaluate(e)

    def words(self, t: CType) -> str:
        """A type as messages show it."""
        return f"`{format_ctype(t)}`"


SIZE_T = ULONG
U64 = ULLONG
PTRDIFF_T = LONG
