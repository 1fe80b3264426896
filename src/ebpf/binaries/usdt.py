"""Static probes of user programs (USDT): the notes that ``<sys/sdt.h>`` leaves in section ``.note.stapsdt``.

A note holds three addresses (the probe's, that of ``.stapsdt.base`` when the file was linked, and a semaphore's, or 0),
then provider, name and a text with one word an argument: ``-4@-20(%rbp)`` is a signed number of four bytes, 20 below
rbp.
A prelinked file has moved since: the base's difference corrects the addresses. A semaphore is a counter of 16 bits that
says how many tracers are there; the program computes a probe's arguments only while it is not 0.
"""

from __future__ import annotations

import os
import re
import struct
from functools import lru_cache
from typing import NamedTuple

from ebpf.abi.registers import USER_REGISTER_NAMES
from ebpf.binaries.elf import Binary
from ebpf.diagnostics import did_you_mean
from ebpf.errors import ElfError, NotSupported, TargetNotFound

_NT_STAPSDT = 3
_EM_X86_64, _EM_AARCH64 = 62, 183


class UsdtArgument(NamedTuple):
    """Where an argument is when the probe is hit.

    ``size`` in bytes. No register: the value is ``constant``. A register alone: what is in it (``address`` false);
    ``address`` true: the memory at ``register + index_register * scale + constant``. Registers by the names of ``struct
    pt_regs`` (`ebpf.abi.registers`).
    """

    size: int
    signed: bool
    constant: int = 0
    register: str = ""
    address: bool = False
    index_register: str = ""
    scale: int = 1


class UsdtProbe(NamedTuple):
    """One place of a probe; the same probe may be in many. Offsets are those in the file; ``semaphore`` 0: it has
    none."""

    provider: str
    name: str
    offset: int
    address: int  #: virtual address in the file
    semaphore: int
    arguments: tuple[UsdtArgument, ...]
    text: str  #: of the arguments, as the note has it


def usdt_probes(path: str) -> tuple[UsdtProbe, ...]:
    """All places of all probes of the file; kept until it changes. `TargetNotFound`, `ElfError`."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise TargetNotFound(f"cannot read {path}: {error.strerror}", name=path) from None
    return _probes(path, stat.st_mtime_ns, stat.st_ino)


def find_usdt(path: str, name: str, provider: str = "") -> tuple[UsdtProbe, ...]:
    """All places of the probe ``name`` (of ``provider``, "": of any); `TargetNotFound` with those that there are."""
    probes = usdt_probes(path)
    found = tuple(p for p in probes if p.name == name and provider in ("", p.provider))
    if not found:
        known = sorted({f"{p.provider}:{p.name}" for p in probes})
        wanted = f"{provider}:{name}" if provider else name
        near = {name, *did_you_mean(name, {k.partition(":")[2] for k in known})}
        similar = did_you_mean(wanted, known) or [k for k in known if k.partition(":")[2] in near]
        raise TargetNotFound(
            f"no static probe {wanted!r} in {path}", name=wanted, similar=similar,
            helps=(f"similar probes: {', '.join(similar)}",) if similar else
            (f"it has {', '.join(known[:12])}{', …' if len(known) > 12 else ''}",) if known else
            ("it has none at all: it was built without <sys/sdt.h>",))
    return found


@lru_cache(maxsize=16)
def _probes(path: str, mtime_ns: int, inode: int) -> tuple[UsdtProbe, ...]:
    return read_usdt(Binary(path))


def read_usdt(binary: Binary) -> tuple[UsdtProbe, ...]:
    """The probes of an opened file."""
    base = next((s.address for s in binary.sections if s.name == ".stapsdt.base"), 0)
    word = "Q" if binary.wide else "I"
    layout = struct.Struct(binary.order + 3 * word)
    found = []
    for note in binary.iter_notes():
        if note.owner != b"stapsdt" or note.type != _NT_STAPSDT:
            continue
        texts = note.description[layout.size:].split(b"\0")
        if len(note.description) < layout.size or len(texts) < 3:
            raise ElfError(f"{binary.path}: damaged note of a static probe in {note.section}")
        address, linked_base, semaphore = layout.unpack_from(note.description)
        moved = base - linked_base if base and linked_base else 0
        address += moved
        offset = binary.file_offset(address)
        if offset is None:
            raise ElfError(f"{binary.path}: a static probe at {address:#x}, which is in no segment")
        provider, name, arguments = (text.decode(errors="replace") for text in texts[:3])
        found.append(UsdtProbe(provider, name, offset, address,
                               _semaphore_offset(binary, semaphore + moved) if semaphore else 0,
                               parse_arguments(arguments, binary.machine), arguments))
    return tuple(found)


def _semaphore_offset(binary: Binary, address: int) -> int:
    offset = binary.file_offset(address)
    if offset is None:
        raise ElfError(f"{binary.path}: a static probe's semaphore at {address:#x}, which is in no segment")
    return offset


# A word of the arguments' text begins with size and @; what follows may hold blanks on aarch64: -4@[sp, 60].
_WORDS = re.compile(r"(-?\d+)(f?)@(.*?)(?=\s+-?\d+f?@|\s*$)")
_NUMBER = r"[-+]?(?:0x[0-9a-fA-F]+|\d+)"
_X86_CONSTANT = re.compile(rf"\$({_NUMBER})")
_X86_REGISTER = re.compile(r"%(\w+)")
_X86_MEMORY = re.compile(rf"({_NUMBER})?\(\s*%(\w+)\s*(?:,\s*%(\w+)\s*(?:,\s*(\d+)\s*)?)?\)")
_ARM_REGISTER = re.compile(r"([xw]\d+|sp)")
_ARM_MEMORY = re.compile(rf"\[\s*([xw]\d+|sp)\s*(?:,\s*#?({_NUMBER})\s*)?\]")
_ARM_CONSTANT = re.compile(rf"#?({_NUMBER})")

# Parts of a register, by the names that compilers print, → the whole one's member of struct pt_regs.
_X86_MEMBERS = {part: whole for whole, parts in {
    "ax": "rax eax ax al", "bx": "rbx ebx bx bl", "cx": "rcx ecx cx cl", "dx": "rdx edx dx dl",
    "si": "rsi esi si sil", "di": "rdi edi di dil", "bp": "rbp ebp bp bpl", "sp": "rsp esp sp spl",
    **{f"r{n}": f"r{n} r{n}d r{n}w r{n}b" for n in range(8, 16)},
}.items() for part in parts.split()} | USER_REGISTER_NAMES


def parse_arguments(text: str, machine: int = _EM_X86_64) -> tuple[UsdtArgument, ...]:
    """The arguments of a note's text. `NotSupported` for a form that no BPF program could read (``8f@%xmm0``)."""
    parse = {_EM_X86_64: _x86_argument, _EM_AARCH64: _arm_argument}.get(machine)
    if parse is None:
        raise NotSupported(f"static probes of machine type {machine}")
    found = []
    at = 0
    for match in _WORDS.finditer(text):
        size, floating, where = match.groups()
        argument = None if floating else parse(abs(int(size)), size.startswith("-"), where.strip())
        if argument is None or text[at:match.start()].strip() or abs(int(size)) not in (1, 2, 4, 8):
            raise NotSupported(f"the argument {match.group().strip()!r} of a static probe")
        found.append(argument)
        at = match.end()
    if text[at:].strip():
        raise NotSupported(f"the argument {text[at:].strip()!r} of a static probe")
    return tuple(found)


def _x86_argument(size: int, signed: bool, text: str) -> UsdtArgument | None:
    if match := _X86_CONSTANT.fullmatch(text):
        return UsdtArgument(size, signed, int(match[1], 0))
    if match := _X86_REGISTER.fullmatch(text):
        name = _X86_MEMBERS.get(match[1])
        return None if name is None else UsdtArgument(size, signed, register=name)
    if match := _X86_MEMORY.fullmatch(text):
        offset, base, index, scale = match.groups()
        register, second = _X86_MEMBERS.get(base), _X86_MEMBERS.get(index or "", "")
        if register is None or (index and not second):
            return None
        return UsdtArgument(size, signed, int(offset or "0", 0), register, True, second, int(scale or "1"))
    return None


def _arm_argument(size: int, signed: bool, text: str) -> UsdtArgument | None:
    if match := _ARM_REGISTER.fullmatch(text):
        return UsdtArgument(size, signed, register=_arm_member(match[1]))
    if match := _ARM_MEMORY.fullmatch(text):
        return UsdtArgument(size, signed, int(match[2] or "0", 0), _arm_member(match[1]), True)
    if match := _ARM_CONSTANT.fullmatch(text):
        return UsdtArgument(size, signed, int(match[1], 0))
    return None


def _arm_member(name: str) -> str:
    return name if name == "sp" else f"regs[{name[1:]}]"
