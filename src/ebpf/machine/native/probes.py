"""Accesses that native code leaves to Python, since nobody has proven them: checked like the interpreter's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.machine.semantics import misaligned

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

M64 = (1 << 64) - 1
_NEW = {"add": lambda v, w: v + w, "or": lambda v, w: v | w, "and": lambda v, w: v & w, "xor": lambda v, w: v ^ w}


def perform(environment: Environment, op: str, size: int, address: int, value: int, expected: int, quiet: bool) -> int:
    """The instruction ``op`` at ``address``: what it gives. ``quiet``: a read of what cannot be read gives 0, as the
    kernel's accesses of its own objects do; else it is a `MachineFault`, as every bad write is."""
    space, mask = environment.space, (1 << size * 8) - 1
    address = space.real(address)
    if op in ("ldx", "ldsx", "load_acquire"):
        if quiet:
            return environment.quiet_load(address, size, op == "ldsx")
        if op == "load_acquire" and address % size:
            misaligned(address, size, "atomic")
        data = space.read(address, size)
        return int.from_bytes(data, "little", signed=op == "ldsx") & M64
    if op in ("st", "stx"):
        space.write(address, (value & mask).to_bytes(size, "little"))
        return 0
    if address % size:
        misaligned(address, size, "atomic")
    if op == "store_release":
        space.write(address, (value & mask).to_bytes(size, "little"))
        return 0
    old = int.from_bytes(space.read(address, size), "little")
    new = value & mask
    if op == "cmpxchg":
        new = new if old == expected & mask else old
    elif op != "xchg":
        new = _NEW[op.rpartition("_")[2]](old, new) & mask
    space.write(address, new.to_bytes(size, "little"))
    return old
