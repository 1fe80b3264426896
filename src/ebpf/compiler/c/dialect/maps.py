"""Map macros: each declares a variable in ``.maps`` in libbpf's BTF form, so that nothing after the checker knows of
BCC.

What libbpf's form has no word for goes into declaration tags of the variable: ``pin:PATH``, ``bcc:public``,
``bcc:shared``, ``bcc:extern``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.maps import MapType
from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.conversions import POISON

if TYPE_CHECKING:
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.dialect.bcc import BccDialect
    from ebpf.compiler.c.types import CType

NO_PREALLOC, STACK_BUILD_ID = 1, 1 << 5


class BccMap:
    """A declared map: ``key`` and ``leaf`` as BCC calls its types."""

    __slots__ = ("key", "leaf", "name", "type", "variable")

    def __init__(self, name: str, type: MapType, key: CType, leaf: CType, variable: tree.Variable) -> None:
        self.name, self.type, self.key, self.leaf, self.variable = name, type, key, leaf, variable


class MapRow:
    """A macro: the map type it makes (None: named by an argument), its parameters by letter, defaults, flags, a tag.

    Letters: ``t`` map type as a string, ``n`` name, ``k`` key, ``l`` leaf, ``s`` entries, ``g`` pages, ``f`` flags,
    ``p`` pin path,
    ``i`` an inner map; capitals may be left out.
    """

    __slots__ = ("flags", "key", "leaf", "parameters", "size", "tag", "type")

    def __init__(
        self,
        type: str | None,
        parameters: str,
        key: str = "int",
        leaf: str = "u64",
        size: int = 10240,
        flags: int = 0,
        tag: str = "",
    ) -> None:
        self.type, self.parameters, self.key, self.leaf, self.size, self.flags, self.tag = (
            type,
            parameters,
            key,
            leaf,
            size,
            flags,
            tag,
        )


_R = MapRow
MAP_MACROS: dict[str, MapRow] = {
    "BPF_HASH": _R("HASH", "nKLS", "u64"),
    "BPF_PERCPU_HASH": _R("PERCPU_HASH", "nKLS", "u64"),
    "BPF_LRU_HASH": _R("LRU_HASH", "nKLS", "u64"),
    "BPF_LRU_PERCPU_HASH": _R("LRU_PERCPU_HASH", "nKLS", "u64"),
    "BPF_LPM_TRIE": _R("LPM_TRIE", "nKLSF", "u64", flags=NO_PREALLOC),
    "BPF_ARRAY": _R("ARRAY", "nLS"),
    "BPF_PERCPU_ARRAY": _R("PERCPU_ARRAY", "nLS"),
    "BPF_HISTOGRAM": _R("HISTOGRAM", "nKS", size=64),
    "BPF_PERF_OUTPUT": _R("PERF_EVENT_ARRAY", "n", leaf="u32", size=0),
    "BPF_PERF_ARRAY": _R("PERF_EVENT_ARRAY", "ns", leaf="u32"),
    "BPF_RINGBUF_OUTPUT": _R("RINGBUF", "ng"),
    "BPF_STACK_TRACE": _R("STACK_TRACE", "ns", leaf="stacktrace"),
    "BPF_STACK_TRACE_BUILDID": _R("STACK_TRACE", "ns", leaf="buildid", flags=STACK_BUILD_ID),
    "BPF_PROG_ARRAY": _R("PROG_ARRAY", "ns", leaf="u32"),
    "BPF_CGROUP_ARRAY": _R("CGROUP_ARRAY", "ns", leaf="u32"),
    "BPF_DEVMAP": _R("DEVMAP", "ns", leaf="int"),
    "BPF_DEVMAP_HASH": _R("DEVMAP_HASH", "ns", leaf="int"),
    "BPF_CPUMAP": _R("CPUMAP", "ns", leaf="u32"),
    "BPF_XSKMAP": _R("XSKMAP", "nsP", leaf="int"),
    "BPF_SOCKMAP": _R("SOCKMAP", "ns", "u32", "u32"),
    "BPF_SOCKHASH": _R("SOCKHASH", "nKS", "u32", "u32"),
    "BPF_QUEUE": _R("QUEUE", "nlS"),
    "BPF_STACK": _R("STACK", "nlS"),
    "BPF_BLOOM_FILTER": _R("BLOOM_FILTER", "nlS"),
    "BPF_SK_STORAGE": _R("SK_STORAGE", "nl", size=0, flags=NO_PREALLOC),
    "BPF_INODE_STORAGE": _R("INODE_STORAGE", "nl", size=0, flags=NO_PREALLOC),
    "BPF_TASK_STORAGE": _R("TASK_STORAGE", "nl", size=0, flags=NO_PREALLOC),
    "BPF_CGRP_STORAGE": _R("CGRP_STORAGE", "nl", size=0, flags=NO_PREALLOC),
    "BPF_CGROUP_STORAGE": _R("CGROUP_STORAGE", "nl", "bpf_cgroup_storage_key", size=0),
    "BPF_ARRAY_OF_MAPS": _R("ARRAY_OF_MAPS", "nis", leaf="u32"),
    "BPF_HASH_OF_MAPS": _R("HASH_OF_MAPS", "nKis", leaf="u32"),
    "BPF_TABLE": _R(None, "tklns"),
    "BPF_F_TABLE": _R(None, "tklnsf"),
    "BPF_TABLE_PUBLIC": _R(None, "tklns", tag="bcc:public"),
    "BPF_TABLE_SHARED": _R(None, "tklns", tag="bcc:shared"),
    "BPF_TABLE_PINNED": _R(None, "tklnspF"),
    "BPF_TABLE_PINNED7": _R(None, "tklnspF"),
    "BPF_XDP_REDIRECT_MAP": _R(None, "tlns"),
    "BPF_QUEUESTACK": _R(None, "tnlsF"),
    "BPF_QUEUESTACK_PUBLIC": _R(None, "tnlsF", tag="bcc:public"),
    "BPF_QUEUESTACK_SHARED": _R(None, "tnlsF", tag="bcc:shared"),
    "BPF_QUEUESTACK_PINNED": _R(None, "tnlspF"),
}

# BPF_TABLE's words for map types.
TABLE_TYPES: dict[str, str] = {
    "hash": "HASH",
    "array": "ARRAY",
    "percpu_hash": "PERCPU_HASH",
    "percpu_array": "PERCPU_ARRAY",
    "lru_hash": "LRU_HASH",
    "lru_percpu_hash": "LRU_PERCPU_HASH",
    "lpm_trie": "LPM_TRIE",
    "prog": "PROG_ARRAY",
    "perf_output": "PERF_EVENT_ARRAY",
    "perf_array": "PERF_EVENT_ARRAY",
    "stacktrace": "STACK_TRACE",
    "cgroup_array": "CGROUP_ARRAY",
    "histogram": "HISTOGRAM",
    "devmap": "DEVMAP",
    "devmap_hash": "DEVMAP_HASH",
    "cpumap": "CPUMAP",
    "xskmap": "XSKMAP",
    "sockmap": "SOCKMAP",
    "sockhash": "SOCKHASH",
    "queue": "QUEUE",
    "stack": "STACK",
    "extern": "EXTERN",
    "ringbuf": "RINGBUF",
    "array_of_maps$": "ARRAY_OF_MAPS",
    "hash_of_maps$": "HASH_OF_MAPS",
    "sk_storage": "SK_STORAGE",
    "inode_storage": "INODE_STORAGE",
    "task_storage": "TASK_STORAGE",
}
_KEYLESS = frozenset(("QUEUE", "STACK", "BLOOM_FILTER", "RINGBUF"))
_WORDS = {
    "n": "the map's name",
    "k": "its key type",
    "l": "its value type",
    "s": "how many entries it has",
    "g": "how many pages it has",
    "t": 'a map type such as "hash"',
    "f": "its flags",
    "p": "a path",
    "i": "the inner map's name",
}


def declare_map(c: Checker, bcc: BccDialect, node: ast.MacroCall) -> None:
    """Make the map that ``node`` declares."""
    row = MAP_MACROS.get(node.name)
    if row is None:
        c.refuse("C0401", node, f"there is no map macro `{node.name}`", helps=c.suggest(node.name, MAP_MACROS))
    letters, args = row.parameters, list(node.args)
    if letters == "nKis" and len(args) == 3:  # BPF_HASH_OF_MAPS in its older form, without key
        letters = "nis"
    least = sum(x.islower() for x in letters)
    if not least <= len(args) <= len(letters):
        wanted = ", ".join(_WORDS[x.lower()] + ("" if x.islower() else " (optional)") for x in letters)
        c.refuse(
            "C0401",
            node,
            f"`{node.name}` has {len(args)} argument{'' if len(args) == 1 else 's'} here",
            notes=[f"it takes {wanted}"],
        )
    given = {x.lower(): a for x, a in zip(letters, args, strict=False) if a is not None}
    name_node = given.get("n")
    if not isinstance(name_node, ast.Name):
        c.refuse("C0401", name_node or node, "the map's name is wanted here")
    name = name_node.name
    if name in c.file_scope.names:
        c.refuse(
            "C0304",
            name_node,
            f"`{name}` is defined twice",
            related=[(getattr(c.file_scope.names[name], "loc", 0), 0, "first defined here")],
        )
    kind = row.type
    if kind is None:
        word = _string(c, given["t"])
        kind = TABLE_TYPES.get(word)
        if kind is None:
            c.refuse("C0401", given["t"], f"there is no map type {word!r}", helps=c.suggest(word, TABLE_TYPES))
    key = _type(c, given.get("k"), row.key)
    leaf = _type(c, given.get("l"), row.leaf)
    size = row.size
    if "s" in given:
        size = _number(c, given["s"], "the number of entries")
    elif "g" in given:
        size = _number(c, given["g"], "the number of pages") * c.facts.page_size
        if size & (size - 1) or not size:
            c.error(
                "C0401",
                given["g"],
                "a ring buffer has a power of two of pages",
                helps=[f"write {1 << max(size // c.facts.page_size, 1).bit_length()}"],
            )
    flags = row.flags | (_number(c, given["f"], "the flags") if "f" in given else 0)
    if kind == "HISTOGRAM":
        kind = "ARRAY" if C.strip(key) is C.INT else "HASH"
        leaf = c.kernel.typedef("u64") or C.ULLONG
    if kind in ("STACK_TRACE",):
        size = 1 << max(size - 1, 0).bit_length()
    if kind == "PERF_EVENT_ARRAY" and node.name == "BPF_TABLE":
        size = 0 if size < 0 else size
    tags = [row.tag] if row.tag else []
    if "p" in given:
        tags.append("pin:" + _string(c, given["p"]))
    if kind == "EXTERN":
        kind, tags = "HASH", ["bcc:extern"]
    map_type = MapType.named(kind)
    assert map_type is not None
    inner = _inner(c, bcc, given["i"]) if "i" in given else None
    record = map_record(
        int(map_type),
        None if kind in _KEYLESS else key,
        None if kind == "RINGBUF" else leaf,
        size,
        flags,
        inner,
        node.loc,
    )
    v = tree.Variable(name, record, "global", name_node.loc, name_node.end, section=".maps", tags=tuple(tags))
    c.file_scope.names[name] = v
    c.unit.globals.append(v)
    bcc.maps[id(v)] = BccMap(name, map_type, key, leaf, v)


def map_record(
    type: int, key: CType | None, leaf: CType | None, size: int, flags: int, inner: CType | None, loc: int
) -> C.Record:
    """The anonymous struct that describes a map to libbpf: numbers as array bounds, types as pointers."""
    record = C.Record("struct", None, loc=loc, align=8, complete=True)

    def add(name: str, t: CType) -> None:
        record.fields.append(C.Field(name, t, 8 * record.size, 0, len(record.fields)))
        record.size += 8 if not isinstance(t, C.Array) else 0

    def number(name: str, value: int) -> None:
        add(name, C.Pointer(C.Array(C.INT, value)))

    number("type", type)
    if key is not None:
        add("key", C.Pointer(key))
    if inner is not None:
        number("value_size", 4)
    elif leaf is not None:
        add("value", C.Pointer(leaf))
    if size:
        number("max_entries", size)
    if flags:
        number("map_flags", flags)
    if inner is not None:
        add("values", C.Array(C.Pointer(inner), 0))
    return record


def _inner(c: Checker, bcc: BccDialect, node: ast.Expr) -> CType:
    name = node.name if isinstance(node, ast.Name) else _string(c, node)
    for m in bcc.maps.values():
        if m.name == name:
            return m.variable.type
    c.refuse("C0401", node, f"there is no map `{name}` that could be the inner one", helps=["declare it above"])


def _type(c: Checker, node: ast.Expr | None, default: str) -> CType:
    if node is None:
        return _default_type(c, default)
    if isinstance(node, ast.TypeArg):
        t = c.type_of(node.type)
    elif isinstance(node, ast.Name):
        t = c.type_of(ast.NamedType(node.loc, node.end, node.name))
    else:
        c.refuse("C0401", node, "a type is wanted here")
    if t is not POISON and C.size_of(t) is None:
        inner = C.strip(t)
        if isinstance(inner, C.Record):
            c.incomplete(node, inner)
        c.refuse("C0401", node, f"{c.words(t)} has no size and cannot be in a map")
    return C.UINT if t is POISON else t


def _default_type(c: Checker, name: str) -> CType:
    if name == "int":
        return C.INT
    if name == "stacktrace":
        record = C.Record("struct", "bpf_stacktrace", 8 * 127, 8, complete=True)
        record.fields.append(C.Field("ip", C.Array(c.kernel.typedef("u64") or C.ULLONG, 127), 0))
        return record
    if name == "buildid":
        one = c.kernel.record("struct", "bpf_stack_build_id")
        record = C.Record("struct", "bpf_stacktrace_buildid", 32 * 127, 8, complete=True)
        record.fields.append(C.Field("trace", C.Array(one, 127), 0))
        return record
    if name.startswith("bpf_"):
        return c.kernel.record("struct", name)
    return c.kernel.typedef(name) or C.ULLONG


def _number(c: Checker, node: ast.Expr, what: str) -> int:
    e = c.value(node)
    value = c.constant_of(e)
    if value is None:
        if e.type is not POISON:
            c.error("C0308", node, f"{what} has to be a constant")
        return 1
    if value < 0:
        c.error("C0401", node, f"{what} cannot be negative ({value})")
        return 1
    return value


def _string(c: Checker, node: ast.Expr) -> str:
    if not isinstance(node, ast.StringLiteral):
        c.refuse("C0401", node, "a string constant is wanted here")
    return node.value.decode(errors="replace")
