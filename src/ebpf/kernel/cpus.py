"""CPUs as the kernel counts them. Per-CPU maps have one value for each *possible* CPU, perf buffers run on *online*
ones.
"""

from __future__ import annotations

from functools import lru_cache

from ebpf.errors import FormatError

_ROOT = "/sys/devices/system/cpu/"


def parse_cpu_list(text: str) -> list[int]:
    """``"0-3,8\\n"`` → ``[0, 1, 2, 3, 8]``, the notation of /sys/devices/system/cpu and of cpusets."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        try:
            cpus.extend(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise FormatError(f"not a list of CPUs: {text.strip()!r}") from None
    return cpus


def _read(name: str) -> list[int]:
    with open(_ROOT + name) as file:
        return parse_cpu_list(file.read())


def online_cpus() -> list[int]:
    """CPUs that run now; changes with hotplug, so it is read every time."""
    return _read("online")


@lru_cache(maxsize=1)
def possible_cpus() -> list[int]:
    """CPUs that may ever run; fixed at boot."""
    return _read("possible")


def per_cpu_slots() -> int:
    """Values in one element of a per-CPU map: the kernel copies one for each possible CPU, in order of CPU number."""
    return len(possible_cpus())
