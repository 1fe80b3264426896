"""The types that BTF can describe: one small immutable class per kind, with the kernel's names.

Types refer to each other by id, as in BTF itself: a type makes sense only together with the `Btf` it came from. They
are named tuples, because a dataclass costs five times as much to define and a look at ``struct task_struct`` makes
hundreds of them. Source: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Kind(IntEnum):
    """``BTF_KIND_*``."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Words (of 32 bits) that one type of a kind occupies: fixed part, and what each of its `vlen` entries adds.
FIXED_WORDS = (3, 4, 3, 6, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3, 4, 3, 3)
ENTRY_WORDS = (0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3)

LINKAGE_STATIC, LINKAGE_GLOBAL, LINKAGE_EXTERN = 0, 1, 2
INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4


class Void(NamedTuple):
    """Id 0: no type, or ``void``."""

    id: int = 0
    name: str = "void"

    @property
    def kind(self) -> Kind:
        return Kind.VOID


class Int(NamedTuple):
    """An integer of ``size`` bytes; fewer ``bits``, or a ``bit_offset``, only in bit-fields of the old style."""

    id: int
    name: str
    size: int
    encoding: int
    bit_offset: int
    bits: int

    @property
    def kind(self) -> Kind:
        return Kind.INT

    @property
    def signed(self) -> bool:
        return bool(self.encoding & INT_SIGNED)

    @property
    def is_bool(self) -> bool:
        return bool(self.encoding & INT_BOOL)

    @property
    def is_char(self) -> bool:
        """One byte that holds text: marked so, or called ``char`` (compilers mark it as a plain integer)."""
        return self.size == 1 and (bool(self.encoding & INT_CHAR) or self.name == "char")


class Ptr(NamedTuple):
    id: int
    type: int
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.PTR


class Array(NamedTuple):
    """``nelems`` is 0 for a flexible array."""

    id: int
    type: int
    index_type: int
    nelems: int
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.ARRAY


class Member(NamedTuple):
    """``bit_offset`` counts from the start of the struct; ``bit_size`` is 0 unless the member is a bit-field."""

    name: str
    type: int
    bit_offset: int
    bit_size: int = 0


class Struct(NamedTuple):
    id: int
    name: str
    size: int
    members: tuple[Member, ...]

    @property
    def kind(self) -> Kind:
        return Kind.STRUCT


class Union(NamedTuple):
    id: int
    name: str
    size: int
    members: tuple[Member, ...]

    @property
    def kind(self) -> Kind:
        return Kind.UNION


class Enumerator(NamedTuple):
    name: str
    value: int


class Enum(NamedTuple):
    id: int
    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]

    @property
    def kind(self) -> Kind:
        return Kind.ENUM


class Enum64(NamedTuple):
    """An enum with values of 64 bits (Linux 6.0)."""

    id: int
    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]

    @property
    def kind(self) -> Kind:
        return Kind.ENUM64


class Fwd(NamedTuple):
    """A struct or union that is declared but not defined here."""

    id: int
    name: str
    is_union: bool

    @property
    def kind(self) -> Kind:
        return Kind.FWD


class Typedef(NamedTuple):
    id: int
    name: str
    type: int

    @property
    def kind(self) -> Kind:
        return Kind.TYPEDEF


class Volatile(NamedTuple):
    id: int
    type: int
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.VOLATILE


class Const(NamedTuple):
    id: int
    type: int
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.CONST


class Restrict(NamedTuple):
    id: int
    type: int
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.RESTRICT


class TypeTag(NamedTuple):
    """``btf_type_tag("name")`` (5.17), or with ``is_attribute`` any attribute of that name (6.15)."""

    id: int
    name: str
    type: int
    is_attribute: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.TYPE_TAG


class Func(NamedTuple):
    """``type`` is its `FuncProto`; ``linkage`` is one of ``LINKAGE_*``."""

    id: int
    name: str
    type: int
    linkage: int

    @property
    def kind(self) -> Kind:
        return Kind.FUNC


class Param(NamedTuple):
    name: str
    type: int


class FuncProto(NamedTuple):
    """``type`` is what it returns. A last parameter without name and type stands for ``...``."""

    id: int
    type: int
    params: tuple[Param, ...]
    name: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.FUNC_PROTO


class Var(NamedTuple):
    id: int
    name: str
    type: int
    linkage: int

    @property
    def kind(self) -> Kind:
        return Kind.VAR


class SecVar(NamedTuple):
    """A variable's (or an extern function's) place in a section; ``offset`` and ``size`` in bytes."""

    type: int
    offset: int
    size: int


class DataSec(NamedTuple):
    id: int
    name: str
    size: int
    variables: tuple[SecVar, ...]

    @property
    def kind(self) -> Kind:
        return Kind.DATASEC


class Float(NamedTuple):
    """(5.13)"""

    id: int
    name: str
    size: int

    @property
    def kind(self) -> Kind:
        return Kind.FLOAT


class DeclTag(NamedTuple):
    """``btf_decl_tag("name")`` on ``type``, or on its member or parameter ``component_idx`` if not -1 (5.16)."""

    id: int
    name: str
    type: int
    component_idx: int
    is_attribute: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.DECL_TAG


Type: TypeAlias = (
    Void | Int | Ptr | Array | Struct | Union | Enum | Fwd | Typedef | Volatile | Const | Restrict | Func | FuncProto
    | Var | DataSec | Float | DeclTag | TypeTag | Enum64
)

#: Kinds that are another type under another name or with a qualifier; `Btf.resolve` looks through them.
MODIFIERS = (Typedef, Volatile, Const, Restrict, TypeTag)
MODIFIER_KINDS = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
_REFERRING = (Ptr, *MODIFIERS, Func, Var, DeclTag)


def references(type: Type) -> Sequence[int]:
    """The ids that a type refers to, in order."""
    if isinstance(type, (Struct, Union)):
        return [m.type for m in type.members]
    if isinstance(type, Array):
        return [type.type, type.index_type]
    if isinstance(type, FuncProto):
        return [type.type, *(p.type for p in type.params)]
    if isinstance(type, DataSec):
        return [v.type for v in type.variables]
    if isinstance(type, _REFERRING):
        return [type.type]
    return []


def moved(type: Any, of: Callable[[int], int]) -> Any:
    """The type with every id that it refers to replaced by what ``of`` says."""
    if isinstance(type, (Struct, Union)):
        return type._replace(members=tuple([m._replace(type=of(m.type)) for m in type.members]))
    if isinstance(type, Array):
        return type._replace(type=of(type.type), index_type=of(type.index_type))
    if isinstance(type, FuncProto):
        return type._replace(type=of(type.type), params=tuple([p._replace(type=of(p.type)) for p in type.params]))
    if isinstance(type, DataSec):
        return type._replace(variables=tuple([v._replace(type=of(v.type)) for v in type.variables]))
    if isinstance(type, _REFERRING):
        return type._replace(type=of(type.type))
    return type
