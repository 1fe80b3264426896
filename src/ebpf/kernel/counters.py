"""Perf counters that programs read (bpf_perf_event_read): a perf event array with one for each online CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.kernel import sys
from ebpf.kernel.cpus import online_cpus

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap


class Counters:
    """Perf counters in a perf event array, one for each online CPU; closing takes them out again.

    That of CPU n has the index ``first`` + n.
    """

    def __init__(self, map: KernelMap, type: int, config: int, first: int = 0) -> None:
        self._map = map
        self._first = first
        self._fds: dict[int, sys.OwnedFd] = {}
        attr = sys.perf_event_attr(type, config)
        try:
            for cpu in online_cpus():
                fd = sys.perf_event_open(attr, -1, cpu)
                if fd < 0:
                    raise sys.failure(f"perf_event_open(type={type}, config={config}, cpu={cpu})", -fd,
                                      needs=("CAP_PERFMON",))
                self._fds[cpu] = sys.OwnedFd(fd)
                map.update((first + cpu).to_bytes(4, "little"), fd.to_bytes(4, "little"))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take the counters out of the map and release them."""
        fds, self._fds = self._fds, {}
        for cpu, fd in fds.items():
            if not self._map.closed:
                self._map.delete((self._first + cpu).to_bytes(4, "little"))
            fd.close()
