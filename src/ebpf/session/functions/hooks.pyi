"""Decorators of programs. Made from the table of section names by docs/generate.py."""

from collections.abc import Callable
from typing import Any, overload

from ebpf.session.functions.function import Function

_Program = Callable[[Callable[..., Any]], Function]

@overload
def cgroup_bind4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_bind4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/bind4``."""

@overload
def cgroup_bind6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_bind6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/bind6``."""

@overload
def cgroup_connect4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_connect4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/connect4``."""

@overload
def cgroup_connect6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_connect6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/connect6``."""

@overload
def cgroup_connect_unix(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_connect_unix(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/connect_unix``."""

@overload
def cgroup_dev(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_dev(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/dev``."""

@overload
def cgroup_getpeername4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getpeername4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getpeername4``."""

@overload
def cgroup_getpeername6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getpeername6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getpeername6``."""

@overload
def cgroup_getpeername_unix(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getpeername_unix(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getpeername_unix``."""

@overload
def cgroup_getsockname4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getsockname4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getsockname4``."""

@overload
def cgroup_getsockname6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getsockname6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getsockname6``."""

@overload
def cgroup_getsockname_unix(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getsockname_unix(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getsockname_unix``."""

@overload
def cgroup_getsockopt(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_getsockopt(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/getsockopt``."""

@overload
def cgroup_post_bind4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_post_bind4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/post_bind4``."""

@overload
def cgroup_post_bind6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_post_bind6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/post_bind6``."""

@overload
def cgroup_recvmsg4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_recvmsg4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/recvmsg4``."""

@overload
def cgroup_recvmsg6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_recvmsg6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/recvmsg6``."""

@overload
def cgroup_recvmsg_unix(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_recvmsg_unix(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/recvmsg_unix``."""

@overload
def cgroup_sendmsg4(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sendmsg4(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sendmsg4``."""

@overload
def cgroup_sendmsg6(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sendmsg6(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sendmsg6``."""

@overload
def cgroup_sendmsg_unix(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sendmsg_unix(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sendmsg_unix``."""

@overload
def cgroup_setsockopt(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_setsockopt(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/setsockopt``."""

@overload
def cgroup_skb(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_skb(variant: str = "", /, *, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup_skb/ingress``, ``cgroup_skb/egress``, ``cgroup/skb``. The
    first argument: 'egress' or 'ingress'."""

@overload
def cgroup_sock(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sock(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sock``."""

@overload
def cgroup_sock_create(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sock_create(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sock_create``."""

@overload
def cgroup_sock_release(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sock_release(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sock_release``."""

@overload
def cgroup_sysctl(function: Callable[..., Any], /) -> Function: ...
@overload
def cgroup_sysctl(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``cgroup/sysctl``."""

@overload
def fentry(function: Callable[..., Any], /) -> Function: ...
@overload
def fentry(target: str, /, *, sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``fentry``, ``fentry.s``. The first argument: a target."""

@overload
def fexit(function: Callable[..., Any], /) -> Function: ...
@overload
def fexit(target: str, /, *, sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``fexit``, ``fexit.s``. The first argument: a target."""

@overload
def flow_dissector(function: Callable[..., Any], /) -> Function: ...
@overload
def flow_dissector(*, namespace: str = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``flow_dissector``."""

def fmod_ret(target: str, /, *, sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``fmod_ret``, ``fmod_ret.s``. The first argument: a target."""

def freplace(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``freplace``. The first argument: a target."""

def iter(target: str, /, *, sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``iter``, ``iter.s``. The first argument: a target."""

@overload
def kprobe(function: Callable[..., Any], /) -> Function: ...
@overload
def kprobe(target: str, /, *, offset: int = ..., cookie: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``kprobe``. The first argument: a target."""

def kprobe_multi(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``kprobe.multi``. The first argument: a target."""

def kprobe_session(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``kprobe.session``. The first argument: a target."""

@overload
def kretprobe(function: Callable[..., Any], /) -> Function: ...
@overload
def kretprobe(target: str, /, *, cookie: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``kretprobe``. The first argument: a target."""

def kretprobe_multi(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``kretprobe.multi``. The first argument: a target."""

@overload
def kretsyscall(function: Callable[..., Any], /) -> Function: ...
@overload
def kretsyscall(target: str, /, *, cookie: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``kretsyscall``. The first argument: a target."""

@overload
def ksyscall(function: Callable[..., Any], /) -> Function: ...
@overload
def ksyscall(target: str, /, *, cookie: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``ksyscall``. The first argument: a target."""

@overload
def lirc_mode2(function: Callable[..., Any], /) -> Function: ...
@overload
def lirc_mode2(*, name: str = "") -> _Program:
    """Make a program of a function: section ``lirc_mode2``."""

def lsm(target: str, /, *, sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``lsm``, ``lsm.s``. The first argument: a target."""

def lsm_cgroup(target: str, /, *, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``lsm_cgroup``. The first argument: a target."""

@overload
def lwt_in(function: Callable[..., Any], /) -> Function: ...
@overload
def lwt_in(*, network: str = ..., interface: str | int = ..., metric: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``lwt_in``."""

@overload
def lwt_out(function: Callable[..., Any], /) -> Function: ...
@overload
def lwt_out(*, network: str = ..., interface: str | int = ..., metric: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``lwt_out``."""

@overload
def lwt_seg6local(function: Callable[..., Any], /) -> Function: ...
@overload
def lwt_seg6local(*, network: str = ..., interface: str | int = ..., metric: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``lwt_seg6local``."""

@overload
def lwt_xmit(function: Callable[..., Any], /) -> Function: ...
@overload
def lwt_xmit(*, network: str = ..., interface: str | int = ..., metric: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``lwt_xmit``."""

@overload
def netfilter(function: Callable[..., Any], /) -> Function: ...
@overload
def netfilter(
    hook: str = "", /, *, family: str = ..., priority: int = ..., defragment: bool = ..., name: str = "",
) -> _Program:
    """Make a program of a function: section ``netfilter``."""

def netkit(
    variant: str, /, *, interface: str | int = ..., before: Any = ..., after: Any = ..., name: str = "",
) -> _Program:
    """Make a program of a function: section ``netkit/primary``, ``netkit/peer``. The first argument: 'peer' or
    'primary'."""

@overload
def perf_event(function: Callable[..., Any], /) -> Function: ...
@overload
def perf_event(
    event: str = "", /, *, config: int = ..., period: int = ..., frequency: int = ..., pid: int = ...,
    cpu: int = ..., cookie: int = ..., name: str = "",
) -> _Program:
    """Make a program of a function: section ``perf_event``."""

def raw_tracepoint(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``raw_tracepoint``. The first argument: a target."""

def raw_tracepoint_w(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``raw_tracepoint.w``. The first argument: a target."""

@overload
def sk_lookup(function: Callable[..., Any], /) -> Function: ...
@overload
def sk_lookup(*, namespace: str = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``sk_lookup``."""

@overload
def sk_msg(function: Callable[..., Any], /) -> Function: ...
@overload
def sk_msg(*, map: Any = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``sk_msg``."""

@overload
def sk_reuseport(function: Callable[..., Any], /) -> Function: ...
@overload
def sk_reuseport(variant: str = "", /, *, socket: Any = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``sk_reuseport/migrate``, ``sk_reuseport``. The first argument:
    'migrate'."""

@overload
def sk_skb(function: Callable[..., Any], /) -> Function: ...
@overload
def sk_skb(variant: str = "", /, *, map: Any = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``sk_skb/stream_parser``, ``sk_skb/stream_verdict``,
    ``sk_skb/verdict``, ``sk_skb``. The first argument: 'stream_parser' or 'stream_verdict' or 'verdict'."""

@overload
def socket_filter(function: Callable[..., Any], /) -> Function: ...
@overload
def socket_filter(*, interface: str | int = ..., socket: Any = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``socket``."""

@overload
def sockops(function: Callable[..., Any], /) -> Function: ...
@overload
def sockops(*, cgroup: str | int = ..., attach_type: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``sockops``."""

def struct_ops(target: str, /, *, table: str = ..., sleepable: bool = False, name: str = "") -> _Program:
    """Make a program of a function: section ``struct_ops``, ``struct_ops.s``. The first argument: a target."""

@overload
def syscall(function: Callable[..., Any], /) -> Function: ...
@overload
def syscall(*, name: str = "") -> _Program:
    """Make a program of a function: section ``syscall``."""

@overload
def tc(function: Callable[..., Any], /) -> Function: ...
@overload
def tc(
    variant: str = "", /, *, interface: str | int = ..., side: str = ..., before: Any = ..., after: Any = ...,
    priority: int = ..., name: str = "",
) -> _Program:
    """Make a program of a function: section ``tc/ingress``, ``tc/egress``, ``tc``. The first argument: 'egress'
    or 'ingress'."""

@overload
def tc_action(function: Callable[..., Any], /) -> Function: ...
@overload
def tc_action(*, name: str = "") -> _Program:
    """Make a program of a function: section ``action``."""

def tcx(
    variant: str, /, *, interface: str | int = ..., side: str = ..., before: Any = ..., after: Any = ...,
    priority: int = ..., name: str = "",
) -> _Program:
    """Make a program of a function: section ``tcx/ingress``, ``tcx/egress``. The first argument: 'egress' or
    'ingress'."""

def tp_btf(target: str, /, *, name: str = "") -> _Program:
    """Make a program of a function: section ``tp_btf``. The first argument: a target."""

def tracepoint(target: str, /, *, pid: int = ..., cookie: int = ..., name: str = "") -> _Program:
    """Make a program of a function: section ``tracepoint``. The first argument: a target."""

def uprobe(
    target: str, /, *, binary: str = ..., address: int = ..., pid: int = ..., cookie: int = ...,
    sleepable: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``uprobe``, ``uprobe.s``. The first argument: a target."""

def uprobe_multi(
    target: str, /, *, binary: str = ..., functions: str | list[str] = ..., pid: int = ...,
    sleepable: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``uprobe.multi``, ``uprobe.multi.s``. The first argument: a target."""

def uprobe_session(
    target: str, /, *, binary: str = ..., functions: str | list[str] = ..., pid: int = ...,
    sleepable: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``uprobe.session``, ``uprobe.session.s``. The first argument: a
    target."""

def uretprobe(
    target: str, /, *, binary: str = ..., address: int = ..., pid: int = ..., cookie: int = ...,
    sleepable: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``uretprobe``, ``uretprobe.s``. The first argument: a target."""

def uretprobe_multi(
    target: str, /, *, binary: str = ..., functions: str | list[str] = ..., pid: int = ...,
    sleepable: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``uretprobe.multi``, ``uretprobe.multi.s``. The first argument: a
    target."""

def usdt(
    target: str, /, *, binary: str = ..., pid: int = ..., cookie: int = ..., sleepable: bool = False,
    name: str = "",
) -> _Program:
    """Make a program of a function: section ``usdt``, ``usdt.s``. The first argument: a target."""

@overload
def xdp(function: Callable[..., Any], /) -> Function: ...
@overload
def xdp(
    variant: str = "", /, *, interface: str | int = ..., flags: int = ..., frags: bool = False, name: str = "",
) -> _Program:
    """Make a program of a function: section ``xdp.frags/devmap``, ``xdp/devmap``, ``xdp.frags/cpumap``,
    ``xdp/cpumap``, ``xdp.frags``, ``xdp``. The first argument: 'cpumap' or 'devmap'."""
