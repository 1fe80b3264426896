"""A small made-up host for the checker's tests: a few kernel types, two tracepoints, no files."""

from __future__ import annotations

from functools import cache

from ebpf.btf import Btf, types as T
from ebpf.btf.writer import Builder
from ebpf.compiler.c import tree
from ebpf.compiler.c.checker import check
from ebpf.compiler.c.parser import parse
from ebpf.compiler.c.preprocessor import preprocess
from ebpf.compiler.c.source import SourceMap
from ebpf.compiler.options import Options
from ebpf.diagnostics import Diagnostic

SCHED_SWITCH = """\
name: sched_switch
ID: 314
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char prev_comm[TASK_COMM_LEN];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:__data_loc char[] name;\toffset:40;\tsize:4;\tsigned:0;
\tfield:const void * skaddr;\toffset:48;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:56;\tsize:8;\tsigned:0;

print fmt: "prev_comm=%s", REC->prev_comm
"""


@cache
def kernel() -> Btf:
    """sock, task_struct, pt_regs and their like, much shortened."""
    b = Builder()
    char = b.add_int("char", 1, signed=True)
    short = b.add_int("unsigned short", 2)
    int_ = b.add_int("int", 4, signed=True)
    uint = b.add_int("unsigned int", 4)
    long = b.add_int("long unsigned int", 8)
    array = b.add_array(char, 16, uint)
    net = b.add_struct("net", 8, [T.Member("inum", uint, 0)])
    both = b.add_struct("", 4, [T.Member("skc_dport", short, 0), T.Member("skc_num", short, 16)])
    pair = b.add_union("", 4, [T.Member("skc_portpair", uint, 0), T.Member("", both, 0)])
    common = b.add_struct("sock_common", 24, [
        T.Member("skc_daddr", uint, 0), T.Member("", pair, 32), T.Member("skc_family", short, 64),
        T.Member("skc_net", b.add_ptr(net), 128)])  # fmt: skip
    b.add_struct("sock", 32, [T.Member("__sk_common", common, 0), T.Member("sk_flags", long, 192)])
    task = b.reserve()
    parent = b.add_ptr(task)
    b.define(task, T.Struct(task, "task_struct", 48, (
        T.Member("pid", int_, 0), T.Member("on_rq", uint, 32, 3), T.Member("policy", uint, 35, 7),
        T.Member("comm", array, 64), T.Member("real_parent", parent, 192), T.Member("start", long, 256),
        T.Member("sib", b.add_array(parent, 1, uint), 320))))  # fmt: skip
    names = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split()
    b.add_struct("pt_regs", 8 * len(names), [T.Member(n, long, 64 * i) for i, n in enumerate(names)])
    b.add_enum("bpf_color", [("COLOR_RED", 0), ("COLOR_BLUE", 7)])
    b.add_typedef("sector_t", long)
    b.add_func("vfs_read", b.add_func_proto(long, [("file", parent), ("count", long)]))
    return b.build()


class FakeFacts:
    """Facts of the made-up host; ``btf=None`` is a kernel without."""

    arch = "x86"
    kernel_id = "made up"
    kernel_version = 6 << 16 | 1 << 8
    cpus_online = 3
    cpus_possible = 4
    page_size = 4096

    def __init__(self, *, with_btf: bool = True, wrapper: bool = True) -> None:
        self._btf = kernel() if with_btf else None
        self._wrapper = wrapper

    def btf(self) -> Btf | None:
        return self._btf

    def module_btfs(self) -> tuple[Btf, ...]:
        return ()

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return SCHED_SWITCH if (category, name) == ("sched", "sched_switch") else None

    def kconfig(self, name: str) -> str | None:
        return "y" if name == "CONFIG_ARCH_HAS_SYSCALL_WRAPPER" and self._wrapper else "n"

    def syscall_prefix(self) -> str:
        return "__x64_sys_" if self._wrapper else "sys_"

    def read_include(self, path: str) -> str | None:
        return None


def checked(text: str, dialect: str = "auto", facts: FakeFacts | None = None) -> tuple[tree.Unit, list[Diagnostic]]:
    """The typed tree and the messages of ``text``, which has to parse."""
    from ebpf.compiler.c.kernel_types import KernelTypes

    facts = facts or FakeFacts()
    sources = SourceMap()
    types = KernelTypes(facts, lambda kind, tag: None)
    pre = preprocess(sources, "t.c", text, kconfig=facts.kconfig)
    syntax, complaints = parse(pre.tokens, sources, is_typedef=lambda n: types.typedef(n) is not None, includes=pre.includes)
    assert not pre.diagnostics and not complaints, [*pre.diagnostics, *complaints]
    return check(syntax, sources, facts, Options(dialect=dialect), pre)  # type: ignore[arg-type]
