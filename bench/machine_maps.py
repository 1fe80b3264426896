"""Maps of the machine in native memory beside the kernel's, by the same calls: single entries, a million at once.

What compiled programs pay for a look-up is in ``bench jit``.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from bench.harness import Report, Row, alternate, ms

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 1_000_000
FEW = 10_000
SINGLE = 20_000


def run(report: Report) -> None:
    from ebpf.abi.maps import MapType
    from ebpf.errors import NotSupported, PrivilegeError
    from ebpf.kernel.maps import create_map as kernel_map
    from ebpf.machine import Environment, MapShape, create_map

    def pair(type: MapType, key_size: int, entries: int) -> tuple[Any, Any]:
        ours = create_map(Environment(native=True), MapShape("bench", type, key_size, 8, entries))
        theirs = kernel_map(name="bench", type=int(type), key_size=key_size, value_size=8, max_entries=entries)
        return ours, theirs

    try:
        ours, theirs = pair(MapType.HASH, 8, MANY)
    except (PrivilegeError, NotSupported) as error:
        report.skip("machine's maps beside the kernel's", str(error))
        return
    with theirs:
        keys = struct.pack(f"<{MANY}Q", *range(MANY))
        compare(report, "write 1 M hash entries", ours, theirs, lambda m: m.update_batch(keys, keys))
        compare(report, "read 1 M hash entries", ours, theirs, lambda m: m.read_all())
    ours, theirs = pair(MapType.ARRAY, 4, MANY)
    with theirs:
        compare(report, "read 1 M array elements", ours, theirs, lambda m: m.read_all())
    ours, theirs = pair(MapType.HASH, 8, FEW)
    with theirs:
        some = [n.to_bytes(8, "little") for n in range(FEW)]
        for m in (ours, theirs):
            m.update_batch(b"".join(some), b"".join(some))
        single = (some * (SINGLE // FEW + 1))[:SINGLE]

        def each(what: str) -> Callable[[Any], object]:
            def job(m: Any) -> None:
                lookup, update = m.lookup, m.update
                for key in single:
                    lookup(key) if what == "lookup" else update(key, key)

            return job

        compare(report, f"{SINGLE:,} look-ups of single entries from Python", ours, theirs, each("lookup"))
        compare(report, f"{SINGLE:,} updates of single entries from Python", ours, theirs, each("update"))


def compare(report: Report, name: str, ours: Any, theirs: Any, job: Callable[[Any], object]) -> None:
    def timed(m: Any) -> float:
        start = time.perf_counter()
        job(m)
        return time.perf_counter() - start

    mine, kernels = alternate(report.rounds, lambda: timed(ours), lambda: timed(theirs))
    report.add(Row(name, ms(mine), ms(kernels), mine / kernels, 1.0))
