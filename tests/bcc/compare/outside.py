"""The host's side: what a guest's tools want compiled, compiled here with that guest's facts."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from ebpf.btf.reader import Btf
from ebpf.compiler import cache
from ebpf.compiler.options import Options
from ebpf.compiler.pipeline import compile_c
from ebpf.errors import EbpfError
from ebpf.kernel.facts import SystemFacts


class GuestFacts(SystemFacts):
    """As `SystemFacts`, of the guest that wrote its facts into ``folder``."""

    __slots__ = ("_formats", "_told")

    def __init__(self, folder: Path, store: cache.Store) -> None:
        told = json.loads((folder / "facts.json").read_text())
        vmlinux = Btf.parse((folder / "btf" / "vmlinux").read_bytes(), store=store, identity=f"vmlinux-{told['kernel_id']}")
        super().__init__(store, vmlinux)
        self._modules = tuple(Btf.parse(path.read_bytes(), vmlinux) for path in sorted((folder / "btf").iterdir())
                              if path.name != "vmlinux")
        self._config = told["config"]
        self._id = told["kernel_id"]
        self._told = told
        self._formats: dict[tuple[str, str], str | None] = {}

    @property
    def kernel_version(self) -> int:
        return int(self._told["kernel_version"])

    @property
    def cpus_online(self) -> int:
        return int(self._told["cpus_online"])

    @property
    def cpus_possible(self) -> int:
        return int(self._told["cpus_possible"])

    def modules(self) -> str:
        """What the cache notes of the modules that are loaded."""
        return str(self._told["modules"])

    def learn(self, formats: list[tuple[str, str, str | None]]) -> None:
        """The tracepoints that a program names."""
        self._formats.update({(category, name): text for category, name, text in formats})

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return self._formats.get((category, name))


class Compiler(threading.Thread):
    """Answers requests of one guest, in a ``lane`` of ``share``, until it is told to `stop`."""

    def __init__(self, share: Path, lane: str) -> None:
        super().__init__(daemon=True)
        self.share, self.lane = share, share / lane
        self.seen = 0
        self._stop_it = threading.Event()
        for folder in ("requests", "answers"):
            (self.lane / folder).mkdir(parents=True, exist_ok=True)
            for old in (self.lane / folder).iterdir():
                old.unlink()

    def run(self) -> None:
        facts: GuestFacts | None = None
        store = cache.Store(str(self.share / "cache"))
        while not self._stop_it.wait(0.03):
            for path in sorted((self.lane / "requests").glob("[!.]*")):
                if facts is None:
                    facts = GuestFacts(self.share, store)
                    cache._modules = facts.modules
                said = _compile(json.loads(path.read_text()), facts, store)
                path.unlink()
                (self.lane / "answers" / path.name).write_text(said)
                self.seen += 1

    def stop(self) -> None:
        """Compile no longer."""
        self._stop_it.set()
        self.join()


def _compile(request: dict[str, Any], facts: GuestFacts, store: cache.Store) -> str:
    """Put the object into the cache under the guest's key; what there was to say."""
    facts.learn([tuple(row) for row in request.pop("formats")])
    key = request.pop("key")
    if store.get(key) is not None:
        return "was there"
    options = Options(request["dialect"], request["mcpu"], tuple(request["defines"]), tuple(request["include_dirs"]))
    recording = cache.RecordingFacts(facts)
    try:
        elf = compile_c(request["text"], filename=request["filename"], facts=recording, options=options)
    except EbpfError as error:
        return str(error)
    cache.keep_object(store, key, recording, elf)
    return "compiled"
