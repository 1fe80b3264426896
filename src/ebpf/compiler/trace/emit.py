"""The lowest layer: nodes of the typed tree, statements in order, memory, helpers.

An expression of a script becomes statements, in the order of evaluation, and a `Value` that is simple: a constant, a
variable, an address. So every helper is called exactly once, when it should be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.constexpr import reduce
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace.types import Ty, aligned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from ebpf.compiler.trace import ast
    from ebpf.compiler.trace.state import ScriptState

WORDS = C.Pointer(C.ULONG)
"""The type of addresses in the program's own memory: aligned to 8."""
_STACK_SLOT, _FRUGAL_SLOT = 64, 16
_STACK, _FRUGAL_STACK = 224, 64
"""What of the 512 bytes of stack named memory may take; registers that are put aside, keys and probe reads share
the rest.
"""


class Refused(Exception):
    """A statement or probe was refused and reported."""


class Value:
    """``e``: of a scalar its value (`C.LONG`, `C.ULONG` or a pointer), of others its address; ``space`` says whose
    memory that is: ``bpf`` (the program's own: read it), ``kernel``, ``user``, ``any`` (by probe reads), ``ctx``.
    """

    __slots__ = ("e", "literal", "space", "ty")

    def __init__(self, ty: Ty, e: tree.Expr, space: str = "bpf", literal: int | bytes | None = None) -> None:
        self.ty, self.e, self.space, self.literal = ty, e, space, literal


class Emitter:
    """State while one function is made."""

    def __init__(self, state: ScriptState, at: ast.Node) -> None:
        self.state = state
        self.c = state.checker
        self.node = at
        self.out: list[tree.Stmt] = []
        self.locals: list[tree.Variable] = []
        self._free: dict[int, list[tree.Variable]] = {}
        self._taken: list[tree.Variable] = []
        self._stack = 0
        self._scratch_at = 0
        self._scratch_most = 0
        self._behind_kept: list[tree.IntConst] = []
        self.kept = 0
        self.scratch_used = False
        self.scratch = tree.Variable("scratch", WORDS, "local", at.loc, at.end)

    # ---------------------------------------------------------------------------------------------------- messages

    def error(self, code: str, node: ast.Node, message: str, **more: Any) -> None:
        self.state.diagnostics.error(code, message, node.loc, node.end, **more)

    def refuse(self, code: str, node: ast.Node, message: str, **more: Any) -> NoReturn:
        self.error(code, node, message, **more)
        raise Refused

    def warn(self, code: str, node: ast.Node, message: str, **more: Any) -> None:
        self.state.diagnostics.warning(code, message, node.loc, node.end, **more)

    # ------------------------------------------------------------------------------------------------------- nodes

    def const(self, value: int, type: C.CType = C.LONG) -> tree.IntConst:
        return tree.IntConst(type, self.node.loc, self.node.end, reduce(value, type))

    def binary(self, op: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
        """Arithmetic of two operands of one type."""
        return tree.Binary(left.type, self.node.loc, self.node.end, op, left, right)

    def compare(self, op: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
        return tree.Binary(C.INT, self.node.loc, self.node.end, op, left, right)

    def cast(self, e: tree.Expr, t: C.CType) -> tree.Expr:
        return cast(e, t)

    def long(self, e: tree.Expr, signed: bool = True) -> tree.Expr:
        return cast(e, C.LONG if signed else C.ULONG)

    def ref(self, v: tree.Variable) -> tree.Expr:
        return tree.VarRef(v.type, self.node.loc, self.node.end, v)

    def load(self, lvalue: tree.Expr) -> tree.Expr:
        from ebpf.compiler.c.conversions import unqualified

        return tree.Convert(unqualified(lvalue.type), self.node.loc, self.node.end, "load", lvalue)

    def get(self, v: tree.Variable) -> tree.Expr:
        return self.load(self.ref(v))

    def deref(self, pointer: tree.Expr, t: C.CType) -> tree.Expr:
        """The lvalue of type ``t`` at an address."""
        return tree.Deref(t, self.node.loc, self.node.end, cast(pointer, C.Pointer(t)))

    def address(self, lvalue: tree.Expr) -> tree.Expr:
        return tree.AddressOf(C.Pointer(lvalue.type), self.node.loc, self.node.end, lvalue)

    def offset(self, pointer: tree.Expr, bytes_: int) -> tree.Expr:
        """``pointer`` plus a constant, still known to be aligned where it is."""
        if not bytes_:
            return pointer
        step, index = (C.ULONG, bytes_ // 8) if bytes_ % 8 == 0 else (C.UCHAR, bytes_)
        base = cast(pointer, C.Pointer(step))
        return tree.PointerAdd(base.type, self.node.loc, self.node.end, base, self.const(index))

    def plus(self, pointer: tree.Expr, bytes_: tree.Expr) -> tree.Expr:
        base = cast(pointer, C.Pointer(C.UCHAR))
        return tree.PointerAdd(base.type, self.node.loc, self.node.end, base, cast(bytes_, C.LONG))

    # -------------------------------------------------------------------------------------------------- statements

    def evaluate(self, e: tree.Expr) -> None:
        self.out.append(tree.Evaluate(self.node.loc, self.node.end, e))

    def store(self, lvalue: tree.Expr, value: tree.Expr) -> None:
        self.evaluate(tree.Assign(lvalue.type, self.node.loc, self.node.end, lvalue, value))

    def set(self, v: tree.Variable, value: tree.Expr) -> None:
        self.store(self.ref(v), value)

    def local(self, t: C.CType, name: str = "") -> tree.Variable:
        """A variable of the whole function, not initialised."""
        v = tree.Variable(name, t, "local", self.node.loc, self.node.end)
        self.locals.append(v)
        return v

    def temp(self, e: tree.Expr) -> tree.Expr:
        """``e``, evaluated here and now, as something that can be used any number of times."""
        if isinstance(e, tree.IntConst):
            return e
        v = tree.Variable("", e.type, "local", self.node.loc, self.node.end)
        init = tree.Initializer(e.type, [tree.InitPart(0, e)])
        self.out.append(tree.Declare(self.node.loc, self.node.end, v, init))
        return self.get(v)

    def branch(self, condition: tree.Expr, then: list[tree.Stmt], otherwise: list[tree.Stmt] | None = None) -> None:
        loc, end = self.node.loc, self.node.end
        self.out.append(
            tree.If(
                loc, end, condition, tree.Block(loc, end, then), tree.Block(loc, end, otherwise) if otherwise else None
            )
        )

    def nested(self) -> _Nested:
        """``with self.nested() as statements:`` collects what is emitted inside."""
        return _Nested(self)

    def leave(self) -> None:
        """Return 0 from the program."""
        self.out.append(tree.Return(self.node.loc, self.node.end, self.const(0, C.INT)))

    # ----------------------------------------------------------------------------------------------------- helpers

    def helper(self, name: str, *args: tree.Expr) -> tree.Expr:
        """A call, made here; its result (a long, or a pointer to words)."""
        return self.call_helper(name, *args)

    def call_helper(self, name: str, *args: tree.Expr) -> tree.Expr:
        number, result = self.state.helper(name)
        call = tree.CallHelper(result, self.node.loc, self.node.end, number, name, list(args))
        return self.temp(call)

    def call_void(self, name: str, *args: tree.Expr) -> None:
        number, result = self.state.helper(name)
        self.evaluate(tree.CallHelper(result, self.node.loc, self.node.end, number, name, list(args)))

    def map_address(self, v: tree.Variable) -> tree.Expr:
        return cast(self.address(self.ref(v)), C.Pointer(C.VOID))

    # ------------------------------------------------------------------------------------------------------ memory

    def mark(self) -> tuple[int, int]:
        return len(self._taken), self._scratch_at

    def release(self, mark: tuple[int, int]) -> None:
        """Give back the memory that was taken since."""
        for v in self._taken[mark[0] :]:
            inner = C.strip(v.type)
            assert isinstance(inner, C.Array) and inner.count is not None
            self._free.setdefault(inner.count * 8, []).append(v)
        del self._taken[mark[0] :]
        self._scratch_at = mark[1]

    def allocate(self, size: int, *, keep: bool = False) -> tree.Expr:
        """The address of ``size`` bytes, aligned to 8: on the stack where there is room. ``keep``: for the whole
        function."""
        size = max(aligned(size), 8)
        frugal = self.state.frugal
        if size <= (_FRUGAL_SLOT if frugal else _STACK_SLOT):
            free = self._free.get(size)
            if free and not keep:
                v = free.pop()
                self._taken.append(v)
                return self._slot(v)
            if self._stack + size <= (_FRUGAL_STACK if frugal else _STACK):
                self._stack += size
                v = self.local(C.Array(C.ULONG, size // 8))
                v.align = 8
                if not keep:
                    self._taken.append(v)
                return self._slot(v)
        return self.scratch_memory(size, keep=keep)

    def take_stack(self) -> tuple[dict[int, list[tree.Variable]], list[tree.Variable], int]:
        """For a function inside of this one, with a stack frame of its own; what `give_stack` wants back."""
        before = self._free, self._taken, self._stack
        self._free, self._taken, self._stack = {}, [], 0
        return before

    def give_stack(self, free: dict[int, list[tree.Variable]], taken: list[tree.Variable], stack: int) -> None:
        self._free, self._taken, self._stack = free, taken, stack

    def prologue(self) -> list[tree.Stmt]:
        """What a function begins with: its variables, and the address of the scratch memory if that is used."""
        loc, end = self.node.loc, self.node.end
        out: list[tree.Stmt] = [tree.Declare(loc, end, v, None) for v in self.locals]
        if self.scratch_used:
            key = tree.Variable("", C.UINT, "local", loc, end)
            number: tree.Expr = self.const(self.program_index, C.UINT)
            if self.state.scratch_large:  # an array with a part for each CPU
                cpu_helper, _ = self.state.helper("bpf_get_smp_processor_id")
                cpu = tree.CallHelper(C.ULONG, loc, end, cpu_helper, "bpf_get_smp_processor_id", [])
                first = self.const(self.program_index * self.state.facts.cpus_possible, C.UINT)
                number = self.binary("+", cast(cpu, C.UINT), first)
            out.append(tree.Declare(loc, end, key, tree.Initializer(C.UINT, [tree.InitPart(0, number)])))
            helper, result = self.state.helper("bpf_map_lookup_elem")
            a_map = self.map_address(self.state.map_global("scratch"))
            call = tree.CallHelper(
                result,
                loc,
                end,
                helper,
                "bpf_map_lookup_elem",
                [a_map, cast(self.address(self.ref(key)), C.Pointer(C.VOID))],
            )
            out.append(tree.Declare(loc, end, self.scratch, tree.Initializer(WORDS, [tree.InitPart(0, call)])))
            absent = tree.Unary(C.INT, loc, end, "!", self.get(self.scratch))
            out.append(
                tree.If(
                    loc, end, absent, tree.Block(loc, end, [tree.Return(loc, end, self.const(0, self.returns))]), None
                )
            )
        return out

    program_index = 0
    returns: C.CType = C.INT

    def _slot(self, v: tree.Variable) -> tree.Expr:
        return tree.Convert(WORDS, self.node.loc, self.node.end, "decay", self.ref(v))

    def scratch_memory(self, size: int, *, keep: bool = False) -> tree.Expr:
        """Memory in this program's part of the per-CPU scratch map: what is kept first, then what comes and goes."""
        self.scratch_used = True
        size = aligned(size)
        if keep:
            at = self.kept
            self.kept += size
        else:
            at = self._scratch_at
            self._scratch_at += size
            self._scratch_most = max(self._scratch_most, self._scratch_at)
        index = tree.IntConst(C.LONG, self.node.loc, self.node.end, at // 8)
        if not keep:
            self._behind_kept.append(index)
        return tree.PointerAdd(WORDS, self.node.loc, self.node.end, self.get(self.scratch), index)

    def finish_scratch(self) -> int:
        """Settle all offsets once everything is emitted; how many bytes the program wants."""
        for index in self._behind_kept:
            index.value += self.kept // 8
        self._behind_kept.clear()
        return self.kept + self._scratch_most

    def zero(self, pointer: tree.Expr, size: int) -> None:
        size = aligned(size)
        if size <= 256:
            for i in range(0, size, 8):
                self.store(self.deref(self.offset(pointer, i), C.ULONG), self.const(0, C.ULONG))
        else:
            # Of an address that cannot be read the helper makes zeroes.
            self.call_void(
                "bpf_probe_read_kernel",
                cast(pointer, C.Pointer(C.VOID)),
                self.const(size, C.UINT),
                self.const(0, C.Pointer(C.VOID)),
            )

    def copy(self, target: tree.Expr, source: tree.Expr, size: int) -> None:
        """Bytes within the program's own memory, both aligned to 8."""
        size = aligned(size)
        if size <= 512:
            for i in range(0, size, 8):
                value = self.load(self.deref(self.offset(source, i), C.ULONG))
                self.store(self.deref(self.offset(target, i), C.ULONG), value)
        else:
            self.call_void(
                "bpf_probe_read_kernel",
                cast(target, C.Pointer(C.VOID)),
                self.const(size, C.UINT),
                cast(source, C.Pointer(C.VOID)),
            )

    def read(
        self, target: tree.Expr, source: tree.Expr, size: tree.Expr, space: str, *, text: bool = False
    ) -> tree.Expr:
        """A probe read into own memory; what the helper returned."""
        name = READ_TEXT[space] if text else READ[space]
        return self.helper(name, cast(target, C.Pointer(C.VOID)), cast(size, C.UINT), cast(source, C.Pointer(C.VOID)))

    def literal(self, value: bytes, into: tree.Expr) -> None:
        """Write constant bytes, filled up with zeroes, by words."""
        size = aligned(len(value))
        raw = value.ljust(size, b"\0")
        for i in range(0, size, 8):
            word = int.from_bytes(raw[i : i + 8], "little")
            self.store(self.deref(self.offset(into, i), C.ULONG), self.const(word, C.ULONG))

    def subprogram(
        self, name: str, result: C.CType, parameters: list[tree.Variable], body: Iterable[tree.Stmt], **more: Any
    ) -> tree.FunctionDecl:
        loc, end = self.node.loc, self.node.end
        t = C.Function(result, tuple(p.type for p in parameters), False, tuple(p.name for p in parameters))
        return tree.FunctionDecl(
            name, t, loc, end, parameters=parameters, body=tree.Block(loc, end, list(body)), **more
        )


class _Nested:
    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.statements: list[tree.Stmt] = []

    def __enter__(self) -> list[tree.Stmt]:
        self.before = self.emitter.out
        self.emitter.out = self.statements
        return self.statements

    def __exit__(self, *_: object) -> None:
        self.emitter.out = self.before


READ = {
    "kernel": "bpf_probe_read_kernel",
    "user": "bpf_probe_read_user",
    "any": "bpf_probe_read",
    "ctx": "bpf_probe_read_kernel",
    "bpf": "bpf_probe_read_kernel",
}
READ_TEXT = {
    "kernel": "bpf_probe_read_kernel_str",
    "user": "bpf_probe_read_user_str",
    "any": "bpf_probe_read_str",
    "ctx": "bpf_probe_read_kernel_str",
    "bpf": "bpf_probe_read_kernel_str",
}
