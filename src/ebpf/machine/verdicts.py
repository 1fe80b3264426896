"""The gate before every program: verified once before its first run, the verdict remembered.

A verdict is worked out again for nothing that was verified already, in this process or (through the cache directory,
whose files only this user can write) in an earlier one: the key is all that the verifier looks at, and the verifier
itself. Refusals are not kept; whoever changes the program comes back with another one.
"""

from __future__ import annotations

import marshal
from hashlib import blake2b
from typing import TYPE_CHECKING

from ebpf.compiler.cache import Store
from ebpf.verifier.options import Options
from ebpf.verifier.verdict import Verified, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.btf import Btf
    from ebpf.object import Linked, MapSpec, Object, ProgramSpec
    from ebpf.verifier.program import MapInfo

_KEPT = 256
_WORTH_KEEPING = 0.002  # seconds: below that, verifying again is as quick as reading a file
_verdicts: dict[bytes, Verified] = {}


def verdict(obj: Object, spec: ProgramSpec, maps: Mapping[str, MapSpec], linked: Linked, code: bytes,
            btf: Btf | None) -> Verified:
    """The verdict on ``spec`` as it is about to run: with these maps, linked, relocated. Raises `VerifierError`."""
    key = _key(obj, spec, maps, linked, code, btf)
    found = _verdicts.get(key)
    if found is None:
        whole = type(obj)(obj.name, obj.license, obj.kernel_version, {**obj.programs, spec.name: spec}, obj.functions,
                          maps, obj.btf, obj.externs, obj.functions_at, None)
        linked = linked._replace(code=code)
        # Types without a name are known by the object that holds them: such a verdict is not for other processes.
        lasting = btf is None or btf.identity is not None
        store, name = (Store(), _file_key(key)) if lasting else (None, "")
        kept = store.get(name) if store is not None else None
        if kept is not None:
            found = _revived(whole, spec.name, linked, kept, btf)
        else:
            found = verify(whole, spec.name, options=Options(kernel_btf=btf), linked=linked)
            if store is not None and found.seconds > _WORTH_KEEPING:
                store.put(name, _emit(found))
        while len(_verdicts) >= _KEPT:
            del _verdicts[next(iter(_verdicts))]
        _verdicts[key] = found
    return found


def _file_key(key: bytes) -> str:
    from ebpf.machine.native.identity import identity

    return f"verdict {key.hex()}\n{identity()}"


def _emit(found: Verified) -> bytes:
    """The verdict without the program, which whoever asks again brings along."""
    slots = {slot: info.name for slot, info in found.maps.items()}
    return marshal.dumps(tuple(found._replace(program=None, maps=slots, result=None)))  # type: ignore[arg-type]


def _revived(obj: Object, name: str, linked: Linked, kept: bytes, btf: Btf | None) -> Verified:
    from ebpf.verifier.prepare import prepare

    program = prepare(obj, name, linked, Options(kernel_btf=btf))
    found = Verified(*marshal.loads(kept))
    infos: dict[str, MapInfo | None] = {}
    for reference in program.references.values():
        info = reference.map
        while info is not None:
            # Two maps of one name (a template's, say): neither is said to be the one.
            infos[info.name] = info if infos.get(info.name, info) is info else None
            info = info.inner
    names: Mapping[int, str] = found.maps  # type: ignore[assignment]
    return found._replace(program=program, maps={at: i for at, n in names.items() if (i := infos.get(n)) is not None})


def _key(obj: Object, spec: ProgramSpec, maps: Mapping[str, MapSpec], linked: Linked, code: bytes,
         btf: Btf | None) -> bytes:
    """A digest of what the verifier looks at. Global functions count by name: their prototypes are in the types."""
    digest = blake2b(code, digest_size=16)
    used = sorted({symbol for _, kind, symbol, _ in linked.relocations if kind in ("map", "data")})
    for part in (
        linked.relocations,
        linked.functions,
        [functions[name].is_global for functions in (obj.functions, obj.programs) for name in functions],
        [maps[name] for name in used if name in maps],
        obj.externs,
        (int(spec.type or 0), int(spec.expected_attach_type or 0), spec.attach_to, spec.sleepable, spec.name),
        obj.license,
    ):
        digest.update(repr(part).encode())
    digest.update(obj.btf.data if obj.btf is not None else b"")
    if btf is not None:
        # Without a name: by the object. It is held by the verdict, so no other takes its place.
        digest.update((btf.identity or f"{id(btf)}").encode())
    return digest.digest()
