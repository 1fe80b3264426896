"""What all programs of one compilation share: sources, messages, maps, global variables, the kernel's types."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.checker import Checker
from ebpf.compiler.c.dialect.maps import map_record
from ebpf.compiler.c.source import Diagnostics, SourceMap
from ebpf.compiler.options import Options
from ebpf.compiler.py import types as P
from ebpf.compiler.py.source import file_text
from ebpf.compiler.py.values import _NAMED

if TYPE_CHECKING:
    from ebpf.compiler.facts import Facts
    from ebpf.compiler.py.declarations import GlobalDecl, MapDecl

_NO_KEY = frozenset((MapType.RINGBUF, MapType.USER_RINGBUF, MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER))
_WORD_VALUES = frozenset((MapType.PERF_EVENT_ARRAY, MapType.PROG_ARRAY, MapType.CGROUP_ARRAY))
_STACK_DEPTH = 127


class SourceFile:
    """A file of Python: its tree, and where its characters are."""

    def __init__(self, name: str, text: str, base: int) -> None:
        self.name, self.text, self.base = name, text, base
        self.lines = [0]
        for line in text.split("\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)
        self.ascii = text.isascii()
        self.tree = ast.parse(text)
        self.functions = {
            (min([n.lineno, *(d.lineno for d in n.decorator_list)]), n.name): n
            for n in ast.walk(self.tree)
            if isinstance(n, ast.FunctionDef)
        }

    def loc(self, line: int, column: int) -> int:
        start = self.lines[line - 1]
        if not self.ascii:
            raw = self.text[start : self.lines[line] - 1].encode()
            column = len(raw[:column].decode("utf-8", "replace"))
        return self.base + start + column


class State:
    def __init__(self, facts: Facts, mcpu: str, filename: str) -> None:
        self.facts = facts
        self.sources = SourceMap()
        self.checker = Checker(self.sources, facts, Options("libbpf", mcpu), filename)
        self.diagnostics = Diagnostics(self.sources)
        self.checker.diagnostics = self.diagnostics
        self.checker.kernel.relocatable = True
        self.files: dict[str, SourceFile | None] = {}
        self.maps: dict[int, tree.Variable] = {}  # by id of the declaration
        self.globals: dict[int, tree.Variable] = {}
        self.names: dict[str, Any] = {}  # names of the object → declaration
        self.kept: list[Any] = []  # declarations whose ids are keys
        self.records: dict[Any, C.Record] = {}
        self.events: dict[str, C.CType] = {}
        self.subprograms: dict[Any, tree.FunctionDecl] = {}
        self.types: dict[Any, Any] = {}  # of locals: (instance, name) → type, kept from pass to pass
        self.tracepoints: dict[tuple[str, str], C.Record | None] = {}
        self.same_types: dict[tuple[str, int], C.CType] = {}
        self.changed = False

    def begin(self) -> None:
        """Before each pass."""
        self.changed = False
        self.diagnostics.items.clear()
        self.diagnostics._seen.clear()
        self.diagnostics.error_count = 0
        self.subprograms.clear()

    def file(self, name: str) -> SourceFile | None:
        if name not in self.files:
            text = file_text(name)
            made = None
            if text is not None:
                try:
                    made = SourceFile(name, text, self.sources.add_file(name, text))
                except SyntaxError:
                    made = None
            self.files[name] = made
        return self.files[name]

    # ------------------------------------------------------------------------------------------------------- types

    def ctype(self, t: Any) -> C.CType | None:
        """The C type of one of ours; None where ``t`` is no type."""
        if isinstance(t, P.IntType):
            return _NAMED.get(t.__name__)
        if t is bool:
            return C.BOOL
        if t is int:
            return _NAMED["i64"]
        if isinstance(t, P.CharsType):
            return self.one(C.Array(C.CHAR, t.count))
        if isinstance(t, P.ArrayType):
            element = self.ctype(t.element)
            return None if element is None else self.one(C.Array(element, t.count))
        if isinstance(t, P.StructType):
            return self.record(t)
        if isinstance(t, P.PointerType):
            target = self.ctype(t.target)
            return C.Pointer(target if target is not None else C.VOID)
        if isinstance(t, P.KernelType):
            return self.kernel_type(t.name)
        return None

    def record(self, t: P.StructType) -> C.Record:
        known = self.records.get(t)
        if known is None:
            known = self.records[t] = C.Record("struct", t.__name__, t.size, t.align, complete=True, packed=t.packed)
            for index, f in enumerate(t.fields.values()):
                inner = self.ctype(f.type)
                assert inner is not None
                known.fields.append(C.Field(f.name, inner, 8 * f.offset, 0, index))
        return known

    def kernel_type(self, name: str) -> C.CType | None:
        """A struct, union, enum or typedef of the kernel."""
        kernel = self.checker.kernel
        for kind in ("struct", "union"):
            record = kernel.record(kind, name)
            if record.ensure_complete():
                return record
        return kernel.enum(name) or kernel.typedef(name)

    def constant(self, name: str) -> int | None:
        """A constant of the kernel's headers, or an enumerator."""
        from ebpf.abi.constants import lookup_constant
        from ebpf.compiler.c.kernel_types import ABI_ARCH

        version = self.facts.kernel_version
        found = lookup_constant(
            name, arch=ABI_ARCH.get(self.facts.arch, self.facts.arch), kernel=(version >> 16, version >> 8 & 255)
        )
        if isinstance(found, int):
            return found
        if isinstance(found, str):
            from ebpf.compiler.c import ast as c_ast
            from ebpf.compiler.c.kernel_declarations import parse_expression

            parsed = parse_expression(found, c_ast.Node(0, 0))
            if parsed is not None:
                return self.checker.constant_of(self.checker.value(parsed))
        known = self.checker.kernel.enumerator(name)
        return known[1] if known is not None else None

    def one(self, t: C.CType) -> C.CType:
        """The same object for every type that is the same: types are compared from pass to pass."""
        inner: C.CType = t
        while isinstance(inner, (C.Array, C.Pointer, C.Qualified, C.Typedef)):
            inner = inner.element if isinstance(inner, C.Array) else inner.target if isinstance(
                inner, C.Pointer) else inner.type
        if inner is t:
            return t
        named = id(inner) if isinstance(inner, (C.Record, C.Enum)) else 0
        return self.same_types.setdefault((C.format_ctype(t), named), t)

    # ------------------------------------------------------------------------------------------------ declarations

    def map(self, decl: MapDecl, name: str) -> tree.Variable:
        """The global variable that stands for a map; ``name`` if the declaration has none."""
        known = self.maps.get(id(decl))
        if known is None:
            decl.name = decl.name or name
            self._valid(decl)
            known = self._declare(decl, decl.name, C.Record("struct", None, align=8, complete=True), ".maps")
            self.maps[id(decl)] = known
            record = self.map_type(decl)
            known.type = record
            if decl.pinning:
                known.tags = () if decl.pinning == "by_name" else (f"pin:{decl.pinning}",)
        return known

    def _valid(self, decl: MapDecl) -> None:
        """Whether what a map is said to hold are types; `UsageError` if not."""
        from ebpf.compiler.py.declarations import MapDecl as Declared
        from ebpf.errors import UsageError

        for what, t in (("key", decl.key), ("value", decl.value)):
            if t is not None and self.ctype(t) is None:
                raise UsageError(f"the {what} of `{decl.name}` is {t!r}, which is no type of programs",
                                 helps=["there are u8 to u64, i8 to i64, bool, chars[N], arrays and structs"])
        if decl.inner is not None and not isinstance(decl.inner, Declared):
            raise UsageError(f"the maps in `{decl.name}` are to be like {decl.inner!r}, which is no map")
        if decl.inner is not None:
            self._valid(decl.inner)

    def map_type(self, decl: MapDecl) -> C.Record:
        kind = decl.type
        key, value = self.ctype(decl.key), self.ctype(decl.value)
        inner = None
        if kind in (MapType.RINGBUF, MapType.USER_RINGBUF):
            key = value = None
        elif kind in _WORD_VALUES:
            key = value = C.UINT
        elif kind == MapType.STACK_TRACE:
            key, value = C.UINT, value or C.Array(C.ULONG, _STACK_DEPTH)
        elif kind in _NO_KEY:
            key = None
        elif decl.inner is not None:
            inner, key = self.map_type(decl.inner), key or C.UINT
        elif key is None:
            key = C.UINT
        record = map_record(int(kind), key, value, decl.max_entries, decl.flags, inner, 0)
        for name, number in (("pinning", int(decl.pinning == "by_name")), ("map_extra", decl.map_extra)):
            if number:
                record.fields.append(
                    C.Field(name, C.Pointer(C.Array(C.INT, number)), 8 * record.size, 0, len(record.fields))
                )
                record.size += 8
        return record

    def global_variable(self, decl: GlobalDecl, name: str) -> tree.Variable:
        known = self.globals.get(id(decl))
        if known is None:
            t = self.ctype(decl.type)
            decl.name = decl.name or name
            if t is None:
                from ebpf.errors import UsageError

                raise UsageError(f"`{decl.name}` is to be a {decl.type!r}, which is no type of programs",
                                 helps=["there are u8 to u64, i8 to i64, bool, chars[N], arrays and structs"])
            if decl.const:
                t = C.Qualified(t, const=True, volatile=True)
            section = ".rodata" if decl.const else None
            known = self.globals[id(decl)] = self._declare(decl, decl.name, t, section)
            known.init = self._initial(decl, t)
        return known

    def _initial(self, decl: GlobalDecl, t: C.CType) -> tree.Initializer | None:
        if decl.initial is None:
            return None
        data = P.emit(decl.type, P.convert(decl.type, decl.initial))
        if not any(data):
            return None
        parts = [tree.InitPart(i, tree.IntConst(C.UCHAR, 0, 0, b)) for i, b in enumerate(data) if b]
        inner = C.strip(t)
        if not isinstance(inner, (C.Array, C.Record)):
            size = C.size_of(t) or 1
            signed = isinstance(inner, C.Int) and inner.signed
            number = int.from_bytes(data[:size], "little", signed=signed)
            parts = [tree.InitPart(0, tree.IntConst(C.strip(t), 0, 0, number))]
        return tree.Initializer(t, parts)

    def _declare(self, decl: Any, name: str, t: C.CType, section: str | None) -> tree.Variable:
        self.kept.append(decl)
        return tree.Variable(name, t, "global", 0, 0, section=section)
