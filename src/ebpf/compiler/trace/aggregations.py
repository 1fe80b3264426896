"""``@m[k] = count()`` and its relatives: what the call says, and histograms' buckets."""

from __future__ import annotations

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.output import Output
from ebpf.compiler.trace.types import Ty

# name → fewest and most arguments, how it is called
AGGREGATIONS: dict[str, tuple[int, int, str]] = {
    "count": (0, 0, "count()"),
    "sum": (1, 1, "sum(n)"),
    "avg": (1, 1, "avg(n)"),
    "min": (1, 1, "min(n)"),
    "max": (1, 1, "max(n)"),
    "stats": (1, 1, "stats(n)"),
    "hist": (1, 2, "hist(n)"),
    "lhist": (4, 4, "lhist(n, min, max, step)"),
    "tseries": (3, 4, "tseries(n, interval, intervals)"),
}
_MAX_LHIST = 1000


class Aggregations(Output):
    def aggregation(self, target: ast.MapAccess, node: ast.Call) -> None:
        m = self.state.map(target.name)
        least, most, form = AGGREGATIONS[node.name]
        if not least <= len(node.args) <= most:
            if len(node.args) < least and least == 1:
                self.refuse("T0206", node, f"the value is missing: `{form}`", helps=[f"`{target.name} = {form}`"])
            self.refuse(
                "T0206",
                node,
                f"`{node.name}` has {len(node.args)} argument{'' if len(node.args) == 1 else 's'} here",
                helps=[f"it is called `{form}`"],
            )
        number = None
        signed = True
        if node.args:
            v = self.number(node.args[0])
            if v.ty.kind == "pointer":
                v = Value(T.UINT, self.long(v.e, False))
            number, signed = self.temp(self.long(v.e, v.ty.signed)), v.ty.signed
            if isinstance(v.literal, int):
                signed = True
        if node.name == "hist":
            k = self.literal_int(node.args[1], "the number of bits within a power of two") if len(node.args) > 1 else 0
            if not 0 <= k <= 5:
                self.refuse("T0214", node.args[1], f"`hist` takes 0 to 5 bits, not {k}")
            self.value_type(m, Ty("hist", 8, args=(k,)), node)
            assert number is not None
            self.count_bucket(target, self.log2_bucket(number, k, signed))
            return
        if node.name == "lhist":
            self.linear(target, node, number)
            return
        if node.name == "tseries":
            self.time_series(target, node, number)
            return
        t = Ty(node.name, T.AGGREGATES[node.name], signed and node.name != "count")
        if m.value.kind == node.name:
            t = m.value
        self.value_type(m, t, node)
        self.aggregate(m, self.key(m, target.keys, target), t, number)

    def count_bucket(self, target: ast.MapAccess, bucket: tree.Expr) -> None:
        a_map = self.state.map(target.name)
        key = self.key(a_map, target.keys, target)
        self.bucket(a_map, key, bucket)
        self.aggregate(a_map, key, Ty("count", 8), None)

    def linear(self, target: ast.MapAccess, node: ast.Call, number: tree.Expr | None) -> None:
        low, high, step = (
            self.literal_int(a, f"{what} of `lhist`")
            for a, what in zip(node.args[1:], ("the least value", "the greatest value", "the step"), strict=True)
        )
        assert number is not None
        if step <= 0:
            self.refuse("T0214", node.args[3], "the step of `lhist` has to be above 0")
        if low >= high:
            self.refuse(
                "T0214", node.args[1], f"`lhist` goes from the least to the greatest value, not from {low} to {high}"
            )
        if low < 0:
            self.refuse("T0214", node.args[1], "`lhist` begins at 0 or above")
        buckets = (high - low) // step
        if buckets > _MAX_LHIST:
            self.refuse(
                "T0220",
                node,
                f"`lhist` would have {buckets} buckets; {_MAX_LHIST} are possible",
                helps=[f"use a step of {-(-(high - low) // _MAX_LHIST)} or more"],
            )
        self.value_type(self.state.map(target.name), Ty("lhist", 8, args=(low, high, step)), node)
        number = self.long(number)
        bucket = self.local(C.ULONG)
        self.set(bucket, self.const(0, C.ULONG))
        with self.nested() as inside:
            above = cast(self.binary("-", number, self.const(low)), C.ULONG)
            self.set(
                bucket, self.binary("+", self.binary("/", above, self.const(step, C.ULONG)), self.const(1, C.ULONG))
            )
            with self.nested() as last:
                self.set(bucket, self.const(buckets + 1, C.ULONG))
            self.branch(self.compare(">=", number, self.const(high)), last)
        self.branch(self.compare(">=", number, self.const(low)), inside)
        self.count_bucket(target, self.get(bucket))

    def time_series(self, target: ast.MapAccess, node: ast.Call, number: tree.Expr | None) -> None:
        interval = self.literal_int(node.args[1], "the interval of `tseries`")
        count = self.literal_int(node.args[2], "the number of intervals of `tseries`")
        kind = "last"
        if len(node.args) > 3:
            word = node.args[3]
            if not isinstance(word, ast.String) or word.value.decode(errors="replace") not in (
                "avg",
                "max",
                "min",
                "sum",
            ):
                self.refuse("T0207", word, 'the last argument of `tseries` is one of "avg", "max", "min", "sum"')
            kind = word.value.decode()
        if interval <= 0 or count <= 0:
            self.refuse("T0214", node, "intervals of `tseries` are above 0")
        a_map = self.state.map(target.name)
        self.value_type(a_map, Ty("tseries", 16, True, args=(interval, count, kind)), node)
        bucket = self.binary("/", self.clock().e, self.const(interval, C.ULONG))
        key = self.key(a_map, target.keys, target)
        self.bucket(a_map, key, bucket)
        if kind == "last":
            memory = self.allocate(16)
            assert number is not None
            self.store(self.deref(memory, C.LONG), self.long(number))
            self.store(self.deref(self.offset(memory, 8), C.ULONG), self.clock().e)
            self.update(a_map, key, memory)
        else:
            self.aggregate(a_map, key, Ty({"sum": "avg"}.get(kind, kind), 16), number)

    # -------------------------------------------------------------------------------------------------------- log2

    def log2_bucket(self, number: tree.Expr, k: int, signed: bool) -> tree.Expr:
        """A call of ``log2`` with k bits within a power of two: the bucket as `plan` defines it."""
        name = f"log2_{k}{'' if signed else 'u'}"
        decl = self.state.functions.get(name)
        if decl is None:
            decl = self.state.functions[name] = self._log2(name, k, signed)
        loc, end = self.node.loc, self.node.end
        return self.temp(tree.CallFunction(C.ULONG, loc, end, decl, [cast(self.long(number, False), C.ULONG)]))

    def _log2(self, name: str, k: int, signed: bool) -> tree.FunctionDecl:
        loc, end = self.node.loc, self.node.end
        n = tree.Variable("n", C.ULONG, "parameter", loc, end)
        outer = self.out
        self.out = []
        left = tree.Variable("left", C.ULONG, "local", loc, end)
        log = tree.Variable("log", C.ULONG, "local", loc, end)
        for v, value in ((left, self.get(n)), (log, self.const(0, C.ULONG))):
            self.out.append(tree.Declare(loc, end, v, tree.Initializer(C.ULONG, [tree.InitPart(0, value)])))

        def leave(value: tree.Expr) -> list[tree.Stmt]:
            return [tree.Return(loc, end, value)]

        if signed:
            self.branch(self.compare("<", cast(self.get(n), C.LONG), self.const(0)), leave(self.const(0, C.ULONG)))
        small = self.compare("<", self.get(n), self.const(1 << k, C.ULONG))
        self.branch(small, leave(self.binary("+", self.get(n), self.const(1, C.ULONG))))
        for step in (32, 16, 8, 4, 2, 1):
            with self.nested() as higher:
                self.set(left, self.binary(">>", self.get(left), self.const(step, C.ULONG)))
                self.set(log, self.binary("+", self.get(log), self.const(step, C.ULONG)))
            self.branch(self.compare(">=", self.get(left), self.const(1 << step, C.ULONG)), higher)
        # ((l - k + 1) << k) + ((n >> (l - k)) & (2^k - 1)) + 1
        above = self.binary("-", self.get(log), self.const(k, C.ULONG))
        power = self.binary("<<", self.binary("+", above, self.const(1, C.ULONG)), self.const(k, C.ULONG))
        within = self.binary(
            "&",
            self.binary(">>", self.get(n), self.binary("&", above, self.const(63, C.ULONG))),
            self.const((1 << k) - 1, C.ULONG),
        )
        self.out += leave(self.binary("+", self.binary("+", power, within), self.const(1, C.ULONG)))
        body, self.out = self.out, outer
        return self.subprogram(name, C.ULONG, [n], body, linkage="static")
