"""Loops in native code: one program over many packets, or again and again over one block (`batch.c`).

A packet is copied below 4 GiB, where contexts can say its address. Programs that ask Python for what changes or keeps
packets (moving them, redirecting, tail calls) need the machine's own `Packet` around each run: these go through the
loop in Python.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebpf.machine.native.loader import NativeCode, architecture
from ebpf.machine.packets import HEADROOM_BYTES

if TYPE_CHECKING:
    from array import array

    from ebpf.machine.batch import Block
    from ebpf.machine.machine import Context, Machine
    from ebpf.machine.native.program import Native, NativeProgram

_NOWHERE = 0xFFFFFFFF
_U64, _U32, _P = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p


class _Job(ctypes.Structure):
    """``struct job`` of batch.c."""

    _fields_ = (
        *((name, _U64) for name in ("shared", "run", "packets", "offsets", "lengths", "results", "count", "context",
                                    "template", "context_words", "frame", "kept")),
        *((name, _U32) for name in ("skip", "data", "data_end", "data_meta", "len", "protocol", "pkt_type", "kind")),
    )


class _PyBuffer(ctypes.Structure):
    """``Py_buffer``, as far as it is used here."""

    _fields_ = (("buf", _P), ("obj", _P), ("len", ctypes.c_ssize_t), ("rest", ctypes.c_byte * 64))


@cache
def loops() -> NativeCode:
    """The loops, compiled once and kept."""
    from hashlib import blake2b

    from ebpf.compiler.cache import Store
    from ebpf.machine.native.codegen import compile_host
    from ebpf.machine.native.identity import identity
    from ebpf.machine.runtime.build import ir_of

    text = Path(__file__).with_name("batch.c").read_text()
    architecture()
    store, key = Store(), "loops-" + blake2b((identity() + text).encode(), digest_size=24).hexdigest()
    elf = store.get(key)
    if elf is None:
        elf = compile_host(ir_of(text, "batch.c"))
        store.put(key, elf)
    return NativeCode(elf)


@cache
def _function(name: str, *types: Any) -> Any:
    return loops().function(name, _U64, *types)


def repeat(program: NativeProgram, r1: int, r2: int, times: int) -> int:
    """Run the program ``times`` times; the last r0."""
    run = _function("ebpf_repeat", _P, _P, _U64, _U64, _U64)
    native, state = program.thorough, program.state
    with state:
        r0: int = run(state.address, native.code.address("entry"), r1, r2, times)
        state.check()
        return r0


def is_self_contained(native: Native) -> bool:
    """Whether nothing that the program asks Python for concerns its packet."""
    from ebpf.machine.helpers import by_id

    for site in native.lifted.sites:
        if site.kind != "helper" or site.number not in by_id():
            return False
        if by_id()[site.number].function.__module__.rpartition(".")[2] not in ("maps", "tasks", "printing", "strings"):
            return False
    return True


def run_packets(machine: Machine, program: NativeProgram, block: Block, ctx: Context | None, cpu: int,
                results: array[int], kept: list[bytes] | None) -> None:
    """Every packet of ``block``, in order: their results, and the packets afterwards."""
    run = _function("ebpf_run_packets", _P)
    native, state = program.thorough, program.state
    lengths, offsets = block.lengths, block.offsets
    longest = lengths.index(max(lengths))
    start = offsets[longest]
    with state.lock:
        largest = bytes(block.buffer[start:start + lengths[longest]])
        address, packet, context = machine._event(program, largest, ctx, cpu)
        assert packet is not None
        template = ctypes.create_string_buffer(bytes(context), len(context))
        view = _PyBuffer()
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(block.buffer), ctypes.byref(view), 0)
        out = bytearray(len(block.buffer)) if kept is not None else None
        fields = packet.offsets
        descriptive = () if packet.is_xdp else ("len", "protocol", "pkt_type")
        kind = machine.environment.packet_type
        # (a sequence of packets is never empty here: `run_many` has looked)
        job = _Job(
            shared=state.address, run=native.code.address("entry"), packets=view.buf or 0,
            offsets=offsets.buffer_info()[0], lengths=lengths.buffer_info()[0], results=results.buffer_info()[0],
            count=len(offsets), context=address, template=ctypes.addressof(template), context_words=len(context) // 8,
            frame=ctypes.addressof(ctypes.c_char.from_buffer(packet.buffer)) + HEADROOM_BYTES,
            kept=ctypes.addressof(ctypes.c_char.from_buffer(out)) if out else 0,
            skip=packet.start - HEADROOM_BYTES, kind=_NOWHERE if kind is None else kind,
            **{name: fields[name] for name in ("data", "data_end", "data_meta")},
            **{name: fields[name] if name in descriptive else _NOWHERE for name in ("len", "protocol", "pkt_type")},
        )
        try:
            with state:
                run(ctypes.addressof(job))
                state.check()
        finally:
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
            packet.remove()
    if kept is not None and out is not None:
        front = b"" if packet.with_ethernet else bytes(packet.start - HEADROOM_BYTES)
        for offset, length in zip(offsets, lengths, strict=True):
            kept.append(front + bytes(out[offset + len(front):offset + length]))
