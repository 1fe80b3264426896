"""A session in the userspace machine: its `Backend`, made of a `Machine`, and the maps and programs in it.

Every touch of the machine from here holds the world's lock (`ebpf.session.world`): programs run one at a time, and what
the user reads is what one of them left behind.
"""

from __future__ import annotations

import errno as _errno
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.abi.maps import MAP_TYPES, MapInfo, MapType
from ebpf.abi.programs import ProgType
from ebpf.errors import KernelError, MachineFault, MapError, NotSupported, UsageError
from ebpf.machine.machine import Machine
from ebpf.machine.packets import PACKET_TYPES
from ebpf.session import world
from ebpf.session.choice import tell_where, wish
from ebpf.session.machine_readers import PerfBuffer, RingBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ebpf.btf import Btf
    from ebpf.machine.machine import Context, Run
    from ebpf.machine.maps import MachineMap
    from ebpf.machine.maps.base import Bulk
    from ebpf.object import Object
    from ebpf.session.backend import Link
    from ebpf.session.lines import Lines
    from ebpf.session.world import World

_T = MapType
_PER_CPU = frozenset(int(row.type) for row in MAP_TYPES.values() if row.percpu)
_ARRAYS = (_T.ARRAY, _T.PERCPU_ARRAY)
_OF_DESCRIPTORS = (_T.PROG_ARRAY, _T.ARRAY_OF_MAPS, _T.HASH_OF_MAPS)
_ETHERNET_BYTES = 14
_WHO = "the userspace machine"
# Attachments that only a kernel has, and what would do instead.
_KERNEL_ONLY = {
    "netkit": 'netkit devices are a kernel\'s: attach_tcx("eth0") works on a device of the machine',
    "netns": "sockets are looked up in a kernel: run the program on contexts of your own with test_run(context=…)",
    "netfilter": 'netfilter is in a kernel: attach_tcx("eth0") sees the packets of a device of the machine',
    "sockmap": "sockets are the kernel's: run the program on contexts of your own with test_run(context=…)",
    "cgroup": "control groups decide in a kernel: run the program on contexts of your own with test_run(context=…)",
    "iterator": "iterators walk through a kernel's objects: read /proc, or run it on a kernel",
}


def load(obj: Object, *, load_programs: bool | Iterable[str], types: Mapping[str, int],
         max_entries: Mapping[str, int] | None, data: Mapping[str, bytes] | None, reuse: Mapping[str, Any] | None,
         log_level: int, interrupts: bool = True, cpus: int | None = None,
         engine: str | None = None) -> OnMachine:
    """Maps and programs of ``obj`` in a machine of their own. Programs are verified now, by our own verifier.

    ``interrupts``: when what is traced has ended, the script gets what Ctrl-C would give it.
    """
    if reuse:
        raise NotSupported("maps that several sessions share", who=_WHO,
                           instead="put the programs that share a map into one object")
    backend = OnMachine(obj, types=types, max_entries=max_entries, data=data, interrupts=interrupts,
                        cpus=cpus, engine=engine)
    if isinstance(load_programs, bool):
        wanted = [name for name, spec in obj.programs.items() if load_programs and spec.autoload
                  and (spec.type is not None or name in types)]
    else:
        wanted = list(load_programs)
    for name in wanted:
        backend.load_program(name)
    return backend


def _kernel_btf(obj: Object) -> Btf | None:
    """The running kernel's types, for programs that are moved to them or name them; reading them costs time."""
    if not any(spec.core_relos or spec.type in (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS)
               for spec in (*obj.programs.values(), *obj.functions.values())):
        return None
    return _any_kernel_btf()


def _cpus_of_host() -> int:
    from ebpf.kernel.cpus import per_cpu_slots

    try:
        return per_cpu_slots()
    except OSError:  # another system
        return os.cpu_count() or 1


@cache
def _any_kernel_btf() -> Btf | None:
    """The running kernel's types, for who names the arguments of its functions; ``None`` where there are none."""
    try:
        from ebpf.session.host import host

        return host.btf()
    except (ImportError, OSError):  # another system
        return None


class OnMachine:
    """See `ebpf.session.backend.Backend`."""

    name = "machine"

    def __init__(self, obj: Object, *, types: Mapping[str, int], max_entries: Mapping[str, int] | None,
                 data: Mapping[str, bytes] | None, interrupts: bool, cpus: int | None = None,
                 engine: str | None = None) -> None:
        self.obj = obj
        self.interrupts = interrupts
        self._types = dict(types)
        self.machine = Machine(obj, btf=_kernel_btf(obj), types=self._types, max_entries=max_entries, data=data,
                               cpus=_cpus_of_host() if cpus is None else cpus, engine=engine or wish.engine)
        self._world: World | None = None
        self.machine.environment.on_print = self._print
        self.machine.kernel_types = _any_kernel_btf
        self.descriptors: dict[int, int] = {}  # what stands for a map or program → its id in the machine
        self.maps = {name: MapOnMachine(self, map) for name, map in self.machine.maps.items()}
        self.programs: dict[str, ProgramOnMachine] = {}

    @property
    def world(self) -> World:
        """Where events come from; this session is part of it from the first time on that somebody asks."""
        if self._world is None:
            self._world = world.join(self)
        return self._world

    @property
    def ended(self) -> bool:
        """Whether what is traced has ended. Who asks and hears it is not interrupted any more."""
        if self._world is None or not self._world.ended:
            return False
        self._world.noticed = True
        if self._world.problem is not None:
            raise self._world.problem
        return True

    def start_command(self) -> int:
        """Let the user's command run even if nothing of it is watched; then it is it that ends this session.

        Its process's number.
        """
        return self.world.start_command()

    def _print(self, text: str) -> None:
        environment = self.machine.environment
        task = environment.task
        world.lines().write(task.comm, task.tid, environment.cpu, environment.clock.monotonic_ns(), text)

    def load_program(self, name: str, *, type: int | None = None, expected_attach_type: int | None = None,
                     attach_to: str | None = None, log_level: int | None = None, ifindex: int = 0,
                     attach_prog_fd: int = 0, signature: bytes | Callable[[bytes], bytes] | None = None,
                     keyring: int = 0) -> ProgramOnMachine:
        """Verify it and make it ready."""
        if signature is not None:
            raise NotSupported("signatures of programs", who=_WHO, instead="the kernel, as root")
        if attach_prog_fd:
            raise NotSupported("programs on functions of other programs", who=_WHO, instead="the kernel, as root")
        found = self.programs.get(name)
        if found is None:
            if type is not None:
                self._types[name] = type
            try:
                with world.lock, world.busy():
                    program = self.machine.program(name)
            except BaseException:
                tell_where(False)
                raise
            found = self.programs[name] = ProgramOnMachine(self, name, program.type, expected_attach_type or 0)
        return found

    def attach(self, kind: str, program: ProgramOnMachine, target: Any, **details: Any) -> Link:
        """At an event of the world: a system call of what is traced, a packet, …"""
        tell_where(True)
        instead = _KERNEL_ONLY.get(kind)
        if instead is not None:
            raise NotSupported(f"attaching {program.name!r} ({kind})", who=_WHO, instead=instead)
        return self.world.attach(self, kind, program.name, target, details)

    def attach_reuseport(self, program: ProgramOnMachine, sock: Any) -> None:
        """There are no sockets here."""
        raise NotSupported("choosing among sockets", who="the machine", instead="test runs")

    def attach_table(self, name: str) -> Link:
        """Nothing here calls such programs."""
        raise NotSupported(f"struct_ops (map {name!r})", who="the machine", instead="use the kernel")

    def attach_socket(self, program: ProgramOnMachine, sock: Any) -> None:
        """Sockets of this process are the kernel's."""
        raise NotSupported("filtering a socket of the kernel", who=_WHO,
                           instead='attach_raw_socket("eth0") filters what arrives at a device of the machine')

    def read_iterator(self, program: ProgramOnMachine, **over: Any) -> bytes:
        """There is nothing to iterate over."""
        raise NotSupported("iterators", who=_WHO, instead=_KERNEL_ONLY["iterator"])

    def trace_pipe(self) -> Lines:
        """What programs of this process print."""
        return world.lines()

    def close(self) -> None:
        """Leave the world, close maps and programs."""
        tell_where(False)
        joined, self._world = self._world, None
        if joined is not None:
            joined.leave(self)
        for map in self.maps.values():
            map.close()
        for program in self.programs.values():
            program.close()


class _Numbered:
    """A map or program; its descriptor is made when somebody asks for it."""

    __slots__ = ("_fd", "_session", "closed")

    def __init__(self, session: OnMachine) -> None:
        self._session = session
        self._fd = -1
        self.closed = False

    def _id(self) -> int:
        raise NotImplementedError

    def fileno(self) -> int:
        """A descriptor that stands for it in maps of programs and maps; of a ring buffer: readable while it has
        records. -1 once closed.
        """
        if self._fd < 0 and not self.closed:
            # Where there is no eventfd (another system) it says nothing: records are there without waiting.
            self._fd = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if hasattr(os, "eventfd") else
                        os.open(os.devnull, os.O_RDONLY))
            self._session.descriptors[self._fd] = self._id()
        return self._fd

    def pin(self, path: str) -> None:
        raise NotSupported("pinning", who=_WHO, instead="keep the session open: the machine ends with its process")

    def close(self) -> None:
        fd, self._fd, self.closed = self._fd, -1, True
        if fd >= 0:
            self._session.descriptors.pop(fd, None)
            os.close(fd)


class MapOnMachine(_Numbered):
    """Implements `ebpf.session.backend.RawMap`."""

    __slots__ = ("_map", "flags", "key_size", "max_entries", "name", "perf", "ring", "type", "value_size",
                 "value_stride")

    def __init__(self, session: OnMachine, map: MachineMap) -> None:
        super().__init__(session)
        self._map = map
        self.name = map.name
        self.type = map.type
        self.key_size = map.key_size
        self.value_size = map.value_size
        self.max_entries = map.max_entries
        self.flags = map.flags
        self.value_stride = map.value_stride

    def __repr__(self) -> str:
        return f"<MapOnMachine {self.name} type={self.type}>"

    def _id(self) -> int:
        return self._map.id

    @property
    def ended(self) -> bool:
        """Whether no more events will come, for who is not told so by an interrupt."""
        return not self._session.interrupts and self._session.ended

    def _open(self) -> MachineMap:
        """The map beneath; whoever asks holds the lock."""
        if self.closed:
            raise KernelError(f"map {self.name!r}", _errno.EBADF, message=f"map {self.name!r} is closed")
        world.touched()
        return self._map

    # ---- one element ----

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        with world.lock:
            return self._open().lookup(key, flags)

    def lookup_and_delete(self, key: bytes, flags: int = 0) -> bytes | None:
        with world.lock:
            return self._open().lookup_and_delete(key, flags)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        with world.lock:
            map = self._open()
            if self.type in _OF_DESCRIPTORS:
                value = self._named(value)
            elif self.type == _T.PERF_EVENT_ARRAY:
                raise NotSupported("perf events of the kernel in a map", who=_WHO)
            map.update(key, value, flags)

    def _named(self, value: bytes) -> bytes:
        """The id of the map or program whose descriptor ``value`` is."""
        fd = int.from_bytes(value, "little")
        found = self._session.descriptors.get(fd)
        if found is None:
            raise MapError(f"map {self.name!r}: descriptor {fd} is none of this session's programs and maps",
                           map_name=self.name)
        return found.to_bytes(4, "little")

    def delete(self, key: bytes) -> bool:
        with world.lock:
            return self._open().delete(key)

    def next_key(self, key: bytes | None = None) -> bytes | None:
        with world.lock:
            return self._open().next_key(key)

    # ---- all elements ----

    def keys(self) -> Iterator[bytes]:
        with world.lock:
            return iter(list(self._open().keys()))

    def read_all(self) -> Bulk:
        with world.lock:
            return self._open().read_all()

    def chunks(self, size: int = 1 << 16) -> Any:
        return iter([self.read_all()])

    def freeze(self) -> None:
        raise NotSupported(f"freezing a map ({self.name!r})", who=_WHO)

    def take_all(self) -> Bulk:
        with world.lock:
            return self._open().take_all()

    def update_batch(self, keys: bytes | bytearray | memoryview, values: bytes | bytearray | memoryview,
                     flags: int = 0) -> int:
        count = self._count(keys, "keys", self.key_size)
        if self._count(values, "values", self.value_stride) != count:
            raise UsageError(f"map {self.name!r}: {count} keys but {len(values) // self.value_stride} values")
        size, stride = self.key_size, self.value_stride
        with world.lock:
            for index in range(count):
                self.update(bytes(keys[index * size:index * size + size]),
                            bytes(values[index * stride:index * stride + stride]), flags)
        return count

    def delete_batch(self, keys: bytes | bytearray | memoryview) -> int:
        size = self.key_size
        with world.lock:
            return sum(self.delete(bytes(keys[i * size:i * size + size]))
                       for i in range(self._count(keys, "keys", size)))

    def _count(self, data: bytes | bytearray | memoryview, what: str, size: int) -> int:
        if not size or len(data) % size:
            raise UsageError(f"map {self.name!r}: {what} take {size} bytes each; {len(data)} is not a multiple")
        return len(data) // size

    def clear(self) -> int:
        with world.lock:
            if self.type in _ARRAYS:
                return self.update_batch(b"".join(i.to_bytes(4, "little") for i in range(self.max_entries)),
                                         bytes(self.max_entries * self.value_stride))
            return self._open().clear()

    # ---- the map as a whole ----

    @property
    def per_cpu_slots(self) -> int:
        return self._session.machine.environment.cpus

    def split_cpus(self, value: bytes | memoryview) -> list[bytes]:
        step = -(-self.value_size // 8) * 8
        return [bytes(value[i:i + self.value_size]) for i in range(0, len(value), step)]

    def join_cpus(self, values: list[bytes]) -> bytes:
        if len(values) != self.per_cpu_slots:
            raise UsageError(f"map {self.name!r}: {self.per_cpu_slots} possible CPUs, {len(values)} values")
        wrong = next((v for v in values if len(v) != self.value_size), None)
        if wrong is not None:
            raise UsageError(f"map {self.name!r}: a value has {self.value_size} bytes, not {len(wrong)}")
        return b"".join(v.ljust(-(-self.value_size // 8) * 8, b"\0") for v in values)

    def write_part(self, offset: int, data: bytes) -> None:
        """No program runs meanwhile: what they have written beside it stays."""
        key = bytes(self.key_size)
        with world.lock:
            value = bytearray(self.lookup(key) or b"")
            value[offset:offset + len(data)] = data
            self.update(key, bytes(value))

    def info(self) -> MapInfo:
        return MapInfo(self._map.id, int(self.type), self.key_size, self.value_size, self.max_entries, self.flags,
                       self.name)

    # ---- what programs send through it ----

    def ring_buffer(self) -> RingBuffer:
        with world.lock:
            return RingBuffer(self._open(), self.fileno())

    def perf_buffer(self, callback: Callable[[int, bytes], Any], *, on_lost: Callable[[int, int], Any] | None = None,
                    pages: int = 8, wakeup_events: int = 1) -> PerfBuffer:
        with world.lock:
            return PerfBuffer(self._open(), callback, on_lost=on_lost, pages=pages)

    def open_counters(self, type: int, config: int, first: int = 0) -> Any:
        raise NotSupported("reading perf counters", who=_WHO)

    def may_contain(self, value: bytes) -> bool:
        from ebpf.machine.maps.queues import BloomFilter

        with world.lock:
            map = self._open()
            if not isinstance(map, BloomFilter):
                raise UsageError(f"map {self.name!r} is no bloom filter")
            return isinstance(map.peek_elem(value), bytes)

    def user_ring_buffer(self) -> Any:
        return self._open()

    def arena(self) -> Any:
        return self._open()


class TestRun(NamedTuple):
    """What a test run gave."""

    result: int  #: as unsigned 32 bits
    data: bytes
    context: bytes
    duration_ns: int


class ProgramInfo(NamedTuple):
    """What is known of a program, as far as the machine has it."""

    id: int
    type: int
    name: str
    tag: str  #: hash of its instructions, hexadecimal
    xlated_bytes: int
    map_ids: tuple[int, ...]
    run_time_ns: int
    run_count: int
    verified_insns: int

    @property
    def type_name(self) -> str:
        """Its type in small letters: ``"xdp"``."""
        return ProgType(self.type).name.lower()


class ProgramOnMachine(_Numbered):
    """Implements `ebpf.session.backend.RawProgram`."""

    __slots__ = ("expected_attach_type", "log", "name", "run_count", "run_time_ns", "type")

    def __init__(self, session: OnMachine, name: str, type: int, expected_attach_type: int) -> None:
        super().__init__(session)
        self.name = name
        self.type = ProgType(type)
        self.expected_attach_type = expected_attach_type
        self.log = ""  # our verifier keeps none of what it accepts
        self.run_count = 0
        self.run_time_ns = 0

    def __repr__(self) -> str:
        return f"<ProgramOnMachine {self.name} {self.type.name.lower()}>"

    def _id(self) -> int:
        return self._session.machine.program(self.name).id

    def info(self) -> ProgramInfo:
        from hashlib import sha1

        from ebpf.object.linker import link

        linked = link(self._session.obj, self.name)
        names = dict.fromkeys(symbol for _, kind, symbol, _ in linked.relocations if kind in ("map", "data"))
        verified = self._session.machine.program(self.name).verified
        return ProgramInfo(
            id=self._id(), type=int(self.type), name=self.name, tag=sha1(linked.code).hexdigest()[:16],
            xlated_bytes=len(linked.code), map_ids=tuple(self._session.machine.maps[name].id for name in names),
            run_time_ns=self.run_time_ns, run_count=self.run_count,
            verified_insns=verified.insns_visited if verified is not None else 0)

    def test_run(self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, flags: int = 0,
                 cpu: int = 0) -> TestRun:
        """As the kernel's BPF_PROG_TEST_RUN; programs of every type can be run."""
        tell_where(False)
        packet: bytes | None = None
        if self.type in PACKET_TYPES:
            packet = bytes(data)
            if len(packet) < _ETHERNET_BYTES:
                raise UsageError(f"{self.name!r}: {len(packet)} bytes are no packet: it has at least "
                                 f"{_ETHERNET_BYTES}, an Ethernet header")
        elif data:
            raise UsageError(f"{self.name!r}: a {self.type.name.lower()} program takes a context and no data")
        given = bytes(context) or None
        rounds = max(1, repeat)
        before = self.run_time_ns
        result = self.run(packet, given, rounds=rounds, cpu=cpu)
        return TestRun(result.result, result.data, result.context if given else b"",
                       (self.run_time_ns - before) // rounds)

    def run(self, packet: bytes | None, context: Context | None, *, rounds: int = 1, cpu: int = 0,
            **details: Any) -> Run:
        """One event (the last of ``rounds``), with all that the machine tells. The rest is that of `Machine.run`."""
        tell_where(False)
        if self.closed:
            raise KernelError(f"program {self.name!r}", _errno.EBADF, message=f"program {self.name!r} is closed")
        with world.lock:
            begun = time.perf_counter_ns()
            try:
                run = self._session.machine.run
                for _ in range(rounds):
                    result = run(self.name, packet, ctx=context, cpu=cpu, **details)
                return result
            except MachineFault as fault:
                raise fault.with_traceback(None) from None
            finally:
                world.ran()
                self.run_count += rounds
                self.run_time_ns += time.perf_counter_ns() - begun
