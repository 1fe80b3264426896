"""BTF, the kernel's type information: read, write, typed values, CO-RE, C text.

Names are resolved on first use, so that reading types does not pay for relocation or value codecs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.btf.index import IndexStore as IndexStore
    from ebpf.btf.reader import Btf as Btf
    from ebpf.btf.reader import Field as Field
    from ebpf.btf.types import Kind as Kind
    from ebpf.btf.types import Type as Type

_HOMES = {
    "Btf": "reader", "Field": "reader", "Kind": "types", "Type": "types", "IndexStore": "index",
}

__all__ = ["Btf", "Field", "IndexStore", "Kind", "Type"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
