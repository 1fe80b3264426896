"""A script to an object, stage by stage: C definitions, parse, passes over the probes, lower, generate, finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.checker import Checker
from ebpf.compiler.c.source import Diagnostics, SourceMap, TooManyErrors
from ebpf.compiler.options import Options
from ebpf.compiler.pipeline import _failed, _generate, _has_errors, lower_unit
from ebpf.compiler.trace import ast
from ebpf.compiler.trace.config import CHOICES, DEFAULTS, Config, parse_setting
from ebpf.compiler.trace.options import NO_OPTIONS, ScriptOptions
from ebpf.compiler.trace.parser import parse_script
from ebpf.compiler.trace.plan import SECTION, Plan
from ebpf.compiler.trace.preamble import Defines, blanked, find_c
from ebpf.compiler.trace.programs import Programs
from ebpf.compiler.trace.state import ScriptState
from ebpf.diagnostics import did_you_mean, format_diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.facts import ScriptFacts
    from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator
    from ebpf.diagnostics import Diagnostic

_MAX_PASSES = 12


class Script(NamedTuple):
    """A checked script: the typed tree that lowering takes, and the plan."""

    unit: tree.Unit
    plan: Plan
    sources: SourceMap
    diagnostics: list[Diagnostic]


class CompiledScript(NamedTuple):
    """A finished object, which holds its plan, and what the compiler had to say: warnings, in order."""

    elf: bytes
    plan: Plan
    diagnostics: tuple[Diagnostic, ...]


def compile_script(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    options: ScriptOptions = NO_OPTIONS,
    generator: CodeGenerator | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> CompiledScript:
    """The object for a script, with its plan and warnings. Raises `CompileError` with one diagnostic for each
    mistake. ``generator``: one that has been started; else one is started here. ``meanwhile`` is called while it works.
    """
    from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator

    script = failure = None
    for frugal in (False, True):
        # LLVM loads in its own process while the front end runs in this one.
        with generator or CodeGenerator(mcpu=options.mcpu, opt=2) as started:
            generator = None
            script = check_script(text, filename=filename, facts=facts, options=options, frugal=frugal)
            c_options = Options("libbpf", options.mcpu)
            ir = lower_unit(script.unit, script.sources, script.diagnostics, c_options)
            try:
                return _finished(_generate(started, ir, c_options, meanwhile), script)
            except CodeGenerationError as error:
                failure = error
        if "stack limit" not in failure.stderr:
            break
    assert script is not None and failure is not None
    raise _refused(failure, script, filename, options.mcpu)


def _refused(failure: CodeGenerationError, script: Script, filename: str, mcpu: str) -> Exception:
    from ebpf.compiler.llvm.explain import explain
    from ebpf.errors import InternalError

    if failure.how == "refused":
        return InternalError(
            "LLVM refused the code that this compiler made: please report it with the script",
            notes=[failure.stderr.strip()[:2000]],
        )
    functions = {f.name: script.sources.span(f.loc, f.end) for f in script.unit.functions if f.body is not None}
    return _failed([*script.diagnostics, *explain(failure, script.sources, filename, mcpu, functions)], filename)


def _finished(raw: bytes, script: Script) -> CompiledScript:
    from ebpf.compiler.llvm.output import finish
    from ebpf.object.elf import ElfImage

    image = ElfImage.parse(finish(raw, events={}))
    image.add(SECTION, script.plan.emit())
    return CompiledScript(image.emit(), script.plan, tuple(script.diagnostics))


def check_script(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    options: ScriptOptions = NO_OPTIONS,
    frugal: bool = False,
) -> Script:
    """The typed tree and the plan. Raises `CompileError` if anything in the script is wrong.

    ``frugal``: variables live in scratch memory, for what would need more stack than there is.
    """
    sources = SourceMap()
    diagnostics = Diagnostics(sources)
    base = sources.add_file(filename, text)
    checker, defines, stretches, found = _definitions(
        text, filename, sources, diagnostics, facts, options.include_dirs, options.includes
    )
    if _has_errors(found):
        raise _failed(found, filename)
    names = checker.kernel
    scope = checker.file_scope.names

    def is_type(name: str) -> bool:
        return isinstance(scope.get(name), C.Typedef) or names.typedef(name) is not None

    script = parse_script(text, base, diagnostics, defines, is_type, stretches)
    settings = Config({f"BPFTRACE_{k.upper()}" if k.islower() else k: v for k, v in options.config})
    state = ScriptState(diagnostics, checker, facts, settings, options.params)
    state.helper_errors = options.helper_errors
    state.frugal = frugal
    unit = tree.Unit(filename, [], [])
    plan = Plan((), (), (), {}, filename, (), (), ())
    try:
        _take_items(script, state, facts, base, defines, is_type)
        if not diagnostics.error_count:
            unit, plan = _passes(script, state, filename)
    except TooManyErrors:
        pass
    found += diagnostics.items
    if diagnostics.error_count:
        raise _failed(found, filename)
    return Script(unit, plan, sources, found)


def _definitions(
    text: str,
    filename: str,
    sources: SourceMap,
    diagnostics: Diagnostics,
    facts: ScriptFacts,
    include_dirs: Sequence[str],
    includes: Sequence[str],
) -> tuple[Checker, Defines, list[tuple[int, int]], list[Diagnostic]]:
    """What the C in the script declares: a checker that knows the types, and macros."""
    options = Options("libbpf", include_dirs=tuple(include_dirs))
    checker = Checker(sources, facts, options, filename)
    checker.diagnostics = diagnostics
    stretches = find_c(text)
    found: list[Diagnostic] = []
    if not stretches and not includes:
        return checker, Defines(None), stretches, found
    from ebpf.compiler.c.preprocessor import preprocess
    from ebpf.compiler.pipeline import _KernelNames, _predefined

    names = _KernelNames(facts)
    predefined = dict(_predefined(facts, options))
    if facts.btf() is not None:
        predefined["BPFTRACE_HAVE_BTF"] = 1
    c_text = blanked(text, stretches)
    if includes:
        c_text = "".join(f'#include "{i}"\n' for i in includes) + f'#line 1 "{filename}"\n' + c_text
    pre = preprocess(
        sources,
        filename,
        c_text,
        include_dirs=include_dirs,
        read_include=facts.read_include,
        kconfig=facts.kconfig,
        constant=names.constant,
        predefined=predefined,
    )
    # A header that is not there is no mistake: the kernel's own types say what it would have said.
    found += [d for d in pre.diagnostics if d.code != "C0110" or "<" not in (d.span.text if d.span else "")]
    if not _has_errors(found) and len(pre.tokens) > 1:
        from ebpf.compiler.c.parser import parse

        syntax, complaints = parse(
            pre.tokens, sources, is_typedef=names.is_typedef, similar_types=names.similar, includes=pre.includes
        )
        found += complaints
        if not _has_errors(found):
            try:
                checker.run(syntax)
            except TooManyErrors:
                pass
            found += diagnostics.items
            diagnostics.items.clear()
    return checker, Defines(pre.macros), stretches, found


def _take_items(
    script: ast.Script, state: ScriptState, facts: ScriptFacts, base: int, defines: Defines, is_type: object
) -> None:
    """Macros, functions, settings and declarations of maps, before any probe."""
    from ebpf.compiler.trace.state import _KINDS

    for item in script.items:
        if isinstance(item, ast.Macro):
            state.macros[item.name] = item
        elif isinstance(item, ast.Function):
            state.user_functions[item.name] = item
        elif isinstance(item, ast.Setting):
            _setting(item, state)
        elif isinstance(item, ast.Import):
            _import(item, script, state, facts, defines, is_type)
        elif isinstance(item, ast.MapDecl):
            m = state.map(item.name)
            if item.kind not in _KINDS:
                close = did_you_mean(item.kind, _KINDS)
                state.diagnostics.error(
                    "T0219",
                    f"there is no kind of map `{item.kind}`",
                    item.loc,
                    item.end,
                    helps=[f"did you mean `{close[0]}`?"] if close else [f"there are {', '.join(_KINDS)}"],
                )
                continue
            m.declared = item.kind
            if item.entries is not None:
                if not isinstance(item.entries, ast.Number) or item.entries.value <= 0:
                    state.diagnostics.error(
                        "T0214", "the number of entries has to be a literal number above 0", item.loc, item.end
                    )
                    continue
                m.entries = item.entries.value


def _import(
    item: ast.Import, script: ast.Script, state: ScriptState, facts: ScriptFacts, defines: Defines, is_type: object
) -> None:
    """Take in another script's macros, functions and probes, once; paths are those beside the script."""
    folder = state.diagnostics.sources.file_name(item.loc).rpartition("/")[0]
    beside = item.path if item.path.startswith("/") or not folder else f"{folder}/{item.path}"
    if beside in state.imported:
        return
    state.imported.add(beside)
    text = facts.read_include(beside)
    if text is None:
        state.diagnostics.error(
            "T0111",
            f"`{item.path}` cannot be read",
            item.loc,
            item.end,
            notes=[f"it was looked for as {beside}"],
        )
        return
    base = state.diagnostics.sources.add_file(beside, text)
    inner = parse_script(text, base, state.diagnostics, defines, is_type, find_c(text))  # type: ignore[arg-type]
    _take_items(inner, state, facts, base, defines, is_type)
    script.items += [i for i in inner.items if isinstance(i, ast.Probe)]


def _setting(item: ast.Setting, state: ScriptState) -> None:
    name = item.name.lower().removeprefix("bpftrace_")
    if name not in DEFAULTS:
        close = did_you_mean(name, DEFAULTS)
        state.diagnostics.error(
            "T0219",
            f"there is no setting `{item.name}`",
            item.loc,
            item.end,
            helps=[f"did you mean {' or '.join(f'`{c}`' for c in close)}?"] if close else [],
        )
        return
    v = item.value
    text = (
        str(v.value)
        if isinstance(v, ast.Number)
        else v.value.decode(errors="replace")
        if isinstance(v, ast.String)
        else str(int(v.value))
        if isinstance(v, ast.Bool)
        else v.name
        if isinstance(v, ast.Name)
        else ""
    )
    value = parse_setting(name, text)
    if value is None:
        choices = CHOICES.get(name)
        notes = [f"it can be {', '.join(choices)}"] if choices else []
        state.diagnostics.error("T0219", f"`{item.name}` cannot be `{text}`", v.loc, v.end, notes=notes)
        return
    state.config.values[name] = value


def _passes(script: ast.Script, state: ScriptState, filename: str) -> tuple[tree.Unit, Plan]:
    diagnostics = state.diagnostics
    before = list(diagnostics.items)
    if not any(isinstance(i, ast.Probe) for i in script.items):
        diagnostics.error(
            "T0305",
            "this script has no probe",
            script.loc,
            script.loc + 1,
            helps=['write one: `BEGIN { printf("hello\\n"); }`'],
        )
        return tree.Unit(filename, [], []), Plan((), (), (), {}, filename, (), (), ())
    programs = Programs(state)
    for _ in range(_MAX_PASSES):
        diagnostics.items[:] = before
        diagnostics._seen.clear()
        diagnostics.error_count = sum(d.severity == "error" for d in before)
        state.begin()
        programs.run(script)
        if not state.settle():
            break
    if not diagnostics.error_count:
        _unwritten_maps(state)
    if not state.programs and not diagnostics.error_count:
        diagnostics.error("T0305", "no probe of this script has a target", script.loc, script.loc + 1)
    if state.exited is not None:
        programs.end_with(state.exited)
    unit = tree.Unit(filename, [], [*state.functions.values(), *state.programs])
    unit.globals = [*state.finish_maps(), *state.own_globals(), _license(state)]
    plan = Plan(
        tuple(state.probes),
        tuple(state.events),
        state.plan_maps(),
        dict(state.config.values),
        filename,
        tuple(state.unsafe),
        tuple(state.options),
        tuple(format_diagnostic(d) for d in diagnostics.items if d.severity == "warning"),
    )
    return unit, plan


def _unwritten_maps(state: ScriptState) -> None:
    """Maps that are read and nowhere written."""
    for m in state.maps.values():
        if m.value.kind == "unknown" and m.used_at is not None and not m.declared:
            close = did_you_mean(m.name, [n for n in state.maps if n != m.name])
            helps = [f"did you mean {' or '.join(f'`{c}`' for c in close)}?"] if close else []
            state.diagnostics.error(
                "T0217", f"`{m.name}` never gets a value", m.used_at.loc, m.used_at.end, helps=helps
            )


def _license(state: ScriptState) -> tree.Variable:
    value = str(state.config.license).encode() + b"\0"
    t = C.Array(C.CHAR, len(value))
    init = tree.Initializer(t, [tree.InitPart(0, tree.StringConst(t, 0, 0, value))])
    return tree.Variable("_license", t, "global", 0, 0, section="license", init=init)
