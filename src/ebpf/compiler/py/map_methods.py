"""Methods of maps in programs: `METHODS` says which types have which; records sent through buffers."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType as M
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import types as P
from ebpf.compiler.py.declarations import MapDecl
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.maps import ARRAYS, HASHES, KEYED, OF_MAPS, PER_CPU, InnerMap, Maps
from ebpf.compiler.py.memory import Into
from ebpf.compiler.py.values import (
    I32,
    I64,
    OWN,
    U32,
    U64,
    Const,
    Entry,
    Format,
    Int,
    Maybe,
    Ref,
    Tuple,
    Value,
    ty_of_ctype,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STORAGE = {
    M.SK_STORAGE: "bpf_sk_storage",
    M.TASK_STORAGE: "bpf_task_storage",
    M.INODE_STORAGE: "bpf_inode_storage",
    M.CGRP_STORAGE: "bpf_cgrp_storage",
}
SOCKETS = frozenset((M.SOCKMAP, M.SOCKHASH))
DEVICES = frozenset((M.DEVMAP, M.DEVMAP_HASH, M.CPUMAP, M.XSKMAP))
QUEUES = frozenset((M.QUEUE, M.STACK))
_NOEXIST, _CURRENT_CPU, _USER_STACK, _CREATE = 1, 0xFFFFFFFF, 1 << 8, 1


class MapMethods(Maps):
    def methods_of(self, m: MapDecl) -> list[str]:
        out = [n for n, (kinds, _) in METHODS.items() if m.type in kinds]
        return out if getattr(m, "histogram", False) else [n for n in out if n != "increment"]

    def call_map(self, m: MapDecl, name: str, node: ast.Call) -> Value:
        row = METHODS.get(name)
        if row is None or m.type not in row[0]:
            from ebpf.diagnostics import did_you_mean

            known = self.methods_of(m)
            close = did_you_mean(name, known)
            helps = [f"did you mean `{close[0]}`?"] if close else [f"it has {', '.join(f'`.{n}()`' for n in known)}"]
            if name in ("items", "keys", "values"):
                helps = ["read maps whole in Python outside of programs"]
            self.refuse("P0303", node.func, f"`{m.name}` ({m.type.name}) has no `.{name}()`", helps=helps)
        return row[1](self, m, node)

    def given(self, node: ast.Call, names: str, required: int) -> list[ast.expr | None]:
        """The arguments of a call by their names, None for what is left out."""
        wanted = names.split()
        out: list[ast.expr | None] = [None] * len(wanted)
        shown = ast.unparse(node.func)
        for i, a in enumerate(node.args):
            if isinstance(a, ast.Starred) or i >= len(wanted):
                self.refuse(
                    "P0211",
                    a,
                    f"`{shown}` takes {len(wanted)} argument{'s' * (len(wanted) != 1)} at most: {', '.join(wanted)}"
                    if wanted
                    else f"`{shown}` takes no arguments",
                )
            out[i] = a
        for k in node.keywords:
            if k.arg not in wanted:
                self.refuse(
                    "P0211",
                    k,
                    f"`{shown}` has no parameter `{k.arg}`",
                    helps=[f"it has {', '.join(wanted)}"] if wanted else [],
                )
            out[wanted.index(k.arg)] = k.value
        missing = [n for n, a in zip(wanted[:required], out, strict=False) if a is None]
        if missing:
            self.refuse("P0211", node, f"`{shown}` is called without {' and '.join(f'`{n}`' for n in missing)}")
        return out

    def _get(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in STORAGE:
            return self._storage(m, node, 0)
        key, default = self.given(node, "key default", 1)
        assert key is not None
        address = self.key(m, key)
        if m.type in OF_MAPS:
            return self._inner_map(m, address)
        t, py = self.value_type(m, node)
        at = self.lookup(m, address, t)
        ty = ty_of_ctype(t)
        if default is not None and not (isinstance(default, ast.Constant) and default.value is None):
            if ty is None:
                self.refuse("P0211", default, "only numbers can have a default", helps=["ask for None instead"])
            result = self.local(ty.ctype)
            self.set(result, self.int_as(self.expr(default), ty, default, "the default"))
            with self.nested() as found:
                v = self.at_place(self.deref(at, t), OWN, py)
                assert isinstance(v, Int)
                self.set(result, cast(v.e, ty.ctype))
            self.branch(at, found)
            return Int(ty, self.get(result))
        if ty is not None:
            return Maybe(at, self.value_or_zero(at, self.deref(at, t), py))
        return Ref(
            at,
            C.strip(t) if isinstance(C.strip(t), C.Record) else t,
            OWN,
            py,
            nullable=True,
            shared=m.type not in PER_CPU,
        )

    def _inner_map(self, m: MapDecl, key: tree.Expr) -> Value:
        at = self.helper("bpf_map_lookup_elem", self.map_pointer(m), cast(key, VOID_POINTER))
        assert m.inner is not None
        return Ref(at, C.VOID, OWN, InnerMap(m.inner), nullable=True)

    def _setdefault(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in STORAGE:
            return self._storage(m, node, _CREATE)
        key, default = self.given(node, "key default", 1)
        assert key is not None
        t, py = self.value_type(m, node)
        address = self.key(m, key)
        at = self.local(C.Pointer(t))
        self.set(at, self.lookup(m, address, t))
        with self.nested() as absent:
            place = self.scratch(t, clean=True)
            if default is not None:
                self.put_node(default, place, py, f"a value of `{m.name}`", clean=True)
            self.update(m, address, place, _NOEXIST)
            self.set(at, self.lookup(m, address, t))
        self.branch(self.negate(self.get(at)), absent)
        pointer = self.temp(self.get(at))
        if ty_of_ctype(t) is not None:
            return Maybe(pointer, self.value_or_zero(pointer, self.deref(pointer, t), py))
        return Ref(
            pointer,
            C.strip(t) if isinstance(C.strip(t), C.Record) else t,
            OWN,
            py,
            nullable=True,
            shared=m.type not in PER_CPU,
        )

    def _storage(self, m: MapDecl, node: ast.Call, flags: int) -> Value:
        (of,) = self.given(node, "owner", 1)
        assert of is not None
        v = self.expr(of)
        if not isinstance(v, Ref):
            self.refuse(
                "P0204", of, f"`{m.name}` keeps something for each struct of the kernel, and this is {words(v)}"
            )
        t, py = self.value_type(m, node)
        call = self.call(
            f"{STORAGE[m.type]}_get", self.map_pointer(m), v.e, self.const(0, VOID_POINTER), self.const(flags, C.ULONG)
        )
        at = self.temp(cast(call, C.Pointer(t)))
        if ty_of_ctype(t) is not None and not flags:
            return Maybe(at, self.value_or_zero(at, self.deref(at, t), py))
        if ty_of_ctype(t) is not None:
            return Maybe(at, self.value_or_zero(at, self.deref(at, t), py))
        return Ref(at, C.strip(t), OWN, py, nullable=True)

    def _update(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in SOCKETS:
            return self._sock_update(m, node)
        key, value, flags = self.given(node, "key value flags", 2)
        assert key is not None and value is not None
        t, py = self.value_type(m, node)
        address = self.key(m, key)
        place = self.scratch(t, clean=True)
        self.put_node(value, place, py, f"a value of `{m.name}`", clean=True)
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.expr(flags), U64, flags, "flags")
        failed = self.helper(
            "bpf_map_update_elem", self.map_pointer(m), cast(address, VOID_POINTER), self.pointer(place), how
        )
        return self.truth_of(self.compare("==", failed, self.const(0, failed.type)))

    def _insert(self, m: MapDecl, node: ast.Call) -> Value:
        node.keywords.append(ast.keyword("flags", ast.copy_location(ast.Constant(_NOEXIST), node)))
        try:
            return self._update(m, node)
        finally:
            node.keywords.pop()

    def _delete(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in STORAGE:
            (of,) = self.given(node, "owner", 1)
            assert of is not None
            v = self.expr(of)
            if not isinstance(v, Ref):
                self.refuse(
                    "P0204", of, f"`{m.name}` keeps something for each struct of the kernel, and this is {words(v)}"
                )
            failed = self.helper(f"{STORAGE[m.type]}_delete", self.map_pointer(m), v.e)
        else:
            (key,) = self.given(node, "key", 1)
            assert key is not None
            failed = self.temp(self.delete_entry(Entry(m, self.key(m, key))))
        return self.truth_of(self.compare("==", failed, self.const(0, failed.type)))

    def _pop(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in QUEUES:
            return self._take(m, node, "bpf_map_pop_elem")
        (key,) = self.given(node, "key", 1)
        assert key is not None
        t, py = self.value_type(m, node)
        ty = ty_of_ctype(t)
        if ty is None:
            self.refuse(
                "P0303",
                node,
                f"`.pop()` is for maps of numbers, and `{m.name}` holds structs",
                helps=["use `.get(key)`, then `del`"],
            )
        address = self.key(m, key)
        at = self.lookup(m, address, t)
        value = self.value_or_zero(at, self.deref(at, t), py)
        with self.nested() as found:
            self.effect("bpf_map_delete_elem", self.map_pointer(m), cast(address, VOID_POINTER))
        self.branch(at, found)
        return Maybe(at, value)

    def _take(self, m: MapDecl, node: ast.Call, helper: str) -> Value:
        self.given(node, "", 0)
        t, py = self.value_type(m, node)
        place = self.memory(t)
        failed = self.helper(helper, self.map_pointer(m), self.pointer(place))
        there = self.temp(self.compare("==", failed, self.const(0, failed.type)))
        ty = ty_of_ctype(t)
        if ty is not None:
            v = self.at_place(place, OWN, py)
            assert isinstance(v, Int)
            return Maybe(there, v)
        at = self.local(C.Pointer(t))
        self.set(at, self.const(0, C.Pointer(t)))
        with self.nested() as found:
            self.set(at, cast(tree.AddressOf(C.Pointer(t), self.loc, self.end, place), C.Pointer(t)))
        self.branch(there, found)
        return Ref(self.get(at), C.strip(t), OWN, py, nullable=True)

    def _peek(self, m: MapDecl, node: ast.Call) -> Value:
        return self._take(m, node, "bpf_map_peek_elem")

    def _push(self, m: MapDecl, node: ast.Call) -> Value:
        value, flags = self.given(node, "value flags", 1)
        assert value is not None
        t, py = self.value_type(m, node)
        place = self.scratch(t, clean=True)
        self.put_node(value, place, py, f"a value of `{m.name}`", clean=True)
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.expr(flags), U64, flags, "flags")
        failed = self.helper("bpf_map_push_elem", self.map_pointer(m), self.pointer(place), how)
        return self.truth_of(self.compare("==", failed, self.const(0, failed.type)))

    # -------------------------------------------------------------------------------------------------- histograms

    def _increment(self, m: MapDecl, node: ast.Call) -> Value:
        """``h.increment(value, key=…)``: the slot of the value's logarithm is counted up."""
        if not getattr(m, "histogram", False):
            self.refuse("P0303", node.func, f"`{m.name}` is no histogram", helps=[f"write `{m.name}[key] += 1`"])
        value, key, by = self.given(node, "value key by", 1)
        assert value is not None
        slot = self.log2(self.number(self.plain(self.expr(value), value), value))
        t, py = self.value_type(m, node)
        key_t, key_py = self.key_type(m)
        if isinstance(key_py, P.StructType):
            place = self.scratch(key_t, clean=True)
            names = list(key_py.fields)
            of = Ref(self.address(place), C.strip(key_t), OWN, key_py)
            if key is not None:
                lvalue, inner = self.member(of, names[0], key)
                self.put_node(key, lvalue, inner, f"the key of `{m.name}`", clean=True)
            lvalue, inner = self.member(of, names[-1], node)
            self.put(slot, lvalue, inner, "the slot", node)
        else:
            if key is not None:
                self.refuse("P0211", key, f"`{m.name}` has one histogram, without keys")
            place = self.scratch(key_t)
            self.put(slot, place, key_py, "the slot", node)
        amount: Value = Const(1) if by is None else self.plain(self.expr(by), by)
        fake = ast.copy_location(ast.AugAssign(ast.Name(m.name, ast.Store()), ast.Add(), by or node), node)
        self.change_number(m, self.address(place), ast.Add(), amount, fake)
        return Const(None)

    def log2(self, v: Int) -> Int:
        """The number of the highest bit that is set: 0 for 0 and 1, as BCC's bpf_log2l counts less one."""
        x = self.local(C.ULONG)
        r = self.local(C.UINT)
        self.set(x, cast(v.e, C.ULONG))
        self.set(r, self.const(0, C.UINT))
        for step in (32, 16, 8, 4, 2, 1):
            if v.bits is not None and v.bits <= step:
                continue
            rest = self.temp(tree.Binary(C.ULONG, self.loc, self.end, ">>", self.get(x), self.const(step, C.ULONG)))
            with self.nested() as more:
                self.set(x, rest)
                self.set(r, self.binary("+", self.get(r), self.const(step, C.UINT)))
            self.branch(self.compare("!=", rest, self.const(0, C.ULONG)), more)
        return Int(U32, self.temp(self.get(r)), 6)

    # ----------------------------------------------------------------------------------------------------- records

    def _send(self, m: MapDecl, node: ast.Call) -> Value:
        """A record to Python, through a ring buffer or perf buffers."""
        args = list(node.args)
        if len(args) == 2 and m.type == M.PERF_EVENT_ARRAY:
            args = args[1:]  # `events.send(ctx, record)`
        if len(args) != 1 or node.keywords:
            self.refuse("P0211", node, f"`{m.name}.send` takes one record", helps=[f"`{m.name}.send(Event(pid=…))`"])
        return self.send(m, args[0])

    def send(self, m: MapDecl, record: ast.expr) -> Value:
        t, py = self.value_type(m, record) if m.value is not None else (None, None)
        if m.type == M.RINGBUF and isinstance(record, ast.Call):
            made = self.global_value(record.func)
            if isinstance(made, P.StructType):
                self._is_record(m, made, record)
                t = t or self.state.record(made)
                self.note_event(m, t)
                return self._send_built(m, made, t, record)
        v = self.expr(record)
        if isinstance(v, (Int, Const, Tuple, Format)) and t is not None:
            place = self.scratch(t, clean=True)
            self.put(v, place, py, f"a record of `{m.name}`", record)
            v = Ref(self.address(place), t, OWN, py)
        if not isinstance(v, Ref):
            self.refuse("P0306", record, f"`{m.name}` sends structs, and this is {words(v)}")
        self.not_none(v, record)
        if v.py is not None:
            self._is_record(m, v.py, record)
        v = self.own(v, record)
        t = t or v.t
        self.note_event(m, t)
        size = C.size_of(t) or 0
        if m.type == M.RINGBUF:
            failed = self.helper(
                "bpf_ringbuf_output",
                self.map_pointer(m),
                cast(v.e, VOID_POINTER),
                self.const(size, C.ULONG),
                self.const(0, C.ULONG),
            )
        else:
            failed = self.helper(
                "bpf_perf_event_output",
                self.context_pointer(record),
                self.map_pointer(m),
                self.const(_CURRENT_CPU, C.ULONG),
                cast(v.e, VOID_POINTER),
                self.const(size, C.ULONG),
            )
        return self.truth_of(self.compare("==", failed, self.const(0, failed.type)))

    def _is_record(self, m: MapDecl, t: Any, node: ast.AST) -> None:
        if m.value is not None and t is not m.value and t != m.value:
            self.refuse(
                "P0306",
                node,
                f"`{m.name}` carries {P.describe(m.value).partition('[')[0]}, and this is "
                f"{P.describe(t).partition('[')[0]}",
                helps=[f"declare another buffer for {getattr(t, '__name__', t)}"],
            )

    def note_event(self, m: MapDecl, t: C.CType) -> None:
        self.state.events[self.map_variable(m).name] = t

    def _send_built(self, m: MapDecl, made: P.StructType, t: C.CType, record: ast.Call) -> Value:
        """A record that is built where it is sent from."""
        size = C.size_of(t) or 0
        at = self.reserve(m, t, size)
        with self.nested() as room:
            place = self.deref(at, t)
            self.construct(made, record, Into(place, False, 8))
            self.effect("bpf_ringbuf_submit", cast(at, VOID_POINTER), self.const(0, C.ULONG))
        self.branch(at, room)
        return self.truth_of(at)

    def reserve(self, m: MapDecl, t: C.CType, size: int) -> tree.Expr:
        call = self.call("bpf_ringbuf_reserve", self.map_pointer(m), self.const(size, C.ULONG), self.const(0, C.ULONG))
        return self.temp(cast(call, C.Pointer(t)))

    def _reserve(self, m: MapDecl, node: ast.Call) -> Value:
        (given,) = self.given(node, "type", 0)
        made = self.global_value(given) if given is not None else m.value
        if not isinstance(made, P.StructType):
            self.refuse("P0306", node, f"`{m.name}.reserve` wants a struct")
        self._is_record(m, made, node)
        t = self.state.record(made)
        self.note_event(m, t)
        at = self.reserve(m, t, t.size)
        with self.nested() as room:
            self.zero(self.deref(at, t), t.size, 8)
        self.branch(at, room)
        return Ref(at, t, OWN, made, nullable=True)

    def _submit(self, m: MapDecl, node: ast.Call, helper: str = "bpf_ringbuf_submit") -> Value:
        (given,) = self.given(node, "record", 1)
        assert given is not None
        v = self.expr(given)
        if not isinstance(v, Ref):
            self.refuse("P0306", given, f"this is {words(v)}, and not what `{m.name}.reserve()` gave")
        self.not_none(v, given)
        self.effect(helper, cast(v.e, VOID_POINTER), self.const(0, C.ULONG))
        return Const(None)

    def _discard(self, m: MapDecl, node: ast.Call) -> Value:
        return self._submit(m, node, "bpf_ringbuf_discard")

    # ------------------------------------------------------------------------------------------------------- others

    def _kernel_stack(self, m: MapDecl, node: ast.Call, flags: int = 0) -> Value:
        self.given(node, "ctx", 0)
        call = self.helper(
            "bpf_get_stackid", self.context_pointer(node), self.map_pointer(m), self.const(flags, C.ULONG)
        )
        return Int(I64, call)

    def _user_stack(self, m: MapDecl, node: ast.Call) -> Value:
        return self._kernel_stack(m, node, _USER_STACK)

    def _jump(self, m: MapDecl, node: ast.Call) -> Value:
        args = node.args[-1:] if len(node.args) <= 2 else node.args
        if len(args) != 1 or node.keywords:
            self.refuse("P0211", node, f"`{m.name}.jump` takes an index")
        index = self.int_as(self.plain(self.expr(args[0]), args[0]), U32, args[0], "the index")
        self.effect("bpf_tail_call", self.context_pointer(node), self.map_pointer(m), index)
        return Const(None)

    def _redirect(self, m: MapDecl, node: ast.Call) -> Value:
        if m.type in SOCKETS:
            return self._sock_redirect(m, node)
        key, flags = self.given(node, "key flags", 1)
        assert key is not None
        index = self.int_as(self.plain(self.expr(key), key), U32, key, "the index")
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.expr(flags), U64, flags, "flags")
        return Int(I64, self.helper("bpf_redirect_map", self.map_pointer(m), cast(index, C.ULONG), how))

    def _sock_redirect(self, m: MapDecl, node: ast.Call) -> Value:
        key, flags = self.given(node, "key flags", 1)
        assert key is not None
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.expr(flags), U64, flags, "flags")
        kind = "msg" if self.context_kind == "sk_msg_md" else "sk"
        if m.type == M.SOCKMAP:
            index = self.int_as(self.plain(self.expr(key), key), U32, key, "the index")
            call = self.helper(f"bpf_{kind}_redirect_map", self.context_pointer(node), self.map_pointer(m), index, how)
        else:
            address = cast(self.key(m, key), VOID_POINTER)
            call = self.helper(
                f"bpf_{kind}_redirect_hash", self.context_pointer(node), self.map_pointer(m), address, how
            )
        return Int(I32, cast(call, C.INT))

    def _sock_update(self, m: MapDecl, node: ast.Call) -> Value:
        """``sockets.update(key)`` in a sockops program: the socket at hand goes into the map."""
        key, flags = self.given(node, "key flags", 1)
        assert key is not None
        address = cast(self.key(m, key), VOID_POINTER)
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.expr(flags), U64, flags, "flags")
        name = "bpf_sock_map_update" if m.type == M.SOCKMAP else "bpf_sock_hash_update"
        failed = self.helper(name, self.context_pointer(node), self.map_pointer(m), address, how)
        return self.truth_of(self.compare("==", failed, self.const(0, failed.type)))

    def _contains_cgroup(self, m: MapDecl, node: ast.Call) -> Value:
        (index,) = self.given(node, "index", 1)
        assert index is not None
        i = self.int_as(self.plain(self.expr(index), index), U32, index, "the index")
        found = self.helper("bpf_current_task_under_cgroup", self.map_pointer(m), i)
        return self.truth_of(self.compare("==", found, self.const(1, found.type)))

    def _read_counter(self, m: MapDecl, node: ast.Call) -> Value:
        self.given(node, "", 0)
        return Int(
            U64,
            cast(self.helper("bpf_perf_event_read", self.map_pointer(m), self.const(_CURRENT_CPU, C.ULONG)), C.ULONG),
        )


_T = MapMethods
_STORAGES = frozenset(STORAGE)

METHODS: dict[str, tuple[frozenset[int], Callable[..., Value]]] = {
    "get": (frozenset(KEYED | _STORAGES), _T._get),
    "setdefault": (frozenset(HASHES | _STORAGES), _T._setdefault),
    "update": (frozenset(HASHES | ARRAYS | SOCKETS), _T._update),
    "insert": (frozenset(HASHES), _T._insert),
    "delete": (frozenset(HASHES | _STORAGES), _T._delete),
    "pop": (frozenset(HASHES | QUEUES), _T._pop),
    "peek": (QUEUES, _T._peek),
    "push": (frozenset(QUEUES | {M.BLOOM_FILTER}), _T._push),
    "increment": (frozenset(HASHES | ARRAYS), _T._increment),
    "send": (frozenset((M.RINGBUF, M.PERF_EVENT_ARRAY)), _T._send),
    "emit": (frozenset((M.RINGBUF, M.PERF_EVENT_ARRAY)), _T._send),
    "reserve": (frozenset((M.RINGBUF,)), _T._reserve),
    "submit": (frozenset((M.RINGBUF,)), _T._submit),
    "discard": (frozenset((M.RINGBUF,)), _T._discard),
    "kernel": (frozenset((M.STACK_TRACE,)), _T._kernel_stack),
    "user": (frozenset((M.STACK_TRACE,)), _T._user_stack),
    "jump": (frozenset((M.PROG_ARRAY,)), _T._jump),
    "redirect": (frozenset(DEVICES | SOCKETS), _T._redirect),
    "contains": (frozenset((M.CGROUP_ARRAY,)), _T._contains_cgroup),
    "read": (frozenset((M.PERF_EVENT_ARRAY,)), _T._read_counter),
}
"""A method → the types of maps that have it, and what it does."""
