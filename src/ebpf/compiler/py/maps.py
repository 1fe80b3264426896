"""Maps as containers: entries, methods, and records sent through buffers.

``m[k]`` is 0 where there is no entry; ``m[k] += 1`` makes one and adds atomically; ``m.get(k)`` may be None.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType as M
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import types as P
from ebpf.compiler.py.arithmetic import SYMBOLS, Arithmetic
from ebpf.compiler.py.declarations import MapDecl
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.memory import Into
from ebpf.compiler.py.values import (
    OWN,
    Const,
    Entry,
    Int,
    Ref,
    Value,
    ty_of_ctype,
    words,
)

if TYPE_CHECKING:
    pass

HASHES = frozenset((M.HASH, M.LRU_HASH, M.PERCPU_HASH, M.LRU_PERCPU_HASH, M.LPM_TRIE))
ARRAYS = frozenset((M.ARRAY, M.PERCPU_ARRAY))
PER_CPU = frozenset((M.PERCPU_HASH, M.LRU_PERCPU_HASH, M.PERCPU_ARRAY))
OF_MAPS = frozenset((M.ARRAY_OF_MAPS, M.HASH_OF_MAPS))
KEYED = HASHES | ARRAYS | OF_MAPS
_ATOMIC = {"+": "atomic_add", "-": "atomic_sub", "|": "atomic_or", "&": "atomic_and", "^": "atomic_xor"}
_NOEXIST = 1


class InnerMap:
    """What a `Ref` to the entry of a map of maps says of it."""

    __slots__ = ("decl",)

    def __init__(self, decl: MapDecl) -> None:
        self.decl = decl

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InnerMap) and other.decl is self.decl

    def __hash__(self) -> int:
        return id(self.decl)

    def __repr__(self) -> str:
        return "map"


class PointedMap(MapDecl):
    """A map that a map of maps gave: ``pointer`` leads to it."""

    __slots__ = ("pointer",)

    def __init__(self, decl: MapDecl, pointer: tree.Expr) -> None:
        super().__init__(decl.type, decl.key, decl.value, name=decl.name or "inner")
        self.pointer = pointer


class Maps(Arithmetic):
    context_kind = ""

    def construct(self, t: P.StructType, node: ast.Call, into: Into | None) -> Ref:
        raise NotImplementedError

    def context_pointer(self, node: ast.AST) -> tree.Expr:
        raise NotImplementedError

    def global_value(self, node: ast.expr) -> Any:
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------------------- keys

    def map_variable(self, m: MapDecl) -> tree.Variable:
        return self.state.map(m, m.name or "map")

    def map_pointer(self, m: MapDecl) -> tree.Expr:
        """What helpers take for a map: its address, or what a map of maps gave."""
        given = getattr(m, "pointer", None)
        return given if given is not None else self.map_address(self.map_variable(m))

    def key_type(self, m: MapDecl) -> tuple[C.CType, Any]:
        if m.key is None or m.type in ARRAYS:
            return C.UINT, P.u32
        t = self.state.ctype(m.key)
        assert t is not None
        return t, m.key

    def value_type(self, m: MapDecl, node: ast.AST) -> tuple[C.CType, Any]:
        t = self.state.ctype(m.value)
        if t is None:
            self.refuse("P0303", node, f"`{m.name}` ({m.type.name}) has no values that programs read or write")
        return t, m.value

    def key(self, m: MapDecl, node: ast.expr) -> tree.Expr:
        """The address of a key."""
        t, py = self.key_type(m)
        if ty_of_ctype(t) is not None:
            place = self.scratch(t)
            self.put(self.expr(node), place, py, f"the key of `{m.name}`", node, clean=True)
            return self.address(place)
        if isinstance(node, ast.Tuple) and isinstance(py, P.StructType):
            place = self.scratch(t, clean=True)
            if len(node.elts) != len(py.fields):
                self.refuse(
                    "P0204",
                    node,
                    f"the key of `{m.name}` has {len(py.fields)} parts ({', '.join(py.fields)}), "
                    f"and these are {len(node.elts)}",
                )
            for item, f in zip(node.elts, py.fields.values(), strict=True):
                lvalue, inner = self.member(Ref(self.address(place), C.strip(t), OWN, py), f.name, item)
                self.put_node(item, lvalue, inner, f"`{f.name}` of the key", clean=True)
            return self.address(place)
        v = self.expr(node)
        if isinstance(v, Ref) and v.space == OWN and not v.pointer and C.same(v.t, t):
            self.not_none(v, node)
            return v.e
        if isinstance(v, Ref) and v.space == OWN and v.py is not None and v.py == py:
            self.not_none(v, node)
            return v.e
        place = self.scratch(t, clean=True)
        self.put(v, place, py, f"the key of `{m.name}`", node, clean=True)
        return self.address(place)

    def lookup(self, m: MapDecl, key: tree.Expr, t: C.CType) -> tree.Expr:
        """The address of an entry's value, or null."""
        call = self.call("bpf_map_lookup_elem", self.map_pointer(m), cast(key, VOID_POINTER))
        return self.temp(cast(call, C.Pointer(t)))

    # ------------------------------------------------------------------------------------------------------ entries

    def subscript_map(self, m: MapDecl, node: ast.expr) -> Entry:
        if m.type not in KEYED:
            self.refuse(
                "P0303",
                node,
                f"`{m.name}` ({m.type.name}) has no entries that `[…]` reads",
                helps=[f"it has {', '.join(f'`.{n}()`' for n in self.methods_of(m))}"],
            )
        return Entry(m, self.key(m, node))

    def entry_value(self, entry: Entry, node: ast.AST) -> Value:
        """``m[k]`` where a value is wanted."""
        m = entry.map
        if m.type in OF_MAPS:
            self.refuse(
                "P0212",
                node,
                f"an entry of `{m.name}` is a map, or None",
                helps=[f"`inner = {m.name}.get(key)`, and ask `if inner is None`"],
            )
        t, py = self.value_type(m, node)
        at = self.lookup(m, entry.key, t)
        ty = ty_of_ctype(t)
        if ty is not None:
            return self.value_or_zero(at, self.deref(at, t), py)
        if m.type in ARRAYS:  # an index that is inside: the verifier has to see the question all the same
            with self.nested() as absent:
                self.leave()
            self.branch(self.negate(at), absent)
            return Ref(at, C.strip(t) if isinstance(C.strip(t), C.Record) else t, OWN, py, shared=m.type not in PER_CPU)
        named = ast.unparse(node) if isinstance(node, ast.expr) else "m[k]"
        self.refuse(
            "P0212",
            node,
            f"`{named}` may have no entry, and {words(Ref(at, t, OWN, py))} has no zero to stand for that",
            helps=[f"`v = {m.name}.get(key)` is None then", f"`{m.name}.setdefault(key)` makes an entry"],
        )

    def leave(self) -> None:
        raise NotImplementedError

    def value_or_zero(self, there: tree.Expr, place: tree.Expr, py: Any) -> Int:
        """The number at an lvalue, 0 where it is not ``there``."""
        ty = ty_of_ctype(place.type)
        assert ty is not None
        result = self.local(ty.ctype)
        self.set(result, self.const(0, ty.ctype))
        with self.nested() as found:
            v = self.at_place(place, OWN, py)
            assert isinstance(v, Int)
            self.set(result, cast(v.e, ty.ctype))
        self.branch(there, found)
        return Int(ty, self.get(result))

    def entry_member(self, entry: Entry, name: str, node: ast.AST) -> Value:
        """``m[k].name``: zeroes where there is no entry."""
        m = entry.map
        t, py = self.value_type(m, node)
        at = self.lookup(m, entry.key, t)
        lvalue, inner = self.member(Ref(at, C.strip(t), OWN, py), name, node)
        if ty_of_ctype(lvalue.type) is not None:
            return self.value_or_zero(at, lvalue, inner)
        self.refuse(
            "P0212",
            node,
            f"`{ast.unparse(node)}` may not be there",
            helps=[f"`v = {m.name}.get(key)`, and ask `if v is None`"],
        )

    def made_entry(self, m: MapDecl, key: tree.Expr, node: ast.AST) -> tree.Expr:
        """The address of an entry, which is made of zeroes where there is none; null where there is no room."""
        t, _ = self.value_type(m, node)
        at = self.local(C.Pointer(t))
        self.set(at, self.lookup(m, key, t))
        if m.type in ARRAYS:
            return self.get(at)
        with self.nested() as absent:
            zero = self.scratch(t, clean=True)
            self.effect(
                "bpf_map_update_elem",
                self.map_pointer(m),
                cast(key, VOID_POINTER),
                self.pointer(zero),
                self.const(_NOEXIST, C.ULONG),
            )
            self.set(at, self.lookup(m, key, t))
        self.branch(self.negate(self.get(at)), absent)
        return self.get(at)

    def set_entry(self, entry: Entry, node: ast.expr) -> None:
        """``m[k] = value``."""
        m = entry.map
        t, py = self.value_type(m, node)
        if ty_of_ctype(t) is not None:
            place = self.scratch(t)
            self.put(self.expr(node), place, py, f"a value of `{m.name}`", node, clean=True)
        else:
            v = self.expr(node)
            if isinstance(v, Ref) and v.space == OWN and v.py == py and not v.nullable:
                place = self.place_of(v)
            else:
                place = self.scratch(t, clean=True)
                self.put(v, place, py, f"a value of `{m.name}`", node, clean=True)
        self.update(m, entry.key, place, 0)

    def update(self, m: MapDecl, key: tree.Expr, place: tree.Expr, flags: int) -> None:
        self.effect(
            "bpf_map_update_elem",
            self.map_pointer(m),
            cast(key, VOID_POINTER),
            self.pointer(place),
            self.const(flags, C.ULONG),
        )

    def change_entry(self, entry: Entry, op: ast.operator, node: ast.AugAssign) -> None:
        """``m[k] += value`` of a number."""
        m = entry.map
        t, py = self.value_type(m, node)
        if ty_of_ctype(t) is None:
            self.refuse(
                "P0207", node, f"the values of `{m.name}` are no numbers", helps=["name a member: `m[k].count += 1`"]
            )
        value = self.amount(op, t, node, f"a value of `{m.name}`")
        self.change_number(m, entry.key, op, value, node)

    def change_number(self, m: MapDecl, key: tree.Expr, op: ast.operator, value: Value, node: ast.AugAssign) -> None:
        """The number at an entry, changed there, or made where there was none."""
        t, py = self.value_type(m, node)
        ty = ty_of_ctype(t)
        if isinstance(op, ast.Add) and m.type not in ARRAYS and ty is not None and ty.size >= 4:
            at = self._added_entry(m, key, value, node)
        else:
            at = self.made_entry(m, key, node)
        with self.nested() as found:
            self.change(self.deref(at, t), py, op, value, node, shared=m.type not in PER_CPU)
        self.branch(at, found)

    def _added_entry(self, m: MapDecl, key: tree.Expr, value: Value, node: ast.AugAssign) -> tree.Expr:
        """The address of the number to add to; null where there was no entry, and one with the number has been made."""
        t, py = self.value_type(m, node)
        ty = ty_of_ctype(t)
        assert ty is not None
        at = self.local(C.Pointer(t))
        self.set(at, self.lookup(m, key, t))
        with self.nested() as absent:
            place = self.scratch(t)
            first = Int(ty, self._atomic_amount("+", ty, value, node))
            self.put(first, place, py, f"a value of `{m.name}`", node.value)
            failed = self.helper("bpf_map_update_elem", self.map_pointer(m), cast(key, VOID_POINTER),
                                 self.pointer(place), self.const(_NOEXIST, C.ULONG))
            with self.nested() as late:  # another CPU was faster, or there is no room
                self.set(at, self.lookup(m, key, t))
            self.branch(failed, late)
        self.branch(self.negate(self.get(at)), absent)
        return self.get(at)

    def amount(self, op: ast.operator, t: C.CType, node: ast.AugAssign, what: str) -> Value:
        """The right side of ``place op= value``, evaluated before the place is looked for."""
        v = self.plain(self.expr(node.value), node.value)
        if isinstance(v, Int):
            return Int(v.ty, self.temp(v.e), v.bits, v.soft)
        return v

    def change(
        self, place: tree.Expr, py: Any, op: ast.operator, value: Value, node: ast.AugAssign, *, shared: bool
    ) -> None:
        """``place op= value``; ``shared``: other CPUs may do so as well, so it is done in one step where BPF can."""
        symbol = SYMBOLS[type(op)]
        ty = ty_of_ctype(place.type)
        big = isinstance(py, P.IntType) and py.big
        if ty is None or isinstance(place, tree.Member) and place.field.bit_size:
            shared = False
        if shared and ty is not None and not big and ty.size >= 4 and symbol in ("+", "-"):
            e = self._atomic_amount(symbol, ty, value, node)
            pointer = cast(self.address(place), C.Pointer(ty.ctype))
            self.evaluate(tree.Builtin(ty.ctype, self.loc, self.end, _ATOMIC["+"], [pointer, e]))
            return
        old = self.at_place(place, OWN, py)
        new = self.operation(symbol, old, value, node, (node.target, node.value))
        self.put(new, place, py, f"`{ast.unparse(node.target)}`", node.value)

    def _atomic_amount(self, symbol: str, ty: Any, value: Value, node: ast.AugAssign) -> tree.Expr:
        if isinstance(value, Const) and isinstance(value.value, int) and value.value < 0:
            value, symbol = Const(-value.value), "-" if symbol == "+" else "+"
        e = self.int_as(value, ty, node.value, f"`{ast.unparse(node.target)}`")
        if symbol == "+":
            return e
        if isinstance(e, tree.IntConst):
            return self.const(-e.value, ty.ctype)
        return tree.Unary(ty.ctype, self.loc, self.end, "-", e)

    def delete_entry(self, entry: Entry) -> tree.Expr:
        m = entry.map
        return self.call("bpf_map_delete_elem", self.map_pointer(m), cast(entry.key, VOID_POINTER))

    def contains(self, m: MapDecl, node: ast.expr) -> Value:
        """``k in m``."""
        if m.type == M.BLOOM_FILTER:
            t, py = self.value_type(m, node)
            place = self.scratch(t, clean=True)
            self.put_node(node, place, py, f"a value of `{m.name}`", clean=True)
            found = self.helper("bpf_map_peek_elem", self.map_pointer(m), self.pointer(place))
            return self.truth_of(self.compare("==", found, self.const(0, found.type)))
        entry = self.subscript_map(m, node)
        at = self.helper("bpf_map_lookup_elem", self.map_pointer(m), cast(entry.key, VOID_POINTER))
        return self.truth_of(at)

    def methods_of(self, m: MapDecl) -> list[str]:
        raise NotImplementedError
