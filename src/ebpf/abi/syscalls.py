"""System calls by number and name, on x86-64 and on the architectures that share the generic numbers (aarch64, …).

``openat`` has the number 257 on x86-64, the kernel's function ``__x64_sys_openat`` and the tracepoints
``syscalls:sys_enter_openat`` and ``sys_exit_openat``; a few functions are called otherwise than the number
(``stat`` is ``newstat``), which `kernel_function_of` and `number_of` know.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ebpf.abi import syscalls_generated as tables

#: Prefixes of the functions that implement system calls, the old plain one last.
FUNCTION_PREFIXES = ("__x64_sys_", "__arm64_sys_", "__riscv_sys_", "__se_sys_", "__do_sys_", "ksys_", "sys_")


class Argument(NamedTuple):
    """An argument of a system call: C type and name as the kernel's tracepoints have them."""

    type: str
    name: str


@cache
def syscall_names(arch: str) -> dict[int, str]:
    """Number → name on ``arch`` (``platform.machine()``'s name)."""
    runs = tables.X86_64 if arch == "x86_64" else tables.GENERIC
    return {first + i: name for first, names in runs for i, name in enumerate(names.split())}


@cache
def _numbers(arch: str) -> dict[str, int]:
    found = {name: number for number, name in syscall_names(arch).items()}
    return found | {tables.FUNCTIONS.get(name, name): number for name, number in found.items()}


def number_of(name: str, arch: str) -> int | None:
    """The number of a system call, by its own name or its function's (``stat``, ``newstat``)."""
    return _numbers(arch).get(name)


def kernel_function_of(name: str) -> str:
    """What the kernel's function (and its tracepoint) of system call ``name`` is called, without any prefix."""
    return tables.FUNCTIONS.get(name, name)


@cache
def _arguments() -> dict[str, str]:
    return {name: text for name, _, text in (line.partition(" ") for line in tables.ARGUMENTS.splitlines())}


def syscall_arguments(name: str) -> tuple[Argument, ...] | None:
    """The arguments of a system call, by its own name or its function's; ``None`` where they are not known."""
    text = _arguments().get(kernel_function_of(name))
    if text is None:
        return None
    return tuple(Argument(type.strip(), name) for type, _, name in (part.rpartition(" ") for part in text.split("|"))
                 if name)


def plain_name(function: str) -> str | None:
    """The system call behind a kernel function's name: ``__x64_sys_clone`` → ``clone``; ``None``: it is none."""
    for prefix in FUNCTION_PREFIXES:
        if function.startswith(prefix):
            return function[len(prefix):]
    return None
