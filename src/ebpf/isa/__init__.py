"""BPF instructions: encode, decode, assemble, disassemble (RFC 9669 and what Linux added since).

>>> from ebpf import isa
>>> code = isa.encode(isa.assemble("r0 = 0\\nexit"))
>>> [text for slot, insn, text in isa.disassemble(code)]
['r0 = 0', 'exit']

The notation is the kernel's own (`kernel/bpf/disasm.c`): what the verifier's log and ``bpftool prog dump xlated``
print. Everything derives from one table, `ebpf.isa.forms`.
"""

from __future__ import annotations

from ebpf.isa.codec import decode, encode, form_of, iter_slots
from ebpf.isa.insn import Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.isa.assembler import assemble
    from ebpf.isa.text import disassemble, format_insn

__all__ = ["Insn", "assemble", "decode", "disassemble", "encode", "form_of", "format_insn", "iter_slots"]

_LATE = {"assemble": "assembler", "disassemble": "text", "format_insn": "text"}


def __getattr__(name: str) -> object:
    # Loading a program needs neither text direction, so neither is imported before it is asked for.
    if module := _LATE.get(name):
        from importlib import import_module

        return getattr(import_module(f"ebpf.isa.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
