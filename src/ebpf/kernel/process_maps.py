"""Which files' code is where in which process: also of processes that have ended by the time that somebody asks.

The kernel reports every exec, fork and mapping of code through perf events (PERF_RECORD_MMAP2, COMM, FORK); what ran
before is read from /proc once. One ring a CPU, each record with its time, so that they can be put in order.
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from typing import Final, NamedTuple

from ebpf.binaries.mappings import iter_mappings
from ebpf.kernel import sys
from ebpf.kernel.cpus import online_cpus

_COMM, _FORK, _MMAP2 = 3, 7, 10
_MISC_EXEC: Final = 1 << 13
_DUMMY: Final = 9  # PERF_COUNT_SW_DUMMY
_SAMPLE_TIME: Final = 1 << 2
# perf_event_attr's flags: mmap, comm, task, sample_id_all, mmap2, comm_exec
_FLAGS: Final = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24
_PAGES: Final = 64
_HEAD, _TAIL = 1024 // 8, 1032 // 8
_MOST_PROCESSES: Final = 8192


class Region(NamedTuple):
    """Code of a process: from `start` to before `end`, which is the file `path` from `offset` on."""

    start: int
    end: int
    offset: int
    path: str


class ProcessMaps:
    """Regions by process id. `follow` begins to listen; without it only living processes are known."""

    def __init__(self) -> None:
        self._regions: OrderedDict[int, dict[int, Region]] = OrderedDict()
        self._rings: list[tuple[sys.OwnedFd, sys.Mapping]] = []

    def follow(self) -> None:
        """Listen from now on, as far as this user may; and note what all processes have mapped already."""
        attr = sys.perf_event_attr(sys.PERF_TYPE_SOFTWARE, _DUMMY, sample=1, sample_type=_SAMPLE_TIME, flags=_FLAGS,
                                   wakeup_events=1 << 20)
        for cpu in online_cpus():
            fd = sys.perf_event_open(attr, -1, cpu)
            if fd < 0:
                break
            self._rings.append((sys.OwnedFd(fd), sys.Mapping(fd, (1 + _PAGES) * sys.PAGE_SIZE, writable=True)))
        for name in os.listdir("/proc"):
            if name.isdigit():
                self._read(int(name))

    def collect(self) -> None:
        """Take in what the kernel has reported."""
        records: list[tuple[int, int, int, bytes]] = []
        for _, mapping in self._rings:
            records += _drain(mapping)
        records.sort(key=lambda record: record[0])
        for _, kind, misc, data in records:
            pid = int.from_bytes(data[:4], "little")
            if kind == _COMM:
                if misc & _MISC_EXEC:
                    self._regions[pid] = {}
            elif kind == _FORK:
                parent = int.from_bytes(data[4:8], "little")
                if parent != pid and parent in self._regions:
                    self._keep(pid, dict(self._regions[parent]))
            else:
                _, _, start, length, offset = struct.unpack_from("<IIQQQ", data)
                path = data[64:].partition(b"\0")[0].decode("utf-8", "surrogateescape")
                self._regions.setdefault(pid, {})[start] = Region(start, start + length, offset, path)

    def find(self, pid: int, address: int) -> Region | None:
        """What is at that address of the process."""
        self.collect()
        found = _find(self._regions.get(pid), address)
        if found is None:
            self._read(pid)
            found = _find(self._regions.get(pid), address)
        return found

    def regions(self, pid: int) -> list[Region]:
        """All code of the process."""
        self.collect()
        if pid not in self._regions:
            self._read(pid)
        return list(self._regions.get(pid, {}).values())

    def _keep(self, pid: int, regions: dict[int, Region]) -> None:
        self._regions[pid] = regions
        if len(self._regions) > _MOST_PROCESSES:
            self._regions.popitem(last=False)

    def _read(self, pid: int) -> None:
        regions = {}
        try:
            for found in iter_mappings(pid, code=True):
                regions[found.start] = Region(found.start, found.end, found.offset, found.path)
        except OSError:
            return
        if regions:
            self._keep(pid, regions)

    def close(self) -> None:
        """Listen no longer."""
        rings, self._rings = self._rings, []
        for fd, mapping in rings:
            mapping.close()
            fd.close()


def _find(regions: dict[int, Region] | None, address: int) -> Region | None:
    for region in (regions or {}).values():
        if region.start <= address < region.end:
            return region
    return None


def _drain(mapping: sys.Mapping) -> list[tuple[int, int, int, bytes]]:
    """(time, kind, misc, data) of each record of one CPU's ring."""
    words, data, size = mapping.words(), mapping.view[sys.PAGE_SIZE:], mapping.length - sys.PAGE_SIZE
    head, tail = words[_HEAD], words[_TAIL]
    sys.memory_barrier()
    found = []
    while tail < head:
        at = tail % size
        kind, misc, length = struct.unpack_from("@IHH", data, at)
        whole = bytes(data[at:at + length])
        if at + length > size:
            whole += bytes(data[:at + length - size])
        tail += length
        if kind in (_COMM, _FORK, _MMAP2):
            found.append((int.from_bytes(whole[-8:], "little"), kind, misc, whole[8:-8]))
    words[_TAIL] = tail
    return found
