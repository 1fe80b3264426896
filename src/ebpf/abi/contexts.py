"""C declarations of context, packet and helper-argument structs, for hosts whose kernel BTF is not at hand.

The layouts are the kernel's user ABI: members are only ever appended. Where the running kernel has BTF, its own
declaration comes first; these are what a program means without one.
"""

from __future__ import annotations

from ebpf.abi.contexts_generated import ARCH_DECLARATIONS, DECLARATIONS

__all__ = ["ARCH_DECLARATIONS", "DECLARATIONS", "lookup_declaration"]


def lookup_declaration(name: str, *, arch: str = "x86_64") -> str | None:
    """The C declaration of ``struct name``; ``None`` if it is not in the table."""
    return ARCH_DECLARATIONS.get(arch, {}).get(name) or DECLARATIONS.get(name)
