"""Functions of the language, one row each, and calls of them, of macros and of the script's own functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.aggregations import AGGREGATIONS, Aggregations
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.strings import Strings
from ebpf.compiler.trace.types import Ty
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.trace.state import ScriptMap

_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_STACK_MODES = ("bpftrace", "perf", "raw", "build_id")
MAX_STACK = 127
_MAX_DEPTH = 32


class Functions(Aggregations, Strings):
    macro_depth = 0

    def call(self, node: ast.Call, into: tree.Expr | None) -> Value:
        macro = self.state.macros.get(node.name)
        if macro is not None:
            return self.expand_macro(macro, node)
        own = self.state.user_functions.get(node.name)
        if own is not None:
            return self.call_own(own, node)
        row = FUNCTIONS.get(node.name)
        if row is None:
            if node.name in AGGREGATIONS:
                self.refuse(
                    "T0213",
                    node,
                    f"`{node.name}()` is assigned to a map, and has no value",
                    helps=[f"`@ = {node.name}(…)`"],
                )
            close = did_you_mean(node.name, [*FUNCTIONS, *AGGREGATIONS, *self.state.macros, *self.state.user_functions])
            helps = [f"did you mean {' or '.join(f'`{c}`' for c in close)}?"] if close else []
            self.refuse("T0205", node, f"there is no function `{node.name}`", helps=helps)
        self.check_count(node, row.least, row.most, row.form)
        if row.into:
            return row.handler(self, node, into)
        return row.handler(self, node)

    def check_count(self, node: ast.Call, least: int, most: int, form: str) -> None:
        count = len(node.args)
        if least <= count <= most:
            return
        some = f"{least}" if least == most else f"at least {least}" if count < least else f"at most {most}"
        self.refuse(
            "T0206",
            node,
            f"`{node.name}` takes {some} argument{'s' if some[-1] != '1' else ''}, not {count}",
            helps=[f"it is called `{form}`"],
        )

    def expand_macro(self, macro: ast.Macro, node: ast.Call) -> Value:
        if len(node.args) != len(macro.parameters):
            self.refuse(
                "T0206",
                node,
                f"macro `{macro.name}` takes {_arguments(len(macro.parameters))}, not {len(node.args)}",
                related=[(macro.loc, macro.end, "defined here")],
            )
        if self.macro_depth >= _MAX_DEPTH:
            self.refuse("T0216", node, f"macro `{macro.name}` calls itself")
        bound: dict[str, ast.Expr] = {}
        for parameter, a in zip(macro.parameters, node.args, strict=True):
            if parameter[0] == "$" and not isinstance(a, ast.Variable):
                self.refuse("T0207", a, f"`{parameter}` of macro `{macro.name}` wants a variable")
            if parameter[0] == "@" and not isinstance(a, ast.MapAccess):
                self.refuse("T0207", a, f"`{parameter}` of macro `{macro.name}` wants a map")
            outer = self.substitutions[-1]
            if isinstance(a, (ast.Variable, ast.MapAccess, ast.Name)) and a.name in outer:
                a = self.resolved_map(a) if isinstance(a, ast.MapAccess) else outer[a.name]
            bound[parameter] = a
        self.macro_depth += 1
        self.substitutions.append(bound)
        self.scopes.append({})
        try:
            self.statements(macro.body)
            return self.expr(macro.value) if macro.value is not None else Value(T.NONE, self.const(0))
        finally:
            self.scopes.pop()
            self.substitutions.pop()
            self.macro_depth -= 1

    def call_own(self, function: ast.Function, node: ast.Call) -> Value:
        if len(node.args) != len(function.parameters):
            self.refuse(
                "T0206",
                node,
                f"`{function.name}` takes {_arguments(len(function.parameters))}, not {len(node.args)}",
                related=[(function.loc, function.end, "defined here")],
            )
        decl = self.own_function(function)
        args = []
        for a, (name, written), t in zip(node.args, function.parameters, decl.type.parameters, strict=True):
            v = self.expr(a)
            wanted = self.type_named(written)
            if not T.is_scalar(v.ty) or T.merge(wanted, v.ty) is None:
                self.refuse(
                    "T0207", a, f"`{name}` of `{function.name}` is {T.words(wanted)}, and this is {T.words(v.ty)}"
                )
            args.append(cast(v.e, t))
        result = self.type_named(function.result)
        e = self.temp(tree.CallFunction(decl.type.result, node.loc, node.end, decl, args))
        return self.scalar(result, e) if result.kind != "none" else Value(T.NONE, self.const(0))

    def own_function(self, function: ast.Function) -> tree.FunctionDecl:
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------------------- maps

    def named_map(self, node: ast.Expr, what: str) -> tuple[ScriptMap, ast.MapAccess]:
        if not isinstance(node, ast.MapAccess):
            self.refuse("T0207", node, f"`{what}` wants a map")
        node = self.resolved_map(node)
        m = self.state.map(node.name)
        m.used_at = m.used_at or node
        return m, node

    def map_and_key(self, node: ast.Call) -> tuple[ScriptMap, tree.Expr]:
        """``f(@m[k])``, ``f(@m, k)``, ``f(@m)`` of a scalar."""
        m, target = self.named_map(node.args[0], node.name)
        keys = target.keys
        if len(node.args) > 1:
            keys = [node.args[1]]
        return m, self.key(m, keys, target)

    def delete_entry(self, node: ast.Call) -> Value:
        last: tree.Expr = self.const(0)
        # 0.17: several entries at once, `delete(@a[1], @b[2])`
        if len(node.args) > 1 and all(isinstance(a, ast.MapAccess) and a.keys is not None for a in node.args):
            for a in node.args:
                m, target = self.named_map(a, node.name)
                last = self.delete(m, self.key(m, target.keys, target))
        elif len(node.args) > 2:
            self.check_count(node, 1, 2, "delete(@map, key)")
        else:
            m, key = self.map_and_key(node)
            if m.bucketed:
                self.refuse(
                    "T0208",
                    node,
                    f"`{m.name}` holds {T.words(m.value)}: no single entry of it can be deleted",
                    helps=[f"`clear({m.name})`"],
                )
            last = self.delete(m, key)
        return Value(T.BOOL, self.long(self.compare("==", self.long(last), self.const(0))))

    def has_key(self, node: ast.Call) -> Value:
        m, key = self.map_and_key(node)
        at = self.lookup(m, key)
        return Value(T.BOOL, self.long(self.compare("!=", at, self.const(0, at.type))))

    def find(self, node: ast.Call) -> Value:
        """``find(@m, key, $v)``: whether there is such an entry; its value then is in ``$v``."""
        target = node.args[2]
        if not isinstance(target, ast.Variable):
            self.refuse("T0207", target, "`find` puts the value into a variable: `find(@map, key, $value)`")
        m, a_map = self.named_map(node.args[0], node.name)
        key = self.key(m, [node.args[1]], a_map)
        there = self.local(C.LONG)
        self.set(there, self.const(0))
        at = self.lookup(m, key)
        with self.nested() as found:
            self.set(there, self.const(1))
            self.assign_variable(target.name, self.read_entry(m, key, node), node)
        self.branch(at, found)
        return Value(T.BOOL, self.get(there))

    def assert_that(self, node: ast.Call) -> Value:
        """``assert(condition, "message")``: the message and the script's end where it does not hold."""
        message = self.text_argument(node, 1)
        holds = self.truth(node.args[0])
        with self.nested() as broken:
            self.record("errorf", node, [], text=message.replace("%", "%%") + "\n")
            status = Value(T.INT, self.const(1))
            self.record("exit", node.args[0], [status])
            self.leave_script(status)
        self.branch(tree.Unary(C.INT, node.loc, node.end, "!", holds), broken)
        return Value(T.NONE, self.const(0))

    def static_assert(self, node: ast.Call) -> Value:
        """``static_assert(condition, "message")``: the message, as an error of the script, where it does not hold."""
        message = self.text_argument(node, 1)
        v = self.expr(node.args[0])
        if not isinstance(v.literal, int):
            self.refuse("T0214", node.args[0], "`static_assert` wants a condition that is known when it is compiled")
        if not v.literal:
            self.refuse("T0214", node.args[0], message)
        return Value(T.NONE, self.const(0))

    def length(self, node: ast.Call) -> Value:
        target = node.args[0]
        if isinstance(target, ast.MapAccess) and self.resolved_map(target).keys is None:
            m, _ = self.named_map(target, "len")
            if not self.state.has_helper("bpf_for_each_map_elem"):
                self.refuse("T0303", node, "`len` of a map needs Linux 5.13")
            e = self.helper(
                "bpf_for_each_map_elem",
                self.map_address(m.variable),
                self.nothing_callback(),
                self.const(0, C.Pointer(C.VOID)),
                self.const(0, C.ULONG),
            )
            return Value(T.INT, self.long(e))
        v = self.expr(target)
        if v.ty.kind in ("kstack", "ustack"):
            depth = v.ty.args[1]
            memory = self.scratch_memory(8 * depth)
            flags = self.const(256 if v.ty.kind == "ustack" else 0, C.ULONG)
            got = self.helper(
                "bpf_get_stack",
                cast(self.context_pointer(node), C.Pointer(C.VOID)),
                cast(memory, C.Pointer(C.VOID)),
                self.const(8 * depth, C.UINT),
                flags,
            )
            return Value(T.INT, self.temp(self.binary("/", self.long(got), self.const(8))))
        if v.ty.kind == "buf":
            own = self.own(v)
            return Value(T.UINT, self.temp(self.long(self.load(self.deref(own.e, C.UINT)), False)))
        if v.ty.kind == "str":
            return self.string_length(v)
        self.refuse("T0207", target, f"`len` wants a map, a stack or a string, not {T.words(v.ty)}")

    def nothing_callback(self) -> tree.Expr:
        """A function that lets a walk over a map go on."""
        decl = self.state.functions.get("nothing")
        loc, end = self.node.loc, self.node.end
        if decl is None:
            parameters = [
                tree.Variable(n, C.Pointer(C.VOID), "parameter", loc, end) for n in ("map", "key", "value", "data")
            ]
            decl = self.subprogram(
                "nothing", C.LONG, parameters, [tree.Return(loc, end, self.const(0))], linkage="static", noinline=True
            )
            self.state.functions["nothing"] = decl
        designator = tree.FunctionRef(decl.type, loc, end, decl)
        return tree.Convert(C.Pointer(decl.type), loc, end, "function", designator)

    # ------------------------------------------------------------------------------------------------ symbols, stacks

    def ksym(self, node: ast.Call) -> Value:
        v = self.number(node.args[0], "an address")
        return Value(T.KSYM, self.long(v.e, False))

    def usym(self, node: ast.Call) -> Value:
        v = self.number(node.args[0], "an address")
        return self.user_symbol(v.e)

    def kaddr(self, node: ast.Call) -> Value:
        """The loader fills in the address of the kernel's symbol."""
        name = self.text_argument(node, 0)
        v = self.state.globals_extern(name, node)
        e = self.address(tree.VarRef(v.type, node.loc, node.end, v))
        return Value(Ty("int", 8, False, space="kernel"), self.temp(self.long(cast(e, C.Pointer(C.VOID)), False)))

    def percpu_kaddr(self, node: ast.Call) -> Value:
        """Where a CPU's copy of a per-CPU variable of the kernel is; 0 for a CPU that there is not."""
        symbol = self.kaddr(node)
        offsets = self.state.globals_extern("__per_cpu_offset", node)
        table = self.address(tree.VarRef(offsets.type, node.loc, node.end, offsets))
        place = self.temp(cast(table, C.Pointer(C.ULONG)))
        own = self.helper("bpf_get_smp_processor_id") if len(node.args) == 1 else self.number(node.args[1]).e
        cpu = self.temp(cast(self.long(own), C.ULONG))
        found = self.local(C.ULONG)
        self.set(found, self.const(0, C.ULONG))
        with self.nested() as there:
            at = tree.PointerAdd(place.type, node.loc, node.end, place, cpu)
            offset = self.at_place(self.deref(self.temp(at), C.ULONG), "kernel")
            self.set(found, self.binary("+", cast(symbol.e, C.ULONG), cast(offset.e, C.ULONG)))
        self.branch(self.compare("<", cpu, self.const(self.state.facts.cpus_possible, C.ULONG)), there)
        return Value(Ty("int", 8, False, space="kernel"), self.get(found))

    def socket_cookie(self, node: ast.Call) -> Value:
        """The number that the kernel gives a socket for life."""
        if self.kind not in ("fentry", "fexit"):
            self.not_here(node, "socket_cookie", where="fentry and fexit, whose arguments the verifier trusts")
        v = self.expr(node.args[0])
        tag = v.ty.ctype.tag if v.ty.kind == "pointer" and isinstance(v.ty.ctype, C.Record) else ""
        if tag not in ("sock", "sock_common"):
            self.refuse("T0207", node.args[0], f"`socket_cookie` takes a `struct sock *`, not {T.words(v.ty)}")
        return Value(T.UINT, self.helper("bpf_get_socket_cookie", cast(v.e, C.Pointer(C.VOID))))

    def uaddr(self, node: ast.Call) -> Value:
        if self.kind not in ("uprobe", "uretprobe", "usdt"):
            self.not_here(node, "uaddr", where="uprobe, uretprobe and usdt")
        name = self.text_argument(node, 0)
        path, *_, function = self.point.parts
        address = self.state.facts.user_symbol(path, name)
        if address is None:
            self.refuse("T0302", node.args[0], f"`{path}` has no symbol `{name}`")
        e: tree.Expr = self.const(address, C.ULONG)
        # Where the file was loaded, the probe itself tells: at a function's entry.
        entry = self.state.facts.user_symbol(path, function) if self.kind == "uprobe" else None
        if entry is not None:
            from ebpf.compiler.c.builtins_trace import registers

            ip = self.register_value(registers(self.c).ip, node)
            e = self.temp(self.binary("+", ip.e, self.const(address - entry, C.ULONG)))
        return Value(Ty("int", 8, False, space="user"), e)

    def stack_of(self, node: ast.Call) -> Value:
        mode, depth = "", MAX_STACK
        for a in node.args:
            if isinstance(a, ast.Name):
                if a.name not in _STACK_MODES:
                    close = did_you_mean(a.name, _STACK_MODES)
                    self.refuse(
                        "T0207",
                        a,
                        f"`{a.name}` is no way to show a stack",
                        helps=[f"did you mean `{close[0]}`?"] if close else [f"there are {', '.join(_STACK_MODES)}"],
                    )
                mode = a.name
            else:
                depth = self.literal_int(a, "the number of frames")
                if not 1 <= depth <= MAX_STACK:
                    self.refuse("T0214", a, f"a stack has 1 to {MAX_STACK} frames, not {depth}")
        return self.stack(node, node.name == "ustack", mode, depth)

    def reg(self, node: ast.Call) -> Value:
        if self.kind not in (
            "kprobe",
            "kretprobe",
            "uprobe",
            "uretprobe",
            "usdt",
            "profile",
            "interval",
            "software",
            "hardware",
            "watchpoint",
            "asyncwatchpoint",
        ):
            self.not_here(node, "reg", where="kprobe, uprobe, profile and the like")
        name = self.text_argument(node, 0)
        from ebpf.compiler.c.builtins_trace import registers

        row = registers(self.c)
        members = [m.split(":")[0] for m in row.members.split(";")]
        if "regs" in members and name.startswith(("r", "x")) and name[1:].isdigit() and int(name[1:]) < 31:
            return self.register_value(f"regs[{name[1:]}]", node)
        if name not in members:
            close = did_you_mean(name, members)
            self.refuse(
                "T0207",
                node.args[0],
                f"there is no register `{name}`",
                helps=[f"did you mean `{close[0]}`?"] if close else [],
                notes=[f"there are {', '.join(members)}"],
            )
        return self.register_value(name, node)

    def clock_of(self, node: ast.Call) -> Value:
        which = "boot"
        if node.args:
            a = node.args[0]
            if not isinstance(a, ast.Name) or a.name not in ("boot", "monotonic", "tai", "sw_tai"):
                self.refuse("T0207", a, "`nsecs` knows the clocks boot, monotonic, tai and sw_tai")
            which = a.name
        return self.clock(which)

    def of_process(self, node: ast.Call) -> Value:
        """``pid(init)``, ``tid(curr_ns)``"""
        from ebpf.compiler.trace.builtins import BUILTINS

        if node.args:
            a = node.args[0]
            if not isinstance(a, ast.Name) or a.name not in ("init", "curr_ns"):
                self.refuse("T0207", a, f"`{node.name}` is asked for `init` or `curr_ns`")
        return BUILTINS[node.name](self, node)

    def of_task(self, node: ast.Call) -> Value:
        """``ppid(task)``, ``pcomm(task)``, of the current task where none is given."""
        from ebpf.compiler.trace.builtins import BUILTINS

        if not node.args:
            return BUILTINS[node.name](self, node)
        v = self.expr(node.args[0])
        target = C.strip(v.ty.ctype or C.VOID) if v.ty.kind == "pointer" else None
        if not isinstance(target, C.Record) or target.tag != "task_struct":
            self.refuse("T0207", node.args[0], f"`{node.name}` takes a `struct task_struct *`, not {T.words(v.ty)}")
        for name in ("real_parent", "tgid" if node.name == "ppid" else "comm"):
            v = self.field(v, ast.Member(node.loc, node.end, node.args[0], name, True, node.loc))
        return v

    def builtin_call(self, node: ast.Call) -> Value:
        """``comm()`` and other builtins written as calls."""
        from ebpf.compiler.trace.builtins import BUILTINS

        return BUILTINS[node.name](self, node)

    def address_space(self, node: ast.Call) -> Value:
        v = self.number(node.args[0], "an address")
        space = "user" if node.name == "uptr" else "kernel"
        if v.ty.kind == "pointer":
            return Value(T.pointer(v.ty.ctype or C.VOID, space), v.e)
        return Value(Ty("int", 8, False, space=space), self.long(v.e, False))

    # ----------------------------------------------------------------------------------------------------- effects

    def signal(self, node: ast.Call) -> Value:
        self.state.unsafe[node.name] = None
        a = node.args[0]
        if isinstance(a, ast.String):
            text = a.value.decode(errors="replace").upper().removeprefix("SIG")
            if text not in _SIGNALS:
                close = did_you_mean(text, _SIGNALS)
                self.refuse(
                    "T0207", a, f"there is no signal `{text}`", helps=[f"did you mean `{close[0]}`?"] if close else []
                )
            number: tree.Expr = self.const(_SIGNALS.index(text) + 1, C.UINT)
        else:
            v = self.number(a, "a signal")
            if isinstance(v.literal, int) and not 1 <= v.literal <= 64:
                self.refuse("T0207", a, f"signals have numbers from 1 to 64, not {v.literal}")
            number = cast(self.long(v.e), C.UINT)
        self.call_void("bpf_send_signal_thread" if node.name == "signal_thread" else "bpf_send_signal", number)
        return Value(T.NONE, self.const(0))

    def override(self, node: ast.Call) -> Value:
        self.state.unsafe["override"] = None
        if self.kind != "kprobe":
            self.not_here(node, "override", where="kprobe")
        v = self.number(node.args[0])
        self.call_void(
            "bpf_override_return", cast(self.context_pointer(node), C.Pointer(C.VOID)), cast(self.long(v.e), C.ULONG)
        )
        return Value(T.NONE, self.const(0))

    def cgroup_id(self, node: ast.Call) -> Value:
        path = self.text_argument(node, 0)
        inode = self.state.facts.inode(path)
        if inode is None:
            self.refuse("T0302", node.args[0], f"there is no control group `{path}`")
        return Value(T.INT, self.const(inode), literal=inode)

    def cgroup_path(self, node: ast.Call) -> Value:
        return Value(Ty("cgroup_path"), self.long(self.number(node.args[0]).e, False))

    def strftime(self, node: ast.Call) -> Value:
        text = self.text_argument(node, 0)
        v = self.number(node.args[1], "a time in nanoseconds")
        which = v.ty.args[0] if v.ty.args else "boot"
        return Value(Ty("timestamp", args=(which, text)), self.long(v.e, False))

    def strerror(self, node: ast.Call) -> Value:
        return Value(Ty("strerror", 8, True), self.long(self.number(node.args[0]).e))

    def bswap(self, node: ast.Call) -> Value:
        v = self.number(node.args[0])
        size = v.ty.size if v.ty.kind == "int" else 8
        if size == 1:
            return v
        kind = {2: C.USHORT, 4: C.UINT, 8: C.ULONG}[size]
        e = tree.Builtin(kind, node.loc, node.end, f"bswap{8 * size}", [cast(v.e, kind)])
        return Value(Ty("int", size, False, ctype=kind), self.temp(self.long(e, False)))

    def unwatch(self, node: ast.Call) -> Value:
        self.record("unwatch", node, [self.number(node.args[0])])
        return Value(T.NONE, self.const(0))

    def getopt(self, node: ast.Call) -> Value:
        """``getopt("name", default)``: a named parameter, ``--name=value`` behind ``--``."""
        name = self.text_argument(node, 0)
        self.state.options[name] = None
        given = next(
            (
                p.partition("=")[2] or "true"
                for p in self.state.params
                if p == f"--{name}" or p.startswith(f"--{name}=")
            ),
            None,
        )
        default = node.args[1] if len(node.args) > 1 else ast.Bool(node.loc, node.end, False)
        if given is None:
            return self.expr(default)
        if isinstance(default, ast.String):
            return self.string_value(given.encode("utf-8", "surrogateescape"))
        if isinstance(default, ast.Bool):
            value = {"true": 1, "1": 1, "false": 0, "0": 0}.get(given.lower())
            if value is None:
                self.refuse("T0218", node, f"`--{name}` is true or false, not `{given}`")
            return Value(T.BOOL, self.const(value), literal=value)
        from ebpf.compiler.trace.lexer import number

        whole = number(given)
        if whole is None:
            self.refuse("T0218", node, f"`--{name}` is a number, not `{given}`")
        return Value(T.INT, self.const(whole), literal=whole)


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


class Function(NamedTuple):
    """A row: what makes the value, how many arguments, how a call is written, and whether it can make its value in
    memory that it is given."""

    handler: Callable[..., Value]
    least: int
    most: int
    form: str
    into: bool = False


_F = Functions
_ANY = 99
FUNCTIONS: dict[str, Function] = {
    "printf": Function(_F.printf, 1, _ANY, 'printf("format", …)'),
    "errorf": Function(_F.printf, 1, _ANY, 'errorf("format", …)'),
    "warnf": Function(_F.printf, 1, _ANY, 'warnf("format", …)'),
    "cat": Function(_F.printf, 1, _ANY, 'cat("path format", …)'),
    "system": Function(_F.system, 1, _ANY, 'system("format", …)'),
    "join": Function(_F.join, 1, 2, "join(array of strings, delimiter)"),
    "time": Function(_F.time, 0, 1, 'time("format")'),
    "print": Function(_F.show, 1, 3, "print(@map, top, divisor) or print(value)"),
    "clear": Function(_F.clear, 1, 1, "clear(@map)"),
    "zero": Function(_F.clear, 1, 1, "zero(@map)"),
    "skboutput": Function(_F.skboutput, 3, 4, 'skboutput("file", skb, length, offset)'),
    "assert": Function(_F.assert_that, 2, 2, 'assert(condition, "message")'),
    "static_assert": Function(_F.static_assert, 2, 2, 'static_assert(condition, "message")'),
    "exit": Function(_F.exit, 0, 1, "exit(status)"),
    "delete": Function(_F.delete_entry, 1, _ANY, "delete(@map, key)"),
    "has_key": Function(_F.has_key, 1, 2, "has_key(@map, key)"),
    "find": Function(_F.find, 3, 3, "find(@map, key, $value)"),
    "len": Function(_F.length, 1, 1, "len(@map)"),
    "str": Function(_F.str_of, 1, 2, "str(address, length)", True),
    "buf": Function(_F.buf_of, 1, 2, "buf(address, length)", True),
    "ntop": Function(_F.ntop, 1, 2, "ntop(family, address)", True),
    "pton": Function(_F.pton, 1, 1, 'pton("address")'),
    "macaddr": Function(_F.macaddr, 1, 1, "macaddr(bytes)", True),
    "path": Function(_F.path, 1, 2, "path(struct path *)", True),
    "strncmp": Function(_F.strncmp, 3, 3, "strncmp(a, b, length)"),
    "strcmp": Function(_F.strcmp, 2, 2, "strcmp(a, b)"),
    "strcontains": Function(_F.strcontains, 2, 2, "strcontains(text, part)"),
    "strstr": Function(_F.strstr, 2, 2, "strstr(text, part)"),
    "strlen": Function(_F.strlen, 1, 1, "strlen(text)"),
    "ksym": Function(_F.ksym, 1, 1, "ksym(address)"),
    "usym": Function(_F.usym, 1, 1, "usym(address)"),
    "kaddr": Function(_F.kaddr, 1, 1, 'kaddr("symbol")'),
    "percpu_kaddr": Function(_F.percpu_kaddr, 1, 2, 'percpu_kaddr("symbol", cpu)'),
    "socket_cookie": Function(_F.socket_cookie, 1, 1, "socket_cookie(struct sock *)"),
    "uaddr": Function(_F.uaddr, 1, 1, 'uaddr("symbol")'),
    "kstack": Function(_F.stack_of, 0, 2, "kstack(mode, frames)"),
    "ustack": Function(_F.stack_of, 0, 2, "ustack(mode, frames)"),
    "reg": Function(_F.reg, 1, 1, 'reg("name")'),
    "nsecs": Function(_F.clock_of, 0, 1, "nsecs(clock)"),
    "pid": Function(_F.of_process, 0, 1, "pid(namespace)"),
    "tid": Function(_F.of_process, 0, 1, "tid(namespace)"),
    "uptr": Function(_F.address_space, 1, 1, "uptr(address)"),
    "kptr": Function(_F.address_space, 1, 1, "kptr(address)"),
    "signal": Function(_F.signal, 1, 1, 'signal("KILL")'),
    "signal_thread": Function(_F.signal, 1, 1, 'signal_thread("KILL")'),
    "ppid": Function(_F.of_task, 0, 1, "ppid(task)"),
    "pcomm": Function(_F.of_task, 0, 1, "pcomm(task)"),
    "has_cpid": Function(_F.builtin_call, 0, 0, "has_cpid()"),
    "override": Function(_F.override, 1, 1, "override(value)"),
    "cgroupid": Function(_F.cgroup_id, 1, 1, 'cgroupid("/sys/fs/cgroup/…")'),
    "cgroup_path": Function(_F.cgroup_path, 1, 2, "cgroup_path(id, pattern)"),
    "strftime": Function(_F.strftime, 2, 2, 'strftime("format", nsecs)'),
    "strerror": Function(_F.strerror, 1, 1, "strerror(number)"),
    "bswap": Function(_F.bswap, 1, 1, "bswap(number)"),
    "unwatch": Function(_F.unwatch, 1, 1, "unwatch(address)"),
    "getopt": Function(_F.getopt, 1, 3, 'getopt("name", default)'),
    **{
        name: Function(_F.builtin_call, 0, 0, f"{name}()")
        for name in (
            "comm",
            "cpu",
            "uid",
            "gid",
            "elapsed",
            "rand",
            "cgroup",
            "curtask",
            "func",
            "username",
            "jiffies",
            "ncpus",
            "probe",
            "probetype",
            "retval",
            "usermode",
            "numaid",
            "cpid",
            "ctx",
        )
    },
}
