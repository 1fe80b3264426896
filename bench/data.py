"""Reading a million entries of a hash map into an Arrow table, beside the kernel's bare batch call."""

from __future__ import annotations

import ctypes
import mmap
import time
from typing import TYPE_CHECKING, Any

from bench.harness import Report, Row, ms

if TYPE_CHECKING:
    from collections.abc import Callable

N = 1_000_000
_BATCH_ATTR = 56


def run(report: Report) -> None:
    import importlib.util

    import numpy

    import ebpf

    if importlib.util.find_spec("pyarrow") is None:
        report.skip("a million entries to Arrow", "pyarrow is not installed")
        return
    with ebpf.load(ebpf.compile(f"BPF_HASH(h, u32, u64, {N});", dialect="bcc"), backend="kernel") as session:
        table = session.maps["h"]
        table.from_numpy(numpy.arange(N, dtype="u4"), numpy.arange(7, N + 7, dtype="u8"))
        bare = _bare_batch(table.fileno())
        table.to_arrow(), bare()  # warm: what is imported
        for name, ours, target in (("Arrow table", table.to_arrow, 1.2), ("NumPy arrays", table.to_numpy, 1.2)):
            # CPU time of the quickest: both are mostly one system call; what else the machine does is all that varies
            theirs, mine = [], []
            for _ in range(report.rounds):
                theirs.append(_seconds(bare))
                mine.append(_seconds(ours))
            a, b = min(mine), min(theirs)
            report.add(Row(f"read 1,000,000 hash entries, {name}, beside the batch call", ms(a), ms(b), a / b, target))


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    kept = work()
    seconds = time.process_time() - start
    del kept
    return seconds


def _bare_batch(fd: int) -> Callable[[], Any]:
    """bpf(BPF_MAP_LOOKUP_BATCH) for all entries at once, into memory of the right size."""
    import struct

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    number = 321 if __import__("platform").machine() == "x86_64" else 280

    def read() -> Any:
        keys, values = mmap.mmap(-1, N * 4), mmap.mmap(-1, N * 8)
        at = [ctypes.addressof(ctypes.c_char.from_buffer(memory)) for memory in (keys, values)]
        position = ctypes.create_string_buffer(8)
        attr = ctypes.create_string_buffer(struct.pack("@QQQQIiQQ", 0, ctypes.addressof(position), *at, N, fd, 0, 0))
        syscall(number, 24, attr, _BATCH_ATTR)
        got = struct.unpack_from("@I", attr, 32)[0]
        assert got == N, f"{got} entries"
        return keys, values

    return read
