"""Debug information from which LLVM's BPF back end makes BTF, line information and CO-RE records.

LLVM makes BTF of what functions, globals and CO-RE intrinsics refer to, follows members, and turns a struct seen only
behind a member pointer into a forward declaration. Two things are added here:

- Kernel records (``from_btf``) are described by the members that the program touches, with their true offsets and the
record's
  true size. CO-RE matches members by name, so a description of `task_struct` with two members relocates like one with
  two hundred, and the object stays small. Where bytes of a record are shown to people (map keys and values, events,
  globals) it is described whole (`whole`).
- Local variables are left out: BTF has no place for them. Parameters are given, for BTF's prototypes. With
  `ebpf.compiler.variables` on, places of both are told (`local`), for debuggers.

DWARF comes out of LLVM as a by-product and is dropped by `output`, unless that is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ebpf.compiler.c.types import (
    Array,
    CType,
    Enum,
    Field,
    Float,
    Function,
    Int,
    Pointer,
    Qualified,
    Record,
    Typedef,
    Void,
    align_of,
    size_of,
    strip,
)
from ebpf.compiler.llvm.ir import Module, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_COLUMN = 1023  # line information keeps the column in ten bits


class Places(Protocol):
    """What is wanted of a source map: where a position is, and the text of its file."""

    def position(self, loc: int) -> tuple[str, int, int]:
        """File name, line, column (both from 1) of a place; ``("", 0, 0)`` for none."""

    def file_text(self, name: str) -> str | None:
        """All of the text of the file called so; None if it was not read (a name given by ``#line``)."""


class DebugInfo:
    """Metadata of one module; hand out nodes (``"!12"``), then call `finish` once."""

    def __init__(self, module: Module, places: Places, filename: str, *, optimized: bool) -> None:
        self._module = module
        self._places = places
        self._files: dict[str, str] = {}
        self._types: dict[object, str] = {}
        self._records: dict[Record, str] = {}
        self._members: dict[Record, dict[Field, None]] = {}
        self._positions: dict[Record, dict[Field, int]] = {}
        self._whole: set[Record] = set()
        self._locations: dict[tuple[str, int], str] = {}
        self._globals: list[str] = []
        self._retained: list[str] = []
        self._optimized = optimized
        self._parameters: dict[str, list[str]] = {}
        self.unit = module.distinct()
        self._main = self.file(filename)
        module.named("llvm.dbg.cu", self.unit)
        # DWARF 4: version 5 wants embedded source for all files or none.
        for flag in (
            '!{i32 7, !"Dwarf Version", i32 4}',
            '!{i32 2, !"Debug Info Version", i32 3}',
            '!{i32 1, !"wchar_size", i32 4}',
            '!{i32 7, !"frame-pointer", i32 2}',
        ):
            module.named("llvm.module.flags", module.node(flag))

    # ------------------------------------------------------------------------------------------ places

    def file(self, name: str) -> str:
        node = self._files.get(name) if name or not self._files else self._main
        if node is None:
            # The text goes along: a string has no file, and a file may have changed.
            text = self._places.file_text(name)
            source = f", source: {quote(text)}" if text is not None else ""
            node = self._files[name] = self._module.node(f'!DIFile(filename: {quote(name)}, directory: ""{source})')
        return node

    def location(self, loc: int, scope: str) -> str:
        """A location in the function ``scope``. Code from an included file keeps its file."""
        key = (scope, loc)
        node = self._locations.get(key)
        if node is None:
            name, line, column = self._places.position(loc)
            file = self.file(name)
            if file != self._main:
                scope = self._module.node(f"!DILexicalBlockFile(scope: {scope}, file: {file}, discriminator: 0)")
            if column > _MAX_COLUMN:
                column = 0
            node = self._locations[key] = self._module.node(
                f"!DILocation(line: {line}, column: {column}, scope: {scope})"
            )
        return node

    # ------------------------------------------------------------------------------------------- types

    def whole(self, t: CType, *, through_pointers: bool = False) -> None:
        """Describe all members of the records in ``t`` (and of those its member pointers lead to, one level, for map
        definitions)."""
        t = strip(t)
        if isinstance(t, Array):
            self.whole(t.element, through_pointers=through_pointers)
        elif isinstance(t, Pointer):
            if through_pointers:
                self.whole(t.target)
        elif isinstance(t, Record) and (t not in self._whole or through_pointers):
            self._whole.add(t)
            t.ensure_complete()
            for f in t.fields:
                self.whole(f.type, through_pointers=through_pointers)

    def touch(self, record: Record, field: Field) -> None:
        """A member that CO-RE records name."""
        self._members.setdefault(record, {})[field] = None

    def position(self, record: Record, field: Field) -> int:
        """The member's index in the description; known only when everything has been lowered."""
        order = self._positions.get(record)
        if order is None:
            order = self._positions[record] = {f: i for i, f in enumerate(self._described(record))}
        return order[field]

    def type(self, t: CType) -> str:
        """The node that describes ``t``; ``"null"`` for void."""
        if isinstance(t, Void):
            return "null"
        if isinstance(t, Record):
            return self._record(t)
        if isinstance(t, Int):
            return self._basic(t.name, t.size, "DW_ATE_boolean" if t.name == "_Bool" else _encoding(t))
        if isinstance(t, Pointer):
            target = t.target
            tags: tuple[str, ...] = ()
            if isinstance(target, Qualified):
                tags = target.tags
            extra = f", annotations: {self._tags('btf_type_tag', tags)}" if tags else ""
            return self._module.node(
                f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {self.type(target)}, size: 64{extra})"
            )
        if isinstance(t, Typedef):
            cached = self._types.get(t)
            if cached is None:
                # Reserved first: a typedef may be reached again through the record it names.
                cached = self._types[t] = self._module.distinct()
                self._module.fill(
                    cached,
                    f"!DIDerivedType(tag: DW_TAG_typedef, name: {quote(t.name)}, file: {self._main}, "
                    f"line: 0, baseType: {self.type(t.type)})",
                )
            return cached
        if isinstance(t, Qualified):
            node = self.type(t.type)
            for word, on in (("volatile", t.volatile), ("const", t.const)):
                if on:
                    node = self._module.node(f"!DIDerivedType(tag: DW_TAG_{word}_type, baseType: {node})")
            return node
        if isinstance(t, Array):
            counts = []
            element: CType = t
            while isinstance(element, Array):
                counts.append(element.count)
                element = element.element
            ranges = ", ".join(self._module.node(f"!DISubrange(count: {-1 if n is None else n})") for n in counts)
            elements = self._module.node(f"!{{{ranges}}}")
            return self._module.node(
                f"!DICompositeType(tag: DW_TAG_array_type, baseType: {self.type(element)}, "
                f"size: {8 * (size_of(t) or 0)}, elements: {elements})"
            )
        if isinstance(t, Enum):
            return self._enum(t)
        if isinstance(t, Function):
            return self.prototype(t)
        if isinstance(t, Float):
            return self._basic(t.name, t.size, "DW_ATE_float")
        raise TypeError(t)

    def composite(self, t: CType) -> str:
        """The node of a record or array behind typedefs and qualifiers: what CO-RE intrinsics are told."""
        return self.type(strip(t))

    def prototype(self, t: Function) -> str:
        types = [self.type(t.result), *(self.type(p) for p in t.parameters)]
        if t.variadic:
            types.append("null")
        return self._module.node(f"!DISubroutineType(types: !{{{', '.join(types)}}})")

    def _basic(self, name: str, size: int, encoding: str) -> str:
        # clang's spelling, which people and tools expect in BTF
        name = {
            "long": "long",
            "unsigned long": "unsigned long",
            "short": "short",
            "unsigned short": "unsigned short",
        }.get(name, name)
        return self._module.node(f'!DIBasicType(name: "{name}", size: {8 * size}, encoding: {encoding})')

    def _enum(self, t: Enum) -> str:
        node = self._types.get(t)
        if node is None:
            node = self._types[t] = self._module.distinct()
            name = f"name: {quote(t.tag)}, " if t.tag else ""
            if t.complete or t.values:
                unsigned = "" if t.underlying.signed else ", isUnsigned: true"
                items = ", ".join(
                    self._module.node(f"!DIEnumerator(name: {quote(n)}, value: {v}{unsigned})")
                    for n, v in t.values.items()
                )
                elements = self._module.node(f"!{{{items}}}")
                self._module.fill(
                    node,
                    f"!DICompositeType(tag: DW_TAG_enumeration_type, {name}file: {self._main}, line: 0, "
                    f"baseType: {self.type(t.underlying)}, size: {8 * t.underlying.size}, elements: {elements})",
                )
            else:
                self._module.fill(
                    node,
                    f"!DICompositeType(tag: DW_TAG_enumeration_type, {name}file: {self._main}, line: 0, "
                    f"size: 32, flags: DIFlagFwdDecl)",
                )
        return node

    def _record(self, t: Record) -> str:
        node = self._records.get(t)
        if node is None:
            node = self._records[t] = self._module.distinct(lambda: self._record_text(t, node or ""))
        return node

    def _record_text(self, t: Record, node: str) -> str:
        kind = "structure" if t.kind == "struct" else "union"
        name = f"name: {quote(t.tag)}, " if t.tag else ""
        head = f"distinct !DICompositeType(tag: DW_TAG_{kind}_type, {name}file: {self._main}, line: 0, "
        # An untouched kernel record is named, never loaded: loading costs a look into the kernel's BTF for each.
        if (
            t.from_btf and t not in self._members and t not in self._whole and not t.complete
        ) or not t.ensure_complete():
            if t.tag:
                return f"{head}flags: DIFlagFwdDecl)"
        members = [self._member(f, node) for f in self._described(t)]
        elements = self._module.node(f"!{{{', '.join(members)}}}")
        return f"{head}size: {8 * t.size}, elements: {elements})"

    def _described(self, t: Record) -> Sequence[Field]:
        """The members that appear, in order of offset."""
        if t.from_btf and t not in self._whole:
            return sorted(self._members.get(t, ()), key=lambda f: (f.bit_offset, f.index))
        return [f for f in t.fields if f.name is not None or not f.bit_size]

    def _member(self, f: Field, scope: str) -> str:
        bits = ""
        size = 8 * (size_of(f.type) or 0)
        if f.bit_size:
            unit = 8 * (size_of(f.type) or 4)
            bits = f", flags: DIFlagBitField, extraData: i64 {f.bit_offset // unit * unit}"
            size = f.bit_size
        name = f"name: {quote(f.name)}, " if f.name else ""
        return self._module.node(
            f"!DIDerivedType(tag: DW_TAG_member, {name}scope: {scope}, file: {self._main}, line: 0, "
            f"baseType: {self.type(f.type)}, size: {size}, offset: {f.bit_offset}{bits})"
        )

    def _tags(self, kind: str, tags: Sequence[str]) -> str:
        items = ", ".join(self._module.node(f'!{{!"{kind}", !{quote(tag)}}}') for tag in tags)
        return self._module.node(f"!{{{items}}}")

    # ------------------------------------------------------------------------------------ declarations

    def function(
        self,
        name: str,
        t: Function,
        names: Sequence[str],
        loc: int,
        *,
        definition: bool,
        local: bool,
        tags: Sequence[tuple[int, str]] = (),
    ) -> str:
        """The subprogram; ``names`` are the parameters' (BTF shows them)."""
        file, line, _ = self._places.position(loc)
        where = self.file(file)
        flags = ["DISPFlagLocalToUnit"] if local else []
        flags += ["DISPFlagDefinition"] if definition else []
        flags += ["DISPFlagOptimized"] if self._optimized else []
        node = self._module.distinct()
        variables = []
        for i, (parameter, ptype) in enumerate(zip(names, t.parameters)):
            ptags = [tag for index, tag in tags if index == i]
            extra = f", annotations: {self._tags('btf_decl_tag', ptags)}" if ptags else ""
            variables.append(
                self._module.node(
                    f"!DILocalVariable(name: {quote(parameter)}, arg: {i + 1}, scope: {node}, "
                    f"file: {where}, line: {line}, type: {self.type(ptype)}{extra})"
                )
            )
        self._parameters[node] = variables
        own = [tag for index, tag in tags if index < 0]
        extra = f", annotations: {self._tags('btf_decl_tag', own)}" if own else ""
        unit = f"unit: {self.unit}, " if definition else ""
        self._module.fill(
            node,
            f"distinct !DISubprogram(name: {quote(name)}, scope: {where}, file: {where}, line: {line}, "
            f"type: {self.prototype(t)}, scopeLine: {line}, flags: DIFlagPrototyped, "
            f"spFlags: {' | '.join(flags) or '0'}, {unit}retainedNodes: !{{{', '.join(variables)}}}{extra})",
        )
        if not definition:
            self._module.fill(node, self._text(node).replace("distinct ", "", 1))
        return node

    def _text(self, node: str) -> str:
        text = self._module._metadata[int(node[1:])]
        assert isinstance(text, str)
        return text

    def variable(
        self, name: str, t: CType, loc: int, *, local: bool, definition: bool, tags: Sequence[str] = ()
    ) -> str:
        """A global variable's expression node, for its ``!dbg``."""
        file, line, _ = self._places.position(loc)
        extra = f", annotations: {self._tags('btf_decl_tag', tags)}" if tags else ""
        variable = self._module.distinct(
            f"distinct !DIGlobalVariable(name: {quote(name)}, scope: {self.unit}, file: {self.file(file)}, "
            f"line: {line}, "
            f"type: {self.type(t)}, isLocal: {str(local).lower()}, isDefinition: {str(definition).lower()}, "
            f"align: {8 * align_of(t)}{extra})"
        )
        node = self._module.node(f"!DIGlobalVariableExpression(var: {variable}, expr: !DIExpression())")
        self._globals.append(node)
        return node

    def parameter(self, scope: str, number: int) -> str:
        """The node of a parameter of the function ``scope``, counted from 0."""
        return self._parameters[scope][number]

    def local(self, name: str, t: CType, loc: int, scope: str) -> str:
        """A local variable of the function ``scope``."""
        file, line, _ = self._places.position(loc)
        return self._module.node(f"!DILocalVariable(name: {quote(name)}, scope: {scope}, file: {self.file(file)}, "
                                 f"line: {line}, type: {self.type(t)})")

    def retain(self, t: CType) -> None:
        """Describe a type that no function or global refers to."""
        self._retained.append(self.type(t))

    def finish(self) -> None:
        """Complete the compilation unit."""
        globals_ = self._module.node(f"!{{{', '.join(self._globals)}}}")
        retained = f", retainedTypes: !{{{', '.join(dict.fromkeys(self._retained))}}}" if self._retained else ""
        self._module.fill(
            self.unit,
            f'distinct !DICompileUnit(language: DW_LANG_C11, file: {self._main}, producer: "ebpf", '
            f"isOptimized: {str(self._optimized).lower()}, runtimeVersion: 0, emissionKind: FullDebug"
            f"{retained}, globals: {globals_}, splitDebugInlining: false, nameTableKind: None)",
        )


class NoDebugInfo(DebugInfo):
    """For code that nobody steps through and that has no BTF: every node is ``""``."""

    def __init__(self) -> None:
        pass

    def whole(self, t: CType, *, through_pointers: bool = False) -> None:
        pass

    def touch(self, record: Record, field: Field) -> None:
        pass

    def function(self, *_: object, **__: object) -> str:
        return ""

    def variable(self, *_: object, **__: object) -> str:
        return ""

    def location(self, loc: int, scope: str) -> str:
        return ""

    def retain(self, t: CType) -> None:
        pass

    def finish(self) -> None:
        pass


def _encoding(t: Int) -> str:
    if t.size == 1:
        return "DW_ATE_signed_char" if t.signed else "DW_ATE_unsigned_char"
    return "DW_ATE_signed" if t.signed else "DW_ATE_unsigned"
