"""Names and addresses: the kernel's symbols, and those of programs and libraries for uprobes."""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.diagnostics import did_you_mean
from ebpf.errors import ElfError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Set

# What kernels put before the name of a system call's function, newest x86 form first. BCC finds the running kernel's by
# looking up "<prefix>bpf"; so do we.
SYSCALL_PREFIXES: Final = ("__x64_sys_", "__arm64_sys_", "__s390x_sys_", "__riscv_sys_", "__loongarch_sys_",
                           "__powerpc_sys_", "__x32_compat_sys_", "__ia32_compat_sys_", "__s390_sys_", "sys_")


class KernelSymbol(NamedTuple):
    """`address` is 0 when the kernel hides addresses (kptr_restrict); `module` is "" for the kernel proper."""

    address: int
    kind: str  #: as nm(1) has it: "T" global text, "t" local text, "D" data …
    name: str
    module: str


class KernelSymbols:
    """/proc/kallsyms, read once. 150,000 lines: only what is asked for is turned into Python values."""

    __slots__ = ("_addresses", "_order", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = b"\n" + text
        self._addresses: list[int] | None = None
        self._order: list[tuple[int, int]] = []

    @classmethod
    def read(cls) -> KernelSymbols:
        """The running kernel's symbols as they are now."""
        with open("/proc/kallsyms", "rb") as file:
            return cls(file.read())

    def find_all(self, name: str) -> list[KernelSymbol]:
        """All symbols called `name` (static functions may share one); [] if there is none."""
        found = []
        wanted = b" " + name.encode()
        text = self._text
        at = text.find(wanted)
        while at >= 0:
            behind = text[at + len(wanted):at + len(wanted) + 1]
            if behind in (b"\n", b"\t", b""):
                found.append(self._parse(text.rfind(b"\n", 0, at) + 1))
            at = text.find(wanted, at + 1)
        return found

    def address(self, name: str) -> int | None:
        """The address of `name`; None if there is no such symbol, 0 if the kernel hides it."""
        found = self.find_all(name)
        return found[0].address if found else None

    def __contains__(self, name: str) -> bool:
        return bool(self.find_all(name))

    def resolve(self, address: int) -> tuple[KernelSymbol, int] | None:
        """The function that holds `address`, and how far into it that is; None below the first or if they are
        hidden.
        """
        if self._addresses is None:
            order = []
            at = 1
            text = self._text
            while at < len(text):
                end = text.find(b" ", at)
                if end < 0:
                    break
                if text[end + 1:end + 2] in b"tTwW":
                    order.append((int(text[at:end], 16), at))
                at = text.find(b"\n", end) + 1
                if at == 0:
                    break
            order.sort()
            self._order = order
            self._addresses = [entry[0] for entry in order]
        index = bisect_right(self._addresses, address) - 1
        if index < 0 or self._addresses[index] == 0:
            return None
        symbol = self._parse(self._order[index][1])
        return symbol, address - symbol.address

    def functions(self) -> Iterator[str]:
        """Names of all functions, each as often as it occurs."""
        for line in self._text.split(b"\n"):
            fields = line.split()
            if len(fields) >= 3 and fields[1] in (b"t", b"T", b"w", b"W"):
                yield fields[2].decode(errors="replace")

    def other_names(self, known: Set[bytes], wanted: Callable[[bytes], object]) -> list[bytes]:
        """Functions not in ``known`` that ``wanted`` is true for and that are where one of ``known`` is.

        A system call without arguments is ``__do_sys_getppid`` and ``__x64_sys_getppid`` at once. None if the kernel
        hides addresses.
        """
        rows = _FUNCTION.findall(self._text)
        candidates = [(place, name) for place, name in rows if wanted(name) and name not in known and place.strip(b"0")]
        places = {place for place, _ in candidates}
        shared = {place for place, name in rows if place in places and name in known} if places else set()
        return [name for place, name in candidates if place in shared]

    def _parse(self, start: int) -> KernelSymbol:
        end = self._text.find(b"\n", start)
        fields = self._text[start:end if end >= 0 else None].decode(errors="replace").split()
        return KernelSymbol(int(fields[0], 16), fields[1], fields[2], fields[3].strip("[]") if len(fields) > 3 else "")


_FUNCTION = re.compile(rb"^([0-9a-f]+) [tTwW] (\S+)", re.MULTILINE)


@lru_cache(maxsize=1)
def kernel_symbols() -> KernelSymbols:
    """The kernel's symbols, read the first time. Modules loaded later: call `kernel_symbols.cache_clear()`."""
    return KernelSymbols.read()


@lru_cache(maxsize=1)
def syscall_prefix() -> str:
    """What stands before a system call's name in the running kernel: ``"__x64_sys_"``; "sys_" if it cannot be told."""
    symbols = kernel_symbols()
    return next((prefix for prefix in SYSCALL_PREFIXES if prefix + "bpf" in symbols), "sys_")


def kernel_function(name: str) -> str:
    """The running kernel's own name for the function `name`: ``sys_clone`` is ``__x64_sys_clone`` there.

    `TargetNotFound` names similar functions if there is none.
    """
    symbols = kernel_symbols()
    if any(s.kind in "tTwW" for s in symbols.find_all(name)):
        return name
    for prefix in sorted(SYSCALL_PREFIXES, key=len, reverse=True):
        if name.startswith(prefix):
            translated = syscall_prefix() + name[len(prefix):]
            if translated != name and translated in symbols:
                return translated
            break
    raise function_not_found(name)


def function_not_found(name: str, why: str = "") -> TargetNotFound:
    """The error for a kernel function that is not there (or that `why` keeps from being probed), with similar names."""
    symbols = kernel_symbols()
    # Compilers leave foo.isra.0, foo.constprop.0, foo.part.0 where foo was.
    variants = [s for s in _prefixed(symbols, name + ".") if not s.startswith("__")]
    near = [] if variants else _near(name, symbols)
    notes = [why] if why else []
    if variants:
        notes.append("the compiler changed that function's arguments or split it, so its arguments may not be "
                     "where C says")
    similar = (*variants[:3], *near)
    helps = (f"similar functions: {', '.join(similar)}",) if similar else ()
    message = f"no kernel function called {name!r}" if not why else f"kernel function {name!r} cannot be probed"
    return TargetNotFound(message, name=name, similar=similar, notes=notes, helps=helps)


def _near(name: str, symbols: KernelSymbols) -> list[str]:
    """Functions that `name` may mean. Comparing it with all 150,000 takes a second on a slow machine: sort out
    first.
    """
    written = next((p for p in SYSCALL_PREFIXES if name.startswith(p)), None)
    running = syscall_prefix()
    pool = set()
    for function in symbols.functions():
        if written is not None and function.startswith(running):
            pool.add(written + function[len(running):])
        elif abs(len(function) - len(name)) <= 4 and (function[:2] == name[:2] or function[-4:] == name[-4:]):
            pool.add(function)
    pool.discard(name)
    return list(did_you_mean(name, pool))


def _prefixed(symbols: KernelSymbols, prefix: str) -> list[str]:
    return [name for name in symbols.functions() if name.startswith(prefix)]


# ---- programs and libraries ---------------------------------------------------------------------


class ElfSymbol(NamedTuple):
    """A function of an ELF file; `offset` is its place in the *file*, what uprobes want."""

    name: str
    offset: int
    size: int
    address: int  #: virtual address in the file


class ElfSymbols:
    """The functions of one program or shared library (its .symtab and .dynsym)."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                import mmap

                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise TargetNotFound(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else 'empty'}",
                                 name=path) from None
        try:
            self._read_headers()
        except (struct.error, IndexError):
            raise ElfError(f"{path}: damaged ELF file") from None
        self._functions: dict[str, ElfSymbol] | None = None

    def _read_headers(self) -> None:
        data = self._data
        if data[:4] != b"\x7fELF":
            raise ElfError(f"{self.path}: not an ELF file, so it has no functions to probe",
                           notes=("a script? name its interpreter instead",) if data[:2] == b"#!" else ())
        self._wide = data[4] == 2
        self._order = ">" if data[5] == 2 else "<"
        header = struct.unpack_from(self._order + ("HHIQQQIHHHHHH" if self._wide else "HHIIIIIHHHHHH"), data, 16)
        self.type = header[0]
        self.entry = header[3]
        phoff, shoff = header[4], header[5]
        phentsize, phnum, shentsize, shnum = header[8], header[9], header[10], header[11]
        #: executable and other PT_LOAD segments: (virtual address, file offset, size in file, flags)
        self.segments: list[tuple[int, int, int, int]] = []
        for index in range(phnum):
            at = phoff + index * phentsize
            if self._wide:
                kind, flags, offset, address, _, size = struct.unpack_from(self._order + "IIQQQQ", data, at)
            else:
                kind, offset, address, _, size, _, flags = struct.unpack_from(self._order + "IIIIIII", data, at)
            if kind == 1:
                self.segments.append((address, offset, size, flags))
        self._sections: list[tuple[int, int, int, int, int]] = []  # type, offset, size, link, entry size
        for index in range(shnum):
            fields = struct.unpack_from(self._order + ("IIQQQQIIQQ" if self._wide else "IIIIIIIIII"), data,
                                        shoff + index * shentsize)
            self._sections.append((fields[1], fields[4], fields[5], fields[6], fields[9]))

    def file_offset(self, address: int) -> int | None:
        """Where virtual address `address` of the file is in the file; None if no segment holds it."""
        for start, offset, size, _ in self.segments:
            if start <= address < start + size:
                return address - start + offset
        return None

    def virtual_address(self, offset: int) -> int | None:
        """The other way round."""
        for start, file_offset, size, _ in self.segments:
            if file_offset <= offset < file_offset + size:
                return offset - file_offset + start
        return None

    @property
    def functions(self) -> dict[str, ElfSymbol]:
        """Functions by name. Of a versioned name (``memcpy@@GLIBC_2.14``) the bare name is kept."""
        if self._functions is None:
            found: dict[str, ElfSymbol] = {}
            for kind, offset, size, link, entry in self._sections:
                if kind not in (2, 11) or not entry:  # SHT_SYMTAB, SHT_DYNSYM
                    continue
                table = self._data[offset:offset + size]
                _, strings, length, _, _ = self._sections[link]
                names = self._data[strings:strings + length]
                layout = struct.Struct(self._order + ("IBBHQQ" if self._wide else "IIIBBH"))
                for fields in layout.iter_unpack(table[:len(table) // layout.size * layout.size]):
                    if self._wide:
                        name, info, _, section, value, extent = fields
                    else:
                        name, value, extent, info, _, section = fields
                    # STT_FUNC, STT_GNU_IFUNC (its code is the resolver's); 0 is "defined elsewhere"
                    if info & 15 not in (2, 10) or not section or not value:
                        continue
                    where = self.file_offset(value)
                    if where is None:
                        continue
                    text = names[name:names.index(b"\0", name)].decode(errors="replace").partition("@")[0]
                    if text not in found:
                        found[text] = ElfSymbol(text, where, extent, value)
            self._functions = found
        return self._functions

    def find(self, name: str) -> ElfSymbol:
        """The function `name`; `TargetNotFound` with similar names."""
        symbol = self.functions.get(name)
        if symbol is None:
            similar = did_you_mean(name, self.functions)
            notes = () if self.functions else ("it has no symbols at all: stripped?",)
            raise TargetNotFound(f"no function {name!r} in {self.path}", name=name, similar=similar, notes=notes,
                                 helps=(f"similar functions: {', '.join(similar)}",) if similar else ())
        return symbol


@lru_cache(maxsize=16)
def _elf_symbols(path: str, mtime_ns: int, inode: int) -> ElfSymbols:
    return ElfSymbols(path)


def elf_symbols(path: str) -> ElfSymbols:
    """The symbols of the file at `path`; kept until it changes."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise TargetNotFound(f"cannot read {path}: {error.strerror}", name=path) from None
    return _elf_symbols(path, stat.st_mtime_ns, stat.st_ino)


def find_binary(name: str, pid: int | None = None) -> str:
    """The file meant by `name`: a path, a library's short name (``c`` → libc.so.6), or a program on PATH.

    With a `pid`, libraries that process has mapped come first, seen through its own root (containers).
    """
    if "/" in name:
        inside = f"/proc/{pid}/root{name}"  # the file as that process sees it, in a container
        if pid is not None and name.startswith("/") and os.path.exists(inside) and not _same_file(name, inside):
            return inside
        if os.path.exists(name):
            return name
        raise TargetNotFound(f"no file {name}", name=name)
    if pid is not None:
        mapped = _mapped_library(name, pid)
        if mapped:
            return mapped
    library = find_library(name)
    if library:
        return library
    import shutil

    program = shutil.which(name)
    if program:
        return os.path.realpath(program)
    known = sorted({lib.removeprefix("lib").partition(".so")[0] for lib, _ in _ld_cache()})
    similar = did_you_mean(name, known)
    raise TargetNotFound(f"no library and no program called {name!r}", name=name, similar=similar,
                         helps=(f"similar libraries: {', '.join(similar)}",) if similar else
                         ("give the path of the file",))


def find_library(name: str) -> str | None:
    """The file of library `name` (``c``, ``libc``, ``libc.so.6``) as the dynamic linker would find it; None if
    absent.
    """
    folders = [f for f in os.environ.get("LD_LIBRARY_PATH", "").split(":") if f]
    for soname, path in _ld_cache():
        if _is_library(soname, name) and os.path.exists(path):
            return os.path.realpath(path)
    machine = os.uname().machine
    folders += [f"/lib/{machine}-linux-gnu", f"/usr/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/lib",
                "/usr/lib", "/usr/local/lib"]
    for folder in folders:
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for entry in entries:
            if _is_library(entry, name):
                return os.path.realpath(os.path.join(folder, entry))
    return None


def _is_library(file: str, name: str) -> bool:
    if file == name:
        return ".so" in name
    stem = name if name.startswith("lib") else f"lib{name}"
    return file.startswith(stem + ".so") or (file.startswith(stem + "-") and file.endswith(".so"))


def _mapped_library(name: str, pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/maps") as file:
            paths = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if line.count("/")}
    except (OSError, IndexError):
        return None
    for path in sorted(paths):
        if _is_library(os.path.basename(path), name):
            inside = f"/proc/{pid}/root{path}"
            return path if _same_file(path, inside) else inside
    return None


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


@lru_cache(maxsize=1)
def _ld_cache() -> Sequence[tuple[str, str]]:
    """(soname, path) pairs of /etc/ld.so.cache for this machine's word size (glibc's "new" format, 1.1)."""
    try:
        with open("/etc/ld.so.cache", "rb") as file:
            data = file.read()
    except OSError:
        return ()
    magic = b"glibc-ld.so.cache1.1"
    start = data.find(magic)
    if start < 0:
        return ()
    try:
        count, _ = struct.unpack_from("=II", data, start + len(magic))
        found = []
        for index in range(count):
            flags, key, value, _, hwcap = struct.unpack_from("=iIIIQ", data, start + 48 + index * 24)
            # 0x0300 x86-64, 0x0a00 aarch64, …: the ABI byte; plain 0x03 is 32-bit x86 on a 64-bit machine
            if struct.calcsize("P") == 8 and not flags & 0xFF00:
                continue
            if hwcap:
                continue  # a variant for particular CPUs
            name = data[start + key:data.index(b"\0", start + key)].decode(errors="replace")
            path = data[start + value:data.index(b"\0", start + value)].decode(errors="replace")
            found.append((name, path))
        return found
    except (struct.error, ValueError):
        return ()
