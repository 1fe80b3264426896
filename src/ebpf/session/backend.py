"""What a session stands on: the running kernel or the userspace machine, seen alike.

`Backend` is an object with its maps and programs in one of the two (`on_kernel`, `on_machine`); `RawMap` and
`RawProgram` are what lies beneath `Map` and `Program`: bytes in, bytes out. `choose` says which backend `load` takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np

    from ebpf.object import Object


class Link(Protocol):
    """A program that is attached to `target`; `kind` is the hook's name (``"kprobe"``), `program` the program's.

    It is detached by `detach` (or `close`), at the end of ``with``, with its session, and when the process ends.
    """

    @property
    def kind(self) -> str:
        """The hook's name."""

    @property
    def target(self) -> str:
        """What it is attached to."""

    @property
    def program(self) -> str:
        """The program's name."""

    @property
    def attached(self) -> bool:
        """Whether we still hold it."""

    def fileno(self) -> int:
        """The descriptor that holds it in the kernel; -1 once detached, and in the machine."""

    def detach(self) -> None:
        """Take the program off its hook; doing so again is harmless."""

    def close(self) -> None:
        """The same as `detach`."""

    def pin(self, path: str) -> None:
        """Keep it attached beyond this process, by a name on a BPF file system; `NotSupported` where it cannot be."""

    def update(self, program: Any) -> None:
        """Let another program (`RawProgram`) take the place of this one, nothing missed in between; `NotSupported`
        where the kernel cannot.
        """

    def info(self) -> Any:
        """What the kernel tells about it; ``None`` if it does not know it as a link."""

    def __enter__(self) -> Link: ...

    def __exit__(self, *_: object) -> None: ...


class Bulk(Protocol):
    """``count`` entries: contiguous ``keys`` and ``values``."""

    @property
    def keys(self) -> memoryview: ...

    @property
    def values(self) -> memoryview: ...

    @property
    def count(self) -> int: ...


class RingReader(Protocol):
    """The consumer's side of a ring buffer."""

    def fileno(self) -> int: ...

    def consume(self, callback: Callable[[bytes], Any], limit: int = 0) -> int:
        """Call ``callback(data)`` for every record that is there, ``limit`` at most; how many."""

    def consume_addresses(self, callback: Callable[[int, int], Any], limit: int = 0) -> int:
        """Call ``callback(address, size)``: the address is valid during the call only."""

    def __iter__(self) -> Iterator[bytes]: ...

    def read_arrays(self, dtype: np.dtype[Any] | None = None, limit: int = 0) -> list[np.ndarray[Any, Any]]: ...

    def close(self) -> None: ...


class PerfRing(Protocol):
    """One of the rings of a perf buffer."""

    def fileno(self) -> int: ...

    def consume(self, callback: Callable[[int, bytes], Any], on_lost: Callable[[int, int], Any] | None) -> int: ...

    def consume_addresses(self, callback: Callable[[int, int, int], Any],
                          on_lost: Callable[[int, int], Any] | None) -> int:
        """``callback(cpu, address, size)``: the address is valid during the call only."""


class PerfReader(Protocol):
    """The reader of a perf event array: its rings by CPU, callbacks, and what was lost."""

    callback: Callable[[int, bytes], Any]
    on_lost: Callable[[int, int], Any] | None

    @property
    def rings(self) -> Mapping[int, PerfRing]: ...

    @property
    def lost(self) -> int: ...

    def refresh(self) -> list[Any]:
        """Open rings of CPUs that came online since; the new ones."""

    def consume(self) -> int: ...

    def close(self) -> None: ...


class RecordSender(Protocol):
    """The producer's side of a user ring buffer."""

    def send(self, data: bytes, timeout: float = 0) -> None:
        """A record for programs; `MapFull` if there is no room for it within ``timeout`` seconds."""


class ArenaMemory(Protocol):
    """An arena as the user sees it."""

    @property
    def view(self) -> memoryview:
        """All of it."""

    def offset_of(self, pointer: int, size: int = 1) -> int:
        """Where in ``view`` a program's pointer leads."""

    def read(self, pointer: int, size: int) -> bytes:
        """A copy of ``size`` bytes that a program's pointer leads to."""

    def write(self, pointer: int, data: bytes) -> None:
        """Put bytes where a program's pointer leads."""


class Closable(Protocol):
    """Something to close."""

    def close(self) -> None: ...


class RawMap(Protocol):
    """A map: bytes in, bytes out. `ebpf.kernel.maps.KernelMap` has the words on each."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> int: ...

    @property
    def key_size(self) -> int: ...

    @property
    def value_size(self) -> int: ...

    @property
    def max_entries(self) -> int: ...

    @property
    def flags(self) -> int: ...

    @property
    def value_stride(self) -> int: ...

    @property
    def closed(self) -> bool: ...

    @property
    def per_cpu_slots(self) -> int: ...

    @property
    def ended(self) -> bool:
        """Whether nothing more will be sent through it."""

    def fileno(self) -> int: ...

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None: ...

    def lookup_and_delete(self, key: bytes, flags: int = 0) -> bytes | None: ...

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None: ...

    def delete(self, key: bytes) -> bool: ...

    def next_key(self, key: bytes | None = None) -> bytes | None: ...

    def keys(self) -> Iterator[bytes]: ...

    def read_all(self) -> Bulk: ...

    def take_all(self) -> Bulk: ...

    def chunks(self, size: int = 1 << 16) -> Iterator[Bulk]: ...

    def freeze(self) -> None: ...

    def update_batch(self, keys: bytes | bytearray | memoryview, values: bytes | bytearray | memoryview,
                     flags: int = 0) -> int: ...

    def delete_batch(self, keys: bytes | bytearray | memoryview) -> int: ...

    def clear(self) -> int: ...

    def join_cpus(self, values: list[bytes]) -> bytes: ...

    def split_cpus(self, value: bytes | memoryview) -> list[bytes]: ...

    def write_part(self, offset: int, data: bytes) -> None: ...

    def info(self) -> Any: ...

    def pin(self, path: str) -> None: ...

    def ring_buffer(self) -> RingReader: ...

    def perf_buffer(self, callback: Callable[[int, bytes], Any], *, on_lost: Callable[[int, int], Any] | None = None,
                    pages: int = 8, wakeup_events: int = 1) -> PerfReader: ...

    def open_counters(self, type: int, config: int, first: int = 0) -> Closable: ...

    def may_contain(self, value: bytes) -> bool: ...

    def user_ring_buffer(self) -> RecordSender: ...

    def arena(self) -> ArenaMemory: ...

    def close(self) -> None: ...


class TestRun(Protocol):
    """What a test run gave."""

    @property
    def result(self) -> int:
        """The return value, as unsigned 32 bits."""

    @property
    def data(self) -> bytes:
        """The packet afterwards."""

    @property
    def context(self) -> bytes:
        """The context afterwards."""

    @property
    def duration_ns(self) -> int:
        """The mean time of a run."""


class ProgramInfo(Protocol):
    """What is known of a loaded program, by either backend."""

    @property
    def id(self) -> int:
        """Its number, in the kernel or among the session's programs."""

    @property
    def type(self) -> int:
        """A `ProgType`."""

    @property
    def type_name(self) -> str:
        """Its type in small letters: ``"xdp"``."""

    @property
    def name(self) -> str:
        """The function's name (15 characters of it in a kernel)."""

    @property
    def tag(self) -> str:
        """Hash of its instructions, hexadecimal."""

    @property
    def xlated_bytes(self) -> int:
        """Bytes of its instructions, as they run."""

    @property
    def map_ids(self) -> tuple[int, ...]:
        """Numbers of the maps that it uses."""

    @property
    def run_count(self) -> int:
        """How often it ran (a kernel counts while kernel.bpf_stats_enabled is on, the machine test runs)."""

    @property
    def run_time_ns(self) -> int:
        """How long that took."""

    @property
    def verified_insns(self) -> int:
        """Instructions that the verifier followed (Linux 5.16)."""


class RawProgram(Protocol):
    """A loaded program."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> Any: ...

    @property
    def expected_attach_type(self) -> int: ...

    @property
    def log(self) -> str: ...

    def fileno(self) -> int: ...

    def info(self) -> ProgramInfo: ...

    def test_run(self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, flags: int = 0,
                 cpu: int = 0) -> TestRun: ...

    def pin(self, path: str) -> None: ...

    def close(self) -> None: ...


class LinePipe(Protocol):
    """What programs print: lines as bytes, without their newline."""

    lost: int

    def fileno(self) -> int: ...

    def read_line(self, timeout: float | None = None) -> bytes | None:
        """The next line; ``None`` when none came within ``timeout`` seconds (``None``: wait for ever)."""

    def close(self) -> None: ...

    def __enter__(self) -> LinePipe: ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[bytes]: ...


class Backend(Protocol):
    """An object's maps and programs."""

    @property
    def name(self) -> str:
        """``"kernel"`` or ``"machine"``."""

    @property
    def obj(self) -> Object: ...

    @property
    def ended(self) -> bool:
        """Whether no more events will come."""

    @property
    def maps(self) -> Mapping[str, RawMap]: ...

    @property
    def programs(self) -> Mapping[str, RawProgram]: ...

    def load_program(self, name: str, *, type: int | None = None, expected_attach_type: int | None = None,
                     attach_to: str | None = None, log_level: int | None = None, ifindex: int = 0,
                     attach_prog_fd: int = 0, signature: bytes | Callable[[bytes], bytes] | None = None,
                     keyring: int = 0) -> RawProgram: ...

    def attach(self, kind: str, program: Any, target: Any, **details: Any) -> Link:
        """Attach a `RawProgram`. ``kind`` and ``details`` are those of `Program`'s ``attach_`` methods."""

    def attach_table(self, name: str) -> Link:
        """Register the struct_ops map ``name``."""

    def attach_socket(self, program: Any, sock: Any) -> None: ...

    def attach_reuseport(self, program: Any, sock: Any) -> None: ...

    def read_iterator(self, program: Any, **over: Any) -> bytes: ...

    def trace_pipe(self) -> LinePipe: ...

    def close(self) -> None: ...
