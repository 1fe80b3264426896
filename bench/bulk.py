"""A million entries out of a hash map: ours beside the bare batch calls, into memory that is there already."""

from __future__ import annotations

import ctypes
import errno
import gc
import statistics
import struct
import time

from bench.harness import Report, Row, ms

N = 1_000_000
_BATCH = struct.Struct("@QQQQIiQQ")
_TARGET = 1.3


def run(report: Report) -> None:
    import numpy

    import ebpf
    from ebpf.errors import PrivilegeError
    from ebpf.kernel import sys

    try:
        session = ebpf.load(ebpf.compile(f"BPF_HASH(h, u64, u64, {N});", dialect="bcc"), backend="kernel")
    except PrivilegeError as error:
        report.skip("a million entries", error.message)
        return
    with session:
        table = session.maps["h"]
        table.from_numpy(numpy.arange(N, dtype="u8"), numpy.arange(7, N + 7, dtype="u8"))
        bare, read, arrays = [], [], []
        keys, values = bytearray(8 * (N + 4096)), bytearray(8 * (N + 4096))
        for _ in range(report.rounds):
            gc.collect()
            start = time.perf_counter()
            assert _bare(sys, table.fileno(), keys, values) == N
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            assert table.raw.read_all().count == N
            read.append(time.perf_counter() - start)
            start = time.perf_counter()
            found, _ = table.to_numpy()
            arrays.append(time.perf_counter() - start)
            assert len(found) == N
    floor = statistics.median(bare)
    for name, times in (("1,000,000 hash entries, bytes", read), ("1,000,000 hash entries, NumPy arrays", arrays)):
        taken = statistics.median(times)
        report.add(Row(f"{name} / bare batch calls", ms(taken), ms(floor), taken / floor, _TARGET))


def _bare(sys: object, fd: int, keys: bytearray, values: bytearray) -> int:
    """BPF_MAP_LOOKUP_BATCH until the end, and nothing else."""
    room, done, first = len(keys) // 8, 0, True
    token, attr = ctypes.create_string_buffer(8), ctypes.create_string_buffer(_BATCH.size)
    position = ctypes.addressof(token)
    at_keys = ctypes.addressof(ctypes.c_char.from_buffer(keys))
    at_values = ctypes.addressof(ctypes.c_char.from_buffer(values))
    while True:
        _BATCH.pack_into(attr, 0, 0 if first else position, position, at_keys + 8 * done, at_values + 8 * done,
                         room - done, fd, 0, 0)
        result = sys.bpf(24, attr, _BATCH.size)  # type: ignore[attr-defined]
        done += _BATCH.unpack_from(attr)[4]
        if result == -errno.ENOENT:
            return done
        assert result == 0, result
        first = False
