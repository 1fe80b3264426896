"""What a program may read and write in its context, and which reads give pointers: tables by program type.

A field is ``name:size[count] reads/writes pointer @attach types``; offsets follow by natural alignment (the structs are the
kernel's user ABI). How it may be read or written: ``f`` whole elements only, ``n`` an element or an aligned part of it, ``a``
any aligned part, ``w`` whole elements or 8 aligned bytes of an array, ``-`` not at all; ``n4``: ``n``, or 4 bytes at once.
A pointer is what the verifier says of the 64 (or 32) bits read: ``packet``, ``packet_end``, ``packet_meta``, ``sk``, ``sk?``,
``skc?``, ``flow_keys``, ``buffer``. Facts: the ``*_is_valid_access`` functions of the kernel, 6.1 to 7.2.
"""

# ruff: noqa: E501  (a row a struct)
from __future__ import annotations

from typing import NamedTuple

from ebpf.abi.programs import AttachType, ProgType
from ebpf.abi.registers import REGISTERS


class ContextField(NamedTuple):
    """A field: bytes ``offset`` to ``end``, elements of ``unit`` bytes, how it is read and written, what a read gives."""

    name: str
    offset: int
    end: int
    unit: int
    reads: str
    writes: str
    pointer: str
    attach_types: frozenset[int]  # where it exists at all; empty: everywhere
    write_attach_types: frozenset[int]  # where it may be written; empty: everywhere


class ContextLayout(NamedTuple):
    """A context: its size in bytes and the fields by each byte's offset."""

    size: int
    fields: tuple[ContextField, ...]
    by_offset: dict[int, ContextField]
    writable: bool  # some of it

    def find(self, offset: int, size: int, write: bool, attach_type: int) -> ContextField | None:
        """The field that this access is allowed to touch; ``None`` if it is not allowed."""
        field = self.by_offset.get(offset)
        if field is None or offset % size or (field.attach_types and attach_type not in field.attach_types):
            return None
        if write and field.write_attach_types and attach_type not in field.write_attach_types:
            return None
        how = field.writes if write else field.reads
        unit = field.unit
        if how == "f":
            return field if size == unit else None
        if how == "n":
            return field if size <= unit else None
        if how == "a":
            return field if offset + size <= field.end else None
        if how == "w":
            return field if size == unit or (size == 8 and offset + 8 <= field.end) else None
        if how == "wn":
            return field if size <= unit or (size == 8 and offset + 8 <= field.end) else None
        if how == "n4":
            return field if size <= unit or size == 4 else None
        return None


def _attach(names: str) -> frozenset[int]:
    found = [AttachType.named(n) for n in names.split("|")] if names else []
    assert None not in found, names
    return frozenset(int(f) for f in found if f is not None)


def parse_layout(text: str) -> ContextLayout:
    """A layout from rows of text (see the module's text); also used for the structs behind socket pointers."""
    fields = []
    by_offset: dict[int, ContextField] = {}
    at = 0
    for row in text.split(";"):
        words = row.split()
        if not words:
            continue
        name, _, shape = words[0].partition(":")
        unit, _, count = shape.partition("[")
        size = int(unit)
        length = size * int(count.rstrip("]") or 1) if count else size
        at = (at + min(size, 8) - 1) // min(size, 8) * min(size, 8)
        how = words[1] if len(words) > 1 else "-/-"
        reads, _, writes = how.partition("/")
        pointer = attach = write_attach = ""
        for word in words[2:]:
            if word.startswith("@w="):
                write_attach = word[3:]
            elif word.startswith("@"):
                attach = word[1:]
            else:
                pointer = word
        field = ContextField(name, at, at + length, size, reads, writes or "-", pointer, _attach(attach), _attach(write_attach))
        fields.append(field)
        by_offset.update((o, field) for o in range(at, at + length))
        at += length
    return ContextLayout(at, tuple(fields), by_offset, any(field.writes != "-" for field in fields))


def _skb(**changes: str) -> str:
    """``struct __sk_buff`` with what a program type allows beyond (or short of) plain reading."""
    base = {"len:4": "n", "pkt_type:4": "n", "mark:4": "n", "queue_mapping:4": "n", "protocol:4": "n", "vlan_present:4": "n", "vlan_tci:4": "n",
            "vlan_proto:4": "n", "priority:4": "n", "ingress_ifindex:4": "n", "ifindex:4": "n", "tc_index:4": "n", "cb:4[5]": "a/a", "hash:4": "n",
            "tc_classid:4": "n", "data:4": "f packet", "data_end:4": "f packet_end", "napi_id:4": "n", "family:4": "n", "remote_ip4:4": "f",
            "local_ip4:4": "f", "remote_ip6:4[4]": "f", "local_ip6:4[4]": "f", "remote_port:4": "n", "local_port:4": "n",
            "data_meta:4": "f packet_meta", "flow_keys:8": "-", "tstamp:8": "f", "wire_len:4": "n", "gso_segs:4": "n", "sk:8": "f skc?",
            "gso_size:4": "n", "tstamp_type:1": "-", "pad:1[3]": "-", "hwtstamp:8": "f"}
    rows = []
    for key, how in base.items():
        name = key.partition(":")[0]
        rows.append(f"{key} {changes.get(name, how)}")
    return ";".join(rows)


_ADDRESSES = dict.fromkeys(("family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port"), "-")
_NO_META = {"tc_classid": "-", "data_meta": "-", "wire_len": "-"}
_TC = _skb(**_ADDRESSES, mark="n/f", tc_index="n/f", priority="n/f", tc_classid="n/f", tstamp="f/f", queue_mapping="n/f", tstamp_type="f")
_LWT = _skb(**_ADDRESSES, **_NO_META, tstamp="-", hwtstamp="-", mark="n/f", priority="n/f")
_FLOW_DISSECTOR = _skb(**dict.fromkeys("""len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex\n    tc_index cb hash tc_classid napi_id data_meta tstamp wire_len gso_segs sk gso_size hwtstamp""".split(), "-"), **_ADDRESSES, flow_keys="f flow_keys")

_SOCK = ("bound_dev_if:4 f;family:4 n;type:4 n;protocol:4 n;mark:4 f;priority:4 f;src_ip4:4 n;src_ip6:4[4] n;src_port:4 n;dst_port:2 n4;"
         "pad:1[2] -;dst_ip4:4 n;dst_ip6:4[4] n;state:4 n;rx_queue_mapping:4 n")
_CREATE = "CGROUP_INET_SOCK_CREATE|CGROUP_INET_SOCK_RELEASE"
_SOCK_CONTEXT = (f"bound_dev_if:4 f/f @{_CREATE};family:4 n;type:4 n;protocol:4 n;mark:4 f/f @{_CREATE};priority:4 f/f @{_CREATE};"
                 "src_ip4:4 n @CGROUP_INET4_POST_BIND;src_ip6:4[4] n @CGROUP_INET6_POST_BIND;"
                 "src_port:4 n @CGROUP_INET4_POST_BIND|CGROUP_INET6_POST_BIND;dst_port:2 n4;pad:1[2] -;dst_ip4:4 n;dst_ip6:4[4] n;state:4 n;"
                 "rx_queue_mapping:4 n")
_IP4 = ("CGROUP_INET4_BIND|CGROUP_INET4_CONNECT|CGROUP_INET4_GETPEERNAME|CGROUP_INET4_GETSOCKNAME|CGROUP_UDP4_SENDMSG|"
        "CGROUP_UDP4_RECVMSG")
_SOCK_ADDR = (f"user_family:4 f;user_ip4:4 n/f @{_IP4};user_ip6:4[4] wn/w @{_IP4.replace('4', '6')};user_port:4 n/f;family:4 f;type:4 f;"
              "protocol:4 f;msg_src_ip4:4 n/f @CGROUP_UDP4_SENDMSG;msg_src_ip6:4[4] wn/w @CGROUP_UDP6_SENDMSG;sk:8 f sk")
_SOCK_OPS = ("op:4 f;reply:4 f/f;replylong:4[3] f;family:4 f;remote_ip4:4 f;local_ip4:4 f;remote_ip6:4[4] f;local_ip6:4[4] f;remote_port:4 f;"
             "local_port:4 f;is_fullsock:4 f;snd_cwnd:4 f;srtt_us:4 f;bpf_sock_ops_cb_flags:4 f;state:4 f;rtt_min:4 f;snd_ssthresh:4 f;"
             "rcv_nxt:4 f;snd_nxt:4 f;snd_una:4 f;mss_cache:4 f;ecn_flags:4 f;rate_delivered:4 f;rate_interval_us:4 f;packets_out:4 f;"
             "retrans_out:4 f;total_retrans:4 f;segs_in:4 f;data_segs_in:4 f;segs_out:4 f;data_segs_out:4 f;lost_out:4 f;sacked_out:4 f;"
             "sk_txhash:4 f/f;bytes_received:8 f;bytes_acked:8 f;sk:8 f sk?;skb_data:8 f packet;skb_data_end:8 f packet_end;skb_len:4 f;"
             "skb_tcp_flags:4 n;skb_hwtstamp:8 f")
_TCP_SOCK = "".join(f"f{i}:4 f;" for i in range(20)) + "bytes_received:8 f;bytes_acked:8 f;" + "".join(f"g{i}:4 f;" for i in range(4))
_XDP = ("data:4 f packet;data_end:4 f packet_end;data_meta:4 f packet_meta;ingress_ifindex:4 f;rx_queue_index:4 f;"
        "egress_ifindex:4 f @XDP_DEVMAP")
_MSG = ("data:8 f packet;data_end:8 f packet_end;family:4 f;remote_ip4:4 f;local_ip4:4 f;remote_ip6:4[4] f;local_ip6:4[4] f;remote_port:4 f;"
        "local_port:4 f;size:4 f;sk:8 f sk")
_SK_LOOKUP = ("sk:8 f sk?;family:4 n;protocol:4 n;remote_ip4:4 n;remote_ip6:4[4] n;remote_port:2 n4;pad:2 n;local_ip4:4 n;local_ip6:4[4] n;"
              "local_port:4 n;ingress_ifindex:4 n")
_REUSEPORT = "data:8 f packet;data_end:8 f packet_end;len:4 n;eth_protocol:4 n;ip_protocol:4 n;bind_inany:4 n;hash:4 f;sk:8 f sk;migrating_sk:8 f skc?"
_SOCKOPT = ("sk:8 f sk;optval:8 f packet;optval_end:8 f packet_end;level:4 f/f @w=CGROUP_SETSOCKOPT;optname:4 f/f @w=CGROUP_SETSOCKOPT;"
            "optlen:4 f/f;retval:4 f/f @CGROUP_GETSOCKOPT")

_T = ProgType
_ROWS: dict[int, str] = {
    _T.SOCKET_FILTER: _skb(**_ADDRESSES, **_NO_META, data="-", data_end="-", tstamp="-", hwtstamp="-"),
    _T.SCHED_CLS: _TC, _T.SCHED_ACT: _TC,
    _T.CGROUP_SKB: _skb(**_NO_META, mark="n/f", priority="n/f", tstamp="f/f"),
    _T.LWT_IN: _LWT, _T.LWT_OUT: _LWT, _T.LWT_XMIT: _LWT, _T.LWT_SEG6LOCAL: _LWT,
    _T.SK_SKB: _skb(**_NO_META, tstamp="-", hwtstamp="-", tc_index="n/f", priority="n/f", mark="-", cb="a"),
    _T.FLOW_DISSECTOR: _FLOW_DISSECTOR,
    _T.XDP: _XDP, _T.CGROUP_SOCK: _SOCK_CONTEXT, _T.CGROUP_SOCK_ADDR: _SOCK_ADDR, _T.SOCK_OPS: _SOCK_OPS, _T.SK_MSG: _MSG,
    _T.SK_LOOKUP: _SK_LOOKUP, _T.SK_REUSEPORT: _REUSEPORT, _T.CGROUP_SOCKOPT: _SOCKOPT,
    _T.CGROUP_DEVICE: "access_type:4 n;major:4 f;minor:4 f", _T.CGROUP_SYSCTL: "write:4 n;file_pos:4 n/f",
    _T.TRACEPOINT: "common:8 -;fields:1[2040] a",
    _T.RAW_TRACEPOINT: "args:8[12] a", _T.RAW_TRACEPOINT_WRITABLE: "buffer:8 f buffer;args:8[11] a",
    _T.TRACING: "args:8[12] f", _T.LSM: "args:8[12] f", _T.STRUCT_OPS: "args:8[12] f", _T.NETFILTER: "state:8 f;skb:8 f",
    _T.LIRC_MODE2: "sample:4 f", _T.SYSCALL: "bytes:1[65536] a/a",
}
_MEMORY = {"sk": _SOCK, "tcp": _TCP_SOCK, "xdp_sock": "queue_id:4 f",
           "skc": _SOCK.replace("type:4 n;protocol:4 n;mark:4 f;priority:4 f", "type:4 -;protocol:4 -;mark:4 -;priority:4 -")}

FLOW_KEYS_BYTES = 56
TRACEPOINT_BUFFER_MAX = 4096
_cache: dict[tuple[str, object], ContextLayout] = {}


def context_layout(type: int, arch: str = "x86_64") -> ContextLayout | None:
    """The context of that program type (``None``: it has none that a table could tell)."""
    found = _cache.get((arch, int(type)))
    if found is None:
        if type in (_T.KPROBE, _T.PERF_EVENT):
            regs = REGISTERS[arch if arch in REGISTERS else "x86_64"].members
            text = regs if type == _T.KPROBE else regs.replace(" a", " f") + ";sample_period:8 n;addr:8 n"
        elif int(type) in _ROWS:
            text = _ROWS[int(type)]
        else:
            return None
        found = _cache[arch, int(type)] = parse_layout(text)
    return found


def socket_layout(kind: str) -> ContextLayout:
    """What may be read through a socket pointer: ``sk``, ``skc``, ``tcp`` or ``xdp_sock``."""
    found = _cache.get(("socket", kind))
    if found is None:
        found = _cache["socket", kind] = parse_layout(_MEMORY[kind])
    return found


# Program types that may write the packet, and (True) those that may only read it.
PACKET_ACCESS: dict[int, str] = {int(t): how for t, how in {
    _T.LWT_IN: "r", _T.LWT_OUT: "r", _T.LWT_SEG6LOCAL: "r", _T.SK_REUSEPORT: "r", _T.FLOW_DISSECTOR: "r", _T.CGROUP_SKB: "r",
    _T.SCHED_CLS: "rw", _T.SCHED_ACT: "rw", _T.XDP: "rw", _T.LWT_XMIT: "rw", _T.SK_SKB: "rw", _T.SK_MSG: "rw", _T.CGROUP_SOCKOPT: "rw",
    _T.SOCK_OPS: "r",
}.items()}

_A = AttachType
_ONE = (1, 1)


def result_range(type: int, attach_type: int) -> tuple[int, int] | None:
    """The values that a program of this type may return (lowest, highest); ``None``: any."""
    if type == _T.CGROUP_SOCK_ADDR:
        if attach_type in (_A.CGROUP_UDP4_RECVMSG, _A.CGROUP_UDP6_RECVMSG, _A.CGROUP_INET4_GETPEERNAME, _A.CGROUP_INET6_GETPEERNAME,
                           _A.CGROUP_INET4_GETSOCKNAME, _A.CGROUP_INET6_GETSOCKNAME):
            return _ONE
        return (0, 3) if attach_type in (_A.CGROUP_INET4_BIND, _A.CGROUP_INET6_BIND) else (0, 1)
    if type == _T.CGROUP_SKB:
        return (0, 3) if attach_type == _A.CGROUP_INET_EGRESS else (0, 1)
    if type in (_T.CGROUP_SOCK, _T.SOCK_OPS, _T.CGROUP_DEVICE, _T.CGROUP_SYSCTL, _T.CGROUP_SOCKOPT, _T.SK_LOOKUP, _T.NETFILTER):
        return 0, 1
    if type == _T.TRACING:
        if attach_type in (_A.TRACE_FENTRY, _A.TRACE_FEXIT):
            return 0, 0
        return (0, 1) if attach_type == _A.TRACE_ITER else None
    return None
