"""Probes to programs: one program for each body and kind of context, and the plan's probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.checker_base import Refused as RefusedC
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import Refused
from ebpf.compiler.trace.plan import Probe
from ebpf.compiler.trace.statements import Statements
from ebpf.compiler.trace.targets import Target, Targets

if TYPE_CHECKING:
    from ebpf.compiler.trace.state import ScriptState

# So many rounds the verifier follows without complaint.
_SHORT_LOOP = 64
# Builtins and functions that look at what the probe was given.
_OF_THE_CONTEXT = frozenset("args ctx retval kstack ustack func reg probe usermode override uaddr".split())
_COOKIE_PROBES = frozenset(("kprobe", "kretprobe", "uprobe", "uretprobe", "tracepoint"))


class ProgramCompiler(Statements):
    """Makes one function of the object."""

    def __init__(self, state: ScriptState, node: ast.Node, name: str) -> None:
        super().__init__(state, node)
        self.program_name = name
        self.scopes = [{}]
        self.substitutions = [{}]
        self.loops = []
        self.initial = []
        self.iterator_fields = {}

    def own_function(self, function: ast.Function) -> tree.FunctionDecl:
        """A function of the script, as a subprogram: compiled when it is first called."""
        known = self.state.functions.get(f"fn_{function.name}")
        if known is not None:
            if known.body is None:
                self.refuse("T0216", function, f"`{function.name}` calls itself")
            return known
        inner = ProgramCompiler(self.state, function, f"fn_{function.name}")
        inner.provider, inner.point = self.provider, self.point
        inner.in_callback = True
        inner.program_index = self.state.take_slot()
        result = inner.type_named(function.result)
        inner.returns = inner.result = C.INT if result.kind == "none" else C.LONG if result.signed else C.ULONG
        parameters = []
        from ebpf.compiler.trace.expressions import Local

        for name, written in function.parameters:
            t = inner.type_named(written)
            if not T.is_scalar(t):
                self.refuse("T0207", written, f"`{name}` cannot be {T.words(t)}: functions take numbers and pointers")
            kind: C.CType = C.Pointer(t.ctype or C.VOID) if t.kind == "pointer" else C.LONG if t.signed else C.ULONG
            v = tree.Variable(name, kind, "parameter", written.loc, written.end)
            parameters.append(v)
            inner.scopes[0][name] = Local(t, written, v, None)
        if len(parameters) > 5:
            self.refuse("T0206", function, "a function takes at most 5 arguments")
        prototype = C.Function(
            inner.result, tuple(p.type for p in parameters), False, tuple(p.name for p in parameters)
        )
        decl = tree.FunctionDecl(
            inner.program_name,
            prototype,
            function.loc,
            function.end,
            parameters=parameters,
            linkage="static",
            noinline=True,
        )
        self.state.functions[inner.program_name] = decl
        inner.statements(function.body)
        body = inner.finish(tree.Return(function.loc, function.end, inner.const(0, inner.result)))
        decl.body = body
        return decl

    def finish(self, last: tree.Stmt) -> tree.Block:
        """The function's whole body."""
        used = self.finish_scratch()
        self.state.scratch_size = max(self.state.scratch_size, used)
        body, self.out = self.out, []
        for variable, memory in self.initial:
            if variable is not None:
                self.set(variable, self.const(0, variable.type))
            elif memory is not None:
                self.zero(*memory)
        start, self.out = self.out, body
        return tree.Block(self.node.loc, self.node.end, [*self.prologue(), *start, *body, last])


class Programs:
    def __init__(self, state: ScriptState) -> None:
        self.state = state
        self.targets = Targets(state)
        self._names: set[str] = set()

    def run(self, script: ast.Script) -> None:
        """All probes of the script, in order."""
        self._names.clear()
        for item in script.items:
            if isinstance(item, ast.Probe):
                self.probe(item)

    def probe(self, node: ast.Probe) -> None:
        targets: list[Target] = []
        for point in node.points:
            try:
                targets += self.targets.resolve(point, len(node.points))
            except Refused:
                continue
        if not targets and len(node.points) > 1 and not self.state.diagnostics.error_count:
            self.state.diagnostics.error(
                "T0302",
                "none of this probe's targets exists",
                node.loc,
                node.end,
                notes=["they are: " + ", ".join(":".join((p.provider, *p.parts)) for p in node.points)],
            )
        uses = used_names(node)
        groups: dict[tuple[object, ...], list[Target]] = {}
        for t in targets:
            groups.setdefault(self.sharing(t, uses), []).extend(self.expanded(t, uses))
        for group in groups.values():
            if group:
                self.program(node, group, uses)

    def is_called(self, loop: ast.For) -> bool:
        """Whether a loop over a range is one that the kernel is to go through: long, and with a body that does not need
        what the probe was given.
        """
        if loop.last is None:
            return False
        if isinstance(loop.over, ast.Number) and isinstance(loop.last, ast.Number):
            if loop.last.value - loop.over.value <= _SHORT_LOOP:
                return False
        names = {n.name for n in ast.walk(loop.body) if isinstance(n, (ast.Name, ast.Call))}
        return not (names & _OF_THE_CONTEXT or names & {*self.state.macros, *self.state.user_functions}
                    or any(name.startswith(("arg", "sarg")) for name in names))

    def sharing(self, t: Target, uses: set[str]) -> tuple[object, ...]:
        """Targets of one key can run one program."""
        kind = t.provider.kind
        if kind in ("fentry", "fexit", "usdt", "iter", "begin", "end", "self") or uses & {"probe", "uaddr"}:
            return (id(t),)
        if self.needs_own_name(t, uses):
            return (id(t),)
        if kind == "tracepoint":
            return (kind, t.point.parts[0] == "syscalls", t.text if "args" in uses else "")
        if kind == "uprobe" and "args" in uses:
            return (kind, t.text)
        return (kind,)

    def needs_own_name(self, t: Target, uses: set[str]) -> bool:
        """Whether ``func`` is what the compiler knows: before Linux 5.15 nothing tells a kretprobe its function."""
        return t.provider.kind == "kretprobe" and "func" in uses and not self.state.has_helper("bpf_get_func_ip")

    def expanded(self, t: Target, uses: set[str]) -> list[Target]:
        """A pattern's targets, where each needs a program of its own, or the kernel tells a program nothing of its
        target.
        """
        kind = t.provider.kind
        if not t.wildcard:
            return [t]
        needs_each = kind in ("fentry", "fexit") or (kind == "tracepoint" and "args" in uses)
        needs_each = needs_each or self.needs_own_name(t, uses)
        tells = kind in _COOKIE_PROBES and self.state.facts.kernel_version >= 0x50F00
        if not needs_each and not ("probe" in uses and not tells):
            return [t]
        pattern = t.text
        found = (
            self.state.facts.tracepoints(pattern)
            if kind == "tracepoint"
            else self.state.facts.functions(t.point.parts[-1])
        )
        limit = self.state.config.max_probes
        if not found:
            self.state.diagnostics.error("T0302", f"nothing matches `{pattern}`", t.point.loc, t.point.end)
            return []
        if len(found) > limit:
            self.state.diagnostics.error(
                "T0306",
                f"`{pattern}` matches {len(found)} targets; {limit} are allowed",
                t.point.loc,
                t.point.end,
                helps=["narrow the pattern, or raise `max_probes`"],
            )
            return []
        out = []
        for name in found:
            parts = name.split(":", 1) if kind == "tracepoint" else [*t.point.parts[:-1], name]
            point = ast.AttachPoint(t.point.loc, t.point.end, t.point.provider, parts, t.point.alias)
            details = {k: v for k, v in t.details.items() if k != "wildcard"}
            if kind == "tracepoint":
                details.update(category=parts[0], event=parts[1])
            else:
                details["function"] = name
            out.append(Target(t.provider, point, details, False))
        return out

    # ----------------------------------------------------------------------------------------------------- programs

    def program(self, node: ast.Probe, group: list[Target], uses: set[str]) -> None:
        if "args" in uses and group[0].provider.kind == "tracepoint" and len(group) > 1:
            for t in group:
                self.program(node, [t], uses)
            return
        alone = group[0].provider.kind in ("fentry", "fexit") or "probe" in uses
        if len(group) > 1 and (alone or self.needs_own_name(group[0], uses)):
            for t in group:
                self.program(node, [t], uses)
            return
        first = group[0]
        kind = first.provider.kind
        name = self.name_of(first)
        compiler = ProgramCompiler(self.state, node, name)
        compiler.provider, compiler.point = first.provider, first.point
        compiler.probe_number = len(self.state.probes)
        compiler.cookie = first.wildcard and "probe" in uses
        compiler.program_index = self.state.take_slot()
        looped = {v.name for s in ast.walk(node.body) if isinstance(s, ast.While) for v in _variables(s)}
        if self.state.frugal:  # but for what loops count with: the verifier has to follow that
            compiler.shared_names = frozenset(v.name for v in _variables(node.body)) - looped
        loops = [s for s in ast.walk(node.body) if isinstance(s, ast.For)]
        if self.state.has_helper("bpf_loop"):
            compiler.called_loops = frozenset(id(s) for s in loops if self.is_called(s))
        compiler.shared_names |= frozenset(
            v.name for s in loops if s.last is None or id(s) in compiler.called_loops for v in _variables(s.body)
        )
        try:
            context_type = self.context_type(compiler, first, uses)
        except (Refused, RefusedC):
            return
        context = tree.Variable("ctx", C.Pointer(context_type), "parameter", node.loc, node.end)
        compiler.context = context
        for target in group:
            details = dict(target.details)
            if compiler.cookie:
                details["cookie"] = True
            line = self.state.diagnostics.sources.line(target.point.loc)
            self.state.probes.append(Probe(kind, name, target.text, target.point.alias or target.name, line, details))
        loc, end = node.loc, node.end
        decl = compiler.subprogram(
            name, C.INT, [context], [], linkage="program", section=self.section(first), context=True
        )
        self.state.programs.append(decl)
        if compiler.is_iterator and compiler.tracepoint is not None:
            compiler.begin_iterator(compiler.tracepoint)
        if node.predicate is not None:
            compiler.node = node.predicate
            try:
                if isinstance(node.predicate, ast.Record):
                    compiler.refuse("T0106", node.predicate, "`=` does not compare", helps=["`==` compares"])
                mark = compiler.mark()
                condition = compiler.truth(node.predicate)
                with compiler.nested() as leave:
                    compiler.leave()
                compiler.branch(tree.Unary(C.INT, loc, end, "!", condition), leave)
                compiler.release(mark)
            except Refused:
                pass
            compiler.node = node
        try:
            compiler.statements(node.body)
        except RefusedC:
            pass
        decl.body = compiler.finish(tree.Return(loc, end, compiler.const(0, C.INT)))

    def end_with(self, exited: tree.Variable) -> None:
        """Have every program but END's do nothing once ``exited`` says that the script is at its end."""
        at_end = {probe.program for probe in self.state.probes if probe.kind == "end"}
        for decl in self.state.programs:
            if decl.name not in at_end and decl.body is not None:
                loc, end = decl.loc, decl.end
                word = tree.Convert(C.ULONG, loc, end, "load", tree.VarRef(exited.type, loc, end, exited))
                leave = tree.Return(loc, end, tree.IntConst(C.INT, loc, end, 0))
                decl.body.items.insert(0, tree.If(loc, end, word, tree.Block(loc, end, [leave]), None))

    def name_of(self, t: Target) -> str:
        """A name for the program: what the kernel shows of it."""
        base = "_".join((t.provider.shown, *t.point.parts))
        clean = "".join(c if c.isalnum() and c.isascii() else "_" for c in base)[:96]
        name, number = clean, 1
        while name in self._names:
            number += 1
            name = f"{clean}_{number}"
        self._names.add(name)
        return name

    def section(self, t: Target) -> str:
        kind, parts = t.provider.kind, t.point.parts
        head = t.provider.section
        if kind in ("begin", "end", "self"):
            return f"raw_tp/{t.provider.shown}"
        if kind == "tracepoint":
            return "tracepoint" if t.wildcard else f"tracepoint/{parts[0]}/{parts[1]}"
        if kind in ("fentry", "fexit"):
            return f"{head}/{parts[-1]}"
        if kind == "rawtracepoint":
            return f"raw_tp/{parts[-1]}"
        if kind == "iter":
            return f"iter/{parts[0]}"
        return head

    def context_type(self, compiler: ProgramCompiler, t: Target, uses: set[str]) -> C.CType:
        """What the program's context points to."""
        kind, provider = t.provider.kind, t.provider
        checker = self.state.checker
        if kind == "tracepoint":
            if "args" not in uses:
                return C.ULONG
            return self.tracepoint_context(compiler, t)
        if kind in ("fentry", "fexit"):
            found = checker.kernel.function(t.point.parts[-1])
            if found is None:
                close = self.targets.similar_functions(t.point.parts[-1])
                notes = ["this kernel tells no types (BTF)"] if checker.kernel.btf is None else []
                compiler.refuse(
                    "T0302",
                    t.point,
                    f"the kernel's types have no function `{t.point.parts[-1]}`",
                    notes=notes,
                    helps=[f"did you mean {' or '.join(f'`{c}`' for c in close)}?"] if close else [],
                )
            compiler.prototype = found
            return C.ULONG
        if kind == "iter":
            record = checker.kernel.record("struct", f"bpf_iter__{t.point.parts[0]}")
            if not record.ensure_complete():
                near = [
                    n.removeprefix("bpf_iter__")
                    for n in checker.kernel.similar(f"bpf_iter__{t.point.parts[0]}")
                    if n.startswith("bpf_iter__")
                ]
                compiler.refuse(
                    "T0302",
                    t.point,
                    f"this kernel has no iterator over `{t.point.parts[0]}`",
                    helps=[f"there are {', '.join(f'`{n}`' for n in near)}"] if near else [],
                )
            compiler.tracepoint = record
            compiler.is_iterator = True
            return record
        if kind == "usdt":
            path, name = t.details["path"], t.details["event"]
            compiler.usdt_notes = self.state.facts.usdt_arguments(path, t.details["provider"], name) or ()
        if provider.context is not None:
            return checker.kernel.record("struct", provider.context)
        return C.ULONG

    def tracepoint_context(self, compiler: ProgramCompiler, t: Target) -> C.CType:
        from ebpf.compiler.c.dialect.tracepoint import named_record

        category, event = t.point.parts
        record = self.state.records.get(t.text)
        if record is None:
            record = named_record(self.state.checker, f"tracepoint__{category}__{event}")
            if record is None:
                compiler.refuse("T0302", t.point, f"there is no tracepoint `{category}:{event}`")
            self.state.records[t.text] = record
        compiler.tracepoint = record
        return record


def _variables(root: object) -> list[ast.Variable | ast.Let]:
    return [n for n in ast.walk(root) if isinstance(n, (ast.Variable, ast.Let))]


def used_names(node: ast.Probe) -> set[str]:
    """The names, and the functions called, anywhere in a probe."""
    return {n.name for n in ast.walk([node.predicate, node.body]) if isinstance(n, (ast.Name, ast.Call))}
