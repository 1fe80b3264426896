"""proto.h: packet headers whose members are read with the kernel's legacy packet loads, in network byte order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.conversions import cast, to_int

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker

# tag → (member, bits), in the order of the wire.
PACKETS: dict[str, tuple[tuple[str, int], ...]] = {
    "ethernet_t": (("dst", 48), ("src", 48), ("type", 16)),
    "dot1q_t": (("pri", 3), ("cfi", 1), ("vlanid", 12), ("type", 16)),
    "arp_t": (
        ("htype", 16),
        ("ptype", 16),
        ("hlen", 8),
        ("plen", 8),
        ("oper", 16),
        ("sha", 48),
        ("spa", 32),
        ("tha", 48),
        ("tpa", 32),
    ),
    "ip_t": (
        ("ver", 4),
        ("hlen", 4),
        ("tos", 8),
        ("tlen", 16),
        ("identification", 16),
        ("ffo_unused", 1),
        ("df", 1),
        ("mf", 1),
        ("foffset", 13),
        ("ttl", 8),
        ("nextp", 8),
        ("hchecksum", 16),
        ("src", 32),
        ("dst", 32),
    ),
    "ip6_t": (
        ("ver", 4),
        ("priority", 8),
        ("flow_label", 20),
        ("payload_len", 16),
        ("next_header", 8),
        ("hop_limit", 8),
        ("src_hi", 64),
        ("src_lo", 64),
        ("dst_hi", 64),
        ("dst_lo", 64),
    ),
    "icmp_t": (("type", 8), ("code", 8), ("checksum", 16)),
    "icmp6_t": (("type", 8), ("code", 8), ("checksum", 16)),
    "udp_t": (("sport", 16), ("dport", 16), ("length", 16), ("crc", 16)),
    "tcp_t": (
        ("src_port", 16),
        ("dst_port", 16),
        ("seq_num", 32),
        ("ack_num", 32),
        ("offset", 4),
        ("reserved", 4),
        ("flag_cwr", 1),
        ("flag_ece", 1),
        ("flag_urg", 1),
        ("flag_ack", 1),
        ("flag_psh", 1),
        ("flag_rst", 1),
        ("flag_syn", 1),
        ("flag_fin", 1),
        ("rcv_wnd", 16),
        ("cksum", 16),
        ("urg_ptr", 16),
    ),
    "vxlan_t": (("rsv1", 4), ("iflag", 1), ("rsv2", 3), ("rsv3", 24), ("key", 24), ("rsv6", 8)),
    "vxlan_gbp_t": (
        ("gflag", 1),
        ("rsv1", 3),
        ("iflag", 1),
        ("rsv2", 3),
        ("rsv3", 1),
        ("dflag", 1),
        ("rsv4", 2),
        ("aflag", 1),
        ("rsv5", 3),
        ("tag", 16),
        ("key", 24),
        ("rsv6", 8),
    ),
}
_made: dict[str, C.Record] = {}


def packet_record(tag: str) -> C.Record | None:
    """The packed struct of a header; bit offsets count from the first bit on the wire."""
    rows = PACKETS.get(tag)
    if rows is None:
        return None
    known = _made.get(tag)
    if known is None:
        known = C.Record("struct", tag, complete=True, packed=True)
        at = 0
        for name, bits in rows:
            t = C.UCHAR if bits <= 8 else C.USHORT if bits <= 16 else C.UINT if bits <= 32 else C.ULLONG
            known.fields.append(
                C.Field(name, t, at, 0 if bits == 8 * t.size and at % 8 == 0 else bits, len(known.fields))
            )
            at += bits
        known.size = at // 8
        _made[tag] = known
    return known


def is_packet_place(e: tree.Expr) -> bool:
    """Whether the lvalue is a member of a packet header."""
    if not isinstance(e, tree.Member) or not isinstance(e.base, tree.Deref):
        return False
    record = C.strip(e.base.type)
    return isinstance(record, C.Record) and record.tag is not None and _made.get(record.tag) is record


def packet_read(c: ExprChecker, e: tree.Member) -> tree.Expr:
    """The value of a header's member, as a number of this machine."""
    assert isinstance(e.base, tree.Deref)
    node = ast.Node(e.loc, e.end)
    offset = cast(e.base.pointer, C.ULLONG)
    bits = e.field.bit_size or 8 * (C.size_of(e.field.type) or 0)
    return to_int(load_bits(c, offset, e.field.bit_offset, bits, node), e.field.type)


def packet_write(c: ExprChecker, target: tree.Member, value: tree.Expr, op: str, node: ast.Node) -> tree.Expr:
    """``target = value``, or ``target op= value``: the packet is written by a helper; the value is the one given."""
    from ebpf.compiler.c.dialect.library import library_function

    if op:
        value = c.combine(op, packet_read(c, target), value, node)
    assert isinstance(target.base, tree.Deref)
    kept = tree.Temporary(target.field.type, node.loc, node.end, cast(value, target.field.type))
    bits = target.field.bit_size or 8 * (C.size_of(target.field.type) or 0)
    byte, first = divmod(target.field.bit_offset, 8)
    offset: tree.Expr = cast(target.base.pointer, C.ULLONG)
    if byte:
        offset = tree.Binary(C.ULLONG, node.loc, node.end, "+", offset, c.int_const(node, byte, C.ULLONG))
    numbers = [c.int_const(node, n, C.ULLONG) for n in (first, bits)]
    args = [packet_context(c, node), offset, *numbers, cast(kept, C.ULLONG)]
    call = tree.CallFunction(C.VOID, node.loc, node.end, library_function(c, "bpf_dins_pkt"), args)
    return tree.Comma(target.field.type, node.loc, node.end, call, kept)


def packet_context(c: ExprChecker, node: ast.Node) -> tree.Expr:
    """The packet that a cursor runs over: the function's first parameter."""
    decl = c.function.decl if c.function is not None else None
    if decl is None or not decl.parameters:
        c.refuse("C0505", node, "a packet access needs the program's context, and this function has no parameter")
    return cast(c.load_of(decl.parameters[0], node), C.Pointer(C.VOID))


_LOADS = ((8, "load_byte"), (16, "load_half"), (32, "load_word"))


def load_bits(c: ExprChecker, offset: tree.Expr, first: int, bits: int, node: ast.Node) -> tree.Expr:
    """``bits`` bits from bit ``first`` after byte ``offset`` of the packet, most significant first, as a u64."""
    t = C.ULLONG

    def number(value: int) -> tree.Expr:
        return c.int_const(node, value, t)

    def at(extra: int) -> tree.Expr:
        return tree.Binary(t, node.loc, node.end, "+", offset, number(extra)) if extra else offset

    skip, byte = first % 8, first // 8
    for width, name in _LOADS:
        if skip + bits <= width:
            value: tree.Expr = tree.Builtin(t, node.loc, node.end, name, [at(byte)])
            if width - skip - bits:
                value = tree.Binary(t, node.loc, node.end, ">>", value, c.int_const(node, width - skip - bits))
            if bits < width:
                value = tree.Binary(t, node.loc, node.end, "&", value, number((1 << bits) - 1))
            return value
    upper = bits - 32
    high = tree.Binary(t, node.loc, node.end, "<<", load_bits(c, offset, first, upper, node), c.int_const(node, 32))
    return tree.Binary(t, node.loc, node.end, "|", high, load_bits(c, offset, first + upper, 32, node))
