"""`SystemFacts`: the compiler's questions about its host, answered from the running system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf.errors import BtfError, EbpfError
from ebpf.kernel import cpus, features, symbols, sys
from ebpf.kernel.tracepipe import tracefs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.btf import Btf, IndexStore
    from ebpf.btf.index import Scan

_BTF = "/sys/kernel/btf"
_ARCHES = {"x86_64": "x86", "i686": "x86", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390",
           "ppc64le": "powerpc", "loongarch64": "loongarch", "armv7l": "arm"}
_MAX_INCLUDE = 16 << 20


class SystemFacts:
    """Implements `ebpf.compiler.facts.Facts`. Answers are read when first asked for and then kept.

    `store` keeps BTF indexes between runs; `btf` stands in for the kernel's own types.
    """

    __slots__ = ("_btf", "_config", "_id", "_modules", "store")

    def __init__(self, store: IndexStore | None = None, btf: Btf | None = None) -> None:
        self.store = store
        self._btf: Btf | None | bool = btf if btf is not None else False  # False: not asked yet
        self._modules: tuple[Btf, ...] | None = () if btf is not None else None
        self._config: dict[str, str] | None = None
        self._id: str | None = None

    @property
    def arch(self) -> str:
        machine = os.uname().machine
        return _ARCHES.get(machine, machine)

    @property
    def kernel_id(self) -> str:
        """The build id out of /sys/kernel/notes; where that is missing, release and version string."""
        if self._id is None:
            self._id = _build_id("/sys/kernel/notes") or "{0.release} {0.version}".format(os.uname())
        return self._id

    @property
    def kernel_version(self) -> int:
        return features.kernel_version_code()

    @property
    def cpus_online(self) -> int:
        return len(cpus.online_cpus())

    @property
    def cpus_possible(self) -> int:
        return len(cpus.possible_cpus())

    @property
    def page_size(self) -> int:
        return sys.PAGE_SIZE

    def btf(self) -> Btf | None:
        """The kernel's types, None where it has none (CONFIG_DEBUG_INFO_BTF off)."""
        if isinstance(self._btf, bool):
            self._btf = kernel_btf(self.store, f"vmlinux-{self.kernel_id}")
        return self._btf

    def prepare(self) -> Scan | None:
        """Have this kernel's types scanned by a child, if that has never been done; `Scan.finish` reaps it."""
        btf = self.btf() if self._modules is None else None  # with types of another kernel there are no modules
        if btf is None or btf.has_index:
            return None
        from ebpf.kernel.type_scan import TypeScan

        scan = TypeScan.start(btf, keep=self.store is not None)
        if scan is not None:
            btf.expect(scan)
        return scan

    def module_btfs(self) -> tuple[Btf, ...]:
        if self._modules is None:
            base = self.btf()
            self._modules = tuple(btf for _, btf in module_btfs(base)) if base is not None else ()
        return self._modules

    def tracepoint_format(self, category: str, name: str) -> str | None:
        if "/" in category or "/" in name:
            return None
        try:
            with open(f"{tracefs()}/events/{category}/{name}/format") as file:
                return file.read()
        except OSError as error:
            if not isinstance(error, EbpfError):
                return None
            # tracefs itself is missing or closed to us: that is not "no such tracepoint".
            from ebpf.abi import tracepoints

            btf = self.btf() if category == "sched" else None
            fork = btf.find(tracepoints.FORK_STRUCT) if btf is not None else None
            legacy = btf is not None and fork is not None and tracepoints.is_legacy(btf.members(fork))
            bundled = tracepoints.tracepoint_format(category, name, legacy=legacy)
            if bundled is None:
                raise
            return bundled

    def kconfig(self, name: str) -> str | None:
        if self._config is None:
            self._config = read_kconfig()
        if not name.startswith("CONFIG_"):
            name = f"CONFIG_{name}"
        if not self._config and name in _SEEN_OTHERWISE:
            return "y" if _SEEN_OTHERWISE[name](self) else None
        return self._config.get(name)

    def syscall_prefix(self) -> str:
        # With its index at hand BTF answers in a millisecond; to build that would cost more than kallsyms (60 ms).
        btf = self.btf() if self.store is not None or self._btf else None
        if btf is not None:
            from ebpf.btf.types import Kind

            for prefix in symbols.SYSCALL_PREFIXES:
                if btf.find(f"{prefix}bpf", Kind.FUNC) is not None:
                    return prefix
        return symbols.syscall_prefix()

    def read_include(self, path: str) -> str | None:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(_MAX_INCLUDE)
        except (OSError, ValueError):
            return None

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        if not any(c in pattern for c in "*?["):
            from ebpf.kernel.symbol_lookup import has_symbol

            there = has_symbol(pattern)
            try:
                return (pattern,) if (there if there is not None else pattern in symbols.kernel_symbols()) else ()
            except EbpfError:
                return None
        from fnmatch import translate

        from ebpf.kernel.attach.kprobe import functions_matching

        try:
            return tuple(functions_matching(translate(pattern)))
        except EbpfError:
            return None

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        from fnmatch import fnmatchcase

        from ebpf.kernel.attach.tracepoint import tracepoints

        category = pattern.partition(":")[0]
        try:
            found = tracepoints(None if any(c in category for c in "*?[") else category)
        except (EbpfError, OSError):
            from ebpf.abi.tracepoints import tracepoints as bundled

            found = bundled()
        return tuple(name for name in found if fnmatchcase(name, pattern))

    def inode(self, path: str) -> int | None:
        try:
            return os.stat(path).st_ino
        except (OSError, ValueError):
            return None

    def user_symbol(self, path: str, name: str) -> int | None:
        from ebpf.binaries.find import find_binary
        from ebpf.binaries.symbols import elf_symbols

        try:
            return elf_symbols(find_binary(path)).address_of(name)
        except (EbpfError, OSError):
            return None

    def user_file(self, path: str) -> str | None:
        from ebpf.binaries.find import find_binary

        try:
            found = find_binary(path)
            stat = os.stat(found)
        except (EbpfError, OSError):
            return None
        return f"{found} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"

    def user_types(self, path: str, name: str, near: str) -> bytes | None:
        from ebpf.binaries.dwarf_types import debug_types
        from ebpf.binaries.find import find_binary
        from ebpf.errors import AttachError

        try:
            types = debug_types(find_binary(path))
        except AttachError:  # the file itself is missing: whoever attaches says so
            return None
        return None if types is None else types.btf(name, near) or b""

    def usdt_arguments(self, path: str, provider: str, name: str) -> tuple[tuple[int, str], ...] | None:
        from ebpf.binaries.find import find_binary
        from ebpf.binaries.usdt import find_usdt

        try:
            return tuple((place.address, place.text) for place in find_usdt(find_binary(path), name, provider))
        except (EbpfError, OSError):
            return None


# What scripts ask of the configuration and what shows elsewhere too: for kernels whose configuration nobody kept.
_SEEN_OTHERWISE: dict[str, Callable[[SystemFacts], bool]] = {
    "CONFIG_64BIT": lambda facts: os.uname().machine.endswith("64") or os.uname().machine in ("s390x", "ppc64le"),
    "CONFIG_X86_64": lambda facts: os.uname().machine == "x86_64",
    "CONFIG_ARM64": lambda facts: os.uname().machine == "aarch64",
    "CONFIG_ARCH_HAS_SYSCALL_WRAPPER": lambda facts: facts.syscall_prefix().startswith("__"),
    "CONFIG_NET_NS": lambda facts: os.path.exists("/proc/self/ns/net"),
    "CONFIG_NUMA": lambda facts: os.path.exists("/sys/devices/system/node/node0"),
    "CONFIG_BPF_SYSCALL": lambda facts: True,
}


def kernel_btf(store: IndexStore | None = None, identity: str | None = None) -> Btf | None:
    """The running kernel's types, mapped where it allows that (Linux 6.16), else read (5 MB, 2 ms); None without
    BTF.
    """
    import mmap

    from ebpf.btf.reader import Btf

    try:
        with open(f"{_BTF}/vmlinux", "rb") as file:
            try:
                data: bytes | mmap.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):
                data = file.read()
    except OSError:
        return None
    return Btf.parse(data, store=store, identity=identity)


def module_btfs(base: Btf) -> list[tuple[str, Btf]]:
    """(name, types) of every loaded module that has BTF (Linux 5.11)."""
    from ebpf.btf.reader import Btf

    found = []
    try:
        names = sorted(os.listdir(_BTF))
    except OSError:
        return []
    for name in names:
        if name == "vmlinux":
            continue
        try:
            with open(f"{_BTF}/{name}", "rb") as file:
                found.append((name, Btf.parse(file.read(), base)))
        except (OSError, BtfError):  # unloaded meanwhile, or built against another vmlinux
            continue
    return found


def read_kconfig() -> dict[str, str]:
    """The kernel's configuration, from /proc/config.gz or the file that the distribution put into /boot; {} if unknown.

    Values as in Kconfig: ``y``, ``m``, numbers, strings without their quotes. What is off is absent.
    """
    text = ""
    try:
        import gzip

        with gzip.open("/proc/config.gz", "rt") as file:
            text = file.read()
    except (OSError, EOFError):
        release = os.uname().release
        for path in (f"/boot/config-{release}", f"/lib/modules/{release}/config",
                     f"/lib/modules/{release}/build/.config", f"/usr/lib/ostree-boot/config-{release}"):
            try:
                with open(path) as plain:
                    text = plain.read()
                break
            except OSError:
                continue
    config = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            config[name] = value.strip('"')
    return config


def _build_id(path: str) -> str:
    """The GNU build id note (type 3, owner "GNU") among the notes in the file at `path`, as hexadecimal; "" if
    absent.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return ""
    import struct

    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("=III", data, at)
        name = at + 12
        value = name + (name_size + 3 & ~3)
        if kind == 3 and data[name:name + name_size] == b"GNU\0":
            return data[value:value + size].hex()
        at = value + (size + 3 & ~3)
    return ""
