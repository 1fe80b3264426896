"""Programs in Python to an object, stage by stage: declarations, passes over the functions, lower, generate, finish."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import ProgType
from ebpf.abi.sections import parse_section
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.checker_base import Refused as RefusedC
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.c.source import TooManyErrors
from ebpf.compiler.options import Options
from ebpf.compiler.pipeline import Compiled, _failed, _generate, lower_unit
from ebpf.compiler.py.contexts import REGISTER_KINDS
from ebpf.compiler.py.emit import Refused
from ebpf.compiler.py.frames import Frame
from ebpf.compiler.py.state import State
from ebpf.compiler.py.statements import Statements
from ebpf.compiler.py.tables import tables
from ebpf.compiler.py.values import BTF, Context, Int, Ref, Unknown, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.compiler.facts import Facts
    from ebpf.compiler.py.declarations import ProgramDecl

_MAX_PASSES = 24


class Program(Statements):
    """Makes one program of the object."""

    def compile(self, decl: ProgramDecl, definition: ast.FunctionDef) -> tree.FunctionDecl:
        info = parse_section(decl.section)
        if info is None:
            self.refuse("P0301", definition, f"there is no hook of the name `{decl.section}`")
        self.info, self.program_name = info, decl.name
        self.frame = Frame(decl.function, definition, self.source, (decl.name,), None)
        pointer = C.Pointer(self.context_type(definition))
        first = definition.args.args[0].arg if definition.args.args else "ctx"
        self.context = tree.Variable(first, pointer, "parameter", self.loc, self.end)
        prototype = C.Function(C.INT, (pointer,), False, (first,))
        out = tree.FunctionDecl(
            decl.name,
            prototype,
            self.loc,
            self.end,
            parameters=[self.context],
            section=decl.section,
            linkage="program",
            context=True,
        )
        self._parameters(definition)
        self.statements(definition.body)
        if self.frame.flow.live:
            self.out.append(tree.Return(self.loc, self.end, self.const(0, C.INT)))
        out.body = self.block([*self.scratch_variables, *self.frame.declared, *self.out])
        return out

    def writable(self, v: Ref, node: ast.AST) -> None:
        """What stands for a function of the kernel's writes what that may: the verifier knows the members."""
        if self.info.type != ProgType.STRUCT_OPS or v.space != BTF:
            super().writable(v, node)

    def _parameters(self, definition: ast.FunctionDef) -> None:
        a = definition.args
        if a.vararg is not None or a.kwarg is not None or a.kwonlyargs:
            self.refuse("P0302", definition, "a program has the context and the hook's arguments as its parameters")
        given: dict[str, Value] = {}
        refused = False
        for i, p in enumerate((*a.posonlyargs, *a.args)):
            self.at(p)
            if not i:
                given[p.arg] = Context()
                continue
            given[p.arg] = Unknown()
            if not refused:
                try:
                    given[p.arg] = self._declared_register(self.parameter(i - 1, p.arg, p), p)
                except Refused:
                    refused = True
        self.bind_parameters(self.frame, definition, given)

    def _declared_register(self, v: Value, p: ast.arg) -> Value:
        """A register whose type nobody but the program's text knows holds what the text says."""
        if self.prototype is None and not self.fields and self.base_kind in REGISTER_KINDS and isinstance(v, Int):
            ty = self.annotated_int(self.annotation(self.frame, p))
            if ty is not None:
                return Int(ty, self.temp(cast(v.e, ty.ctype)))
        return v


def compile_functions(programs: Sequence[ProgramDecl], *, facts: Facts, license: str, mcpu: str) -> Compiled:
    """The object, and warnings."""
    from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator
    from ebpf.compiler.llvm.output import finish
    from ebpf.errors import InternalError

    with CodeGenerator(mcpu=mcpu, opt=2) as generator:
        unit, state = check_functions(programs, facts=facts, license=license, mcpu=mcpu)
        found = list(state.diagnostics.items)
        options = Options("libbpf", mcpu)
        ir = lower_unit(unit, state.sources, found, options)
        try:
            raw = _generate(generator, ir, options)
        except CodeGenerationError as error:
            from ebpf.compiler.llvm.explain import explain

            if error.how == "refused":
                raise InternalError(
                    "LLVM refused the code that this compiler made: please report it with the source",
                    notes=[error.stderr.strip()[:2000]],
                ) from None
            functions = {f.name: state.sources.span(f.loc, f.end) for f in unit.functions if f.body is not None}
            spans = explain(error, state.sources, unit.filename, mcpu, functions)
            raise _failed([*found, *spans], unit.filename) from None
    return Compiled(finish(raw, events=unit.events, types=unit.types), tuple(found))


def check_functions(
    programs: Sequence[ProgramDecl], *, facts: Facts, license: str = "GPL", mcpu: str = "v3"
) -> tuple[tree.Unit, State]:
    """The typed tree. Raises `CompileError` if anything in the programs is wrong."""
    from ebpf.errors import UsageError

    if not programs:
        raise UsageError("there is no program to compile")
    filename = programs[0].function.__code__.co_filename
    state = State(facts, mcpu, filename)
    names: dict[str, Any] = {}
    for p in programs:
        if names.setdefault(p.name, p) is not p:
            raise UsageError(f"two programs have the name `{p.name}`", helps=["give one another: `name=…`"])
    compiled: list[tree.FunctionDecl] = []
    for _ in range(_MAX_PASSES):
        state.begin()
        compiled = []
        try:
            for p in programs:
                _compile(p, state, compiled)
        except TooManyErrors:
            break
        if not state.changed:
            break
    if state.diagnostics.error_count:
        raise _failed(state.diagnostics.items, filename)
    library = state.checker.unit  # what is written in C: arguments of static probes
    unit = tree.Unit(filename, [], [*library.functions, *state.subprograms.values(), *compiled], state.events)
    named = tables(state.checker, zip(programs, compiled, strict=True))
    unit.globals = [*library.globals, *state.maps.values(), *state.globals.values(), *named, _license(license)]
    unit.types = list(state.records.values())
    return unit, state


def _compile(p: ProgramDecl, state: State, out: list[tree.FunctionDecl]) -> None:
    from ebpf.errors import UsageError

    code = p.function.__code__
    source = state.file(code.co_filename)
    definition = source.functions.get((code.co_firstlineno, p.function.__name__)) if source is not None else None
    if source is None or definition is None:
        raise UsageError(
            f"the source of `{p.name}` cannot be read from {code.co_filename}",
            helps=["programs are functions that are written with `def` in a file or a notebook's cell"],
        )
    try:
        out.append(Program(state, source, definition).compile(p, definition))
    except (Refused, RefusedC):
        return


def _license(license: str) -> tree.Variable:
    value = license.encode() + b"\0"
    t = C.Array(C.CHAR, len(value))
    init = tree.Initializer(t, [tree.InitPart(0, tree.StringConst(t, 0, 0, value))])
    return tree.Variable("_license", t, "global", 0, 0, section="license", init=init)
