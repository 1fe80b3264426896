"""Records to the runtime: printf and its relatives, maps shown and cleared, the end of the script."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.builtins import Builtins
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.plan import EVENTS, EXIT_CALLED, LOST, PACKETS, Event, Type
from ebpf.compiler.trace.types import Ty

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = 8
_CURRENT_CPU = 0xFFFFFFFF
_FIRST_GUESS = 1024
_MOST_OF_A_PACKET = 0xFFFFF  # BPF_F_CTXLEN_MASK
_CONVERSION = re.compile(
    r"%(?:%|(?P<flags>[-+ #0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*)?)?"
    r"(?P<length>hh|h|ll|l|j|z|t|q|L)?(?P<letter>r[xh]|gr|[A-Za-z])?)"
)
_TEXTS = frozenset(
    (
        "str",
        "ksym",
        "usym",
        "inet",
        "mac",
        "username",
        "timestamp",
        "kstack",
        "ustack",
        "probe",
        "cgroup_path",
        "strerror",
        "enum",
        "bool",
        "tuple",
        "record",
        "array",
        "buf",
    )
)
_NUMBERS = frozenset(("int", "bool", "enum", "pointer", "unknown", "ksym", "usym", "username"))
JOIN_ARGS, JOIN_BYTES = 16, 1024
# What is told otherwise, or is no error: a stack that is empty, an entry that is not there.
_SILENT = frozenset(("bpf_ringbuf_output", "bpf_perf_event_output", "bpf_get_stackid", "bpf_for_each_map_elem"))


class Output(Builtins):
    # ----------------------------------------------------------------------------------------------------- records

    def record(self, kind: str, node: ast.Node, args: Sequence[ast.Expr | Value], **more: str | int) -> list[Ty]:
        """Send a record of ``args``; those that are expressions are evaluated into it. Their types."""
        known = self.state.record_sizes.get(id(node), _FIRST_GUESS)
        memory = self.allocate(known)
        at, parts, types = HEADER, [], []
        for a in args:
            where = self.offset(memory, at)
            v = a if isinstance(a, Value) else self.expr(a, where if at < known else None)
            if v.ty.kind == "none":
                assert not isinstance(a, Value)
                self.refuse("T0207", a, "this has no value that could be shown")
            if not (v.e is where and v.space == "bpf"):
                self.put(v, v.ty, where)
            parts.append((at, T.plan_type(v.ty)))
            types.append(v.ty)
            at += T.stored_size(v.ty)
        if at != known:
            self.state.record_sizes[id(node)] = at
            self.state.changed = True
        line = self.state.diagnostics.sources.line(node.loc)
        self.send(Event(kind, at, tuple(parts), line=line, **more), memory, self.const(at, C.ULONG))  # type: ignore[arg-type]
        return types

    def send(self, event: Event, memory: tree.Expr, size: tree.Expr, text_bytes: tree.Expr | None = None) -> None:
        number = self.state.event(event)
        head = self.const(number, C.ULONG)
        if text_bytes is not None:
            self.store(
                self.deref(memory, C.ULONG),
                self.binary("|", head, self.binary("<<", cast(text_bytes, C.ULONG), self.const(32, C.ULONG))),
            )
        else:
            self.store(self.deref(memory, C.ULONG), head)
        events = self.map_address(self.state.map_global(EVENTS))
        data = cast(memory, C.Pointer(C.VOID))
        if self.state.ring_buffer:
            failed = self.helper("bpf_ringbuf_output", events, data, size, self.const(0, C.ULONG))
        else:
            failed = self.helper(
                "bpf_perf_event_output",
                cast(self.get(self.context), C.Pointer(C.VOID)),
                events,
                self.const(_CURRENT_CPU, C.ULONG),
                data,
                size,
            )
        with self.nested() as lost:
            mark = self.mark()
            key = self.allocate(8)
            self.store(self.deref(key, C.UINT), self.const(0, C.UINT))
            at = self.helper(
                "bpf_map_lookup_elem", self.map_address(self.state.map_global(LOST)), cast(key, C.Pointer(C.VOID))
            )
            with self.nested() as found:
                place = self.deref(at, C.ULONG)
                self.store(place, self.binary("+", self.load(place), self.const(1, C.ULONG)))
            self.branch(at, found)
            self.release(mark)
        self.branch(self.compare("<", self.long(failed), self.const(0)), lost)

    # ----------------------------------------------------------------------------------------------------- formats

    def format_text(self, node: ast.Call) -> str:
        text = node.args[0] if node.args else None
        if not isinstance(text, ast.String):
            self.refuse("T0207", text or node, f'`{node.name}` wants a literal format first: `{node.name}("…", …)`')
        return text.value.decode("utf-8", "surrogateescape")

    def formatted(self, node: ast.Call, kind: str) -> None:
        """``printf("…", values)`` and those like it."""
        text = self.format_text(node)
        args = node.args[1:]
        wanted = self.conversions(text, node, len(args))
        types = self.record(kind, node, list(args), text=text)
        for letter, t, a in zip(wanted, types, args, strict=False):
            if letter != "*":
                self.check_conversion(letter, t, a)

    def conversions(self, text: str, node: ast.Call, given: int) -> list[str]:
        out: list[str] = []
        at = node.args[0]
        for m in _CONVERSION.finditer(text):
            if m[0] == "%%":
                continue
            letter = m["letter"]
            if letter is None:
                self.refuse(
                    "T0212", at, f"`{m[0]}` in the format is no conversion", helps=["a percent sign is written `%%`"]
                )
            if letter in "feEgGaA":
                self.refuse(
                    "T0212",
                    at,
                    f"`{m[0]}` is for floating-point numbers, which BPF does not have",
                    helps=['use integers and scale: `printf("%d.%02d", $x / 100, $x % 100)`'],
                )
            if letter not in ("d", "i", "u", "x", "X", "o", "c", "p", "s", "r", "rx", "rh"):
                self.refuse(
                    "T0212",
                    at,
                    f"there is no conversion `{m[0]}`",
                    notes=["there are %d %i %u %x %X %o %c %p for numbers, %s for text, %r %rx %rh for buffers"],
                )
            out += ["*"] * ((m["width"] == "*") + (m["precision"] == "*"))
            out.append(letter)
        if len(out) != given:
            values = f"{given} value{'s' if given != 1 else ''}" if given else "no value"
            self.refuse(
                "T0211",
                node,
                f"the format has {len(out)} conversion{'s' if len(out) != 1 else ''}, and there "
                f"{'is' if given <= 1 else 'are'} {values}",
            )
        return out

    def check_conversion(self, letter: str, t: Ty, node: ast.Expr) -> None:
        if t.kind == "unknown" or t.kind in T.AGGREGATES:
            return
        source = self.state.diagnostics.sources.text(node.loc, node.end)
        if letter == "s":
            if t.kind in _TEXTS:
                return
            helps = [f"wrap it: `str({source})`"] if t.kind == "pointer" else ["an integer is shown by `%d`"]
            if t.kind == "pointer" and isinstance(C.strip(t.ctype or C.VOID), C.Record):
                helps = ["show one of the struct's fields, or the address by `%p`"]
            self.refuse("T0212", node, f"`%s` shows text, and `{source}` is {T.words(t)}", helps=helps)
        if letter in ("r", "rx", "rh"):
            if t.kind == "buf":
                return
            self.refuse(
                "T0212",
                node,
                f"`%{letter}` shows a buffer, and `{source}` is {T.words(t)}",
                helps=["`buf(address, length)` makes one"],
            )
        if t.kind in _NUMBERS:
            return
        better = "%r" if t.kind == "buf" else "%s"
        self.refuse(
            "T0212",
            node,
            f"`%{letter}` shows a number, and `{source}` is {T.words(t)}",
            helps=[f"it is shown by `{better}`"],
        )

    # ------------------------------------------------------------------------------------------------ the functions

    def printf(self, node: ast.Call) -> Value:
        self.formatted(node, node.name)
        return Value(T.NONE, self.const(0))

    def system(self, node: ast.Call) -> Value:
        self.state.unsafe["system"] = None
        return self.printf(node)

    def join(self, node: ast.Call) -> Value:
        """Strings behind each other, each ended by NUL; their bytes together in the header's second word."""
        delimiter = " "
        if len(node.args) > 1:
            if not isinstance(node.args[1], ast.String):
                self.refuse("T0207", node.args[1], "`join` wants a literal string between the parts")
            delimiter = node.args[1].value.decode("utf-8", "surrogateescape")
        v = self.number(node.args[0], "the address of an array of strings")
        space = v.ty.space if v.ty.kind == "pointer" else "any"
        first = cast(v.e, C.Pointer(C.ULONG))
        most = 8 * JOIN_BYTES  # a power of two
        memory = self.scratch_memory(HEADER + most + JOIN_BYTES)
        length = self.local(C.ULONG)
        self.set(length, self.const(0, C.ULONG))
        with self.nested() as body:
            word = self.allocate(8)
            for i in range(JOIN_ARGS):
                self.store(self.deref(word, C.ULONG), self.const(0, C.ULONG))
                at = self.offset(first, 8 * i)
                self.read(word, at, self.const(8), space)
                pointer = self.temp(self.load(self.deref(word, C.ULONG)))
                with self.nested() as leave:
                    self.out.append(tree.Break(node.loc, node.end))
                self.branch(tree.Unary(C.INT, node.loc, node.end, "!", pointer), leave)
                begin = self.temp(self.binary("&", self.get(length), self.const(most - 1, C.ULONG)))
                target = self.plus(self.offset(memory, HEADER), begin)
                got = self.read(target, cast(pointer, C.Pointer(C.VOID)), self.const(JOIN_BYTES), space, text=True)
                with self.nested() as more:
                    self.set(length, self.binary("+", begin, cast(got, C.ULONG)))
                self.branch(self.compare(">", self.long(got), self.const(0)), more)
            self.out.append(tree.Break(node.loc, node.end))
        loc, end = node.loc, node.end
        self.out.append(tree.Loop(loc, end, None, None, None, tree.Block(loc, end, body), False, 1))
        total = self.temp(self.binary("&", self.get(length), self.const(2 * most - 1, C.ULONG)))
        with self.nested() as cut:
            self.set(length, self.const(most, C.ULONG))
        with self.nested() as whole:
            self.set(length, total)
        self.branch(self.compare(">", total, self.const(most, C.ULONG)), cut, whole)
        size = self.binary("+", self.get(length), self.const(HEADER, C.ULONG))
        line = self.state.diagnostics.sources.line(node.loc)
        self.send(Event("join", HEADER + most, (), text=delimiter, line=line), memory, size, self.get(length))
        return Value(T.NONE, self.const(0))

    def time(self, node: ast.Call) -> Value:
        text = "%H:%M:%S\n"
        if node.args:
            text = self.format_text(node)
        self.record("time", node, [], text=text)
        return Value(T.NONE, self.const(0))

    def whole_map(self, node: ast.Expr, what: str) -> str:
        if not isinstance(node, ast.MapAccess):
            self.refuse("T0207", node, f"`{what}` wants a map: `{what}(@name)`")
        node = self.resolved_map(node)
        if node.keys is not None:
            self.refuse("T0207", node, f"`{what}` wants a whole map, without a key", helps=[f"`{what}({node.name})`"])
        m = self.state.map(node.name)
        m.used_at = m.used_at or node
        return m.name

    def show(self, node: ast.Call) -> Value:
        """``print(@m, top, div)``, ``print(@m[k])``, ``print(value)``"""
        target = node.args[0]
        if isinstance(target, ast.MapAccess):
            target = self.resolved_map(target)
        if isinstance(target, ast.MapAccess) and target.keys is None and not self.is_scalar_map(target.name):
            return self.show_map(node, target)
        if isinstance(target, ast.MapAccess) and target.keys is None:
            return self.show_map(node, target)
        if isinstance(target, ast.MapAccess):
            m = self.state.map(target.name)
            keys = target.keys or []
            key = keys[0] if len(keys) == 1 else ast.Tuple(target.loc, target.end, list(keys))
            if m.bucketed:
                self.refuse(
                    "T0207",
                    target,
                    f"`{m.name}` holds {T.words(m.value)}; only the whole map can be shown",
                    helps=[f"`print({m.name})`"],
                )
            self.record("print_value", node, [key, target], map=m.name)
            return Value(T.NONE, self.const(0))
        if len(node.args) > 1:
            self.refuse("T0206", node, "only maps are printed with a limit and a divisor")
        self.record("print_value", node, [target])
        return Value(T.NONE, self.const(0))

    def is_scalar_map(self, name: str) -> bool:
        return self.state.map(name).key == ()

    def show_map(self, node: ast.Call, target: ast.MapAccess) -> Value:
        m = self.state.map(target.name)
        m.used_at = m.used_at or target
        numbers: list[ast.Expr | Value] = []
        literal = [0, 0]
        for i, a in enumerate(node.args[1:3]):
            v = self.number(a)
            if isinstance(v.literal, int):
                literal[i] = v.literal
            else:
                numbers.append(v)
        if numbers and len(numbers) < 2:
            numbers = [self.number(a) for a in node.args[1:3]]
            numbers += [Value(T.INT, self.const(0))] * (2 - len(numbers))
        self.record("print_map", node, numbers, map=m.name, top=literal[0], div=literal[1])
        return Value(T.NONE, self.const(0))

    def clear(self, node: ast.Call) -> Value:
        self.record(node.name, node, [], map=self.whole_map(node.args[0], node.name))
        return Value(T.NONE, self.const(0))

    def exit(self, node: ast.Call) -> Value:
        status = self.number(node.args[0]) if node.args else Value(T.INT, self.const(0))
        status = Value(status.ty, self.temp(status.e))
        self.record("exit", node, [status] if node.args else [])
        self.leave_script(status)
        return Value(T.NONE, self.const(0))

    def leave_script(self, status: Value) -> None:
        """Have no program do anything from here on; the record that says so is on its way."""
        # Behind the record: whoever sees the word has the record, or will never have it.
        word = self.binary("|", cast(cast(status.e, C.UINT), C.ULONG), self.const(EXIT_CALLED, C.ULONG))
        self.set(self.state.exit_word(), word)
        self.end_program()

    def end_program(self) -> None:
        """`statements.Statements` knows the loops."""
        raise NotImplementedError

    def skboutput(self, node: ast.Call) -> Value:
        """``skboutput("file", skb, length, offset)``: the kernel copies the packet behind our record."""
        if self.kind not in ("fentry", "fexit"):
            self.not_here(node, "skboutput", where="fentry and fexit, whose arguments the verifier trusts")
        path = self.format_text(node)
        skb = self.expr(node.args[1])
        target = C.strip(skb.ty.ctype or C.VOID) if skb.ty.kind == "pointer" else None
        if not isinstance(target, C.Record) or target.tag != "sk_buff":
            self.refuse("T0207", node.args[1], f"`skboutput` takes a `struct sk_buff *`, not {T.words(skb.ty)}")
        length = self.temp(cast(self.long(self.number(node.args[2], "a length").e, False), C.ULONG))
        offset = self.literal_int(node.args[3], "where the packet begins") if len(node.args) > 3 else 0
        if offset < 0:
            self.refuse("T0214", node.args[3], "a packet begins at byte 0 or behind it")
        size = HEADER + 16
        memory = self.allocate(size)
        line = self.state.diagnostics.sources.line(node.loc)
        parts = ((HEADER, Type("int", 8)), (HEADER + 8, Type("int", 8)))
        number = self.state.event(Event("skboutput", size, parts, text=path, top=offset, line=line))
        for at, word in ((0, self.const(number, C.ULONG)), (HEADER, self.clock().e), (HEADER + 8, length)):
            self.store(self.deref(self.offset(memory, at), C.ULONG), word)
        wanted = self.binary("<<", self.binary("&", length, self.const(_MOST_OF_A_PACKET, C.ULONG)),
                             self.const(32, C.ULONG))
        result = self.helper(
            "bpf_skb_output",
            cast(skb.e, C.Pointer(C.VOID)),
            self.map_address(self.state.map_global(PACKETS)),
            self.binary("|", wanted, self.const(_CURRENT_CPU, C.ULONG)),
            cast(memory, C.Pointer(C.VOID)),
            self.const(size, C.ULONG),
        )
        return Value(T.INT, self.temp(self.long(result)))

    # ------------------------------------------------------------------------------------------------ helpers' errors

    _reporting = False

    def helper(self, name: str, *args: tree.Expr) -> tree.Expr:
        """As below; where the script was asked to tell (``helper_errors``), a failure is told."""
        result = self.call_helper(name, *args)
        wanted = 2 if name.startswith("bpf_probe_read") else 1
        if (
            self.state.helper_errors < wanted
            or name in _SILENT
            or C.strip(result.type) is not C.LONG
            or self._reporting
        ):
            return result
        self._reporting = True
        with self.nested() as failed:
            mark = self.mark()
            memory = self.allocate(HEADER + 8)
            self.store(self.deref(self.offset(memory, HEADER), C.LONG), result)
            line = self.state.diagnostics.sources.line(self.node.loc)
            event = Event("helper_error", HEADER + 8, ((HEADER, Type("int", 8, True)),), text=name, line=line)
            self.send(event, memory, self.const(HEADER + 8, C.ULONG))
            self.release(mark)
        self.branch(self.compare("<", result, self.const(0)), failed)
        self._reporting = False
        return result
