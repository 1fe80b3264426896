"""Comparing strings, and other values that are no scalars: by words, in line or in a loop."""

from __future__ import annotations

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.maps import Maps

COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_INLINE_WORDS = 32


class Comparisons(Maps):
    def compare_strings(self, node: ast.Binary, left: Value, right: Value) -> Value:
        if node.op not in ("==", "!="):
            if node.op in COMPARISONS:
                self.refuse("T0208", node, f"strings are compared by `==` and `!=`, not by `{node.op}`")
            self.refuse("T0208", node, f"`{node.op}` does not take a string")
        for v, side in ((left, node.left), (right, node.right)):
            if v.ty.kind != "str":
                if v.ty.kind == "unknown":
                    return Value(T.INT, self.const(0))
                helps = ["`str(…)` makes a string of a pointer"] if v.ty.kind in ("pointer", "int") else []
                self.refuse("T0208", side, f"{T.words(v.ty)} is compared with a string", helps=helps)
        different = self.difference(left, right)
        return Value(T.INT, self.long(self.compare(node.op, different, self.const(0, C.ULONG))))

    def difference(self, left: Value, right: Value, most: int | None = None) -> tree.Expr:
        """0 where two strings are equal (in their first ``most`` bytes)."""
        a, b = self.own(left), self.own(right)
        if isinstance(a.literal, bytes) and isinstance(b.literal, bytes):
            x, y = a.literal[:most], b.literal[:most]
            return self.const(int(x != y), C.ULONG)
        sizes = [len(v.literal) + 1 if isinstance(v.literal, bytes) else T.stored_size(v.ty) for v in (a, b)]
        length = (
            max(sizes)
            if not any(isinstance(v.literal, bytes) for v in (a, b))
            else min(s for s, v in zip(sizes, (a, b), strict=True) if isinstance(v.literal, bytes))
        )
        if most is not None:
            length = min(length, most)
        return self.different_bytes(a, b, length)

    def different_bytes(self, a: Value, b: Value, length: int) -> tree.Expr:
        """0 where the first ``length`` bytes are equal; behind a value's end there are zeroes."""
        result = self.local(C.ULONG)
        self.set(result, self.const(0, C.ULONG))
        words = (length + 7) // 8
        if words > _INLINE_WORDS:
            return self._compare_loop(a, b, result, words, length)
        for i in range(words):
            pair: list[tree.Expr] = []
            for v in (a, b):
                if isinstance(v.literal, bytes):
                    raw = (v.literal.split(b"\0")[0])[8 * i : 8 * i + 8].ljust(8, b"\0")
                    pair.append(self.const(int.from_bytes(raw, "little"), C.ULONG))
                elif 8 * i >= T.stored_size(v.ty):
                    pair.append(self.const(0, C.ULONG))
                else:
                    pair.append(self.load(self.deref(self.offset(v.e, 8 * i), C.ULONG)))
            different = self.binary("^", pair[0], pair[1])
            rest = length - 8 * i
            if rest < 8:
                different = self.binary("&", different, self.const((1 << 8 * rest) - 1, C.ULONG))
            self.set(result, self.binary("|", self.get(result), different))
        return self.get(result)

    def _compare_loop(self, a: Value, b: Value, result: tree.Variable, words: int, length: int) -> tree.Expr:
        loc, end = self.node.loc, self.node.end
        sizes = [T.stored_size(v.ty) // 8 for v in (a, b)]
        both = min(words, *sizes)
        i = self.local(C.ULONG)

        def over(first: int, count: int, values: list[Value]) -> None:
            body: list[tree.Stmt]
            with self.nested() as body:
                parts = [
                    self.load(
                        tree.Deref(
                            C.ULONG, loc, end, tree.PointerAdd(v.e.type, loc, end, v.e, cast(self.get(i), C.LONG))
                        )
                    )
                    for v in values
                ]
                different = self.binary("^", parts[0], parts[1]) if len(parts) > 1 else parts[0]
                self.set(result, self.binary("|", self.get(result), different))
            start = tree.Evaluate(loc, end, tree.Assign(C.ULONG, loc, end, self.ref(i), self.const(first, C.ULONG)))
            step = tree.Assign(C.ULONG, loc, end, self.ref(i), self.binary("+", self.get(i), self.const(1, C.ULONG)))
            limit = self.compare("<", self.get(i), self.const(first + count, C.ULONG))
            self.out.append(tree.Loop(loc, end, start, limit, step, tree.Block(loc, end, body), False, 1))

        over(0, both, [a, b])
        if words > both:
            over(both, words - both, [a if sizes[0] > sizes[1] else b])
        return self.get(result)

    def compare_memory(self, op: str, left: Value, right: Value, node: ast.Node) -> Value:
        a, b = self.own(left), self.own(right)
        different = self.different_bytes(Value(a.ty, a.e), Value(b.ty, b.e), T.stored_size(a.ty))
        return Value(T.INT, self.long(self.compare(op, different, self.const(0, C.ULONG))))
