"""Loops over the entries of maps: a function that the kernel calls for each of them (Linux 5.13)."""

from __future__ import annotations

import ast
from typing import Any

from ebpf.abi.maps import MapType as M
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py.closures import Closure
from ebpf.compiler.py.declarations import MapDecl
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.frames import Loop, merged
from ebpf.compiler.py.loops import Loops
from ebpf.compiler.py.maps import ARRAYS, PER_CPU
from ebpf.compiler.py.values import OWN, Int, Ref, Tuple, Value, ty_of_ctype

_HASHES = frozenset((M.HASH, M.PERCPU_HASH, M.LRU_HASH, M.LRU_PERCPU_HASH))
_SINCE = 5 << 16 | 13 << 8  # bpf_for_each_map_elem


class MapLoops(Loops):
    def map_of_loop(self, node: ast.expr) -> tuple[MapDecl, str] | None:
        """The map that ``m``, ``m.items()``, ``enumerate(m)`` go through, and what they give of each entry."""
        what = ""
        of = node
        if isinstance(node, ast.Call) and not node.keywords:
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "values", "items") and not node.args:
                of, what = node.func.value, node.func.attr
            elif len(node.args) == 1 and self.global_value(node.func) is enumerate:
                of, what = node.args[0], "items"
        m = self.global_value(of)
        if not isinstance(m, MapDecl) or of is node and what:
            return None
        self.expr(of)  # gives the map its name
        is_array = m.type in ARRAYS
        if of is not node and is_array != (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            self.refuse("P0106", node, f"`{m.name}` is {'an array' if is_array else 'no array'}",
                        helps=[f"`for i, v in enumerate({m.name})`" if is_array else f"`for k, v in {m.name}.items()`"])
        if m.type not in _HASHES and not is_array:
            kind = M(m.type).name.lower()
            self.refuse("P0106", node, f"`{m.name}` is a {kind}, whose entries programs cannot go through",
                        helps=["there are loops over hash tables and arrays"])
        return m, what or ("values" if is_array else "keys")

    def for_map(self, s: ast.For, m: MapDecl, what: str) -> None:
        if self.state.facts.kernel_version | 255 < _SINCE:
            self.refuse("P0106", s.iter, "loops over maps need Linux 5.13",
                        helps=["count through an array's indexes, or look keys up"])
        frame = self.frame
        if frame.cleanups:
            self.refuse("P0106", s, "a loop over a map cannot be inside of `with`",
                        helps=["the kernel's verifier wants the record to go off where it was made: loop before"])
        before = self._enter_loop(s)
        frame.flow = before.copy()
        loc, end = self.loc, self.end
        pointer = C.Pointer(C.VOID)
        parameters = [tree.Variable(n, pointer, "parameter", loc, end) for n in ("map", "key", "value", "data")]
        again, leave = tree.Label(loc, end, "again"), tree.Label(loc, end, "leave")
        loop = Loop(leave, again)
        frame.loops.append(loop)
        scratch = self._free, self._taken, self.scratch_variables
        self._free, self._taken, self.scratch_variables = {}, [], []
        with self.nested() as body:
            names = self._bind_entry(s, m, what, parameters)
            self.statements(s.body)
        own = self.scratch_variables
        self._free, self._taken, self.scratch_variables = scratch
        frame.loops.pop()
        self.loc, self.end = loc, end
        closure = Closure([*own, *body], parameters, self.result_type, again, leave)
        self._each_entry(m, closure, parameters)
        after = before
        for flow in loop.breaks:
            after = merged(after, flow)
        for name in names:  # Python would have the last entry there; what the kernel gave is gone
            frame.bound.pop(name, None)
            after.assigned.discard(name)
        frame.flow = after

    def _bind_entry(self, s: ast.For, m: MapDecl, what: str, parameters: list[tree.Variable]) -> list[str]:
        """What the loop's target is in a round; the names that are bound to it."""
        key_t, key_py = self.key_type(m)
        value_t, value_py = self.value_type(m, s.iter)
        parts: list[Value] = []
        if what != "values":
            key = self.deref(self.get(parameters[1]), key_t)
            if ty_of_ctype(key_t) is None:  # the map's own key cannot be written to
                copy = self.raw_memory(key_t)
                self.store(copy, self.load(key))
                key = copy
            parts.append(self._part(key, key_py, False))
        if what != "keys":
            parts.append(self._part(self.deref(self.get(parameters[2]), value_t), value_py, m.type not in PER_CPU))
        targets = [s.target]
        if len(parts) == 2 and isinstance(s.target, (ast.Tuple, ast.List)) and len(s.target.elts) == 2:
            targets = s.target.elts
        elif len(parts) == 2:
            parts = [Tuple(parts)]
        bound = []
        for target, part in zip(targets, parts, strict=True):
            if isinstance(target, ast.Name) and not isinstance(part, Tuple):
                self.frame.bound[target.id] = part
                self.frame.flow.assigned.add(target.id)
                self.frame.flow.sure |= {target.id}
                bound.append(target.id)
            else:
                self.assign(target, part, s.iter)
        return bound

    def _part(self, place: tree.Expr, py: Any, shared: bool) -> Value:
        t = place.type
        if ty_of_ctype(t) is None:
            inner = C.strip(t)
            return Ref(self.address(place), inner if isinstance(inner, C.Record) else t, OWN, py, shared=shared)
        v = self.at_place(place, OWN, py)
        assert isinstance(v, Int)
        return Int(v.ty, self.temp(v.e), v.bits)

    def _each_entry(self, m: MapDecl, closure: Closure, parameters: list[tree.Variable]) -> None:
        """Have the kernel call the body, and go where it wanted to go."""
        loc, end = self.loc, self.end
        name = f"{self.frame.function.__name__}_each_{len(self.state.subprograms)}"
        t = C.Function(C.LONG, tuple(p.type for p in parameters), False, tuple(p.name for p in parameters))
        decl = tree.FunctionDecl(name, t, loc, end, parameters=parameters, body=self.block(closure.body),
                                 linkage="static", noinline=True)
        self.state.subprograms[name] = decl
        if closure.exits:
            zero = tree.Initializer(closure.left.type, [tree.InitPart(0, self.const(0, closure.left.type))])
            self.out.append(tree.Declare(loc, end, closure.left, zero))
            zero = tree.Initializer(closure.result.type, [tree.InitPart(0, self.const(0, closure.result.type))])
            self.out.append(tree.Declare(loc, end, closure.result, zero))
        self._forget([v for v in closure.shared if id(v) in closure.changed and ty_of_ctype(v.type) is not None])
        data: tree.Expr = self.const(0, VOID_POINTER)
        if closure.shared:
            place = self.raw_memory(closure.record)
            for v, f in zip(closure.shared, closure.record.fields, strict=True):
                at = tree.AddressOf(C.Pointer(v.type), loc, end, self.ref(v))
                self.store(tree.Member(f.type, loc, end, place, f), at)
            data = self.pointer(place)
        function = tree.Convert(C.Pointer(t), loc, end, "function", tree.FunctionRef(t, loc, end, decl))
        self.effect("bpf_for_each_map_elem", self.map_pointer(m), function, data, self.const(0, C.ULONG))
        for number, exit in enumerate(closure.exits, 1):
            left = self.compare("==", self.get(closure.left), self.const(number, closure.left.type))
            self.branch(left, [exit])

    def _forget(self, changed: list[tree.Variable]) -> None:
        """Hide from verifiers what numbers begin with that the body changes.

        They follow a body until nothing new is known of what it leaves behind: a counter from 0 is something new in
        each round, and each of its values is then followed through all that comes later. What remains known is the
        sign, and how many bits a number has at most where that is certain.
        """
        if not changed:
            return
        unknown = self.local(C.ULONG)
        self.set(unknown, cast(self.call("bpf_ktime_get_ns"), C.ULONG))
        for v in changed:
            mask = self.const((1 << self._bits_of(v)) - 1, C.ULONG)
            mixed = self.local(C.ULONG)
            part = self.temp(self.binary("&", self.get(unknown), mask))
            self.set(mixed, self.binary("^", cast(self.get(v), C.ULONG), part))
            self.evaluate(tree.Builtin(C.VOID, self.loc, self.end, "barrier_var", [self.ref(mixed)]))
            self.set(v, cast(self.binary("^", self.get(mixed), part), v.type))

    def _bits_of(self, v: tree.Variable) -> int:
        """How many of a variable's low bits may be set where it is not negative."""
        ty = ty_of_ctype(v.type)
        assert ty is not None
        for (name, part), held in self.frame.variables.items():
            known = self.state.types.get(self._key(name))
            if held is v and not part and known is not None and known[0] == "int" and known[3] is not None:
                return int(known[3])
        return 8 * ty.size - ty.signed
