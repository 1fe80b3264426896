"""Values and operators: literals, names, arithmetic, comparison, assignment, with every conversion spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import PTRDIFF_T, Refused
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
    qualifiers,
    target_of,
    to_int,
    unqualified,
)
from ebpf.compiler.c.scopes import Alias, EnumConstant
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    pass

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


class OperatorChecker(TypeChecker):
    """Adds literals, names, operators and `fit`."""

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
            self.refuse(
                "C0311", e, "a `void` has no value", helps=["cast the pointer to a pointer to the type that is there"]
            )
        if isinstance(inner, C.Record) and not inner.ensure_complete():
            self.incomplete(e, inner)
        if self.bcc is not None and self.bcc.is_external_place(e):
            return self.read_external(e)
        return tree.Convert(unqualified(e.type), e.loc, e.end, "load", e)

    def lvalue(self, node: ast.Expr) -> tree.Expr:
        e = self.expr(node)
        if not is_lvalue(e) and e.type is not POISON:
            self.refuse("C0307", node, "this is a value, not a place in memory")
        return e

    def scalar(self, node: ast.Expr, what: str) -> tree.Expr:
        """A scalar value: a condition, an operand of ``!``."""
        e = self.value(node)
        if not is_scalar(e.type):
            self.refuse("C0305", node, f"{what} has to be a number or a pointer, not {self.words(e.type)}")
        return e

    def integer(self, node: ast.Expr, what: str) -> tree.Expr:
        e = self.value(node)
        if not is_integer(e.type):
            self.refuse("C0305", node, f"{what} has to be an integer, not {self.words(e.type)}")
        return e

    def incomplete(self, node: ast.Node | tree.Expr, record: C.Record) -> None:
        helps = []
        notes = []
        if record.tag is not None:
            helps = self.suggest(
                record.tag,
                [t for k, t in self.own_tags if k == record.kind]
                + self.kernel.similar(record.tag, 4 if record.kind == "struct" else 5),
            )
            if self.kernel.btf is None:
                notes.append("this kernel has no BTF, so only the program's own types are known")
                helps = [*helps, "run a kernel that is built with CONFIG_DEBUG_INFO_BTF=y (as distributions' are), or "
                                 "hand this kernel's types to the compiler: ebpf.compile(..., btf=...)"]
            notes.append(f"neither the program nor the kernel's BTF defines `{record.kind} {record.tag}`")
        self.refuse(
            "C0311",
            node,
            f"the members of `{record.kind} {record.tag or '<anonymous>'}` are not known",
            notes=notes,
            helps=helps,
        )

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
        self.refuse("C0334", node, "this number does not fit into 64 bits")

    def char_literal(self, node: ast.CharLiteral) -> tree.Expr:
        return self.int_const(node, node.value)

    def float_literal(self, node: ast.FloatLiteral) -> tree.Expr:
        self.refuse(
            "C0315",
            node,
            "BPF has no floating-point numbers",
            helps=["count in a smaller unit: thousandths, nanoseconds"],
        )

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
            if symbol.body is None:
                self.references.append((node, symbol))
            return tree.FunctionRef(symbol.type, node.loc, node.end, symbol)
        if type(symbol) is EnumConstant:
            return tree.IntConst(symbol.type, node.loc, node.end, symbol.value)
        if type(symbol) is Alias:
            return symbol.expr
        if symbol is not None:
            self.refuse("C0301", node, f"`{node.name}` is a type, not a value")
        found = self.constant(node) or self._helper_address(node)
        if found is not None:
            return found
        self.unknown_name(node)
        raise Refused

    def _helper_address(self, node: ast.Name) -> tree.Expr | None:
        """A helper's name without a call: a pointer whose value is the helper's number, as libbpf declares it."""
        found = self.helper_type(node.name)
        if found is None:
            return None
        number, signature = found
        return cast(self.int_const(node, number, C.ULONG), C.Pointer(signature))

    def helper_type(self, name: str) -> tuple[int, C.Function] | None:
        raise NotImplementedError

    def constant(self, node: ast.Name) -> tree.Expr | None:
        """A constant of the kernel: one of our table's, or an enumerator of its BTF."""
        name = node.name
        if name in ("__func__", "__FUNCTION__") and self.function is not None:
            text = self.function.decl.name.encode() + b"\0"
            return tree.StringConst(C.Array(C.CHAR, len(text)), node.loc, node.end, text)
        if name.startswith("BPF_FUNC_"):
            from ebpf.abi.helpers import HELPERS_BY_NAME

            helper = HELPERS_BY_NAME.get("bpf_" + name[9:])
            if helper is not None:
                return self.int_const(node, helper.id)
        if name.startswith("BPF_MAP_TYPE_"):
            from ebpf.abi.maps import MapType

            map_type = MapType.named(name)
            if map_type is not None:
                return self.int_const(node, int(map_type))
        from ebpf.abi.constants import lookup_constant
        from ebpf.compiler.c.kernel_types import ABI_ARCH

        if name in _UNSTABLE and (moved := self._enumerator(node)) is not None:
            return moved
        version = self.facts.kernel_version
        value = lookup_constant(
            name, arch=ABI_ARCH.get(self.facts.arch, self.facts.arch), kernel=(version >> 16, version >> 8 & 255)
        )
        if isinstance(value, int):
            kind = (
                C.INT
                if -(1 << 31) <= value < 1 << 31
                else C.UINT
                if 0 <= value < 1 << 32
                else C.LONG
                if value < 1 << 63
                else C.ULONG
            )
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
        self.error("C0301", node, f"nothing is called `{node.name}`", helps=self.suggest(node.name, pool), notes=notes)
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
            value = e.value
            return tree.IntConst(e.type, node.loc, node.end, reduce(-value if op == "-" else ~value, e.type))
        return tree.Unary(e.type, node.loc, node.end, op, e)

    def address_of(self, node: ast.Unary) -> tree.Expr:
        e = self.expr(node.operand)
        if type(e) is tree.FunctionRef:
            return tree.Convert(C.Pointer(e.type), node.loc, node.end, "function", e)
        if e.type is POISON:
            return e
        if not is_lvalue(e):
            self.refuse(
                "C0307",
                node,
                "only a place in memory has an address, and this is a value",
                helps=["store the value in a variable first"],
            )
        if bit_size_of(e):
            self.refuse("C0305", node, "a bit-field has no address", helps=["copy it into a variable first"])
        return tree.AddressOf(C.Pointer(e.type), node.loc, node.end, e)

    def deref(self, pointer: tree.Expr, node: ast.Node) -> tree.Expr:
        """``*pointer``."""
        if not is_pointer(pointer.type):
            if pointer.type is POISON:
                raise Refused
            self.refuse("C0305", node, f"`*` wants a pointer, and this is {self.words(pointer.type)}")
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
            self.refuse("C0305", node, f"`{op}{op}` wants a number or a pointer, and this is {self.words(t)}")
        computation = promoted(t, bit_size_of(target))
        return tree.Update(
            t, node.loc, node.end, op, target, self.int_const(node, 1, computation), computation, postfix
        )

    def modifiable(self, target: tree.Expr, node: ast.Node) -> tree.Expr:
        if target.type is POISON:
            raise Refused
        inner = C.strip(target.type)
        if isinstance(inner, C.Array):
            self.refuse(
                "C0307", node, "an array cannot be assigned to", helps=["copy its bytes with `__builtin_memcpy`"]
            )
        if qualifiers(target.type)[0]:
            name = f"`{target.variable.name}`" if isinstance(target, tree.VarRef) else "this"
            self.refuse("C0307", node, f"{name} is const and cannot be changed")
        if isinstance(target, tree.StringConst):
            self.refuse("C0307", node, "a string constant cannot be changed")
        if isinstance(inner, C.Void):
            self.refuse("C0307", node, "a `void` cannot be assigned to")
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
            self.refuse(
                "C0305",
                node,
                f"`{op}` cannot combine {self.words(left.type)} and {self.words(right.type)}",
                notes=notes,
            )
        if op in ("<<", ">>"):
            left, right = promote(left), promote(right)
            return self._shift(op, left, right, node)
        left, right = self.usual(left, right)
        if type(left) is tree.IntConst and type(right) is tree.IntConst:
            folded = apply(op, left.value, right.value, left.type)
            if folded is not None:
                return tree.IntConst(left.type, node.loc, node.end, reduce(folded, left.type))
        if op in "/%" and evaluate(right) == 0:
            self.warn("C0334", right, "division by zero gives 0 in BPF", label="this is 0")
        return tree.Binary(left.type, node.loc, node.end, op, left, right)

    def _shift(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        width = 8 * int_of(left.type).size
        count = evaluate(right)
        if count is not None and not 0 <= count < width:
            self.warn(
                "C0334",
                right,
                f"a shift by {count} of a {width}-bit number is undefined",
                helps=["widen the left side first, for example with `(u64)`"] if 0 <= count < 64 else (),
            )
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
                    self.warn("C0330", node, f"comparison of {self.words(left.type)} with {self.words(right.type)}")
                right = cast(right, left.type)
        elif a or b:
            pointer, number = (left, right) if a else (right, left)
            if not is_integer(number.type):
                self.refuse(
                    "C0305", node, f"`{op}` cannot compare {self.words(left.type)} with {self.words(right.type)}"
                )
            if not is_null(number):
                self.warn(
                    "C0332",
                    node,
                    f"comparison of a pointer ({self.words(pointer.type)}) with a number ({self.words(number.type)})",
                )
            if a:
                right = cast(right, left.type)
            else:
                left = cast(left, right.type)
        elif is_integer(left.type) and is_integer(right.type):
            left, right = self.usual(left, right)
        else:
            self.refuse("C0305", node, f"`{op}` cannot compare {self.words(left.type)} with {self.words(right.type)}")
        return tree.Binary(C.INT, node.loc, node.end, op, left, right)

    def pointer_arithmetic(self, op: str, left: tree.Expr, right: tree.Expr, node: ast.Node) -> tree.Expr:
        a, b = is_pointer(left.type), is_pointer(right.type)
        if a and b:
            if op == "+":
                self.refuse("C0305", node, "two pointers cannot be added")
            self.sized_target(left.type, node)
            size = C.size_of(target_of(left.type)) or 1
            if not C.same(left.type, right.type):
                if not (is_void(target_of(left.type)) or is_void(target_of(right.type))):
                    self.warn("C0330", node, f"difference of {self.words(left.type)} and {self.words(right.type)}")
                right = cast(right, left.type)
            return tree.PointerDiff(PTRDIFF_T, node.loc, node.end, left, right, size)
        if not a:
            if op == "-":
                self.refuse("C0305", node, "a pointer cannot be subtracted from a number")
            left, right = right, left
        if not is_integer(right.type):
            self.refuse("C0305", node, f"`{op}` cannot combine {self.words(left.type)} and {self.words(right.type)}")
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
        if self.bcc is not None and self.bcc.is_packet(target):
            return self.bcc.packet_write(self, target, self.value(node.value), node.op[:-1], node)
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
                self.refuse("C0305", node, f"`{node.op}` cannot combine {self.words(t)} and {self.words(value.type)}")
            self.sized_target(t, node)
            return tree.Update(t, node.loc, node.end, op, target, self.index64(value), t)
        if not (is_integer(t) and is_integer(value.type)):
            self.refuse("C0305", node, f"`{node.op}` cannot combine {self.words(t)} and {self.words(value.type)}")
        own = promoted(t, bit_size_of(target))
        if op in ("<<", ">>"):
            computation, value = own, promote(value)
        else:
            computation = common(own, promoted(value.type, bit_size_of(value)))
            value = to_int(value, computation)
        return tree.Update(t, node.loc, node.end, op, target, value, computation)

    def fit(self, e: tree.Expr, t: CType, node: ast.Node | tree.Expr, what: str) -> tree.Expr:
        """The value ``e`` as type ``t``, by C's rules for assignment; ``what`` completes "a value of type X cannot
        be … Y".
        """
        if e.type is POISON or t is POISON:
            return tree.IntConst(t, e.loc, e.end, 0) if is_scalar(t) else e
        source, target = C.strip(e.type), C.strip(t)
        if isinstance(target, C.Record):
            if source is target:
                return e
        elif isinstance(target, (C.Int, C.Enum)):
            if isinstance(source, (C.Int, C.Enum)):
                if type(e) is tree.IntConst:
                    self._check_fits(e, t, node)
                return cast(e, t)
            if isinstance(source, C.Pointer):
                if not (isinstance(target, C.Int) and target.name == "_Bool"):
                    self.warn(
                        "C0332",
                        node,
                        f"a pointer ({self.words(e.type)}) is {what} {self.words(t)}",
                        helps=[f"write `({C.format_ctype(t)})` if that is meant"],
                    )
                return cast(e, t)
        elif isinstance(target, C.Pointer):
            if isinstance(source, C.Pointer):
                if not self.compatible_pointers(source, target):
                    self.warn(
                        "C0330",
                        node,
                        f"{self.words(e.type)} is {what} {self.words(t)}",
                        notes=["the two point to different types"],
                    )
                return cast(e, t)
            if isinstance(source, (C.Int, C.Enum)):
                if not is_null(e):
                    self.warn(
                        "C0332",
                        node,
                        f"a number ({self.words(e.type)}) is {what} {self.words(t)}",
                        helps=[f"write `({C.format_ctype(t)})` if that is meant"],
                    )
                return cast(e, t)
        elif isinstance(target, C.Void):
            return cast(e, t)
        self.refuse("C0306", node, f"a value of type {self.words(e.type)} cannot be {what} {self.words(t)}")

    def _check_fits(self, e: tree.IntConst, target: CType, node: ast.Node | tree.Expr) -> None:
        kind = int_of(target)
        bits = 8 * kind.size
        if kind.name != "_Bool" and not -(1 << (bits - 1)) <= e.value < 1 << bits:
            self.warn(
                "C0334", node, f"{e.value} does not fit into {self.words(target)}: {reduce(e.value, target)} is stored"
            )

    @staticmethod
    def compatible_pointers(source: C.Pointer, target: C.Pointer) -> bool:
        a, b = C.strip(source.target), C.strip(target.target)
        if isinstance(a, C.Void) or isinstance(b, C.Void) or C.same(a, b) or a is POISON or b is POISON:
            return True
        if isinstance(a, (C.Int, C.Enum)) and isinstance(b, (C.Int, C.Enum)):
            # char, signedness and `long` against `long long` are what clang says nothing (or only -Wpedantic things)
            # about.
            return int_of(a).size == int_of(b).size
        if isinstance(a, C.Record) and isinstance(b, C.Record):
            return a.kind == b.kind and a.tag is not None and a.tag == b.tag
        if isinstance(a, C.Array) and isinstance(b, C.Array):
            return C.same(a.element, b.element)
        return isinstance(a, C.Pointer) and isinstance(b, C.Pointer) and OperatorChecker.compatible_pointers(a, b)

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
                self.warn("C0330", node, f"the branches of `?:` are {self.words(a.type)} and {self.words(b.type)}")
            return a.type, a, cast(b, a.type)
        if p and is_integer(b.type):
            return a.type, a, self.fit(b, a.type, node, "combined by `?:` with")
        if q and is_integer(a.type):
            return b.type, self.fit(a, b.type, node, "combined by `?:` with"), b
        if is_void(a.type) or is_void(b.type):
            return C.VOID, cast(a, C.VOID), cast(b, C.VOID)
        if is_record(a.type) and C.strip(a.type) is C.strip(b.type):
            return a.type, a, b
        self.refuse(
            "C0305",
            node,
            f"the branches of `?:` are {self.words(a.type)} and {self.words(b.type)}, which have nothing in common",
        )


# Constants of the table whose value the kernel's BTF knows better: they moved between releases, or depend on the
# configuration.
_UNSTABLE = frozenset("DNAME_INLINE_LEN KSYM_NAME_LEN GFP_ATOMIC GFP_NOWAIT PF_VCPU PF_NOFREEZE".split())

_LITERAL_KINDS: dict[str, tuple[C.Int, ...]] = {
    "": (C.INT, C.UINT, C.LONG, C.ULONG),
    "u": (C.UINT, C.ULONG),
    "l": (C.LONG, C.ULONG),
    "ul": (C.ULONG,),
    "ll": (C.LLONG, C.ULLONG),
    "ull": (C.ULLONG,),
}
