"""`Machine.run_many`: one program over many packets in one call.

Packets come as a sequence of ``bytes``, as the rows of a two-dimensional NumPy array of ``uint8``, or as
``(buffer, offsets, lengths)``; inside they are always the last, which is what compiled code wants: one buffer, and for
each packet where it lies in it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.abi.programs import ProgType
from ebpf.errors import UsageError
from ebpf.machine.packets import ETHERNET_BYTES, MAX_BYTES, PACKET_TYPES, Packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.machine.interpreter import Program
    from ebpf.machine.machine import Context, Machine

    Packets = Sequence[bytes] | Any  # or a NumPy array, or (buffer, offsets, lengths)


class Runs(NamedTuple):
    """What many runs gave: ``results`` are the return values, unsigned 32 bits, in the packets' order (an
    ``array.array``, or a NumPy array where one was asked for); ``packets`` the packets afterwards, if wanted."""

    results: Any
    packets: list[bytes] | None = None

    def counts(self) -> dict[int, int]:
        """How often each result came, the most frequent first."""
        from collections import Counter

        values = self.results.tolist()
        return dict(Counter(values).most_common())


class Block(NamedTuple):
    """Packets in one buffer; all of them lie within it and have a size that is possible."""

    buffer: memoryview
    offsets: array[int]  # "Q"
    lengths: array[int]  # "I"

    def __len__(self) -> int:
        return len(self.offsets)


def run_many(machine: Machine, name: str, packets: Packets, *, ctx: Context | None = None, cpu: int = 0,
             keep: bool = False, numpy: bool = False) -> Runs:
    """See `Machine.run_many`."""
    program = machine.program(name)
    if program.type not in PACKET_TYPES:
        raise UsageError(f"{name!r} ({ProgType(program.type).name.lower()}) does not work on packets",
                         helps=("run() fires one event at it",))
    block = to_block(packets)
    results = array("I", bytes(4 * len(block.offsets)))
    kept: list[bytes] | None = [] if keep else None
    if block.offsets:
        run_block(machine, program, block, ctx, cpu, results, kept)
    if numpy:
        import numpy as np

        return Runs(np.frombuffer(results, np.uint32), kept)
    return Runs(results, kept)


def run_block(machine: Machine, program: Program, block: Block, ctx: Context | None, cpu: int, results: array[int],
              kept: list[bytes] | None) -> None:
    """All packets: in native code where that can do it alone."""
    if machine.engine == "jit":
        from ebpf.machine.native import batch
        from ebpf.machine.native.program import NativeProgram

        if isinstance(program, NativeProgram) and batch.is_self_contained(program.thorough):
            batch.run_packets(machine, program, block, ctx, cpu, results, kept)
            return
    interpret(machine, program, block, ctx, cpu, results, kept)


def interpret(machine: Machine, program: Program, block: Block, ctx: Context | None, cpu: int, results: array[int],
              kept: list[bytes] | None) -> None:
    """The loop in Python: one `Packet` that every packet is put into."""
    environment = machine.environment
    buffer, call, begin = block.buffer, program.call, environment.begin_event
    packet: Packet | None = None
    address = 0
    try:
        for n, (offset, length) in enumerate(zip(block.offsets, block.lengths)):
            data = bytes(buffer[offset:offset + length])
            if packet is None:
                address, packet, _ = machine._event(program, data, ctx, cpu)
                assert packet is not None
                packet.remember()
            else:
                begin()
                environment.context = address
                environment.packet = packet
                packet.refill(data)
            results[n] = call(address) & 0xFFFFFFFF
            if kept is not None:
                kept.append(packet.result())
    finally:
        if packet is not None:
            packet.remove()


def to_block(packets: Packets) -> Block:
    """The packets in one buffer. `UsageError` names the first that is not one, or lies outside."""
    if type(packets) is tuple and len(packets) == 3 and not isinstance(packets[1], (bytes, bytearray, memoryview)):
        return _given(*packets)
    if hasattr(packets, "ndim") and hasattr(packets, "dtype"):
        return _rows(packets)
    joined, offsets, lengths, at = bytearray(), array("Q"), array("I"), 0
    for n, packet in enumerate(packets):
        if not isinstance(packet, (bytes, bytearray, memoryview)):
            raise UsageError(f"packet {n} is of type {type(packet).__name__}, not bytes")
        joined += packet
        offsets.append(at)
        lengths.append(len(joined) - at)
        at = len(joined)
    return _checked(Block(memoryview(joined), offsets, lengths))


def _rows(packets: Any) -> Block:
    """A NumPy array: its rows are the packets."""
    if packets.ndim != 2 or packets.dtype.itemsize != 1:
        raise UsageError(f"an array of packets has two dimensions and elements of a byte, not {packets.ndim} and "
                         f"{packets.dtype}")
    count, length = packets.shape
    if not packets.flags.c_contiguous:
        packets = packets.copy()
    if not ETHERNET_BYTES <= length <= MAX_BYTES:
        raise UsageError(f"packet 0 has {length} bytes: {ETHERNET_BYTES} to {MAX_BYTES} are possible")
    import numpy as np  # the caller has it

    offsets = array("Q")
    offsets.frombytes(np.arange(0, count * length, length, dtype=np.uint64).data.cast("B"))
    return Block(memoryview(packets).cast("B") if count else memoryview(b""), offsets, array("I", [length]) * count)


def _given(buffer: Any, offsets: Any, lengths: Any) -> Block:
    """A buffer, and numbers in whatever holds numbers."""
    try:
        view = memoryview(buffer).cast("B")
        block = Block(view, array("Q", _numbers(offsets)), array("I", _numbers(lengths)))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"(buffer, offsets, lengths): {error}") from None
    if len(block.offsets) != len(block.lengths):
        raise UsageError(f"{len(block.offsets)} offsets, but {len(block.lengths)} lengths")
    return _checked(block)


def _numbers(values: Any) -> Any:
    tolist = getattr(values, "tolist", None)
    return values if tolist is None else tolist()


def _checked(block: Block) -> Block:
    size = len(block.buffer)
    if block.lengths and min(block.lengths) >= ETHERNET_BYTES and max(block.lengths) <= MAX_BYTES and (
            max(block.offsets) + max(block.lengths) <= size):
        return block  # the usual case, in few steps
    for n, (offset, length) in enumerate(zip(block.offsets, block.lengths)):
        if not ETHERNET_BYTES <= length <= MAX_BYTES:
            raise UsageError(f"packet {n} has {length} bytes: {ETHERNET_BYTES} to {MAX_BYTES} are possible")
        if offset + length > size:
            raise UsageError(f"packet {n} (bytes {offset} to {offset + length}) lies outside of the buffer, which has "
                             f"{size} bytes")
    return block
