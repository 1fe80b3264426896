"""Functions that make strings, buffers and addresses of hosts."""

from __future__ import annotations

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.output import Output
from ebpf.compiler.trace.types import Ty

_AF_INET, _AF_INET6 = 2, 10
_INET_BYTES = 24
_MAX_STRLEN = 1 << 20


class Strings(Output):
    def text_argument(self, node: ast.Call, index: int) -> str:
        a = node.args[index]
        if isinstance(a, ast.Call) and a.name == "str" and len(a.args) == 1 and isinstance(a.args[0], ast.Parameter):
            a = ast.String(a.loc, a.end, self.parameter_text(a.args[0]))
        if not isinstance(a, ast.String):
            self.refuse("T0207", a, f"`{node.name}` wants a literal string here")
        return a.value.decode("utf-8", "surrogateescape")

    def parameter_text(self, node: ast.Parameter) -> bytes:
        params = self.state.params
        if not node.number:
            return str(len(params)).encode()
        return params[node.number - 1].encode("utf-8", "surrogateescape") if node.number <= len(params) else b""

    # ----------------------------------------------------------------------------------------------------- strings

    def str_of(self, node: ast.Call, into: tree.Expr | None) -> Value:
        """``str(address[, length])``"""
        a = node.args[0]
        if isinstance(a, ast.Parameter):
            return self.string_value(self.parameter_text(a), into)
        v = self.expr(a)
        if v.ty.kind == "str":
            return v
        most = self.state.config.max_strlen
        length: Value | None = None
        if len(node.args) > 1:
            length = self.number(node.args[1], "a length")
            if isinstance(length.literal, int):
                if not 0 <= length.literal < _MAX_STRLEN:
                    self.refuse(
                        "T0214", node.args[1], f"a string has 0 to {_MAX_STRLEN - 1} bytes, not {length.literal}"
                    )
                most, length = length.literal + 1, None
        space = v.ty.space
        if v.ty.kind == "array" and v.ty.ctype is not None:
            most = min(most, v.ty.size + 1)
            space = v.space
        elif v.ty.kind == "pointer":
            target = C.strip(v.ty.ctype or C.VOID)
            if isinstance(target, (C.Record, C.Pointer)):
                source = self.state.diagnostics.sources.text(a.loc, a.end)
                self.refuse(
                    "T0207",
                    a,
                    f"`{source}` is {T.words(v.ty)}: there is no text where it leads",
                    helps=["take the field of the struct that holds the text"],
                )
        elif v.ty.kind not in ("int", "unknown"):
            self.refuse("T0207", a, f"`str` wants an address, not {T.words(v.ty)}")
        else:
            self.kernel_struct_argument(a)
        t = T.string(max(most, 1))
        memory = into if into is not None else self.allocate(t.size)
        self.zero(memory, t.size)
        size: tree.Expr = self.const(t.size, C.ULONG)
        if length is not None:
            wanted = self.temp(self.binary("+", cast(self.long(length.e, False), C.ULONG), self.const(1, C.ULONG)))
            limited = self.local(C.ULONG)
            self.set(limited, size)
            with self.nested() as shorter:
                self.set(limited, wanted)
            self.branch(self.compare("<", wanted, size), shorter)
            size = self.get(limited)
        self.read(memory, cast(v.e, C.Pointer(C.VOID)), size, space, text=True)
        return Value(t, memory)

    def kernel_struct_argument(self, node: ast.Expr) -> None:
        """``str(arg0)`` where BTF knows that ``arg0`` points to a struct."""
        if not isinstance(node, ast.Name) or self.kind != "kprobe" or not node.name.startswith("arg"):
            return
        if not self.point.parts or not node.name[3:].isdigit():
            return
        name = self.point.parts[-1].partition("+")[0]
        found = self.c.kernel.function(name) if not any(c in name for c in "*?[") else None
        index = int(node.name[3:])
        if found is None or index >= len(found[0].parameters):
            return
        t = C.strip(found[0].parameters[index])
        if isinstance(t, C.Pointer) and isinstance(C.strip(t.target), C.Record):
            written = C.format_ctype(found[0].parameters[index])
            self.refuse(
                "T0207",
                node,
                f"`{node.name}` of `{name}` is a `{written}`: there is no text where it leads",
                helps=[f"take a field that holds text: `str((({written}){node.name})->…)`"],
            )

    def buf_of(self, node: ast.Call, into: tree.Expr | None) -> Value:
        v = self.expr(node.args[0])
        most = self.state.config.max_strlen
        space = v.ty.space
        length: tree.Expr
        if len(node.args) > 1:
            given = self.number(node.args[1], "a length")
            if isinstance(given.literal, int):
                if not 0 < given.literal < _MAX_STRLEN:
                    self.refuse(
                        "T0214", node.args[1], f"a buffer has 1 to {_MAX_STRLEN - 1} bytes, not {given.literal}"
                    )
                most = given.literal
                length = self.const(most, C.ULONG)
            else:
                length = self.temp(self.long(given.e, False))
        elif v.ty.kind == "array" or (v.ty.kind == "str" and v.ty.ctype is not None):
            most = v.ty.size
            length = self.const(most, C.ULONG)
        else:
            self.refuse("T0206", node, "`buf` of an address wants a length: `buf(address, length)`")
        if v.ty.kind in ("array", "str", "record"):
            space = v.space
            if v.ty.kind in ("array", "str") and isinstance(length, tree.IntConst):
                most = min(most, v.ty.size)
                length = self.const(most, C.ULONG)
        elif v.ty.kind not in ("pointer", "int", "unknown"):
            self.refuse("T0207", node.args[0], f"`buf` wants an address, not {T.words(v.ty)}")
        t = Ty("buf", most + 4)
        memory = into if into is not None else self.allocate(t.size)
        self.zero(memory, t.size)
        limited = self.local(C.ULONG)
        self.set(limited, self.const(most, C.ULONG))
        if not isinstance(length, tree.IntConst):
            with self.nested() as shorter:
                self.set(limited, length)
            self.branch(self.compare("<", length, self.const(most, C.ULONG)), shorter)
        self.store(self.deref(memory, C.UINT), cast(self.get(limited), C.UINT))
        self.read(self.offset(memory, 4), cast(v.e, C.Pointer(C.VOID)), self.get(limited), space)
        return Value(t, memory)

    def path(self, node: ast.Call, into: tree.Expr | None) -> Value:
        if self.kind not in ("fentry", "fexit", "iter"):
            self.not_here(node, "path", where="fentry, fexit and iter")
        v = self.expr(node.args[0])
        size = self.state.config.max_strlen
        if len(node.args) > 1:
            size = self.literal_int(node.args[1], "the length of a path")
        memory = self.scratch_memory(size)
        self.zero(memory, size)
        self.call_void(
            "bpf_d_path", cast(v.e, C.Pointer(C.VOID)), cast(memory, C.Pointer(C.CHAR)), self.const(size, C.UINT)
        )
        return Value(T.string(size), memory)

    def strncmp(self, node: ast.Call) -> Value:
        most = self.literal_int(node.args[2], "the length that `strncmp` compares")
        if most < 0:
            self.refuse("T0214", node.args[2], "`strncmp` compares 0 or more bytes")
        return self._compared(node, most)

    def strcmp(self, node: ast.Call) -> Value:
        return self._compared(node, None)

    def _compared(self, node: ast.Call, most: int | None) -> Value:
        values = [self.expr(a) for a in node.args[:2]]
        for v, a in zip(values, node.args, strict=False):
            if v.ty.kind != "str":
                self.refuse("T0207", a, f"`{node.name}` compares strings, and this is {T.words(v.ty)}")
        different = self.difference(values[0], values[1], most)
        return Value(T.INT, self.long(self.compare("!=", different, self.const(0, C.ULONG))))

    def strlen(self, node: ast.Call) -> Value:
        v = self.expr(node.args[0])
        if v.ty.kind != "str":
            self.refuse("T0207", node.args[0], f"`strlen` wants a string, not {T.words(v.ty)}")
        return self.string_length(v)

    def string_length(self, v: Value) -> Value:
        """A copy's length, which the helper tells."""
        if isinstance(v.literal, bytes):
            size = len(v.literal.split(b"\0")[0])
            return Value(T.INT, self.const(size), literal=size)
        own = self.own(v)
        memory = self.allocate(T.stored_size(v.ty))
        got = self.read(memory, own.e, self.const(v.ty.size), "bpf", text=True)
        return Value(T.INT, self.temp(self.binary("-", self.long(got), self.const(1))))

    def strcontains(self, node: ast.Call) -> Value:
        at = self.strstr(node)
        return Value(T.BOOL, self.temp(self.long(self.compare(">=", at.e, self.const(0)))))

    def strstr(self, node: ast.Call) -> Value:
        """Where one string begins in another, -1 where it is no part of it: place by place."""
        text, part = (self.own(self.expr(a)) for a in node.args)
        for v, a in zip((text, part), node.args, strict=True):
            if v.ty.kind != "str":
                self.refuse("T0207", a, f"`{node.name}` wants strings, and this is {T.words(v.ty)}")
        loc, end = node.loc, node.end
        result, i, j = self.local(C.LONG), self.local(C.ULONG), self.local(C.ULONG)
        self.set(result, self.const(-1))

        def byte(v: Value, at: tree.Expr) -> tree.Expr:
            base = cast(v.e, C.Pointer(C.UCHAR))
            place = tree.PointerAdd(base.type, loc, end, base, cast(at, C.LONG))
            return self.load(tree.Deref(C.UCHAR, loc, end, place))

        def loop(v: tree.Variable, count: int, body: list[tree.Stmt]) -> tree.Stmt:
            start = tree.Evaluate(loc, end, tree.Assign(C.ULONG, loc, end, self.ref(v), self.const(0, C.ULONG)))
            step = tree.Assign(C.ULONG, loc, end, self.ref(v), self.binary("+", self.get(v), self.const(1, C.ULONG)))
            limit = self.compare("<", self.get(v), self.const(count, C.ULONG))
            return tree.Loop(loc, end, start, limit, step, tree.Block(loc, end, body), False, 1)

        with self.nested() as inner:
            wanted = self.temp(byte(part, self.get(j)))
            with self.nested() as whole:
                self.set(result, cast(self.get(i), C.LONG))
                self.out.append(tree.Break(loc, end))
            self.branch(tree.Unary(C.INT, loc, end, "!", self.long(wanted, False)), whole)
            at = self.temp(self.binary("+", self.get(i), self.get(j)))
            beyond = self.compare(">=", at, self.const(text.ty.size, C.ULONG))
            with self.nested() as leave:
                self.out.append(tree.Break(loc, end))
            self.branch(beyond, list(leave))
            unequal = self.compare("!=", self.long(byte(text, at), False), self.long(wanted, False))
            self.branch(unequal, list(leave))
        with self.nested() as outer:
            self.out.append(loop(j, part.ty.size, inner))
            with self.nested() as found:
                self.out.append(tree.Break(loc, end))
            self.branch(self.compare(">=", self.get(result), self.const(0)), found)
        self.out.append(loop(i, text.ty.size, outer))
        return Value(T.INT, self.get(result))

    # ---------------------------------------------------------------------------------------------------- addresses

    def ntop(self, node: ast.Call, into: tree.Expr | None) -> Value:
        family: tree.Expr | None = None
        if len(node.args) > 1:
            family = self.long(self.number(node.args[0], "an address family").e, False)
        v = self.expr(node.args[-1])
        t = Ty("inet", _INET_BYTES)
        memory = into if into is not None else self.allocate(_INET_BYTES)
        self.zero(memory, _INET_BYTES)
        target = self.offset(memory, 8)
        if v.ty.kind in ("array", "str", "record"):
            if v.ty.size not in (4, 16):
                self.refuse(
                    "T0207", node.args[-1], f"an address has 4 or 16 bytes, and {T.words(v.ty)} has {v.ty.size}"
                )
            if v.space == "bpf":
                self.copy(target, v.e, v.ty.size)
            else:
                self.read(target, v.e, self.const(v.ty.size), v.space)
            default = _AF_INET if v.ty.size == 4 else _AF_INET6
        elif T.is_scalar(v.ty):
            self.store(self.deref(target, C.UINT), cast(self.long(v.e), C.UINT))
            default = _AF_INET
        else:
            self.refuse("T0207", node.args[-1], f"{T.words(v.ty)} is no host's address")
        self.store(
            self.deref(memory, C.ULONG), cast(family, C.ULONG) if family is not None else self.const(default, C.ULONG)
        )
        return Value(t, memory)

    def pton(self, node: ast.Call) -> Value:
        text = self.text_argument(node, 0)
        import ipaddress

        try:
            raw = ipaddress.ip_address(text).packed
        except ValueError:
            self.refuse("T0207", node.args[0], f"`{text}` is no address of version 4 or 6")
        memory = self.allocate(len(raw))
        self.literal(raw, memory)
        return Value(Ty("array", len(raw), ctype=C.Array(C.UCHAR, len(raw))), memory)

    def macaddr(self, node: ast.Call, into: tree.Expr | None) -> Value:
        v = self.expr(node.args[0])
        memory = into if into is not None else self.allocate(8)
        self.zero(memory, 8)
        if v.ty.kind in ("array", "str", "record") and v.ty.size >= 6:
            if v.space == "bpf":
                self.copy(memory, v.e, 8)
            else:
                self.read(memory, v.e, self.const(6), v.space)
        elif v.ty.kind in ("pointer", "int"):
            self.read(memory, cast(v.e, C.Pointer(C.VOID)), self.const(6), v.ty.space)
        else:
            self.refuse("T0207", node.args[0], f"{T.words(v.ty)} is no MAC address: that has 6 bytes")
        return Value(Ty("mac", 6), memory)
