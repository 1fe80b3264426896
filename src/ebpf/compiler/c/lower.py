"""Typed tree → LLVM IR text: the unit, its globals and functions.

`lower` asks no question about C: the checker has spelled everything out. It knows BPF: what the back end cannot do
(signed division, 128-bit products, calls of memcpy), what the kernel's verifier wants (context accesses at constant
offsets, no jump tables, no loops turned into library calls), and how LLVM's BPF back end is told of CO-RE and BTF.

::

    lower_types     C type → LLVM type                lower_function   statements, control flow
    lower_int       integer arithmetic                lower_expr       values, conditions, calls
    lower_place     lvalues, bit-fields, copies       lower_builtin    builtins, atomics
    lower_core      CO-RE                             lower_init       initialisers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler import coverage
from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_function import FunctionLowering, signature
from ebpf.compiler.c.lower_init import constant_initializer
from ebpf.compiler.c.lower_place import is_context_target
from ebpf.compiler.c.lower_types import in_memory, ir_type, is_const
from ebpf.compiler.c.types import Array, Pointer, Record, Void, align_of, strip
from ebpf.compiler.llvm.debuginfo import DebugInfo, NoDebugInfo
from ebpf.compiler.llvm.ir import FunctionWriter, Module, quote, stand_in, symbol

if TYPE_CHECKING:
    from ebpf.compiler.c.lower_coverage import Marks
    from ebpf.compiler.c.source import Diagnostics
    from ebpf.compiler.options import Options

_MAX_PARAMETERS = 5
# "no-builtins": a loop that fills or copies stays a loop; as a call of memset it could not be generated.
# "no-jump-tables": kernels have no indirect jumps; it also keeps switches from becoming tables in .rodata.
_ATTRIBUTES = (
    'nounwind "frame-pointer"="all" "no-builtins" "no-jump-tables"="true" "no-trapping-math"="true" '
    '"target-cpu"="{mcpu}"'
)
# Without a CPU: code that is put into another module must not ask for more than that one does.
_HOST_ATTRIBUTES = 'nounwind "no-builtins" "no-jump-tables"="true" "no-trapping-math"="true"'


def lower(unit: tree.Unit, diagnostics: Diagnostics, options: Options) -> str:
    """The unit as LLVM IR. Mistakes go to ``diagnostics``; with errors there the text is of no use."""
    return UnitLowering(unit, diagnostics, options).lower()


class UnitLowering:
    """State while one unit is lowered."""

    def __init__(self, unit: tree.Unit, diagnostics: Diagnostics, options: Options) -> None:
        self.unit = unit
        self.diagnostics = diagnostics
        self.options = options
        self.host = options.target == "host"
        self.module = Module(unit.filename, (options.arch or "x86") if self.host else "bpf")
        self.debug: DebugInfo = NoDebugInfo() if self.host else DebugInfo(
            self.module, diagnostics.sources, unit.filename, optimized=options.opt_level > 0
        )
        self.questions = 0
        self.marks: Marks | None = None
        if coverage.is_on() and not self.host:
            from ebpf.compiler.c.lower_coverage import Marks

            self.marks = Marks(self)
        self._globals: dict[int, str] = {}
        self._functions: dict[int, str] = {}
        self._names: set[str] = {v.name for v in unit.globals} | {f.name for f in unit.functions}
        self._subprograms: dict[int, str] = {}
        attributes = _HOST_ATTRIBUTES if self.host else _ATTRIBUTES.format(mcpu=options.mcpu)
        self._attributes = {
            how: self.module.attributes(f"{how} {attributes}".strip()) for how in ("", "noinline", "alwaysinline")
        }
        self._heads: list[FunctionWriter] = []
        self._names = {*(f.name for f in unit.functions), *(v.name for v in unit.globals)}

    def lower(self) -> str:
        for v in self.unit.globals:
            self.global_address(v)
        for t in (*self.unit.events.values(), *self.unit.types):
            self.debug.whole(t)
            self.debug.retain(t)
        for decl in self.unit.functions:
            if decl.body is None:
                self.function_address(decl)
            elif self._acceptable(decl):
                if decl.linkage == "global":
                    # The kernel checks a global function by its types alone: the context has to be a struct in them.
                    for t in decl.type.parameters:
                        target = strip(t)
                        if isinstance(target, Pointer) and is_context_target(t):
                            self.debug.whole(target.target)
                FunctionLowering(self, decl).lower()
        if self.marks is not None:
            self.marks.finish()
        self.debug.finish()
        return self.module.text()

    # --------------------------------------------------------------------------------------- functions

    def function_address(self, decl: tree.FunctionDecl) -> str:
        """``@name``; an extern function is declared when first named."""
        address = self._functions.get(id(decl))
        if address is None:
            address = self._functions[id(decl)] = symbol(decl.name)
            if decl.body is None:
                result, parameters = signature(decl, names=False)
                names = [p.name for p in decl.parameters] or list(decl.type.names)
                names += [""] * (len(decl.type.parameters) - len(names))
                node = self.debug.function(
                    decl.name, decl.type, names, decl.loc, definition=False, local=False, tags=decl.tags
                )
                section = f" section {quote(decl.section)}" if decl.section else ""
                weak = "extern_weak " if decl.weak else ""
                described = node and f"!dbg {node} "
                self.module.declare(f"declare {described}{weak}{result} {address}({parameters}){section}")
        return address

    def _acceptable(self, decl: tree.FunctionDecl) -> bool:
        if self.host or self._inlined(decl) or len(decl.type.parameters) <= _MAX_PARAMETERS:
            return True
        extra = decl.parameters[_MAX_PARAMETERS]
        self.diagnostics.error(
            "C0501",
            f"`{decl.name}` has {len(decl.type.parameters)} parameters; a BPF call passes at most {_MAX_PARAMETERS}",
            extra.loc,
            extra.end,
            label="the sixth",
            helps=("pass a pointer to a struct", "make it `static __always_inline`"),
        )
        return False

    def _inlined(self, decl: tree.FunctionDecl) -> bool:
        """Whether it has to be put into its callers: by its own word, or because no call could pass what it takes or
        gives."""
        if decl.linkage == "inline":
            return True
        if decl.linkage != "static" or decl.noinline or self.host:
            return False
        wide = (decl.type.result, *decl.type.parameters)
        return len(decl.type.parameters) > _MAX_PARAMETERS or any(in_memory(t) or ir_type(t) == "i128" for t in wide)

    def begin(self, decl: tree.FunctionDecl) -> FunctionWriter:
        result, parameters = signature(decl, names=True)
        inlined = self._inlined(decl)
        local = inlined or decl.linkage == "static"
        linkage = "internal " if local else "weak " if decl.weak else ""
        visibility = "hidden " if decl.hidden and not local else ""
        how = "alwaysinline" if inlined else "noinline" if decl.noinline else ""
        section = ""
        if decl.section and not inlined:
            section = f" section {quote(stand_in(decl.section) if decl.section in self._names else decl.section)}"
        name = symbol(decl.name)
        if not local:
            self.module.keep(name)
        node = self.subprogram(decl)
        return self.module.function(
            f"define {linkage}dso_local {visibility}{result} {name}({parameters}) "
            f"{self._attributes[how]}{section}{node and f' !dbg {node}'}"
        )

    def subprogram(self, decl: tree.FunctionDecl) -> str:
        node = self._subprograms.get(id(decl))
        if node is None:
            local = self._inlined(decl) or decl.linkage == "static"
            node = self._subprograms[id(decl)] = self.debug.function(
                decl.name,
                decl.type,
                [p.name for p in decl.parameters],
                decl.loc,
                definition=True,
                local=local,
                tags=decl.tags,
            )
        return node

    @staticmethod
    def has_labels(decl: tree.FunctionDecl) -> bool:
        """Whether a goto may enter a block in the middle."""

        def search(s: tree.Stmt) -> bool:
            if isinstance(s, tree.Block):
                return any(search(item) for item in s.items)
            if isinstance(s, tree.If):
                return search(s.then) or (s.otherwise is not None and search(s.otherwise))
            if isinstance(s, (tree.Loop, tree.Switch)):
                return search(s.body)
            return isinstance(s, tree.Label)

        return decl.body is not None and search(decl.body)

    # ----------------------------------------------------------------------------------------- globals

    def global_address(self, v: tree.Variable) -> str:
        """``@name`` of a global or extern variable, written out when first named."""
        address = self._globals.get(id(v))
        if address is None:
            name = v.name or f".literal.{len(self._globals)}"
            # A static local, or a compound literal, may share its name with another.
            if v not in self.unit.globals and name in self._names:
                name = f"{name}.{len(self._globals)}"
            self._names.add(name)
            address = self._globals[id(v)] = symbol(name)
            self._write_global(v, address, name)
        return address

    def _write_global(self, v: tree.Variable, address: str, name: str) -> None:
        definition = v.kind != "extern"
        if v.section and v.section.startswith(".maps"):
            self.debug.whole(v.type, through_pointers=True)
            self._whole_map_types(v)
        else:
            self.debug.whole(v.type)
        node = self.debug.variable(name, v.type, v.loc, local=v.static, definition=definition, tags=v.tags)
        described = node and f", !dbg {node}"
        section = f", section {quote(v.section)}" if v.section else ""
        align = max(v.align, align_of(v.type))
        if not definition:
            weak = "extern_weak" if v.weak else "external"
            kind = "i8" if isinstance(strip(v.type), Void) else ir_type(v.type)
            self.module.add_global(
                f"{address} = {weak} dso_local global {kind}{section}, align {align}{described}"
            )
            return
        kind, value = constant_initializer(self, v.type, v.init)
        linkage = "internal " if v.static else "weak " if v.weak else ""
        visibility = "hidden " if v.hidden and not v.static else ""
        word = "constant" if is_const(v.type) else "global"
        self.module.add_global(
            f"{address} = {linkage}dso_local {visibility}{word} {kind} {value}{section}, align {align}{described}"
        )
        if v.section or not v.static:
            self.module.keep(address)

    def _whole_map_types(self, v: tree.Variable) -> None:
        """A map's definition leads to its key and value through pointers; both are shown to people whole."""
        record = strip(v.type)
        if isinstance(record, Record):
            for field in record.fields:
                t = strip(field.type)
                if isinstance(t, Pointer):
                    self.debug.whole(t.target)
                elif isinstance(t, Array) and isinstance(strip(t.element), Pointer):
                    self.debug.whole(strip(t.element).target)  # type: ignore[union-attr]
