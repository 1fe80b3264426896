"""What a verification may be told beside the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ebpf.btf import Btf


class Options(NamedTuple):
    """How to verify.

    ``kernel_btf``: types of the kernel that the program would run in (arguments of traced functions, kernel objects;
    CO-RE). ``arch``: for
    the layout of a probe's registers. ``max_insns``: instructions to look at before giving up. ``uninit_stack``:
    reading stack that was
    never written gives some number (privileged programs, kernels since 6.3 and 6.1's updates) instead of a refusal.
    ``unroll``: follow every loop round
    by round, as a kernel does. ``track_result``: say what the program can return (states are then told
    apart by it, which costs time). The rest are details that test vectors vary.
    """

    kernel_btf: Btf | None = None
    arch: str = "x86_64"
    max_insns: int = 1_000_000
    uninit_stack: bool = True
    unroll: bool = False
    strict_stack: bool = True
    strict_alignment: bool = False
    pointers_as_bytes: bool = True
    variable_writes_initialise: bool = True
    typed_raw: bool = False
    max_pending: int = 8192
    track_result: bool = False
