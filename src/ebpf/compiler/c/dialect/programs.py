"""Which functions are programs, where they attach, and what their parameters are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins_core import PROBE_READ
from ebpf.compiler.c.builtins_trace import register, registers
from ebpf.compiler.c.builtins_wrappers import as_type, pt_regs, syscall_locals, word
from ebpf.compiler.c.conversions import cast, is_pointer, is_void, target_of

if TYPE_CHECKING:
    from ebpf.compiler.c.builtins_wrappers import Locals
    from ebpf.compiler.c.checker import Checker

# Name prefix → head of the section. What follows the prefix is the target.
PREFIXES: tuple[tuple[str, str], ...] = (
    ("kprobe__", "kprobe"),
    ("kretprobe__", "kretprobe"),
    ("raw_tracepoint__", "raw_tp"),
    ("tracepoint__", "tracepoint"),
    ("kfunc__", "fentry"),
    ("kretfunc__", "fexit"),
    ("kmod_ret__", "fmod_ret"),
    ("lsm__", "lsm"),
    ("bpf_iter__", "iter"),
)
# The struct that the context points to → section.
CONTEXTS: dict[str, str] = {
    "xdp_md": "xdp",
    "__sk_buff": "socket",
    "bpf_perf_event_data": "perf_event",
    "bpf_sock_ops": "sockops",
    "sk_msg_md": "sk_msg",
    "bpf_raw_tracepoint_args": "raw_tp",
    "bpf_sock_addr": "cgroup/connect4",
    "bpf_sock": "cgroup/sock_create",
    "bpf_sysctl": "cgroup/sysctl",
    "bpf_sockopt": "cgroup/getsockopt",
    "bpf_cgroup_dev_ctx": "cgroup/dev",
    "bpf_sk_lookup": "sk_lookup",
    "sk_reuseport_md": "sk_reuseport",
}
_SYSCALL_PREFIXES = ("syscall__", "kprobe____x64_sys_", "kprobe____arm64_sys_")
MOST_PARAMETERS = 7


class Unpacked:
    """A program's own parameter, and the locals that its other parameters become."""

    __slots__ = ("locals", "parameters")

    def __init__(self, parameters: list[tree.Variable], locals: Locals) -> None:
        self.parameters, self.locals = parameters, locals


def section_of(decl: tree.FunctionDecl) -> str:
    """The section for a function that names none: by its name, else by its context."""
    for prefix, head in PREFIXES:
        if decl.name.startswith(prefix):
            target = decl.name[len(prefix) :]
            if head == "tracepoint":
                target = target.replace("__", "/", 1)
            return f"{head}/{target}"
    if decl.type.parameters and is_pointer(decl.type.parameters[0]):
        record = C.strip(target_of(decl.type.parameters[0]))
        tag = record.tag if isinstance(record, C.Record) else None
        if tag is not None:
            if tag.startswith("tracepoint__"):
                return "tracepoint"
            if tag.startswith("bpf_iter__"):
                return f"iter/{tag[10:]}"
            return CONTEXTS.get(tag, "kprobe")
    return "kprobe"


def unpack(c: Checker, decl: tree.FunctionDecl, node: ast.FunctionDef) -> Unpacked | None:
    """Give the program its section; with several parameters, make those after the first into locals."""
    if decl.section is None:
        decl.section = section_of(decl)
    decl.context = bool(decl.type.parameters)
    written = node.type.parameters or []
    if is_void(decl.type.result):  # as BCC allows: it returns 0
        decl.type = C.Function(C.INT, decl.type.parameters, False, decl.type.names)
    if len(written) <= 1:
        return None
    if len(written) > MOST_PARAMETERS:
        c.refuse(
            "C0404",
            written[MOST_PARAMETERS],
            f"`{decl.name}` has {len(written)} parameters; registers hold {MOST_PARAMETERS - 1} after the context",
        )
    first = tree.Variable(written[0].name or "", decl.type.parameters[0], "parameter", written[0].loc, written[0].end)
    params = []
    for p, t in zip(written[1:], decl.type.parameters[1:], strict=True):
        if p.name is None:
            c.refuse("C0404", p, "this parameter needs a name: it becomes a variable")
        params.append(tree.Variable(p.name, t, "local", p.loc, p.end))
    decl.type = C.Function(decl.type.result, decl.type.parameters[:1], False, decl.type.names[:1])
    if decl.name.startswith(_SYSCALL_PREFIXES):
        locals = syscall_locals(c, first, params, PROBE_READ)
    else:
        locals = []
        names = registers(c).args
        for i, v in enumerate(params):
            at = ast.Node(v.loc, v.end)
            base = c.load_of(first, at)
            if not is_pointer(base.type):
                c.refuse(
                    "C0404", written[0], f"the first parameter of a program is its context, not {c.words(base.type)}"
                )
            record = C.strip(target_of(base.type))
            if isinstance(record, C.Record) and record.tag == "bpf_raw_tracepoint_args":
                locals.append((v, as_type(c, word(c, cast(base, C.Pointer(C.ULLONG)), i, at), v)))
                continue
            if not isinstance(record, C.Record):
                base = cast(base, C.Pointer(pt_regs(c)))
            if i >= len(names):
                c.refuse("C0404", at, f"only {len(names)} arguments are passed in registers on {c.facts.arch}")
            locals.append((v, as_type(c, register(c, base, names[i], at), v)))
    return Unpacked([first], locals)


def license_variable(c: Checker, node: ast.MacroCall | None) -> tree.Variable:
    """``char _license[] SEC("license")``."""
    text, loc, end = b"GPL", 0, 0
    if node is not None and node.args:
        arg = node.args[0]
        loc, end = node.loc, node.end
        if isinstance(arg, ast.StringLiteral):
            text = arg.value
        elif isinstance(arg, ast.Name):
            text = arg.name.encode()
    value = text + b"\0"
    t = C.Array(C.CHAR, len(value))
    init = tree.Initializer(t, [tree.InitPart(0, tree.StringConst(t, loc, end, value))])
    return tree.Variable("_license", t, "global", loc, end, section="license", init=init)
