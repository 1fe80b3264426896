"""What the functions of `library`, and those of Python's own that programs can call, become: `LIBRARY`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.abi.programs import ProgType
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import library, types as P
from ebpf.compiler.py.calls import Calls
from ebpf.compiler.py.declarations import MapDecl
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.memory import Into
from ebpf.compiler.py.values import (
    BTF,
    I32,
    I64,
    KERNEL,
    OWN,
    U32,
    U64,
    USER,
    Const,
    Int,
    Ref,
    Tuple,
    Value,
    int_ty,
    joined,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_COMM = 16


class Library(Calls):
    def library_handler(self, function: Any) -> Callable[..., Value] | None:
        return LIBRARY.get(function) if getattr(function, "__hash__", None) is not None else None

    def _simple(self, helper: str, ty: Any, part: str = "") -> Int:
        call = self.call(helper)
        if part == "high":
            call = tree.Binary(C.ULONG, self.loc, self.end, ">>", cast(call, C.ULONG), self.const(32, C.ULONG))
        return Int(ty, self.temp(cast(call, ty.ctype)))

    def _comm(self, node: ast.Call, into: Into | None) -> Value:
        self.given(node, "", 0)
        t = C.Array(C.CHAR, _COMM)
        if into is not None and C.same(into.place.type, t):
            place = into.place
            if not into.clean:  # not every kernel fills what is behind the name (6.1 does not)
                self.zero(place, _COMM, into.align)
        else:
            place = self.memory(t)
        self.effect("bpf_get_current_comm", self.pointer(place), self.const(_COMM, C.UINT))
        return Ref(self.address(place), t, OWN, P.CharsType(_COMM))

    def _current_task(self, node: ast.Call, into: Into | None) -> Value:
        self.given(node, "", 0)
        record = self.c.kernel.record("struct", "task_struct")
        e = self.helper("bpf_get_current_task")
        return Ref(self.temp(cast(e, C.Pointer(record))), record, KERNEL, pointer=True)

    def _read_memory(self, node: ast.Call, into: Into | None, space: str) -> Value:
        type_node, address = self.given(node, "type address", 2)
        assert type_node is not None and address is not None
        py = self.global_value(type_node)
        t = self.state.ctype(py)
        if t is None:
            self.refuse("P0211", type_node, "a type is wanted here: an integer type, a struct, chars[N]")
        v = self.value(address)
        number = self.number(v, address, "an address")
        size = C.size_of(t) or 0
        place = into.place if into is not None and C.same(into.place.type, t) else self.raw_memory(t)
        helper = "bpf_probe_read_user" if space == USER else "bpf_probe_read_kernel"
        self.effect(helper, self.pointer(place), self.const(size, C.UINT), cast(number.e, VOID_POINTER))
        if into is not None and place is into.place:
            return Ref(self.address(place), t, OWN, py)
        return self.at_place(place, OWN, py)

    def _read_str(self, node: ast.Call, into: Into | None, space: str) -> Value:
        address, size_node = self.given(node, "address size", 1)
        assert address is not None
        size = 64
        if size_node is not None:
            given = self.value(size_node)
            if not isinstance(given, Const) or not isinstance(given.value, int) or not 0 < given.value <= 4096:
                self.refuse("P0213", size_node, "the size has to be a constant")
            size = given.value
        elif into is not None and isinstance(C.strip(into.place.type), C.Array):
            size = C.strip(into.place.type).count or size  # type: ignore[union-attr]
        t = C.Array(C.CHAR, size)
        v = self.value(address)
        number = self.number(v, address, "an address")
        if into is not None and C.same(into.place.type, t):
            place = into.place
            if not into.clean:
                self.zero(place, size, into.align)
        else:
            place = self.memory(t)
        helper = "bpf_probe_read_user_str" if space == USER else "bpf_probe_read_kernel_str"
        self.effect(helper, self.pointer(place), self.const(size, C.UINT), cast(number.e, VOID_POINTER))
        return Ref(self.address(place), t, OWN, P.CharsType(size))

    def _cast(self, node: ast.Call, into: Into | None) -> Value:
        type_node, pointer = self.given(node, "type pointer", 2)
        assert type_node is not None and pointer is not None
        of = self.value(type_node)
        py = of.value if isinstance(of, Const) else None
        t = self.state.ctype(py)
        if t is None:
            self.refuse("P0211", type_node, "a type is wanted here: `linux.sock`, or a struct")
        v = self.value(pointer)
        target = t.target if isinstance(t, C.Pointer) else t
        space = v.space if isinstance(v, Ref) else KERNEL
        number = self.number(v, pointer, "a pointer")
        # The kernel gives struct_ops programs the struct that the declared one is part of (tcp_sock for sock).
        kept = space == BTF and self.info.type == ProgType.STRUCT_OPS
        if space in (BTF, OWN) and not kept:
            space = KERNEL
        own = py if isinstance(py, P.StructType) else None
        return Ref(self.temp(cast(number.e, C.Pointer(target))), target, space, own, pointer=True)

    def _address_of(self, node: ast.Call, into: Into | None) -> Value:
        (place,) = self.given(node, "place", 1)
        assert place is not None
        v = self.value(place)
        if not isinstance(v, Ref):
            self.refuse("P0204", place, f"{words(v)} has no address")
        return Int(U64, self.temp(cast(v.e, C.ULONG)))

    def _sizeof(self, node: ast.Call, into: Into | None) -> Value:
        (of,) = self.given(node, "of", 1)
        assert of is not None
        t = self.state.ctype(self.global_value(of))
        if t is None:
            v = self.value(of)
            t = v.t if isinstance(v, Ref) else v.ty.ctype if isinstance(v, Int) else None
        size = C.size_of(t) if t is not None else None
        if size is None:
            self.refuse("P0204", of, "this has no size")
        return Const(size)

    def _log2(self, node: ast.Call, into: Into | None) -> Value:
        (x,) = self.given(node, "number", 1)
        assert x is not None
        v = self.value(x)
        if isinstance(v, Const) and isinstance(v.value, int):
            return Const(max(v.value.bit_length() - 1, 0))
        return self.log2(self.number(v, x))

    def _swap(self, node: ast.Call, into: Into | None, size: int) -> Value:
        (x,) = self.given(node, "number", 1)
        assert x is not None
        ty = int_ty(size, False)
        v = self.value(x)
        if isinstance(v, Const) and isinstance(v.value, int):
            e = self.swap(self.const(v.value, ty.ctype), size)
            assert isinstance(e, tree.IntConst)
            return Const(e.value)
        return Int(ty, self.temp(self.swap(self.int_as(v, ty, x, "the number"), size)))

    def _printk(self, node: ast.Call, into: Into | None) -> Value:
        if len(node.args) != 1 or node.keywords:
            self.refuse("P0211", node, "one text is printed at a time", helps=['`printk(f"{a} {b}")`'])
        self.print_value(self.value(node.args[0]), node.args[0])
        return Const(None)

    def _tail_call(self, node: ast.Call, into: Into | None) -> Value:
        _, programs, index = self.given(node, "context programs index", 3)
        assert programs is not None and index is not None
        m = self.global_value(programs)
        if not isinstance(m, MapDecl):
            self.refuse("P0204", programs, "a program array is wanted here")
        self.expr(programs)
        call = ast.copy_location(ast.Call(ast.copy_location(ast.Attribute(programs, "jump"), node), [index], []), node)
        return self.call_map(m, "jump", call)

    def _redirect_to(self, node: ast.Call, into: Into | None) -> Value:
        ifindex, flags = self.given(node, "ifindex flags", 1)
        assert ifindex is not None
        i = self.int_as(self.value(ifindex), U32, ifindex, "the interface")
        how = self.const(0, C.ULONG) if flags is None else self.int_as(self.value(flags), U64, flags, "flags")
        return Int(I32, self.temp(cast(self.helper("bpf_redirect", i, how), C.INT)))

    def _signal(self, node: ast.Call, into: Into | None) -> Value:
        (number,) = self.given(node, "number", 1)
        assert number is not None
        return Int(I64, self.helper("bpf_send_signal", self.int_as(self.value(number), U32, number, "the signal")))

    # ----------------------------------------------------------------------------------------------------- built in

    def _len(self, node: ast.Call, into: Into | None) -> Value:
        (of,) = self.given(node, "of", 1)
        assert of is not None
        v = self.value(of)
        if isinstance(v, Const) and isinstance(v.value, (tuple, str, bytes)):
            return Const(len(v.value))
        if isinstance(v, Tuple):
            return Const(len(v.items))
        inner = C.strip(v.t) if isinstance(v, Ref) else None
        if isinstance(v, Ref) and isinstance(inner, C.Array) and inner.count and not self._is_text(v):
            return Const(inner.count)
        self.refuse("P0105", node, f"`len` of {words(v)} is not known in programs")

    def _extreme(self, node: ast.Call, into: Into | None, op: str) -> Value:
        if len(node.args) < 2 or node.keywords:
            self.refuse("P0211", node, "two or more numbers are compared")
        best = self.value(node.args[0])
        for n in node.args[1:]:
            v = self.value(n)
            if isinstance(best, Const) and isinstance(v, Const):
                best = Const(min(best.value, v.value) if op == "<" else max(best.value, v.value))
                continue
            a, b = self._pair(op, best, v, (node.args[0], n))
            if a.ty is not b.ty:
                ty = joined(a.ty, b.ty)
                a, b = Int(ty, cast(a.e, ty.ctype), a.bits), Int(ty, cast(b.e, ty.ctype), b.bits)
            x, y = Int(a.ty, self.temp(a.e), a.bits, a.soft), Int(a.ty, self.temp(b.e), b.bits, b.soft)
            e = self.compare(op, y.e, x.e)
            bits = [n for n in (x.bits, y.bits) if n is not None]
            known = None
            if op == "<" and bits and (not a.ty.signed or len(bits) == 2):
                known = min(bits)
            elif len(bits) == 2:
                known = max(bits)
            best = Int(a.ty, self.temp(tree.Conditional(a.ty.ctype, self.loc, self.end, e, y.e, x.e)), known)
        return best

    def _abs(self, node: ast.Call, into: Into | None) -> Value:
        (x,) = self.given(node, "number", 1)
        assert x is not None
        v = self.value(x)
        if isinstance(v, Const):
            return Const(abs(v.value))
        a = self.number(v, x)
        if not a.ty.signed:
            return a
        e = self.temp(a.e)
        negative = self.compare("<", e, self.const(0, a.ty.ctype))
        minus = tree.Unary(a.ty.ctype, self.loc, self.end, "-", e)
        return Int(a.ty, tree.Conditional(a.ty.ctype, self.loc, self.end, negative, minus, e))

    def _int_call(self, node: ast.Call, into: Into | None) -> Value:
        (x,) = self.given(node, "value", 1)
        assert x is not None
        v = self.value(x)
        if isinstance(v, Const) and isinstance(v.value, (int, str, float)):
            return Const(int(v.value))
        a = self.number(v, x)
        return a if a.ty is U64 else Int(I64, cast(a.e, I64.ctype), a.bits)

    def _bool_call(self, node: ast.Call, into: Into | None) -> Value:
        (x,) = self.given(node, "value", 1)
        assert x is not None
        e = self.condition(x)
        return Const(e) if isinstance(e, bool) else self.truth_of(e)


def _number_of(helper: str, ty: Any, part: str = "") -> Callable[[Library, ast.Call, Into | None], Value]:
    def handle(c: Library, node: ast.Call, into: Into | None) -> Value:
        c.given(node, "", 0)
        return c._simple(helper, ty, part)

    return handle


_L = library
LIBRARY: dict[Any, Callable[[Library, ast.Call, Into | None], Value]] = {
    _L.pid: _number_of("bpf_get_current_pid_tgid", U32, "high"),
    _L.tid: _number_of("bpf_get_current_pid_tgid", U32),
    _L.pid_tgid: _number_of("bpf_get_current_pid_tgid", U64),
    _L.uid: _number_of("bpf_get_current_uid_gid", U32),
    _L.gid: _number_of("bpf_get_current_uid_gid", U32, "high"),
    _L.cgroup_id: _number_of("bpf_get_current_cgroup_id", U64),
    _L.cpu: _number_of("bpf_get_smp_processor_id", U32),
    _L.numa_node: _number_of("bpf_get_numa_node_id", U32),
    _L.ktime_ns: _number_of("bpf_ktime_get_ns", U64),
    _L.boot_ns: _number_of("bpf_ktime_get_boot_ns", U64),
    _L.jiffies: _number_of("bpf_jiffies64", U64),
    _L.random: _number_of("bpf_get_prandom_u32", U32),
    _L.comm: Library._comm,
    _L.current_task: Library._current_task,
    _L.read_user: lambda c, n, i: c._read_memory(n, i, USER),
    _L.read_kernel: lambda c, n, i: c._read_memory(n, i, KERNEL),
    _L.read_user_str: lambda c, n, i: c._read_str(n, i, USER),
    _L.read_kernel_str: lambda c, n, i: c._read_str(n, i, KERNEL),
    _L.cast: Library._cast,
    _L.address_of: Library._address_of,
    _L.sizeof: Library._sizeof,
    _L.log2: Library._log2,
    _L.ntohs: lambda c, n, i: c._swap(n, i, 2),
    _L.ntohl: lambda c, n, i: c._swap(n, i, 4),
    _L.printk: Library._printk,
    _L.signal: Library._signal,
    _L.redirect: Library._redirect_to,
    _L.tail_call: Library._tail_call,
    print: Library._printk,
    len: Library._len,
    min: lambda c, n, i: c._extreme(n, i, "<"),
    max: lambda c, n, i: c._extreme(n, i, ">"),
    abs: Library._abs,
    int: Library._int_call,
    bool: Library._bool_call,
}
"""What the library and Python's own functions do in programs."""
