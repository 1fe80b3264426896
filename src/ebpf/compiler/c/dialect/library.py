"""What BCC's helpers.h and kernel headers give as inline functions, in C of our own; read only when a program calls
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
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
    # Checksums of a packet, with old and new value as numbers of this machine; their size is in the low bits of flags.
    **{
        f"bpf_l{layer}_csum_replace_": f"""static inline int
bpf_l{layer}_csum_replace_(void *skb, u64 offset, u64 before, u64 after, u64 flags)
{{
    switch (flags & 15) {{
    case 2: before = __builtin_bswap16(before); after = __builtin_bswap16(after); break;
    case 4: before = __builtin_bswap32(before); after = __builtin_bswap32(after); break;
    case 8: before = __builtin_bswap64(before); after = __builtin_bswap64(after);
    }}
    return bpf_l{layer}_csum_replace(skb, offset, before, after, flags);
}}"""
        for layer in (3, 4)
    },
    # `bits` bits from bit `first` after byte `offset`, most significant first; all but `value` are constants.
    "bpf_dins_pkt": """static inline void bpf_dins_pkt(void *skb, u64 offset, u64 first, u64 bits, u64 value)
{
    u64 past = first + bits, width = past <= 8 ? 8 : past <= 16 ? 16 : past <= 32 ? 32 : 64, word = value;
    if (bits == 48 && first == 0) {
        u16 high = __builtin_bswap16(value >> 32);
        bpf_skb_store_bytes(skb, offset, &high, 2, 0);
        offset += 2;
        width = 32;
    } else if (bits != width) {
        u64 mask = ((1ULL << bits) - 1) << (width - past);
        word = width == 8 ? load_byte(skb, offset) : width == 16 ? load_half(skb, offset)
            : width == 32 ? load_word(skb, offset) : load_dword(skb, offset);
        word = (word & ~mask) | (value << (width - past) & mask);
    }
    word = __builtin_bswap64(word << (64 - width));
    bpf_skb_store_bytes(skb, offset, &word, width / 8, 0);
}""",
    # include/linux/tcp.h and its relatives: a struct that begins with the one that is given.
    **{
        f"{name}": f"static inline struct {to} *{name}(const struct {of} *p) {{ return (struct {to} *)p; }}"
        for name, to, of in (
            ("tcp_sk", "tcp_sock", "sock"),
            ("inet_sk", "inet_sock", "sock"),
            ("inet_csk", "inet_connection_sock", "sock"),
            ("udp_sk", "udp_sock", "sock"),
            ("raw_sk", "raw_sock", "sock"),
            ("unix_sk", "unix_sock", "sock"),
            ("inet_rsk", "inet_request_sock", "request_sock"),
            ("tcp_rsk", "tcp_request_sock", "request_sock"),
            ("inet_twsk", "inet_timewait_sock", "sock"),
            ("tcp_twsk", "tcp_timewait_sock", "sock"),
        )
    },
    "ip_hdr": """static inline struct iphdr *ip_hdr(const struct sk_buff *skb)
{
    return (struct iphdr *)(skb->head + skb->network_header);
}""",
    "ipv6_hdr": """static inline struct ipv6hdr *ipv6_hdr(const struct sk_buff *skb)
{
    return (struct ipv6hdr *)(skb->head + skb->network_header);
}""",
    "tcp_hdr": """static inline struct tcphdr *tcp_hdr(const struct sk_buff *skb)
{
    return (struct tcphdr *)(skb->head + skb->transport_header);
}""",
    "udp_hdr": """static inline struct udphdr *udp_hdr(const struct sk_buff *skb)
{
    return (struct udphdr *)(skb->head + skb->transport_header);
}""",
    "eth_hdr": """static inline struct ethhdr *eth_hdr(const struct sk_buff *skb)
{
    return (struct ethhdr *)(skb->head + skb->mac_header);
}""",
    "skb_mac_header": """static inline unsigned char *skb_mac_header(const struct sk_buff *skb)
{
    return skb->head + skb->mac_header;
}""",
    "skb_network_header": """static inline unsigned char *skb_network_header(const struct sk_buff *skb)
{
    return skb->head + skb->network_header;
}""",
    "skb_transport_header": """static inline unsigned char *skb_transport_header(const struct sk_buff *skb)
{
    return skb->head + skb->transport_header;
}""",
    "file_inode": """static inline struct inode *file_inode(const struct file *file)
{
    return file->f_inode;
}""",
    "folio_page": """static inline struct page *folio_page(struct folio *folio, unsigned long n)
{
    return &folio->page + n;
}""",
    "sock_net": """static inline struct net *sock_net(const struct sock *sk)
{
    return sk->__sk_common.skc_net.net;
}""",
    "dev_net": """static inline struct net *dev_net(const struct net_device *dev)
{
    return dev->nd_net.net;
}""",
    "task_pid_nr": """static inline int task_pid_nr(struct task_struct *task)
{
    return task->pid;
}""",
    "task_tgid_nr": """static inline int task_tgid_nr(struct task_struct *task)
{
    return task->tgid;
}""",
    # include/linux/scatterlist.h: the two low bits of a page link say chain and end
    "sg_is_chain": """static inline int sg_is_chain(struct scatterlist *sg)
{
    return sg->page_link & 1;
}""",
    "sg_is_last": """static inline int sg_is_last(struct scatterlist *sg)
{
    return (sg->page_link & 2) != 0;
}""",
    "sg_chain_ptr": """static inline struct scatterlist *sg_chain_ptr(struct scatterlist *sg)
{
    return (struct scatterlist *)(sg->page_link & ~3UL);
}""",
    "skb_rx_queue_recorded": """static inline int skb_rx_queue_recorded(const struct sk_buff *skb)
{
    return skb->queue_mapping != 0;
}""",
    "skb_get_rx_queue": """static inline unsigned short skb_get_rx_queue(const struct sk_buff *skb)
{
    return skb->queue_mapping - 1;
}""",
}


def library_function(c: ExprChecker, name: str) -> tree.FunctionDecl:
    """The function ``name`` of the library as part of the program."""
    known = c.file_scope.names.get(name)
    if isinstance(known, tree.FunctionDecl):
        return known
    add_text(c, "<bcc>", LIBRARY[name])
    made = c.file_scope.names[name]
    assert isinstance(made, tree.FunctionDecl)
    return made


def add_text(c: ExprChecker, filename: str, text: str) -> None:
    """Declarations and definitions of our own as part of the program, from within whatever is being checked."""
    from ebpf.abi.typedefs import TYPEDEFS
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.parser import parse
    from ebpf.compiler.c.preprocessor import preprocess

    assert isinstance(c, Checker)
    pre = preprocess(c.sources, filename, text)
    unit, diagnostics = parse(pre.tokens, c.sources, is_typedef=TYPEDEFS.__contains__)
    assert not diagnostics, diagnostics
    # We may be inside of a function: put its state aside.
    function, scope = c.function, c.scope
    c.function, c.scope = None, Scope(None)
    try:
        for item in unit.items:
            c.scope = c.file_scope
            c.external(item)
    finally:
        c.function, c.scope = function, scope
