"""Expressions: what each one means in C, with every conversion spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree
from ebpf.compiler.c import types as C
from ebpf.compiler.c.checker_base import PTRDIFF_T, SIZE_T, Refused
from ebpf.compiler.c.checker_types import TypeChecker
from ebpf.compiler.c.constexpr import apply, evaluate, reduce
from ebpf.compiler.c.conversions import (
    POISON,
    bit_size_of,
    cast,
    common,
    int_of,
    is_integer,
    is_lvalue,
    is_null,
    is_pointer,
    is_record,
    is_scalar,
    is_void,
    promote,
    promoted,
    qualified,
    qualifiers,
    target_of,
    to_int,
    unqualified,
)
from ebpf.compiler.c.scopes import Alias, EnumConstant
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


class ExprChecker(TypeChecker):
    """Adds `expr` and `value`."""

    def expr(self, node: ast.Expr) -> tree.Expr:
        try:
            return _EXPRS[type(node)](self, node)
        except Refused:
            return self.poison(node)

    def value(self, node: ast.Expr) -> tree.Expr:
        return self.rvalue(self.expr(node))

    def rvalue(self, e: tree.Expr) -> tree.Expr:
        """The value of an lvalue or designator; a value is itself."""
        if type(e) is tree.FunctionRef:
            return tree.Convert(C.Pointer(e.type), e.loc, e.end, "function", e)
        if not is_lvalue(e):
            return e
        inner = C.strip(e.type)
        if isinstance(inner, C.Array):
            return tree.Convert(C.Pointer(inner.element), e.loc, e.end, "decay", e)
        if isinstance(inner, C.Function):  # `*function_pointer` is the pointer again
            assert isinstance(e, tree.Deref)
            return e.pointer
        if isinstance(inner, C.Void):
            self.refuse("C0211", e, "a `void` has no value", helps=["cast the pointer to a pointer to the type that is there"])
        if isinstance(inner, C.Record) and not inner.ensure_complete():
            self.incomplete(e, inner)
        if self.bcc is not None and self.bcc.is_external_place(e):
            return self.bcc.probe_read(self, e)
        return tree.Convert(unqualified(e.type), e.loc, e.end, "load", e)

    def lvalue(self, node: ast.Expr) -> tree.Expr:
        e = self.expr(node)
        if not is_lvalue(e) and e.type is not POISON:
            self.refuse("C0207", node, "this is a value, not a place in memory")
        return e

    def scalar(self, node: ast.Expr, what: str) -> tree.Expr:
        """A scalar value: a condition, an operand of ``!``."""
        e = self.value(node)
        if not is_scalar(e.type):
            self.refuse("C0205", node, f"{what} has to be a number or a pointer, not {self.words(e.type)}")
        return e

    def integer(self, node: ast.Expr, what: str) -> tree.Expr:
        e = self.value(node)
        if not is_integer(e.type):
            self.refuse("C0205", node, f"{what} has to be an integer, not {self.words(e.type)}")
        return e

    def incomplete(self, node: ast.Node | tree.Expr, record: C.Record) -> None:
        helps = []
        notes = []
        if record.tag is not None:
            if self.kernel.btf is None:
                notes.append("this kernel has no BTF, so only the program's own types are known")
            helps = self.suggest(record.tag, [t for k, t in self.own_tags if k == record.kind]
                                 + self.kernel.similar(record.tag, 4 if record.kind == "struct" else 5))
            notes.append(f"neither the program nor the kernel's BTF defines `{record.kind} {record.tag}`")
        self.refuse("C0211", node, f"the members of `{record.kind} {record.tag or '<anonymous>'}` are not known", notes=notes, helps=helps)

    # ------------------------------------------------------------------------------------------------ literals

    def int_literal(self, node: ast.IntLiteral) -> tree.Expr:
        kinds = _LITERAL_KINDS[node.suffix]
        for kind in kinds:
            if node.decimal and not kind.signed and "u" not in node.suffix:
                continue
            if node.value < 1 << (8 * kind.size - kind.signed):
                return tree.IntConst(kind, node.loc, node.end, node.value)
        if node.value < 1 << 64:
            return tree.IntConst(C.ULLONG, node.loc, node.end, node.value)
        self.refuse("C0234", node, "this number does not fit into 64 bits")

    def char_literal(self, node: ast.CharLiteral) -> tree.Expr:
        return self.int_const(node, node.value)

    def float_literal(self, node: ast.FloatLiteral) -> tree.Expr:
        self.refuse("C0215", node, "BPF has no floating-point numbers",
                    helps=["count in a smaller unit: thousandths, nanoseconds"])

    def string_literal(self, node: ast.StringLiteral) -> tree.Expr:
        value = node.value + b"\0"
        return tree.StringConst(C.Array(C.CHAR, len(value)), node.loc, node.end, value)

    # --------------------------------------------------------------------------------------------------- names

    def name(self, node: ast.Name) -> tree.Expr:
        symbol = self.scope.find(node.name)
        if type(symbol) is tree.Variable:
            if self.function is not None:
                self.function.used.add(id(symbol))
            return tree.VarRef(symbol.type, node.loc, node.end, symbol)
        if type(symbol) is tree.FunctionDecl:
            return tree.FunctionRef(symbol.type, node.loc, node.end, symbol)
        if type(symbol) is EnumConstant:
            return tree.IntConst(symbol.type, node.loc, node.end, symbol.value)
        if type(symbol) is Alias:
            return symbol.expr
        if symbol is not None:
            self.refuse("C0201", node, f"`{node.name}` is a type, not a value")
        found = self.constant(node)
        if found is not None:
            return found
        self.unknown_name(node)
        raise Refused

    def constant(self, node: ast.Name) -> tree.Expr | None:
        """A constant of the kernel: one of our table's, or an enumerator of its BTF."""
        name = node.name
        if name in ("__func__", "__FUNCTION__") and self.function is not None:
            text = self.function.decl.name.encode() + b"\0"
            return tree.StringConst(C.Array(C.CHAR, len(text)), node.loc, node.end, text)
        if self.bcc is not None and (special := self.bcc.constant(self, node)) is not None:
            return special
        if name.startswith("BPF_FUNC_"):
            from ebpf.abi.helpers import HELPERS_BY_NAME

            helper = HELPERS_BY_NAME.get("bpf_" + name[9:])
            if helper is not None:
                return self.int_const(node, helper.id)
        from ebpf.abi.constants import lookup_constant
        from ebpf.compiler.c.kernel_types import ABI_ARCH

        if name in _UNSTABLE and (moved := self._enumerator(node)) is not None:
            return moved
        version = self.facts.kernel_version
        value = lookup_constant(name, arch=ABI_ARCH.get(self.facts.arch, self.facts.arch), kernel=(version >> 16, version >> 8 & 255))
        if isinstance(value, int):
            kind = C.INT if -(1 << 31) <= value < 1 << 31 else C.UINT if 0 <= value < 1 << 32 else C.LONG if value < 1 << 63 else C.ULONG
            return tree.IntConst(kind, node.loc, node.end, value)
        if value is not None:
            from ebpf.compiler.c.kernel_declarations import parse_expression

            parsed = parse_expression(value, node)
            if parsed is not None:
                return self.expr(parsed)
        return self._enumerator(node)

    def _enumerator(self, node: ast.Name) -> tree.Expr | None:
        found = self.kernel.enumerator(node.name)
        if found is None:
            return None
        enum, number = found
        return tree.IntConst(C.INT if -(1 << 31) <= number < 1 << 31 else enum.underlying, node.loc, node.end, number)

    def unknown_name(self, node: ast.Name) -> None:
        from ebpf.abi.constants import constant_names

        pool = [*self.scope.visible(), *constant_names()]
        notes = []
        if self.kernel.btf is None:
            notes.append("this kernel has no BTF, so its enumerators are not known")
        self.error("C0201", node, f"nothing is called `{node.name}`", helps=self.suggest(node.name, pool), notes=notes)
        # One message for one name.
        scope = self.file_scope if self.function is None else self.scope
        scope.names[node.name] = Alias(self.poison(node))

    # ---------------------------------------------------------------------------------------------- operators

    def unary(self, node: ast.Unary) -> tree.Expr:
        op = node.op
        if op == "&":
            return self.address_of(node)
        if op == "*":
            return self.deref(self.value(node.operand), node)
        if "x" in op:
            return self.step(node)
        if op == "!":
            e = self.scalar(node.operand, "the operand of `!`")
            return tree.Unary(C.INT, node.loc, node.end, "!", e)
        e = self.integer(node.operand, f"the operand of `{op}`")
        e = promote(e)
        if op == "+":
            return e
        if type(e) is tree.IntConst:
            value = e.value  # type: ignore[attr-defined]
            return tree.IntConst(e.type, node.loc, node.end, reduce(-value if op == "-" else ~value, e.type))
        return tree.Unary(e.type, node.loc, node.end, op, e)

    def address_of(self, node: ast.Unary) -> tree.Expr:
        e = self.expr(node.operand)
        if type(e) is tree.FunctionRef:
            return tree.Convert(C.Pointer(e.type), node.loc, node.end, "function", e)
        if e.type is POISON:
            return e
        if not is_lvalue(e):
            self.refuse("C0207", node, "only a place in memory has an address, and this is a value",
                        helps=["store the value in a variable first"])
        if bit_size_of(e):
            self.refuse("C0205", node, "a bit-field has no address", helps=["copy it into a variable first"])
        return tree.AddressOf(C.Pointer(e.type), node.loc, node.end, e)

    def deref(self, pointer: tree.Expr, node: ast.Node) -> tree.Expr:
        """``*pointer``."""
        if not is_pointer(pointer.type):
            if pointer.type is POISON:
                raise Refused
            self.refuse("C0205", node, f"`*` wants a pointer, and this is {self.words(pointer.type)}")
        target = target_of(pointer.type)
        return tree.Deref(target, node.loc, node.end, pointer, qualifiers(target)[1])

    def step(self, node: ast.Unary) -> tree.Expr:
        """``++`` and ``--``."""
        target = self.modifiable(self.lvalue(node.operand), node)
        op, postfix = node.op.replace("x", "")[0], node.op.startswith("x")
        t = unqualified(target.type)
        if is_pointer(t):
            self.sized_target(t, node)
            return tree.Update(t, node.loc, node.end, op, target, self.int_const(node, 1, C.LONG), t, postfix)
        if not is_integer(t):
            self.refuse("C0205", node, f"`{op}{op}` wants a number or a pointer, and this is {self.words(t)}")
        computation = promoted(t, bit_size_of(target))
        return tree.Update(t, node.loc, node.end, op, target, self.int_const(node, 1, computation), computation, postfix)

    def modifiable(self, target: tree.Expr, node: ast.Node) -> tree.Expr:
        if target.type is POISON:
            raise Refused
        inner = C.strip(target.type)
        if isinstance(inner, C.Array):
            self.refuse("C0207", node, "an array cannot be assigned to", helps=["copy its bytes with `__builtin_memcpy`"])
        if qualifiers(target.type)[0]:
            name = f"`{target.variable.name}`" if isinstance(target, tree.VarRef) else "this"
            self.refuse("C0207", node, f"{name} is const and cannot be changed")
        if isinstance(target, tree.StringConst):
            self.refuse("C0207", node, "a string constant cannot be changed")
        if isinstance(inner, C.Void):
            self.refuse("C0207", node, "a `void` cannot be assigned to")
        return target

    def sized_target(self, t: CType, node: ast.Node) -> None:
        """Pointer arithmetic needs the size of what is pointed to."""
        target = C.strip(target_of(t))
        if isinstance(target, C.Record) and not target.ensure_complete():
            self.incomplete(node, target)

    def binary(self, node: ast.Binary) -> tree.Expr:
        op = node.op
        if op in ("&&", "||"):
            left = self.scalar(node.left, f"an operand of `{op}`")
            return tree.Logical(C.INT, node.loc, node.end, op, left, self.scalar(node.right, f"an operand of `{op}`"))
        if op == ",":
            left = self.value(node.left)
            if not is_void(left.type):
                left = tree.Convert(C.VOID, left.loc, left.end, "void", left)
            right = self.value(node.right)
            return tree.Comma(right.type, node.loc, node.end, left, right)
        return self.combine(op, self.value(node.left), self.value(node.right), node)

    def combine(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        """``left op right`` for values."""
        if left.type is POISON or right.type is POISON:
            raise Refused
        if op in _COMPARISONS:
            return self.compare(op, left, right, node)
        a, b = is_pointer(left.type), is_pointer(right.type)
        if op in ("+", "-") and (a or b):
            return self.pointer_arithmetic(op, left, right, node)
        if not (is_integer(left.type) and is_integer(right.type)):
            notes = ["BPF has no floating-point numbers"] if isinstance(C.strip(left.type), C.Float) else []
            self.refuse("C0205", node, f"`{op}` cannot combine {self.words(left.type)} and {self.words(right.type)}", notes=notes)
        if op in ("<<", ">>"):
            left, right = promote(left), promote(right)
            return self._shift(op, left, right, node)
        left, right = self.usual(left, right)
        if type(left) is tree.IntConst and type(right) is tree.IntConst:
            folded = apply(op, left.value, right.value, left.type)
            if folded is not None:
                return tree.IntConst(left.type, node.loc, node.end, reduce(folded, left.type))
        if op in "/%" and evaluate(right) == 0:
            self.warn("C0234", right, "division by zero gives 0 in BPF", label="this is 0")
        return tree.Binary(left.type, node.loc, node.end, op, left, right)

    def _shift(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        width = 8 * int_of(left.type).size
        count = evaluate(right)
        if count is not None and not 0 <= count < width:
            self.warn("C0234", right, f"a shift by {count} of a {width}-bit number is undefined",
                      helps=["widen the left side first, for example with `(u64)`"] if 0 <= count < 64 else ())
        if type(left) is tree.IntConst and count is not None:
            folded = apply(op, left.value, count, left.type)
            if folded is not None:
                return tree.IntConst(left.type, node.loc, node.end, reduce(folded, left.type))
        return tree.Binary(left.type, node.loc, node.end, op, left, right)

    @staticmethod
    def usual(left: tree.Expr, right: tree.Expr) -> tuple[tree.Expr, tree.Expr]:
        """Both operands after the usual arithmetic conversions."""
        t = common(promoted(left.type, bit_size_of(left)), promoted(right.type, bit_size_of(right)))
        return to_int(left, t), to_int(right, t)

    def compare(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        a, b = is_pointer(left.type), is_pointer(right.type)
        if a and b:
            if is_null(right) or (not is_null(left) and is_void(target_of(right.type))):
                right = cast(right, left.type)
            elif is_null(left) or is_void(target_of(left.type)):
                left = cast(left, right.type)
            else:
                if not C.same(left.type, right.type):
                    self.warn("C0230", node, f"comparison of {self.words(left.type)} with {self.words(right.type)}")
                right = cast(right, left.type)
        elif a or b:
            pointer, number = (left, right) if a else (right, left)
            if not is_integer(number.type):
                self.refuse("C0205", node, f"`{op}` cannot compare {self.words(left.type)} with {self.words(right.type)}")
            if not is_null(number):
                self.warn("C0232", node, f"comparison of a pointer ({self.words(pointer.type)}) with a number ({self.words(number.type)})")
            if a:
                right = cast(right, left.type)
            else:
                left = cast(left, right.type)
        elif is_integer(left.type) and is_integer(right.type):
            left, right = self.usual(left, right)
        else:
            self.refuse("C0205", node, f"`{op}` cannot compare {self.words(left.type)} with {self.words(right.type)}")
        return tree.Binary(C.INT, node.loc, node.end, op, left, right)

    def pointer_arithmetic(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        a, b = is_pointer(left.type), is_pointer(right.type)
        if a and b:
            if op == "+":
                self.refuse("C0205", node, "two pointers cannot be added")
            self.sized_target(left.type, node)
            size = C.size_of(target_of(left.type)) or 1
            if not C.same(left.type, right.type):
                if not (is_void(target_of(left.type)) or is_void(target_of(right.type))):
                    self.warn("C0230", node, f"difference of {self.words(left.type)} and {self.words(right.type)}")
                right = cast(right, left.type)
            return tree.PointerDiff(PTRDIFF_T, node.loc, node.end, left, right, size)
        if not a:
            if op == "-":
                self.refuse("C0205", node, "a pointer cannot be subtracted from a number")
            left, right = right, left
        if not is_integer(right.type):
            self.refuse("C0205", node, f"`{op}` cannot combine {self.words(left.type)} and {self.words(right.type)}")
        self.sized_target(left.type, node)
        return tree.PointerAdd(left.type, node.loc, node.end, left, self.index64(right), op == "-")

    @staticmethod
    def index64(e: tree.Expr) -> tree.Expr:
        return to_int(promote(e), C.LONG if promoted(e.type, bit_size_of(e)).signed else C.ULONG)

    def assign(self, node: ast.Assign) -> tree.Expr:
        target = self.lvalue(node.target)
        if target.type is POISON:
            self.value(node.value)
            raise Refused
        self.modifiable(target, node)
        t = unqualified(target.type)
        if node.op == "=":
            value = self.fit(self.value(node.value), t, node.value, "assigned to")
            if self.bcc is not None:
                self.bcc.flows(value, target)
            return tree.Assign(t, node.loc, node.end, target, value)
        op = node.op[:-1]
        value = self.value(node.value)
        if value.type is POISON:
            raise Refused
        if is_pointer(t) and op in ("+", "-"):
            if not is_integer(value.type):
                self.refuse("C0205", node, f"`{node.op}` cannot combine {self.words(t)} and {self.words(value.type)}")
            self.sized_target(t, node)
            return tree.Update(t, node.loc, node.end, op, target, self.index64(value), t)
        if not (is_integer(t) and is_integer(value.type)):
            self.refuse("C0205", node, f"`{node.op}` cannot combine {self.words(t)} and {self.words(value.type)}")
        own = promoted(t, bit_size_of(target))
        if op in ("<<", ">>"):
            computation, value = own, promote(value)
        else:
            computation = common(own, promoted(value.type, bit_size_of(value)))
            value = to_int(value, computation)
        return tree.Update(t, node.loc, node.end, op, target, value, computation)

    def fit(self, e: tree.Expr, t: CType, node: ast.Node | tree.Expr, what: str) -> tree.Expr:
        """The value ``e`` as type ``t``, by C's rules for assignment; ``what`` completes "a value of type X cannot be … Y"."""
        if e.type is POISON or t is POISON:
            return tree.IntConst(t, e.loc, e.end, 0) if is_scalar(t) else e
        source, target = C.strip(e.type), C.strip(t)
        if isinstance(target, C.Record):
            if source is target:
                return e
        elif isinstance(target, (C.Int, C.Enum)):
            if isinstance(source, (C.Int, C.Enum)):
                if type(e) is tree.IntConst:
                    self._check_fits(e, target, node)  # type: ignore[arg-type]
                return cast(e, t)
            if isinstance(source, C.Pointer):
                if not (isinstance(target, C.Int) and target.name == "_Bool"):
                    self.warn("C0232", node, f"a pointer ({self.words(e.type)}) is {what} {self.words(t)}",
                              helps=[f"write `({C.format_ctype(t)})` if that is meant"])
                return cast(e, t)
        elif isinstance(target, C.Pointer):
            if isinstance(source, C.Pointer):
                if not self.compatible_pointers(source, target):
                    self.warn("C0230", node, f"{self.words(e.type)} is {what} {self.words(t)}",
                              notes=["the two point to different types"])
                return cast(e, t)
            if isinstance(source, (C.Int, C.Enum)):
                if not is_null(e):
                    self.warn("C0232", node, f"a number ({self.words(e.type)}) is {what} {self.words(t)}",
                              helps=[f"write `({C.format_ctype(t)})` if that is meant"])
                return cast(e, t)
        elif isinstance(target, C.Void):
            return cast(e, t)
        self.refuse("C0206", node, f"a value of type {self.words(e.type)} cannot be {what} {self.words(t)}")

    def _check_fits(self, e: tree.IntConst, target: CType, node: ast.Node | tree.Expr) -> None:
        kind = int_of(target)
        bits = 8 * kind.size
        if kind.name != "_Bool" and not -(1 << (bits - 1)) <= e.value < 1 << bits:
            self.warn("C0234", node, f"{e.value} does not fit into {self.words(target)}: {reduce(e.value, target)} is stored")

    @staticmethod
    def compatible_pointers(source: C.Pointer, target: C.Pointer) -> bool:
        a, b = C.strip(source.target), C.strip(target.target)
        if isinstance(a, C.Void) or isinstance(b, C.Void) or C.same(a, b) or a is POISON or b is POISON:
            return True
        if isinstance(a, (C.Int, C.Enum)) and isinstance(b, (C.Int, C.Enum)):
            # char, signedness and `long` against `long long` are what clang says nothing (or only -Wpedantic things) about.
            return int_of(a).size == int_of(b).size
        if isinstance(a, C.Record) and isinstance(b, C.Record):
            return a.kind == b.kind and a.tag is not None and a.tag == b.tag
        if isinstance(a, C.Array) and isinstance(b, C.Array):
            return C.same(a.element, b.element)
        return isinstance(a, C.Pointer) and isinstance(b, C.Pointer) and ExprChecker.compatible_pointers(a, b)

    def conditional(self, node: ast.Conditional) -> tree.Expr:
        condition = self.scalar(node.condition, "the condition of `?:`")
        then = self.value(node.then) if node.then is not None else None
        otherwise = self.value(node.otherwise)
        first = then if then is not None else condition
        if first.type is POISON or otherwise.type is POISON:
            raise Refused
        t, a, b = self.unify(first, otherwise, node)
        if then is None:
            return tree.Conditional(t, node.loc, node.end, a, None, b)
        known = evaluate(condition)
        if known is not None and type(a) is tree.IntConst and type(b) is tree.IntConst:
            return a if known else b
        return tree.Conditional(t, node.loc, node.end, condition, a, b)

    def unify(self, a: tree.Expr, b: tree.Expr, node: ast.Node) -> tuple[CType, tree.Expr, tree.Expr]:
        """The type that two branches have in common, and both in it."""
        if is_integer(a.type) and is_integer(b.type):
            a, b = self.usual(a, b)
            return a.type, a, b
        p, q = is_pointer(a.type), is_pointer(b.type)
        if p and q:
            if is_null(a):
                return b.type, cast(a, b.type), b
            if is_null(b):
                return a.type, a, cast(b, a.type)
            if is_void(target_of(a.type)) or is_void(target_of(b.type)):
                t: CType = C.Pointer(C.VOID)
                return t, cast(a, t), cast(b, t)
            if not C.same(a.type, b.type):
                self.warn("C0230", node, f"the branches of `?:` are {self.words(a.type)} and {self.words(b.type)}")
            return a.type, a, cast(b, a.type)
        if p and is_integer(b.type):
            return a.type, a, self.fit(b, a.type, node, "combined by `?:` with")
        if q and is_integer(a.type):
            return b.type, self.fit(a, b.type, node, "combined by `?:` with"), b
        if is_void(a.type) or is_void(b.type):
            return C.VOID, cast(a, C.VOID), cast(b, C.VOID)
        if is_record(a.type) and C.strip(a.type) is C.strip(b.type):
            return a.type, a, b
        self.refuse("C0205", node, f"the branches of `?:` have types {self.words(a.type)} and {self.words(b.type)}, which have nothing in common")

    # ------------------------------------------------------------------------------------------ members, elements

    def index(self, node: ast.Index) -> tree.Expr:
        base = self.expr(node.base)
        if self.bcc is not None and isinstance(base, tree.VarRef) and self.bcc.map_of(base) is not None:
            self.refuse("C0402", node, f"`{base.variable.name}` is a map and cannot be indexed",
                        helps=[f"`{base.variable.name}.lookup(&key)` gives a pointer to the value"])
        if is_lvalue(base) and isinstance(array := C.strip(base.type), C.Array):
            index = self.integer(node.index, "an index")
            if index.type is POISON:
                raise Refused
            const, volatile = qualifiers(base.type)
            number = evaluate(index)
            if number is not None and array.count and not 0 <= number <= array.count and isinstance(base, tree.VarRef):
                self.warn("C0234", node.index, f"element {number} is outside of `{base.variable.name}`, which has {array.count}")
            return tree.ElementOf(qualified(array.element, const, volatile), node.loc, node.end, base, self.index64(index),
                                  _relocatable(base) or self.preserve > 0)
        pointer, index = self.rvalue(base), self.value(node.index)
        if pointer.type is POISON or index.type is POISON:
            raise Refused
        if is_integer(pointer.type) and is_pointer(index.type):
            pointer, index = index, pointer
        if not is_pointer(pointer.type):
            self.refuse("C0205", node, f"only arrays and pointers have elements, and this is {self.words(pointer.type)}")
        if not is_integer(index.type):
            self.refuse("C0205", node.index, f"an index has to be an integer, not {self.words(index.type)}")
        self.sized_target(pointer.type, node)
        at = tree.PointerAdd(pointer.type, node.loc, node.end, pointer, self.index64(index))
        return self.deref(at, node)

    def member(self, node: ast.Member) -> tree.Expr:
        base = self.expr(node.base)
        if base.type is POISON:
            raise Refused
        if node.arrow:
            pointer = self.rvalue(base)
            if not is_pointer(pointer.type):
                helps = [f"write `.{node.name}`"] if is_record(pointer.type) else []
                self.refuse("C0205", node, f"`->` wants a pointer, and this is {self.words(pointer.type)}", helps=helps)
            target = target_of(pointer.type)
            if not is_record(target):
                helps = []
                if is_void(target):
                    helps = ["cast it to a pointer to the struct that is there"]
                self.refuse("C0203", node, f"{self.words(pointer.type)} points to no struct, so there is no member `{node.name}`", helps=helps)
            base = tree.Deref(target, node.base.loc, node.base.end, pointer, qualifiers(target)[1])
        record = C.strip(base.type)
        if not isinstance(record, C.Record):
            helps = []
            if is_pointer(base.type) and is_record(target_of(base.type)):
                helps = [f"write `->{node.name}`: it is a pointer"]
            self.refuse("C0203", node, f"{self.words(base.type)} has no members, so there is no `{node.name}`", helps=helps)
        return self.select(base, record, node.name, node)

    def select(self, base: tree.Expr, record: C.Record, name: str, node: ast.Node) -> tree.Expr:
        """``base.name`` through anonymous records; ``base`` is an lvalue or a record value."""
        path = record.find(name)
        if path is None and self.bcc is not None and (real := self.bcc.member_alias(record, name)):
            for part in real:
                inner = C.strip(base.type)
                assert isinstance(inner, C.Record)
                base = self.select(base, inner, part, node)
            return base
        if path is None:
            if not record.complete:
                self.incomplete(node, record)
            helps = self.suggest(name, member_names(record))
            label = ""
            if isinstance(node, ast.Member) and node.name_loc:
                span_node = ast.Name(node.name_loc, node.name_loc + len(name), name)
                self.refuse("C0203", span_node, f"`{record.kind} {record.tag or '<anonymous>'}` has no member `{name}`", helps=helps, label=label)
            self.refuse("C0203", node, f"`{record.kind} {record.tag or '<anonymous>'}` has no member `{name}`", helps=helps)
        for field in path:
            if field.type is POISON:
                raise Refused
            const, volatile = qualifiers(base.type)
            inner = C.strip(base.type)
            relocatable = self.preserve > 0 or (isinstance(inner, C.Record) and inner.preserve_access)
            t = qualified(field.type, const, volatile)
            if is_lvalue(base):
                base = tree.Member(t, node.loc, node.end, base, field, relocatable)
            elif isinstance(C.strip(field.type), C.Array):
                base = tree.Member(t, node.loc, node.end, self.spill(base), field, False)
            else:
                base = tree.RecordValueMember(unqualified(field.type), node.loc, node.end, base, field)
        return base

    def spill(self, e: tree.Expr) -> tree.Expr:
        """A record value as an lvalue: a fresh variable that holds it."""
        v = self.new_local("", e.type, e)
        v.init = tree.Initializer(e.type, [tree.InitPart(0, e)], whole=True)
        return tree.CompoundLiteral(e.type, e.loc, e.end, v)

    # ---------------------------------------------------------------------------------------- casts, sizes, types

    def cast_expr(self, node: ast.Cast) -> tree.Expr:
        t = self.type_of(node.type)
        e = self.value(node.operand)
        return self.cast_value(e, t, node)

    def cast_value(self, e: tree.Expr, t: CType, node: ast.Node) -> tree.Expr:
        if e.type is POISON or t is POISON:
            raise Refused
        t = unqualified(t)
        source, target = C.strip(e.type), C.strip(t)
        if isinstance(target, C.Void):
            return e if isinstance(source, C.Void) else tree.Convert(t, node.loc, node.end, "void", e)
        if isinstance(target, C.Record) and source is target:
            return e
        if isinstance(target, C.Float) or isinstance(source, C.Float):
            self.refuse("C0215", node, "BPF has no floating-point numbers")
        if not is_scalar(t):
            self.refuse("C0206", node, f"nothing can be cast to {self.words(t)}")
        if not is_scalar(e.type):
            self.refuse("C0206", node, f"a value of type {self.words(e.type)} cannot be cast to {self.words(t)}")
        out = cast(e, t)
        if out is e and type(e) is tree.IntConst:
            return tree.IntConst(t, node.loc, node.end, e.value)
        out.loc, out.end = (node.loc, node.end) if out is not e else (out.loc, out.end)
        return out

    def compound_literal(self, node: ast.CompoundLiteral) -> tree.Expr:
        t = self.type_of(node.type)
        if t is POISON:
            raise Refused
        kind = "local" if self.function is not None else "global"
        v = tree.Variable(".compound" if kind == "global" else "", t, kind, node.loc, node.end, static=kind == "global")
        v.init = self.initializer(t, node.init, constant=kind == "global")
        v.type = v.init.type
        return tree.CompoundLiteral(v.type, node.loc, node.end, v)

    def initializer(self, t: CType, node: ast.Expr | ast.InitList, *, constant: bool) -> tree.Initializer:
        raise NotImplementedError

    def sizeof_type(self, node: ast.SizeofType) -> tree.Expr:
        return self.size_const(self.type_of(node.type), node)

    def sizeof_expr(self, node: ast.SizeofExpr) -> tree.Expr:
        e = self.unevaluated(node.operand)
        if bit_size_of(e) and is_lvalue(e):
            self.refuse("C0205", node, "a bit-field has no size in bytes")
        return self.size_const(e.type, node)

    def size_const(self, t: CType, node: ast.Node) -> tree.Expr:
        if t is POISON:
            raise Refused
        inner = C.strip(t)
        if isinstance(inner, (C.Void, C.Function)):
            return self.int_const(node, 1, SIZE_T)
        size = C.size_of(t)
        if size is None:
            if isinstance(inner, C.Record):
                self.incomplete(node, inner)
            self.refuse("C0211", node, f"the size of {self.words(t)} is not known")
        return self.int_const(node, size, SIZE_T)

    def alignof_type(self, node: ast.AlignofType) -> tree.Expr:
        return self.int_const(node, C.align_of(self.type_of(node.type)), SIZE_T)

    def offsetof(self, node: ast.Offsetof) -> tree.Expr:
        place = self.designated(self.type_of(node.type), node.designators, node)
        if bit_size_of(place):
            self.refuse("C0205", node, "a bit-field has no offset in bytes")
        assert isinstance(place, (tree.Member, tree.ElementOf, tree.Deref))
        offset = evaluate(self.address(place))
        if offset is None:
            return tree.Convert(SIZE_T, node.loc, node.end, "pointer_to_int", self.address(place))
        return self.int_const(node, offset, SIZE_T)

    def designated(self, t: CType, designators: Sequence[str | ast.Expr], node: ast.Node) -> tree.Expr:
        """The lvalue ``((t *)0)->a.b[2]``."""
        if t is POISON:
            raise Refused
        place: tree.Expr = tree.Deref(t, node.loc, node.end, tree.IntConst(C.Pointer(t), node.loc, node.end, 0))
        for d in designators:
            inner = C.strip(place.type)
            if isinstance(d, str):
                if not isinstance(inner, C.Record):
                    self.refuse("C0203", node, f"{self.words(place.type)} has no members, so there is no `{d}`")
                place = self.select(place, inner, d, node)
            else:
                if not isinstance(inner, C.Array):
                    self.refuse("C0205", node, f"{self.words(place.type)} has no elements")
                place = tree.ElementOf(inner.element, node.loc, node.end, place, self.index64(self.integer(d, "an index")), _relocatable(place))
        return place

    def statement_expr(self, node: ast.StmtExpr) -> tree.Expr:
        raise NotImplementedError

    def generic(self, node: ast.Generic) -> tree.Expr:
        control = self.value(node.control)
        default = None
        for wanted, choice in node.choices:
            if wanted is None:
                default = choice
            elif C.same(self.type_of(wanted), control.type):
                return self.expr(choice)
        if default is None:
            self.refuse("C0206", node, f"no choice of this `_Generic` is for {self.words(control.type)}", helps=["add a `default:`"])
        return self.expr(default)

    def type_arg(self, node: ast.TypeArg) -> tree.Expr:
        self.refuse("C0205", node, "a type stands where a value is wanted")

    # ---------------------------------------------------------------------------------------------------- calls

    def call(self, node: ast.Call) -> tree.Expr:
        function = node.function
        if isinstance(function, ast.Name):
            symbol = self.scope.find(function.name)
            if symbol is None:
                return self.call_known(node, function)
            if type(symbol) is tree.FunctionDecl:
                return self.call_function(node, symbol)
            if type(symbol) is tree.Variable:
                helper = helper_number(symbol)
                if helper:
                    signature = C.strip(target_of(symbol.type))
                    assert isinstance(signature, C.Function)
                    args = self.arguments(node, signature, function.name)
                    return tree.CallHelper(unqualified(signature.result), node.loc, node.end, helper, function.name, args)
            if type(symbol) is Alias and symbol.expr.type is POISON:
                for a in node.args:
                    self.expr(a)
                raise Refused
        elif isinstance(function, ast.Member) and self.bcc is not None:
            base = function.base
            if isinstance(base, ast.Name) and isinstance(v := self.scope.find(base.name), tree.Variable):
                a_map = self.bcc.maps.get(id(v))
                if a_map is not None:
                    if self.function is not None:
                        self.function.used.add(id(v))
                    return self.bcc.method(self, a_map, node, function)
        callee = self.value(function)
        if callee.type is POISON:
            raise Refused
        target = C.strip(target_of(callee.type)) if is_pointer(callee.type) else None
        if not isinstance(target, C.Function):
            self.refuse("C0210", function, f"this is {self.words(callee.type)} and cannot be called")
        args = self.arguments(node, target, "the function")
        number = evaluate(callee)
        if number is not None and 0 < number < 1 << 31:
            return tree.CallHelper(unqualified(target.result), node.loc, node.end, number, f"helper {number}", args)
        return tree.CallPointer(unqualified(target.result), node.loc, node.end, callee, args)

    def call_known(self, node: ast.Call, function: ast.Name) -> tree.Expr:
        """A call of something that the program does not declare: a builtin, a macro with meaning, a helper."""
        from ebpf.compiler.c.builtins import find_builtin

        name = function.name
        if self.bcc is not None:
            special = self.bcc.function(name)
            if special is not None:
                return special(self, node)
        builtin = find_builtin(name)
        if builtin is not None:
            return builtin(self, node)
        signature = self.helper_type(name)
        if signature is not None:
            number, t = signature
            return tree.CallHelper(unqualified(t.result), node.loc, node.end, number, name, self.arguments(node, t, name))
        self.unknown_function(node, function)
        raise Refused

    def helper_type(self, name: str) -> tuple[int, C.Function] | None:
        """Number and C type of the kernel helper ``name``."""
        if not name.startswith("bpf_"):
            return None
        from ebpf.abi.helpers import HELPERS_BY_NAME
        from ebpf.compiler.c.helper_types import function_type

        helper = HELPERS_BY_NAME.get(name)
        if helper is None:
            return None
        return helper.id, function_type(helper.signature, self)

    def call_helper(self, name: str, args: list[tree.Expr], node: ast.Node | tree.Expr, result: CType | None = None) -> tree.Expr:
        """A call of helper ``name`` with values that fit already, for what macros and methods become."""
        found = self.helper_type(name)
        assert found is not None, name
        number, t = found
        values = [cast(a, p) if is_scalar(a.type) else a for a, p in zip(args, t.parameters, strict=False)] + args[len(t.parameters):]
        call = tree.CallHelper(unqualified(t.result), node.loc, node.end, number, name, values)
        return call if result is None else cast(call, result)

    def unknown_function(self, node: ast.Call, function: ast.Name) -> None:
        from ebpf.abi.helpers import HELPERS_BY_NAME
        from ebpf.compiler.c.builtins import builtin_names

        name = function.name
        pool = [n for n, s in self.file_scope.names.items() if isinstance(s, tree.FunctionDecl)]
        pool += [*HELPERS_BY_NAME, *builtin_names()]
        if self.bcc is not None:
            pool += self.bcc.function_names()
        notes, helps = [], self.suggest(name, pool)
        if self.kernel.btf is not None and (found := self.kernel.function(name)) is not None:
            notes.append(f"`{name}` is a function of the kernel; BPF programs can only call those that the kernel offers them (kfuncs)")
            if self.bcc is None:
                helps.append(f"if it is a kfunc, declare it: `extern {C.format_ctype(found[0], name)} __ksym;`")
        elif name.startswith("bpf_"):
            notes.append("no helper of any kernel up to 7.2 has that name")
        self.error("C0201", function, f"there is no function `{name}`", notes=notes, helps=helps)
        self.file_scope.names[name] = Alias(self.poison(function))
        for a in node.args:
            if not isinstance(a, ast.TypeArg):
                self.expr(a)

    def call_function(self, node: ast.Call, decl: tree.FunctionDecl) -> tree.Expr:
        args = self.arguments(node, decl.type, f"`{decl.name}`")
        if decl.linkage == "program":
            self.refuse("C0210", node, f"`{decl.name}` is a program of its own and cannot be called",
                        helps=["put what both need into a `static` function"])
        if self.bcc is not None:
            self.bcc.passes(decl, args)
        return tree.CallFunction(unqualified(decl.type.result), node.loc, node.end, decl, args)

    def arguments(self, node: ast.Call, t: C.Function, name: str) -> list[tree.Expr]:
        wanted = t.parameters
        values = [self.value(a) for a in node.args]
        if len(values) < len(wanted) or (len(values) > len(wanted) and not t.variadic):
            some = "at least " if t.variadic else ""
            self.refuse("C0209", node, f"{name} takes {some}{len(wanted)} argument{'' if len(wanted) == 1 else 's'}, not {len(values)}",
                        notes=[f"it is `{C.format_ctype(t, name.strip('`') if '`' in name or name.startswith('bpf_') else 'f')}`"])
        out = []
        for i, e in enumerate(values):
            if i < len(wanted):
                out.append(self.fit(e, wanted[i], node.args[i], f"passed to parameter {_parameter(t, i)}of type"))
            elif is_integer(e.type):
                out.append(promote(e))
            else:
                out.append(e)
        return out


def _parameter(t: C.Function, i: int) -> str:
    return f"`{t.names[i]}` " if i < len(t.names) and t.names[i] else ""


def _relocatable(e: tree.Expr) -> bool:
    return isinstance(e, (tree.Member, tree.ElementOf)) and e.relocatable


def member_names(record: C.Record) -> list[str]:
    """All names that can follow a dot, those of anonymous records included."""
    record.ensure_complete()
    out: list[str] = []
    for f in record.fields:
        if f.name is not None:
            out.append(f.name)
        elif isinstance(inner := C.strip(f.type), C.Record):
            out += member_names(inner)
    return out


def helper_number(v: tree.Variable) -> int:
    """The helper that ``static long (*bpf_x)(…) = (void *)n;`` declares, 0 for any other variable."""
    if v.kind != "global" or v.init is None or not v.init.parts or not is_pointer(v.type):
        return 0
    if not isinstance(C.strip(target_of(v.type)), C.Function):
        return 0
    value = v.init.parts[0].value
    return value.value if isinstance(value, tree.IntConst) and 0 < value.value < 1 << 31 else 0


# Constants of the table whose value the kernel's BTF knows better: they moved between releases, or depend on the configuration.
_UNSTABLE = frozenset("DNAME_INLINE_LEN KSYM_NAME_LEN GFP_ATOMIC GFP_NOWAIT PF_VCPU PF_NOFREEZE".split())

_LITERAL_KINDS: dict[str, tuple[C.Int, ...]] = {
    "": (C.INT, C.UINT, C.LONG, C.ULONG), "u": (C.UINT, C.ULONG), "l": (C.LONG, C.ULONG), "ul": (C.ULONG,),
    "ll": (C.LLONG, C.ULLONG), "ull": (C.ULLONG,),
}

_EXPRS: dict[type, Callable[[ExprChecker, object], tree.Expr]] = {
    ast.Name: ExprChecker.name, ast.IntLiteral: ExprChecker.int_literal, ast.FloatLiteral: ExprChecker.float_literal,
    ast.CharLiteral: ExprChecker.char_literal, ast.StringLiteral: ExprChecker.string_literal, ast.Unary: ExprChecker.unary,
    ast.Binary: ExprChecker.binary, ast.Assign: ExprChecker.assign, ast.Conditional: ExprChecker.conditional,
    ast.Call: ExprChecker.call, ast.TypeArg: ExprChecker.type_arg, ast.Index: ExprChecker.index, ast.Member: ExprChecker.member,
    ast.Cast: ExprChecker.cast_expr, ast.CompoundLiteral: ExprChecker.compound_literal, ast.SizeofExpr: ExprChecker.sizeof_expr,
    ast.SizeofType: ExprChecker.sizeof_type, ast.AlignofType: ExprChecker.alignof_type, ast.Offsetof: ExprChecker.offsetof,
    ast.StmtExpr: lambda c, n: c.statement_expr(n), ast.Generic: ExprChecker.generic,  # type: ignore[arg-type]
}  # type: ignore[dict-item]
