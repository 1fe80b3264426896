"""Many tests in one boot of each kernel, in background threads; results are handed out when they are asked for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ebpf.testing.guests.guest import GuestError

MARK = "\x1e"  # starts each line with a result, so that a stray print inside cannot be taken for one

Take = Callable[[str, Any], None]


class Pool:
    """``run(kernel, take)`` runs the tests of one kernel, calls ``take(test, result)`` for each, and says how it ended.

    Kernels are begun in the given order. What ``run`` raises ends its kernel: `result` says so for tests without one.
    """

    def __init__(self, kernels: Sequence[str], run: Callable[[str, Take], str]) -> None:
        self._waiting = list(kernels)
        self._run = run
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.results: dict[str, Any] = {}
        self.over: dict[str, str] = {}  # kernel → how its guest ended
        self.stopping = False

    def hire(self, workers: int | None = None) -> None:
        """Let so many guests (default: as many as there are processors) run at once from now on.

        Emulation keeps one processor busy per guest.
        """
        most = (os.cpu_count() or 1) if workers is None else max(1, workers)
        for _ in range(min(len(self._waiting), most - len(self._threads))):
            thread = threading.Thread(target=self._work, name="guests", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the guests; `run` is expected to look at ``stopping``."""
        self.stopping = True
        for thread in self._threads:
            thread.join(10)

    def result(self, kernel: str, test: str) -> Any:
        """Wait for the test's result; ``None`` if its kernel ended without one (``over`` says how)."""
        self.hire()
        with self._changed:
            self._changed.wait_for(lambda: test in self.results or kernel in self.over)
            return self.results.get(test)

    def _take(self, test: str, result: Any) -> None:
        with self._changed:
            self.results[test] = result
            self._changed.notify_all()

    def _work(self) -> None:
        while not self.stopping:
            with self._changed:
                if not self._waiting:
                    return
                kernel = self._waiting.pop(0)
            try:
                ended = self._run(kernel, self._take)
            except Exception as error:
                ended = str(error) if isinstance(error, GuestError) else f"the guest harness failed: {error!r}"
            with self._changed:
                self.over[kernel] = ended
                self._changed.notify_all()


class Lines:
    """A sink for a guest's output that hands each marked line on, as the value its JSON holds."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take
        self._partial = b""

    def __call__(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if line.startswith(MARK.encode()):
                self._take(json.loads(line[len(MARK):]))
