"""BPF objects: ELF in and out, what is in them, and linking a program with its subprograms.

`read_object` gives an `Object` with its programs, maps, types and externs; `link` gives the instructions of one
program as they go to the kernel, with what only the loader knows (map descriptors, addresses, BTF ids) left as
relocations.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.object.elf import ElfImage
    from ebpf.object.linker import Linked, link
    from ebpf.object.reader import read_object
    from ebpf.object.spec import Extern, MapSpec, Object, ProgramSpec, Relocation, Variable

__all__ = ["ElfImage", "Extern", "Linked", "MapSpec", "Object", "ProgramSpec", "Relocation", "Variable", "link",
           "read_object"]

_LATE = {"ElfImage": "elf", "Linked": "linker", "link": "linker", "read_object": "reader"}


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"ebpf.object.{_LATE.get(name, 'spec')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
