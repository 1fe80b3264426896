"""What the fixtures give: `Lab.load` makes rigs and closes them when the test is over."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import ebpf
from ebpf.testing.rig import Rig, load, resolve, together

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lab:
    """One of the two backends, for one test."""

    def __init__(self, backend: str, directory: Any = None) -> None:
        #: ``"machine"`` or ``"kernel"``
        self.backend = backend
        self._directory = directory
        self._rigs: list[Rig] = []

    def __repr__(self) -> str:
        return f"<ebpf_{self.backend}: {len(self._rigs)} loaded>"

    def load(self, source: Any, **options: Any) -> Rig:
        """Load programs: C (a path, relative to the test's file, or text), an object, Python functions.

        The options are those of `ebpf.testing.load`: ``variables``, ``max_entries``, ``types``, ``compile`` (options of
        `ebpf.compile`); ``cpus``, ``seed`` and ``engine`` in the machine. Skips the test in a kernel that this user may
        not use.
        """
        try:
            rig = load(resolve(source, self._directory), backend=self.backend, **options)
        except ebpf.EbpfError as error:
            self.skip_if_impossible(error)
            raise
        self._rigs.append(rig)
        return rig

    def skip_if_impossible(self, error: BaseException) -> None:
        """Skip the test if ``error`` says that this kernel, or this user, cannot do what it asks for."""
        if self.backend != "kernel":
            return
        if isinstance(error, ebpf.PrivilegeError):
            pytest.skip(f"this user may not use the kernel: {error.message}")
        if isinstance(error, ebpf.NotSupported):
            pytest.skip(f"not in this kernel: {error.message}")

    def close(self) -> None:
        """Close everything that was loaded."""
        rigs, self._rigs = self._rigs, []
        together(rigs)


@contextmanager
def open_lab(request: pytest.FixtureRequest, backend: str) -> Iterator[Lab]:
    """A lab for the test that asks; skips it where there is no such backend."""
    if backend == "kernel":
        _check_kernel()
    lab = Lab(backend, request.path.parent)
    try:
        yield lab
    finally:
        lab.close()


def _check_kernel() -> None:
    import sys

    if sys.platform != "linux":
        pytest.skip(f"there is no eBPF in the kernel of {sys.platform}")
    import os

    if os.geteuid() != 0 and not os.path.exists("/proc/self/status"):
        pytest.skip("there is no /proc to tell what this user may do")
