"""`ebpf.inventory.profile`: what a loaded program costs in events of the processor, by programs of ours around it.

An fentry and an fexit program on the program itself (``profiler.c``) read perf counters of the CPU that it runs on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.perf_events import PERF_EVENTS
from ebpf.errors import KernelError, NotSupported, TargetNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.kernel.programs import KernelProgram
    from ebpf.session.backend import Closable

MOST_METRICS = 8


class Metric(NamedTuple):
    """``total`` of events within the program, on all CPUs; ``share`` of the time that its counter was running: below 1
    more counters are wanted than the processor has, and ``total`` stands for less than it seems."""

    name: str
    total: int
    share: float


class Profile(NamedTuple):
    """What was measured while the program ran ``runs`` times."""

    program: str
    runs: int
    metrics: tuple[Metric, ...]


class Profiler:
    """Counts while it is open; `read` may be called any number of times."""

    def __init__(self, program: KernelProgram, metrics: Sequence[str]) -> None:
        from ebpf.kernel.cpus import possible_cpus
        from ebpf.session.build import compile_source
        from ebpf.session.session import load

        events = [_event(name) for name in metrics]
        if not 0 < len(events) <= MOST_METRICS:
            raise UsageError(f"one to {MOST_METRICS} metrics can be counted at once, not {len(events)}")
        self.program = program.name
        self.metrics = tuple(metrics)
        function = _main_function(program)
        cpus = len(possible_cpus())
        self._counters: list[Closable] = []
        source = Path(__file__).with_name("profiler.c")
        self._session = load(compile_source(source, dialect="libbpf"), backend="kernel", load_programs=False,
                             max_entries={"counters": len(events) * cpus},
                             variables={"metrics": len(events), "cpus": cpus})
        try:
            counters = self._session.maps["counters"]
            for number, (name, (type, config)) in enumerate(zip(metrics, events, strict=True)):
                try:
                    self._counters.append(counters.open_counters(type, config, first=number * cpus))
                except KernelError as error:
                    raise NotSupported(f"the counter {name}", who="this machine",
                                       instead="one of software: task-clock, cpu-clock, page-faults") from error
            for ours in ("leave", "enter"):  # what begins must find its end there
                self._session.load_program(ours, attach_to=function, target=program).attach_tracing()
        except BaseException:
            self.close()
            raise

    def read(self) -> Profile:
        """What has been counted so far."""
        per_cpu = self._session.maps["totals"][0]
        runs = sum(record.taken for record in per_cpu)
        found = []
        for i, name in enumerate(self.metrics):
            values = [record.values[i] for record in per_cpu]
            enabled, running = sum(v.enabled for v in values), sum(v.running for v in values)
            found.append(Metric(name, sum(v.counter for v in values), running / enabled if enabled else 1.0))
        return Profile(self.program, runs, tuple(found))

    def close(self) -> None:
        """Take our programs away again."""
        for counter in self._counters:
            counter.close()
        self._counters.clear()
        self._session.close()

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _event(name: str) -> tuple[int, int]:
    if name not in PERF_EVENTS:
        from ebpf.diagnostics import unknown_name

        raise unknown_name("perf event", name, PERF_EVENTS)
    return PERF_EVENTS[name]


def _main_function(program: KernelProgram) -> str:
    """The name, whole, of the function that the program is; the kernel keeps 15 bytes of it as the program's name."""
    from ebpf.btf.types import Kind
    from ebpf.session.inventory import inventory

    info = program.info()
    types = inventory.types(info.btf_id)
    names = [name for name, _ in types.iter_names(Kind.FUNC)] if types is not None else []
    found = [n for n in names if n == info.name] or [
        n for n in names if len(info.name) == 15 and n.startswith(info.name)]
    if not found:
        raise TargetNotFound(f"program {info.name!r} cannot be profiled: it was loaded without types", name=info.name,
                             helps=("compile it with BTF (clang: -g)",))
    return found[0]
