"""Types as C text, laid out as ``bpftool btf dump format c`` does, so that the two can be compared line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.btf import types as T
from ebpf.btf.reader import MAX_DEPTH
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from ebpf.btf.reader import Btf

_MAX_PIECES = 1_000_000  # damaged BTF can describe text that grows exponentially
_QUALIFIERS: dict[object, str] = {T.Const: "const", T.Volatile: "volatile", T.Restrict: "restrict"}


def format_type(btf: Btf, id: int) -> str:
    """The type's definition as C text with its semicolon: a struct with its members, a typedef, a function's prototype.

    Types that have no definition of their own (``int``, ``char *``) give their name.
    """
    printer = _Printer(btf)
    t = btf.type(id)
    if isinstance(t, (T.Struct, T.Union)):
        printer.composite(t, 0)
    elif isinstance(t, (T.Enum, T.Enum64)):
        printer.enum(t, 0)
    elif isinstance(t, T.Typedef):
        printer.write("typedef ")
        printer.declaration(t.type, t.name, 0)
    elif isinstance(t, T.Func):
        printer.write({T.LINKAGE_STATIC: "static ", T.LINKAGE_EXTERN: "extern "}.get(t.linkage, ""))
        printer.declaration(t.type, t.name, 0)
    elif isinstance(t, T.Var):
        printer.write({T.LINKAGE_STATIC: "static ", T.LINKAGE_EXTERN: "extern "}.get(t.linkage, ""))
        printer.declaration(t.type, t.name, 0)
    elif isinstance(t, T.DataSec):
        printer.write(f"/* section {t.name}, {t.size} bytes */")
        for v in t.variables:
            inner = btf.type(v.type)
            text = format_type(btf, v.type) if isinstance(inner, (T.Var, T.Func)) else f"type {v.type};"
            printer.write(f"\n{text} /* at {v.offset}, {v.size} bytes */")
        return printer.text()
    elif isinstance(t, T.DeclTag):
        return f'/* btf_decl_tag("{t.name}") on type {t.type}, component {t.component_idx} */'
    elif isinstance(t, T.Fwd):
        printer.declaration(id, "", 0)
    else:
        return format_decl(btf, id)
    printer.write(";")
    return printer.text()


def format_decl(btf: Btf, id: int, name: str = "") -> str:
    """The declaration of ``name`` with that type (``"int (*ops[4])(void)"``), or the type alone, without semicolon."""
    printer = _Printer(btf)
    printer.declaration(id, name, 0)
    return printer.text()


class _Printer:
    __slots__ = ("_btf", "_out")

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._out: list[str] = []

    def text(self) -> str:
        return "".join(self._out)

    def write(self, text: str) -> None:
        self._out.append(text)
        if len(self._out) > _MAX_PIECES:
            raise BtfError("the C text of this type is too long: its anonymous members nest without end")

    def declaration(self, id: int, name: str, level: int) -> None:
        """C reads from the inside out: collect what stands around the name, then print from the base type on."""
        chain: list[T.Type] = []
        while True:
            if len(chain) > 2 * MAX_DEPTH or level > MAX_DEPTH:
                raise BtfError(f"type {id} is nested too deeply to be written as C")
            t = self._btf.type(id)
            chain.append(t)
            if isinstance(t, (T.Ptr, T.Array, T.FuncProto, T.Const, T.Volatile, T.Restrict, T.TypeTag)):
                id = t.type
            else:
                break
        self._chain(chain, name, level)

    def _chain(self, chain: list[T.Type], name: str, level: int) -> None:
        after_star = True
        while chain:
            t = chain.pop()
            if isinstance(t, T.Ptr):
                self.write("*" if after_star else " *")
                after_star = True
                continue
            if isinstance(t, T.Array):
                while chain and type(chain[-1]) in _QUALIFIERS:  # `const int[3]` says it at the element already
                    chain.pop()
                if not chain:
                    self._name(name, after_star)
                elif isinstance(chain[-1], T.Array):
                    if name and not after_star:
                        self.write(" ")
                    self._chain(chain, name, level)
                else:
                    self.write("(" if after_star or not name else " (")
                    self._chain(chain, name, level)
                    self.write(")")
                self.write(f"[{t.nelems}]")
                return
            if isinstance(t, T.FuncProto):
                while chain and type(chain[-1]) in _QUALIFIERS:
                    chain.pop()
                if chain:
                    self.write(" (")
                    self._chain(chain, name, level)
                    self.write(")")
                else:
                    self._name(name, after_star)
                self._params(t, level)
                return
            if type(t) in _QUALIFIERS:
                self.write(f" {_QUALIFIERS[type(t)]}")
            elif isinstance(t, T.TypeTag):
                self._qualifiers(chain)
                attribute = t.name if t.is_attribute else f'btf_type_tag("{t.name}")'
                self.write(f" __attribute__(({attribute}))")
            else:
                self._qualifiers(chain)
                self._base(t, level)
            after_star = False
        self._name(name, after_star)

    def _qualifiers(self, chain: list[T.Type]) -> None:
        while chain and type(chain[-1]) in _QUALIFIERS:
            self.write(f"{_QUALIFIERS[type(chain.pop())]} ")

    def _name(self, name: str, after_star: bool) -> None:
        if name:
            self.write(name if after_star else f" {name}")

    def _base(self, t: T.Type, level: int) -> None:
        if isinstance(t, (T.Struct, T.Union)):
            if t.name:
                self.write(f"{'struct' if isinstance(t, T.Struct) else 'union'} {t.name}")
            else:
                self.composite(t, level)
        elif isinstance(t, (T.Enum, T.Enum64)):
            if t.name:
                self.write(f"enum {t.name}")
            else:
                self.enum(t, level)
        elif isinstance(t, T.Fwd):
            self.write(f"{'union' if t.is_union else 'struct'} {t.name}")
        elif isinstance(t, (T.Func, T.Var, T.DataSec, T.DeclTag)):
            raise BtfError(f"type {t.id} ({t.kind.name} {t.name!r}) is used as the type of a value")
        else:
            self.write(t.name)

    def _params(self, proto: T.FuncProto, level: int) -> None:
        params = proto.params
        # Clang writes `(void)` as no parameters for functions, and as one of type void for some pointers to them.
        if not params or (len(params) == 1 and not params[0].type and not params[0].name):
            self.write("(void)")
            return
        self.write("(")
        for i, p in enumerate(params):
            if i:
                self.write(", ")
            if not p.type and i == len(params) - 1:
                self.write("...")
            else:
                self.declaration(p.type, p.name, level + 1)
        self.write(")")

    def enum(self, t: T.Enum | T.Enum64, level: int) -> None:
        self.write(f"enum {t.name}" if t.name else "enum")
        if not t.values:
            return
        suffix = "" if isinstance(t, T.Enum) else "LL" if t.signed else "ULL"
        indent = "\n" + "\t" * (level + 1)
        self.write(" {")
        for v in t.values:
            self.write(f"{indent}{v.name} = {v.value}{suffix},")
        self.write("\n" + "\t" * level + "}")
        if t.size == 1:
            self.write(" __attribute__((mode(byte)))")
        elif t.size == 8 and all(v.value >> 32 in (0, -1) for v in t.values):
            self.write(" __attribute__((mode(word)))")

    def composite(self, t: T.Struct | T.Union, level: int) -> None:
        btf = self._btf
        is_struct = isinstance(t, T.Struct)
        packed = is_struct and self._is_packed(t)
        self.write(("struct " if is_struct else "union ") + (f"{t.name} {{" if t.name else "{"))
        indent = "\n" + "\t" * (level + 1)
        offset = 0
        after_bitfield = False
        for m in t.members:
            if is_struct and m.bit_offset > offset:
                align = 1 if packed else btf.align_of(m.type)
                self._padding(offset, m.bit_offset, align, after_bitfield and m.bit_size > 0, indent)
            self.write(indent)
            self.declaration(m.type, m.name, level + 1)
            after_bitfield = m.bit_size > 0
            if after_bitfield:
                self.write(f": {m.bit_size}")
                offset = m.bit_offset + m.bit_size
            else:
                offset = m.bit_offset + 8 * btf.size_of(m.type)
            self.write(";")
        if is_struct and 8 * t.size > offset:
            self._padding(offset, 8 * t.size, 1 if packed else btf.align_of(t.id), False, indent)
        if t.members or t.size:
            self.write("\n" + "\t" * level)
        self.write("} __attribute__((packed))" if packed else "}")

    def _is_packed(self, t: T.Struct | T.Union) -> bool:
        largest = 1
        for m in t.members:
            align = self._btf.align_of(m.type)
            if not m.bit_size and m.bit_offset % (8 * align):
                return True
            largest = max(largest, align)
        return t.size % largest != 0

    def _padding(self, start: int, end: int, align: int, in_bitfield: bool, indent: str) -> None:
        """Fill the gap with unnamed bit-fields, but only where a compiler would not leave it by itself."""
        pads = (("long", 8 * self._btf.pointer_size), ("int", 32), ("short", 16), ("char", 8))
        # The widest type that has a boundary inside of the gap: alignment alone leads up to that boundary.
        name, bits = next((p for p in pads if -(-start // p[1]) * p[1] <= end), pads[-1])
        boundary = -(-start // bits) * bits
        if start < boundary <= end:
            natural = -(-start // (8 * align)) * 8 * align
            if (in_bitfield or (boundary == end and natural != boundary)
                    or (boundary != end and end - boundary <= boundary - start)):
                self.write(f"{indent}{name}: {boundary - start if in_bitfield else 0};")
            start = boundary
        if (end - start) // bits > 4096:  # a struct may claim 4 GB; nobody wants a line for each word of them
            self.write(f"{indent}char: 0; /* {(end - start) // 8} bytes of padding */")
            return
        while start < end:
            rest = min(end - start, bits)
            if rest < bits:
                name = next((n for n, b in reversed(pads) if b >= rest), name)
            self.write(f"{indent}{name}: {rest};")
            start += rest
