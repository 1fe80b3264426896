"""`Statistics`: what the kernel's programs cost while one watches: runs, time for one run, share of a CPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf.kernel.programs import ProgramInfo


class ProgramCost(NamedTuple):
    """One program over ``seconds``: how often it ran, and for how long in all (nanoseconds, on all CPUs together)."""

    id: int
    name: str
    type: str
    owner_uid: int
    runs: int
    run_time_ns: int
    seconds: float

    @property
    def ns_per_run(self) -> float:
        """Nanoseconds that one run took on the mean; 0 if there was none."""
        return self.run_time_ns / self.runs if self.runs else 0.0

    @property
    def runs_per_second(self) -> float:
        return self.runs / self.seconds if self.seconds else 0.0

    @property
    def cpu_percent(self) -> float:
        """Share of one CPU: 100 is one CPU kept busy."""
        return self.run_time_ns / self.seconds / 1e7 if self.seconds else 0.0


def costs(before: Iterable[ProgramInfo], after: Iterable[ProgramInfo], seconds: float) -> list[ProgramCost]:
    """What each program that is still there has cost between two readings, the dearest first."""
    earlier = {p.id: p for p in before}
    out = []
    for now in after:
        then = earlier.get(now.id)
        runs, spent = (then.run_count, then.run_time_ns) if then is not None else (0, 0)
        out.append(ProgramCost(now.id, now.name, now.type_name, now.created_by_uid, now.run_count - runs,
                               now.run_time_ns - spent, seconds))
    out.sort(key=lambda c: (-c.run_time_ns, -c.runs, c.id))
    return out


class Statistics:
    """The kernel counts while this is open; the counting ends with it (or with the process)."""

    def __init__(self) -> None:
        from ebpf.kernel.statistics import enable

        self._fd = enable()
        self._before: list[ProgramInfo] = []
        self._at = 0.0
        self._read()

    def sample(self) -> list[ProgramCost]:
        """What every program has cost since the last call (or since the beginning), the dearest first."""
        before, at = self._before, self._at
        self._read()
        return costs(before, self._before, self._at - at)

    def every(self, seconds: float) -> Iterator[list[ProgramCost]]:
        """A `sample` each ``seconds``, for ever."""
        while True:
            time.sleep(seconds)
            yield self.sample()

    def close(self) -> None:
        """End the counting."""
        self._fd.close()

    def __enter__(self) -> Statistics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        from ebpf.session.inventory import inventory

        self._before = list(inventory.programs())
        self._at = time.monotonic()
