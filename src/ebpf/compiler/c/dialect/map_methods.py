"""Map methods: ``counts.lookup(&key)`` and the others, one row each, as calls of helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ebpf.abi.maps import MapType
from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins import pointer_arg
from ebpf.compiler.c.checker_base import Refused
from ebpf.compiler.c.conversions import (
    POISON,
    cast,
    common,
    is_integer,
    is_pointer,
    is_void,
    promoted,
    target_of,
    to_int,
    unqualified,
)
from ebpf.compiler.c.dialect.externals import variable_key

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker
    from ebpf.compiler.c.dialect.bcc import BccDialect
    from ebpf.compiler.c.dialect.maps import BccMap
    from ebpf.compiler.c.types import CType

BPF_ANY, BPF_NOEXIST = 0, 1
CURRENT_CPU = 0xFFFFFFFF


class MethodCall:
    """One call: what every handler needs."""

    __slots__ = ("args", "bcc", "c", "map", "name", "node")

    def __init__(self, c: ExprChecker, bcc: BccDialect, map: BccMap, name: str, node: ast.Call) -> None:
        self.c, self.bcc, self.map, self.name, self.node, self.args = c, bcc, map, name, node, node.args

    def handle(self) -> tree.Expr:
        """The map as helpers take it."""
        return self.c.address(self.c.ref(self.map.variable, self.node))

    def pointer(self, i: int, t: CType, what: str) -> tree.Expr:
        """Argument ``i``, a pointer to a ``t``."""
        e = pointer_arg(self.c, self.args[i], what)
        return self.c.fit(e, C.Pointer(t), self.args[i], f"passed as {what}, of type")

    def number(self, i: int, default: int = 0, t: CType = C.ULLONG) -> tree.Expr:
        if i >= len(self.args):
            return self.c.int_const(self.node, default, t)
        return self.c.fit(self.c.value(self.args[i]), t, self.args[i], "passed as")

    def any_pointer(self, i: int, what: str) -> tree.Expr:
        return pointer_arg(self.c, self.args[i], what)

    def call(self, helper: str, args: list[tree.Expr], result: CType | None = None) -> tree.Expr:
        return self.c.call_helper(helper, args, self.node, result)


def call_method(c: ExprChecker, bcc: BccDialect, a_map: BccMap, node: ast.Call, function: ast.Member) -> tree.Expr:
    row = METHODS.get(function.name)
    where = ast.Name(function.name_loc, function.name_loc + len(function.name), function.name)
    fitting = [n for n, r in METHODS.items() if r.types is None or a_map.type.name in r.types]
    if row is None:
        c.refuse(
            "C0402",
            where,
            f"maps have no method `{function.name}`",
            helps=c.suggest(function.name, fitting) or ["`lookup`, `update`, `delete` are the usual ones"],
        )
    if row.types is not None and a_map.type.name not in row.types:
        kinds = ", ".join(t.lower() for t in row.types[:3]) + ("…" if len(row.types) > 3 else "")
        c.refuse(
            "C0403",
            where,
            f"`{function.name}` is not for maps of type {a_map.type.name.lower()}",
            notes=[f"it is for: {kinds}"],
            helps=c.suggest(function.name, [n for n in fitting if n != function.name]),
        )
    if not row.least <= len(node.args) <= row.most:
        wanted = str(row.least) if row.least == row.most else f"{row.least} to {row.most}"
        c.refuse(
            "C0309",
            node,
            f"`{function.name}` takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(node.args)}",
            notes=[f"it is `{function.name}({row.usage})`"],
        )
    return row.handler(MethodCall(c, bcc, a_map, function.name, node))


# ----------------------------------------------------------------------------------------------------- plain storage


def _lookup(m: MethodCall) -> tree.Expr:
    return m.call("bpf_map_lookup_elem", [m.handle(), m.pointer(0, m.map.key, "the key")], C.Pointer(m.map.leaf))


def _store(flags: int) -> Callable[[MethodCall], tree.Expr]:
    def handle(m: MethodCall) -> tree.Expr:
        key, leaf = m.pointer(0, m.map.key, "the key"), m.pointer(1, m.map.leaf, "the value")
        m.bcc.map_takes(m.map, leaf)
        if flags == BPF_NOEXIST and m.map.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            m.c.warn(
                "C0403",
                m.node,
                "`insert` into an array always fails: its elements are there from the beginning",
                helps=["use `update`"],
            )
        return m.call("bpf_map_update_elem", [m.handle(), key, leaf, m.number(2, flags)], C.INT)

    return handle


def _delete(m: MethodCall) -> tree.Expr:
    return m.call("bpf_map_delete_elem", [m.handle(), m.pointer(0, m.map.key, "the key")], C.INT)


def _lookup_or(returns: bool) -> Callable[[MethodCall], tree.Expr]:
    """lookup; where nothing is found, insert the initial value and look again; ``returns``: leave the caller if
    that fails too.
    """

    def handle(m: MethodCall) -> tree.Expr:
        c, node = m.c, m.node
        key = c.new_local("", C.Pointer(m.map.key), node)
        initial = c.new_local("", C.Pointer(m.map.leaf), node)
        found = c.new_local("", C.Pointer(m.map.leaf), node)
        first = [
            c.declare(key, m.pointer(0, m.map.key, "the key")),
            c.declare(initial, m.pointer(1, m.map.leaf, "the initial value")),
        ]
        m.bcc.map_takes(m.map, first[1].init.parts[0].value if first[1].init else c.load_of(initial, node))
        depth = m.bcc.map_gives(m.map)
        if depth is not None:
            m.bcc.marks.set(variable_key(found), depth)

        def look() -> tree.Expr:
            return m.call("bpf_map_lookup_elem", [m.handle(), c.load_of(key, node)], C.Pointer(m.map.leaf))

        insert = m.call(
            "bpf_map_update_elem",
            [m.handle(), c.load_of(key, node), c.load_of(initial, node), c.int_const(node, BPF_NOEXIST, C.ULLONG)],
        )
        again = tree.Assign(found.type, node.loc, node.end, c.ref(found, node), look())
        missing: list[tree.Stmt] = [c.evaluate_stmt(insert), c.evaluate_stmt(again)]
        if returns:
            missing.append(tree.If(node.loc, node.end, _not(c, c.load_of(found, node)), leave(c, node), None))
        test = tree.If(node.loc, node.end, _not(c, c.load_of(found, node)), c.block(node, missing), None)
        return c.statements(node, [*first, c.declare(found, look()), test], c.load_of(found, node))

    return handle


def leave(c: ExprChecker, node: ast.Node) -> tree.Stmt:
    """``return 0;`` from the function that is being checked; a record of zeroes where it returns one."""
    assert c.function is not None
    result = c.function.result
    if is_void(result):
        return tree.Return(node.loc, node.end, None)
    if isinstance(C.strip(result), C.Record):
        nothing = c.new_local("", unqualified(result), node)
        return c.block(
            node, [c.declare(nothing, None), tree.Return(node.loc, node.end, c.load_of(nothing, node))]
        )
    return tree.Return(node.loc, node.end, c.int_const(node, 0, result))


def _not(c: ExprChecker, e: tree.Expr) -> tree.Expr:
    return tree.Unary(C.INT, e.loc, e.end, "!", e)


def _increment(atomic: bool) -> Callable[[MethodCall], tree.Expr]:
    """``increment(key, n)``: the key by value; a missing entry is made in a plain hash only."""

    def handle(m: MethodCall) -> tree.Expr:
        c, node = m.c, m.node
        if not is_integer(m.map.leaf):
            c.refuse(
                "C0403",
                node,
                f"`{m.name}` counts in integers, and the values of `{m.map.name}` are {c.words(m.map.leaf)}",
            )
        key = c.new_local("", m.map.key, node)
        value = c.value(m.args[0])
        if is_pointer(value.type) and not is_pointer(m.map.key):
            c.refuse(
                "C0306", m.args[0], f"`{m.name}` takes the key itself, not a pointer to it", helps=["leave out the `&`"]
            )
        key_value = c.fit(value, m.map.key, m.args[0], "passed as the key, of type")
        step = c.new_local("", m.map.leaf, node)
        found = c.new_local("", C.Pointer(m.map.leaf), node)
        look = m.call("bpf_map_lookup_elem", [m.handle(), c.address(c.ref(key, node))], C.Pointer(m.map.leaf))
        if atomic:
            add: tree.Expr = tree.Builtin(
                m.map.leaf, node.loc, node.end, "atomic_add", [c.load_of(found, node), c.load_of(step, node)]
            )
        else:
            kind = common(promoted(m.map.leaf), promoted(m.map.leaf))
            place = tree.Deref(m.map.leaf, node.loc, node.end, c.load_of(found, node))
            add = tree.Update(m.map.leaf, node.loc, node.end, "+", place, to_int(c.load_of(step, node), kind), kind)
        missing: tree.Stmt | None = None
        if m.map.type == MapType.HASH:
            missing = c.evaluate_stmt(
                m.call(
                    "bpf_map_update_elem",
                    [
                        m.handle(),
                        c.address(c.ref(key, node)),
                        c.address(c.ref(step, node)),
                        c.int_const(node, BPF_NOEXIST, C.ULLONG),
                    ],
                )
            )
        whole = isinstance(C.strip(m.map.key), C.Record)
        first: list[tree.Stmt] = [
            c.declare(key, key_value, whole=whole),
            c.declare(step, m.number(1, 1, m.map.leaf)),
            c.declare(found, look),
        ]
        test = tree.If(node.loc, node.end, c.load_of(found, node), c.evaluate_stmt(add), missing)
        return tree.StatementExpr(C.VOID, node.loc, node.end, c.block(node, [*first, test]), None)

    return handle


# ------------------------------------------------------------------------------------------------------------ events


def _event(m: MethodCall, data: tree.Expr) -> None:
    """Note the type of the records that go through the map, for Python."""
    while isinstance(data, tree.Convert) and data.kind in ("pointer", "same") and is_pointer(data.operand.type):
        data = data.operand
    t = target_of(data.type)
    inner = C.strip(t)
    if isinstance(inner, C.Record) and inner.ensure_complete():
        for f in inner.fields:
            kind = C.strip(f.type)
            while isinstance(kind, C.Array):
                kind = C.strip(kind.element)
            if f.bit_size or isinstance(kind, (C.Function, C.Float)):
                m.c.warn("C0407", m.node, f"member `{f.name}` of {m.c.words(t)} will not be readable through `event()`")
        m.bcc.events.setdefault(m.map.name, t)


def _perf_submit(m: MethodCall) -> tree.Expr:
    context, data = m.any_pointer(0, "the context"), m.any_pointer(1, "the data")
    _event(m, data)
    size = m.number(2, 0, C.ULLONG)
    return m.call(
        "bpf_perf_event_output", [context, m.handle(), m.c.int_const(m.node, CURRENT_CPU, C.ULLONG), data, size], C.INT
    )


def _perf_submit_skb(m: MethodCall) -> tree.Expr:
    c, node = m.c, m.node
    context, length, data = m.any_pointer(0, "the context"), m.number(1, 0, C.ULLONG), m.any_pointer(2, "the data")
    _event(m, data)
    upper = tree.Binary(C.ULLONG, node.loc, node.end, "<<", length, c.int_const(node, 32))
    flags = tree.Binary(C.ULLONG, node.loc, node.end, "|", upper, c.int_const(node, CURRENT_CPU, C.ULLONG))
    return m.call("bpf_perf_event_output", [context, m.handle(), flags, data, m.number(3)], C.INT)


def _ringbuf_submit(m: MethodCall) -> tree.Expr:
    data = m.any_pointer(0, "the record")
    _event(m, data)
    return m.call("bpf_ringbuf_submit", [data, m.number(1)])


def _ringbuf_output(m: MethodCall) -> tree.Expr:
    data = m.any_pointer(0, "the record")
    _event(m, data)
    return m.call("bpf_ringbuf_output", [m.handle(), data, m.number(1), m.number(2)], C.INT)


# ------------------------------------------------------------------------------------------------- the rest, by form


def _plain(helper: str, form: str, result: str = "") -> Callable[[MethodCall], tree.Expr]:
    """A helper whose arguments are, letter by letter: ``m`` the map, ``p`` any pointer, ``k`` pointer to a key, ``l``
    to a leaf, ``n`` a number,
    ``0`` zero. ``result``: ``int``, ``leaf`` (pointer to one) or the helper's own."""

    def handle(m: MethodCall) -> tree.Expr:
        args: list[tree.Expr] = []
        at = 0
        for letter in form:
            if letter == "m":
                args.append(m.handle())
                continue
            if letter == "0":
                args.append(m.c.int_const(m.node, 0, C.ULLONG))
                continue
            if letter == "p":
                e = m.c.value(m.args[at])
                if e.type is POISON:
                    raise Refused
                args.append(
                    e
                    if is_pointer(e.type)
                    else pointer_arg(m.c, m.args[at], "this argument")
                    if not _is_zero(m, e)
                    else cast(e, C.Pointer(C.VOID))
                )
            elif letter in "kl":
                args.append(
                    m.pointer(
                        at, m.map.key if letter == "k" else m.map.leaf, "the key" if letter == "k" else "the value"
                    )
                )
            else:
                args.append(m.number(at))
            at += 1
        types: dict[str, CType] = {"int": C.INT, "leaf": C.Pointer(m.map.leaf)}
        return m.call(helper, args, types.get(result))

    return handle


def _is_zero(m: MethodCall, e: tree.Expr) -> bool:
    return m.c.constant_of(e) == 0


class Method:
    __slots__ = ("handler", "least", "most", "types", "usage")

    def __init__(self, handler: Callable[[MethodCall], tree.Expr], usage: str, types: str | None = None) -> None:
        self.handler, self.usage = handler, usage
        required, _, optional = usage.partition("[")
        self.least = len([x for x in required.split(",") if x.strip()])
        self.most = self.least + len([x for x in optional.strip("] ").split(",") if x.strip()])
        self.types = tuple(types.split()) if types is not None else None


_STORES = (
    "HASH ARRAY PERCPU_HASH PERCPU_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS "
    "HASH_OF_MAPS DEVMAP DEVMAP_HASH CPUMAP XSKMAP "
    "SOCKMAP SOCKHASH STACK_TRACE CGROUP_STORAGE"
)
_KEYED = "HASH ARRAY PERCPU_HASH PERCPU_ARRAY LRU_HASH LRU_PERCPU_HASH LPM_TRIE"
METHODS: dict[str, Method] = {
    "lookup": Method(_lookup, "&key", _STORES),
    "lookup_or_init": Method(_lookup_or(True), "&key, &initial", _KEYED),
    "lookup_or_try_init": Method(_lookup_or(False), "&key, &initial", _KEYED),
    "update": Method(_store(BPF_ANY), "&key, &value [, flags]", _STORES),
    "insert": Method(_store(BPF_NOEXIST), "&key, &value", _STORES),
    "delete": Method(_delete, "&key", _STORES),
    "increment": Method(_increment(False), "key [, by]", _KEYED),
    "atomic_increment": Method(_increment(True), "key [, by]", _KEYED),
    "perf_submit": Method(_perf_submit, "ctx, &data, size", "PERF_EVENT_ARRAY"),
    "perf_submit_skb": Method(_perf_submit_skb, "skb, length, &data, size", "PERF_EVENT_ARRAY"),
    "perf_read": Method(_plain("bpf_perf_event_read", "mn"), "index", "PERF_EVENT_ARRAY"),
    "perf_counter_value": Method(
        _plain("bpf_perf_event_read_value", "mnpn", "int"), "index, &value, size", "PERF_EVENT_ARRAY"
    ),
    "get_stackid": Method(_plain("bpf_get_stackid", "pmn", "int"), "ctx, flags", "STACK_TRACE"),
    "call": Method(_plain("bpf_tail_call", "pmn"), "ctx, index", "PROG_ARRAY"),
    "ringbuf_output": Method(_ringbuf_output, "&data, size, flags", "RINGBUF"),
    "ringbuf_reserve": Method(_plain("bpf_ringbuf_reserve", "mn0"), "size", "RINGBUF"),
    "ringbuf_submit": Method(_ringbuf_submit, "data, flags", "RINGBUF"),
    "ringbuf_discard": Method(_plain("bpf_ringbuf_discard", "pn"), "data, flags", "RINGBUF"),
    "ringbuf_query": Method(_plain("bpf_ringbuf_query", "mn"), "what", "RINGBUF"),
    "push": Method(_plain("bpf_map_push_elem", "mln", "int"), "&value [, flags]", "QUEUE STACK BLOOM_FILTER"),
    "pop": Method(_plain("bpf_map_pop_elem", "ml", "int"), "&value", "QUEUE STACK"),
    "peek": Method(_plain("bpf_map_peek_elem", "ml", "int"), "&value", "QUEUE STACK BLOOM_FILTER"),
    "redirect_map": Method(_plain("bpf_redirect_map", "mnn", "int"), "key, flags", "DEVMAP DEVMAP_HASH CPUMAP XSKMAP"),
    "check_current_task": Method(_plain("bpf_current_task_under_cgroup", "mn", "int"), "index", "CGROUP_ARRAY"),
    "sk_storage_get": Method(_plain("bpf_sk_storage_get", "mppn", "leaf"), "sk, value, flags", "SK_STORAGE"),
    "sk_storage_delete": Method(_plain("bpf_sk_storage_delete", "mp", "int"), "sk", "SK_STORAGE"),
    "inode_storage_get": Method(
        _plain("bpf_inode_storage_get", "mppn", "leaf"), "inode, value, flags", "INODE_STORAGE"
    ),
    "inode_storage_delete": Method(_plain("bpf_inode_storage_delete", "mp", "int"), "inode", "INODE_STORAGE"),
    "task_storage_get": Method(_plain("bpf_task_storage_get", "mppn", "leaf"), "task, value, flags", "TASK_STORAGE"),
    "task_storage_delete": Method(_plain("bpf_task_storage_delete", "mp", "int"), "task", "TASK_STORAGE"),
    "cgrp_storage_get": Method(_plain("bpf_cgrp_storage_get", "mppn", "leaf"), "cgroup, value, flags", "CGRP_STORAGE"),
    "get_local_storage": Method(
        _plain("bpf_get_local_storage", "mn", "leaf"), "flags", "CGROUP_STORAGE PERCPU_CGROUP_STORAGE"
    ),
    "msg_redirect_hash": Method(_plain("bpf_msg_redirect_hash", "pmkn", "int"), "msg, &key, flags", "SOCKHASH"),
    "sk_redirect_hash": Method(_plain("bpf_sk_redirect_hash", "pmkn", "int"), "skb, &key, flags", "SOCKHASH"),
    "sock_hash_update": Method(_plain("bpf_sock_hash_update", "pmkn", "int"), "ctx, &key, flags", "SOCKHASH"),
    "sock_map_update": Method(_plain("bpf_sock_map_update", "pmkn", "int"), "ctx, &key, flags", "SOCKMAP"),
    "msg_redirect_map": Method(_plain("bpf_msg_redirect_map", "pmnn", "int"), "msg, index, flags", "SOCKMAP"),
    "sk_redirect_map": Method(_plain("bpf_sk_redirect_map", "pmnn", "int"), "skb, index, flags", "SOCKMAP"),
}
