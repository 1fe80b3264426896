"""Facts of a kernel that is not the running one: its types and tracepoints, given as files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf.errors import KernelError, TargetNotFound, UsageError
from ebpf.kernel.facts import SystemFacts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ebpf.btf import Btf
    from ebpf.compiler.trace.plan import Plan, Probe

_ELF_MAGIC = b"\x7fELF"
_COPY = "give a copy of /sys/kernel/tracing/events"
_BUNDLED = frozenset(("syscalls", "raw_syscalls"))  # categories of which every kernel has the same
_FUNCTIONS = frozenset(("kprobe", "kretprobe", "fentry", "fexit"))
_USER = frozenset(("uprobe", "uretprobe", "usdt"))


class OtherKernel(SystemFacts):
    """As `SystemFacts`, but nothing is taken from the running kernel that ``btf`` or ``formats`` speaks of.

    ``btf``: raw BTF, a vmlinux with a section of it, or a copy of /sys/kernel/btf with the modules' too; functions are
    those that it names. ``formats``: a copy of tracefs' ``events`` (``CATEGORY/NAME/format``); without it the
    tracepoints known are those that every kernel has alike, the system calls'. `unsure` says what could not be known.
    """

    __slots__ = ("_formats", "_functions", "given", "unsure")

    def __init__(self, btf: str | Path | None, formats: str | Path | None) -> None:
        path = None if btf is None else os.fspath(btf)
        folder = path if path is not None and os.path.isdir(path) else ""
        #: the kernel's own types, if they were given
        self.given = None if path is None else _read_btf(f"{folder}/vmlinux" if folder else path)
        super().__init__(None, self.given)
        if folder:
            self._modules = tuple(_read_btf(f"{folder}/{name}", self.given) for name in sorted(os.listdir(folder))
                                  if name != "vmlinux")
        self._config = {}
        self._formats = None if formats is None else os.fspath(formats)
        self._functions: frozenset[str] | None = None
        #: sentences, each once
        self.unsure: list[str] = []
        if self._formats is not None and not os.path.isdir(self._formats):
            raise UsageError(f"{self._formats} is no directory", helps=(_COPY,))
        if path is None:
            self._say("functions and types are the running kernel's: give the other's by --btf")

    def prepare(self) -> None:
        """The types are looked through when the first one is asked for."""

    @property
    def kernel_version(self) -> int:
        """The oldest that has the newest helper function among the types; the running kernel's without `btf`."""
        return super().kernel_version if self.given is None else _version_of(self.given)

    def syscall_prefix(self) -> str:
        from ebpf.kernel.symbols import SYSCALL_PREFIXES

        if self.given is None:
            return super().syscall_prefix()
        return next((prefix for prefix in SYSCALL_PREFIXES if f"{prefix}bpf" in self._named()), SYSCALL_PREFIXES[0])

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        if self.given is None:
            return super().functions(pattern)
        from fnmatch import fnmatchcase

        if not any(c in pattern for c in "*?["):
            found: tuple[str, ...] = (pattern,) if pattern in self._named() else ()
        else:
            found = tuple(sorted(name for name in self._named() if fnmatchcase(name, pattern)))
        if not found:
            self._say("functions are those in the BTF given: of modules whose BTF is not there, and of functions that "
                      "the compiler renamed (`.isra.0`, `.constprop.0`), nothing is known")
        return found

    def _named(self) -> frozenset[str]:
        if self._functions is None:
            from ebpf.btf.types import Kind

            known = () if self.given is None else (self.given, *self.module_btfs())
            self._functions = frozenset(name for btf in known
                                        for name, _ in btf.iter_names(Kind.FUNC))
        return self._functions

    def tracepoint_format(self, category: str, name: str) -> str | None:
        if "/" in category or "/" in name:
            return None
        if self._formats is not None:
            try:
                with open(f"{self._formats}/{category}/{name}/format", encoding="utf-8") as file:
                    return file.read()
            except OSError:
                return None
        from ebpf.abi import tracepoints
        from ebpf.btf.types import Kind

        types = self.given
        fork = types.find(tracepoints.FORK_STRUCT) if types is not None else None
        members = types.members(fork) if types is not None and fork is not None else None
        text = tracepoints.tracepoint_format(category, name, legacy=tracepoints.is_legacy(members))
        if text is None and types is not None and category not in _BUNDLED and (
                types.find(f"btf_trace_{name}", Kind.TYPEDEF) is not None):
            raise UsageError("its fields are not among the kernel's types", helps=(f"--formats DIR: {_COPY}",))
        return text

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        from fnmatch import fnmatchcase

        if self._formats is None:
            from ebpf.abi.tracepoints import tracepoints as bundled

            self._say("of tracepoints only those of system calls and processes are known without --formats")
            return tuple(name for name in bundled() if fnmatchcase(name, pattern))
        category = pattern.partition(":")[0]
        wild = any(c in category for c in "*?[")
        found = (f"{group}:{name}" for group in (_names(self._formats) if wild else (category,))
                 for name in _names(f"{self._formats}/{group}"))
        return tuple(name for name in found if fnmatchcase(name, pattern))

    def inode(self, path: str) -> int | None:
        self._say(f"the id of {path} is this system's")
        return super().inode(path)

    def check_targets(self, plan: Plan) -> None:
        """Raise `TargetNotFound` for a probe that this kernel has no place for."""
        sharing: dict[str, list[Probe]] = {}
        for probe in plan.probes:
            sharing.setdefault(probe.program, []).append(probe)
        for probes in sharing.values():
            missing = [probe for probe in probes if not self._has(probe)]
            if len(missing) == len(probes):
                raise TargetNotFound(f"{missing[0].name} matches nothing", name=missing[0].name,
                                     helps=("the kernel given has nothing of that name",))

    def _has(self, probe: Probe) -> bool:
        details = probe.details
        if probe.kind in _FUNCTIONS and (name := details.get("function")):
            return self.functions(name) != ()
        if probe.kind == "tracepoint" and details.get("wildcard"):
            return self.tracepoints(f"{details['category']}:{details['event']}") != ()
        if probe.kind == "rawtracepoint":
            return self._has_raw_tracepoint(details["event"])
        if probe.kind in _USER:
            from ebpf.session.tracing.attaching import sites

            self._say("programs and libraries are this system's files")
            sites(probe)
        return True

    def _has_raw_tracepoint(self, pattern: str) -> bool:
        from fnmatch import fnmatchcase

        from ebpf.btf.types import Kind

        if self.given is None:
            return bool(self.tracepoints(f"*:{pattern}"))
        return any(fnmatchcase(name, f"btf_trace_{pattern}") for btf in (self.given, *self.module_btfs())
                   for name, _ in btf.iter_names(Kind.TYPEDEF))

    def _say(self, sentence: str) -> None:
        if sentence not in self.unsure:
            self.unsure.append(sentence)


def _version_of(types: Btf) -> int:
    """KERNEL_VERSION of the first release with the newest helper function that an enum of the kernel names."""
    from ebpf.abi.helpers import HELPERS_BY_ID

    def code(since: str) -> int:
        major, _, minor = since.partition(".")
        return int(major) << 16 | int(minor) << 8

    newest_first = sorted(HELPERS_BY_ID.values(), key=lambda helper: helper.id, reverse=True)
    return next((code(helper.since) for helper in newest_first
                 if types.find_enumerator(f"BPF_FUNC_{helper.name.removeprefix('bpf_')}") is not None), 0)


def _names(folder: str) -> Sequence[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return ()


def _read_btf(path: str, base: Btf | None = None) -> Btf:
    from ebpf.btf.reader import Btf

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise KernelError(f"open({path})", error.errno or 0) from None
    if data[:4] == _ELF_MAGIC:
        from ebpf.binaries.elf import Binary

        image = Binary(path)
        data = next((image.contents(section) for section in image.sections if section.name == ".BTF"), b"")
        if not data:
            raise UsageError(f"{path} has no section .BTF", helps=(
                "a kernel built with CONFIG_DEBUG_INFO_BTF has one; on a running one it is /sys/kernel/btf/vmlinux",))
    return Btf.parse(data, base)
