"""Every test vector of the kernel's that we accept runs in the checked interpreter, on random inputs, without a fault."""

from __future__ import annotations

import random

from ebpf.abi.context_layouts import context_layout
from ebpf.errors import MachineFault, MapError, NotSupported
from ebpf.machine.environment import Environment
from ebpf.machine.image import Image
from ebpf.machine.interpreter import Program
from ebpf.machine.maps import MapShape, create_map
from ebpf.machine.maps.base import MachineMap
from ebpf.machine.packets import PACKET_TYPES, Packet
from ebpf.verifier import Verified
from ebpf.verifier.program import MapInfo
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import (
    ARENA,
    BTF,
    BUFFER,
    FLOW_KEYS,
    PACKET,
    PACKET_META,
    PERCPU_BTF,
    SOCK_COMMON,
    SOCKET,
    TCP_SOCK,
    XDP_SOCK,
)

from .run import verify_vector
from .test_vectors import NO_VECTORS
from .vectors import Vector, directory, iter_vectors

pytestmark = NO_VECTORS

RUNS = 3
# What only a kernel has behind it: a read through one of these is a probe read in the machine, and no proof of anything here.
_KERNEL = sum(1 << k for k in (BTF, PERCPU_BTF, BUFFER, ARENA, FLOW_KEYS, SOCKET, SOCK_COMMON, TCP_SOCK, XDP_SOCK))
_PACKET = 1 << PACKET | 1 << PACKET_META


def shape(info: MapInfo) -> MapShape:
    lock = next((at for at, (kind, _, _) in info.fields.items() if kind == "lock"), -1)
    special = any(kind != "lock" for kind, _, _ in info.fields.values())
    inner = shape(info.inner) if info.inner is not None else None
    return MapShape(info.name, info.type, info.key_size, info.value_size, max(info.max_entries, 1), info.flags, 0, inner, lock, special)


def fill(made: MachineMap, rng: random.Random) -> None:
    """Something in it, so that look-ups find it."""
    for n in (0, 1, rng.getrandbits(8)):
        try:
            made.update(n.to_bytes(made.key_size, "little"), rng.randbytes(made.value_size))
        except MapError:
            return


def prepare(vector: Vector, rng: random.Random) -> Program:
    environment = Environment(seed=rng.getrandbits(32))
    maps: dict[int, MachineMap] = {}
    wide: dict[int, int] = {}
    for slot, reference in vector.references.items():
        info = reference.map
        assert info is not None
        made = maps.get(id(info))
        if made is None:
            made = maps[id(info)] = create_map(environment, shape(info))
            if not info.fields and info.inner is None:
                fill(made, rng)
        wide[slot] = made.address if reference.kind == "map" else made.value_address + reference.offset  # type: ignore[attr-defined]
    image = Image(vector.code, wide=wide, kfuncs=vector.kfuncs, window=environment.space.reserve("the code"))
    return Program(image, environment, type=vector.type, metered=True)


def run(vector: Vector, found: Verified, rng: random.Random) -> None:
    program = prepare(vector, rng)
    environment = program.environment
    environment.begin_event()
    environment.fuel[0] = 10_000_000
    layout = context_layout(vector.type)
    size = max(layout.size if layout is not None else 0, found.context_bytes)
    packet = None
    if vector.type in PACKET_TYPES:
        packet = environment.packet = Packet(environment, vector.type, rng.randbytes(rng.choice((14, 15, 40, 64, 200))), b"")
        context = packet.context
    else:
        context = bytearray(rng.randbytes(size))
    environment.context = environment.space.show(environment.space.reserve("the context"), context)
    program.call(environment.context)


def test_what_is_accepted_does_not_fault() -> None:
    where = directory()
    assert where is not None
    ran, missing = 0, []
    for vector in iter_vectors(where):
        try:
            found = verify_vector(vector)
        except (Refuse, ValueError):
            continue
        kinds = 0
        for bits in found.pointer_kinds:
            kinds |= bits
        if kinds & _KERNEL or (kinds & _PACKET and vector.type not in PACKET_TYPES):
            continue
        rng = random.Random(vector.id)
        try:
            for _ in range(RUNS):
                run(vector, found, rng)
        except NotSupported as error:
            missing.append((vector.id, error.message))
            continue
        except MachineFault as fault:
            raise AssertionError(f"{vector.id}: {fault}") from fault
        ran += 1
    assert ran > 400 and len(missing) < 60, (ran, len(missing), missing)
