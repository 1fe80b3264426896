"""Arithmetic and comparisons as LLVM IR: one row an operation, exactly as `ebpf.machine.semantics` defines them.

LLVM leaves division by zero, INT_MIN / -1 and large shifts undefined, so each is spelled out. ``{t}`` is the type
(i64, i32), ``{a}`` and ``{b}`` the operands; each line defines one value: ``{1}`` is the first line's, ``{=}`` the
result's name comes last.
"""

from __future__ import annotations

BINARY = {
    "add": "add {t} {a}, {b}",
    "sub": "sub {t} {a}, {b}",
    "mul": "mul {t} {a}, {b}",
    "or": "or {t} {a}, {b}",
    "and": "and {t} {a}, {b}",
    "xor": "xor {t} {a}, {b}",
    "lsh": "and {t} {b}, {m}; shl {t} {a}, {1}",
    "rsh": "and {t} {b}, {m}; lshr {t} {a}, {1}",
    "arsh": "and {t} {b}, {m}; ashr {t} {a}, {1}",
    # x / 0 = 0 and x % 0 = x (RFC 9669 section 4.1)
    "div": "icmp eq {t} {b}, 0; select i1 {1}, {t} 1, {t} {b}; udiv {t} {a}, {2}; select i1 {1}, {t} 0, {t} {3}",
    "mod": "icmp eq {t} {b}, 0; select i1 {1}, {t} 1, {t} {b}; urem {t} {a}, {2}; select i1 {1}, {t} {a}, {t} {3}",
    # INT_MIN / -1 = INT_MIN, INT_MIN % -1 = 0: by -1 the quotient is the negative, the remainder 0
    "sdiv": "icmp eq {t} {b}, 0; icmp eq {t} {b}, -1; or i1 {1}, {2}; select i1 {3}, {t} 1, {t} {b}; "
            "sdiv {t} {a}, {4}; sub {t} 0, {a}; select i1 {2}, {t} {6}, {t} {5}; select i1 {1}, {t} 0, {t} {7}",
    "smod": "icmp eq {t} {b}, 0; icmp eq {t} {b}, -1; or i1 {1}, {2}; select i1 {3}, {t} 1, {t} {b}; "
            "srem {t} {a}, {4}; select i1 {1}, {t} {a}, {t} {5}",
}  # (srem by the 1 that stands in for -1 gives 0)

CONDITIONS = {
    "jeq": "eq", "jne": "ne", "jgt": "ugt", "jge": "uge", "jlt": "ult", "jle": "ule",
    "jsgt": "sgt", "jsge": "sge", "jslt": "slt", "jsle": "sle",
}
