"""Perf events by the names that perf(1) gives them: (type, config) of perf_event_open(2)."""

from __future__ import annotations

# linux/perf_event.h: PERF_TYPE_HARDWARE (0), PERF_TYPE_SOFTWARE (1), numbered in this order.
PERF_EVENTS = {name: (0, number) for number, name in enumerate((
    "cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses", "bus-cycles",
    "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"))}
PERF_EVENTS |= {name: (1, number) for number, name in enumerate((
    "cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults", "major-faults",
    "alignment-faults", "emulation-faults", "dummy"))}
