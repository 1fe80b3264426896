"""`ebpf.verify`: our own verifier with the running kernel's types where a program asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.object import Object
    from ebpf.verifier import Verified


def verify(obj: Object, program: str, *, btf: Btf | None = None) -> Verified:
    """Prove that the program (or function) ``program`` of ``obj`` is safe, without any kernel; nothing is loaded.

    What comes back counts paths, states, instructions, stack bytes and seconds, and says whether a kernel would run out
    of its million instructions. Raises `VerifierError` whose diagnostic has the source line, the reason, the
    way there and the remedy. ``btf``: types of another kernel than the running one.
    """
    from ebpf.abi.programs import ProgType
    from ebpf.kernel.facts import kernel_btf
    from ebpf.verifier import Options, verify as run

    spec = obj.programs.get(program) or obj.functions.get(program)
    typed = spec is not None and (
        spec.core_relos
        or obj.externs
        or spec.type in (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.NETFILTER)
    )
    return run(obj, program, options=Options(kernel_btf=(btf or kernel_btf()) if typed else None))
