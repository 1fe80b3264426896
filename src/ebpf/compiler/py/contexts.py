"""What a program is called with: contexts by kind of hook, arguments of the probed function, packets."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import PROGRAM_TYPES, ProgType
from ebpf.compiler.c import ast as c_ast, tree, types as C
from ebpf.compiler.c.builtins_core import PROBE_READ_KERNEL
from ebpf.compiler.c.builtins_trace import has_syscall_wrapper, register, registers
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.c.dialect.tracepoint import TracepointField, named_record, parse_format
from ebpf.compiler.c.helper_types import base_type
from ebpf.compiler.c.usdt import MOST_ARGUMENTS, argument as usdt_argument
from ebpf.compiler.py.map_methods import MapMethods
from ebpf.compiler.py.tables import members
from ebpf.compiler.py.values import (
    BTF,
    CONTEXT,
    I64,
    KERNEL,
    OWN,
    U32,
    U64,
    USER,
    Arguments,
    Const,
    Int,
    Maybe,
    Ref,
    Value,
    ty_of_ctype,
)
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from ebpf.abi.sections import SectionInfo

REGISTER_KINDS = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt", "ksyscall", "kretsyscall")
_TYPED = frozenset((ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS))
_PACKETS = frozenset(("xdp_md", "__sk_buff", "sk_msg_md"))
_MAX_OFFSET = 0x7FFF
_HEADERS = frozenset(("ethernet", "ipv4", "ipv6", "tcp", "udp", "icmp"))
_FROM_ETHERNET = frozenset((ProgType.XDP, ProgType.SCHED_CLS, ProgType.SCHED_ACT))
_FROM_IP = frozenset((ProgType.CGROUP_SKB, ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT))


class Contexts(MapMethods):
    context: tree.Variable
    info: SectionInfo
    fields: dict[str, TracepointField]
    prototype: C.Function | None
    context_kind: str
    program_name: str

    # ---------------------------------------------------------------------------------------------------- set-up

    def context_type(self, node: ast.AST) -> C.CType:
        """What the context of this kind of program is; looks the target up."""
        info = self.info
        base = info.kind.partition(".")[0]
        self.fields, self.prototype, self.context_kind = {}, None, ""
        if info.type == ProgType.TRACEPOINT:
            return self._tracepoint(info.attach_to, node) if info.attach_to else C.ULONG
        if base == "iter":
            record = self.c.kernel.record("struct", f"bpf_iter__{info.attach_to}")
            if not record.ensure_complete():
                self._no_target(
                    node,
                    f"this kernel has no iterator over `{info.attach_to}`",
                    f"bpf_iter__{info.attach_to}",
                    "bpf_iter__",
                )
            self.context_kind = record.tag or ""
            return record
        if info.type in _TYPED:
            self.prototype = self._prototype(base, info.attach_to, node)
            return C.ULONG
        if info.type in (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE):
            self.prototype = self._raw_prototype(info.attach_to)
        elif base in ("ksyscall", "kretsyscall"):
            self._syscall_fields(info.attach_to)
        elif base in ("kprobe", "kretprobe") and info.attach_to:
            name = info.attach_to.partition("+")[0]
            found = self.c.kernel.function(name)
            self.prototype = found[0] if found is not None else None
        self.context_kind = PROGRAM_TYPES[int(info.type)].context
        return self.c.kernel.record("struct", self.context_kind) if self.context_kind else C.ULONG

    def _tracepoint(self, target: str, node: ast.AST) -> C.CType:
        category, _, event = target.partition("/")
        key = category, event
        if key not in self.state.tracepoints:
            self.state.tracepoints[key] = named_record(self.c, f"tracepoint__{category}__{event}")
        record = self.state.tracepoints[key]
        if record is None:
            self.refuse(
                "P0301",
                node,
                f"there is no tracepoint `{category}:{event}`",
                notes=["the running kernel may lack it, or /sys/kernel/tracing may not be readable"],
            )
        text = self.c.facts.tracepoint_format(category, event)
        self.fields = {f.name: f for f in parse_format(text or "")}
        return record

    def _syscall_fields(self, name: str) -> None:
        from ebpf.errors import EbpfError

        try:
            text = self.c.facts.tracepoint_format("syscalls", f"sys_enter_{name}")
        except EbpfError:
            text = None
        self.fields = {f.name: f for f in parse_format(text or "") if f.name != "__syscall_nr"}

    def _prototype(self, base: str, target: str, node: ast.AST) -> C.Function | None:
        if base == "tp_btf":
            found = self._raw_prototype(target)
            if found is None:
                self._no_target(
                    node,
                    f"there is no tracepoint `{target}` in this kernel's types",
                    f"btf_trace_{target}",
                    "btf_trace_",
                )
            return found
        if base == "freplace" or not target:
            return None
        if base == "struct_ops":
            return self._table_member(target, node)
        name = f"bpf_lsm_{target}" if base.startswith("lsm") else target
        function = self.c.kernel.function(name)
        if function is None:
            what = "no LSM hook" if base.startswith("lsm") else "no function"
            self._no_target(
                node, f"the kernel has {what} `{target}`", name, "bpf_lsm_" if base.startswith("lsm") else "", 12
            )
        assert function is not None
        return function[0]

    def _table_member(self, target: str, node: ast.AST) -> C.Function:
        struct, _, member = target.partition(".")
        known = members(self.c, struct)
        if not known:
            self._no_target(node, f"this kernel has no struct `{struct}` of functions", struct, "", 4)
        if member not in known:
            close = did_you_mean(member, known)
            self.refuse("P0301", node, f"struct {struct} has no function `{member}`",
                        helps=[f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else
                        [f"it has {', '.join(known)}"])
        return known[member]

    def _raw_prototype(self, target: str) -> C.Function | None:
        typedef = self.c.kernel.typedef(f"btf_trace_{target}")
        inner = C.strip(typedef) if typedef is not None else None
        if isinstance(inner, C.Pointer):
            function = C.strip(inner.target)
            if isinstance(function, C.Function):  # its first parameter is the tracepoint's own
                return C.Function(function.result, function.parameters[1:], False, function.names[1:])
        return None

    def _no_target(self, node: ast.AST, message: str, name: str, prefix: str, kind: int | None = None) -> None:
        near = [n.removeprefix(prefix) for n in self.c.kernel.similar(name, kind) if n.startswith(prefix)]
        close = did_you_mean(name.removeprefix(prefix), near)
        notes = ["this kernel tells no types (BTF)"] if self.c.kernel.btf is None else []
        self.refuse(
            "P0301",
            node,
            message,
            notes=notes,
            helps=[f"did you mean {' or '.join(f'`{c}`' for c in close)}?"] if close else [],
        )

    def context_pointer(self, node: ast.AST) -> tree.Expr:
        return cast(self.get(self.context), C.Pointer(C.VOID))

    # -------------------------------------------------------------------------------------------------- parameters

    @property
    def base_kind(self) -> str:
        return self.info.kind.partition(".")[0]

    def argument_names(self) -> list[str]:
        """The names of what the hook passes, as far as they are known."""
        if self.fields:
            return [n for n in self.fields if n != "__syscall_nr"]
        return list(self.prototype.names) if self.prototype is not None else []

    def parameter(self, index: int, name: str, node: ast.AST) -> Value:
        """The value of the parameter at ``index`` behind the context."""
        base = self.base_kind
        if base in ("kretprobe", "uretprobe", "kretsyscall"):
            if index or name not in ("ret", "result", "retval", "value"):
                self.refuse(
                    "P0302",
                    node,
                    "when a function returns, its result is all that there is",
                    helps=["name one parameter `ret`"],
                )
            return self.result_value(node)
        if name == "ret" and base in ("fexit", "fmod_ret"):
            return self.result_value(node)
        if self.info.type == ProgType.TRACEPOINT:
            if name not in self.fields:
                self._no_argument(name, node)
            return self.tracepoint_field(name, node)
        return self.argument(index, node)

    def _no_argument(self, name: str, node: ast.AST) -> None:
        known = self.argument_names()
        close = did_you_mean(name, known)
        helps = [f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else []
        if not helps and known:
            helps = [f"there are {', '.join(known)}"]
        self.refuse("P0302", node, f"`{self.info.attach_to or self.info.kind}` has no argument `{name}`", helps=helps)

    def argument(self, index: int, node: ast.AST) -> Value:
        """The probed function's argument number ``index``."""
        base, prototype = self.base_kind, self.prototype
        t = None
        if prototype is not None:
            if index >= len(prototype.parameters):
                self.refuse(
                    "P0302",
                    node,
                    f"`{self.info.attach_to}` has {len(prototype.parameters)} arguments: "
                    f"{', '.join(prototype.names) or 'none'}",
                )
            t = prototype.parameters[index]
        if self.info.type in _TYPED:
            if prototype is None:
                self.refuse("P0302", node, f"the arguments of `{self.info.kind}` are not known")
            return self._word(self.get(self.context), index, t, BTF)
        if self.info.type in (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE):
            return self._word(cast(self.get(self.context), C.Pointer(C.ULONG)), index, t, KERNEL)
        at = c_ast.Node(self.loc, self.end)
        regs = registers(self.c)
        if base in ("ksyscall",):
            return self._syscall_argument(index, node)
        if base == "usdt":
            if index >= MOST_ARGUMENTS:
                self.refuse("P0302", node, f"a static probe has at most {MOST_ARGUMENTS} arguments")
            return Int(I64, self.temp(usdt_argument(self.c, self.get(self.context), index, at)))
        if base not in REGISTER_KINDS:
            self.refuse("P0302", node, f"programs of section `{self.info.kind}` have a context and no other arguments")
        if index >= len(regs.args):
            self.refuse("P0302", node, f"only {len(regs.args)} arguments are in registers")
        e = register(self.c, self.get(self.context), regs.args[index], at)
        return self.from_word(e, t, USER if base.startswith("u") else KERNEL)

    def _syscall_argument(self, index: int, node: ast.AST) -> Value:
        at = c_ast.Node(self.loc, self.end)
        regs = registers(self.c)
        if index >= len(regs.syscall_args):
            self.refuse("P0302", node, f"a system call has at most {len(regs.syscall_args)} arguments")
        base: tree.Expr = self.get(self.context)
        wrapped = has_syscall_wrapper(self.c)
        if wrapped:
            outer = register(self.c, base, regs.args[0], at)
            base = cast(outer, C.Pointer(self.c.kernel.record("struct", "pt_regs")))
        helper = PROBE_READ_KERNEL if wrapped else 0
        e = register(self.c, base, regs.syscall_args[index], at, helper=helper)
        fields = list(self.fields.values())
        return self.from_word(e, self._declared(fields[index]) if index < len(fields) else None, USER)

    def _word(self, base: tree.Expr, index: int, t: C.CType | None, space: str) -> Value:
        step = tree.PointerAdd(base.type, self.loc, self.end, base, self.const(index))
        place = tree.Deref(C.ULONG, self.loc, self.end, cast(step, C.Pointer(C.ULONG)))
        return self.from_word(self.load(place), t, space)

    def from_word(self, e: tree.Expr, t: C.CType | None, space: str) -> Value:
        """A register's 64 bits as a value of type ``t``."""
        e = self.temp(e)
        if t is None:
            return Int(U64, cast(e, C.ULONG))
        inner = C.strip(t)
        ty = ty_of_ctype(t)
        if ty is not None:
            return Int(ty, self.temp(cast(e, ty.ctype)))
        if isinstance(inner, C.Pointer):
            pointer = self.temp(cast(e, inner))
            return Ref(pointer, inner.target, self.pointee(t, space), pointer=True)
        return Int(U64, cast(e, C.ULONG))

    def result_value(self, node: ast.AST) -> Value:
        """What the probed function returns."""
        base = self.base_kind
        t = self.prototype.result if self.prototype is not None else None
        if t is not None and isinstance(C.strip(t), C.Void):
            self.refuse("P0302", node, f"`{self.info.attach_to}` returns nothing")
        if base in ("fexit", "fmod_ret"):
            assert self.prototype is not None
            return self._word(self.get(self.context), len(self.prototype.parameters), t, BTF)
        if base not in ("kretprobe", "uretprobe", "kretsyscall"):
            self.refuse(
                "P0302",
                node,
                "there is no result yet where a function is entered",
                helps=["use `fexit` or `kretprobe`"],
            )
        e = register(self.c, self.get(self.context), registers(self.c).rc, c_ast.Node(self.loc, self.end))
        if base == "kretsyscall":
            return Int(I64, self.temp(cast(e, C.LONG)))
        if t is None:
            return Int(I64, self.temp(cast(e, C.LONG)))
        return self.from_word(e, t, USER if base.startswith("u") else KERNEL)

    # --------------------------------------------------------------------------------------------------- attributes

    def context_attribute(self, name: str, node: ast.AST) -> Value:
        if name == "args":
            return Arguments()
        if name == "ret" and self.base_kind in ("kretprobe", "uretprobe", "kretsyscall", "fexit", "fmod_ret"):
            return self.result_value(node)
        if self.info.type == ProgType.TRACEPOINT and self.info.attach_to:
            return self.tracepoint_field(name, node)
        if self.prototype is not None and name in self.prototype.names:
            return self.argument(self.prototype.names.index(name), node)
        if name == "size" and self.context_kind in ("xdp_md", "sk_msg_md"):
            return self._packet_size()
        if name in _HEADERS and self.context_kind in _PACKETS:
            return self._header(name, node)
        inner = C.strip(self.context.type)
        record = C.strip(inner.target) if isinstance(inner, C.Pointer) else None
        if not isinstance(record, C.Record):
            self._no_argument(name, node)
        assert isinstance(record, C.Record)
        lvalue, _ = self.member(Ref(self.get(self.context), record, CONTEXT), name, node)
        v = self.at_place(lvalue, CONTEXT)
        if isinstance(v, Ref) and v.pointer:
            target = C.strip(v.t)
            tag = target.tag or "" if isinstance(target, C.Record) else ""
            if tag.startswith("bpf_"):  # a socket as programs see it
                v.space, v.nullable = CONTEXT, tag != "bpf_iter_meta"
            elif (record.tag or "").startswith("bpf_iter__"):
                v.nullable = True
        return v

    def arguments_attribute(self, name: str, node: ast.AST) -> Value:
        if self.info.type == ProgType.TRACEPOINT:
            return self.tracepoint_field(name, node)
        names = self.argument_names()
        if name not in names:
            self._no_argument(name, node)
        return self.argument(names.index(name), node)

    def tracepoint_field(self, name: str, node: ast.AST) -> Value:
        field = self.fields.get(name)
        if field is None:
            self._no_argument(name, node)
        assert field is not None
        inner = C.strip(self.context.type)
        assert isinstance(inner, C.Pointer)
        record = C.strip(inner.target)
        assert isinstance(record, C.Record)
        if field.type.startswith(("__data_loc", "__rel_loc")):
            place = self.select(self.deref(self.get(self.context), record), record, f"data_loc_{name}")
            assert place is not None
            where = self.binary("&", cast(self.load(place), C.ULONG), self.const(0xFFFF, C.ULONG))
            if field.type.startswith("__rel_loc"):
                where = self.binary("+", where, self.const(field.offset + 4, C.ULONG))
            pointer = self.temp(self.plus(self.get(self.context), where))
            return Ref(cast(pointer, C.Pointer(C.CHAR)), C.CHAR, KERNEL, pointer=True)
        place = self.select(self.deref(self.get(self.context), record), record, name)
        assert place is not None
        v = self.at_place(place, CONTEXT)
        declared = self._declared(field)
        ty = ty_of_ctype(declared) if declared is not None else None
        if isinstance(v, Int) and ty is not None and ty.size < v.ty.size:  # the kernel widens a system call's arguments
            return Int(ty, self.temp(cast(v.e, ty.ctype)))
        if isinstance(v, Ref) and v.pointer:
            v.space = USER if self.info.attach_to.startswith("syscalls/") else KERNEL
        return v

    def _declared(self, f: TracepointField) -> C.CType | None:
        if f.array:
            return None
        text = f.type.replace("*", " ")
        gone = ("const", "volatile", "__user", "__rcu", "__percpu")
        word_list = [w for w in text.split() if w not in gone]
        name = " ".join(word_list)
        if "*" in f.type:
            t: C.CType = base_type(name, self.c) if name else C.VOID
            for _ in range(f.type.count("*")):
                t = C.Pointer(t)
            return t
        if name.startswith("enum "):
            return self.c.kernel.enum(name[5:])
        t = base_type({"unsigned": "unsigned int"}.get(name, name), self.c)
        return None if isinstance(C.strip(t), C.Void) else t

    # ------------------------------------------------------------------------------------------------------ packets

    def context_method(self, name: str, node: ast.Call) -> Value:
        if name == "load" and self.context_kind in _PACKETS:
            return self._load(node)
        if name == "print" and self.context_kind.startswith("bpf_iter__"):
            return self.seq_print(node)
        self.refuse(
            "P0307",
            node.func,
            f"the context of this program has no `.{name}()`",
            helps=["`.load(Header, offset)` reads packets, in programs of XDP, tc and sockets"]
            if name == "load"
            else [],
        )

    def seq_print(self, node: ast.Call) -> Value:
        raise NotImplementedError

    def _header(self, name: str, node: ast.AST) -> Value:
        """``ctx.ipv4`` and the like: `packets` has them as functions of programs."""
        from ebpf.compiler.py.packets import HEADERS

        assert isinstance(node, ast.Attribute)
        link = self.info.type in _FROM_ETHERNET
        if not link and (self.info.type not in _FROM_IP or name == "ethernet"):
            begin = self.info.type in _FROM_IP
            self.refuse(
                "P0307",
                node,
                f"packets begin with their IP header here, so there is no `{name}`" if begin
                else f"programs of `{self.info.kind}` see no headers, so there is no `{name}`",
                helps=["`ipv4` and `ipv6` are there"] if begin else ["`.load(Type, offset)` reads what they do see"],
            )
        call = ast.Call(node, [node.value, ast.Constant(link)], [])
        return self.call_function(HEADERS[name], ast.fix_missing_locations(ast.copy_location(call, node)))

    def call_function(self, function: Any, node: ast.Call) -> Value:
        raise NotImplementedError

    def _data(self, name: str) -> tree.Expr:
        record = self.c.kernel.record("struct", self.context_kind)
        place = self.select(self.deref(self.get(self.context), record), record, name)
        assert place is not None
        e = self.load(place)
        return (
            cast(cast(e, C.ULONG), C.Pointer(C.UCHAR))
            if not isinstance(C.strip(e.type), C.Pointer)
            else cast(e, C.Pointer(C.UCHAR))
        )

    def _packet_size(self) -> Value:
        start, end = cast(self._data("data"), C.LONG), cast(self._data("data_end"), C.LONG)
        return Int(U32, self.temp(cast(self.binary("-", end, start), C.UINT)))

    def _load(self, node: ast.Call) -> Value:
        """``ctx.load(Header, offset)``: what lies in the packet there, None where the packet ends before."""
        type_node, offset_node = self.given(node, "type offset", 1)
        assert type_node is not None
        py = self.global_value(type_node)
        t = self.state.ctype(py)
        size = C.size_of(t) if t is not None else None
        if t is None or not size:
            self.refuse("P0211", type_node, "`load` wants a type: a struct, an integer type or an array")
        offset = self.plain(self.expr(offset_node), offset_node) if offset_node is not None else Const(0)
        found, there = self.local(C.Pointer(t)), self.local(C.INT)
        self.set(found, self.const(0, C.Pointer(t)))
        self.set(there, self.const(0, C.INT))
        inside: tree.Expr | None = None
        if isinstance(offset, Const) and isinstance(offset.value, int):
            if not 0 <= offset.value <= _MAX_OFFSET:
                self.refuse("P0205", offset_node or node, f"an offset goes from 0 to {_MAX_OFFSET}")
            at: tree.Expr = self.const(int(offset.value))
        else:
            number = self.number(offset, offset_node or node)
            at = self.temp(cast(number.e, C.ULONG))
            if number.bits is None or number.bits > 15:
                inside = self.compare("<=", at, self.const(_MAX_OFFSET, C.ULONG))
        with self.nested() as body:
            start = self.temp(self.plus(self._data("data"), at))
            end = self.plus(start, self.const(size))
            with self.nested() as fits:
                self.set(found, cast(start, C.Pointer(t)))
                self.set(there, self.const(1, C.INT))
            self.branch(self.compare("<=", end, self._data("data_end")), fits)
        if inside is None:
            self.out += body
        else:
            self.branch(inside, body)
        pointer = self.get(found)
        if ty_of_ctype(t) is not None:
            return Maybe(self.get(there), self.value_or_zero(self.get(there), self.deref(pointer, t), py))
        inner = C.strip(t)
        return Ref(pointer, inner if isinstance(inner, C.Record) else t, OWN, py, nullable=True, there=self.get(there))
