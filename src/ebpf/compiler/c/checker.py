"""Syntax tree → typed tree: declarations, functions, programs, whole units. `check` is the only entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import FunctionState, Refused
from ebpf.compiler.c.checker_stmt import StmtChecker, falls_through
from ebpf.compiler.c.conversions import POISON, is_integer, is_void
from ebpf.compiler.c.events import find_events
from ebpf.compiler.c.scopes import Scope
from ebpf.compiler.c.source import TooManyErrors

if TYPE_CHECKING:
    from ebpf.compiler.c.preprocessor import Preprocessed
    from ebpf.compiler.c.source import SourceMap
    from ebpf.compiler.c.types import CType
    from ebpf.compiler.facts import Facts
    from ebpf.diagnostics import Diagnostic


def check(
    unit: ast.TranslationUnit,
    sources: SourceMap,
    facts: Facts,
    options: Any,
    pre: Preprocessed,
) -> tuple[tree.Unit, list[Diagnostic]]:
    """The typed tree of ``unit``, and all that was found wrong with it, warnings included.

    The tree is fit for lowering only if no diagnostic is an error. ``options.dialect`` is ``"bcc"``, ``"libbpf"`` or
    ``"auto"``.
    """
    from ebpf.compiler.c.dialect import Marks, is_bcc

    bcc = is_bcc(unit, pre, getattr(options, "dialect", "auto"))
    marks = Marks()
    while True:
        checker = Checker(sources, facts, options, sources.file_name(unit.loc) or sources.file_name(1))
        if bcc:
            from ebpf.compiler.c.dialect import BccDialect

            checker.bcc = BccDialect(checker, marks)
        else:
            checker.kernel.relocatable = any(i.rpartition("/")[2].startswith("vmlinux") for i in pre.includes)
        try:
            checker.run(unit)
        except TooManyErrors:
            break
        # A mark found after its first use (a map filled further down, a loop) changes what earlier reads mean: once
        # more, with
        # all marks known. Marks only grow, so this ends.
        if not marks.settle():
            break
    if checker.sent:
        checker.unit.events.update(find_events(checker.unit, checker.sent))
    checker.unit.events.update(checker.bcc.events if checker.bcc is not None else {})
    return checker.unit, checker.diagnostics.items


class Checker(StmtChecker):
    """All layers together."""

    def run(self, unit: ast.TranslationUnit) -> None:
        self._collect_tags(unit)
        self.defined = {i.name for i in unit.items if isinstance(i, ast.FunctionDef)}
        if self.bcc is not None:
            self.bcc.begin(unit)
        for item in unit.items:
            try:
                self.external(item)
            except Refused:
                name = getattr(item, "name", None)
                if isinstance(item, ast.VarDecl) and name and name not in self.file_scope.names:
                    self.file_scope.names[item.name] = tree.Variable(item.name, POISON, "global", item.loc, item.end)
        for v in self.unit.globals:
            self._complete(v)
        self._drop_helper_pointers()
        if not self.options.partial:
            self._undefined_functions()
        if self.bcc is not None:
            self.bcc.finish()

    def _undefined_functions(self) -> None:
        """Report each function that is used, declared and defined nowhere: no linker will add it."""
        reported: set[int] = set()
        for node, decl in self.references:
            if decl.body is not None or decl.section == ".ksyms" or id(decl) in reported:
                continue
            reported.add(id(decl))
            bodies = [f.name for f in self.unit.functions if f.body is not None]
            helps = self.suggest(decl.name, bodies)
            if self.kernel.btf is not None and self.kernel.function(decl.name) is not None and self.bcc is None:
                written = C.format_ctype(decl.type, decl.name)
                helps.append(f"if it is a kfunc, declare it as one: `extern {written} __ksym;`")
            self.error(
                "C0319",
                node,
                f"`{decl.name}` is declared, but nothing defines it",
                helps=helps or ["define it; if another object does, compile this one as a part (`--partial`) and link "
                                "the two: `ebpf link`"],
                related=[(decl.loc, decl.end, "declared here")],
            )

    # ------------------------------------------------------------------------------------------------- own types

    def _collect_tags(self, unit: ast.TranslationUnit) -> None:
        """Note every record and enum that the program defines itself: they beat the kernel's, from the first line
        on.
        """
        for item in unit.items:
            if isinstance(item, (ast.TypeDecl, ast.VarDecl, ast.TypedefDecl)):
                self._collect(item.type)

    def _collect(self, t: ast.TypeExpr | None) -> None:
        while isinstance(t, (ast.PointerTo, ast.ArrayOf, ast.Qualified, ast.FunctionOf)):
            t = (
                t.target
                if isinstance(t, ast.PointerTo)
                else t.element
                if isinstance(t, ast.ArrayOf)
                else t.result
                if isinstance(t, ast.FunctionOf)
                else t.type
            )
        if isinstance(t, ast.RecordType) and t.members is not None:
            if t.tag is not None:
                self.own_tags[t.kind, t.tag] = t
            for m in t.members:
                self._collect(m.type)
        elif isinstance(t, ast.EnumType) and t.enumerators is not None and t.tag is not None:
            self.own_tags["enum", t.tag] = t

    def own_tag(self, kind: str, tag: str) -> CType | None:
        written = self.own_tags.get((kind, tag))
        if written is None:
            return None
        known = self.file_scope.tags.get(tag)
        if known is None:
            known = C.Enum(tag, C.UINT, loc=written.loc) if kind == "enum" else C.Record(kind, tag, loc=written.loc)
            self.file_scope.tags[tag] = known
        return known

    # ---------------------------------------------------------------------------------------------- declarations

    def external(self, item: ast.ExternalDecl) -> None:
        if isinstance(item, ast.FunctionDef):
            self.function_def(item)
        elif isinstance(item, ast.MacroCall):
            if self.bcc is None:
                helps = self.suggest(item.name, ("BPF_HASH", "BPF_ARRAY")) or [
                    "a map is a variable in section `.maps` here"
                ]
                self.refuse(
                    "C0401",
                    item,
                    f"`{item.name}(…)` is no declaration",
                    helps=helps,
                    notes=["BCC's map macros are not known in the libbpf dialect"]
                    if item.name.startswith("BPF_")
                    else (),
                )
            self.bcc.macro_call(item)
        elif (
            isinstance(item, ast.VarDecl) and not isinstance(item.type, ast.FunctionOf) and not self._is_function(item)
        ):
            self.global_variable(item)
        else:
            self.declaration(item)

    def _is_function(self, item: ast.VarDecl) -> bool:
        return isinstance(item.type, (ast.NamedType, ast.TypeofType)) and isinstance(
            C.strip(self.type_of(item.type)), C.Function
        )

    def declaration(self, node: ast.TypedefDecl | ast.TypeDecl | ast.StaticAssert | ast.VarDecl) -> None:
        if isinstance(node, ast.TypeDecl):
            self.type_of(node.type)
        elif isinstance(node, ast.TypedefDecl):
            self.typedef(node)
        elif isinstance(node, ast.StaticAssert):
            self.static_assert(node)
        elif isinstance(node.type, ast.FunctionOf) or isinstance(C.strip(self.type_of(node.type)), C.Function):
            self.prototype(node)
        else:
            self.global_variable(node)

    def typedef(self, node: ast.TypedefDecl) -> None:
        t = self.type_of(node.type)
        align = max((self.alignment(a) for a in node.attributes if a.name == "aligned"), default=0)
        if isinstance(t, C.Record) and any(a.name == "preserve_access_index" for a in node.attributes):
            t.preserve_access = True
        known = self.scope.names.get(node.name)
        if known is not None and not (isinstance(known, C.Typedef) and (C.same(known, t) or t is POISON)):
            where = getattr(known, "loc", 0)
            self.refuse(
                "C0304",
                node,
                f"`{node.name}` is defined twice",
                related=[(where, 0, "first defined here")] if where else (),
            )
        if known is None:
            self.scope.names[node.name] = C.Typedef(node.name, t, align)

    def static_assert(self, node: ast.StaticAssert) -> None:
        e = self.value(node.condition)
        value = self.constant_of(e)
        if value is None:
            if e.type is not POISON:
                self.error("C0308", node.condition, "a static assertion has to be a constant")
        elif not value:
            self.error("C0316", node.condition, f"static assertion failed{': ' + node.message if node.message else ''}")

    def _attributes(self, attributes: list[ast.Attribute]) -> dict[str, ast.Attribute]:
        return {a.name: a for a in attributes}

    def _section(self, attributes: dict[str, ast.Attribute]) -> str | None:
        attribute = attributes.get("section")
        if attribute is None:
            return None
        if not attribute.args or not isinstance(attribute.args[0], ast.StringLiteral):
            self.refuse("C0317", attribute, "a section is named by a string", helps=['write `SEC("…")`'])
        return attribute.args[0].value.decode(errors="replace")

    def _hidden(self, attributes: dict[str, ast.Attribute]) -> bool:
        visibility = attributes.get("visibility")
        return (
            visibility is not None
            and bool(visibility.args)
            and isinstance(visibility.args[0], ast.StringLiteral)
            and visibility.args[0].value == b"hidden"
        )

    def global_variable(self, node: ast.VarDecl, *, local: bool = False) -> tree.Variable | None:
        t = self.type_of(node.type)
        if t is POISON:
            raise Refused
        attributes = self._attributes(node.attributes)
        section = self._section(attributes)
        scope = self.scope if local else self.file_scope
        name = node.name
        known = scope.names.get(name)
        kind = "extern" if node.storage == "extern" and node.init is None else "global"
        if kind == "extern" and section is None and known is None and not local:
            section = None  # an extern that some later definition provides
        if local:
            assert self.function is not None
            name = f"{self.function.decl.name}.{node.name}"
            known = None if not isinstance(known, tree.Variable) else known
        if known is not None:
            if not isinstance(known, tree.Variable) or (known.init is not None and node.init is not None) or local:
                self.refuse(
                    "C0304",
                    node,
                    f"`{node.name}` is defined twice",
                    related=[(getattr(known, "loc", 0), 0, "first defined here")],
                )
            variable = known
            if not C.same(known.type, t) and known.type is not POISON:
                inner, before = C.strip(t), C.strip(known.type)
                if not (
                    isinstance(inner, C.Array) and isinstance(before, C.Array) and C.same(inner.element, before.element)
                ):
                    self.refuse(
                        "C0304",
                        node,
                        f"`{node.name}` is declared as {self.words(known.type)} and as {self.words(t)}",
                        related=[(known.loc, known.end, "the other declaration")],
                    )
                if inner.count is not None:
                    known.type = t
            if kind == "global":
                variable.kind = "global"
        else:
            variable = tree.Variable(name, t, kind, node.loc, node.end)
            scope.names[node.name] = variable
        variable.section = section or variable.section
        variable.static = node.storage == "static" or variable.static
        variable.weak = variable.weak or "weak" in attributes
        variable.hidden = variable.hidden or self._hidden(attributes)
        if "aligned" in attributes:
            variable.align = self.alignment(attributes["aligned"])
        variable.tags += tuple(_text(a) for a in node.attributes if a.name == "btf_decl_tag")
        if node.init is not None:
            try:
                variable.init = self.initializer(variable.type, node.init, constant=True)
                variable.type = variable.init.type
            except Refused:
                pass
        if variable not in self.unit.globals:
            self.unit.globals.append(variable)
        return variable

    def _complete(self, v: tree.Variable) -> None:
        inner = C.strip(v.type)
        if v.kind == "global" and v.section != ".ksyms":
            if isinstance(inner, C.Record) and not inner.ensure_complete():
                try:
                    self.incomplete(ast.Node(v.loc, v.end), inner)
                except Refused:
                    return
            if isinstance(inner, C.Array) and inner.count is None:
                v.type = C.Array(inner.element, 1)
            if v.section == ".maps" and isinstance(inner, C.Record):
                self._complete_entries(inner)

    def _complete_entries(self, a_map: C.Record) -> None:
        """A map's keys and values are declared as pointers to them, which C lets stay incomplete; their sizes are
        needed.
        """
        for f in a_map.fields:
            target = C.strip(f.type)
            inner = C.strip(target.target) if isinstance(target, C.Pointer) else target
            if f.name in ("key", "value") and isinstance(inner, C.Record) and not inner.ensure_complete():
                try:
                    self.incomplete(ast.Node(f.loc, f.loc + 1), inner)
                except Refused:
                    pass

    def _drop_helper_pointers(self) -> None:
        """``static long (*bpf_x)(…) = (void *)6;`` is a way to declare a helper, not a variable."""
        from ebpf.compiler.c.checker_expr import helper_number

        self.unit.globals = [v for v in self.unit.globals if not (v.static and helper_number(v))]

    # ------------------------------------------------------------------------------------------------- functions

    def prototype(self, node: ast.VarDecl) -> None:
        t = C.strip(self.type_of(node.type))
        if t is POISON:
            raise Refused
        if not self.file_scope.names.get(node.name) and self._known_elsewhere(node):
            return
        assert isinstance(t, C.Function)
        self._declare_function(
            node.name,
            t,
            node,
            self._attributes(node.attributes),
            node.storage,
            node.inline,
            defines=False,
            parameters=node.type.parameters if isinstance(node.type, ast.FunctionOf) else None,
        )

    def _known_elsewhere(self, node: ast.VarDecl) -> bool:
        """Whether ``node`` declares again, as if from a header, what is there without: a helper, ``memcpy``."""
        from ebpf.compiler.c.builtins import find_builtin

        if node.name in self.defined or any(a.name == "section" for a in node.attributes):
            return False
        return find_builtin(node.name) is not None or self.helper_type(node.name) is not None

    def _declare_function(
        self,
        name: str,
        t: C.Function,
        node: ast.VarDecl | ast.FunctionDef,
        attributes: dict[str, ast.Attribute],
        storage: str | None,
        inline: bool,
        *,
        defines: bool,
        parameters: list[ast.Parameter] | None,
    ) -> tree.FunctionDecl:
        section = self._section(attributes)
        known = self.file_scope.names.get(name)
        if known is not None and not isinstance(known, tree.FunctionDecl):
            if getattr(getattr(known, "expr", None), "type", None) is not POISON:
                self.refuse(
                    "C0304",
                    node,
                    f"`{name}` is defined twice",
                    related=[(getattr(known, "loc", 0), 0, "first defined here")],
                )
            known = None
        if known is None:
            decl = tree.FunctionDecl(name, t, node.loc, node.end)
            decl.linkage = "extern"
            self.file_scope.names[name] = decl
            self.unit.functions.append(decl)
        else:
            decl = known
            if defines and decl.body is not None:
                self.refuse(
                    "C0304", node, f"function `{name}` is defined twice", related=[(decl.loc, 0, "first defined here")]
                )
            if not C.same(decl.type, t) and not (not t.parameters or not decl.type.parameters):
                self.refuse(
                    "C0304",
                    node,
                    f"`{name}` is declared as {self.words(decl.type)} and as {self.words(t)}",
                    related=[(decl.loc, decl.end, "the other declaration")],
                )
            if defines or t.parameters:
                decl.type = t
        if defines:
            decl.loc, decl.end = node.loc, node.end
        decl.section = section or decl.section
        decl.weak = decl.weak or "weak" in attributes
        decl.hidden = decl.hidden or self._hidden(attributes)
        decl.noinline = decl.noinline or "noinline" in attributes
        always = "always_inline" in attributes
        if defines or storage == "static":
            decl.linkage = self._linkage(decl, storage, inline, always)
        decl.tags += tuple((-1, _text(a)) for a in node.attributes if a.name == "btf_decl_tag")
        for index, p in enumerate(parameters or ()):
            decl.tags += tuple((index, _text(a)) for a in p.attributes if a.name == "btf_decl_tag")
        return decl

    def _linkage(self, decl: tree.FunctionDecl, storage: str | None, inline: bool, always: bool) -> str:
        if decl.section is not None and decl.section not in (".text", ".ksyms"):
            return "program"
        if self.bcc is not None:
            return "inline" if storage == "static" or inline or always else "program"
        if always or _needs_inlining(decl.type, 64 if self.options.target == "host" else 5):
            return "inline"
        return "static" if storage == "static" or inline or decl.linkage == "static" else "global"

    def function_def(self, node: ast.FunctionDef) -> None:
        if node.wrapper is not None:
            from ebpf.compiler.c.builtins_wrappers import expand_wrapper

            wrapped = expand_wrapper(self, node)
            if wrapped is not None:
                self.program_body(node, *wrapped)
                return
        t = self.type_of(node.type)
        if t is POISON:
            t = C.Function(C.INT, tuple(POISON for _ in node.type.parameters or ()))
        assert isinstance(t, C.Function)
        attributes = self._attributes(node.attributes)
        decl = self._declare_function(
            node.name, t, node, attributes, node.storage, node.inline, defines=True, parameters=node.type.parameters
        )
        if self.bcc is not None and decl.linkage == "program":
            extra = self.bcc.program(decl, node)
            if extra is not None:
                self.body(decl, node, extra.parameters, extra.locals)
                return
            t = decl.type
        parameters = []
        for p, pt in zip(node.type.parameters or (), t.parameters, strict=True):
            v = tree.Variable(p.name or "", pt, "parameter", p.loc, p.end)
            if isinstance(inner := C.strip(pt), C.Record) and not inner.ensure_complete():
                self.incomplete(p, inner)
            parameters.append(v)
        decl.context = decl.linkage == "program"
        self.body(decl, node, parameters, [])

    def program_body(
        self,
        node: ast.FunctionDef,
        name: str,
        section: str | None,
        t: C.Function,
        parameters: list[tree.Variable],
        locals: list[tuple[tree.Variable, tree.Expr | None]],
    ) -> None:
        """A wrapper's function: a program with the parameters that the kernel passes and locals in place of those
        written.
        """
        attributes = self._attributes(node.attributes)
        decl = self._declare_function(name, t, node, attributes, node.storage, False, defines=True, parameters=None)
        decl.section = decl.section or section
        decl.linkage = "program" if decl.section is not None else decl.linkage
        decl.context = decl.linkage == "program"
        self.body(decl, node, parameters, locals)

    def _written_void(self, node: ast.FunctionDef) -> bool:
        return isinstance(node.type.result, ast.BuiltinType) and node.type.result.name == "void"

    def body(
        self,
        decl: tree.FunctionDecl,
        node: ast.FunctionDef,
        parameters: list[tree.Variable],
        locals: list[tuple[tree.Variable, tree.Expr | None]],
    ) -> None:
        """Check a function's body. ``locals`` are made before it, initialised only if the body names them."""
        decl.parameters = parameters
        result = decl.type.result
        if not is_void(result) and isinstance(inner := C.strip(result), C.Record) and not inner.ensure_complete():
            self.incomplete(node, inner)
        if decl.linkage == "program" and isinstance(C.strip(result), C.Record):
            self.refuse(
                "C0404",
                node.type.result,
                f"program `{decl.name}` returns {self.words(result)}",
                helps=["it has to return a number"],
            )
        self.function = state = FunctionState(decl)
        state.returns_zero = decl.linkage == "program" and self._written_void(node)
        self.scope = Scope(self.file_scope)
        try:
            for v in parameters:
                if v.name:
                    if v.name in self.scope.names:
                        self.error("C0304", node, f"two parameters are called `{v.name}`")
                    self.scope.names[v.name] = v
            for v, _ in locals:
                if v.name:
                    self.scope.names[v.name] = v
            if self.bcc is not None:
                self.bcc.enter(decl, parameters, locals)
            before = self.diagnostics.error_count
            self.scope = Scope(self.scope)
            body = tree.Block(node.body.loc, node.body.end, self.block_items(node.body.items))
            self.resolve_gotos()
            if not is_void(result) and falls_through(body):
                closing = ast.Node(node.body.end - 1, node.body.end)
                if self.diagnostics.error_count == before and not self._written_void(node):
                    helps = ["end it with `return 0;`"] if decl.linkage == "program" else []
                    self.warn("C0331", closing, f"`{decl.name}` may end without a value", helps=helps)
                if decl.linkage == "program" and is_integer(result):  # the kernel wants one
                    body.items.append(tree.Return(closing.loc, closing.end, self.int_const(closing, 0, result)))
            first: list[tree.Stmt] = []
            for v, value in locals:
                if id(v) in state.used:
                    first.append(self.declare(v, value))
                    first[-1].init = None if value is None else first[-1].init  # type: ignore[attr-defined]
            body.items[:0] = first
            decl.body = body
        finally:
            self.function = None
            self.scope = self.file_scope


def _needs_inlining(t: C.Function, most: int) -> bool:
    """Records by value and more than ``most`` arguments exist only where no call remains."""
    return (
        isinstance(C.strip(t.result), C.Record)
        or len(t.parameters) > most
        or any(isinstance(C.strip(p), C.Record) for p in t.parameters)
    )


def _text(a: ast.Attribute) -> str:
    return a.args[0].value.decode(errors="replace") if a.args and isinstance(a.args[0], ast.StringLiteral) else ""
