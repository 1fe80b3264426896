"""Maps of the script: keys, reading, writing, aggregations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import types as T
from ebpf.compiler.trace.access import Access
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.plan import FULL
from ebpf.compiler.trace.types import Ty

if TYPE_CHECKING:
    from ebpf.compiler.trace import ast
    from ebpf.compiler.trace.state import ScriptMap

BPF_ANY = 0

_FETCHES_SINCE = 0x50C00  # Linux 5.12: atomic instructions give what was there (kernel commit 5ca419f2864a)


class Maps(Access):
    def expr(self, node: ast.Expr, into: tree.Expr | None = None) -> Value:
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------------------- keys

    def key_types(self, m: ScriptMap, types: tuple[Ty, ...], node: ast.Node) -> None:
        """Take part in what the map's key is."""
        if m.key is None:
            m.key, m.key_at = types, node
            self.state.changed = True
            return
        if len(m.key) != len(types):
            assert m.key_at is not None
            line = self.state.diagnostics.sources.line(m.key_at.loc)
            self.refuse(
                "T0204",
                node,
                f"`{m.name}` has {_parts(len(m.key))} since line {line}, and {_parts(len(types))} here",
                related=[(m.key_at.loc, m.key_at.end, "first used here")],
            )
        merged = []
        for i, (known, new) in enumerate(zip(m.key, types, strict=True)):
            both = T.merge(known, new)
            if both is None:
                assert m.key_at is not None
                part = f"part {i + 1} of the key of `{m.name}`" if len(types) > 1 else f"the key of `{m.name}`"
                self.refuse(
                    "T0204",
                    node,
                    f"{part} is {T.words(known)} and {T.words(new)} here",
                    related=[(m.key_at.loc, m.key_at.end, "first used here")],
                )
            merged.append(both)
        if any(not T.same(a, b) for a, b in zip(merged, m.key, strict=True)):
            m.key = tuple(merged)
            self.state.changed = True

    def key(self, m: ScriptMap, nodes: list[ast.Expr] | None, node: ast.Node) -> tree.Expr:
        """The key's address, in memory with room for a bucket behind it if the map's keys have one."""
        values = [self.expr(n) for n in nodes or ()]
        if len(values) == 1 and values[0].ty.kind == "tuple" and (m.key is None or len(m.key) != 1):
            whole = values[0]
            parts, at = [], 0
            for _, t in whole.ty.args:
                parts.append(self.at_own(whole.e, at, t))
                at += T.stored_size(t)
            values = parts
        for v, n in zip(values, nodes or (), strict=False):
            if v.ty.kind == "none":
                self.refuse("T0204", n, "this has no value that could be a key")
            if v.ty.kind in T.AGGREGATES:
                self.refuse("T0204", n, f"{T.words(v.ty)} cannot be a key")
        self.key_types(m, tuple(v.ty for v in values), node)
        assert m.key is not None
        memory = self.allocate(m.key_size)
        if not m.key:
            self.store(self.deref(memory, C.ULONG), self.const(0, C.ULONG))
            return memory
        at = 0
        for v, t in zip(values, m.key, strict=True):
            self.put(v, t, self.offset(memory, at))
            at += T.stored_size(t)
        return memory

    def bucket(self, m: ScriptMap, key: tree.Expr, bucket: tree.Expr) -> None:
        """Write the bucket behind the key."""
        size = sum(T.stored_size(t) for t in m.key or ())
        self.store(self.deref(self.offset(key, size), C.ULONG), cast(bucket, C.ULONG))

    # ------------------------------------------------------------------------------------------------------ values

    def value_type(self, m: ScriptMap, t: Ty, node: ast.Node) -> Ty:
        """Take part in what the map's values are."""
        both = T.merge(m.value, t)
        if both is None:
            at = m.value_at
            related = [(at.loc, at.end, "first written here")] if at is not None else []
            since = f" since line {self.state.diagnostics.sources.line(at.loc)}" if at is not None else ""
            self.refuse(
                "T0203", node, f"`{m.name}` holds {T.words(m.value)}{since}, and this is {T.words(t)}", related=related
            )
        if m.value_at is None and t.kind != "unknown":
            m.value_at = node
        if (
            not T.same(both, m.value)
            or both.kind != m.value.kind
            or (both.size, both.signed) != (m.value.size, m.value.signed)
        ):
            m.value = both
            self.state.changed = True
        elif m.value.kind == "pointer" and m.value.ctype is None:
            m.value = both
        return m.value

    def lookup(self, m: ScriptMap, key: tree.Expr) -> tree.Expr:
        return self.helper("bpf_map_lookup_elem", self.map_address(m.variable), cast(key, C.Pointer(C.VOID)))

    def update(self, m: ScriptMap, key: tree.Expr, value: tree.Expr, flags: int = BPF_ANY) -> None:
        """Store; where there is no room, that is counted (map `FULL`, by the number of the map in the plan)."""
        failed = self.helper(
            "bpf_map_update_elem",
            self.map_address(m.variable),
            cast(key, C.Pointer(C.VOID)),
            cast(value, C.Pointer(C.VOID)),
            self.const(flags, C.ULONG),
        )
        with self.nested() as full:
            number = self.const(list(self.state.maps).index(m.name), C.UINT)
            loc, end = self.node.loc, self.node.end
            self.evaluate(tree.CallFunction(C.LONG, loc, end, self.full_function(), [number]))
        # As an int: before 6.4 that is what maps' functions return, and the upper half of the register is zero.
        self.branch(self.compare("<", self.long(cast(failed, C.INT)), self.const(0)), full)

    def full_function(self) -> tree.FunctionDecl:
        """A subprogram that counts an update that failed."""
        decl = self.state.functions.get("count_full")
        if decl is None:
            loc, end = self.node.loc, self.node.end
            number = tree.Variable("number", C.UINT, "parameter", loc, end)
            key = tree.Variable("key", C.UINT, "local", loc, end)
            outer = self.out
            self.out = [tree.Declare(loc, end, key, tree.Initializer(C.UINT, [tree.InitPart(0, self.get(number))]))]
            at = self.call_helper(
                "bpf_map_lookup_elem",
                self.map_address(self.state.map_global(FULL)),
                cast(self.address(self.ref(key)), C.Pointer(C.VOID)),
            )
            with self.nested() as found:
                place = self.deref(at, C.ULONG)
                self.store(place, self.binary("+", self.load(place), self.const(1, C.ULONG)))
            self.branch(at, found)
            self.out.append(tree.Return(loc, end, self.const(0)))
            body, self.out = self.out, outer
            decl = self.subprogram("count_full", C.LONG, [number], body, linkage="static", noinline=True)
            self.state.functions["count_full"] = decl
        return decl

    def delete(self, m: ScriptMap, key: tree.Expr) -> tree.Expr:
        return self.helper("bpf_map_delete_elem", self.map_address(m.variable), cast(key, C.Pointer(C.VOID)))

    def read_map(self, node: ast.MapAccess, into: tree.Expr | None = None) -> Value:
        """``@m[k]`` as a value: zeroes where there is no entry."""
        m = self.state.map(node.name)
        m.used_at = m.used_at or node
        return self.read_entry(m, self.key(m, node.keys, node), node, into)

    def read_entry(self, m: ScriptMap, key: tree.Expr, node: ast.Node, into: tree.Expr | None = None) -> Value:
        """The value under a key that is in memory."""
        t = m.value
        if t.kind in ("hist", "lhist", "tseries"):
            self.refuse(
                "T0208",
                node,
                f"`{m.name}` holds {T.words(t)}, which has no single value",
                helps=[f"`print({m.name})` shows it"],
            )
        if t.kind in T.AGGREGATES:
            return self.read_aggregate(m, key)
        if T.is_scalar(t):
            at = self.lookup(m, key)
            result = self.local(C.ULONG)
            self.set(result, self.const(0, C.ULONG))
            with self.nested() as found:
                self.set(result, self.load(self.deref(at, C.ULONG)))
            self.branch(at, found)
            return self.scalar(t, self.get(result))
        size = T.stored_size(t)
        memory = into if into is not None else self.allocate(size)
        at = self.lookup(m, key)
        with self.nested() as found:
            self.copy(memory, at, size)
        with self.nested() as absent:
            self.zero(memory, size)
        self.branch(at, found, absent)
        return Value(t, memory)

    def write_map(self, m: ScriptMap, key: tree.Expr, v: Value, node: ast.Node) -> None:
        t = self.value_type(m, v.ty, node)
        if T.is_scalar(t) or (T.is_scalar(v.ty) or v.space != "bpf" or T.stored_size(v.ty) != T.stored_size(t)):
            memory = self.allocate(T.stored_size(t))
            self.put(v, t, memory)
        else:
            memory = v.e
        self.update(m, key, memory)

    def change_map(self, node: ast.MapAccess, op: str, amount: tree.Expr) -> tuple[tree.Expr, tree.Expr]:
        """``@m[k] += amount`` without losing what another CPU adds; the values before and after."""
        m = self.state.map(node.name)
        key = self.key(m, node.keys, node)
        self.value_type(m, T.INT, node)
        before = self.local(C.LONG)
        self.set(before, self.const(0))
        at = self.lookup(m, key)
        fetches = self.state.facts.kernel_version >= _FETCHES_SINCE  # else what was there is read a moment before
        amount = self.temp(self.long(amount))
        if op == "-":
            amount = self.temp(tree.Unary(C.LONG, self.node.loc, self.node.end, "-", amount))
        with self.nested() as found:
            place = cast(at, C.Pointer(C.LONG))
            if m.per_cpu:
                self.set(before, self.load(self.deref(at, C.LONG)))
                self.store(self.deref(at, C.LONG), self.binary("+", self.get(before), amount))
            else:
                if not fetches:
                    self.set(before, self.load(self.deref(at, C.LONG)))
                old = tree.Builtin(C.LONG, self.node.loc, self.node.end, "atomic_add", [place, amount])
                if fetches:
                    self.set(before, old)
                else:
                    self.evaluate(old)
        with self.nested() as absent:
            memory = self.allocate(8)
            self.store(self.deref(memory, C.LONG), amount)
            self.update(m, key, memory)
        self.branch(at, found, absent)
        return self.get(before), self.binary("+", self.get(before), amount)

    # ------------------------------------------------------------------------------------------------ aggregations

    def read_aggregate(self, m: ScriptMap, key: tree.Expr) -> Value:
        """What all CPUs counted together."""
        kind = m.value.kind
        total, count = self.local(C.LONG), self.local(C.LONG)
        self.set(total, self.const(0))
        self.set(count, self.const(0))
        several = self.state.has_helper("bpf_map_lookup_percpu_elem")
        body: list[tree.Stmt]
        cpu = self.local(C.UINT)
        with self.nested() as body:
            if several:
                at = self.helper(
                    "bpf_map_lookup_percpu_elem",
                    self.map_address(m.variable),
                    cast(key, C.Pointer(C.VOID)),
                    self.get(cpu),
                )
            else:
                at = self.lookup(m, key)
            with self.nested() as found:
                value = self.temp(self.load(self.deref(at, C.LONG)))
                if kind in ("min", "max"):
                    is_set = self.load(self.deref(self.offset(at, 8), C.LONG))
                    with self.nested() as better:
                        self.set(total, value)
                        self.set(count, self.const(1))
                    first = self.compare("==", self.get(count), self.const(0))
                    nearer = self.compare("<" if kind == "min" else ">", value, self.get(total))
                    either = tree.Logical(C.INT, self.node.loc, self.node.end, "||", first, nearer)
                    with self.nested() as counted:
                        self.branch(either, better)
                    self.branch(is_set, counted)
                else:
                    self.set(total, self.binary("+", self.get(total), value))
                    if kind in ("avg", "stats"):
                        more = self.load(self.deref(self.offset(at, 8), C.LONG))
                        self.set(count, self.binary("+", self.get(count), more))
            self.branch(at, found)
        loc, end = self.node.loc, self.node.end
        if several:
            start = tree.Evaluate(loc, end, tree.Assign(C.UINT, loc, end, self.ref(cpu), self.const(0, C.UINT)))
            step = tree.Assign(C.UINT, loc, end, self.ref(cpu), self.binary("+", self.get(cpu), self.const(1, C.UINT)))
            limit = self.compare("<", self.get(cpu), self.const(max(self.state.facts.cpus_possible, 1), C.UINT))
            self.out.append(tree.Loop(loc, end, start, limit, step, tree.Block(loc, end, body), False, 1))
        else:
            self.out += body
        if kind in ("avg", "stats"):
            with self.nested() as some:
                self.set(total, self.binary("/", self.get(total), self.get(count)))
            self.branch(self.get(count), some)
        return Value(Ty("int", 8, m.value.signed or kind != "count"), self.get(total))

    def aggregate(self, m: ScriptMap, key: tree.Expr, t: Ty, number: tree.Expr | None) -> None:
        """``@m[k] = count()`` and its relatives."""
        at = self.lookup(m, key)
        size = T.AGGREGATES[t.kind]
        number = self.temp(self.long(number)) if number is not None else self.const(1)
        with self.nested() as found:
            first = self.deref(at, C.LONG)
            if t.kind in ("min", "max"):
                second = self.deref(self.offset(at, 8), C.LONG)
                with self.nested() as better:
                    self.store(first, number)
                    self.store(second, self.const(1))
                unset = self.compare("==", self.load(second), self.const(0))
                nearer = self.compare("<" if t.kind == "min" else ">", number, self.load(first))
                self.branch(tree.Logical(C.INT, self.node.loc, self.node.end, "||", unset, nearer), better)
            else:
                self.store(first, self.binary("+", self.load(first), number))
                if size == 16:
                    second = self.deref(self.offset(at, 8), C.LONG)
                    self.store(second, self.binary("+", self.load(second), self.const(1)))
        with self.nested() as absent:
            mark = self.mark()
            memory = self.allocate(size)
            self.store(self.deref(memory, C.LONG), number)
            if size == 16:
                self.store(self.deref(self.offset(memory, 8), C.LONG), self.const(1))
            self.update(m, key, memory)
            self.release(mark)
        self.branch(at, found, absent)


def _parts(count: int) -> str:
    return "no key" if not count else f"{count} key part{'s' if count > 1 else ''}"
