"""`ebpf.stubs`: what editors and type checkers are told of a kernel, as the text of ``ebpf_linux.pyi``.

``ebpf.linux`` and ``ebpf.contexts`` are taken from a module of that name where a type checker finds one (beside the
program, or in its path), and are ``Any`` where it does not. Structs become classes whose members are what a program
sees: integers, ``bytes`` for ``char[]`` and text, sequences for arrays, and for a pointer to a struct the struct's
class, since programs follow pointers like members.
"""

from __future__ import annotations

import ast
import keyword
import os
from typing import TYPE_CHECKING, Any

from ebpf.abi.sections import parse_section
from ebpf.btf import Kind
from ebpf.compiler.c.dialect.tracepoint import parse_format
from ebpf.errors import KernelError, NotSupported, UnknownName, UsageError
from ebpf.session.functions.decorators import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf.btf import Btf
    from ebpf.compiler.facts import Facts

MODULE = "ebpf_linux"
DEPTH = 3

# Hooks whose context is one struct of the kernel's interface, whatever they are attached to.
_FIXED = {"xdp": "xdp_md", "tc": "__sk_buff", "tcx": "__sk_buff", "netkit": "__sk_buff", "socket_filter": "__sk_buff",
          "cgroup_skb": "__sk_buff", "sk_skb": "__sk_buff", "lwt_in": "__sk_buff", "lwt_out": "__sk_buff",
          "lwt_xmit": "__sk_buff", "sk_msg": "sk_msg_md", "sockops": "bpf_sock_ops", "sk_lookup": "bpf_sk_lookup",
          "sk_reuseport": "sk_reuseport_md", "perf_event": "bpf_perf_event_data", "netfilter": "bpf_nf_ctx",
          "cgroup_sysctl": "bpf_sysctl", "cgroup_dev": "bpf_cgroup_dev_ctx", "cgroup_getsockopt": "bpf_sockopt",
          "cgroup_setsockopt": "bpf_sockopt", "kprobe": "pt_regs", "kretprobe": "pt_regs", "uprobe": "pt_regs",
          "uretprobe": "pt_regs", "usdt": "pt_regs"}
_WITH_ARGUMENTS = ("kprobe", "fentry", "fexit", "fmod_ret", "lsm", "tp_btf", "raw_tracepoint", "kretprobe")
_HEAD = '''"""What programs see of this kernel, for editors and type checkers. Made by `ebpf stubs`, anew for another.

{note}
"""

from builtins import bool as _bool, bytes as _bytes, float as _float, int as _int
from collections.abc import Sequence as _Sequence
from typing import Any as _Any

class _Names(type):
    def __getattr__(cls, name: str) -> _Any: ...
'''


class Wanted:
    """What source files name: kernel ``types`` (and constants), and hooks as ``(decorator, target)``."""

    __slots__ = ("hooks", "types")

    def __init__(self) -> None:
        self.types: dict[str, None] = {}
        self.hooks: dict[tuple[str, str], None] = {}

    def read(self, text: str, filename: str) -> None:
        """Add what a source file names; `UsageError` if it is no Python."""
        try:
            tree = ast.parse(text, filename)
        except SyntaxError as error:
            raise UsageError(f"{filename}:{error.lineno}: {error.msg}") from None
        waiting: list[ast.AST] = [tree]
        while waiting:
            node = waiting.pop()
            if not (isinstance(node, ast.Attribute) and _dotted(node)):  # `a.b` in `a.b.c` says nothing of its own
                waiting.extend(ast.iter_child_nodes(node))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for decorator in node.decorator_list:
                    self._decorator(decorator)
            elif isinstance(node, ast.Attribute):
                self._path(_dotted(node))
            elif isinstance(node, ast.Name) and node.id == "current_task":
                self.types["task_struct"] = None

    def _decorator(self, node: ast.expr) -> None:
        call = node if isinstance(node, ast.Call) else None
        name = _dotted(call.func if call is not None else node)[-1:]
        if not name or name[0] not in HOOKS:
            return
        target = ""
        if call is not None and call.args and isinstance(call.args[0], ast.Constant):
            target = str(call.args[0].value)
        self.hooks[name[0], target] = None

    def _path(self, path: list[str]) -> None:
        if path[:1] == ["ebpf"]:
            path = path[1:]
        if path[:1] == ["current_task"]:
            self.types["task_struct"] = None
        elif path[:1] == ["linux"] and len(path) > 1:
            self.types[path[1]] = None
        elif path[:1] == ["contexts"] and len(path) > 2:
            self.hooks[path[1], ":".join(path[2:])] = None


def _dotted(node: ast.expr) -> list[str]:
    """``a.b.c`` as its words; nothing for another expression."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return [*reversed([*words, node.id])] if isinstance(node, ast.Name) else []


def stubs(files: Iterable[str | os.PathLike[str]] = (), *, types: Iterable[str] = (), hooks: Iterable[str] = (),
          depth: int = DEPTH, everything: bool = False, btf: Btf | None = None) -> str:
    """The text of ``ebpf_linux.pyi`` for the kernel types and hooks that Python ``files`` name, and for those asked.

    ``types``: names such as ``"task_struct"``; ``hooks``: section names (``"tracepoint/sched/sched_switch"``,
    ``"fentry/vfs_read"``). Structs that these point to are there up to ``depth`` pointers away, further ones are
    ``Any``; ``everything``: all structs of the kernel. A program's context is annotated as
    ``ctx: ebpf.contexts.tracepoint.sched.sched_switch``; ``ebpf.linux.task_struct`` is the struct's class. ``btf``
    stands in for the running kernel's types. `UnknownName` for a type that there is not.
    """
    from ebpf.kernel.facts import SystemFacts

    facts = SystemFacts(None, btf)
    known = facts.btf()
    if known is None:
        raise NotSupported("type information (BTF)", since="5.2", instead="give a vmlinux with BTF: --btf FILE")
    wanted = Wanted()
    for path in files:
        with open(path, encoding="utf-8") as file:
            wanted.read(file.read(), os.fspath(path))
    asked = list(types)
    for name in asked:
        if not _find(known, name):
            similar = known.similar(name)
            raise UnknownName(f"this kernel has no type {name!r}", name=name, similar=similar,
                              helps=(f"did you mean {similar[0]!r}?",) if similar else ())
    for section in hooks:
        wanted.hooks[_hook_of(section)] = None
    return _Writer(known, facts, depth, everything).page([*asked, *wanted.types], list(wanted.hooks))


def _hook_of(section: str) -> tuple[str, str]:
    info = parse_section(section)
    if info is None:
        raise UsageError(f"there is no hook with the section {section!r}",
                         helps=('write "tracepoint/sched/sched_switch", "fentry/vfs_read"',))
    for name, hook in HOOKS.items():
        if info.kind in hook.sections.values():
            return name, info.attach_to.replace("/", ":")
    raise UsageError(f"programs of section {section!r} cannot be written in Python")


def _find(btf: Btf, name: str) -> int | None:
    for kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF):
        found = btf.find(name, kind)
        if found is not None:
            return found
    return None


class _Writer:
    """Collects classes, and writes them once."""

    def __init__(self, btf: Btf, facts: Facts, depth: int, everything: bool) -> None:
        self.btf = btf
        self.facts = facts
        self.depth = depth
        self.everything = everything
        self._distance: dict[str, int] = {}  # struct → pointers from what was asked for
        self._waiting: list[tuple[str, int]] = []
        self._constants: dict[str, int] = {}

    def page(self, names: list[str], hooks: list[tuple[str, str]]) -> str:
        """The whole text."""
        for name in names:
            self._ask(name, 0)
        contexts = self._contexts(hooks)
        if self.everything:
            for kind in (Kind.STRUCT, Kind.UNION):
                for name, _ in self.btf.iter_names(kind):
                    self._ask(name, 0)
        classes: list[str] = []
        while self._waiting:
            name, id = self._waiting.pop(0)
            classes.append(self._struct(name, id))
        version = self.facts.kernel_version
        note = f"Linux {version >> 16}.{version >> 8 & 255}; `ebpf stubs FILE.py…` with the files that were given."
        constants = "".join(f"    {name}: _int  # {value}\n" for name, value in sorted(self._constants.items()))
        return (_HEAD.format(note=note) + "\nclass linux(metaclass=_Names):\n" + (constants + "".join(
            "\n" + _indented(text) for text in classes) or "    ...\n") + "\n" + contexts)

    def _ask(self, name: str, distance: int) -> bool:
        """Whether the struct has a class; it will be written."""
        if name in self._distance:
            return True
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__") and name != "__sk_buff":
            return False
        id = _find(self.btf, name)
        resolved = None if id is None else self.btf.resolve(id)
        if resolved is None or self.btf.kind(resolved) not in (Kind.STRUCT, Kind.UNION):
            if distance == 0 and id is None:
                self._constant(name)
            return False
        if distance > self.depth:
            return False
        self._distance[name] = distance
        self._waiting.append((name, resolved))
        return True

    def _constant(self, name: str) -> None:
        from ebpf.abi.constants import lookup_constant

        found = self.btf.find_enumerator(name)
        value = found[1] if found is not None else lookup_constant(name)
        if isinstance(value, int):
            self._constants[name] = value

    def _struct(self, name: str, id: int) -> str:
        distance = self._distance[name]
        return f"class {name}:\n" + (_indented("".join(self._members(id, distance))) or "    ...\n")

    def _members(self, id: int, distance: int) -> Iterator[str]:
        for member, field in self.btf.members(id).items():
            if not _writable(member):
                continue
            inner = self._anonymous(field.type)
            if inner is not None:  # a struct without a name in a member with one
                text = "".join(self._members(inner, distance))
                yield f"class _{member}:\n" + (_indented(text) or "    ...\n") + f"{member}: _{member}\n"
            else:
                yield f"{member}: {self._python(field.type, distance)}\n"

    def _anonymous(self, id: int) -> int | None:
        resolved = self.btf.resolved(id)
        kind = self.btf.kind(resolved.id)
        unnamed = kind in (Kind.STRUCT, Kind.UNION) and not resolved.name and not self._typedef(id)
        return resolved.id if unnamed else None

    def _typedef(self, id: int) -> str:
        """The first name on the way to a type without one."""
        while True:
            t: Any = self.btf.type(id)
            if t.kind == Kind.TYPEDEF:
                return str(t.name)
            if t.kind not in (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG):
                return ""
            id = t.type

    def _python(self, id: int, distance: int) -> str:
        """The annotation of a member or argument of that type."""
        t: Any = self.btf.resolved(id)
        kind = t.kind if t is not None else None
        if kind in (Kind.STRUCT, Kind.UNION):
            name = t.name or self._typedef(id)
            return f"linux.{name}" if name and self._ask(name, distance) else "_Any"
        if kind == Kind.PTR:
            if not t.type:
                return "_int"
            target: Any = self.btf.resolved(t.type)
            if target.kind in (Kind.STRUCT, Kind.UNION, Kind.FWD):
                name = target.name or self._typedef(t.type)
                return f"linux.{name}" if name and self._ask(name, distance + 1) else "_Any"
            return "_bytes" if target.kind == Kind.INT and self.btf.size_of(target.id) == 1 else "_int"
        if kind == Kind.ARRAY:
            element: Any = self.btf.resolved(t.type)
            if element.kind == Kind.INT and element.name == "char":
                return "_bytes"
            return f"_Sequence[{self._python(t.type, distance)}]"
        if kind == Kind.INT and t.name == "_Bool":
            return "_bool"
        return "_float" if kind == Kind.FLOAT else "_int"

    # ---- contexts ----

    def _contexts(self, hooks: list[tuple[str, str]]) -> str:
        tree: dict[str, Any] = {}
        for name, struct in _FIXED.items():
            if (used := [h for h in hooks if h[0] == name]) and self._ask(struct, 0):
                for _, target in used:
                    if not target or name not in _WITH_ARGUMENTS:
                        tree.setdefault(name, f"linux.{struct}")
        for name, target in hooks:
            text = self._context(name, target)
            if text is None:
                continue
            at = tree
            path = [name, *target.split(":")]
            for word in path[:-1]:
                inner = at.setdefault(word, {})
                if not isinstance(inner, dict):
                    break
                at = inner
            else:
                at[path[-1]] = text
        return "class contexts(metaclass=_Names):\n" + (_indented(_nested(tree)) or "    ...\n")

    def _context(self, name: str, target: str) -> str | None:
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in target.split(":")):
            return None
        if name == "tracepoint":
            category, _, event = target.partition(":")
            return self._tracepoint(category, event)
        if name == "iter":
            id = self.btf.find(f"bpf_iter__{target}", Kind.STRUCT)
            return None if id is None else "".join(self._members(id, 0))
        if name in _WITH_ARGUMENTS:
            return self._function(name, target)
        return None

    def _tracepoint(self, category: str, event: str) -> str | None:
        try:
            text = self.facts.tracepoint_format(category, event)
        except KernelError:  # no tracefs, and not one that is known without
            return None
        if text is None:
            return None
        lines = []
        for field in parse_format(text):
            if _writable(field.name):
                lines.append(f"{field.name}: {self._field(field)}\n")
        body = "".join(lines)
        return f"class _args:\n{_indented(body) or '    ...'}\nargs: _args\n{body}"

    def _field(self, field: Any) -> str:
        """The annotation of a tracepoint's field, whose type is text."""
        words = [w for w in field.type.replace("*", " ").split() if w not in ("const", "volatile", "__user", "__rcu")]
        if field.type.startswith(("__data_loc", "__rel_loc")):
            return "_bytes" if "char" in words else "_Any"
        if field.array:
            return "_bytes" if words == ["char"] else "_Sequence[_int]"
        if "*" in field.type:
            if words[:1] in (["struct"], ["union"]) and self._ask(words[-1], 0):
                return f"linux.{words[-1]}"
            return "_bytes" if words == ["char"] else "_int"
        return "_bool" if words == ["bool"] else "_int"

    def _function(self, name: str, target: str) -> str | None:
        prototype = self._prototype(name, target)
        if prototype is None:
            return None
        parameters, result = prototype
        lines = [f"{p.name}: {self._python(p.type, 0)}\n" for p in parameters
                 if _writable(p.name)] if name != "kretprobe" else []
        body = "".join(lines)
        end = f"ret: {self._python(result, 0)}\n" if result and name in ("fexit", "fmod_ret", "kretprobe") else ""
        regs = ""
        if name in ("kprobe", "kretprobe"):
            id = self.btf.find("pt_regs", Kind.STRUCT)
            known = {p.name for p in parameters}
            regs = "".join(line for line in (self._members(id, 0) if id is not None else ())
                           if line.partition(":")[0] not in known)
        return f"class _args:\n{_indented(body) or '    ...'}\nargs: _args\n{body}{end}{regs}"

    def _prototype(self, name: str, target: str) -> tuple[list[Any], int] | None:
        """Parameters and the type of the result."""
        if name in ("tp_btf", "raw_tracepoint"):
            typedef = self.btf.find(f"btf_trace_{target}", Kind.TYPEDEF)
            pointer: Any = None if typedef is None else self.btf.resolved(typedef)
            function: Any = None if pointer is None else self.btf.resolved(pointer.type)
            return None if function is None else (self._named(target, list(function.params)[1:]), 0)
        id = self.btf.find(f"bpf_lsm_{target}" if name == "lsm" else target, Kind.FUNC)
        if id is None:
            return None
        declared: Any = self.btf.type(id)
        function = self.btf.type(declared.type)
        return list(function.params), function.type

    def _named(self, target: str, params: list[Any]) -> list[Any]:
        """Pointers to functions have no names of parameters; the function that the tracepoint calls has."""
        if params and params[0].name:
            return params
        id = self.btf.find(f"__bpf_trace_{target}", Kind.FUNC) or self.btf.find(f"trace_event_raw_event_{target}",
                                                                               Kind.FUNC)
        if id is not None:
            declared: Any = self.btf.type(id)
            function: Any = self.btf.type(declared.type)
            named = list(function.params)[1:]
            if len(named) == len(params):
                return named
        return [p._replace(name=f"arg{i}") if hasattr(p, "_replace") else p for i, p in enumerate(params)]


def _writable(name: str) -> bool:
    """Whether a class may have that member: two underscores would make it private."""
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _nested(tree: dict[str, Any]) -> str:
    out = []
    for name, inside in tree.items():
        if isinstance(inside, dict):
            out.append(f"class {name}(metaclass=_Names):\n{_indented(_nested(inside))}")
        elif inside.startswith("linux."):
            out.append(f"class {name}({inside}): ...\n")
        else:
            out.append(f"class {name}:\n{_indented(inside)}")
    return "\n".join(out)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())

