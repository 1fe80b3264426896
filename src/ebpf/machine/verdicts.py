"""The gate before every program: verified once before its first run, the verdict remembered.

A verdict is worked out again for nothing that was verified already, in this process or (where a `compiler.cache.Store`
is given) in an earlier one: the key is all that the verifier looks at, and the verifier itself. Refusals are not kept;
whoever changes the program comes back with another one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from ebpf.verifier.options import Options
from ebpf.verifier.verdict import Verified, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.btf import Btf
    from ebpf.object import Linked, MapSpec, Object, ProgramSpec

_KEPT = 256
_verdicts: dict[bytes, Verified] = {}


def verdict(obj: Object, spec: ProgramSpec, maps: Mapping[str, MapSpec], linked: Linked, code: bytes,
            btf: Btf | None) -> Verified:
    """The verdict on ``spec`` as it is about to run: with these maps, linked, relocated. Raises `VerifierError`."""
    key = _key(obj, spec, maps, linked, code, btf)
    found = _verdicts.get(key)
    if found is None:
        whole = type(obj)(obj.name, obj.license, obj.kernel_version, {**obj.programs, spec.name: spec}, obj.functions,
                          maps, obj.btf, obj.externs, obj.functions_at, None)
        found = verify(whole, spec.name, options=Options(kernel_btf=btf), linked=linked._replace(code=code))
        while len(_verdicts) >= _KEPT:
            del _verdicts[next(iter(_verdicts))]
        _verdicts[key] = found
    return found


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
        digest.update(f"{id(btf)}".encode())  # types of one kernel stay one object; the verdict holds on to it
    return digest.digest()
