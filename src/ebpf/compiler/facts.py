"""All that the compiler may know of a host.

The compiler is a function of its source, its options and these facts. The kernel package answers from the running
system, tests answer from a dict, and `RecordingFacts` writes down every question, absent answers included, so that the
cache can tell later whether the same source would still give the same object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.btf.index import Scan


class Facts(Protocol):
    """Answers about the machine that a program is compiled for."""

    @property
    def arch(self) -> str:
        """``"x86"`` or ``"arm64"``: which registers ``PT_REGS_PARM1`` and its sisters read."""

    @property
    def kernel_id(self) -> str:
        """What identifies the running kernel's build (its build id); two kernels of one id have the same BTF."""

    @property
    def kernel_version(self) -> int:
        """``KERNEL_VERSION(a, b, c)`` of the target."""

    @property
    def cpus_online(self) -> int: ...

    @property
    def cpus_possible(self) -> int: ...

    @property
    def page_size(self) -> int: ...

    def btf(self) -> Btf | None:
        """The target kernel's own types; None where the kernel has none."""

    def module_btfs(self) -> tuple[Btf, ...]:
        """Types of loaded modules, asked only when `btf` lacks a name."""

    def tracepoint_format(self, category: str, name: str) -> str | None:
        """The text of tracefs' ``events/CATEGORY/NAME/format``; None where there is no such tracepoint."""

    def kconfig(self, name: str) -> str | None:
        """``"y"``, ``"m"``, a value, or None where the option is off or the configuration is not known."""

    def syscall_prefix(self) -> str:
        """``"__x64_sys_"`` or what else the kernel puts before a system call's name."""

    def read_include(self, path: str) -> str | None:
        """The text of the file at ``path``; None where it cannot be read."""


class ScriptFacts(Facts, Protocol):
    """What the tracing language asks besides."""

    def prepare(self) -> Scan | None:
        """Told before types are asked for: they may be looked through meanwhile. None: they need not be."""

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        """The kernel's functions whose names match ``pattern`` (``*`` and ``?``); None where they cannot be listed."""

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        """The tracepoints (``category:name``) that match ``pattern``; None where they cannot be listed."""

    def inode(self, path: str) -> int | None:
        """The number of the file at ``path`` (of a control group: its id); None where there is none."""

    def user_symbol(self, path: str, name: str) -> int | None:
        """The address that the ELF file at ``path`` gives its symbol ``name``; None where it has none."""

    def user_file(self, path: str) -> str | None:
        """What tells the program or library ``path`` as it is now from any other state of it; None where it is not."""

    def user_types(self, path: str, name: str, near: str) -> bytes | None:
        """BTF, from the debug information of the file at ``path``: of ``name()``, a function, ``struct name``, ``union
        name``, ``enum name``, or a typedef ``name``; of several that of the function ``near``. Empty: it has none of
        that name; None: it has no debug information. `ElfError` where that is damaged.
        """

    def usdt_arguments(self, path: str, provider: str, name: str) -> tuple[tuple[int, str], ...] | None:
        """What a static probe's notes say of its arguments: for each of its places the address in the file, and a text;
        None: no such probe.
        """
