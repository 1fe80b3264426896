"""Types of an object by their C names (``"struct row"``, ``"u64"``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.errors import UnknownName

if TYPE_CHECKING:
    from ebpf.btf import Btf


def codec_in(btf: Btf | None, name: str) -> Any:
    """The `Codec` of the type called ``name``; `UnknownName` if there is none."""
    from ebpf.btf import codec

    kind, _, bare = name.strip().rpartition(" ")
    found = [] if btf is None else [i for i in btf.find_all(bare)
                                    if not kind or btf.type(i).kind.name.lower() == kind.strip()]
    if not found or btf is None:
        raise UnknownName(f"the object has no type {name!r}", name=name,
                          similar=[] if btf is None else btf.similar(bare))
    return codec(btf, found[0])

