"""Packets that ``skboutput`` sends, into files that tcpdump and Wireshark read (pcap, raw IP, nanoseconds)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

from ebpf.errors import UsageError

if TYPE_CHECKING:
    from ebpf.compiler.trace.plan import Plan
    from ebpf.session.backend import RawMap
    from ebpf.session.poller import Poller
    from ebpf.session.tracing.names import Names

_MAGIC_NS: Final = 0xA1B23C4D
_LINKTYPE_RAW: Final = 101
_MOST_BYTES: Final = 0xFFFF
_HEADER: Final = struct.Struct("=IIQQ")  # the event's number, 0, when, how many bytes were asked for


class Captures:
    """The files of one script, and what the kernel sends into them. `UsageError` for a file that cannot be written."""

    def __init__(self, map: RawMap, plan: Plan, names: Names) -> None:
        self._names = names
        self._files: dict[str, BinaryIO] = {}
        self._events = {}
        #: packets that found no room
        self.lost = 0
        for number, event in enumerate(plan.events):
            if event.kind == "skboutput":
                self._events[number] = self._file(event.text), event.top
        pages = 1 << (max(1, int(plan.config.get("perf_rb_pages", 64))) - 1).bit_length()
        self._reader = map.perf_buffer(self._packet, on_lost=self._note_lost, pages=pages)

    def _file(self, path: str) -> BinaryIO:
        file = self._files.get(path)
        if file is None:
            try:
                file = self._files[path] = open(path, "wb")  # closed by `close`
                file.write(struct.pack("=IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _MOST_BYTES, _LINKTYPE_RAW))
                file.flush()
            except OSError as error:
                self._close_files()
                raise UsageError(f"skboutput: {path}: {error.strerror}") from None
        return file

    def add_to(self, poller: Poller) -> None:
        for ring in self._reader.rings.values():
            poller.add(ring.fileno(), lambda: 1)

    def consume(self) -> int:
        """Write what is there; how many packets."""
        count = self._reader.consume()
        if count:
            for file in self._files.values():
                file.flush()
        return count

    def _packet(self, cpu: int, data: bytes) -> None:
        number, _, when, length = _HEADER.unpack_from(data)
        file, offset = self._events[number]
        packet = data[_HEADER.size + offset:_HEADER.size + length]
        ns = round(self._names.seconds(0) * 10**9) + when
        kept = packet[:_MOST_BYTES]
        file.write(struct.pack("=IIII", ns // 10**9, ns % 10**9, len(kept), len(packet)) + kept)

    def _note_lost(self, cpu: int, count: int) -> None:
        self.lost += count

    def close(self) -> None:
        self._reader.close()
        self._close_files()

    def _close_files(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            file.close()
