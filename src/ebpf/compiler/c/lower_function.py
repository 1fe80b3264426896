"""One function: its variables, statements and control flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler import variables
from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_expr import VALUES, branch, condition, discard
from ebpf.compiler.c.lower_init import initialize
from ebpf.compiler.c.lower_int import resize
from ebpf.compiler.c.lower_place import Place, copy, is_context_target
from ebpf.compiler.c.lower_types import (
    bits_of,
    extension,
    in_memory,
    ir_type,
    is_signed,
)
from ebpf.compiler.c.types import CType, Void, align_of, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.lower import UnitLowering

# A range of cases up to this many values is a list of values; a longer one is compared.
_RANGE_AS_VALUES = 64


class FunctionLowering:
    """State while one function is lowered; also the one argument that all of `lower_*` work on."""

    def __init__(self, unit: UnitLowering, decl: tree.FunctionDecl) -> None:
        assert decl.body is not None
        self.unit = unit
        self.module = unit.module
        self.debug = unit.debug
        self.marks = unit.marks
        self._located = variables.is_on() and not unit.host
        self._follows: list[int] = []  # for each open block, what comes after its statement: a loc, 0 the end
        self.options = unit.options
        self.decl = decl
        self.w = unit.begin(decl)
        self.scope = unit.subprogram(decl)
        self.result = decl.type.result
        self.temporaries: dict[int, str] = {}
        self._addresses: dict[int, str] = {}
        self._scratch: dict[tuple[str, int], str] = {}
        self._labels: dict[int, str] = {}
        self._targets: list[tuple[str, str]] = []  # (break, continue)
        # Jumps into the middle of a scope skip its beginnings of life; such functions keep all variables for good.
        self._scoped = not unit.has_labels(decl)
        # For each open block the variables that die at its end; None where they live on.
        self._lives: list[list[str] | None] = []
        self._jumped_into: set[int] = set()
        self._context: tree.Variable | None = decl.parameters[0] if decl.context and decl.parameters else None

    # ------------------------------------------------------------------------------------------ helpers

    def value(self, e: tree.Expr) -> str:
        """The value of ``e``: an operand, or the address of a record."""
        return VALUES[type(e)](self, e)

    def at(self, loc: int) -> None:
        """What is written from here on belongs to this place in the source."""
        if loc and not self.unit.host:
            self.w.dbg = f", !dbg {self.debug.location(loc, self.scope)}"

    def offset(self, pointer: str, bytes_: int) -> str:
        return pointer if bytes_ == 0 else self.w.emit(f"getelementptr i8, ptr {pointer}, i64 {bytes_}")

    def initialize(self, target: Place, init: tree.Initializer) -> None:
        initialize(self, target, init)

    def error(self, code: str, message: str, loc: int, end: int, **more: Any) -> None:
        self.unit.diagnostics.error(code, message, loc, end, **more)

    def stack_align(self, v: tree.Variable) -> int:
        return max(v.align, align_of(v.type))

    def address_of(self, v: tree.Variable) -> str:
        """The address of a variable; a local gets its place on the stack when first met."""
        if v.kind in ("global", "extern"):
            return self.unit.global_address(v)
        address = self._addresses.get(id(v))
        if address is None:
            address = self._addresses[id(v)] = self.w.alloca(ir_type(v.type), self.stack_align(v))
        return address

    def temporary(self, t: CType) -> Place:
        """Fresh memory for a value of type ``t``."""
        align = align_of(t)
        return Place(self.w.alloca(ir_type(t), align), align)

    def scratch(self, type: str, align: int) -> str:
        """Memory for a scalar that is read again at once: one per type, so that a hundred reads do not take a hundred
        slots."""
        slot = self._scratch.get((type, align))
        if slot is None:
            slot = self._scratch[type, align] = self.w.alloca(type, align)
        return slot

    def index(self, e: tree.Expr) -> str:
        """How many elements away: an i64.

        A narrower index is widened where LLVM cannot see what it is. With a bound from an earlier ``if (i < 69)`` LLVM
        would make the widening a mask, ``i & 127``, of another register than the one that was compared: kernels before
        6.8 then know of no bound but 127. A constant (a loop was unrolled, say) stays one.
        """
        if self.unit.host:
            return resize(self, self.value(e), bits_of(e.type), 64, is_signed(e.type))
        narrow = e.operand if isinstance(e, tree.Convert) and e.kind == "int" else e
        bits, signed, value = bits_of(narrow.type), is_signed(narrow.type), self.value(narrow)
        if bits < 64 and not value.lstrip("-").isdigit():
            # Of a promoted unsigned char or short the sign is known: LLVM must still learn of it.
            inner = narrow.operand if isinstance(narrow, tree.Convert) and narrow.kind == "int" else narrow
            signed = signed and not (bits_of(inner.type) < bits and not is_signed(inner.type))
            value, bits = resize(self, value, bits, 32, signed), 32
            hide = self.module.intrinsic("llvm.bpf.passthrough.i32.i32", "i32 (i32, i32)")
            hidden = self.w.emit(f"call i32 {hide}(i32 0, i32 {value})")
            known = self.w.emit(f"call i1 {self.module.intrinsic('llvm.is.constant.i32', 'i1 (i32)')}(i32 {value})")
            value = self.w.emit(f"select i1 {known}, i32 {value}, i32 {hidden}")
        return resize(self, value, bits, 64, signed)

    def stack_index(self, index: str) -> str:
        """An index into an array on the stack.

        Of an aligned address and a small index LLVM makes ``address | index``, which the verifier refuses for pointers.
        So what LLVM knows of the index is hidden in an empty assembly, unless it turns out to be a constant (a loop was
        unrolled, say): then the array can still become registers.
        """
        w = self.w
        hidden = w.emit(f'call i64 asm "", "=r,0"(i64 {index})')
        known = w.emit(f"call i1 {self.module.intrinsic('llvm.is.constant.i64', 'i1 (i64)')}(i64 {index})")
        return w.emit(f"select i1 {known}, i64 {index}, i64 {hidden}")

    def is_context(self, pointer: tree.Expr) -> bool:
        """Whether this pointer value is the program's context."""
        if is_context_target(pointer.type):
            return True
        e = pointer
        while isinstance(e, tree.Convert) and e.kind in ("load", "pointer", "same"):
            e = e.operand
        return isinstance(e, tree.VarRef) and e.variable is self._context is not None

    def context_value(self, loc: int, end: int) -> str:
        if not self.decl.parameters:
            self.error(
                "C0505", "a packet load needs the program's context, and this function has no parameter", loc, end
            )
            return "null"
        return self.w.emit(f"load ptr, ptr {self.address_of(self.decl.parameters[0])}, align 8")

    # ------------------------------------------------------------------------------------------- whole

    def lower(self) -> None:
        w, decl = self.w, self.decl
        assert decl.body is not None
        self.at(decl.loc)
        for i, p in enumerate(decl.parameters):
            if in_memory(p.type):
                self._addresses[id(p)] = f"%a{i}"  # the caller's own copy
            else:
                w.do(f"store {ir_type(p.type)} %a{i}, ptr {self.address_of(p)}, align {align_of(p.type)}")
            if self._located:
                self._tell(self.debug.parameter(self.scope, i), self.address_of(p), decl.loc)
        self.statement(decl.body)
        if w.open:
            self.at(decl.end - 1)
            # Falling off the end of a function with a result: C leaves the value open, the kernel wants one.
            if isinstance(strip(self.result), Void) or in_memory(self.result):
                w.end("ret void")
            else:
                w.end(f"ret {ir_type(self.result)} {'null' if ir_type(self.result) == 'ptr' else '0'}")

    def statement(self, s: tree.Stmt) -> None:
        if self.marks is not None:
            self.marks.statement(self, s)
        _STATEMENTS[type(s)](self, s)

    # -------------------------------------------------------------------------------------- statements

    def block(self, s: tree.Block, *, lives: bool = True) -> None:
        track = lives and self._scoped and id(s) not in self._jumped_into
        self._lives.append([] if track else None)
        statements = _STATEMENTS
        if self.marks is not None:
            self._covered_items(s)
        for item in s.items if self.marks is None else ():
            if type(item) is tree.Declare:
                self.declare(item)
            else:
                statements[type(item)](self, item)
        for address in self._lives.pop() or ():
            if self.w.open:
                self.w.do(f"call void {self.module.intrinsic('llvm.lifetime.end.p0', 'void (ptr)')}(ptr {address})")

    def _covered_items(self, s: tree.Block) -> None:
        """The block's statements, each with its mark, and with what follows it known."""
        follows = [*(item.loc for item in s.items[1:]), self._follows[-1] if self._follows else 0]
        for item, after in zip(s.items, follows, strict=True):
            self._follows.append(after)
            self.statement(item)
            self._follows.pop()

    def _way(self, origin: int, target: tree.Stmt | None) -> None:
        """A way out of a condition begins here; to whatever follows where ``target`` is None or an empty block."""
        if self.marks is not None:
            while isinstance(target, tree.Block) and target.items:
                first = (i for i in target.items if not isinstance(i, tree.Declare) or i.init is not None)
                target = next(first, target.items[0])
            follows = self._follows[-1] if self._follows else 0
            self.marks.way(self, origin, follows if target is None or isinstance(target, tree.Block) else target.loc)

    def begin_life(self, address: str) -> None:
        """Say that a local lives from here to the end of its block, so that others may have its place afterwards."""
        lives = self._lives[-1] if self._lives else None
        if lives is not None:
            self.w.do(f"call void {self.module.intrinsic('llvm.lifetime.start.p0', 'void (ptr)')}(ptr {address})")
            lives.append(address)

    def declare(self, s: tree.Declare) -> None:
        v = s.variable
        if v.kind in ("global", "extern"):
            self.unit.global_address(v)
            return
        address = self.address_of(v)
        self.at(s.loc)
        self.begin_life(address)
        if self._located and v.name:
            self._tell(self.debug.local(v.name, v.type, v.loc or s.loc, self.scope), address, s.loc)
        if s.init is not None:
            initialize(self, Place(address, self.stack_align(v)), s.init)

    def _tell(self, variable: str, address: str, loc: int) -> None:
        """Where a variable lives, for debuggers."""
        place = self.debug.location(loc, self.scope)
        self.w.record(f"#dbg_declare(ptr {address}, {variable}, !DIExpression(), {place})")

    def evaluate(self, s: tree.Evaluate) -> None:
        self.at(s.loc)
        discard(self, s.expr)

    def if_(self, s: tree.If) -> None:
        w = self.w
        then, done = w.label("then"), w.label("endif")
        otherwise = w.label("else") if s.otherwise is not None or self.marks is not None else done
        self.at(s.loc)
        branch(self, s.condition, then, otherwise)
        w.block(then)
        self._way(s.loc, s.then)
        self.statement(s.then)
        w.jump(done)
        if otherwise is not done:
            w.block(otherwise)
            self._way(s.loc, s.otherwise)
            if s.otherwise is not None:
                self.statement(s.otherwise)
            w.jump(done)
        w.block(done)

    def loop(self, s: tree.Loop) -> None:
        w = self.w
        self._lives.append([])
        if s.init is not None:
            self.statement(s.init)
        test, body, step, done = w.label("test"), w.label("body"), w.label("step"), w.label("done")
        covered = self.marks is not None and s.condition is not None
        into, out = (w.label("into"), w.label("out")) if covered else (body, done)
        w.jump(body if s.test_last else test)

        def check(metadata: str) -> None:
            w.block(test)
            self.at(s.condition.loc if s.condition is not None else s.loc)
            if s.condition is None:
                w.end(f"br label %{body}{metadata}")
            elif metadata:
                # The metadata has to sit on the edge that goes back.
                w.end(f"br i1 {condition(self, s.condition)}, label %{into}, label %{out}{metadata}")
            else:
                branch(self, s.condition, into, out)
            if covered:
                w.block(into)
                self._way(s.loc, s.body)
                w.jump(body)
                w.block(out)
                self._way(s.loc, None)
                w.jump(done)

        metadata = self._unroll(s.unroll)
        if not s.test_last:
            check("")
        w.block(body)
        self._targets.append((done, step))
        self._follows.append(s.loc)
        self.statement(s.body)
        self._follows.pop()
        self._targets.pop()
        w.block(step)
        if s.step is not None:
            self.at(s.step.loc)
            discard(self, s.step)
        if s.test_last:
            w.jump(test)
            check(metadata)
        else:
            w.end(f"br label %{test}{metadata}")
        w.block(done)
        self._lives.pop()

    def _unroll(self, how: int | None) -> str:
        if how is None:
            return ""
        words = {0: '!{!"llvm.loop.unroll.full"}', 1: '!{!"llvm.loop.unroll.disable"}'}.get(
            how, f'!{{!"llvm.loop.unroll.count", i32 {how}}}'
        )
        node = self.module.distinct()
        self.module.fill(node, f"distinct !{{{node}, {self.module.node(words)}}}")
        return f", !llvm.loop {node}"

    def switch(self, s: tree.Switch) -> None:
        w = self.w
        self.at(s.loc)
        value, kind = self.value(s.value), ir_type(s.value.type)
        bits, signed = bits_of(s.value.type), is_signed(s.value.type)
        done = w.label("endswitch")
        ways: list[tuple[str, str, tree.Stmt | None]] = []

        def arm(label: str, case: tree.Stmt | None) -> str:
            """Where the switch goes for ``case``: there, or past a mark."""
            if self.marks is None:
                return label
            ways.append((w.label("arm"), label, case))
            return ways[-1][0]

        default = arm(self._label(s.default, "default") if s.default is not None else done, s.default)
        arms = []
        for case in s.cases:
            if case.low is None:
                continue
            label = arm(self._label(case, "case"), case)
            low, high = case.low, case.low if case.high is None else case.high
            if high - low < _RANGE_AS_VALUES:
                arms += [f"{kind} {v & ((1 << bits) - 1)}, label %{label}" for v in range(low, high + 1)]
            else:
                word = ("sge", "sle") if signed else ("uge", "ule")
                above = w.emit(f"icmp {word[0]} {kind} {value}, {low}")
                below = w.emit(f"icmp {word[1]} {kind} {value}, {high}")
                rest = w.label("switch.rest")
                w.branch(w.emit(f"and i1 {above}, {below}"), label, rest)
                w.block(rest)
        w.end(f"switch {kind} {value}, label %{default} [ {' '.join(arms)} ]")
        for name, label, target in ways:
            w.block(name)
            self._way(s.loc, target)
            w.jump(label)
        self._find_jumped_into(s.body)
        self._targets.append((done, self._targets[-1][1] if self._targets else done))
        self.statement(s.body)
        self._targets.pop()
        w.block(done)

    def _find_jumped_into(self, s: tree.Stmt) -> bool:
        """Notes the blocks under a switch that hold a case at any depth: control enters them in the middle."""
        kind = type(s)
        if kind is tree.CaseLabel:
            return True
        found = False
        if isinstance(s, tree.Block):
            for item in s.items:
                found |= self._find_jumped_into(item)
            if found:
                self._jumped_into.add(id(s))
        elif isinstance(s, tree.If):
            found = self._find_jumped_into(s.then)
            if s.otherwise is not None:
                found |= self._find_jumped_into(s.otherwise)
        elif isinstance(s, tree.Loop):
            found = self._find_jumped_into(s.body)
        return found

    def _label(self, s: tree.Stmt, hint: str) -> str:
        label = self._labels.get(id(s))
        if label is None:
            label = self._labels[id(s)] = self.w.label(hint)
        return label

    def case(self, s: tree.CaseLabel) -> None:
        self.w.block(self._label(s, "case"))

    def label(self, s: tree.Label) -> None:
        self.w.block(self._label(s, "label"))

    def goto(self, s: tree.Goto) -> None:
        self.at(s.loc)
        self.w.jump(self._label(s.target, "label"))

    def break_(self, s: tree.Break) -> None:
        self.at(s.loc)
        self.w.jump(self._targets[-1][0])

    def continue_(self, s: tree.Continue) -> None:
        self.at(s.loc)
        self.w.jump(self._targets[-1][1])

    def return_(self, s: tree.Return) -> None:
        self.at(s.loc)
        if s.value is None or isinstance(strip(self.result), Void):
            if s.value is not None:
                discard(self, s.value)
            self.w.end("ret void")
            return
        value = self.value(s.value)
        if in_memory(self.result):
            copy(self, Place("%result", align_of(self.result)), value, align_of(self.result), size_of(self.result) or 0)
            self.w.end("ret void")
        else:
            self.w.end(f"ret {ir_type(self.result)} {value}")

    def asm(self, s: tree.Asm) -> None:
        from ebpf.compiler.c.lower_asm import lower_asm

        self.at(s.loc)
        lower_asm(self, s)


_STATEMENTS: dict[type, Callable[[FunctionLowering, Any], None]] = {
    tree.Block: FunctionLowering.block,
    tree.Declare: FunctionLowering.declare,
    tree.Evaluate: FunctionLowering.evaluate,
    tree.If: FunctionLowering.if_,
    tree.Loop: FunctionLowering.loop,
    tree.Switch: FunctionLowering.switch,
    tree.CaseLabel: FunctionLowering.case,
    tree.Label: FunctionLowering.label,
    tree.Goto: FunctionLowering.goto,
    tree.Break: FunctionLowering.break_,
    tree.Continue: FunctionLowering.continue_,
    tree.Return: FunctionLowering.return_,
    tree.Asm: FunctionLowering.asm,
}


def signature(decl: tree.FunctionDecl, *, names: bool) -> tuple[str, str]:
    """(result with its extension attribute, parameter list) of a function in IR. Records go by address."""
    result = decl.type.result
    parts = [f"ptr{' %result' if names else ''}"] if in_memory(result) else []
    for i, p in enumerate(decl.type.parameters):
        kind = "ptr" if in_memory(p) else ir_type(p) + extension(p)
        parts.append(f"{kind} %a{i}" if names else kind)
    head = "void" if in_memory(result) else f"{extension(result)[1:]} {ir_type(result)}".strip()
    return head, ", ".join(parts)
