"""What ``pytest --ebpf-kernels`` runs in a guest: pytest itself on one kernel's tests, with a reporter to the host.

Reads a job (JSON) from standard input and writes a marked line of JSON to standard output for each test that begins
and for each that has ended, with its reports as pytest serialises them. So all fixtures, marks and plugins of the
user's project work as they do outside. What pytest itself prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any

from ebpf.testing.guests.pool import MARK

if TYPE_CHECKING:
    import pytest


class Reporter:
    """A pytest plugin that tells the host what becomes of each test."""

    def __init__(self, out: IO[str], job: dict[str, Any]) -> None:
        self._out = out
        self._job = job
        self._reports: list[Any] = []
        self._covered: list[Any] = []
        self._config: pytest.Config

    def send(self, **values: Any) -> None:
        """One line."""
        self._out.write(f"{MARK}{json.dumps(values)}\n")
        self._out.flush()

    def pytest_configure(self, config: pytest.Config) -> None:
        """Options that the user gave outside hold inside."""
        self._config = config
        for name, value in self._job["options"].items():
            setattr(config.option, name, value)
        if self._job["coverage"]:
            import ebpf

            ebpf.coverage.start()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Why tests are not there."""
        if report.failed:
            self.send(problem=f"{report.nodeid}: {report.longreprtext}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """The host blames this test if the machine dies now."""
        self._reports = []
        self.send(start=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase."""
        self._reports.append(
            self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """All phases are there, and what has run of the programs' source."""
        coverage = self._coverage()
        self.send(test=nodeid, reports=self._reports, coverage=[] if coverage == self._covered else coverage)
        self._covered = coverage

    def _coverage(self) -> list[Any]:
        if not self._job["coverage"]:
            return []
        import ebpf

        return [[name, list(ways.lines.items()), list(ways.ways.items())]
                for name, ways in ebpf.coverage.files.items()]


def main() -> int:
    """pytest's exit status."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    sys.stdin = open(os.devnull)
    sys.path[:] = job["sys_path"]
    reporter = Reporter(out, job)
    reporter.send(hello=True)
    import pytest

    return int(pytest.main(job["arguments"], plugins=[reporter]))


if __name__ == "__main__":
    sys.exit(main())
