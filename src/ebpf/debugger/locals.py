"""Local variables and parameters where a program stands, and expressions of them: ``pair.first``, ``*n``, ``a[2]``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.binaries.locations import locate
from ebpf.btf import types as B
from ebpf.btf.format import format_decl
from ebpf.btf.values import codec
from ebpf.errors import EbpfError, MachineFault, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.btf import Btf
    from ebpf.debugger.scopes import Scopes, Variable
    from ebpf.machine.image import Image

_STACK_ALIGN = 8
_M64 = (1 << 64) - 1
_TOKEN = re.compile(r"\s*(->|\.|\[|\]|\*|[A-Za-z_]\w*|0[xX][0-9a-fA-F]+|\d+)")


class Local(NamedTuple):
    """A variable as it is now: ``value`` is decoded as the values of maps are (``None``: optimised out here), ``where``
    says where it lives (``"r6"``, ``"r10-8"``, ``"constant"``, ``""``), ``function`` whose it is (of an inlined one,
    too), ``type`` is C.
    """

    name: str
    type: str
    value: Any
    text: str  #: the value as C would write it
    where: str
    function: str
    line: int  #: where it is declared

    @property
    def optimised_out(self) -> bool:
        """Whether it has no value here: not yet, no longer, or none that the compiler kept."""
        return not self.where

    def __str__(self) -> str:
        shown = self.text if self.where else "optimised out"
        return f"{_declared(self.type, self.name)} = {shown}" + (f"   ({self.where})" if self.where else "")


class Found(NamedTuple):
    """A typed value, and where it lies in memory (-1: nowhere)."""

    btf: Btf
    type: int
    data: bytes
    address: int


class Reader:
    """Reads the variables of one frame: its registers, memory, and where each of its addresses is told to be."""

    def __init__(self, scopes: Scopes, address: int, line: int, registers: Sequence[int], frame_bytes: int,
                 read: Callable[[int, int], bytes], name_of: Callable[[int], str | None],
                 others: Sequence[Btf]) -> None:
        self._scopes = scopes
        self._address = address
        self._line = line
        self._registers = registers
        self._frame_bytes = frame_bytes
        self._read = read
        self._name_of = name_of
        self._others = others

    def all(self) -> list[Local]:
        """Variables in scope, those of the innermost (inlined) function first; those that are yet to be declared are
        left out, and so are those that another one of the same name hides.
        """
        found: list[Local] = []
        for _, variables, called in self._scopes.at(self._address):
            here: dict[str, Local] = {}
            for variable in variables:
                local = self._local(variable)
                early = variable.line > (called or self._line) and not variable.is_parameter
                if early or (local.optimised_out and variable.name in here):
                    continue
                here.pop(variable.name, None)
                here[variable.name] = local
            found += here.values()
        return found

    def evaluate(self, text: str) -> Local:
        """One expression. `UsageError` with what there is for names that are not there, and for what has no value."""
        tokens = _tokens(text)
        stars = 0
        while tokens and tokens[0] == "*":
            stars, tokens = stars + 1, tokens[1:]
        if not tokens or not tokens[0].isidentifier():
            raise UsageError(f"{text!r} is no expression: a variable, with *, .member, ->member and [index]")
        variable = self._variable(tokens.pop(0))
        value = self._find(variable)
        if value is None:
            if stars or tokens:
                raise UsageError(f"{variable.name} is optimised out here")
            return self._local(variable)
        while tokens:
            value, tokens = self._step(value, tokens, text)
        for _ in range(stars):
            value = self._element(value, 0, text)
        where = f"{value.address:#x}" if value.address >= 0 else self._where(variable)
        return self._shown(text.strip(), value, where, variable)

    # ---- variables ----

    def _variable(self, name: str) -> Variable:
        known: list[str] = []
        for _, variables, _ in self._scopes.at(self._address):
            named = [v for v in variables if v.name == name]
            if named:
                placed = [v for v in named if self._scopes.expression(v, self._address) is not None]
                return (placed or named)[-1]
            known += [v.name for v in variables]
        from ebpf.diagnostics import did_you_mean

        similar = did_you_mean(name, known)
        raise UsageError(f"there is no variable {name!r} here", helps=(
            f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(known) or 'none'}",))

    def _find(self, variable: Variable) -> Found | None:
        expression = self._scopes.expression(variable, self._address)
        btf = self._scopes.btf
        size = btf.size_of(variable.type) if variable.type else 0
        if expression is None or not size:
            return None
        try:
            place = locate(expression, self._registers, self._frame, self._read)
            if place is None:
                return None
            if place.kind == "memory":
                return Found(btf, variable.type, self._read(place.value, size), place.value)
        except MachineFault:
            return None
        value = self._registers[place.value] if place.kind == "register" else place.value
        if size > 8:
            return None
        return Found(btf, variable.type, (value & _M64).to_bytes(8, "little")[:size], -1)

    def _frame(self, offset: int) -> int:
        """LLVM's BPF back end counts from the lowest byte of the frame, and calls that the frame pointer."""
        return self._registers[10] + (offset - self._frame_bytes if offset >= 0 else offset)

    def _where(self, variable: Variable) -> str:
        expression = self._scopes.expression(variable, self._address)
        place = None if expression is None else locate(expression, self._registers, self._frame, self._read)
        if place is None:
            return ""
        if place.kind == "register":
            return f"r{place.value}"
        if place.kind == "value":
            return "constant" if expression is not None and expression[0] in range(0x08, 0x50) else "computed"
        distance = self._registers[10] - place.value
        return f"r10-{distance}" if 0 < distance <= 512 else f"{place.value:#x}"

    def _local(self, variable: Variable) -> Local:
        value = self._find(variable)
        if value is None:
            btf = self._scopes.btf
            return Local(variable.name, format_decl(btf, variable.type) if variable.type else "void", None, "", "",
                         variable.function, variable.line)
        return self._shown(variable.name, value, self._where(variable), variable)

    def _shown(self, name: str, value: Found, where: str, variable: Variable) -> Local:
        decoded = codec(value.btf, value.type).decode(value.data)
        return Local(name, format_decl(value.btf, value.type), decoded, self._text(value, decoded), where,
                     variable.function, variable.line)

    def _text(self, value: Found, decoded: Any) -> str:
        kind = value.btf.resolve(value.type)
        if isinstance(value.btf.type(kind), B.Ptr):
            name = self._name_of(decoded) if decoded > 4096 else None
            return f"{decoded:#x}" + (f" ({name})" if name else "")
        return codec(value.btf, value.type).format(decoded)

    # ---- steps ----

    def _step(self, value: Found, tokens: list[str], text: str) -> tuple[Found, list[str]]:
        operator, *rest = tokens
        if operator in (".", "->") and rest and rest[0].isidentifier():
            target = self._element(value, 0, text) if operator == "->" else value
            return self._member(target, rest[0], text), rest[1:]
        if operator == "[" and len(rest) >= 2 and rest[0][0].isdigit() and rest[1] == "]":
            return self._element(value, int(rest[0], 0), text), rest[2:]
        raise UsageError(f"{text!r} is no expression at {' '.join(tokens)!r}: *, .member, ->member and [index] are")

    def _member(self, value: Found, name: str, text: str) -> Found:
        kind = value.btf.resolve(value.type)
        if not isinstance(value.btf.type(kind), (B.Struct, B.Union)):
            raise UsageError(f"{format_decl(value.btf, value.type)} has no members: {text}")
        members = value.btf.members(kind)
        if name not in members:
            from ebpf.diagnostics import unknown_name

            raise unknown_name("member", name, list(members))
        field = members[name]
        if field.is_bitfield:
            record = codec(value.btf, value.type).decode(value.data)
            size = value.btf.size_of(field.type)
            return Found(value.btf, field.type, (record[name] & (1 << 8 * size) - 1).to_bytes(size, "little"), -1)
        at, size = field.bit_offset // 8, value.btf.size_of(field.type)
        return Found(value.btf, field.type, value.data[at:at + size], value.address + at if value.address >= 0 else -1)

    def _element(self, value: Found, index: int, text: str) -> Found:
        """What a pointer leads to, or an element of an array."""
        btf = value.btf
        kind = btf.type(btf.resolve(value.type))
        if isinstance(kind, B.Array):
            size = btf.size_of(kind.type)
            if index >= kind.nelems:
                raise UsageError(f"{text}: the array has {kind.nelems} elements")
            at = index * size
            return Found(btf, kind.type, value.data[at:at + size], value.address + at if value.address >= 0 else -1)
        if not isinstance(kind, B.Ptr):
            raise UsageError(f"{format_decl(btf, value.type)} is no pointer: {text}")
        btf, target = self._complete(btf, kind.type)
        address = int.from_bytes(value.data, "little") + index * btf.size_of(target)
        try:
            return Found(btf, target, self._read(address, btf.size_of(target)), address)
        except MachineFault:
            raise UsageError(f"{text}: there is nothing to be read at {address:#x}") from None

    def _complete(self, btf: Btf, target: int) -> tuple[Btf, int]:
        """A struct that is only declared there, from wherever it is known."""
        if not target:
            raise UsageError("a void pointer leads to nothing with a type")
        kind = btf.type(btf.resolve(target))
        if not isinstance(kind, B.Fwd):
            return btf, target
        for other in self._others:
            found = other.find(kind.name, B.Kind.STRUCT) or other.find(kind.name, B.Kind.UNION)
            if found:
                return other, found
        raise UsageError(f"nobody knows the members of struct {kind.name}")


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"{text!r} is no expression at {text[at:]!r}")
        found.append(match[1])
        at = match.end()
    return found


def _declared(type: str, name: str) -> str:
    """``char name[16]`` of ``char[16]``, ``int *n`` of ``int *``."""
    head, bracket, dimensions = type.partition("[")
    return f"{head.rstrip()}{'' if head.endswith('*') else ' '}{name}{bracket}{dimensions}"


def frame_bytes(image: Image, slot: int) -> int:
    """How deep the frame of the function at ``slot`` is: as deep as its code reaches below r10."""
    start = image.function_start(slot)
    end = next((s for s in image.starts if s > start), image.size)
    deepest, copies = 0, set()
    for at in range(start, end):
        insn = image.insns.get(at)
        if insn is None:
            continue
        kind = insn.opcode & 7
        if insn.opcode == 0xBF and insn.src == 10 and not insn.off:  # rN = r10
            copies.add(insn.dst)
        elif insn.opcode == 0x07 and insn.dst in copies:  # rN += imm
            deepest = min(deepest, insn.imm)
            copies.discard(insn.dst)
        else:
            if (kind == 1 and insn.src == 10) or (kind in (2, 3) and insn.dst == 10):
                deepest = min(deepest, insn.off)
            if kind in (1, 4, 7):
                copies.discard(insn.dst)
    return -deepest + (deepest % _STACK_ALIGN)


def others_of(obj: Any, kernel: Any) -> list[Btf]:
    """Where the members of a struct may be known: the object, then the kernel."""
    found: list[Btf] = [] if obj.btf is None else [obj.btf]
    try:
        types = kernel()
    except EbpfError:
        return found
    return [*found, types] if types is not None else found
