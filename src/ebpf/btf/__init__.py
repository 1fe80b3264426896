"""BTF, the kernel's type information: read, write, typed values, CO-RE, C text.

Names are resolved on first use, so that reading types does not pay for relocation or value codecs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.btf.collection import BtfSet
    from ebpf.btf.core import CoreResult, relocate
    from ebpf.btf.ext import BtfExt, CoreKind, CoreRelo, FuncInfo, LineInfo
    from ebpf.btf.format import format_decl, format_type
    from ebpf.btf.index import IndexStore
    from ebpf.btf.reader import Btf, Field
    from ebpf.btf.sanitizer import BtfFeature, sanitize
    from ebpf.btf.types import Kind, Type
    from ebpf.btf.values import Codec, EnumValue, Record, codec
    from ebpf.btf.writer import Builder

_HOMES = {
    "Btf": "reader", "BtfExt": "ext", "BtfFeature": "sanitizer", "BtfSet": "collection", "Builder": "writer",
    "Codec": "values", "CoreKind": "ext", "CoreRelo": "ext", "CoreResult": "core", "EnumValue": "values",
    "Field": "reader", "FuncInfo": "ext", "IndexStore": "index", "Kind": "types", "LineInfo": "ext",
    "Record": "values", "Type": "types", "codec": "values", "format_decl": "format", "format_type": "format",
    "relocate": "core", "sanitize": "sanitizer",
}

__all__ = [
    "Btf", "BtfExt", "BtfFeature", "BtfSet", "Builder", "Codec", "CoreKind", "CoreRelo", "CoreResult", "EnumValue",
    "Field", "FuncInfo", "IndexStore", "Kind", "LineInfo", "Record", "Type", "codec", "format_decl", "format_type",
    "relocate", "sanitize",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
