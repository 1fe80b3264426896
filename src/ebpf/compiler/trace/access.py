"""Ways from one value to another: fields, elements, what pointers lead to, casts; and values into memory."""

from __future__ import annotations

from ebpf.compiler.c import ast as c_ast, tree, types as C
from ebpf.compiler.c.checker_access import member_names
from ebpf.compiler.c.conversions import bit_size_of, cast, is_lvalue, unqualified
from ebpf.compiler.c.dialect.bcc import MEMBER_ALIASES
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import READ, Emitter, Value
from ebpf.compiler.trace.parser import INTEGER_TYPES
from ebpf.compiler.trace.types import Ty
from ebpf.diagnostics import did_you_mean

_INTS = {
    (1, True): C.SCHAR,
    (2, True): C.SHORT,
    (4, True): C.INT,
    (8, True): C.LONG,
    (1, False): C.UCHAR,
    (2, False): C.USHORT,
    (4, False): C.UINT,
    (8, False): C.ULONG,
}
_C_NAMES = {
    "char": (1, True),
    "short": (2, True),
    "int": (4, True),
    "long": (8, True),
    "unsigned": (4, False),
    "unsigned char": (1, False),
    "unsigned short": (2, False),
    "unsigned int": (4, False),
    "unsigned long": (8, False),
    "long long": (8, True),
    "unsigned long long": (8, False),
    "signed char": (1, True),
    "long int": (8, True),
    "short int": (2, True),
    "unsigned long int": (8, False),
}


class Access(Emitter):
    # ----------------------------------------------------------------------------------------------- types written

    def type_named(self, node: ast.TypeName) -> Ty:
        """The type that is written."""
        name = node.name
        base: Ty
        ctype: C.CType
        known = INTEGER_TYPES.get(name)
        c_name = _C_NAMES.get(name)
        if known is not None:
            base = Ty("int", known[0] // 8, known[1], ctype=_INTS[known[0] // 8, known[1]])
        elif c_name is not None:
            ctype = C.CHAR if name == "char" else _INTS[c_name]
            base = Ty("int", c_name[0], c_name[1], ctype=ctype)
        elif name == "bool":
            base = Ty("bool", 1, ctype=C.BOOL)
        elif name == "void":
            base = Ty("none", 0, ctype=C.VOID)
        elif name in ("string", "buffer"):
            size = node.bounds[0] if node.bounds and node.bounds[0] else self.state.config.max_strlen
            return Ty("str" if name == "string" else "buf", size if name == "string" else size + 4)
        else:
            ctype = self.c_type_named(node)
            base = self.type_of(ctype, "kernel")
        for _ in range(node.stars):
            target = base.ctype or C.VOID
            base = T.pointer(C.Pointer(target) if base.kind == "pointer" else target, "kernel")
        for bound in reversed(node.bounds):
            if bound is not None and base.ctype is not None:
                element = C.Pointer(base.ctype) if base.kind == "pointer" else base.ctype
                base = Ty("array", (C.size_of(element) or 0) * bound, ctype=C.Array(element, bound))
        return base

    def c_type_named(self, node: ast.TypeName) -> C.CType:
        """A struct, union, enum or typedef, of the script or the kernel. Also found without its keyword."""
        kernel, scope = self.c.kernel, self.c.file_scope
        kinds: tuple[str, ...]
        kind, _, tag = node.name.partition(" ")
        if not tag:
            tag = kind
            symbol = scope.names.get(tag)
            if isinstance(symbol, C.Typedef):
                return symbol
            typedef = kernel.typedef(tag)
            if typedef is not None:
                return typedef
            kinds = ("struct", "union", "enum")
        else:
            kinds = (kind,)
        known = scope.tags.get(tag)
        if known is not None:
            return known
        own = self.program_type(tag, kinds)
        if own is not None:
            return own
        for kind in kinds:
            if kind == "enum":
                enum = kernel.enum(tag)
                if enum is not None:
                    return enum
            else:
                record = kernel.record(kind, tag)
                if record.ensure_complete():
                    return record
        written = node.name
        close = [n for n in kernel.similar(tag) if n]
        similar = did_you_mean(tag, close) if close else []
        head = f"{kinds[0]} " if len(kinds) == 1 else ""
        helps = [f"did you mean {' or '.join(f'`{head}{n}`' for n in similar)}?"] if similar else []
        notes = []
        if kernel.btf is None:
            notes = ["this kernel tells no types (BTF); define the struct in the script"]
        self.refuse("T0209", node, f"there is no `{written}` in this kernel", helps=helps, notes=notes)

    def program_type(self, tag: str, kinds: tuple[str, ...]) -> C.CType | None:
        """A type of the program that is probed; `builtins.Builtins` knows which that is."""
        return None

    def type_of(self, t: C.CType, space: str) -> Ty:
        """What a value of the C type ``t`` is in a script."""
        inner = C.strip(t)
        if isinstance(inner, C.Enum):
            return Ty("enum", inner.underlying.size, inner.underlying.signed, ctype=inner)
        if isinstance(inner, C.Int):
            if inner.name == "_Bool":
                return Ty("bool", 1, ctype=inner)
            return Ty("int", min(inner.size, 8), inner.signed, ctype=inner)
        if isinstance(inner, C.Pointer):
            return T.pointer(inner.target, "user" if _is_user(t) or _is_user(inner.target) else space)
        if isinstance(inner, C.Array):
            size = C.size_of(inner) or 0
            if T.is_char(inner.element):
                return Ty("str", size or self.state.config.max_strlen, ctype=inner)
            return Ty("array", size, ctype=inner)
        if isinstance(inner, C.Record):
            return Ty("record", C.size_of(inner) or 0, ctype=inner)
        return Ty("none", 0, ctype=inner)

    # ------------------------------------------------------------------------------------------------------ places

    def at_place(self, place: tree.Expr, space: str) -> Value:
        """The value that lies at an lvalue of C in memory of ``space``: scalars are read now."""
        t = self.type_of(place.type, "kernel" if space in ("ctx", "bpf") else space)
        if t.kind == "none":
            return Value(t, self.const(0))
        if not T.is_scalar(t):
            return Value(t, self.address(place), space)
        if space in ("ctx", "bpf"):
            e = self.load(place)
        else:
            from ebpf.compiler.c.builtins_core import read_value

            number, _ = self.state.helper(READ[space])
            e = read_value(self.c, place, number, c_ast.Node(self.node.loc, self.node.end))
        bits = bit_size_of(place) if is_lvalue(place) else 0
        if bits and t.kind == "int":
            t = Ty("int", t.size, t.signed and bits > 1, ctype=t.ctype)
        if t.kind == "pointer":
            return Value(t, self.temp(e))
        return Value(t, self.temp(self.long(e, t.signed)))

    def dereference(self, v: Value, node: ast.Node) -> Value:
        """``*v``"""
        if v.ty.kind in ("int", "unknown"):  # a number is the address of a word
            return self.at_place(self.deref(v.e, C.ULONG), self.default_space() if v.ty.space == "any" else v.ty.space)
        if v.ty.kind != "pointer":
            self.refuse("T0208", node, f"only pointers can be followed, and this is {T.words(v.ty)}")
        target = v.ty.ctype
        assert target is not None
        if C.size_of(target) is None:
            if isinstance(C.strip(target), C.Void):
                self.refuse("T0208", node, "a `void *` leads to no value", helps=["cast it first: `*(uint64 *)$p`"])
            self.refuse("T0209", node, f"what `{C.format_ctype(target)}` holds is not known")
        return self.at_place(self.deref(v.e, unqualified(target)), v.ty.space)

    def field(self, base: Value, node: ast.Member) -> Value:
        """``base.name``, ``base->name``"""
        t = base.ty
        if t.kind == "pointer":
            target = C.strip(t.ctype or C.VOID)
            if isinstance(target, C.Pointer):
                self.refuse(
                    "T0208",
                    node,
                    f"this is a pointer to a pointer (`{C.format_ctype(C.Pointer(target))}`)",
                    helps=["follow it once before: `(*p)->field`"],
                )
            if not isinstance(target, C.Record):
                self.refuse(
                    "T0208",
                    node,
                    f"{T.words(t)}, leads to no struct, so there is no `{node.name}`",
                    helps=["cast it to a pointer to the struct that is there"],
                )
            base = Value(Ty("record", C.size_of(target) or 0, ctype=target), base.e, t.space)
            t = base.ty
        if t.kind in ("tuple", "record") and t.ctype is None:
            return self.tuple_part(base, node)
        if t.kind == "int" or t.kind == "unknown":
            if t.kind == "unknown":
                return Value(T.UNKNOWN, self.const(0))
            self.refuse(
                "T0208",
                node,
                f"an integer has no field `{node.name}`",
                helps=["cast it to a pointer to the struct that is there: `((struct sock *)arg0)->…`"],
            )
        record = C.strip(t.ctype) if t.ctype is not None else None
        if not isinstance(record, C.Record):
            self.refuse("T0208", node, f"{T.words(t)} has no fields, so there is no `{node.name}`")
        # Kernel headers give some members a second name by a macro.
        names = (node.name,) if record.find(node.name) is not None else MEMBER_ALIASES.get(node.name, (node.name,))
        if record.find(names[0]) is None:
            self.no_field(record, node)
        place: tree.Expr = self.deref(base.e, record)
        for name in names:
            inner = C.strip(place.type)
            assert isinstance(inner, C.Record)
            place = self.c.select(place, inner, name, c_ast.Node(node.loc, node.end))
        return self.at_place(place, base.space)

    def no_field(self, record: C.Record, node: ast.Member) -> None:
        name = f"{record.kind} {record.tag or '<anonymous>'}"
        at = ast.Node(node.name_loc, node.end)
        if not record.complete:
            self.refuse(
                "T0209",
                at,
                f"the kernel does not tell what is in `{name}`",
                helps=["define it in the script"],
            )
        names = [n for n in member_names(record) if not n.startswith(("__pad_", "__do_not_use__", "__syscall_nr"))]
        names = [n.removeprefix("data_loc_") for n in names]
        close = did_you_mean(node.name, names)
        helps = [f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else []
        shown = ", ".join(names[:24]) + (f" and {len(names) - 24} more" if len(names) > 24 else "")
        what = "this tracepoint" if (record.tag or "").startswith("tracepoint__") else f"`{name}`"
        self.refuse(
            "T0210",
            at,
            f"{what} has no field `{node.name}`",
            notes=[f"its fields are: {shown}"],
            helps=helps,
        )

    def tuple_part(self, base: Value, node: ast.Member) -> Value:
        at = 0
        for name, t in base.ty.args:
            if name == node.name:
                return self.at_own(base.e, at, t)
            at += T.stored_size(t)
        names = ", ".join(f"`.{n}`" for n, _ in base.ty.args)
        self.refuse("T0210", node, f"{T.words(base.ty)} has no part `.{node.name}`", notes=[f"it has {names}"])

    def at_own(self, pointer: tree.Expr, offset: int, t: Ty) -> Value:
        """A value of our own layout in the program's memory."""
        where = self.offset(pointer, offset)
        if not T.is_scalar(t):
            return Value(t, where)
        e = self.temp(self.load(self.deref(where, C.LONG if t.signed else C.ULONG)))
        return self.scalar(t, e)

    def scalar(self, t: Ty, word: tree.Expr) -> Value:
        """A 64-bit word as a value of type ``t``."""
        if t.kind == "pointer":
            assert t.ctype is not None
            return Value(t, cast(word, C.Pointer(t.ctype)))
        return Value(t, self.long(word, t.signed))

    def element(self, base: Value, index: Value, node: ast.Index) -> Value:
        t = base.ty
        if not T.is_number(index.ty):
            self.refuse("T0208", node.index, f"an index has to be an integer, not {T.words(index.ty)}")
        number = self.long(index.e)
        if t.kind in ("array", "str") and t.ctype is not None:
            array = C.strip(t.ctype)
            assert isinstance(array, C.Array)
            if isinstance(index.literal, int) and array.count and not 0 <= index.literal < array.count:
                self.refuse("T0208", node.index, f"element {index.literal} is outside of {T.words(t)}")
            if base.space == "bpf":
                return self._own_element(base, array, number)
            first = cast(base.e, C.Pointer(unqualified(array.element)))
        elif t.kind == "pointer":
            assert t.ctype is not None
            if C.size_of(t.ctype) is None:
                self.refuse("T0208", node, f"{T.words(t)}, has no elements")
            first = base.e
            base = Value(t, base.e, t.space)
        elif t.kind in ("str", "buf"):
            own = self.own(base)
            return self._own_element(
                Value(own.ty, self.offset(own.e, 4 if t.kind == "buf" else 0)), C.Array(C.CHAR, t.size), number
            )
        else:
            self.refuse("T0208", node, f"{T.words(t)} has no elements")
        assert isinstance(first.type, C.Pointer) or isinstance(C.strip(first.type), C.Pointer)
        at = tree.PointerAdd(first.type, self.node.loc, self.node.end, first, number)
        target = C.strip(first.type)
        assert isinstance(target, C.Pointer)
        return self.at_place(self.deref(at, unqualified(target.target)), base.space)

    def _own_element(self, base: Value, array: C.Array, index: tree.Expr) -> Value:
        """Of an array in the program's own memory, read so that the verifier need not know the index."""
        size = C.size_of(array.element) or 1
        where = self.plus(cast(base.e, C.Pointer(C.UCHAR)), self.binary("*", index, self.const(size)))
        return self.at_place(self.deref(where, unqualified(array.element)), "kernel")

    # ------------------------------------------------------------------------------------------------- into memory

    def own(self, v: Value, into: tree.Expr | None = None) -> Value:
        """A value that is no scalar in the program's own memory, at ``into`` if given."""
        if v.space == "bpf":
            if into is None or into is v.e:
                return v
            self.copy(into, v.e, T.stored_size(v.ty))
            return Value(v.ty, into)
        size = T.stored_size(v.ty)
        target = into if into is not None else self.allocate(size)
        self.zero(target, size)
        text = v.ty.kind == "str" and v.ty.size > 1
        self.read(target, v.e, self.const(v.ty.size), v.space, text=text)
        return Value(v.ty, target)

    def put(self, v: Value, t: Ty, into: tree.Expr) -> None:
        """Write ``v`` as a value of type ``t`` (what it is, or larger) to own memory."""
        if T.is_scalar(t):
            signed = v.ty.signed
            if v.ty.kind == "usym" and t.kind == "int":
                v = self.at_own(v.e, 0, T.UINT)
            self.store(self.deref(into, C.ULONG), cast(self.long(v.e, signed), C.ULONG))
            return
        if v.ty.kind == "unknown" or (T.is_scalar(v.ty) and not T.is_scalar(t)):
            self.zero(into, T.stored_size(t))
            return
        if t.kind == "tuple" or (t.kind == "record" and t.ctype is None):
            at = 0
            source = 0
            for (_, wanted), (_, have) in zip(t.args, v.ty.args, strict=False):
                part = self.at_own(v.e, source, have)
                self.put(part, wanted, self.offset(into, at))
                at += T.stored_size(wanted)
                source += T.stored_size(have)
            return
        size, have = T.stored_size(t), T.stored_size(v.ty)
        if have < size:
            self.zero(self.offset(into, have), size - have)
        if have > size:
            v = Value(Ty(t.kind, t.size, ctype=None), v.e, v.space)
        self.own(v, into)

    # ------------------------------------------------------------------------------------------------------- casts

    def cast_to(self, v: Value, t: Ty, node: ast.Cast) -> Value:
        if t.kind in ("int", "bool", "enum"):
            if v.ty.kind in ("usym",):
                v = self.at_own(v.e, 0, T.UINT)
            if v.ty.kind == "array" and v.ty.size <= 8:
                v = self.own(v)
                v = self.at_own(v.e, 0, T.UINT)
            if not T.is_scalar(v.ty):
                self.refuse("T0208", node, f"{T.words(v.ty)} cannot be cast to {T.words(t)}")
            word = self.long(v.e, v.ty.signed)
            if t.kind == "bool":
                return Value(t, self.long(self.compare("!=", word, self.const(0, word.type))), literal=None)
            narrow = cast(word, _INTS[t.size, t.signed])
            literal = None
            if isinstance(narrow, tree.IntConst):
                literal = narrow.value
            return Value(t, self.long(narrow, t.signed), literal=literal)
        if t.kind == "pointer":
            if v.ty.kind == "array" or v.ty.kind == "record":
                return Value(T.pointer(t.ctype or C.VOID, v.space), cast(v.e, C.Pointer(t.ctype or C.VOID)))
            if v.ty.kind == "unknown":
                return Value(t, self.const(0, C.Pointer(t.ctype or C.VOID)))
            if not T.is_scalar(v.ty):
                self.refuse("T0208", node, f"{T.words(v.ty)} is no address")
            space = v.ty.space if v.ty.space != "any" or v.ty.kind != "pointer" else "any"
            if space == "any" and v.ty.kind != "pointer":
                space = self.default_space()
            return Value(T.pointer(t.ctype or C.VOID, space), cast(v.e, C.Pointer(t.ctype or C.VOID)))
        if t.kind == "record":
            if v.ty.kind == "record":
                return Value(t, v.e, v.space)
            if T.is_scalar(v.ty):  # 0.17: `(struct x)ptr` is a pointer to it
                return Value(
                    T.pointer(t.ctype or C.VOID, self.default_space()), cast(v.e, C.Pointer(t.ctype or C.VOID))
                )
        if t.kind == "array" and T.is_scalar(v.ty):
            memory = self.allocate(8)
            self.store(self.deref(memory, C.ULONG), cast(self.long(v.e), C.ULONG))
            return Value(t, memory)
        if t.kind in ("str", "buf") and v.ty.kind in ("str", "buf"):
            return v
        self.refuse("T0208", node, f"{T.words(v.ty)} cannot be cast to {T.words(t)}")

    def default_space(self) -> str:
        """Where numbers point that are addresses."""
        return "any"


def _is_user(t: C.CType) -> bool:
    while isinstance(t, (C.Typedef, C.Qualified)):
        if isinstance(t, C.Qualified) and "user" in t.tags:
            return True
        t = t.type
    return False
