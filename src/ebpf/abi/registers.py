"""Where a probed function's arguments and result are in ``struct pt_regs``, by architecture.

`PT_REGS_PARM1(ctx)` and its sisters, BCC's unpacked arguments and libbpf's `BPF_KPROBE` all come from these rows.
Arguments of system calls are in the registers of the *inner* pt_regs where the kernel wraps system calls
(CONFIG_ARCH_HAS_SYSCALL_WRAPPER); on x86-64 their fourth is r10, because `syscall` destroys rcx.
"""

from __future__ import annotations


class RegisterNames:
    """Members of ``struct pt_regs``: ``args`` in order, ``syscall_args``, ``rc``, ``sp``, ``fp``, ``ip``, ``ret``.

    ``members`` are all of them, as rows of a context layout (`ebpf.abi.context_layouts`). ``regs_struct`` is the struct
    libbpf casts the context to; ``syscall_regs`` is the member that points to the inner pt_regs where system calls are
    wrapped; ``syscall_prefix`` precedes the names of system call functions there.
    """

    __slots__ = ("args", "fp", "ip", "members", "rc", "regs_struct", "ret", "sp", "syscall_args",
                 "syscall_prefix", "syscall_regs")

    def __init__(self, *, members: str, args: str, syscall_args: str, rc: str, sp: str, fp: str, ip: str, ret: str,
                 regs_struct: str, syscall_regs: str, syscall_prefix: str) -> None:
        self.members = members
        self.args = tuple(args.split())
        self.syscall_args = tuple(syscall_args.split())
        self.rc = rc
        self.sp = sp
        self.fp = fp
        self.ip = ip
        self.ret = ret
        self.regs_struct = regs_struct
        self.syscall_regs = syscall_regs
        self.syscall_prefix = syscall_prefix


REGISTERS: dict[str, RegisterNames] = {
    "x86_64": RegisterNames(
        members=";".join(f"{name}:8 a" for name in (
            "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split())),
        args="di si dx cx r8 r9", syscall_args="di si dx r10 r8 r9", rc="ax", sp="sp", fp="bp", ip="ip", ret="sp",
        regs_struct="pt_regs", syscall_regs="di", syscall_prefix="__x64_sys_"),
    "aarch64": RegisterNames(
        members="regs:8[31] a;sp:8 a;pc:8 a;pstate:8 a;orig_x0:8 a;syscallno:4 a;unused2:4 a;rest:8[6] a",
        args="regs[0] regs[1] regs[2] regs[3] regs[4] regs[5] regs[6] regs[7]",
        syscall_args="orig_x0 regs[1] regs[2] regs[3] regs[4] regs[5]", rc="regs[0]", sp="sp", fp="regs[29]", ip="pc",
        ret="regs[30]", regs_struct="user_pt_regs", syscall_regs="regs[0]", syscall_prefix="__arm64_sys_"),
}
"""Architecture (``platform.machine()``'s name) → its row."""

USER_REGISTER_NAMES: dict[str, str] = {
    "rdi": "di", "rsi": "si", "rdx": "dx", "rcx": "cx", "rax": "ax", "rbx": "bx", "rbp": "bp", "rsp": "sp",
    "rip": "ip", "orig_rax": "orig_ax", "eflags": "flags",
}
"""x86-64: the members' names in user space's <asm/ptrace.h> → the kernel's."""


# Members of other architectures' ``struct pt_regs``, by which a program shows what it was written for.
FOREIGN_MEMBERS: dict[str, str] = {
    "gpr": "powerpc", "gprs": "s390x", "psw": "s390x", "uregs": "32-bit arm", "regs": "arm64", "pstate": "arm64",
    "a0": "riscv64", "a1": "riscv64", "epc": "riscv64", "csr_era": "loongarch64", "di": "x86", "si": "x86",
    "orig_ax": "x86",
}
