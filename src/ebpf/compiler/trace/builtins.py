"""Builtin names: where a program runs, what it was called with, and constants of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast as c_ast, tree, types as C
from ebpf.compiler.c.builtins_trace import register, registers
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.c.scopes import EnumConstant
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.emit import WORDS, Value
from ebpf.compiler.trace.expressions import Expressions
from ebpf.compiler.trace.state import STARTED
from ebpf.compiler.trace.types import Ty
from ebpf.diagnostics import did_you_mean
from ebpf.errors import EbpfError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.binaries.usdt import UsdtArgument
    from ebpf.compiler.trace.providers import Provider

COMM_BYTES = 16
_USER_STACK = 256
_FUNCTION_PROBES = frozenset(("kprobe", "uprobe", "usdt"))
_PAGE = 4096
_USER_PROBES = frozenset(("uprobe", "uretprobe", "usdt"))
_REGISTER_PROBES = frozenset(("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt"))


class Builtins(Expressions):
    provider: Provider
    point: ast.AttachPoint
    context: tree.Variable
    probe_number = 0
    cookie = False
    in_callback = False
    called_loops: frozenset[int] = frozenset()
    """Loops over ranges (`id` of the node) whose body the kernel calls."""
    leaving: tree.Expr | None = None
    """In a loop over a map: where the program is told to end."""
    left = False
    """Whether something in the loop does tell it so."""
    result: C.CType | None = None
    program_name = ""
    usdt_notes: tuple[tuple[int, str], ...] = ()
    tracepoint: C.Record | None = None
    iterator_fields: dict[str, Value]
    prototype: tuple[C.Function, bool] | None = None  # of fentry and fexit

    @property
    def kind(self) -> str:
        return self.provider.kind

    def name(self, node: ast.Name, into: tree.Expr | None = None) -> Value:
        name = node.name
        replaced = self.substitutions[-1].get(name)
        if replaced is not None:
            return self.substituted(replaced)
        if name == "comm":
            return self.comm(node, into)
        handler = BUILTINS.get(name)
        if handler is not None:
            return handler(self, node)
        if name.startswith(("arg", "sarg")) and name.lstrip("sarg").isdigit():
            return self.numbered(node)
        constant = self.constant(node)
        if constant is not None:
            return constant
        self.unknown(node)
        raise AssertionError

    def constant(self, node: ast.Name) -> Value | None:
        symbol = self.c.file_scope.names.get(node.name)
        if isinstance(symbol, EnumConstant):
            t = Ty("enum", 4, symbol.value < 0, ctype=symbol.enum)
            return Value(t, self.const(symbol.value), literal=symbol.value)
        found = self.c.kernel.enumerator(node.name)
        if found is not None:
            enum, value = found
            signed = value < 0
            return Value(
                Ty("enum", enum.underlying.size, signed, ctype=enum),
                self.const(value, C.LONG if value < 1 << 63 else C.ULONG),
                literal=value,
            )
        number = self.state.constant(node.name)
        if number is not None:
            return Value(T.INT, self.const(number), literal=number)
        return None

    def unknown(self, node: ast.Name) -> None:
        from ebpf.compiler.trace.functions import FUNCTIONS

        name = node.name
        if name in FUNCTIONS:
            self.refuse("T0201", node, f"`{name}` is a function", helps=[f"call it: `{name}(…)`"])
        helps = []
        if any(name == n[1:] for scope in self.scopes for n in scope):
            helps = [f"the variable is written `${name}`"]
        elif f"@{name}" in self.state.maps:
            helps = [f"the map is written `@{name}`"]
        else:
            close = did_you_mean(name, [*BUILTINS, *[f"arg{i}" for i in range(6)]])
            if close:
                helps = [f"did you mean {' or '.join(f'`{c}`' for c in close)}?"]
        self.refuse("T0201", node, f"`{name}` is neither a builtin nor a constant of the kernel", helps=helps)

    def not_here(self, node: ast.Node, what: str, *, helps: tuple[str, ...] = (), where: str = "") -> None:
        notes = [f"it belongs to {where}"] if where else []
        self.refuse("T0303", node, f"a {self.provider.shown} probe has no `{what}`", notes=notes, helps=helps)

    def context_pointer(self, node: ast.Node) -> tree.Expr:
        if self.in_callback:
            self.refuse(
                "T0303",
                node,
                "the body of a loop over a map cannot see the probe's context",
                helps=["put the value into a variable before the loop"],
            )
        return self.get(self.context)

    def program_type(self, tag: str, kinds: tuple[str, ...]) -> C.CType | None:
        """A struct, union or enum of the program that is probed, out of its debug information."""
        if self.kind not in _USER_PROBES or any(c in self.point.parts[0] for c in "*?["):
            return None
        types = self.state.user_types(self.point.parts[0], "" if self.kind == "usdt" else self.point.parts[-1])
        try:
            for kind in kinds:
                found: C.CType | None = types.enum(tag) if kind == "enum" else types.record(kind, tag)
                if found is not None and (not isinstance(found, C.Record) or found.ensure_complete()):
                    return found
        except EbpfError:  # damaged: then the kernel's types are those that there are
            pass
        return None

    def default_space(self) -> str:
        return "user" if self.kind in _USER_PROBES else "any"

    # ------------------------------------------------------------------------------------------------- words by helpers

    def word(self, helper: str, *, shift: int = 0, mask: bool = False, t: Ty = T.UINT) -> Value:
        e = cast(self.helper(helper), C.ULONG)
        if shift:
            e = self.binary(">>", e, self.const(shift, C.ULONG))
        if mask:
            e = cast(cast(e, C.UINT), C.ULONG)
        return Value(t, self.temp(e))

    def comm(self, node: ast.Node, into: tree.Expr | None = None) -> Value:
        memory = into if into is not None else self.allocate(COMM_BYTES)
        # Kernels about 6.1 do not fill up with zeroes: what was behind the name would be in the keys of maps.
        self.zero(memory, COMM_BYTES)
        self.call_void("bpf_get_current_comm", cast(memory, C.Pointer(C.VOID)), self.const(COMM_BYTES, C.UINT))
        return Value(T.string(COMM_BYTES), memory)

    def clock(self, which: str = "boot") -> Value:
        helper = {"boot": "bpf_ktime_get_boot_ns", "tai": "bpf_ktime_get_tai_ns", "sw_tai": "bpf_ktime_get_tai_ns"}.get(
            which, "bpf_ktime_get_ns"
        )
        if not self.state.has_helper(helper):
            helper = "bpf_ktime_get_ns"
        v = self.word(helper)
        return Value(Ty("int", 8, False, args=(which,)), v.e)

    def shared_word(self, index: int) -> tree.Expr:
        """A word that the runtime puts into the map `STARTED`: 0 when it began, 1 the child's pid."""
        key = self.allocate(8)
        self.store(self.deref(key, C.UINT), self.const(index, C.UINT))
        at = self.helper(
            "bpf_map_lookup_elem", self.map_address(self.state.map_global(STARTED)), cast(key, C.Pointer(C.VOID))
        )
        result = self.local(C.ULONG)
        self.set(result, self.const(0, C.ULONG))
        with self.nested() as found:
            self.set(result, self.load(self.deref(at, C.ULONG)))
        self.branch(at, found)
        return self.get(result)

    def elapsed(self, node: ast.Node) -> Value:
        now = self.clock()
        return Value(T.UINT, self.temp(self.binary("-", now.e, self.shared_word(0))))

    def task(self, node: ast.Node) -> Value:
        address = self.helper("bpf_get_current_task")
        record = self.c.kernel.record("struct", "task_struct")
        t = T.pointer(record, "kernel")
        return Value(t, cast(address, C.Pointer(record)))

    def task_field(self, *path: str) -> Callable[[], Value]:
        def get() -> Value:
            v = self.task(self.node)
            for name in path:
                v = self.field(
                    v, ast.Member(self.node.loc, self.node.end, ast.Number(0, 0, 0), name, True, self.node.loc)
                )
            return v

        return get

    def stack(self, node: ast.Node, user: bool, mode: str = "", depth: int = 127) -> Value:
        mode = mode or str(self.state.config.stack_mode)
        number = self.state.stack_map(depth)
        flags = self.const(_USER_STACK if user else 0, C.ULONG)
        e = self.helper(
            "bpf_get_stackid", cast(self.context_pointer(node), C.Pointer(C.VOID)), self.map_address(number), flags
        )
        if not user:
            return Value(Ty("kstack", 8, True, args=(mode, depth, number.name)), self.long(e))
        memory = self.allocate(16)
        self.store(self.deref(memory, C.LONG), self.long(e))
        self.store(self.deref(self.offset(memory, 8), C.ULONG), self.word("bpf_get_current_pid_tgid", shift=32).e)
        return Value(Ty("ustack", 16, args=(mode, depth, number.name)), memory)

    def user_symbol(self, address: tree.Expr) -> Value:
        memory = self.allocate(16)
        self.store(self.deref(memory, C.ULONG), cast(self.long(address, False), C.ULONG))
        self.store(self.deref(self.offset(memory, 8), C.ULONG), self.word("bpf_get_current_pid_tgid", shift=32).e)
        return Value(T.USYM, memory)

    # ------------------------------------------------------------------------------------------------------ arguments

    def register_value(self, name: str, node: ast.Node) -> Value:
        at = c_ast.Node(node.loc, node.end)
        context = self.context_pointer(node)
        if self.kind in ("profile", "interval", "software", "hardware", "watchpoint", "asyncwatchpoint"):
            # struct bpf_perf_event_data begins with the registers.
            regs = self.c.kernel.record("struct", "pt_regs")
            context = cast(context, C.Pointer(regs))
        e = register(self.c, context, name, at)
        space = "user" if self.kind in _USER_PROBES else "any"
        return Value(Ty("int", 8, False, space=space), self.temp(self.long(e, False)))

    def numbered(self, node: ast.Name) -> Value:
        stack = node.name.startswith("s")
        number = int(node.name.lstrip("sarg"))
        kind = self.kind
        if kind == "rawtracepoint" and not stack:
            words = cast(self.context_pointer(node), C.Pointer(C.ULONG))
            at = tree.PointerAdd(words.type, node.loc, node.end, words, self.const(number))
            e = self.load(tree.Deref(C.ULONG, node.loc, node.end, at))
            return Value(T.UINT, self.temp(e))
        if kind in ("kretprobe", "uretprobe"):
            self.not_here(
                node,
                node.name,
                where="the probe at the function's entry",
                helps=(
                    "a return probe has `retval`; save the argument by `tid` in the entry probe: "
                    f"`@{node.name}[tid] = {node.name};`",
                ),
            )
        if kind in ("fentry", "fexit"):
            names = self.prototype[0].names if self.prototype else ()
            self.not_here(
                node,
                node.name,
                helps=("arguments have names here: " + ", ".join(f"`args.{n}`" for n in names),) if names else (),
            )
        if kind == "tracepoint":
            self.not_here(node, node.name, helps=("a tracepoint's fields are `args.name`",))
        if kind not in _FUNCTION_PROBES:
            self.not_here(node, node.name, where="kprobe, uprobe, usdt and rawtracepoint")
        if kind == "usdt":
            return self.usdt_argument(number, node)
        regs = registers(self.c)
        if stack:
            sp = self.register_value(regs.sp, node)
            at_word = self.binary("+", sp.e, self.const(8 * (number + 1), C.ULONG))
            return self.at_place(self.deref(at_word, C.ULONG), "user" if kind in _USER_PROBES else "kernel")
        if number >= len(regs.args):
            self.refuse(
                "T0303",
                node,
                f"only {len(regs.args)} arguments are in registers: `arg0` to `arg{len(regs.args) - 1}`",
                helps=[f"`sarg{number - len(regs.args)}` is the first on the stack"]
                if number == len(regs.args)
                else [],
            )
        return self.register_value(regs.args[number], node)

    def retval(self, node: ast.Node) -> Value:
        if self.kind == "fexit":
            assert self.prototype is not None
            t = self.type_of(self.prototype[0].result, "kernel")
            return self._traced_argument(len(self.prototype[0].parameters), t, node)
        if self.kind not in ("kretprobe", "uretprobe"):
            entry = {"kprobe": "kretprobe", "uprobe": "uretprobe", "fentry": "fexit"}.get(self.kind)
            helps = (f"write `{entry}:{':'.join(self.point.parts)}`",) if entry else ()
            self.not_here(node, "retval", where="kretprobe, uretprobe and fexit", helps=helps)
        return self.register_value(registers(self.c).rc, node)

    def args(self, node: ast.Node) -> Value:
        """``args`` on its own: what holds the arguments."""
        if self.kind == "tracepoint" and self.tracepoint is not None:
            return Value(Ty("record", self.tracepoint.size, ctype=self.tracepoint), self.context_pointer(node), "ctx")
        self.refuse("T0208", node, "`args` is used with a field: `args.name`")

    def argument(self, node: ast.Member) -> Value:
        """``args.name``, ``args->name``"""
        if self.kind in ("fentry", "fexit"):
            return self.traced_argument(node)
        if self.kind == "iter":
            return self.iterated(node)
        if self.kind == "uprobe":
            from ebpf.compiler.trace.user_arguments import user_argument

            return user_argument(self, node)
        if self.kind != "tracepoint":
            helps: tuple[str, ...] = ()
            if self.kind in ("kprobe", "usdt", "rawtracepoint"):
                helps = ("arguments have numbers here: `arg0`, `arg1`, …",)
            elif self.kind == "uretprobe":
                helps = (f"save it by `tid` in the entry probe: `@{node.name}[tid] = args.{node.name};`",)
            self.not_here(node.base, "args", where="tracepoint, fentry, fexit, uprobe and iter", helps=helps)
        record = self.tracepoint
        if record is None:
            return Value(T.UNKNOWN, self.const(0))
        context = self.context_pointer(node)
        if record.find(node.name) is None and record.find(f"data_loc_{node.name}") is not None:
            loc = self.field(
                Value(Ty("record", record.size, ctype=record), context, "ctx"),
                ast.Member(node.loc, node.end, node.base, f"data_loc_{node.name}", True, node.name_loc),
            )
            low = self.binary("&", cast(loc.e, C.ULONG), self.const(0xFFFF, C.ULONG))
            at = self.plus(cast(context, C.Pointer(C.UCHAR)), low)
            return Value(T.pointer(C.CHAR, "kernel"), cast(at, C.Pointer(C.CHAR)))
        v = self.field(Value(Ty("record", record.size, ctype=record), context, "ctx"), node)
        if v.ty.kind == "pointer" and (self.point.parts[0] == "syscalls"):
            v.ty = T.pointer(v.ty.ctype or C.VOID, "user")
        return v

    def traced_argument(self, node: ast.Member) -> Value:
        assert self.prototype is not None
        f = self.prototype[0]
        if node.name not in f.names:
            close = did_you_mean(node.name, f.names)
            self.refuse(
                "T0210",
                node,
                f"`{self.point.parts[-1]}` has no argument `{node.name}`",
                notes=[
                    "its arguments are: "
                    + ", ".join(C.format_ctype(p, n) for p, n in zip(f.parameters, f.names, strict=False))
                ],
                helps=[f"did you mean `{close[0]}`?"] if close else [],
            )
        index = f.names.index(node.name)
        return self._traced_argument(index, self.type_of(f.parameters[index], "kernel"), node)

    def _traced_argument(self, index: int, t: Ty, node: ast.Node) -> Value:
        words = cast(self.context_pointer(node), C.Pointer(C.ULONG))
        at = tree.PointerAdd(words.type, node.loc, node.end, words, self.const(index))
        e = self.temp(self.load(tree.Deref(C.ULONG, node.loc, node.end, at)))
        if t.kind == "pointer":
            return Value(t, self.temp(cast(e, C.Pointer(t.ctype or C.VOID))))
        if t.kind == "record":
            return Value(T.UINT, e)
        narrow = self.narrow_type(t)
        if narrow is not None:
            e = self.temp(self.long(cast(e, narrow), t.signed))
        return Value(t, self.long(e, t.signed))

    @staticmethod
    def narrow_type(t: Ty) -> C.CType | None:
        """The C type of so many bytes; None for a whole word."""
        return {
            (1, True): C.SCHAR,
            (2, True): C.SHORT,
            (4, True): C.INT,
            (1, False): C.UCHAR,
            (2, False): C.USHORT,
            (4, False): C.UINT,
        }.get((t.size, t.signed))

    def iterated(self, node: ast.Member) -> Value:
        """A member of an iterator's context; pointers were loaded, and found not to be NULL, at the program's start."""
        known = self.iterator_fields.get(node.name)
        if known is not None:
            return known
        record = self.tracepoint
        assert record is not None
        return self.field(Value(Ty("record", record.size, ctype=record), self.context_pointer(node), "ctx"), node)

    def begin_iterator(self, record: C.Record) -> None:
        """Leave where an element is missing: the kernel calls once more, with NULL, at the end."""
        node = self.node
        for f in record.fields:
            inner = C.strip(f.type)
            if isinstance(inner, C.Record) and f.name is None and inner.fields:
                f, inner = inner.fields[0], C.strip(inner.fields[0].type)
            if not isinstance(inner, C.Pointer) or f.name in (None, "meta"):
                continue
            at = ast.Member(node.loc, node.end, ast.Number(0, 0, 0), str(f.name), True, node.loc)
            v = self.field(Value(Ty("record", record.size, ctype=record), self.get(self.context), "ctx"), at)
            with self.nested() as leave:
                self.leave()
            self.branch(tree.Unary(C.INT, node.loc, node.end, "!", v.e), leave)
            self.iterator_fields[str(f.name)] = Value(T.pointer(v.ty.ctype or C.VOID, "kernel"), v.e)

    def func(self, node: ast.Node) -> Value:
        if self.kind in ("uprobe", "uretprobe"):
            return self.user_symbol(self.register_value(registers(self.c).ip, node).e)
        if self.kind not in ("kprobe", "kretprobe", "fentry", "fexit"):
            self.not_here(node, "func", where="kprobe, fentry and uprobe")
        if self.state.has_helper("bpf_get_func_ip") and (
            self.kind in ("kprobe", "kretprobe") or self.state.facts.kernel_version >= 0x51100
        ):
            e = self.helper("bpf_get_func_ip", cast(self.context_pointer(node), C.Pointer(C.VOID)))
            return Value(T.KSYM, cast(e, C.ULONG))
        if self.kind in ("fentry", "fexit"):
            return self.string_value(self.point.parts[-1].encode())
        if self.kind == "kretprobe":  # the registers are those of the trampoline; `Programs` gave each function its own
            v = self.state.globals_extern(self.point.parts[-1], node)
            e = self.address(tree.VarRef(v.type, node.loc, node.end, v))
            return Value(T.KSYM, self.temp(self.long(cast(e, C.Pointer(C.VOID)), False)))
        return Value(T.KSYM, self.register_value(registers(self.c).ip, node).e)

    def probe(self, node: ast.Node) -> Value:
        e: tree.Expr = self.const(self.probe_number, C.ULONG)
        if self.cookie:
            cookie = cast(
                self.helper("bpf_get_attach_cookie", cast(self.context_pointer(node), C.Pointer(C.VOID))), C.ULONG
            )
            e = self.binary("|", e, self.binary("<<", cookie, self.const(32, C.ULONG)))
        return Value(Ty("probe"), self.temp(e))

    def probe_type(self, node: ast.Node) -> Value:
        return self.string_value(self.kind.encode())

    def usermode(self, node: ast.Node) -> Value:
        if self.kind not in ("profile", "interval", "software", "hardware"):
            self.not_here(node, "usermode", where="profile, interval, software and hardware")
        from ebpf.abi.context_layouts import context_layout
        from ebpf.abi.programs import ProgType

        # All 8 bytes at once: the kernel allows no other width, and LLVM would read what is needed.
        layout = context_layout(ProgType.KPROBE)
        assert layout is not None
        offset = next(f.offset for f in layout.fields if f.name == "cs")
        at = self.offset(self.context_pointer(node), offset)
        word = tree.Deref(C.Qualified(C.ULONG, volatile=True), node.loc, node.end, cast(at, WORDS), True)
        three = self.binary("&", self.temp(self.load(word)), self.const(3, C.ULONG))
        return Value(T.INT, self.temp(self.long(self.compare("==", three, self.const(3, C.ULONG)))))

    def usdt_argument(self, number: int, node: ast.Name) -> Value:
        """Where the note of the probe says: a constant, a register, or memory that registers lead to."""
        from ebpf.binaries.usdt import parse_arguments

        if not self.usdt_notes:
            self.refuse(
                "T0303",
                node,
                f"where `{node.name}` is can be told only if the probe's file is there now",
                notes=[f"no probe `{self.point.parts[-1]}` was found in `{self.point.parts[0]}`"],
            )
        places: dict[UsdtArgument, set[int]] = {}
        for address, text in self.usdt_notes:
            arguments = parse_arguments(text)
            if number >= len(arguments):
                count = len(arguments)
                self.refuse(
                    "T0303",
                    node,
                    f"this probe has {count} argument{'' if count == 1 else 's'}"
                    + (f": `arg0` to `arg{count - 1}`" if count > 1 else ": `arg0`" if count else ""),
                )
            places.setdefault(arguments[number], set()).add(address % _PAGE)
        first, *others = places
        if not others:
            return self._usdt_place(first, node)
        # Which of its places was hit shows in where the program is on its page: that much of an address is the same
        # wherever the file is loaded.
        if sum(map(len, places.values())) > len(set[int]().union(*places.values())):
            self.refuse(
                "T0303",
                node,
                f"`{node.name}` lies elsewhere in some of the {len(self.usdt_notes)} places of the probe, and which of "
                "them was hit cannot be told",
            )
        size = max(place.size for place in places)
        signed = any(place.signed for place in places)
        kind = C.LONG if signed else C.ULONG
        result = self.local(kind)
        self.set(result, self.const(0, kind))
        ip = self.register_value(registers(self.c).ip, node).e
        at = self.temp(self.binary("&", cast(ip, C.ULONG), self.const(_PAGE - 1, C.ULONG)))
        for place, addresses in places.items():
            for address in sorted(addresses):
                with self.nested() as here:
                    self.set(result, cast(self._usdt_place(place, node).e, kind))
                self.branch(self.compare("==", at, self.const(address, C.ULONG)), here)
        return Value(Ty("int", size, signed, space="user"), self.get(result))

    def _usdt_place(self, place: UsdtArgument, node: ast.Name) -> Value:
        kind = {
            1: C.SCHAR if place.signed else C.UCHAR,
            2: C.SHORT if place.signed else C.USHORT,
            4: C.INT if place.signed else C.UINT,
        }.get(place.size, C.LONG if place.signed else C.ULONG)
        e: tree.Expr = self.const(place.constant, C.ULONG)
        if place.register:
            base = self.register_value(place.register, node).e
            if place.index_register:
                index = self.register_value(place.index_register, node).e
                base = self.binary("+", base, self.binary("*", index, self.const(place.scale, C.ULONG)))
            e = self.binary("+", base, e) if place.address else base
        if place.address:
            v = self.at_place(self.deref(self.temp(e), kind), "user")
            return Value(Ty("int", place.size, place.signed, space="user"), v.e)
        return Value(
            Ty("int", place.size, place.signed, space="user"), self.temp(self.long(cast(e, kind), place.signed))
        )

    def ctx(self, node: ast.Node) -> Value:
        if self.kind == "iter" and self.tracepoint is not None:
            return Value(T.pointer(self.tracepoint, "ctx"), self.context_pointer(node))
        return Value(T.UINT, self.long(self.context_pointer(node), False))


def _word(helper: str, *, shift: int = 0, mask: bool = False, t: Ty = T.UINT) -> Callable[[Builtins, ast.Node], Value]:
    return lambda b, node: b.word(helper, shift=shift, mask=mask, t=t)


BUILTINS: dict[str, Callable[[Builtins, ast.Node], Value]] = {
    "args": Builtins.args,
    "cgroup": _word("bpf_get_current_cgroup_id"),
    "comm": Builtins.comm,
    "cpid": lambda b, node: Value(T.UINT, b.shared_word(1)),
    "cpu": _word("bpf_get_smp_processor_id"),
    "ctx": Builtins.ctx,
    "curtask": Builtins.task,
    "elapsed": Builtins.elapsed,
    "func": Builtins.func,
    "gid": _word("bpf_get_current_uid_gid", shift=32),
    "has_cpid": lambda b, node: Value(
        T.BOOL, b.long(b.compare("!=", b.shared_word(1), b.const(0, C.ULONG)))
    ),
    "jiffies": _word("bpf_jiffies64"),
    "kstack": lambda b, node: b.stack(node, False),
    "ncpus": lambda b, node: Value(T.UINT, b.const(b.state.facts.cpus_online, C.ULONG)),
    "nsecs": lambda b, node: b.clock(),
    "numaid": _word("bpf_get_numa_node_id"),
    "pcomm": lambda b, node: b.task_field("real_parent", "comm")(),
    "pid": _word("bpf_get_current_pid_tgid", shift=32),
    "ppid": lambda b, node: b.task_field("real_parent", "tgid")(),
    "probe": Builtins.probe,
    "probetype": Builtins.probe_type,
    "rand": _word("bpf_get_prandom_u32"),
    "retval": Builtins.retval,
    "tid": _word("bpf_get_current_pid_tgid", mask=True),
    "uid": _word("bpf_get_current_uid_gid", mask=True),
    "username": _word("bpf_get_current_uid_gid", mask=True, t=Ty("username")),
    "usermode": Builtins.usermode,
    "ustack": lambda b, node: b.stack(node, True),
}
