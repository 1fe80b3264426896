"""What BCC's helpers.h and kernel headers give as inline functions, in C of our own; read only when a program calls one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree
from ebpf.compiler.c.scopes import Scope

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker

LIBRARY: dict[str, str] = {
    # The number of bits below the highest set one; 0 for 0 and 1.
    "bpf_log2": """static inline unsigned int bpf_log2(unsigned int v)
{
    unsigned int bits = 0, more;
    more = (v > 0xffff) << 4; v >>= more; bits |= more;
    more = (v > 0xff) << 3; v >>= more; bits |= more;
    more = (v > 0xf) << 2; v >>= more; bits |= more;
    more = (v > 3) << 1; v >>= more; bits |= more;
    return bits | (v >> 1);
}""",
    "bpf_log2l": """static inline unsigned int bpf_log2l(unsigned long v)
{
    unsigned int high = v >> 32;
    return high ? bpf_log2(high) + 33 : bpf_log2(v) + 1;
}""",
    "incr_cksum_l3": """static inline int incr_cksum_l3(void *skb, unsigned long long offset, unsigned long long before, unsigned long long after)
{
    return bpf_l3_csum_replace(skb, offset, before, after, 2);
}""",
    "incr_cksum_l4": """static inline int incr_cksum_l4(void *skb, unsigned long long offset, unsigned long long before, unsigned long long after,
                                unsigned long long flags)
{
    return bpf_l4_csum_replace(skb, offset, before, after, flags & 0x10 ? flags : flags | 4);
}""",
    "skb_rx_queue_recorded": """static inline int skb_rx_queue_recorded(const struct sk_buff *skb) { return skb->queue_mapping != 0; }""",
    "skb_get_rx_queue": """static inline unsigned short skb_get_rx_queue(const struct sk_buff *skb) { return skb->queue_mapping - 1; }""",
}


def library_function(c: ExprChecker, name: str) -> tree.FunctionDecl:
    """The function ``name`` of the library as part of the program."""
    known = c.file_scope.names.get(name)
    if isinstance(known, tree.FunctionDecl):
        return known
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.parser import parse
    from ebpf.compiler.c.preprocessor import preprocess

    assert isinstance(c, Checker)
    pre = preprocess(c.sources, "<bcc>", LIBRARY[name])
    unit, diagnostics = parse(pre.tokens, c.sources)
    assert not diagnostics, diagnostics
    # We are inside of another function: put its state aside.
    function, scope = c.function, c.scope
    c.function, c.scope = None, Scope(None)
    try:
        for item in unit.items:
            assert isinstance(item, ast.FunctionDef)
            c.scope = c.file_scope
            c.function_def(item)
    finally:
        c.function, c.scope = function, scope
    made = c.file_scope.names[name]
    assert isinstance(made, tree.FunctionDecl)
    return made
