"""`ebpf.host`: what can be asked of the running system before a program is attached to it.

Functions to probe, tracepoints, symbols and their addresses, libraries, CPUs, fields of the kernel's structs. Nothing
is read until it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.binaries.usdt import UsdtProbe
    from ebpf.btf import Btf
    from ebpf.kernel.tracepipe import TracePipe
    from ebpf.kernel.user_symbols import UserSymbols


class Host:
    """The running system. Use the one instance, `ebpf.host`."""

    __slots__ = ("_btf",)

    def __init__(self) -> None:
        self._btf: Btf | None = None

    # ---- the kernel ----

    def btf(self) -> Btf | None:
        """The kernel's own types; ``None`` where it has none (no CONFIG_DEBUG_INFO_BTF)."""
        if self._btf is None:
            from ebpf.compiler.cache import Store
            from ebpf.kernel.facts import SystemFacts

            self._btf = SystemFacts(Store()).btf()
        return self._btf

    def struct_has_field(self, struct: str, field: str) -> bool | None:
        """Whether the kernel's ``struct`` has ``field``; ``None`` if there is no such struct, or no BTF to tell."""
        btf = self.btf()
        found = None if btf is None else btf.find(struct)
        if btf is None or found is None:
            return None
        return field in btf.members(found)

    def functions(self, pattern: str | bytes) -> list[str]:
        """Kernel functions that a kprobe may be attached to and whose whole names match the regular expression,
        sorted.
        """
        from ebpf.kernel.attach.kprobe import functions_matching

        return functions_matching(pattern)

    def tracepoints(self, category: str | None = None) -> list[str]:
        """Tracepoints as ``category:name``."""
        from ebpf.kernel.attach.tracepoint import tracepoints

        return tracepoints(category)

    def tracefs(self) -> str:
        """Where tracefs is mounted."""
        from ebpf.kernel.tracepipe import tracefs

        return tracefs()

    def syscall_prefix(self) -> str:
        """What stands before a system call's name in this kernel: ``"__x64_sys_"``."""
        from ebpf.kernel.symbols import syscall_prefix

        return syscall_prefix()

    def syscalls(self) -> dict[int, str]:
        """Number → name of the system calls of this architecture, without ``sys_``."""
        import os

        from ebpf.abi.syscalls import syscall_names

        return syscall_names(os.uname().machine)

    def kernel_function(self, name: str) -> str:
        """The kernel's own name for a function: ``sys_clone`` is ``__x64_sys_clone``; `TargetNotFound` if there is
        none.
        """
        from ebpf.kernel.symbols import kernel_function

        return kernel_function(name)

    def kernel_symbol(self, address: int) -> tuple[str, int, str] | None:
        """The function at a kernel address: its name, the offset into it, its module ("" for the kernel proper)."""
        from ebpf.kernel.symbols import kernel_symbols

        found = kernel_symbols().resolve(address)
        return None if found is None else (found[0].name, found[1], found[0].module)

    def kernel_address(self, name: str) -> int | None:
        """The address of a kernel symbol, 0 if the kernel hides it from this user, ``None`` if it does not exist."""
        from ebpf.kernel.symbols import kernel_symbols

        return kernel_symbols().address(name)

    def replacements(self, probe: str) -> list[str]:
        """What this kernel has in place of ``"kprobe:NAME"`` or ``"tracepoint:CATEGORY:NAME"``, the best first."""
        from ebpf.kernel.replacement import replacements_here

        return replacements_here(probe)

    def moved(self, probe: str) -> str | None:
        """The probe that sees the calls which a function that is still there used to get; ``None``: it gets them."""
        from ebpf.abi.renamed import moved
        from ebpf.kernel.replacement import exists

        found = moved(probe)
        return found if found is not None and exists(found) else None

    def absorbed(self, probe: str) -> str | None:
        """The probe that sees what one on a function that kernels gave up would see; ``None`` if none is known."""
        from ebpf.abi.renamed import absorbed

        return absorbed(probe)

    def is_inlined(self, probe: str) -> bool:
        """Whether compilers put that function into its caller, and this kernel has that caller to probe."""
        from ebpf.abi.renamed import is_inlined

        return is_inlined(probe) and bool(self.replacements(probe))

    def renamed_member(self, struct: str, member: str) -> str | None:
        """What this kernel calls a struct's member that it has under another name; None if it has none such."""
        from ebpf.abi.renamed import member_names

        return next((name for name in member_names(struct, member) if self.struct_has_field(struct, name)), None)

    def has_same_arguments(self, probe: str) -> bool:
        """Whether a tracepoint's raw arguments begin with those of the functions that it replaces."""
        from ebpf.abi.renamed import has_same_arguments

        return has_same_arguments(probe)

    def trace_pipe(self) -> TracePipe:
        """What programs print with bpf_trace_printk: one pipe for the whole machine."""
        from ebpf.kernel.tracepipe import TracePipe

        return TracePipe()

    # ---- programs and libraries ----

    def find_library(self, name: str) -> str | None:
        """The file of a shared library (``"c"``), as the dynamic linker finds it."""
        from ebpf.binaries.find import find_library

        return find_library(name)

    def find_binary(self, name: str, pid: int | None = None) -> str:
        """The file meant by a path, a library's short name, or a program on PATH; `TargetNotFound` if there is none."""
        from ebpf.binaries.find import find_binary

        return find_binary(name, pid)

    def user_functions(self, binary: str) -> dict[str, tuple[int, int]]:
        """Functions of a program or library: name → (offset in the file, virtual address)."""
        from ebpf.binaries.symbols import elf_symbols

        return {name: (s.offset, s.address) for name, s in elf_symbols(self.find_binary(binary)).functions.items()}

    def user_symbols(self, demangle: bool = True) -> UserSymbols:
        """Names for addresses of processes: ``resolve(pid, address)`` → (address, function, offset, file).

        Functions of programs and libraries, stripped ones with what debug files say, of generated code
        (``/tmp/perf-PID.map``), of the vdso, in containers. ``follow()`` remembers processes that end meanwhile.
        """
        from ebpf.kernel.user_symbols import UserSymbols

        return UserSymbols() if demangle else UserSymbols(str)

    def usdt_probes(self, path: str) -> tuple[UsdtProbe, ...]:
        """Static probes (USDT) of a program or library: each place of each probe, with its arguments."""
        from ebpf.binaries.usdt import usdt_probes

        return usdt_probes(path)

    def mapped_files(self, pid: int) -> list[str]:
        """Files that a process has mapped to run them, as seen from here (containers); `TargetNotFound` if it ended."""
        from ebpf.binaries.find import mapped_files

        return mapped_files(pid)

    # ---- CPUs ----

    def online_cpus(self) -> list[int]:
        """CPUs that run now."""
        from ebpf.kernel.cpus import online_cpus

        return online_cpus()

    def possible_cpus(self) -> list[int]:
        """CPUs that may ever run: per-CPU maps have a value for each."""
        from ebpf.kernel.cpus import possible_cpus

        return possible_cpus()


host = Host()
