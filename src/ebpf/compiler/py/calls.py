"""Calls: functions of the program's own, those of the library, conversions, helpers of the kernel by name."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import library, types as P
from ebpf.compiler.py.declarations import MapDecl, ProgramDecl
from ebpf.compiler.py.frames import Frame, Locals
from ebpf.compiler.py.maps import InnerMap, PointedMap
from ebpf.compiler.py.memory import Into
from ebpf.compiler.py.values import (
    BTF,
    KERNEL,
    OWN,
    Const,
    Context,
    Int,
    Maybe,
    Ref,
    Value,
    int_ty,
    ty_of_ctype,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DEPTH = 16


class Calls(Locals):
    def statements(self, body: list[ast.stmt]) -> None:
        raise NotImplementedError

    def library_handler(self, function: Any) -> Callable[..., Value] | None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------- calls

    def call_expr(self, node: ast.Call, into: Into | None) -> Value:
        function = node.func
        if isinstance(function, ast.Attribute):
            method = self._method(function, node)
            if method is not None:
                return method
        made = self.global_value(function)
        if made is None and isinstance(function, ast.Name) and function.id not in self.frame.names:
            self.expr(function)  # says what is wrong with the name
        if made is None:
            v = self.expr(function)
            made = v.value if isinstance(v, Const) else None
        return self.call_known(made, node, into)

    def call_known(self, made: Any, node: ast.Call, into: Into | None) -> Value:
        if isinstance(made, P.IntType):
            (x,) = self.given(node, "value", 0)
            return Const(0) if x is None else self.converted(int_ty(made.size, made.signed), self.value(x), x)
        if isinstance(made, P.StructType):
            return self.construct(made, node, into)
        if isinstance(made, P.ArrayType):
            return self._array(made, node, into)
        if isinstance(made, library.HelperName):
            return self.call_helper(made.name, node)
        handler = self.library_handler(made)
        if handler is not None:
            return handler(self, node, into)
        if isinstance(made, ProgramDecl):
            self.refuse(
                "P0105",
                node,
                f"`{made.name}` is a program: another cannot call it",
                helps=["move what they share to a plain function", "a program array jumps to programs"],
            )
        if isinstance(made, FunctionType):
            if made.__module__ == library.__name__:
                self.refuse("P0105", node, f"`{ast.unparse(node.func)}` cannot be called so")
            return self.call_function(made, node)
        shown = ast.unparse(node.func)
        helps = []
        instead = {
            "len": "",
            "sum": "add in a loop",
            "sorted": "",
            "str": "programs keep text in chars[N]",
            "float": "programs have no floating point",
            "list": "",
            "dict": "declare a map",
            "open": "",
        }
        if made is not None and getattr(made, "__name__", "") in instead and instead[made.__name__]:
            helps = [instead[made.__name__]]
        elif made is not None:
            helps = ["programs call plain functions with source, and those of `ebpf`"]
        self.refuse("P0105", node, f"programs cannot call `{shown}`", helps=helps)

    def _method(self, function: ast.Attribute, node: ast.Call) -> Value | None:
        """A call of a method; None where the attribute is just a function in a module."""
        owner_value = self.global_value(function.value)
        if isinstance(owner_value, MapDecl):
            self.expr(function.value)  # gives the map its name
            return self.call_map(owner_value, function.attr, node)
        if owner_value is not None and not isinstance(owner_value, (str, bytes, int, tuple)):
            self.known(owner_value, ast.unparse(function.value), function.value)
            return None
        owner = self.expr(function.value)
        name = function.attr
        if isinstance(owner, Const) and isinstance(owner.value, MapDecl):
            return self.call_map(owner.value, name, node)
        if isinstance(owner, Context):
            return self.context_method(name, node)
        if isinstance(owner, Ref) and isinstance(owner.py, InnerMap):
            self.not_none(owner, function.value)
            return self.call_map(PointedMap(owner.py.decl, owner.e), name, node)
        if self._is_text(owner):
            return self._text_method(owner, name, node)
        if isinstance(owner, Const) and isinstance(owner.value, (int, tuple)) or isinstance(owner, (Int, Ref, Maybe)):
            self.refuse("P0105", function, f"{words(owner)} has no method `.{name}()` in programs")
        return None

    def _text_method(self, owner: Value, name: str, node: ast.Call) -> Value:
        if name == "startswith":
            (prefix,) = self.given(node, "prefix", 1)
            assert prefix is not None
            v = self.value(prefix)
            if not isinstance(v, Const) or not isinstance(v.value, (str, bytes)):
                self.refuse("P0213", prefix, "`.startswith()` takes constant text")
            return self.text_equal(owner, v, True, node, prefix=True)
        if isinstance(owner, Const) and name in ("encode", "upper", "lower", "strip") and not node.args:
            return Const(getattr(owner.value, name)())
        self.refuse(
            "P0105", node.func, f"text has no method `.{name}()` in programs", helps=["there is `.startswith(…)`"]
        )

    # ------------------------------------------------------------------------------------------------ own functions

    def call_function(self, function: Any, node: ast.Call) -> Value:
        """A function of the program's own, compiled here for these arguments."""
        source = self.state.file(function.__code__.co_filename)
        definition = None
        if source is not None:
            definition = source.functions.get((function.__code__.co_firstlineno, function.__name__))
        shown = ast.unparse(node.func)
        if source is None or definition is None:
            self.refuse(
                "P0103",
                node,
                f"the source of `{shown}` cannot be read",
                helps=["programs call functions that are written with `def` in a file or a notebook"],
            )
        frame: Frame | None = self.frame
        depth = 0
        while frame is not None:
            if frame.function is function:
                self.refuse("P0104", node, f"`{shown}` calls itself", helps=["write a loop"])
            frame, depth = frame.parent, depth + 1
        if depth > _MOST_DEPTH:
            self.refuse("P0104", node, f"{depth} calls are inside of one another here")
        given = self._arguments(function, definition, node)
        if getattr(function, "__ebpf_noinline__", False):
            return self.call_subprogram(function, definition, source, given, node)
        inner = Frame(function, definition, source, (*self.frame.key, id(node), function), self.frame)
        if self.out is not None:
            inner.key = (*self.frame.key, node.lineno, node.col_offset, function, *self._unrolled())
        inner.end = tree.Label(self.loc, self.end, "end")
        outer, outer_source, place = self.frame, self.source, (self.loc, self.end)
        self.frame, self.source = inner, source
        try:
            with self.nested() as body:
                self.bind_parameters(inner, definition, given)
                self.statements(definition.body)
                if inner.returned and inner.flow.live:
                    self.assign_name("return", Const(None), definition)
                result: Value = Const(None)
                inner.flow.live = True
                if inner.returned:
                    inner.flow.assigned.add("return")
                    inner.flow.sure -= {"return"}
                    result = self.local_value("return", definition)
        finally:
            self.frame, self.source = outer, outer_source
            self.loc, self.end = place
        self.out += inner.declared
        self.out += body
        if inner.jumps:
            self.out.append(inner.end)
        return result

    def _unrolled(self) -> tuple[Any, ...]:
        """What tells the rounds of loops that are written out apart."""
        return tuple(repr(v.value) for v in self.frame.bound.values() if isinstance(v, Const))

    def _arguments(self, function: Any, definition: ast.FunctionDef, node: ast.Call) -> dict[str, Value]:
        """The values of the parameters, defaults among them."""
        a = definition.args
        if a.vararg is not None or a.kwarg is not None:
            self.refuse("P0105", node, f"`{function.__name__}` takes any number of arguments, which programs cannot")
        positional = [p.arg for p in (*a.posonlyargs, *a.args)]
        keyword = [p.arg for p in a.kwonlyargs]
        out: dict[str, Value] = {}
        if len(node.args) > len(positional):
            self.refuse("P0211", node.args[len(positional)], f"`{function.__name__}` takes {len(positional)} arguments")
        for name, n in zip(positional, node.args, strict=False):
            out[name] = self._argument(n)
        for k in node.keywords:
            if k.arg not in (*positional, *keyword):
                self.refuse("P0211", k, f"`{function.__name__}` has no parameter `{k.arg}`")
            if k.arg in out:
                self.refuse("P0211", k, f"`{k.arg}` is given twice")
            out[k.arg] = self._argument(k.value)
        defaults = dict(zip(positional[::-1], (function.__defaults__ or ())[::-1], strict=False))
        defaults.update(function.__kwdefaults__ or {})
        for name in (*positional, *keyword):
            if name not in out:
                if name not in defaults:
                    self.refuse("P0211", node, f"`{function.__name__}` is called without `{name}`")
                out[name] = self.known(defaults[name], name, node)
        return out

    def _argument(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Starred):
            self.refuse("P0102", node, "programs have no `*` arguments")
        v = self.value(node)
        return Int(v.ty, self.temp(v.e), v.bits, v.soft) if isinstance(v, Int) else v

    def bind_parameters(self, frame: Frame, definition: ast.FunctionDef, given: dict[str, Value]) -> None:
        a = definition.args
        for p in (*a.posonlyargs, *a.args, *a.kwonlyargs):
            v = given[p.arg]
            py = self.annotation(frame, p)
            if py is not None:
                ty = self.annotated_int(py)
                if ty is not None:
                    e = self.temp(self.int_as(v, ty, p, f"`{p.arg}`"))
                    v = Int(ty, e)
                elif isinstance(py, (P.KernelType, P.PointerType)) and isinstance(v, Int):
                    t = self.state.ctype(py)
                    assert t is not None
                    target = t.target if isinstance(t, C.Pointer) else t
                    v = Ref(self.temp(cast(v.e, C.Pointer(target))), target, KERNEL, pointer=True)
            if frame.stores[p.arg]:
                frame.stores[p.arg] += 1
                if py is not None and self.annotated_int(py) is not None:
                    frame.annotated[p.arg] = py
                    self.assign_annotated(p.arg, v, p)
                else:
                    self.assign_name(p.arg, v, p)
            else:
                frame.bound[p.arg] = v
                frame.flow.assigned.add(p.arg)

    def annotation(self, frame: Frame, p: ast.arg) -> Any:
        written = frame.function.__annotations__.get(p.arg)
        if isinstance(written, str):
            try:
                written = self.global_value(ast.parse(written, mode="eval").body)
            except SyntaxError:
                written = None
        return written if self.state.ctype(written) is not None else None

    def call_subprogram(
        self, function: Any, definition: ast.FunctionDef, source: Any, given: dict[str, Value], node: ast.Call
    ) -> Value:
        """A function that stays one: numbers and pointers in, a number out."""
        kinds: list[Any] = []
        args: list[tree.Expr] = []
        outer, self.frame = self.frame, Frame(function, definition, source, (), self.frame)
        annotated = {p.arg: self.annotation(self.frame, p) for p in definition.args.args}
        self.frame = outer
        for name, v in given.items():
            ty = self.annotated_int(annotated.get(name))
            if ty is not None:
                v = Int(ty, self.int_as(v, ty, node, f"`{name}`"))
            elif isinstance(v, Const) and isinstance(v.value, int):
                v = self.number(v, node)
            if isinstance(v, Int):
                kinds.append((name, v.ty))
                args.append(cast(v.e, v.ty.ctype))
            elif isinstance(v, Ref) and not v.nullable:
                kinds.append((name, v.t, v.space, v.py, v.pointer))
                args.append(v.e)
            elif isinstance(v, Context):
                kinds.append((name, "context"))
                args.append(self.get(self.context))
            else:
                self.refuse(
                    "P0204",
                    node,
                    f"a function that is not inlined takes numbers and structs, and `{name}` is {words(v)}",
                    helps=["leave `@ebpf.noinline` away"],
                )
        if len(args) > 5:
            self.refuse("P0211", node, "a function that is not inlined takes five arguments at most")
        key = (function, tuple(kinds), self.info.type)
        decl = self.state.subprograms.get(key)
        if decl is None:
            decl = self._make_subprogram(function, definition, source, kinds, [a.type for a in args], key)
        call = tree.CallFunction(decl.type.result, self.loc, self.end, decl, args)
        ty = ty_of_ctype(decl.type.result)
        assert ty is not None
        return Int(ty, self.temp(call))

    def _make_subprogram(
        self, function: Any, definition: ast.FunctionDef, source: Any, kinds: list[Any], types: list[C.CType], key: Any
    ) -> tree.FunctionDecl:
        inner = type(self)(self.state, source, definition)
        inner.info, inner.context = self.info, self.context
        inner.fields, inner.prototype, inner.context_kind = self.fields, self.prototype, self.context_kind
        inner.frame = Frame(function, definition, source, ("subprogram", key), None)
        inner.result_type = C.LONG
        parameters = [
            tree.Variable(k[0], t, "parameter", inner.loc, inner.end) for k, t in zip(kinds, types, strict=True)
        ]
        name = function.__name__
        while any(d.name == name for d in self.state.subprograms.values()):
            name += "_"
        decl = tree.FunctionDecl(
            name,
            C.Function(C.LONG, tuple(types), False, tuple(p.name for p in parameters)),
            inner.loc,
            inner.end,
            parameters=parameters,
            linkage="static",
            noinline=True,
        )
        self.state.subprograms[key] = decl
        given: dict[str, Value] = {}
        for k, p in zip(kinds, parameters, strict=True):
            if len(k) == 5:
                given[k[0]] = Ref(inner.get(p), k[1], k[2], k[3], pointer=k[4])
            elif k[1] == "context":
                inner.context = p
                given[k[0]] = Context()
            else:
                given[k[0]] = Int(k[1], inner.get(p))
        inner.bind_parameters(inner.frame, definition, given)
        inner.statements(definition.body)
        inner.out.append(tree.Return(inner.loc, inner.end, inner.const(0, C.LONG)))
        decl.body = inner.block([*inner.scratch_variables, *inner.frame.declared, *inner.out])
        return decl

    # ------------------------------------------------------------------------------------------------------ structs

    def construct(self, t: P.StructType, node: ast.Call, into: Into | None) -> Ref:
        """``Event(pid=…)``: where it is wanted, or on the stack."""
        record = self.state.record(t)
        fields = list(t.fields.values())
        given: dict[str, ast.expr] = {}
        if len(node.args) > len(fields):
            self.refuse("P0211", node.args[len(fields)], f"{t.__name__} has {len(fields)} members")
        for f, a in zip(fields, node.args, strict=False):
            given[f.name] = a
        for k in node.keywords:
            if k.arg not in t.fields:
                from ebpf.diagnostics import did_you_mean

                close = did_you_mean(k.arg or "**", list(t.fields))
                self.refuse(
                    "P0209",
                    k,
                    f"{t.__name__} has no member `{k.arg}`",
                    helps=[f"did you mean `{close[0]}`?"] if close else [f"it has {', '.join(t.fields)}"],
                )
            if k.arg in given:
                self.refuse("P0211", k, f"`{k.arg}` is given twice")
            given[k.arg] = k.value
        wanted = into is not None and C.strip(into.place.type) is record
        if into is None or not wanted:
            into = Into(self.raw_memory(record), False, 8 if t.size >= 8 else 1)
        place = into.place
        if not into.clean:
            self.zero_rest(place, t, given, into.align)
        of = Ref(self.address(place), record, OWN, t)
        for name, value in given.items():
            lvalue, py = self.member(of, name, value)
            self.at(value)
            offset = t.fields[name].offset
            align = min(into.align, offset & -offset) if offset else into.align
            self.put_node(value, lvalue, py, f"`{t.__name__}.{name}`", clean=into.clean, align=align)
        return of

    def _array(self, t: P.ArrayType, node: ast.Call, into: Into | None) -> Value:
        (value,) = self.given(node, "value", 0)
        ctype = self.state.ctype(t)
        assert ctype is not None
        if into is not None and C.same(into.place.type, ctype):
            place = into.place
            if not into.clean:
                self.zero(place, C.size_of(ctype) or 0, into.align)
        else:
            place = self.memory(ctype)
        if value is not None:
            self.put(self.value(value), place, t, f"{t!r}", value, clean=True)
        return Ref(self.address(place), ctype, OWN, t)

    # ------------------------------------------------------------------------------------------------------ helpers

    def call_helper(self, name: str, node: ast.Call) -> Value:
        """``ebpf.helpers.name(…)``: numbers, structs and text by their address, maps, the context."""
        found = self.c.helper_type(f"bpf_{name}")
        if found is None:
            self.refuse("P0305", node.func, f"the kernel has no helper `{name}`")
        number, t = found
        wanted = len(t.parameters)
        if len(node.args) != wanted and not (t.variadic and len(node.args) > wanted) or node.keywords:
            self.refuse(
                "P0305", node, f"`{name}` takes {wanted} argument{'s' * (wanted != 1)}: {', '.join(t.names) or 'none'}"
            )
        args = [
            self._helper_argument(
                a, t.parameters[i] if i < wanted else C.ULONG, t.names[i] if i < wanted else "…", name
            )
            for i, a in enumerate(node.args)
        ]
        call = tree.CallHelper(t.result, self.loc, self.end, number, f"bpf_{name}", args)
        result = C.strip(t.result)
        ty = ty_of_ctype(result)
        if ty is not None:
            return Int(ty, self.temp(call))
        if isinstance(result, C.Pointer):
            target = C.strip(result.target)
            is_record = isinstance(target, C.Record)
            kernel = is_record and name.startswith("get_current_task")
            space = BTF if kernel else OWN if is_record else KERNEL
            return Ref(self.temp(call), result.target, space, nullable=is_record and not kernel, pointer=True)
        self.evaluate(call)
        return Const(None)

    def _helper_argument(self, node: ast.expr, t: C.CType, parameter: str, helper: str) -> tree.Expr:
        v = self.value(node)
        inner = C.strip(t)
        if isinstance(inner, C.Pointer):
            if isinstance(v, Const) and isinstance(v.value, MapDecl):
                return cast(self.map_pointer(v.value), inner)
            if isinstance(v, Const) and isinstance(v.value, (str, bytes)):
                raw = v.value.encode() if isinstance(v.value, str) else v.value
                literal = tree.StringConst(C.Array(C.CHAR, len(raw) + 1), self.loc, self.end, raw + b"\0")
                return cast(tree.Convert(C.Pointer(C.CHAR), self.loc, self.end, "decay", literal), inner)
            if isinstance(v, Context):
                return cast(self.get(self.context), inner)
            if isinstance(v, Const) and (v.value is None or v.value == 0):
                return self.const(0, inner)
            if isinstance(v, Ref):
                return cast(v.e, inner)
            if isinstance(v, Int):
                return cast(v.e, inner)
            self.refuse(
                "P0305",
                node,
                f"`{parameter}` of `{helper}` is an address, and this is {words(v)}",
                helps=["give a struct, text, a map or the context"],
            )
        ty = ty_of_ctype(t)
        assert ty is not None
        if isinstance(v, Const) and isinstance(v.value, int) and v.value < 0 and not ty.signed:
            return self.const(v.value, ty.ctype)
        return self.int_as(v, ty, node, f"`{parameter}` of `{helper}`")
