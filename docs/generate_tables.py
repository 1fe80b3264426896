"""Tables of the documentation, from the tables of the code. Where a name has a meaning to be told, it is told here,
and a name without one is an error: nothing is left out silently.
"""

# ruff: noqa: E501  (a row a name: wrapping the rows would hide them)
from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.session.explain import Explanation

# ------------------------------------------------------------------------------------------------------------- messages

AREAS = (
    ("C01", "The preprocessor"), ("C02", "The parser"), ("C03", "The type checker"), ("C04", "BCC's dialect"),
    ("C05", "From C to instructions"), ("C06", "The code generator"), ("C07", "clang (`--cc clang`)"),
    ("T01", "The tracing language: form"), ("T02", "The tracing language: names and types"),
    ("T03", "The tracing language: probes"), ("P01", "Programs in Python: what the subset lacks"),
    ("P02", "Programs in Python: names, types and values"), ("P03", "Programs in Python: hooks and maps"), ("V", "The verifier"), ("A", "The assembler"),
)


def messages_page() -> str:
    """docs/messages.md."""
    import ebpf

    out = ["# Messages", "",
           "Every message has a code that never changes its meaning; `ebpf explain V0201` and `ebpf.explain(\"V0201\")` say what it",
           "stands for. C… come from the compiler, T… from the tracing language, V… from the verifier (the kernel's, read by us), A… from the assembler. Errors",
           "without a code are exceptions of the Python API: [api.md](api.md#errors). How a message is read: [guide.md](guide.md#errors).",
           "", "Made from the tables in the code by `./dev docs`.", ""]
    left = {e.code: e for e in ebpf.explain("")}
    for prefix, title in AREAS:
        rows = [left.pop(code) for code in sorted(left) if code.startswith(prefix)]
        out += [f"## {title}", ""]
        if any(row.helps for row in rows):
            out += _table(("code", "what it is about", "what usually helps"),
                          [(f"`{r.code}`", r.title, "<br>".join(_escape(h) for h in r.helps)) for r in rows])
        else:
            out += _table(("code", "what it is about"), [(f"`{r.code}`", _escape(r.title)) for r in rows])
        out.append("")
        for row in rows:
            if row.rule:
                out += _page(row)
    if left:
        raise SystemExit(f"codes that belong to no area: {', '.join(left)}")
    return "\n".join(out).rstrip() + "\n"


def _page(row: Explanation) -> list[str]:
    """A code of the verifier's: what `ebpf explain` says."""
    out = [f"### {row.code}: {row.title}", "", row.rule, "", row.why, ""]
    for what, text in (("Refused:", row.refused), ("Accepted:", row.mended)):
        if text:
            out += [what, "", "```c", text, "```", ""]
    if row.kernel:
        out += [f"A kernel says: `{row.kernel}`", ""]
    return out


# ------------------------------------------------------------------------------------------------------------------ C

CORE = (
    (("BPF_CORE_READ", "BPF_CORE_READ_USER"), "`BPF_CORE_READ(p, a, b, c)`: `p->a->b->c`, each arrow a relocatable read; the value"),
    (("BPF_PROBE_READ", "BPF_PROBE_READ_USER"), "the same without relocation"),
    (("BPF_*_INTO",), "`…_INTO(&dst, p, a, b)`: into `dst`; 0 or an error. `STR`: a string, up to its NUL"),
    (("bpf_core_read*",), "`bpf_core_read(dst, size, &p->a)`: a probe read with a relocatable address"),
    (("bpf_core_field_*", "__builtin_preserve_field_info"), "`(p->a)` or `(type, a)`: whether the running kernel has the field, its size, its offset"),
    (("bpf_core_type_*", "__builtin_preserve_type_info", "__builtin_btf_type_id"), "`(type)`: whether the running kernel has the type, its size, ids"),
    (("bpf_core_enum_value*", "__builtin_preserve_enum_value"), "`(type, ENUMERATOR)`: its value in the running kernel; whether it has one"),
    (("BPF_CORE_READ_BITFIELD*",), "the value of a bit-field of the kernel's; `_PROBED` through a probe read"),
    (("bpf_core_cast",), "`bpf_core_cast(p, type)`: a pointer that may be read directly (kfunc `bpf_rdonly_cast`, Linux 6.2)"),
    (("__builtin_preserve_access_index",), "the accesses inside are relocatable"),
)
TRACE = (
    (("PT_REGS_PARM[1-8]",), "an argument of the probed function, from `struct pt_regs *`"),
    (("PT_REGS_PARM[1-8]_CORE",), "the same, read by a relocatable probe read"),
    (("PT_REGS_PARM[1-8]_SYSCALL", "PT_REGS_PARM[1-8]_CORE_SYSCALL"), "an argument of a system call, from its inner registers"),
    (("PT_REGS_SYSCALL_REGS",), "the inner registers of a system call's function"),
    (("PT_REGS_RC*", "PT_REGS_SP*", "PT_REGS_IP*", "PT_REGS_FP*", "PT_REGS_RET*"), "result, stack pointer, instruction pointer, frame pointer, return address"),
    (("bpf_printk", "__bpf_printk", "__bpf_vprintk"), "print to the trace pipe; more than three values need Linux 5.16"),
    (("BPF_SNPRINTF",), "`BPF_SNPRINTF(out, size, fmt, …)` (Linux 5.13)"),
    (("BPF_SEQ_PRINTF",), "`BPF_SEQ_PRINTF(seq, fmt, …)`, for iterators"),
    (("bpf_ksym_exists",), "whether a weak kernel symbol or kfunc is there"),
    (("bpf_usdt_*",), "arguments of static probes, as <bpf/usdt.bpf.h> has them; objects load elsewhere too"),
)
WRAPPERS = (
    (("BPF_KPROBE", "BPF_UPROBE"), "`int BPF_KPROBE(name, T a, U b)`: arguments of the probed function as parameters"),
    (("BPF_KRETPROBE", "BPF_URETPROBE"), "`int BPF_KRETPROBE(name, T result)`: its result"),
    (("BPF_KSYSCALL", "BPF_KPROBE_SYSCALL"), "arguments of a system call, whatever this kernel's convention"),
    (("BPF_PROG", "BPF_PROG2"), "typed arguments of fentry, fexit, LSM, tp_btf and raw tracepoint programs"),
    (("BPF_USDT",), "a program at a static probe; its parameters are the probe's arguments, 0 where one cannot be read"),
    (("TRACEPOINT_PROBE",), "BCC: `TRACEPOINT_PROBE(category, event)`, with `args` pointing to the event's fields"),
    (("RAW_TRACEPOINT_PROBE",), "BCC: `RAW_TRACEPOINT_PROBE(event)`, with `ctx->args`"),
    (("KFUNC_PROBE", "KRETFUNC_PROBE", "MODULE_KFUNC_PROBE", "MODULE_KRETFUNC_PROBE"), "BCC: fentry and fexit, typed arguments"),
    (("KMOD_RET",), "BCC: fmod_ret, may replace a function's result"),
    (("LSM_PROBE",), "BCC: a security hook; a result other than 0 denies"),
    (("BPF_ITER",), "BCC: an iterator"),
)
BUILTINS = (
    (("__builtin_mem*", "__builtin_bcmp", "mem*", "__memcpy"), "copy, fill, compare; inline, so sizes are best constant. In BCC's dialect a copy from a kernel pointer is a probe read"),
    (("__builtin_bswap*",), "byte swaps"),
    (("__builtin_expect*", "__builtin_assume*", "__builtin_prefetch", "__builtin_unreachable"), "hints"),
    (("__builtin_trap", "__builtin_debugtrap"), "an end that the verifier refuses to reach"),
    (("__builtin_ctz*", "__builtin_clz*", "__builtin_popcount*", "__builtin_ffs*"), "bits, computed with ordinary instructions"),
    (("__builtin_*_overflow",), "arithmetic that says whether it overflowed"),
    (("__builtin_constant_p", "__builtin_types_compatible_p", "__builtin_choose_expr", "__builtin_object_size", "__builtin_dynamic_object_size"), "questions at compile time"),
    (("offsetof", "__builtin_offsetof", "container_of"), "places of members"),
    (("barrier", "barrier_var"), "keep the optimiser from moving or merging accesses"),
    (("__builtin_frame_address", "__builtin_return_address"), "as in C; seldom of use in BPF"),
    (("__builtin_dump_struct",), "accepted, prints nothing"),
)


def _meanings(names: Iterable[str], rows: Sequence[tuple[tuple[str, ...], str]]) -> str:
    left = list(names)
    out = []
    for patterns, meaning in rows:
        mine = [n for n in left if any(fnmatch.fnmatchcase(n, p) for p in patterns)]
        if not mine:
            raise SystemExit(f"no name is like {patterns}")
        left = [n for n in left if n not in mine]
        shown = mine if len(mine) <= 6 else [p.replace("*", "…") for p in patterns]
        out.append((", ".join(f"`{n}`" for n in shown), _escape(meaning)))
    if left:
        raise SystemExit(f"names without a meaning in docs/generate_tables.py: {', '.join(left)}")
    return "\n".join(_table(("name", "meaning"), out))


def core() -> str:
    from ebpf.compiler.c.builtins_core import CORE as names

    order = sorted(names, key=lambda n: "BITFIELD" not in n)  # the narrower pattern first
    rows = sorted(CORE, key=lambda row: "BITFIELD" not in row[0][0])
    text = _meanings(order, rows)
    return text


def trace() -> str:
    from ebpf.compiler.c.builtins_trace import TRACE as names

    return _meanings(names, TRACE)


def wrappers() -> str:
    from ebpf.compiler.c.builtins_wrappers import WRAPPERS as names

    return _meanings(names, WRAPPERS)


def builtins() -> str:
    from ebpf.compiler.c import builtins as table

    rows = _meanings(table.BUILTINS, BUILTINS)
    atomics = [("`__sync_…`", _names(table._SYNC)), ("`__atomic_…`", _names(table._ATOMIC))]
    return rows + "\n\nAtomic operations, on 32 and 64 bits:\n\n" + "\n".join(_table(("family", "operations"), atomics))


def macros() -> str:
    from ebpf.compiler.c import macros as table

    orders = [n for n in table._byte_orders() if not n.startswith(("_", "bpf_constant"))]
    rows = [("attributes", _names(n for n in table._ATTRIBUTES)), ("maps", _names(n for n in table._MAP_FIELDS if "joined" not in n)),
            ("control flow", _names(table._FLOW)), ("byte order", _names(orders)),
            ("values", _names(n for n in table._VALUES if not n.startswith(("__stringify_", "___")) and "TP_DATA" not in n))]
    return "\n".join(_table(("kind", "macros"), rows))


def headers() -> str:
    from ebpf.compiler.c import headers as table

    return (f"Everything below {_names(sorted(table._DIRECTORIES))}; and the files {_names(sorted(table._FILES))}.")


def constants() -> str:
    from ebpf.abi import constants as table

    return (f"{len(table.UAPI_CONSTANTS)} constants of the kernel's user-space headers, {len(table.KERNEL_CONSTANTS)} that only "
            f"the kernel's own headers have, {len(table.CHANGED_CONSTANTS)} whose value depends on the release "
            f"({_names(table.CHANGED_CONSTANTS)}), and those that depend on the architecture (`PAGE_SIZE`, …).")


def helpers() -> str:
    from ebpf.abi.helpers import HELPERS_BY_ID

    newest = max(HELPERS_BY_ID.values(), key=lambda h: h.id)
    return (f"{len(HELPERS_BY_ID)} helper functions are known, up to `{newest.name}` (Linux {newest.since}). An object that calls "
            "one which the running kernel lacks compiles; the kernel refuses it when it is loaded (V0101).")


def sections() -> str:
    from ebpf.abi.sections import _ROWS

    by: dict[tuple[str, bool], list[str]] = {}
    for name, type, _, rules in _ROWS:
        by.setdefault((type.name.lower(), "a" in rules), []).append(name.replace("+", "/…") if "a" in rules else name.rstrip("+"))
    from ebpf.session.programs import _BY_SECTION

    rows = []
    for (type, auto), names in by.items():
        reached = [n for n in names if n.partition("/")[0] in _BY_SECTION] if auto else []
        rest = [n for n in names if n not in reached]
        if reached:
            rows.append((type, ", ".join(f"`{n}`" for n in reached), "yes"))
        if rest:
            rows.append((type, ", ".join(f"`{n}`" for n in rest), "not yet" if auto else ""))
    return "\n".join(_table(("type", "sections", "`session.attach()`"), rows))


# ---------------------------------------------------------------------------------------------------------------- BCC

_LETTERS = {"t": "type", "n": "name", "k": "key", "l": "leaf", "s": "entries", "g": "pages", "f": "flags", "p": "path", "i": "inner"}


def map_macros() -> str:
    from ebpf.compiler.c.dialect.maps import MAP_MACROS

    rows = []
    for name, row in MAP_MACROS.items():
        required = [_LETTERS[x] for x in row.parameters if x.islower()]
        optional = [_LETTERS[x.lower()] for x in row.parameters if x.isupper()]
        call = f"{name}({', '.join(required)}{''.join(f' [, {o}' for o in optional)}{']' * len(optional)})"
        given = row.parameters.lower()
        defaults = [f"{what} `{default}`" for letter, what, default in (("k", "key", row.key), ("l", "leaf", row.leaf))
                    if letter in given and letter not in row.parameters]
        if "S" in row.parameters:
            defaults.append(f"{row.size} entries")
        kind = row.type or "named by the first argument"
        if kind == "HISTOGRAM":
            kind = "ARRAY if the key is `int`, else HASH"
        rows.append((f"`{call}`", kind.lower() if kind.isupper() else kind, ", ".join(defaults)))
    return "\n".join(_table(("macro", "map type", "left out"), rows))


def map_methods() -> str:
    from ebpf.compiler.c.dialect.map_methods import _KEYED, _STORES, METHODS

    rows = []
    for name, method in METHODS.items():
        types = " ".join(method.types or ())
        shown = {_STORES: "maps with keys", _KEYED: "hashes and arrays, LPM tries"}.get(types, types.lower().replace(" ", ", "))
        rows.append((f"`.{name}({method.usage})`".replace(" [", "["), shown))
    return "\n".join(_table(("method", "on"), rows))


def map_types() -> str:
    from ebpf.compiler.c.dialect.maps import TABLE_TYPES

    return _names(TABLE_TYPES)


def functions() -> str:
    from ebpf.compiler.c.dialect.functions import FUNCTIONS

    return _names(n for n in FUNCTIONS if "usdt" not in n)


def aliases() -> str:
    from ebpf.compiler.c.dialect.bcc import MEMBER_ALIASES

    return _names(MEMBER_ALIASES)


def packets() -> str:
    from ebpf.compiler.c.dialect.packets import PACKETS

    return _names(PACKETS)


def prefixes() -> str:
    from ebpf.compiler.c.dialect.programs import CONTEXTS, PREFIXES

    rows = [(f"`{prefix}…`", f"`{head}/…`") for prefix, head in PREFIXES]
    rows += [(f"first parameter `struct {tag} *`", f"`{section}`") for tag, section in CONTEXTS.items()]
    return "\n".join(_table(("function", "section"), [*rows, ("any other", "`kprobe`")]))


def python_members() -> str:
    import bcc

    rows = []
    seen: set[str] = set()
    for kind in bcc.BPF.__mro__:
        for name, member in vars(kind).items():
            if name.startswith("_") or name in seen or name == "Function":
                continue
            seen.add(name)
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            if inspect.isfunction(function) or isinstance(function, property):
                rows.append((name, _call(name, function), _first(function)))
    constants = sorted(n for n in vars(bcc.BPF) if n.isupper())
    rows.sort()
    return ("\n".join(_table(("`BPF` member", "what it does"), [r[1:] for r in rows]))
            + f"\n\nConstants: {_names(constants)}.")


def table_members() -> str:
    from bcc import buffers, table

    rows = []
    for kind in (table.TableBase, table.Array, table.PerCpuHash, table.StackTrace, table.QueueStack,
                 buffers.PerfEventArray, buffers.RingBuf):
        found: dict[str, str] = {}
        for base in reversed(kind.__mro__):
            if base.__module__.startswith("bcc") and (kind is table.TableBase or base is not table.TableBase):
                found |= {n: _first(m) for n, m in vars(base).items()
                          if not n.startswith("_") and (inspect.isfunction(m) or isinstance(m, property))}
        common = {n for n in vars(table.TableBase) if not n.startswith("_")} if kind is not table.TableBase else set()
        names = [n for n in found if n not in common or n in vars(kind)]
        label = {"TableBase": "every table", "Array": "arrays", "PerCpuHash": "per-CPU tables", "StackTrace": "stack traces",
                 "QueueStack": "queues and stacks", "PerfEventArray": "perf outputs", "RingBuf": "ring buffers"}[kind.__name__]
        if names:
            rows.append((label, _names(sorted(names))))
    return "\n".join(_table(("tables", "members, beside those of a mapping"), rows))


def imports() -> str:
    import bcc

    return _names(n for n in bcc.__all__ if not n.startswith("_"))


TABLES: dict[str, Callable[[], str]] = {
    f.__name__.replace("_", "-"): f for f in (
        core, trace, wrappers, builtins, macros, headers, constants, helpers, sections, map_macros, map_methods, map_types,
        functions, aliases, packets, prefixes, python_members, table_members, imports)
}


# --------------------------------------------------------------------------------------------------------------- words


def _call(name: str, member: object) -> str:
    if isinstance(member, property):
        return f"`{name}`"
    parameters = [p for p in inspect.signature(member).parameters.values()  # type: ignore[arg-type]
                  if p.name not in ("self", "cls")]
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    return f"`{name}({', '.join(shown)})`"


def _first(member: object) -> str:
    text = (inspect.getdoc(member) or "").split("\n\n")[0]
    return _escape(" ".join(text.split()).replace("``", "`"))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
