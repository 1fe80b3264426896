"""A function while it is compiled: its names, what is known of them at each place, the variables that hold them.

Types of variables are found by assigning: each assignment may make a variable's type wider, and then the program is
compiled once more with what was learnt. Functions that a program calls are compiled where they are called, each time
for the arguments that they get there.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import types as P
from ebpf.compiler.py.declarations import GlobalDecl, MapDecl
from ebpf.compiler.py.emit import Refused, aligned
from ebpf.compiler.py.expressions import _MISSING, Expressions
from ebpf.compiler.py.values import (
    BOOL,
    I64,
    U64,
    Arguments,
    Bound,
    Const,
    Context,
    Format,
    Int,
    IntTy,
    Maybe,
    Ref,
    Tuple,
    Unknown,
    Value,
    int_ty,
    joined,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.py.state import SourceFile


class Flow:
    """What is known at a place: names that have a value, names that are not None, and whether it is ever reached."""

    __slots__ = ("assigned", "live", "sure")

    def __init__(self, assigned: set[str], sure: frozenset[str] = frozenset(), live: bool = True) -> None:
        self.assigned, self.sure, self.live = assigned, sure, live

    def copy(self) -> Flow:
        return Flow(set(self.assigned), self.sure, self.live)


def merged(a: Flow, b: Flow) -> Flow:
    """What is known where two ways meet."""
    if not a.live:
        return b
    if not b.live:
        return a
    return Flow(a.assigned & b.assigned, a.sure & b.sure)


class Loop:
    """A loop around the statement at hand; ``leave``/``again`` are labels where C's own words do not do."""

    __slots__ = ("again", "breaks", "leave")

    def __init__(self, leave: tree.Label | None = None, again: tree.Label | None = None) -> None:
        self.leave, self.again = leave, again
        self.breaks: list[Flow] = []


class Frame:
    """One call of a function: ``bound`` are names for values that need no variable (arguments, constants)."""

    def __init__(
        self, function: Any, node: ast.FunctionDef, source: SourceFile, key: tuple[Any, ...], parent: Frame | None
    ) -> None:
        self.function, self.node, self.source, self.key, self.parent = function, node, source, key, parent
        self.stores: Counter[str] = Counter()
        _count_stores(node.body, self.stores)
        targets = Counter(n.target.id for s in node.body for n in ast.walk(s)
                          if isinstance(n, ast.For) and isinstance(n.target, ast.Name))
        #: names that nothing but loops assigns to: none of their values comes from another
        self.counters = {name for name, count in targets.items() if count == self.stores[name]}
        parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        self.names = set(self.stores) | set(parameters)
        self.bound: dict[str, Value] = {}
        self.annotated: dict[str, Any] = {}
        self.variables: dict[tuple[str, str], tree.Variable] = {}
        self.declared: list[tree.Stmt] = []
        self.flow = Flow(set())
        self.loops: list[Loop] = []
        self.end: tree.Label | None = None
        self.returned = False
        self.jumps = False
        # What `with` has begun: how many loops are around it, and what is done on the ways that leave it early.
        self.cleanups: list[tuple[int, Callable[[], None]]] = []
        self.cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))

    def lookup(self, name: str) -> Any:
        """The value of Python's that a name outside of the function has."""
        cell = self.cells.get(name)
        if cell is not None:
            try:
                return cell.cell_contents
            except ValueError:
                return _MISSING
        found = self.function.__globals__.get(name, _MISSING)
        return getattr(builtins, name, _MISSING) if found is _MISSING else found


def _count_stores(body: list[ast.stmt], out: Counter[str]) -> None:
    for statement in body:
        for n in ast.walk(statement):
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store):
                out[n.id] += 1
            elif isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name):
                out[n.target.id] += 1
            elif isinstance(n, (ast.MatchAs, ast.MatchStar)) and n.name:
                out[n.name] += 1


class Locals(Expressions):
    frame: Frame
    result_type: C.CType = C.INT

    def _key(self, name: str) -> tuple[Any, ...]:
        return (*self.frame.key, name)

    def variable(self, name: str, part: str, t: C.CType) -> tree.Variable:
        """The variable that holds a part of what ``name`` is; it begins as zero."""
        key = name, part
        known = self.frame.variables.get(key)
        if known is None or not C.same(known.type, t):
            shown = name if not part and name.isidentifier() and name != "return" else ""
            known = self.frame.variables[key] = tree.Variable(
                shown, t, "local", self.loc, self.end, align=aligned(t))
            inner = C.strip(t)
            parts = [] if isinstance(inner, (C.Array, C.Record)) else [tree.InitPart(0, self.const(0, t))]
            self.frame.declared.append(tree.Declare(self.loc, self.end, known, tree.Initializer(t, parts)))
        return known

    # --------------------------------------------------------------------------------------------------- assigning

    def assign_name(self, name: str, v: Value, node: ast.AST) -> None:
        """``name = v``."""
        frame = self.frame
        v = self.plain(v, node)
        frame.bound.pop(name, None)
        key = self._key(name)
        known = self.state.types.get(key)
        if known is None and isinstance(frame.function.__globals__.get(name), (MapDecl, GlobalDecl)):
            what = "map" if isinstance(frame.function.__globals__[name], MapDecl) else "variable"
            self.refuse("P0203", node, f"`{name}` is a {what} of programs, and this would be a local name",
                        helps=[f"write `{name}.value = …`"] if what == "variable" else ["use another name"])
        if name in frame.annotated:
            self.assign_annotated(name, v, node)
            return
        new = self._type(name, known, v, node)
        if new != known:
            self.state.types[key] = new
            self.state.changed |= known is not None
        self._store(name, new, v, node)
        frame.flow.assigned.add(name)
        is_sure = not (
            isinstance(v, Maybe) or isinstance(v, Ref) and v.nullable or isinstance(v, Const) and v.value is None
        )
        frame.flow.sure = frame.flow.sure | {name} if is_sure else frame.flow.sure - {name}

    def _type(self, name: str, known: Any, v: Value, node: ast.AST) -> Any:
        """The type of ``name`` now that it is also ``v``."""
        new = self._type_of(name, v, node)
        if known is None or known == new:
            return new
        kinds = known[0], new[0]
        if kinds == ("int", "int"):
            return _joined_ints(known, new, name in self.frame.counters)
        if "none" in kinds:
            other = new if known[0] == "none" else known
            if other[0] == "int":
                return "maybe", other[1]
            if other[0] == "ref":
                return (*other[:4], True, *other[5:])
            if other[0] in ("maybe", "none"):
                return other
        if kinds in (("maybe", "int"), ("int", "maybe"), ("maybe", "maybe")):
            a, b = known[1], new[1]
            return "maybe", a if a is b else joined(a, b)
        if kinds == ("ref", "ref") and known[1:4] == new[1:4]:
            return ("ref", *known[1:4], known[4] or new[4], known[5] or new[5], known[6] or new[6],
                    known[7] or new[7])
        if kinds == ("tuple", "tuple") and known[1] == new[1]:
            return known
        self.refuse(
            "P0203",
            node,
            f"`{name}` is {_shown(known)} elsewhere, and {words(v)} here"
            if name.isidentifier() and name != "return"
            else f"this is {_shown(known)} in one case, and {words(v)} in another",
            helps=["use two names"] if name.isidentifier() and name != "return" else [],
        )

    def _type_of(self, name: str, v: Value, node: ast.AST) -> Any:
        if isinstance(v, Const):
            if v.value is None:
                return ("none",)
            if isinstance(v.value, bool):
                return "int", BOOL, True, 1, int(v.value), int(v.value)
            if isinstance(v.value, int):
                number = self.number(v, node)
                value = int(v.value)
                return "int", number.ty, True, number.bits, value, value
            return "const", v.value
        if isinstance(v, Int):
            bits = None if v.bits == 8 * v.ty.size else v.bits
            return "int", v.ty, v.soft, bits, None, None
        if isinstance(v, Maybe):
            return "maybe", v.value.ty
        if isinstance(v, Ref):
            return "ref", self.state.one(v.t), v.space, v.py, v.nullable, v.pointer, v.shared, v.there is not None
        if isinstance(v, Tuple):
            return "tuple", len(v.items)
        if isinstance(v, (Context, Arguments, Bound)):
            return ("value",)
        if isinstance(v, Format):
            self.refuse(
                "P0214",
                node,
                "an f-string needs a buffer of a certain size",
                helps=[f'write `{name}: chars[64] = f"…"`'],
            )
        self.refuse("P0204", node, f"{words(v)} cannot be kept in a variable")

    def _store(self, name: str, known: Any, v: Value, node: ast.AST) -> None:
        kind = known[0]
        if kind == "int":
            ty = known[1]
            number = self.number(v, node)
            self.set(self.variable(name, "", ty.ctype), cast(number.e, ty.ctype))
        elif kind == "maybe":
            ty = known[1]
            there, value = self.variable(name, "there", C.ULONG), self.variable(name, "", ty.ctype)
            if isinstance(v, Maybe):
                self.set(there, cast(v.there, C.ULONG))
                self.set(value, cast(v.value.e, ty.ctype))
            elif isinstance(v, Const) and v.value is None:
                self.set(there, self.const(0, C.ULONG))
            else:
                self.set(value, cast(self.number(v, node).e, ty.ctype))
                self.set(there, self.const(1, C.ULONG))
        elif kind == "ref":
            t = C.Pointer(known[1])
            known_variable = self.frame.variables.get((name, ""))
            variable = (
                known_variable
                if known_variable is not None and C.same(known_variable.type, t)
                else self.variable(name, "", t)
            )
            e = self.const(0, t) if isinstance(v, Const) else cast(v.e, t)  # type: ignore[attr-defined]
            self.set(variable, e)
            if known[7]:
                asked: tree.Expr = self.const(int(isinstance(v, Ref)), C.INT)
                if isinstance(v, Ref) and v.nullable:
                    asked = cast(cast(v.e if v.there is None else v.there, C.BOOL), C.INT)
                self.set(self.variable(name, "there", C.INT), asked)
        elif kind == "tuple":
            items = v.items if isinstance(v, Tuple) else [Const(i) for i in v.value]  # type: ignore[attr-defined]
            for i, item in enumerate(items):
                self.assign_name(f"{name}.{i}", item, node)
        elif kind in ("const", "value", "none"):
            self.frame.bound[name] = v

    def annotate(self, name: str, py: Any, node: ast.AST) -> None:
        """``name: type``: from now on the name holds that."""
        t = self.state.ctype(py)
        if t is None:
            self.refuse(
                "P0216",
                node,
                "this is no type of programs",
                helps=["there are u8 to u64, i8 to i64, bool, chars[N], arrays such as u32[4], and structs"],
            )
        known = self.frame.annotated.get(name)
        if known is not None and known != py:
            self.refuse("P0203", node, f"`{name}` is {P.describe(known)} already")
        self.frame.annotated[name] = py

    def annotated_int(self, py: Any) -> IntTy | None:
        if isinstance(py, P.IntType):
            return int_ty(py.size, py.signed)
        return BOOL if py is bool else I64 if py is int else None

    def assign_annotated(self, name: str, v: Value | None, node: ast.AST) -> None:
        py = self.frame.annotated[name]
        t = self.state.ctype(py)
        assert t is not None
        ty = self.annotated_int(py)
        if ty is not None:
            variable = self.variable(name, "", ty.ctype)
            e = self.const(0, ty.ctype) if v is None else self.int_as(v, ty, node, f"`{name}`")
            self.set(variable, e)
        elif isinstance(py, (P.KernelType, P.PointerType)):
            target = t.target if isinstance(t, C.Pointer) else t
            if v is not None:
                self.assign_pointer(name, target, v, node)
            return
        else:
            variable = self.variable(name, "", t)
            place = self.ref(variable)
            if v is None:
                self.zero(place, C.size_of(t) or 0)
            else:
                self.put(v, place, py, f"`{name}`", node)
        self.frame.flow.assigned.add(name)
        self.frame.flow.sure |= {name}

    def assign_pointer(self, name: str, target: C.CType, v: Value, node: ast.AST) -> None:
        from ebpf.compiler.py.values import KERNEL

        number = v if isinstance(v, Ref) and v.pointer else self.number(v, node)
        space = v.space if isinstance(v, Ref) else KERNEL
        del self.frame.annotated[name]
        self.assign_name(name, Ref(cast(number.e, C.Pointer(target)), target, space, pointer=True), node)

    # ------------------------------------------------------------------------------------------------------ reading

    def local_value(self, name: str, node: ast.AST) -> Value:
        frame = self.frame
        bound = frame.bound.get(name)
        if isinstance(bound, Unknown):
            raise Refused
        if bound is not None:
            return bound
        if name not in frame.flow.assigned:
            self.refuse(
                "P0202", node, f"`{name}` may have no value here", helps=["give it one on every way that leads here"]
            )
        py = frame.annotated.get(name)
        if py is not None:
            ty = self.annotated_int(py)
            if ty is not None:
                return Int(ty, self.get(self.variable(name, "", ty.ctype)))
            t = self.state.ctype(py)
            assert t is not None
            variable = self.variable(name, "", t)
            return Ref(self.address(self.ref(variable)), t, py=py)
        known = self.state.types[self._key(name)]
        kind = known[0]
        if kind == "int":
            return Int(known[1], self.get(self.variable(name, "", known[1].ctype)), known[3], known[2])
        if kind == "maybe":
            value = Int(known[1], self.get(self.variable(name, "", known[1].ctype)))
            if name in frame.flow.sure:
                return value
            return Maybe(self.get(self.variable(name, "there", C.ULONG)), value)
        if kind == "ref":
            variable = (
                self.frame.variables[name, ""]
                if (name, "") in frame.variables
                else self.variable(name, "", C.Pointer(known[1]))
            )
            nullable = known[4] and name not in frame.flow.sure
            there = self.get(self.variable(name, "there", C.INT)) if known[7] else None
            return Ref(self.get(variable), known[1], known[2], known[3], nullable, known[5], known[6], there)
        if kind == "tuple":
            return Tuple([self.local_value(f"{name}.{i}", node) for i in range(known[1])])
        if kind == "none":
            return Const(None)
        if kind == "const":
            return Const(known[1])
        self.refuse("P0203", node, f"`{name}` is the context on one way that leads here, and something else on another")


def _joined_ints(a: Any, b: Any, counts: bool) -> Any:
    """Two types of one variable: literals take the other's type where they fit.

    Bits are kept where that comes to an end: what is computed from the variable itself may have one more in each
    round, so they grow once, from a literal to something computed, or where loops alone assign (``counts``).
    """
    _, ty_a, soft_a, bits_a, low_a, high_a = a
    _, ty_b, soft_b, bits_b, low_b, high_b = b
    low = None if low_a is None or low_b is None else min(low_a, low_b)
    high = None if high_a is None or high_b is None else max(high_a, high_b)
    bits = None
    if bits_a is not None and bits_b is not None:
        bits = max(bits_a, bits_b) if bits_b <= bits_a or low_a is not None or counts and soft_b else None
    if ty_a is ty_b:
        return "int", ty_a, soft_a and soft_b, bits, low, high
    if soft_a != soft_b:
        ty, lowest, highest = (ty_b, low_a, high_a) if soft_a else (ty_a, low_b, high_b)
        if lowest is not None and ty.holds(lowest) and ty.holds(highest):
            return "int", ty, False, bits, None, None
    if soft_a and soft_b:
        ty = I64 if U64 not in (ty_a, ty_b) else U64
        return "int", ty, True, None, low, high
    ty, most = joined(ty_a, ty_b), (_most_bits(ty_a, bits_a), _most_bits(ty_b, bits_b))
    return "int", ty, False, max(most) if max(most) < 8 * ty.size - ty.signed else None, None, None


def _most_bits(ty: IntTy, bits: int | None) -> int:
    """How many low bits may be set in a value that is not negative; 64 where it may be."""
    return bits if bits is not None else 64 if ty.signed else 8 * ty.size


def _shown(known: Any) -> str:
    kind = known[0]
    if kind in ("int", "maybe"):
        return f"{known[1].name}{' or None' if kind == 'maybe' else ''}"
    if kind == "ref":
        return words(Ref(None, known[1], known[2], known[3], known[4], known[5]))  # type: ignore[arg-type]
    if kind == "const":
        return words(Const(known[1]))
    return {"none": "None", "tuple": f"a tuple of {known[-1]}"}.get(kind, "something else")
