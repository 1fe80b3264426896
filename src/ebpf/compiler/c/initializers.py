"""Initialisers (C17 6.7.9, GNU ranges): what is written → bytes at offsets."""

from __future__ import annotations

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_access import member_names
from ebpf.compiler.c.checker_base import Refused
from ebpf.compiler.c.checker_expr import ExprChecker
from ebpf.compiler.c.constexpr import constant as constant_form, evaluate
from ebpf.compiler.c.conversions import POISON, is_record, is_scalar, qualified, qualifiers, unqualified
from ebpf.compiler.c.types import CType


class _Items:
    """The items of one brace level, consumed from the front; deeper objects without braces take from the same list."""

    __slots__ = ("at", "end", "items")

    def __init__(self, items: list[ast.InitItem]) -> None:
        self.items = items
        self.at = 0
        self.end = 0  # of the last byte written so far: in order, nothing is ever written twice

    def peek(self) -> ast.InitItem | None:
        return self.items[self.at] if self.at < len(self.items) else None


class InitChecker(ExprChecker):
    """Adds `initializer`."""

    def initializer(self, t: CType, node: ast.Expr | ast.InitList, *, constant: bool) -> tree.Initializer:
        """``node`` as the initial value of an object of type ``t``; the result's type has the size of ``[]`` filled
        in.
        """
        parts: list[tree.InitPart] = []
        inner = C.strip(t)
        whole = False
        extent = 0
        if isinstance(inner, C.Array) and (text := _string(node)) is not None and _is_char(inner.element):
            extent = self._string_part(inner, text, 0, parts)
        elif isinstance(node, ast.InitList):
            extent = self._braced(t, node, 0, parts, constant)
        elif isinstance(inner, C.Array):
            e = self.expr(node)
            if (
                isinstance(e, tree.CompoundLiteral)
                and isinstance(C.strip(e.type), C.Array)
                and e.variable.init is not None
            ):
                return e.variable.init
            self.refuse("C0312", node, f"{self.words(t)} is initialised with a list in braces", helps=["write `{ … }`"])
        else:
            value = self.fit(self.value(node), unqualified(t), node, "used to initialise")
            if value.type is POISON:
                raise Refused
            whole = is_record(t)
            parts.append(tree.InitPart(0, self._constant(value, node) if constant else value))
            if (
                constant
                and whole
                and isinstance(value, tree.Convert)
                and isinstance(value.operand, tree.CompoundLiteral)
            ):
                init = value.operand.variable.init
                assert init is not None
                return init
        if isinstance(inner, C.Array) and inner.count is None:
            size = C.size_of(inner.element) or 1
            const, volatile = qualifiers(t)
            t = qualified(C.Array(inner.element, (extent + size - 1) // size), const, volatile)
        return tree.Initializer(t, parts, whole)

    def _constant(self, e: tree.Expr, node: ast.Node) -> tree.Expr:
        if isinstance(e, tree.Convert) and isinstance(e.operand, tree.CompoundLiteral) and is_record(e.type):
            return e
        form = constant_form(e)
        if form is None:
            if e.type is POISON:
                raise Refused
            self.refuse(
                "C0308",
                node,
                "the initial value of a global has to be a constant",
                helps=["assign it in a program, or store it from Python before loading"],
            )
        return form

    def _string_part(self, array: C.Array, text: ast.StringLiteral, offset: int, parts: list[tree.InitPart]) -> int:
        value = text.value + b"\0"
        if array.count is not None and len(value) > array.count:
            if len(text.value) > array.count:
                self.error("C0312", text, f"the string has {len(text.value)} bytes and the array {array.count}")
            value = value[: array.count]
        parts.append(tree.InitPart(offset, tree.StringConst(C.Array(C.CHAR, len(value)), text.loc, text.end, value)))
        return offset + len(value)

    def _braced(self, t: CType, node: ast.InitList, offset: int, parts: list[tree.InitPart], constant: bool) -> int:
        """``{ … }`` for an object of type ``t`` at ``offset``; returns where the last byte written ends."""
        inner = C.strip(t)
        if isinstance(inner, (C.Record, C.Array)):
            if (
                isinstance(inner, C.Array)
                and len(node.items) == 1
                and not node.items[0].designators
                and _is_char(inner.element)
                and (text := _string(node.items[0].value)) is not None
            ):
                return self._string_part(inner, text, offset, parts)
            items = _Items(node.items)
            end = self._fill(t, items, offset, parts, constant, [])
            extra = items.peek()
            if extra is not None:
                self.error("C0312", extra, f"too many initial values for {self.words(t)}")
            return end
        if len(node.items) > 1:
            self.error("C0312", node.items[1], f"too many initial values for {self.words(t)}")
        if node.items:
            self._item(t, node.items[0].value, offset, None, parts, constant)
        return offset + (C.size_of(t) or 0)

    def _item(
        self,
        t: CType,
        node: ast.Expr | ast.InitList,
        offset: int,
        field: C.Field | None,
        parts: list[tree.InitPart],
        constant: bool,
        value: tree.Expr | None = None,
    ) -> int:
        """One written value for the object (or bit-field) at ``offset``."""
        inner = C.strip(t)
        if isinstance(inner, C.Array) and (text := _string(node)) is not None and _is_char(inner.element):
            return self._string_part(inner, text, offset, parts)
        if isinstance(node, ast.InitList):
            # Later values for the same bytes win, and a list in braces zeroes the rest of its object.
            return self._braced(t, node, offset, parts, constant)
        try:
            e = self.fit(value if value is not None else self.value(node), unqualified(t), node, "used to initialise")
            if constant:
                e = self._constant(e, node)
            if e.type is not POISON or not is_record(t):
                parts.append(tree.InitPart(offset, e, field))
        except Refused:
            pass
        return offset + (C.size_of(t) or 0)

    def _fill(
        self,
        t: CType,
        items: _Items,
        offset: int,
        parts: list[tree.InitPart],
        constant: bool,
        path: list[str | ast.Expr | tuple[ast.Expr, ast.Expr]],
        *,
        elided: bool = False,
    ) -> int:
        """Values for the members or elements of ``t`` at ``offset``, from ``items`` until they or the places end.

        ``path`` is the rest of a designator that says where to begin; ``elided``: there are no braces of our own, so
        a further
        designator belongs to somebody outside.
        """
        inner = C.strip(t)
        assert isinstance(inner, (C.Record, C.Array))
        if isinstance(inner, C.Record) and not inner.ensure_complete():
            self.incomplete(items.items[0] if items.items else ast.Node(0, 0), inner)
        places = _Places(inner)
        index, end = 0, offset
        first = True
        while True:
            item = items.peek()
            if item is None:
                break
            designators = path if first and path else item.designators
            last = None
            if designators and (not elided or (first and path)):
                try:
                    index, last, designators = self._designate(inner, designators, item)
                except Refused:
                    items.at += 1
                    first = False
                    continue
            elif designators and not first:
                break
            elif designators and elided and not path:
                break
            else:
                designators = []
            if index >= places.count:
                if elided:
                    break
                return end
            first = False
            at, count = items.at, 1 if last is None else last - index + 1
            for _ in range(count):
                items.at = at
                field_type, position, field = places.at(index)
                at_byte = offset + position
                if at_byte < items.end and isinstance(item.value, ast.InitList) and not designators:
                    _forget(parts, at_byte, C.size_of(field_type) or 0, field)
                end = max(end, self._place(field_type, at_byte, field, items, item, designators, parts, constant))
                items.end = max(items.end, end)
                index += 1
            if isinstance(inner, C.Record) and inner.kind == "union":
                if elided:
                    break
                index = places.count
        return end

    def _place(
        self,
        t: CType,
        offset: int,
        field: C.Field | None,
        items: _Items,
        item: ast.InitItem,
        rest: list[str | ast.Expr | tuple[ast.Expr, ast.Expr]],
        parts: list[tree.InitPart],
        constant: bool,
    ) -> int:
        """The value for one member or element: braces, a whole value, or as many items as it has places."""
        inner = C.strip(t)
        aggregate = isinstance(inner, (C.Record, C.Array))
        if rest:
            if not aggregate:
                items.at += 1
                self.error("C0312", item, f"{self.words(t)} has neither members nor elements")
                return offset
            return self._fill(t, items, offset, parts, constant, rest, elided=True)
        node = item.value
        if not aggregate or isinstance(node, ast.InitList):
            items.at += 1
            return self._item(t, node, offset, field if field is not None and field.bit_size else None, parts, constant)
        if isinstance(inner, C.Array) and _string(node) is not None and _is_char(inner.element):
            items.at += 1
            return self._item(t, node, offset, None, parts, constant)
        value = None
        if isinstance(inner, C.Record):
            value = self.value(node)
            if C.strip(value.type) is inner or value.type is POISON:
                items.at += 1
                return self._item(t, node, offset, None, parts, constant, value)
        return self._fill(t, items, offset, parts, constant, [], elided=True)

    def _designate(
        self,
        t: C.Record | C.Array,
        designators: list[str | ast.Expr | tuple[ast.Expr, ast.Expr]],
        item: ast.InitItem,
    ) -> tuple[int, int | None, list[str | ast.Expr | tuple[ast.Expr, ast.Expr]]]:
        """Index of the first place that ``designators`` name, the last of a range, and the designators within it."""
        d, rest = designators[0], list(designators[1:])
        if isinstance(d, str):
            if not isinstance(t, C.Record):
                self.refuse("C0312", item, f"{self.words(t)} has no member `{d}`")
            path = t.find(d)
            if path is None:
                self.refuse(
                    "C0303",
                    item,
                    f"`{t.kind} {t.tag or '<anonymous>'}` has no member `{d}`",
                    helps=self.suggest(d, member_names(t)),
                )
            if len(path) > 1:  # inside an anonymous record: name it again there
                rest = [d, *rest]
            return _Places(t).index_of(path[0]), None, rest
        if not isinstance(t, C.Array):
            self.refuse("C0312", item, f"{self.words(t)} has no elements")
        bounds = d if isinstance(d, tuple) else (d, d)
        numbers = []
        for e in bounds:
            number = evaluate(self.value(e))
            if number is None:
                self.refuse("C0308", e, "an index here has to be a constant")
            if number < 0 or (t.count is not None and number >= t.count):
                self.refuse("C0312", e, f"{self.words(t)} has no element {number}")
            numbers.append(number)
        if numbers[1] < numbers[0]:
            self.refuse("C0312", item, f"the range {numbers[0]} ... {numbers[1]} is empty")
        return numbers[0], numbers[1] if isinstance(d, tuple) else None, rest


class _Places:
    """The members or elements of an aggregate that values go to, by position."""

    __slots__ = ("count", "element", "fields", "size")

    def __init__(self, t: C.Record | C.Array) -> None:
        self.fields: list[C.Field] | None = None
        self.size = 0
        self.element: CType = C.VOID
        if isinstance(t, C.Array):
            self.element = t.element
            self.size = C.size_of(t.element) or 0
            self.count = t.count if t.count is not None else 1 << 62
        else:
            self.fields = [f for f in t.fields if f.name is not None or is_record(f.type)]
            self.count = len(self.fields)

    def at(self, index: int) -> tuple[CType, int, C.Field | None]:
        """Type and byte offset of a place, and its field. A bit-field's offset is that of the record, as `InitPart`
        wants it.
        """
        if self.fields is None:
            return self.element, index * self.size, None
        f = self.fields[index]
        return f.type, 0 if f.bit_size else f.bit_offset // 8, f

    def index_of(self, field: C.Field) -> int:
        assert self.fields is not None
        return self.fields.index(field)


def _forget(parts: list[tree.InitPart], offset: int, size: int, field: C.Field | None) -> None:
    """Drop what was written into an object before a list in braces begins it anew."""
    if field is None or not field.bit_size:
        parts[:] = [
            p
            for p in parts
            if not offset <= p.offset + (p.field.bit_offset // 8 if p.field is not None else 0) < offset + size
        ]


def _string(node: ast.Expr | ast.InitList) -> ast.StringLiteral | None:
    return node if isinstance(node, ast.StringLiteral) else None


def _is_char(t: CType) -> bool:
    t = C.strip(t)
    return isinstance(t, C.Int) and t.size == 1 and is_scalar(t) and t.name != "_Bool"
