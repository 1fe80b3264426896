"""The kernel's symbols: names and addresses."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.diagnostics import did_you_mean
from ebpf.errors import TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set

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
    from ebpf.kernel.replacement import replacement

    if (instead := replacement(f"kprobe:{name}")) is not None:
        helps = (f"this kernel has {instead} in its place",)
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
