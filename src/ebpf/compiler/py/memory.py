"""Values out of memory and into it: members, elements, probe reads, conversions to the type of what is stored."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import ast as c_ast, tree, types as C
from ebpf.compiler.c.builtins_core import PROBE_READ_KERNEL, PROBE_READ_USER, read_value
from ebpf.compiler.c.checker_access import member_names
from ebpf.compiler.c.conversions import bit_size_of, cast
from ebpf.compiler.py import types as P
from ebpf.compiler.py.emit import VOID_POINTER, Emitter
from ebpf.compiler.py.values import (
    BTF,
    CONTEXT,
    I64,
    KERNEL,
    OWN,
    U64,
    USER,
    Const,
    Entry,
    Format,
    Int,
    IntTy,
    Maybe,
    Ref,
    Tuple,
    Value,
    ty_of_ctype,
    words,
)
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

READ = {KERNEL: PROBE_READ_KERNEL, USER: PROBE_READ_USER}
_READ_HELPER = {KERNEL: "bpf_probe_read_kernel", USER: "bpf_probe_read_user"}
_TEXT_HELPER = {KERNEL: "bpf_probe_read_kernel_str", USER: "bpf_probe_read_user_str"}
_COPY_LIMIT = 1024


class Into:
    """Where a value is wanted: an lvalue, and whether it is all zeroes already; its alignment where more is known of
    it than its type says.
    """

    __slots__ = ("align", "clean", "place")

    def __init__(self, place: tree.Expr, clean: bool, align: int = 1) -> None:
        self.place, self.clean, self.align = place, clean, align


class Memory(Emitter):
    def expr(self, node: ast.expr, into: Into | None = None) -> Value:
        raise NotImplementedError

    def entry_value(self, entry: Entry, node: ast.AST) -> Value:
        raise NotImplementedError

    def format_into(self, v: Format, place: tree.Expr, size: int, node: ast.AST) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------ reading

    def at_place(self, place: tree.Expr, space: str, py: Any = None) -> Value:
        """The value at an lvalue: numbers are read now, of what is larger the place is kept."""
        t = place.type
        inner = C.strip(t)
        ty = ty_of_ctype(t)
        if ty is not None:
            bits = bit_size_of(place)
            value = Int(ty, self.temp(self._loaded(place, space)), bits if bits and not ty.signed else None)
            return self._swapped(value) if isinstance(py, P.IntType) and py.big else value
        if isinstance(inner, C.Pointer):
            loaded = self.temp(self._loaded(place, space))
            return Ref(loaded, inner.target, self.pointee(t, space), pointer=True)
        if isinstance(inner, (C.Record, C.Array)):
            return Ref(self.address(place), t if isinstance(inner, C.Array) else inner, space, py)
        if isinstance(inner, C.Int):  # 128 bits
            return Ref(self.address(place), t, space)
        return Const(None)

    def _loaded(self, place: tree.Expr, space: str) -> tree.Expr:
        helper = READ.get(space)
        if helper is None:
            return self.load(place)
        return read_value(self.c, place, helper, c_ast.Node(self.loc, self.end))

    def pointee(self, t: C.CType, space: str) -> str:
        """The memory that a pointer found in ``space`` leads to."""
        inner = C.strip(t)
        if _has_tag(t, "user") or (isinstance(inner, C.Pointer) and _has_tag(inner.target, "user")):
            return USER
        if space in (BTF, CONTEXT):
            target = C.strip(inner.target) if isinstance(inner, C.Pointer) else None
            return BTF if isinstance(target, C.Record) else KERNEL
        return USER if space == USER else KERNEL

    def _swapped(self, v: Int) -> Int:
        """The same number with its bytes the other way round."""
        name = f"bswap{8 * v.ty.size}"
        return Int(v.ty, self.temp(tree.Builtin(v.ty.ctype, self.loc, self.end, name, [cast(v.e, v.ty.ctype)])))

    def swap(self, e: tree.Expr, size: int) -> tree.Expr:
        t = {2: C.USHORT, 4: C.UINT, 8: C.ULONG}[size]
        if isinstance(e, tree.IntConst):
            raw = (e.value & (1 << 8 * size) - 1).to_bytes(size, "little")
            return self.const(int.from_bytes(raw, "big"), t)
        return tree.Builtin(t, self.loc, self.end, f"bswap{8 * size}", [cast(e, t)])

    def place_of(self, v: Ref) -> tree.Expr:
        return self.deref(v.e, v.t)

    def member(self, v: Ref, name: str, node: ast.AST) -> tuple[tree.Expr, Any]:
        """The lvalue of a struct's member, and its type of ours."""
        record = C.strip(v.t)
        self.not_none(v, node.value if isinstance(node, ast.Attribute) and node.attr == name else node)
        if not isinstance(record, C.Record):
            self.refuse(
                "P0209",
                node,
                f"{words(v)} has no members, so there is no `{name}`",
                helps=["`cast(linux.some_struct, x)` says what is there"] if v.pointer else [],
            )
        found = self.select(self.place_of(v), record, name)
        if found is None:
            known = member_names(record) if record.ensure_complete() else []
            close = did_you_mean(name, known)
            helps = [f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else []
            if not helps and known:
                helps = [f"it has {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"]
            self.refuse("P0209", node, f"{words(Ref(v.e, v.t, v.space, v.py))} has no member `{name}`", helps=helps)
        py = v.py.fields[name].type if isinstance(v.py, P.StructType) else None
        return found, py

    def element(self, v: Ref, index: Value, node: ast.AST) -> tuple[tree.Expr, Any]:
        """The lvalue of an element of an array, or behind a pointer."""
        self.not_none(v, node)
        inner = C.strip(v.t)
        py = v.py.element if isinstance(v.py, P.ArrayType) else None
        if isinstance(index, Const) and isinstance(index.value, int):
            number = int(index.value)
            if isinstance(inner, C.Array) and not v.pointer and inner.count:
                count = inner.count
                if not -count <= number < count:
                    self.refuse(
                        "P0215",
                        node,
                        f"index {number} is outside of {words(v)}",
                        helps=[f"indexes go from 0 to {count - 1}"],
                    )
                number %= count
            at: tree.Expr = self.const(number)
        else:
            at = cast(self.number(index, node).e, C.LONG)
        if isinstance(inner, C.Array) and not v.pointer:
            place = self.place_of(v)
            relocatable = isinstance(place, tree.Member) and place.relocatable
            return tree.ElementOf(inner.element, self.loc, self.end, place, at, relocatable), py
        if v.pointer:
            base = cast(v.e, C.Pointer(v.t))
            return self.deref(tree.PointerAdd(base.type, self.loc, self.end, base, at), v.t), py
        self.refuse("P0207", node, f"{words(v)} has no elements")

    # --------------------------------------------------------------------------------------------------- questions

    def not_none(self, v: Value, node: ast.AST) -> None:
        """Refuse what nobody has asked yet whether it is None."""
        if isinstance(v, Maybe) or (isinstance(v, Ref) and v.nullable):
            named = f"`{ast.unparse(node)}`" if isinstance(node, (ast.Name, ast.Attribute)) else "this"
            self.refuse(
                "P0212",
                node,
                f"{named} is {words(v)}",
                label="may be None here",
                helps=[
                    f"ask first: `if {ast.unparse(node)} is None: return`"
                    if isinstance(node, ast.Name)
                    else "give it a name, and ask: `if v is None: return`"
                ],
            )

    def number(self, v: Value, node: ast.AST, what: str = "a number") -> Int:
        """``v`` as a number; literals are i64, or u64 where only that holds them."""
        if isinstance(v, Entry):
            v = self.entry_value(v, node)
        if isinstance(v, Int):
            return v
        if isinstance(v, Const) and isinstance(v.value, int):
            value = int(v.value)
            ty = I64 if I64.holds(value) else U64
            if not ty.holds(value):
                self.refuse("P0205", node, f"{value} does not fit in 64 bits")
            return Int(ty, self.const(value, ty.ctype), value.bit_length() if value >= 0 else None, soft=True)
        self.not_none(v, node)
        if isinstance(v, Ref) and v.pointer:
            return Int(U64, cast(v.e, C.ULONG))
        helps = []
        if isinstance(v, Const) and isinstance(v.value, float):
            helps = ["programs have no floating point: count in smaller units"]
        self.refuse("P0204", node, f"{what} is wanted here, and this is {words(v)}", helps=helps)

    def int_as(self, v: Value, ty: IntTy, node: ast.AST, what: str) -> tree.Expr:
        """``v`` as a value of type ``ty``, where nothing of it is lost; ``what`` is what gets it, for the message."""
        if isinstance(v, Const) and isinstance(v.value, int):
            value = int(v.value)
            if not ty.holds(value):
                unsigned = value < 0 and not ty.signed and value >= -(1 << 8 * ty.size - 1)
                wrapped = ty.wrap(value)
                self.refuse(
                    "P0205",
                    node,
                    f"{value} does not fit in {what}, {_a(ty)} ({ty.minimum} to {ty.maximum})",
                    helps=[
                        f"`{ty}({value})` is {wrapped}, if that is meant"
                        if unsigned or ty is not U64
                        else "use a wider type"
                    ],
                )
            return self.const(value, ty.ctype)
        if isinstance(v, Ref) and v.pointer and v.nullable is False and ty.size == 8:
            return cast(v.e, ty.ctype)
        number = self.number(v, node, f"a number for {what}")
        have = number.ty
        if ty.boolean and not have.boolean:
            self.refuse(
                "P0204",
                node,
                f"{what} is a bool, and this is {words(number)}",
                helps=[f"`{ast.unparse(node)} != 0` asks whether it is zero"],
            )
        room = 8 * ty.size - ty.signed
        fits = have.size <= ty.size or (number.bits is not None and number.bits <= room)
        if not fits:
            text = ast.unparse(node) if isinstance(node, ast.expr) else "x"
            self.refuse(
                "P0206",
                node,
                f"{words(number)} may not fit in {what}, {_a(ty)}",
                helps=[f"`{ty}({text})` keeps the lowest {8 * ty.size} bits"],
            )
        return cast(number.e, ty.ctype)

    # ------------------------------------------------------------------------------------------------------ writing

    def put_node(self, node: ast.expr, place: tree.Expr, py: Any, what: str, *, clean: bool = False,
                 align: int = 1) -> None:
        """The value of an expression into memory."""
        inner = C.strip(place.type)
        into = Into(place, clean, align) if isinstance(inner, (C.Array, C.Record)) else None
        v = self.expr(node, into)
        if into is not None and isinstance(v, Ref) and _is(v.e, place):
            return
        self.put(v, place, py, what, node, clean=clean)

    def put(self, v: Value, place: tree.Expr, py: Any, what: str, node: ast.AST, *, clean: bool = False) -> None:
        """``v`` into memory; ``clean``: that is all zeroes so far."""
        if isinstance(v, Entry):
            v = self.entry_value(v, node)
        inner = C.strip(place.type)
        ty = ty_of_ctype(place.type)
        if ty is not None:
            e = self.int_as(v, ty, node, what)
            if isinstance(py, P.IntType) and py.big:
                e = self.swap(e, py.size)
            self.store(place, cast(e, place.type if isinstance(inner, C.Enum) else ty.ctype))
        elif isinstance(inner, C.Array):
            numbers = isinstance(v, Tuple) or (isinstance(v, Const) and isinstance(v.value, tuple))
            if _is_char(inner.element) and not (numbers and not _is_text(inner.element)):
                self._put_text(v, place, inner, what, node, clean)
            else:
                self._put_array(v, place, inner, py, what, node)
        elif isinstance(inner, C.Record):
            self._put_record(v, place, inner, what, node)
        elif isinstance(inner, C.Pointer) and isinstance(v, (Ref, Int)):
            self.store(place, cast(v.e, place.type))
        else:
            self.refuse("P0204", node, f"{what} cannot hold {words(v)}")

    def _put_array(self, v: Value, place: tree.Expr, t: C.Array, py: Any, what: str, node: ast.AST) -> None:
        element_py = py.element if isinstance(py, P.ArrayType) else None
        if isinstance(v, Const) and isinstance(v.value, tuple):
            v = Tuple([Const(i) for i in v.value])
        if isinstance(v, Tuple):
            if len(v.items) != t.count:
                self.refuse("P0204", node, f"{what} has {t.count} elements, and these are {len(v.items)}")
            for i, item in enumerate(v.items):
                at = tree.ElementOf(t.element, self.loc, self.end, place, self.const(i))
                self.put(item, at, element_py, f"element {i} of {what}", node)
            return
        if (
            isinstance(v, Ref)
            and not v.pointer
            and C.size_of(v.t) == C.size_of(t)
            and isinstance(C.strip(v.t), C.Array)
        ):
            self.copy(place, v, C.size_of(t) or 0, node)
            return
        self.refuse("P0204", node, f"{what} is {C.format_ctype(t)}, and this is {words(v)}")

    def _put_record(self, v: Value, place: tree.Expr, t: C.Record, what: str, node: ast.AST) -> None:
        source = C.strip(v.t) if isinstance(v, Ref) else None
        if not isinstance(v, Ref) or source is not t:
            self.refuse("P0204", node, f"{what} is {t.tag}, and this is {words(v)}")
        self.copy(place, v, t.size, node)

    def copy(self, place: tree.Expr, v: Ref, size: int, node: ast.AST) -> None:
        """``size`` bytes of what ``v`` refers to, whoever's memory it is."""
        self.not_none(v, node)
        helper = _READ_HELPER.get(v.space) or ("bpf_probe_read_kernel" if v.space == BTF else None)
        if helper is not None:
            self.effect(helper, self.pointer(place), self.const(size, C.UINT), cast(v.e, VOID_POINTER))
            return
        if size > _COPY_LIMIT:
            self.refuse("P0204", node, f"{size} bytes are too many to be copied", helps=["copy in a loop"])
        source = v.e
        args = [self.pointer(place), cast(source, VOID_POINTER), self.const(size, C.ULONG)]
        self.evaluate(tree.Builtin(VOID_POINTER, self.loc, self.end, "memcpy", args))

    def zero(self, place: tree.Expr, size: int, align: int = 1) -> None:
        self._fill(self.pointer(place), size, align)

    def _fill(self, pointer: tree.Expr, size: int, align: int) -> None:
        args = [pointer, self.const(0, C.INT), self.const(size, C.ULONG), self.const(align, C.ULONG)]
        self.evaluate(tree.Builtin(VOID_POINTER, self.loc, self.end, "memset", args))

    def zero_rest(self, place: tree.Expr, t: P.StructType, given: Iterable[str], align: int) -> None:
        """Zeroes into all of a struct but these members, which are about to be written: also between members."""
        base = cast(self.address(place), VOID_POINTER)
        end, align = 0, max(align, t.align)
        spans = [(f.offset, f.offset + (P.size_of(f.type) or 0)) for f in t.fields.values() if f.name in given]
        for start, after in [*sorted(spans), (t.size, t.size)]:
            if start > end:
                here = min(align, end & -end) if end else align
                self._fill(cast(self.plus(base, self.const(end)), VOID_POINTER), start - end, here)
            end = after

    # --------------------------------------------------------------------------------------------------------- text

    def _put_text(self, v: Value, place: tree.Expr, t: C.Array, what: str, node: ast.AST, clean: bool) -> None:
        size = t.count or 0
        if isinstance(v, Const) and isinstance(v.value, (str, bytes)):
            raw = v.value.encode() if isinstance(v.value, str) else v.value
            if len(raw) > size:
                self.refuse("P0205", node, f"{len(raw)} bytes of text do not fit in {what}, chars[{size}]")
            self.put_bytes(raw if clean else raw.ljust(size, b"\0"), place)
            return
        if isinstance(v, Format):
            if not clean:
                self.zero(place, size)
            self.format_into(v, place, size, node)
            return
        if isinstance(v, Int) and v.ty.size == 8:  # an address
            self.refuse(
                "P0204",
                node,
                f"{what} is text, and this is {words(v)}",
                helps=["`read_user_str(address)` or `read_kernel_str(address)` reads text"],
            )
        if not isinstance(v, Ref):
            self.refuse("P0204", node, f"{what} is text, and this is {words(v)}")
        self.not_none(v, node)
        inner = C.strip(v.t)
        if v.pointer and (_is_char(v.t) or isinstance(inner, C.Void)):
            helper = _TEXT_HELPER.get(v.space, _TEXT_HELPER[KERNEL])
            if not clean:
                self.zero(place, size)
            self.effect(helper, self.pointer(place), self.const(size, C.UINT), cast(v.e, VOID_POINTER))
            return
        if not isinstance(inner, C.Array) or not _is_char(inner.element):
            self.refuse("P0204", node, f"{what} is text, and this is {words(v)}")
        have = inner.count or 0
        if have > size and v.space in (OWN, CONTEXT):
            self.refuse("P0204", node, f"{what} has {size} bytes, and this {have}", helps=[f"make it `chars[{have}]`"])
        if not clean and have < size:
            self.zero(place, size)
        if v.space in (KERNEL, USER, BTF) and have == 0:  # the kernel's `char name[]`
            have = size
        self.copy(place, v, min(have, size), node)

    def put_bytes(self, raw: bytes, place: tree.Expr) -> None:
        """Constant bytes into memory."""
        if not raw:
            return
        t = C.Array(C.CHAR, len(raw))
        literal = tree.StringConst(t, self.loc, self.end, raw)
        source = tree.Convert(C.Pointer(C.CHAR), self.loc, self.end, "decay", literal)
        args = [self.pointer(place), cast(source, VOID_POINTER), self.const(len(raw), C.ULONG)]
        self.evaluate(tree.Builtin(VOID_POINTER, self.loc, self.end, "memcpy", args))

    def own(self, v: Ref, node: ast.AST) -> Ref:
        """What ``v`` refers to, in the program's own memory: copied there if it is another's."""
        if v.space in (OWN, CONTEXT) and not (v.pointer and _is_char(v.t)):
            return v
        t = v.t
        if v.pointer and _is_char(t):
            t = C.Array(C.CHAR, 64)
        elif v.pointer or not isinstance(C.strip(t), (C.Array, C.Record)):
            return v
        size = C.size_of(t) or 0
        if not size or size > 256:
            self.refuse(
                "P0204",
                node,
                f"{words(v)} ({size} bytes) is too large to be copied to the stack",
                helps=["name the member that is wanted"],
            )
        place = self.memory(t)
        if isinstance(C.strip(t), C.Array) and v.pointer:
            self._put_text(v, place, C.Array(C.CHAR, 64), "it", node, True)
        else:
            self.copy(place, v, size, node)
        return Ref(self.address(place), t, OWN, v.py)


def _has_tag(t: C.CType, tag: str) -> bool:
    while isinstance(t, (C.Qualified, C.Typedef)):
        if isinstance(t, C.Qualified) and tag in t.tags:
            return True
        t = t.type
    return False


def _is_char(t: C.CType) -> bool:
    inner = C.strip(t)
    return isinstance(inner, C.Int) and inner.size == 1 and inner.name in ("char", "signed char", "unsigned char")


def _is_text(t: C.CType) -> bool:
    """Whether an array of such elements holds text and no numbers: ``chars[N]``, not ``u8[N]``."""
    inner = C.strip(t)
    return isinstance(inner, C.Int) and inner.name == "char"


def _is(e: tree.Expr, place: tree.Expr) -> bool:
    """Whether ``e`` is the address of the lvalue ``place``."""
    while isinstance(e, tree.Convert):
        e = e.operand
    if isinstance(e, tree.AddressOf):
        return e.operand is place
    return isinstance(place, tree.Deref) and place.pointer is e


def _a(ty: IntTy) -> str:
    return f"{'an' if ty.name[0] == 'i' else 'a'} {ty.name}"
