"""Pointers into the kernel: which expressions hold them, and the probe reads that go through them.

BCC rewrites ``sk->member`` into a probe read where ``sk`` came from the kernel: from a register, a tracepoint's
argument, the current
task, another such read. Here that is a property of the typed tree: an access is a read if the pointer under it is
external.
Declarations are marked when an external value flows into them, however it gets there: initialisers, assignments,
arguments,
results, and maps. `Marks` outlives a pass, so that a declaration marked at its end is known at the start of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import is_pointer, is_record
from ebpf.compiler.c.dialect.packets import is_packet_place, packet_read

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker
    from ebpf.compiler.c.dialect import Marks
    from ebpf.compiler.c.dialect.maps import BccMap

_MAP_LOOKUP, _GET_CURRENT_TASK = 1, 35
_PASSING = frozenset(("pointer", "same", "int_to_pointer", "pointer_to_int", "int"))


class Externals:
    marks: Marks

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.maps: dict[int, BccMap] = {}  # by id of the map's variable

    # --------------------------------------------------------------------------------------------------- questions

    def external_depth(self, e: tree.Expr) -> int | None:
        """How many loads away from ``e`` a pointer into the kernel is: 0 if the value is one; None if none is known
        of.
        """
        if isinstance(e, tree.Convert):
            if e.kind == "load":
                return self._loaded(e.operand)
            if e.kind in _PASSING:
                return self.external_depth(e.operand)
            if e.kind == "decay":
                return 0 if self.is_external_place(e.operand) else self._place_depth(e.operand)
            return None
        if isinstance(e, tree.ProbeRead):
            return 0 if (C.size_of(e.type) or 0) == 8 and not is_record(e.type) else None
        if isinstance(e, tree.PointerAdd):
            return self.external_depth(e.pointer)
        if isinstance(e, tree.AddressOf):
            return 0 if self.is_external_place(e.operand) else self._place_depth(e.operand)
        if isinstance(e, tree.Binary):
            if e.op in ("+", "-", "&", "|") and C.size_of(e.type) == 8:
                left = self.external_depth(e.left)
                return left if left is not None else self.external_depth(e.right)
            return None
        if isinstance(e, tree.Conditional):
            then = self.external_depth(e.then if e.then is not None else e.condition)
            return then if then is not None else self.external_depth(e.otherwise)
        if isinstance(e, tree.Comma):
            return self.external_depth(e.right)
        if isinstance(e, (tree.Assign, tree.Temporary)):
            return self.external_depth(e.value)
        if isinstance(e, tree.StatementExpr):
            return self.external_depth(e.value) if e.value is not None else None
        if isinstance(e, tree.CallHelper):
            if e.helper == _MAP_LOOKUP:
                of = e.args[0]
                while isinstance(of, tree.Convert):
                    of = of.operand
                if isinstance(of, tree.AddressOf) and isinstance(of.operand, tree.VarRef):
                    a_map = self.maps.get(id(of.operand.variable))
                    return None if a_map is None else self.map_gives(a_map)
            return 0 if e.helper == _GET_CURRENT_TASK else None
        if isinstance(e, tree.CallFunction):
            return self.marks.get(("result", e.function.name))
        if isinstance(e, tree.Update):
            return self._loaded(e.target) if is_pointer(e.type) else None
        return None

    def is_external_place(self, e: tree.Expr) -> bool:
        """Whether the lvalue ``e`` lies in the kernel's memory."""
        if isinstance(e, tree.Member) and is_packet_place(e):
            return True
        while isinstance(e, (tree.Member, tree.ElementOf)):
            e = e.base
        return isinstance(e, tree.Deref) and self.external_depth(e.pointer) == 0

    def _loaded(self, place: tree.Expr) -> int | None:
        """Depth of what is loaded from an lvalue that is not external itself."""
        depth = self._place_depth(place)
        return depth - 1 if depth else None

    def _place_depth(self, e: tree.Expr) -> int | None:
        """Depth of the address of the lvalue ``e``."""
        if isinstance(e, tree.VarRef):
            depth = self.marks.get(variable_key(e.variable))
            return None if depth is None else depth + 1
        if isinstance(e, tree.Deref):
            return self.external_depth(e.pointer)
        if isinstance(e, tree.ElementOf):
            return self._place_depth(e.base)
        if isinstance(e, tree.Member):
            if self._is_context_member(e):
                return 1
            if e.field.name is not None:
                key = self._member_key(e)
                depth = self.marks.get(key) if key is not None else None
                if depth is not None:
                    return depth + 1
        return None

    @staticmethod
    def _is_context_member(e: tree.Expr) -> bool:
        while isinstance(e, (tree.Member, tree.ElementOf)):
            e = e.base
        if not isinstance(e, tree.Deref):
            return False
        pointer = e.pointer
        while isinstance(pointer, tree.Convert) and pointer.kind in ("pointer", "same"):
            pointer = pointer.operand
        if not (
            isinstance(pointer, tree.Convert)
            and pointer.kind == "load"
            and isinstance(pointer.operand, tree.VarRef)
            and pointer.operand.variable.kind == "parameter"
        ):
            return False
        record = C.strip(e.type)
        tag = record.tag if isinstance(record, C.Record) else None
        return tag is not None and (tag in ("pt_regs", "bpf_raw_tracepoint_args") or tag.startswith("tracepoint__"))

    @staticmethod
    def _member_key(e: tree.Member) -> tuple[object, ...] | None:
        record = C.strip(e.base.type)
        if not isinstance(record, C.Record):
            return None
        return "member", record.tag or record.loc, e.field.name

    # ------------------------------------------------------------------------------------------------------- flow

    def flows(self, value: tree.Expr, target: tree.Expr) -> None:
        """``target = value``."""
        depth = self.external_depth(value)
        if depth is None:
            return
        if isinstance(target, tree.VarRef):
            self.marks.set(variable_key(target.variable), depth)
            return
        while isinstance(target, tree.ElementOf):
            target = target.base
        if isinstance(target, tree.VarRef):
            self.marks.set(variable_key(target.variable), depth)
        elif isinstance(target, tree.Member) and is_pointer(target.type):
            key = self._member_key(target)
            if key is not None:
                self.marks.set(key, depth)

    def initialises(self, variable: tree.Variable, init: tree.Initializer) -> None:
        for part in init.parts:
            depth = self.external_depth(part.value)
            if depth is None:
                continue
            inner = C.strip(variable.type)
            if not isinstance(inner, C.Record):
                self.marks.set(variable_key(variable), depth)
            elif is_pointer(part.value.type):
                self._mark_member(inner, part.offset, depth)

    def _mark_member(self, record: C.Record, offset: int, depth: int) -> None:
        for f in record.fields:
            start = f.bit_offset // 8
            if start <= offset < start + (C.size_of(f.type) or 0):
                inner = C.strip(f.type)
                if isinstance(inner, C.Record):
                    self._mark_member(inner, offset - start, depth)
                elif f.name is not None:
                    self.marks.set(("member", record.tag or record.loc, f.name), depth)

    def passes(self, decl: tree.FunctionDecl, args: list[tree.Expr]) -> None:
        for i, a in enumerate(args):
            depth = self.external_depth(a)
            if depth is not None:
                self.marks.set(("argument", decl.name, i), depth)

    def returns(self, decl: tree.FunctionDecl, value: tree.Expr) -> None:
        depth = self.external_depth(value)
        if depth is not None and (is_pointer(value.type) or C.size_of(value.type) == 8):
            self.marks.set(("result", decl.name), depth)

    def enter(
        self,
        decl: tree.FunctionDecl,
        parameters: list[tree.Variable],
        locals: list[tuple[tree.Variable, tree.Expr | None]],
    ) -> None:
        """At the start of a body."""
        if decl.linkage != "program":
            for i, v in enumerate(parameters):
                depth = self.marks.get(("argument", decl.name, i))
                if depth is not None:
                    self.marks.set(variable_key(v), depth)
            return
        if decl.section is not None and decl.section.partition("/")[0] in (
            "fentry",
            "fexit",
            "fmod_ret",
            "lsm",
            "iter",
        ):
            return  # typed by the verifier: loads go straight through
        raw = decl.section is not None and decl.section.partition("/")[0] == "raw_tp"
        for v, value in locals:
            if value is not None and (depth := self.external_depth(value)) is not None:
                self.marks.set(variable_key(v), depth)
            elif raw and is_pointer(v.type):  # out of the context's array of words
                self.marks.set(variable_key(v), 0)

    def map_takes(self, a_map: BccMap, pointer: tree.Expr) -> None:
        """A value is stored in a map from ``pointer``."""
        depth = self.external_depth(pointer)
        if depth:
            self.marks.set(("map", a_map.name), depth)

    def map_gives(self, a_map: BccMap) -> int | None:
        return self.marks.get(("map", a_map.name))

    # ------------------------------------------------------------------------------------------------------- reads

    def probe_read(self, c: ExprChecker, place: tree.Expr) -> tree.Expr:
        """The value at an external place."""
        from ebpf.compiler.c import ast
        from ebpf.compiler.c.builtins_core import PROBE_READ, read_value

        if isinstance(place, tree.Member) and is_packet_place(place):
            return packet_read(c, place)

        return read_value(c, place, PROBE_READ, ast.Node(place.loc, place.end))


def variable_key(v: tree.Variable) -> tuple[object, ...]:
    return "variable", v.loc, v.name or id(v)
