"""Marks for coverage (`ebpf.compiler.coverage`), written where statements begin and where conditions part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.types import UCHAR, Array
from ebpf.compiler.coverage import COUNTERS, POINTS, Point, emit_points
from ebpf.compiler.llvm.ir import bytes_constant, quote

if TYPE_CHECKING:
    from ebpf.compiler.c.lower import UnitLowering
    from ebpf.compiler.c.lower_function import FunctionLowering

_COUNTERS = "@__ebpf_coverage"
_POINTS = "@__ebpf_coverage_points"
# Statements that do something by themselves. Blocks, labels and declarations without a value do not.
_COUNTED = (tree.Evaluate, tree.If, tree.Loop, tree.Switch, tree.Goto, tree.Break, tree.Continue, tree.Return, tree.Asm)


class Marks:
    """The points of one unit, numbered as they are written."""

    def __init__(self, unit: UnitLowering) -> None:
        self._unit = unit
        self._places = unit.diagnostics.sources
        self._numbers: dict[Point, int] = {}
        self._loc = 0

    def statement(self, f: FunctionLowering, s: tree.Stmt) -> None:
        """The statement begins here."""
        if isinstance(s, _COUNTED) or (isinstance(s, tree.Declare) and s.init is not None):
            self._mark(f, s.loc, 0)

    def way(self, f: FunctionLowering, origin: int, target: int) -> None:
        """Here begins the way from the condition at ``origin`` (a loc) to ``target`` (0: out of the function)."""
        file, line, _ = self._places.position(origin)
        to_file, to, _ = self._places.position(target or f.decl.loc)
        # Within one line there is nothing to tell apart, and of a macro's own conditions nobody asks.
        if to_file == file and (to != line or not target):
            self._mark(f, origin, to if target else -to)

    def _mark(self, f: FunctionLowering, loc: int, to: int) -> None:
        if not loc or not f.w.open:
            return
        file, line, _ = self._places.position(loc)
        if file != self._unit.unit.filename and not file.endswith((".c", ".h", ".py", ".bt")):
            return  # what the dialects bring along
        self._loc = self._loc or loc
        number = self._numbers.setdefault(Point(file, line, to), len(self._numbers))
        f.w.do(f"store volatile i8 1, ptr getelementptr (i8, ptr {_COUNTERS}, i64 {number}), align 1")

    def finish(self) -> None:
        """Write the counters and the table."""
        if not self._numbers:
            return
        module, debug = self._unit.module, self._unit.debug
        table = emit_points(list(self._numbers))
        for name, section, kind, contents, size in (
            (_COUNTERS, COUNTERS, "global", "zeroinitializer", len(self._numbers)),
            (_POINTS, POINTS, "constant", bytes_constant(table), len(table)),
        ):
            node = debug.variable(name[1:], Array(UCHAR, size), self._loc, local=False, definition=True)
            module.add_global(f"{name} = dso_local {kind} [{size} x i8] {contents}, section {quote(section)}, "
                              f"align 1, !dbg {node}")
            module.keep(name)
