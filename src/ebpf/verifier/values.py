"""What a register or a stack slot can hold: nothing, a number, or a pointer into something known.

Values are immutable and shared between states; two places that hold *the same object* are known to hold the same
number, so that what a
branch tells of one it tells of the other. A number also remembers what it was made from (``parents``): when it turns
out that safety
depends on it, `mark_precise` marks it and everything it came from, in every saved state that holds one of these
objects. A number that
was never marked could have been any other number without changing a verdict; that is what lets `equivalence` ignore it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ebpf.verifier.ranges import UNKNOWN, Range, const

if TYPE_CHECKING:
    from typing import Any

    from ebpf.verifier.program import MapInfo

# Kinds; the names are the kernel's register types'.
SCALAR: Final = 0
CTX: Final = 1
STACK: Final = 2
MAP_PTR: Final = 3
MAP_VALUE: Final = 4
MAP_KEY: Final = 5
PACKET: Final = 6
PACKET_META: Final = 7
PACKET_END: Final = 8
FLOW_KEYS: Final = 9
SOCKET: Final = 10
SOCK_COMMON: Final = 11
TCP_SOCK: Final = 12
XDP_SOCK: Final = 13
BUFFER: Final = 14
BTF: Final = 15
PERCPU_BTF: Final = 16
MEM: Final = 17
RECORD: Final = 18
FUNC: Final = 19
DYNPTR: Final = 20
ARENA: Final = 21

# As the table of refusals names them (`abi.refusals.REGISTER_KINDS`).
KIND_NAMES = (
    "scalar",
    "ctx",
    "fp",
    "map_ptr",
    "map_value",
    "map_key",
    "pkt",
    "pkt_meta",
    "pkt_end",
    "flow_keys",
    "sock",
    "sock",
    "sock",
    "sock",
    "buf",
    "ptr_",
    "percpu_ptr_",
    "mem",
    "ringbuf_mem",
    "func",
    "dynptr_ptr",
    "arena",
)
KIND_WORDS = (
    "a number",
    "the context",
    "stack memory",
    "a map",
    "a map's value",
    "a map's key",
    "packet memory",
    "packet metadata",
    "the packet's end",
    "flow keys",
    "a socket",
    "a socket",
    "a TCP socket",
    "an AF_XDP socket",
    "a buffer",
    "a kernel object",
    "a per-CPU kernel variable",
    "a block of memory",
    "a ring-buffer record",
    "a function",
    "a dynptr",
    "arena memory",
)
PACKET_KINDS = frozenset((PACKET, PACKET_META, PACKET_END))
SOCKET_LAYOUTS = {SOCKET: "sk", SOCK_COMMON: "skc", TCP_SOCK: "tcp", XDP_SOCK: "xdp_sock"}
ZERO_RANGE = const(0)


class Scalar:
    """A number out of ``range``. ``precise``: something safe depends on its range. ``base``/``delta``: see `loops`."""

    kind: int = SCALAR
    __slots__ = ("base", "delta", "parents", "precise", "range")

    def __init__(self, range: Range, parents: tuple[Scalar, ...] = ()) -> None:
        self.range = range
        self.parents = parents
        self.precise = False
        self.base = 0
        self.delta = 0

    def __repr__(self) -> str:
        return f"<{self.range!r}{' precise' if self.precise else ''}>"


class Pointer:
    """A pointer ``off`` bytes (plus a number out of ``var``) into something.

    ``nullable``: may be 0 instead. ``id`` names the look-up that gave it: a check of one copy settles all copies of the
    same id (for
    packets: pointers of the same id have the same variable part, so a bound of one bounds the others). ``ref``: what it
    belongs to must
    be given back. ``bound``: bytes known to be in the packet from offset 0 of this id; for memory, its size. ``frame``:
    whose stack.
    ``target``: of a BTF pointer the (Btf, type id); of a function its first slot; of a dynptr slot's data its identity.
    ``link``: the variable part is the number with this ``base`` (see `loops`).
    """

    __slots__ = (
        "bound",
        "frame",
        "id",
        "kind",
        "link",
        "map",
        "nullable",
        "off",
        "readonly",
        "ref",
        "target",
        "trusted",
        "var",
    )
    precise = True

    def __init__(
        self,
        kind: int,
        off: int = 0,
        var: Range = ZERO_RANGE,
        *,
        id: int = 0,
        ref: int = 0,
        map: MapInfo | None = None,
        bound: int = 0,
        frame: int = 0,
        nullable: bool = False,
        target: Any = None,
        readonly: bool = False,
        trusted: bool = True,
    ) -> None:
        self.kind: int = kind
        self.off = off
        self.var = var
        self.id = id
        self.ref = ref
        self.map = map
        self.bound = bound
        self.frame = frame
        self.nullable = nullable
        self.target = target
        self.readonly = readonly
        self.trusted = trusted
        self.link = 0

    def but(self, **changes: object) -> Pointer:
        """A copy with some attributes changed."""
        new = object.__new__(Pointer)
        for name in Pointer.__slots__:
            setattr(new, name, changes[name] if name in changes else getattr(self, name))
        return new

    def moved(self, off: int, var: Range) -> Pointer:
        """A copy at another place in the same thing (the frequent case of `but`)."""
        new = object.__new__(Pointer)
        new.kind = self.kind
        new.off = off
        new.var = var
        new.id = self.id
        new.ref = self.ref
        new.map = self.map
        new.bound = self.bound
        new.frame = self.frame
        new.nullable = self.nullable
        new.target = self.target
        new.readonly = self.readonly
        new.trusted = self.trusted
        new.link = self.link if var is self.var else 0
        return new

    def __repr__(self) -> str:
        var = "" if self.var is ZERO_RANGE else f"+({self.var!r})"
        return f"<{KIND_NAMES[self.kind]}{'_or_null' if self.nullable else ''}{self.off:+d}{var} id={self.id}>"


Value = Scalar | Pointer


def number(value: int) -> Scalar:
    """A constant."""
    return Scalar(const(value))


def anything(*parents: Scalar) -> Scalar:
    """A number of which nothing is known."""
    return Scalar(UNKNOWN, parents)


def mark_precise(value: Scalar) -> None:
    """Safety depends on this number's range: and so on the ranges of all that it was made from."""
    if value.precise:
        return
    work = [value]
    while work:
        v = work.pop()
        if not v.precise:
            v.precise = True
            work += v.parents
            v.parents = ()  # all of them are marked now, or will be below; this also lets the history go


def describe(value: Value | None) -> str:
    """The value in words, for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, Scalar):
        return f"the number {value.range!r}" if value.range.is_const else f"a number ({value.range!r})"
    words = KIND_WORDS[value.kind]
    if value.kind in (MAP_PTR, MAP_VALUE, MAP_KEY) and value.map is not None:
        words += f" (`{value.map.name}`)"
    if value.off or not value.var.is_const:
        words += f" at offset {value.off}" + ("" if value.var.is_const else f" plus ({value.var!r})")
    return words + (" or NULL" if value.nullable else "")
