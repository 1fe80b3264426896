"""Types as written → C types: lookup of names and tags, record layout (System V, as clang lays out for BPF), enums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import CheckerBase, Refused
from ebpf.compiler.c.conversions import POISON, decayed, is_integer, qualified
from ebpf.compiler.c.scopes import EnumConstant
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class TypeChecker(CheckerBase):
    """Adds `type_of`."""

    def type_of(self, node: ast.TypeExpr) -> CType:
        """The type that is written; `POISON` after a report."""
        try:
            return _TYPES[type(node)](self, node)
        except Refused:
            return POISON

    def builtin_type(self, node: ast.BuiltinType) -> CType:
        found = C.BUILTIN.get(node.name)
        if node.name == "__auto_type":
            self.refuse(
                "C0314",
                node,
                "a type may be left to the initial value only where a local variable gets one",
                helps=["write the type, or `typeof(value)`"],
            )
        if found is None:
            self.refuse("C0302", node, f"there is no type `{node.name}`")
        return found

    def named_type(self, node: ast.NamedType) -> CType:
        symbol = self.scope.find(node.name)
        if isinstance(symbol, C.Typedef):
            return symbol
        if symbol is None:
            found = self.lookup_typedef(node.name)
            if found is not None:
                return found
        pool = [n for n, s in self.file_scope.names.items() if isinstance(s, C.Typedef)]
        if self.kernel.has_tag("struct", node.name) or ("struct", node.name) in self.own_tags:
            helps = [f"write `struct {node.name}`"]
        else:
            from ebpf.abi.typedefs import TYPEDEFS

            helps = self.suggest(node.name, [*pool, *TYPEDEFS, *self.kernel.similar(node.name, 8)])
        self.refuse(
            "C0302",
            node,
            f"unknown type `{node.name}`",
            helps=helps,
            notes=()
            if self.kernel.btf is not None
            else ("this kernel has no BTF, so only the program's own types are known",),
        )

    def lookup_typedef(self, name: str) -> C.Typedef | None:
        """A typedef that the program does not make itself."""
        if self.bcc is not None and (found := self.bcc.typedef(name)) is not None:
            return found
        return self.kernel.typedef(name)

    def typeof_type(self, node: ast.TypeofType) -> CType:
        if node.type is not None:
            return self.type_of(node.type)
        assert node.expr is not None
        return self.unevaluated(node.expr).type

    def unevaluated(self, node: ast.Expr) -> tree.Expr:
        """``node`` where only its type is wanted."""
        return self.expr(node)

    def pointer_to(self, node: ast.PointerTo) -> CType:
        return C.Pointer(self.type_of(node.target))

    def array_of(self, node: ast.ArrayOf) -> CType:
        element = self.type_of(node.element)
        if isinstance(C.strip(element), (C.Void, C.Function)):
            self.refuse("C0314", node, f"an array cannot have elements of type {self.words(element)}")
        inner = C.strip(element)
        if isinstance(inner, C.Array) and inner.count is None:
            self.refuse("C0314", node, "only the first size of an array of arrays may be left out")
        if isinstance(inner, C.Record) and inner.tag is not None and not inner.ensure_complete():
            self.incomplete(node, inner)
        if node.size is None:
            return C.Array(element, None)
        size = self.value(node.size)
        if size.type is POISON:
            return C.Array(element, 1)
        count = self.constant_of(size)
        if count is None or not is_integer(size.type):
            self.error(
                "C0308",
                node.size,
                "the size of an array has to be a constant",
                notes=["a BPF stack has 512 bytes, so arrays of variable size do not exist"],
                helps=["give the largest size that is needed"],
            )
            return C.Array(element, 1)
        if count < 0:
            self.error("C0314", node.size, f"the size of this array is negative ({count})")
            count = 1
        return C.Array(element, count)

    def function_of(self, node: ast.FunctionOf) -> CType:
        result = self.type_of(node.result)
        if isinstance(C.strip(result), (C.Array, C.Function)):
            self.refuse("C0314", node.result, f"a function cannot return {self.words(result)}")
        parameters = node.parameters or []
        return C.Function(
            result,
            tuple(decayed(self.type_of(p.type)) for p in parameters),
            node.variadic,
            tuple(p.name or "" for p in parameters),
        )

    def qualified_type(self, node: ast.Qualified) -> CType:
        tags = tuple(_string(a.args[0]) for a in node.attributes if a.name == "btf_type_tag" and a.args)
        if "_Atomic" in node.qualifiers:
            self.error(
                "C0315",
                node,
                "`_Atomic` is not supported: plain operators would not be atomic",
                helps=["leave it out, and use `__sync_fetch_and_add(&x, n)` and its `__sync_` and `__atomic_` sisters"],
            )
        inner = self.type_of(node.type)
        if isinstance(inner, C.Record) and any(a.name == "preserve_access_index" for a in node.attributes):
            inner.preserve_access = True
        return qualified(inner, "const" in node.qualifiers, "volatile" in node.qualifiers, tags)

    # ------------------------------------------------------------------------------------------------ records

    def record_type(self, node: ast.RecordType) -> CType:
        record = self._record_shell(node)
        if node.members is None:
            return record
        if record.complete and record.loc == node.loc:
            return record  # of one definition, `struct s { … } a, b;`, the second declarator
        if record.complete and not record.from_btf:
            self.refuse(
                "C0304",
                node,
                f"`{node.kind} {node.tag}` is defined twice",
                related=[(record.loc, 0, "first defined here")] if record.loc else (),
            )
        record.loc = node.loc
        record.loader, record.from_btf = None, False
        record.fields.clear()
        attributes = {a.name: a for a in node.attributes}
        record.preserve_access = "preserve_access_index" in attributes
        record.packed = "packed" in attributes
        fields: list[tuple[C.Field, int, bool, bool]] = []
        names: dict[str, int] = {}
        for m in node.members:
            try:
                fields.append(self._member(record, m, len(fields), names))
            except Refused:
                if m.name is not None:  # it is there, if unusable: later uses shall not be reported
                    fields.append((C.Field(m.name, POISON, 0, 0, len(fields), m.loc), 0, False, False))
        align = self.alignment(attributes["aligned"]) if "aligned" in attributes else 0
        lay_out(record, fields, align)
        record.complete = True
        return record

    def _record_shell(self, node: ast.RecordType) -> C.Record:
        if node.tag is None:
            # By identity: a macro may write two structs at one place.
            known = self.anonymous.get(id(node))
            if not isinstance(known, C.Record):
                known = self.anonymous[id(node)] = C.Record(node.kind, None, loc=node.loc)
            return known
        defines = node.members is not None
        known = self.scope.tags.get(node.tag) if defines else self.scope.find_tag(node.tag)
        if known is not None:
            if not isinstance(known, C.Record) or known.kind != node.kind:
                kind = known.kind if isinstance(known, C.Record) else "enum"
                self.refuse("C0304", node, f"`{node.tag}` is a {kind}, not a {node.kind}")
            return known
        if not defines and (node.kind, node.tag) not in self.own_tags:
            record = (self.bcc.record(node.kind, node.tag) if self.bcc is not None else None) or self.kernel.record(
                node.kind, node.tag
            )
            self.file_scope.tags[node.tag] = record
            return record
        record = C.Record(node.kind, node.tag, loc=node.loc)
        (self.scope if defines else self.file_scope).tags[node.tag] = record
        return record

    def _member(
        self, record: C.Record, m: ast.MemberDecl, index: int, names: dict[str, int]
    ) -> tuple[C.Field, int, bool, bool]:
        type = self.type_of(m.type)
        if type is POISON:
            raise Refused
        inner = C.strip(type)
        if isinstance(inner, C.Function):
            self.refuse("C0314", m, "a member cannot be a function", helps=["make it a pointer to one"])
        if isinstance(inner, C.Record) and not inner.ensure_complete():
            self.refuse(
                "C0311",
                m,
                f"member `{m.name}` has type {self.words(type)}, whose members are not known",
                helps=[f"a pointer to it is possible: `{C.format_ctype(type)} *{m.name}`"],
            )
        if isinstance(inner, C.Void):
            self.refuse("C0314", m, f"member `{m.name}` has type `void`")
        if m.name is not None:
            if m.name in names:
                self.refuse("C0304", m, f"two members are called `{m.name}`", related=[(names[m.name], 0, "the first")])
            names[m.name] = m.loc
        width = 0
        if m.bit_width is not None:
            if not is_integer(type):
                self.refuse("C0314", m, f"a bit-field cannot have type {self.words(type)}")
            width_value = self.constant_of(self.value(m.bit_width))
            if width_value is None:
                self.refuse("C0308", m.bit_width, "the width of a bit-field has to be a constant")
            most = 1 if inner is C.BOOL else 8 * (C.size_of(type) or 0)
            if not 0 <= width_value <= most or (width_value == 0 and m.name is not None):
                self.refuse(
                    "C0314", m.bit_width, f"a bit-field of {self.words(type)} has 1 to {most} bits, not {width_value}"
                )
            width = width_value
        attributes = {a.name: a for a in m.attributes}
        align = self.alignment(attributes["aligned"]) if "aligned" in attributes else 0
        return (
            C.Field(m.name, type, 0, width, index, m.loc),
            align,
            "packed" in attributes or record.packed,
            m.bit_width is not None,
        )

    def alignment(self, attribute: ast.Attribute) -> int:
        """The bytes of ``aligned(n)``."""
        if not attribute.args:
            return 16
        value = self.constant_of(self.value(attribute.args[0]))
        if value is None or value <= 0 or value & (value - 1):
            self.error("C0317", attribute, "`aligned` takes a power of two")
            return 0
        return value

    # -------------------------------------------------------------------------------------------------- enums

    def enum_type(self, node: ast.EnumType) -> CType:
        if node.enumerators is None:
            assert node.tag is not None
            known = self.scope.find_tag(node.tag)
            if isinstance(known, C.Enum):
                return known
            found = None if ("enum", node.tag) in self.own_tags else self.kernel.enum(node.tag)
            if found is None:
                found = C.Enum(node.tag, C.UINT)
            self.file_scope.tags[node.tag] = found
            return found
        known = self.scope.tags.get(node.tag) if node.tag is not None else None
        if node.tag is None:
            known = self.anonymous.setdefault(id(node), C.Enum(None, C.UINT, loc=node.loc))
        elif isinstance(known, C.Enum) and known.complete and known.loc == node.loc:
            return known  # of one definition, `enum e { … } a, b;`, the second declarator
        elif known is not None and (not isinstance(known, C.Enum) or (known.complete and not known.from_btf)):
            self.refuse(
                "C0304", node, f"`enum {node.tag}` is defined twice", related=[(known.loc, 0, "first defined here")]
            )
        enum = known if isinstance(known, C.Enum) else C.Enum(node.tag, C.UINT, loc=node.loc)
        enum.values, enum.from_btf, enum.loc = {}, False, node.loc
        if node.tag is not None:
            self.scope.tags[node.tag] = enum
        value = -1
        constants = []
        for e in node.enumerators:
            value += 1
            if e.value is not None:
                given = self.value(e.value)
                folded = self.constant_of(given)
                if folded is not None:
                    value = folded
                elif given.type is not POISON:
                    self.error("C0308", e.value, f"the value of enumerator `{e.name}` has to be a constant")
            enum.values[e.name] = value
            constants.append(EnumConstant(e.name, value, C.INT, enum))
            self.scope.names[e.name] = constants[-1]
        low, high = min(enum.values.values(), default=0), max(enum.values.values(), default=0)
        if low < 0:
            enum.underlying = C.INT if low >= -(1 << 31) and high < 1 << 31 else C.LONG
        else:
            enum.underlying = C.UINT if high < 1 << 32 else C.ULONG
        if any(a.name == "packed" for a in node.attributes):
            enum.underlying = next(
                t
                for t in ((C.SCHAR, C.SHORT, enum.underlying) if low < 0 else (C.UCHAR, C.USHORT, enum.underlying))
                if high < 1 << (8 * t.size - (low < 0)) and low >= -(1 << (8 * t.size - 1))
            )
        if node.underlying is not None:
            self._fixed_enum(node, enum, constants)
        enum.complete = True
        for constant in constants if node.underlying is None else ():
            if not -(1 << 31) <= constant.value < 1 << 31:
                constant.type = enum.underlying
        return enum


    def _fixed_enum(self, node: ast.EnumType, enum: C.Enum, constants: list[EnumConstant]) -> None:
        """C23's ``enum e : u8 { … }``: type and enumerators are what is written."""
        assert node.underlying is not None
        t = C.strip(self.type_of(node.underlying))
        if not isinstance(t, C.Int):
            self.refuse("C0314", node.underlying, f"an enum is made of integers, not of {self.words(t)}")
        low, high = (-(1 << 8 * t.size - 1), 1 << 8 * t.size - 1) if t.signed else (0, 1 << 8 * t.size)
        for constant in constants:
            if not low <= constant.value < high:
                name, value = constant.name, constant.value
                self.error("C0308", node, f"enumerator `{name}` is {value}, which {self.words(t)} lacks")
            constant.type = t
        enum.underlying = t


def _string(e: ast.Expr) -> str:
    return e.value.decode(errors="replace") if isinstance(e, ast.StringLiteral) else ""


def lay_out(record: C.Record, fields: Sequence[tuple[C.Field, int, bool, bool]], aligned: int) -> None:
    """Place ``fields`` — each with the alignment asked for it, whether it is packed, whether it is a bit-field —
    and size the record.
    """
    at, align, size = 0, 1, 0
    for field, asked, packed, is_bits in fields:
        if record.kind == "union":
            at = 0
        natural = 1 if packed else C.align_of(field.type)
        natural = max(natural, asked)
        unit = 8 * (C.size_of(field.type) or 0)
        if is_bits and field.bit_size == 0:  # `int : 0` ends the unit
            at = _up(at, 8 * C.align_of(field.type))
            field.bit_offset = at
            record.fields.append(field)
            continue
        if is_bits:
            if asked:
                at = _up(at, 8 * asked)
            elif not packed and at // unit != (at + field.bit_size - 1) // unit:
                at = _up(at, unit)
            field.bit_offset = at
            at += field.bit_size
            if field.name is not None:
                align = max(align, natural)
        else:
            at = _up(at, 8 * natural)
            field.bit_offset = at
            at += unit
            align = max(align, natural)
        size = max(size, at)
        record.fields.append(field)
    record.align = max(align, aligned)
    record.size = _up((size + 7) // 8, record.align)


def _up(value: int, step: int) -> int:
    return (value + step - 1) // step * step


_TYPES: dict[type, Callable[[TypeChecker, Any], CType]] = {
    ast.BuiltinType: TypeChecker.builtin_type,
    ast.NamedType: TypeChecker.named_type,
    ast.RecordType: TypeChecker.record_type,
    ast.EnumType: TypeChecker.enum_type,
    ast.TypeofType: TypeChecker.typeof_type,
    ast.PointerTo: TypeChecker.pointer_to,
    ast.ArrayOf: TypeChecker.array_of,
    ast.FunctionOf: TypeChecker.function_of,
    ast.Qualified: TypeChecker.qualified_type,
}
