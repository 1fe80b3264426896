"""`BccDialect`: what the checker asks when a program is in BCC's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.conversions import is_pointer, target_of
from ebpf.compiler.c.dialect.externals import Externals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.compiler.c.builtins import Handler
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.checker_base import CheckerBase
    from ebpf.compiler.c.checker_expr import ExprChecker
    from ebpf.compiler.c.dialect import Marks
    from ebpf.compiler.c.dialect.maps import BccMap
    from ebpf.compiler.c.dialect.programs import Unpacked
    from ebpf.compiler.c.types import CType


class BccDialect(Externals):
    def __init__(self, checker: Checker, marks: Marks) -> None:
        super().__init__(marks)
        self.checker = checker
        self.events: dict[str, CType] = {}
        self._license: ast.MacroCall | None = None
        self._own_license = False

    # ------------------------------------------------------------------------------------------------ whole units

    def begin(self, unit: ast.TranslationUnit) -> None:
        """Before anything is checked."""

    def finish(self) -> None:
        """After everything: every object has a licence, GPL unless the program says otherwise."""
        from ebpf.compiler.c.dialect.programs import license_variable

        if not any(v.section == "license" for v in self.checker.unit.globals):
            self.checker.unit.globals.append(license_variable(self.checker, self._license))

    def macro_call(self, node: ast.MacroCall) -> None:
        """A macro at file scope: a map, or the licence."""
        from ebpf.compiler.c.dialect.maps import declare_map

        if node.name == "BPF_LICENSE":
            self._license = node
            return
        declare_map(self.checker, self, node)

    def program(self, decl: tree.FunctionDecl, node: ast.FunctionDef) -> Unpacked | None:
        from ebpf.compiler.c.dialect.programs import unpack

        return unpack(self.checker, decl, node)

    # ----------------------------------------------------------------------------------------------------- names

    def typedef(self, name: str) -> C.Typedef | None:
        """A type of BCC's own headers."""
        return None

    def record(self, kind: str, tag: str) -> C.Record | None:
        """A struct that BCC makes: a tracepoint's arguments, or a packet header of proto.h."""
        if tag.startswith("tracepoint__") and kind == "struct":
            from ebpf.compiler.c.dialect.tracepoint import named_record

            return named_record(self.checker, tag)
        if tag.endswith("_t"):
            from ebpf.compiler.c.dialect.packets import packet_record

            return packet_record(tag)
        return None

    def function(self, name: str) -> Handler | None:
        """A function or macro of BCC's helpers.h."""
        from ebpf.compiler.c.dialect.functions import FUNCTIONS

        return FUNCTIONS.get(name)

    def function_names(self) -> Sequence[str]:
        from ebpf.compiler.c.dialect.functions import FUNCTIONS

        return list(FUNCTIONS)

    def member_alias(self, record: C.Record, name: str) -> tuple[str, ...] | None:
        """Members that kernel headers give a second name by a macro."""
        path = MEMBER_ALIASES.get(name)
        return path if path is not None and record.find(path[0]) is not None else None

    # --------------------------------------------------------------------------------------------------- packets

    def is_packet(self, place: tree.Expr) -> bool:
        """Whether the lvalue is a member of one of proto.h's headers."""
        from ebpf.compiler.c.dialect.packets import is_packet_place

        return is_packet_place(place)

    def packet_write(
        self, checker: CheckerBase, place: tree.Expr, value: tree.Expr, op: str, node: ast.Node
    ) -> tree.Expr:
        from ebpf.compiler.c.checker import Checker
        from ebpf.compiler.c.dialect.packets import packet_write

        assert isinstance(place, tree.Member) and isinstance(checker, Checker)
        return packet_write(checker, place, value, op, node)

    # ------------------------------------------------------------------------------------------------------ maps

    def map_of(self, e: tree.Expr) -> BccMap | None:
        return self.maps.get(id(e.variable)) if isinstance(e, tree.VarRef) else None

    def method(self, checker: ExprChecker, a_map: BccMap, node: ast.Call, function: ast.Member) -> tree.Expr:
        from ebpf.compiler.c.dialect.map_methods import call_method

        return call_method(checker, self, a_map, node, function)

    def copy_from_kernel(
        self, checker: ExprChecker, to: tree.Expr, source: tree.Expr, size: tree.Expr, node: ast.Call
    ) -> tree.Expr:
        """``memcpy`` out of kernel memory: a probe read."""
        read = checker.call_helper("bpf_probe_read", [to, size, source], node)
        return tree.Comma(to.type, node.loc, node.end, tree.Convert(C.VOID, node.loc, node.end, "void", read), to)


def context_tag(t: CType) -> str | None:
    """The tag of the struct that the pointer type ``t`` points to."""
    if not is_pointer(t):
        return None
    target = C.strip(target_of(t))
    return target.tag if isinstance(target, C.Record) else None


_COMMON = "__sk_common"
MEMBER_ALIASES: dict[str, tuple[str, ...]] = {
    # include/net/sock.h
    "sk_family": (_COMMON, "skc_family"),
    "sk_state": (_COMMON, "skc_state"),
    "sk_dport": (_COMMON, "skc_dport"),
    "sk_num": (_COMMON, "skc_num"),
    "sk_daddr": (_COMMON, "skc_daddr"),
    "sk_rcv_saddr": (_COMMON, "skc_rcv_saddr"),
    "sk_bound_dev_if": (_COMMON, "skc_bound_dev_if"),
    "sk_net": (_COMMON, "skc_net"),
    "sk_v6_daddr": (_COMMON, "skc_v6_daddr"),
    "sk_v6_rcv_saddr": (_COMMON, "skc_v6_rcv_saddr"),
    "sk_reuse": (_COMMON, "skc_reuse"),
    "sk_reuseport": (_COMMON, "skc_reuseport"),
    "sk_ipv6only": (_COMMON, "skc_ipv6only"),
    "sk_prot": (_COMMON, "skc_prot"),
    "sk_cookie": (_COMMON, "skc_cookie"),
    "sk_refcnt": (_COMMON, "skc_refcnt"),
    "sk_hash": (_COMMON, "skc_hash"),
    "sk_portpair": (_COMMON, "skc_portpair"),
    "sk_addrpair": (_COMMON, "skc_addrpair"),
    "sk_node": (_COMMON, "skc_node"),
    "sk_nulls_node": (_COMMON, "skc_nulls_node"),
    "sk_flags": (_COMMON, "skc_flags"),
    "sk_tx_queue_mapping": (_COMMON, "skc_tx_queue_mapping"),
    "sk_rx_queue_mapping": (_COMMON, "skc_rx_queue_mapping"),
    # include/net/inet_sock.h
    "inet_daddr": ("sk", _COMMON, "skc_daddr"),
    "inet_rcv_saddr": ("sk", _COMMON, "skc_rcv_saddr"),
    "inet_dport": ("sk", _COMMON, "skc_dport"),
    "inet_num": ("sk", _COMMON, "skc_num"),
    # include/uapi/linux/in6.h, include/linux/fs.h
    "s6_addr": ("in6_u", "u6_addr8"),
    "s6_addr16": ("in6_u", "u6_addr16"),
    "s6_addr32": ("in6_u", "u6_addr32"),
    # include/net/inet_timewait_sock.h, include/net/request_sock.h
    "tw_family": ("__tw_common", "skc_family"),
    "tw_state": ("__tw_common", "skc_state"),
    "tw_daddr": ("__tw_common", "skc_daddr"),
    "tw_dport": ("__tw_common", "skc_dport"),
    "tw_rcv_saddr": ("__tw_common", "skc_rcv_saddr"),
    "tw_net": ("__tw_common", "skc_net"),
}
