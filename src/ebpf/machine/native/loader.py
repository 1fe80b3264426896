"""Native code in memory that runs: written first, then executable and no longer writable, unmapped with its object.

Code comes from `codegen` or from a cache that nobody else may write to; nothing else is ever loaded. Symbols that the
code does not define come from a mapping of the caller's; one that is missing is an error.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING, Any

from ebpf.errors import InternalError, NotSupported
from ebpf.machine.native.elf import read_relocatable
from ebpf.machine.native.relocations import RULES, STUBS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.machine.native.elf import Symbol

_STUB_BYTES = 16


def architecture() -> str:
    """``"x86_64"`` or ``"aarch64"``; `NotSupported` on others."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine.lower(), os.uname().machine)
    if machine not in RULES:
        raise NotSupported(f"native code on {machine}", who="the userspace machine", instead='engine="interpreter"')
    return machine


def libc() -> Any:
    """The process's own C library."""
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        _libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
        _libc.mmap.restype = ctypes.c_void_p
        _libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return _libc


_libc: Any = None

# What LLVM may call of itself.
_LIBRARY = frozenset(("memset", "memcpy", "memmove", "memcmp", "bcmp"))


def c_address(name: str) -> int:
    """The address of a function of the C library."""
    return ctypes.cast(getattr(libc(), name), ctypes.c_void_p).value or 0


class NativeCode:
    """A loaded object. Functions that `function` gives keep it alive; addresses do not: whoever passes one to other
    native code holds on to this object as long as that may run.

    ``symbols``: addresses by name, of what the object refers to. Raises `ebpf.errors.ElfError` for bytes that are no
    such object, `InternalError` for a symbol or relocation that nobody knows.
    """

    def __init__(self, elf: bytes, symbols: Mapping[str, int] | None = None) -> None:
        machine = architecture()
        self._memory: mmap.mmap | None = None
        found = read_relocatable(elf, machine)
        rules = RULES[machine]
        known = symbols or {}
        # Layout: data that is only read, the table of addresses, stubs, code.
        places: dict[int, int] = {}
        at = 0
        ordered = sorted(found.sections, key=lambda s: s.code)
        got: dict[Symbol, int] = {}
        stubs: dict[Symbol, int] = {}
        for section in (s for s in ordered if not s.code):
            at = -(-at // section.align) * section.align
            places[section.number] = at
            at += len(section.data)
        at = -(-at // 16) * 16
        for relocation in found.relocations:
            rule = rules.get(relocation.type)
            if rule is None:
                raise InternalError(f"native code: a relocation of unknown type {relocation.type}")
            if rule.got and relocation.symbol not in got:
                got[relocation.symbol] = at
                at += 8
        page = mmap.PAGESIZE
        code_start = at = -(-at // page) * page
        for relocation in found.relocations:
            if rules[relocation.type].call and relocation.symbol.section is None and relocation.symbol not in stubs:
                stubs[relocation.symbol] = at
                at += _STUB_BYTES
        for section in (s for s in ordered if s.code):
            at = -(-at // section.align) * section.align
            places[section.number] = at
            at += len(section.data)
        size = max(-(-at // page) * page, page)
        image = bytearray(size)
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                           prot=mmap.PROT_READ | mmap.PROT_WRITE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))

        def resolve(symbol: Symbol) -> int:
            if symbol.section is not None:
                return base + places[symbol.section] + symbol.value
            address = known.get(symbol.name)
            if address is None:
                if symbol.name not in _LIBRARY:
                    raise InternalError(f"native code: nobody knows the symbol {symbol.name!r}")
                address = c_address(symbol.name)
            return address

        for section in ordered:
            start = places[section.number]
            image[start:start + len(section.data)] = section.data
        for symbol, place in got.items():
            image[place:place + 8] = resolve(symbol).to_bytes(8, "little")
        for symbol, place in stubs.items():
            image[place:place + _STUB_BYTES] = STUBS[machine] + resolve(symbol).to_bytes(8, "little")
        for relocation in found.relocations:
            rule = rules[relocation.type]
            place = places[relocation.section] + relocation.offset
            if rule.got:
                value = base + got[relocation.symbol]
            elif rule.call and relocation.symbol in stubs:
                value = base + stubs[relocation.symbol]
            else:
                value = resolve(relocation.symbol)
            rule.patch(image, place, value, relocation.addend, base + place)
        memory[:] = bytes(image)
        if code_start and libc().mprotect(base, code_start, mmap.PROT_READ):
            raise _refused()
        runs = mmap.PROT_READ | mmap.PROT_EXEC
        if size > code_start and libc().mprotect(base + code_start, size - code_start, runs):
            raise _refused()
        self._memory = memory
        self.base = base
        self.size = size
        self._names = {s.name: base + places[s.section] + s.value for s in found.symbols if s.section in places}

    def address(self, name: str) -> int:
        """Where ``name`` is. Raises `InternalError` if the object does not define it."""
        found = self._names.get(name)
        if found is None:
            raise InternalError(f"native code: it does not define {name!r}")
        return found

    def function(self, name: str, *types: Any, keep_gil: bool = False) -> Any:
        """A callable: ``types`` are ctypes types, the result's first. ``keep_gil`` is for calls that take no time."""
        made: Any = (ctypes.PYFUNCTYPE if keep_gil else ctypes.CFUNCTYPE)(*types)(self.address(name))
        made.code = self  # the memory lives as long as something can call into it
        return made


def _refused() -> NotSupported:
    import errno

    why = os.strerror(ctypes.get_errno() or errno.EACCES)
    return NotSupported("making memory executable", who="this system", notes=(why,), instead='engine="interpreter"')
