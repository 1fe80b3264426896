"""The kernel's types as C types, made from its BTF when the program names them.

A record from BTF is an empty shell until somebody asks for its members; then its own fields are made, and shells for
the records
they point to. So a program that reads ``sk->__sk_common.skc_daddr`` pays for two structs, not for the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.typedefs import TYPEDEFS
from ebpf.compiler.c import types as C

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.btf import Btf, types as B
    from ebpf.compiler.facts import Facts

# Structs that programs share with the kernel as user ABI: their layout never moves, so no access to them is relocated.
_STABLE = frozenset(
    """
    xdp_md __sk_buff bpf_sock bpf_tcp_sock bpf_sock_tuple bpf_sock_addr bpf_sock_ops sk_msg_md sk_reuseport_md
    bpf_sysctl
    bpf_cgroup_dev_ctx bpf_sockopt bpf_perf_event_data bpf_perf_event_value bpf_raw_tracepoint_args bpf_sk_lookup
    bpf_fib_lookup
    bpf_tunnel_key bpf_spin_lock bpf_timer bpf_dynptr bpf_list_head bpf_list_node bpf_rb_root bpf_rb_node bpf_refcount
    bpf_iter_num bpf_wq bpf_pidns_info btf_ptr ethhdr iphdr ipv6hdr tcphdr udphdr icmphdr icmp6hdr vlan_hdr arphdr
    in6_addr in_addr
    pt_regs user_pt_regs
""".split()
)

_NOT_THERE = object()


class _Member(C.Field):
    """A member whose type is made when somebody looks at it: of the hundred of ``struct sock`` a program uses three."""

    source: tuple[KernelTypes, Btf, int] = _NOT_THERE  # type: ignore[assignment]

    def __init__(
        self, name: str, types: KernelTypes, btf: Btf, type_id: int, bit_offset: int, bit_size: int, index: int
    ) -> None:
        self.name, self.bit_offset, self.bit_size, self.index, self.loc = name, bit_offset, bit_size, index, 0
        self.source = types, btf, type_id

    def __getattr__(self, name: str) -> C.CType:
        if name != "type":
            raise AttributeError(name)
        types, btf, type_id = self.source
        self.type = made = types.from_btf(btf, type_id)
        return made


class KernelTypes:
    """Looks types up by name: kernel BTF first, then modules'. ``own_tag`` gives the program's own records, which
    win.
    """

    def __init__(self, facts: Facts, own_tag: Callable[[str, str], C.CType | None]) -> None:
        self._facts = facts
        self._own_tag = own_tag
        self._btf: object = _NOT_THERE
        self._typedefs: dict[str, C.Typedef | None] = {}
        self._tags: dict[tuple[str, str], C.Record | C.Enum | None] = {}
        self._by_id: dict[tuple[int, int], C.CType] = {}
        self._of_enum: dict[int, tuple[Btf, int]] = {}
        self.relocatable = False
        """Whether accesses to the kernel's records are recorded for CO-RE (vmlinux.h is included)."""

    @property
    def btf(self) -> Btf | None:
        if self._btf is _NOT_THERE:
            self._btf = self._facts.btf()
        return self._btf  # type: ignore[return-value]

    def _btfs(self) -> Iterator[Btf]:
        if self.btf is not None:
            yield self.btf
        yield from self._facts.module_btfs()

    def _find(self, name: str, kinds: tuple[int, ...]) -> tuple[Btf, int] | None:
        for btf in self._btfs():
            for kind in kinds:
                found = btf.find(name, kind)  # type: ignore[arg-type]
                if found is not None:
                    return btf, found
        return None

    # ------------------------------------------------------------------------------------------------ by name

    def typedef(self, name: str) -> C.Typedef | None:
        """The typedef ``name``: a base one without a look at BTF, else the kernel's."""
        known = self._typedefs.get(name)
        if known is not None or name in self._typedefs:
            return known
        text = TYPEDEFS.get(name)
        made: C.Typedef | None = None
        # What differs between kernels or is a struct there comes from BTF; fixed-width names need no look at it.
        base = C.BUILTIN.get(text) if text is not None else None
        if base is not None and (name in _FIXED or self.btf is None):
            made = C.Typedef(name, base)
        else:
            found = self._find(name, (8,))
            if found is not None:
                t = self.from_btf(*found)
                made = t if isinstance(t, C.Typedef) else None
            elif base is not None:
                made = C.Typedef(name, base)
            elif text is not None:
                target = self._declared(text)
                made = C.Typedef(name, target) if target is not None else None
        self._typedefs[name] = made
        return made

    def _declared(self, text: str) -> C.CType | None:
        stars = text.count("*")
        words = text.replace("*", " ").split()
        t: C.CType | None = C.BUILTIN.get(" ".join(words))
        if t is None and len(words) == 2 and words[0] in ("struct", "union"):
            t = self.record(words[0], words[1])
        for _ in range(stars):
            t = None if t is None else C.Pointer(t)
        return t

    def has_tag(self, kind: str, tag: str) -> bool:
        """Whether the kernel defines ``struct``/``union``/``enum`` ``tag``."""
        return self._find(tag, _KINDS[kind]) is not None

    def record(self, kind: str, tag: str) -> C.Record:
        """``struct tag`` as the kernel defines it: a shell that fills itself in, and stays incomplete if there is
        none.
        """
        own = self._own_tag(kind, tag)
        if isinstance(own, C.Record):
            return own
        key = (kind, tag)
        known = self._tags.get(key)
        if not isinstance(known, C.Record):
            known = C.Record(kind, tag)
            known.from_btf = True
            known.preserve_access = self.relocatable and tag not in _STABLE
            known.loader = self._load_named
            self._tags[key] = known
        return known

    def enum(self, tag: str) -> C.Enum | None:
        own = self._own_tag("enum", tag)
        if isinstance(own, C.Enum):
            return own
        key = ("enum", tag)
        if key not in self._tags:
            found = self._find(tag, (6, 19))
            made = self.from_btf(*found) if found is not None else None
            self._tags[key] = made if isinstance(made, C.Enum) else None
        known = self._tags[key]
        return known if isinstance(known, C.Enum) else None

    def enumerator(self, name: str) -> tuple[C.Enum, int] | None:
        """The kernel's enumerator ``name``: its enum and value."""
        for btf in self._btfs():
            found = btf.find_enumerator(name)
            if found is not None:
                enum = self.from_btf(btf, found[0])
                assert isinstance(enum, C.Enum)
                return enum, found[1]
        return None

    def function(self, name: str) -> tuple[C.Function, bool] | None:
        """The prototype of kernel function ``name``, and True where it is a module's."""
        for btf in self._btfs():
            found = btf.find(name, 12)  # type: ignore[arg-type]
            if found is not None:
                t = self.from_btf(btf, btf.type(found).type)  # type: ignore[union-attr]
                if isinstance(t, C.Function):
                    return t, btf is not self.btf
        return None

    def parameter_names(self, name: str) -> tuple[str, ...]:
        found = self.function(name)
        return found[0].names if found else ()

    def similar(self, name: str, kind: int | None = None) -> list[str]:
        """Names of kernel types near ``name``; slow, for messages."""
        return list(self.btf.similar(name, kind)) if self.btf is not None else []  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------ from BTF

    def from_btf(self, btf: Btf, id: int) -> C.CType:
        """The C type of BTF type ``id``."""
        key = (builtin_id(btf), id)
        if btf.base is not None and id < btf.first_id:
            btf = btf.base
            key = (builtin_id(btf), id)
        known = self._by_id.get(key)
        if known is None:
            t = btf.type(id)
            known = self._by_id[key] = _FROM_BTF[type(t).__name__](self, btf, t)
        return known

    def _int(self, btf: Btf, t: B.Int) -> C.CType:
        if t.is_bool:
            return C.BOOL
        named = C.BUILTIN.get(_INT_NAMES.get(t.name, t.name))
        if isinstance(named, C.Int) and named.size == t.size:
            return named
        for kind in (
            (C.CHAR, C.SHORT, C.INT, C.LONG, C.INT128) if t.signed else (C.UCHAR, C.USHORT, C.UINT, C.ULONG, C.UINT128)
        ):
            if kind.size == t.size:
                return kind
        return C.UCHAR

    def _void(self, btf: Btf, t: B.Void) -> C.CType:
        return C.VOID

    def _float(self, btf: Btf, t: B.Float) -> C.CType:
        return C.Float(t.name, t.size)

    def _pointer(self, btf: Btf, t: B.Ptr) -> C.CType:
        return C.Pointer(self.from_btf(btf, t.type))

    def _array(self, btf: Btf, t: B.Array) -> C.CType:
        return C.Array(self.from_btf(btf, t.type), t.nelems)

    def _typedef(self, btf: Btf, t: B.Typedef) -> C.CType:
        return C.Typedef(t.name, self.from_btf(btf, t.type))

    def _const(self, btf: Btf, t: B.Const) -> C.CType:
        return _qualify(self.from_btf(btf, t.type), const=True)

    def _volatile(self, btf: Btf, t: B.Volatile) -> C.CType:
        return _qualify(self.from_btf(btf, t.type), volatile=True)

    def _transparent(self, btf: Btf, t: B.Restrict | B.TypeTag | B.Var | B.Func) -> C.CType:
        return self.from_btf(btf, t.type)

    def _prototype(self, btf: Btf, t: B.FuncProto) -> C.CType:
        params = t.params
        variadic = bool(params) and params[-1].type == 0
        if variadic:
            params = params[:-1]
        return C.Function(
            self.from_btf(btf, t.type),
            tuple(self.from_btf(btf, p.type) for p in params),
            variadic,
            tuple(p.name for p in params),
        )

    def _fwd(self, btf: Btf, t: B.Fwd) -> C.CType:
        return self.record("union" if t.is_union else "struct", t.name)

    def _enum_type(self, btf: Btf, t: B.Enum | B.Enum64) -> C.CType:
        if t.name:
            own = self._own_tag("enum", t.name)
            if own is not None:
                return own
        unsigned = not t.signed
        underlying = {
            1: C.UCHAR if unsigned else C.SCHAR,
            2: C.USHORT if unsigned else C.SHORT,
            8: C.ULONG if unsigned else C.LONG,
        }.get(t.size, C.UINT if unsigned else C.INT)
        if t.size == 4:
            underlying = C.INT if any(v.value < 0 for v in t.values) else C.UINT
        return C.Enum(t.name or None, underlying, {v.name: v.value for v in t.values}, complete=True, from_btf=True)

    def _record_type(self, btf: Btf, t: B.Struct | B.Union) -> C.CType:
        kind = "struct" if type(t).__name__ == "Struct" else "union"
        if t.name:
            shell = self.record(kind, t.name)
            first = self._find(t.name, _KINDS[kind])
            if not shell.from_btf or shell.complete or (first is not None and first[1] == t.id and first[0] is btf):
                return shell
            # Two of one name in the kernel: the one that was reached is the one that is meant.
        made = C.Record(kind, t.name or None, t.size, 1)
        made.from_btf = True
        made.preserve_access = self.relocatable and t.name not in _STABLE
        made.loader = lambda record: self._fill(record, btf, t)
        return made

    def _load_named(self, record: C.Record) -> None:
        assert record.tag is not None
        found = self._find(record.tag, _KINDS[record.kind])
        if found is not None:
            self._fill(record, found[0], found[0].type(found[1]))  # type: ignore[arg-type]
        elif record.kind == "struct":
            self._fill_from_abi(record)

    def _fill(self, record: C.Record, btf: Btf, t: B.Struct | B.Union) -> None:
        record.size, record.complete = t.size, True
        record.align = btf.align_of(t.id)
        record.packed = record.align == 1 and t.size > 1
        # Anonymous records inside are part of this one: their accesses are relocated like its own.
        fields = record.fields
        for index, m in enumerate(t.members):
            if m.name:
                fields.append(_Member(m.name, self, btf, m.type, m.bit_offset, m.bit_size, index))
                continue
            type = self.from_btf(btf, m.type)
            if isinstance(type, C.Record):
                type.preserve_access = record.preserve_access
            fields.append(C.Field(None, type, m.bit_offset, m.bit_size, index))

    def _fill_from_abi(self, record: C.Record) -> None:
        from ebpf.abi.contexts import lookup_declaration

        assert record.tag is not None
        text = lookup_declaration(record.tag, arch=ABI_ARCH.get(self._facts.arch, self._facts.arch))
        if text is None:
            return
        from ebpf.compiler.c.kernel_declarations import parse_record

        parse_record(record, text, self)


def builtin_id(o: object) -> int:
    return id(o)


def _qualify(t: C.CType, *, const: bool = False, volatile: bool = False) -> C.CType:
    if isinstance(t, C.Qualified):
        return C.Qualified(t.type, t.const or const, t.volatile or volatile, t.tags)
    return C.Qualified(t, const, volatile)


ABI_ARCH = {"x86": "x86_64", "arm64": "aarch64"}
"""`Facts.arch` → the name that the abi tables use."""

_KINDS: dict[str, tuple[int, ...]] = {"struct": (4,), "union": (5,), "enum": (6, 19)}
_FIXED = frozenset(
    n
    for n, t in TYPEDEFS.items()
    if t in C.BUILTIN
    and (
        n.lstrip("_").lstrip("us").isdigit()
        or n in ("size_t", "bool", "pid_t", "uint", "ssize_t")
        or n.startswith(("uint", "int", "__be", "__le"))
    )
)
_INT_NAMES = {
    "long unsigned int": "unsigned long",
    "long int": "long",
    "short int": "short",
    "short unsigned int": "unsigned short",
    "long long int": "long long",
    "long long unsigned int": "unsigned long long",
    "__int128 unsigned": "unsigned __int128",
}
_FROM_BTF: dict[str, Callable[[KernelTypes, Btf, Any], C.CType]] = {
    "Void": KernelTypes._void,
    "Int": KernelTypes._int,
    "Ptr": KernelTypes._pointer,
    "Array": KernelTypes._array,
    "Struct": KernelTypes._record_type,
    "Union": KernelTypes._record_type,
    "Enum": KernelTypes._enum_type,
    "Enum64": KernelTypes._enum_type,
    "Fwd": KernelTypes._fwd,
    "Typedef": KernelTypes._typedef,
    "Volatile": KernelTypes._volatile,
    "Const": KernelTypes._const,
    "Restrict": KernelTypes._transparent,
    "TypeTag": KernelTypes._transparent,
    "Func": KernelTypes._transparent,
    "FuncProto": KernelTypes._prototype,
    "Var": KernelTypes._transparent,
    "Float": KernelTypes._float,
}
