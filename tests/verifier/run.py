"""Verify one vector with the package's own verifier."""

from __future__ import annotations

from ebpf.btf import Btf
from ebpf.isa import decode
from ebpf.verifier import Options, Verified, verify_program
from ebpf.verifier.program import Program

from .vectors import Vector


def verify_vector(vector: Vector, kernel_btf: Btf | None = None) -> Verified:
    """Raises `Refuse` or `InsnError` if it is refused."""
    program = Program(
        decode(vector.code),
        type=vector.type,
        attach_type=vector.attach_type,
        attach_to=vector.attach_to,
        references=vector.references,
        kfuncs=vector.kfuncs,
        kernel_btf=kernel_btf,
        sleepable=bool(vector.flags & 16),
    )
    # The longest vectors that a kernel accepts take 40,000 instructions; endless ones need not take a million to be told from them.
    options = Options(kernel_btf=kernel_btf, strict_alignment=bool(vector.flags & 2), max_insns=100_000)
    return verify_program(program, options)
