"""The contract of each map type, as a table: what it is made of, what goes in, and which operations it has.

`check` runs a row on this kernel. An operation that the row lists must work or say `NotSupported`; one that it does not
list must be refused with a clear error, or be a courtesy of ours (a batch done entry by entry).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.maps import (
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_MMAPABLE,
    BPF_F_NO_PREALLOC,
    BPF_NOEXIST,
    MapType as T,
)
from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import EbpfError, KeyMissing, MapError, NotSupported, UsageError
from ebpf.kernel import maps, programs, sys
from ebpf.kernel.attach import cgroup
from ebpf.kernel.cpus import online_cpus, per_cpu_slots
from ebpf.kernel.maps import KernelMap
from tests.kernel import code

if TYPE_CHECKING:
    from ebpf.object import Object

OPERATIONS = ("lookup", "update", "flags", "delete", "iterate", "read batch", "write batch", "take", "freeze", "mmap",
              "lock", "typed", "pin")

Entry = tuple[bytes, bytes]


class Row(NamedTuple):
    """A map type: C members of its definition, and a function that makes two entries (it may keep things open)."""

    type: T
    definition: str
    entries: Callable[[ExitStack, KernelMap], list[Entry]] | None
    has: str
    shown: bool = True  #: a look-up shows what was written (else an id, a cookie)


def u32(n: int) -> bytes:
    return struct.pack("@I", n)


def u64(n: int) -> bytes:
    return struct.pack("@Q", n)


def plain(_: ExitStack, map: KernelMap) -> list[Entry]:
    copies = per_cpu_slots() if map.type in maps.PER_CPU else 1
    value = [u64(7) + u64(0), u64(9) + u64(0)]
    return [(u32(0), value[0] * copies), (u32(1), value[1] * copies)]


def networks(_: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(8) + bytes([10, 0, 0, 0]), u64(7) + u64(0)), (u32(16) + bytes([10, 1, 0, 0]), u64(9) + u64(0))]


def loaded(stack: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), u32(stack.enter_context(programs.load_program(
        code.returns(0), type=ProgType.SOCKET_FILTER, name="p")).fileno())) for n in range(2)]


def counters(stack: ExitStack, map: KernelMap) -> list[Entry]:
    attr = sys.perf_event_attr(sys.PERF_TYPE_SOFTWARE, 0)
    found = []
    for n in range(2):
        event = sys.perf_event_open(attr, 0, -1)
        if event < 0:
            raise sys.failure("perf_event_open", -event)
        stack.callback(os.close, event)
        found.append((u32(n), u32(event)))
    return found


def groups(stack: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), u32(group(stack))) for n in range(2)]


def group(stack: ExitStack) -> int:
    """A control group of our own, open; gone with the stack."""
    from ebpf.kernel.hooks import cgroup2_mount

    top = cgroup2_mount()
    if top is None:
        raise NotSupported("version 2 control groups")
    path = tempfile.mkdtemp(prefix="ebpf-", dir=top)
    stack.callback(os.rmdir, path)
    fd = os.open(path, os.O_RDONLY)
    stack.callback(os.close, fd)
    return fd


def inner(stack: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), u32(stack.enter_context(maps.create_map(
        name="inner", type=T.ARRAY, key_size=4, value_size=8, max_entries=1)).fileno())) for n in range(2)]


def devices(_: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), u32(socket.if_nametoindex("lo"))) for n in range(2)]


def connections(stack: ExitStack, map: KernelMap) -> list[Entry]:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    one = stack.enter_context(socket.create_connection(listener.getsockname()))
    other = stack.enter_context(listener.accept()[0])
    return [(u32(0), u64(one.fileno())), (u32(1), u64(other.fileno()))]


def listeners(stack: ExitStack, map: KernelMap) -> list[Entry]:
    found = []
    for n in range(2):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        found.append((u32(n), u64(sock.fileno())))
    return found


def queues(stack: ExitStack, map: KernelMap) -> list[Entry]:
    af_xdp, sol_xdp, rx_ring = 44, 283, 2
    found = []
    for n in range(2):
        try:
            sock = stack.enter_context(socket.socket(af_xdp, socket.SOCK_RAW))
        except OSError as error:
            raise NotSupported("XDP sockets (CONFIG_XDP_SOCKETS)") from error
        sock.setsockopt(sol_xdp, rx_ring, struct.pack("@I", 64))
        found.append((u32(n), u32(sock.fileno())))
    return found


def cpus(_: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), u32(64)) for n in online_cpus()[:2]]


def pushed(_: ExitStack, map: KernelMap) -> list[Entry]:
    return [(b"", u64(7) + u64(0)), (b"", u64(9) + u64(0))]


def owned(make: Callable[[ExitStack], int]) -> Callable[[ExitStack, KernelMap], list[Entry]]:
    def entries(stack: ExitStack, map: KernelMap) -> list[Entry]:
        return [(struct.pack("@i", make(stack)), u64(7) + u64(0)), (struct.pack("@i", make(stack)), u64(9) + u64(0))]

    return entries


def a_socket(stack: ExitStack) -> int:
    return stack.enter_context(socket.socket()).fileno()


def a_file(stack: ExitStack) -> int:
    return stack.enter_context(tempfile.TemporaryFile()).fileno()


def a_task(stack: ExitStack) -> int:
    child = os.fork()
    if not child:
        import signal

        signal.pause()
        os._exit(0)
    fd = os.pidfd_open(child)
    stack.callback(os.waitpid, child, 0)
    stack.callback(os.kill, child, 9)
    stack.callback(os.close, fd)
    return fd


def in_groups(stack: ExitStack, map: KernelMap) -> list[Entry]:
    """Entries of the old storage come with programs that use it, one for each group."""
    call = (code.wide(1, 1, map.fileno()) + code.mov(2, 0) + code.insn(0x85, imm=81) + code.returns(1))
    found = []
    for n in range(1):
        program = stack.enter_context(programs.load_program(
            call, type=ProgType.CGROUP_SKB, expected_attach_type=AttachType.CGROUP_INET_INGRESS))
        fd = group(stack)
        stack.enter_context(cgroup.attach(program, fd))
        value = (u64(7) + u64(n)) * (per_cpu_slots() if map.type in maps.PER_CPU else 1)
        found.append((struct.pack("@QII", os.fstat(fd).st_ino, AttachType.CGROUP_INET_INGRESS, 0), value))
    return found


def stacks(stack: ExitStack, map: KernelMap) -> list[Entry]:
    """What a program wrote: only programs can."""
    collect = (code.wide(2, 1, map.fileno()) + code.mov(3, 0) + code.insn(0x85, imm=27) + code.insn(0x95))
    with programs.load_program(collect, type=ProgType.RAW_TRACEPOINT, name="stack") as program:
        taken = program.test_run(context=bytes(8)).result
        assert taken < 1 << 31, f"no stack: {taken - (1 << 32)}"
    key = map.next_key()
    assert key is not None
    return [(key, map.lookup(key) or b"")]


def jumps(_: ExitStack, map: KernelMap) -> list[Entry]:
    return [(u32(n), struct.pack("@IIII", n, 0, 0, 0)) for n in range(2)]


PAIR = "__type(key, __u32); __type(value, struct pair); __uint(max_entries, 8);"
FD = "__uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 8);"
STORE = "__uint(map_flags, 1); __type(key, int); __type(value, struct pair);"
HASHES = "lookup update flags delete iterate read write take freeze lock typed pin"
PER_CPU = HASHES.replace("lock ", "")

ROWS = (
    Row(T.HASH, PAIR, plain, HASHES),
    Row(T.ARRAY, PAIR + "__uint(map_flags, 1024);", plain, "lookup update flags iterate read write freeze mmap "
                                                           "typed pin"),
    Row(T.PROG_ARRAY, FD, loaded, "lookup update delete iterate pin", False),
    Row(T.PERF_EVENT_ARRAY, FD, counters, "update delete iterate pin", False),
    Row(T.PERCPU_HASH, PAIR, plain, PER_CPU),
    Row(T.PERCPU_ARRAY, PAIR, plain, "lookup update flags iterate read write freeze typed pin"),
    Row(T.STACK_TRACE, "__uint(key_size, 4); __uint(value_size, 80); __uint(max_entries, 8);", stacks,
        "lookup delete iterate freeze pin"),
    Row(T.CGROUP_ARRAY, FD, groups, "update delete iterate pin", False),
    Row(T.LRU_HASH, PAIR.replace("8)", "1024)"), plain, PER_CPU),
    Row(T.LRU_PERCPU_HASH, PAIR.replace("8)", "1024)"), plain, PER_CPU),
    Row(T.LPM_TRIE, "__type(key, struct network); __type(value, struct pair); __uint(max_entries, 8); "
                    "__uint(map_flags, 1);", networks, "lookup update flags delete iterate read write freeze typed "
                                                       "pin"),
    Row(T.ARRAY_OF_MAPS, "__uint(key_size, 4); __uint(max_entries, 8); __array(values, struct inner);", inner,
        "lookup update delete iterate pin", False),
    Row(T.HASH_OF_MAPS, "__uint(key_size, 4); __uint(max_entries, 8); __array(values, struct inner);", inner,
        "lookup update delete iterate pin", False),
    Row(T.DEVMAP, FD, devices, "lookup update delete iterate pin"),
    Row(T.SOCKMAP, FD.replace("value_size, 4", "value_size, 8"), connections, "lookup update flags delete iterate pin",
        False),
    Row(T.CPUMAP, FD, cpus, "lookup update delete iterate pin"),
    Row(T.XSKMAP, FD, queues, "update delete iterate pin", False),
    Row(T.SOCKHASH, FD.replace("value_size, 4", "value_size, 8"), connections, "lookup update flags delete iterate pin",
        False),
    Row(T.CGROUP_STORAGE, "__uint(key_size, 16); __uint(value_size, 16);", in_groups,
        "lookup update iterate pin"),
    Row(T.REUSEPORT_SOCKARRAY, FD.replace("value_size, 4", "value_size, 8"), listeners, "lookup update delete iterate "
                                                                                         "pin", False),
    Row(T.PERCPU_CGROUP_STORAGE, "__uint(key_size, 16); __uint(value_size, 16);", in_groups,
        "lookup update iterate pin"),
    Row(T.QUEUE, "__type(value, struct pair); __uint(max_entries, 8);", pushed, "lookup update take freeze pin"),
    Row(T.STACK, "__type(value, struct pair); __uint(max_entries, 8);", pushed, "lookup update take freeze pin"),
    Row(T.SK_STORAGE, STORE, owned(a_socket), "lookup update flags delete typed lock pin"),
    Row(T.DEVMAP_HASH, FD, devices, "lookup update delete iterate pin"),
    Row(T.RINGBUF, "__uint(max_entries, 4096);", None, "mmap pin"),
    Row(T.INODE_STORAGE, STORE, owned(a_file), "lookup update flags delete typed lock pin"),
    Row(T.TASK_STORAGE, STORE, owned(a_task), "lookup update flags delete typed lock pin"),
    Row(T.BLOOM_FILTER, "__type(value, struct pair); __uint(max_entries, 8);", pushed, "lookup update freeze pin"),
    Row(T.USER_RINGBUF, "__uint(max_entries, 4096);", None, "mmap pin"),
    Row(T.CGRP_STORAGE, STORE, owned(group), "lookup update flags delete typed lock pin"),
    Row(T.ARENA, "__uint(map_flags, 1024); __uint(max_entries, 4);", None, "mmap pin"),
    Row(T.INSN_ARRAY, "__uint(key_size, 4); __uint(value_size, 16); __uint(max_entries, 8);", jumps,
        "lookup update iterate freeze pin"),
    Row(T.RHASH, PAIR + "__uint(map_flags, 1);", plain, HASHES),
)

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct locked { __u64 number; struct bpf_spin_lock lock; };
struct pair { __u64 number; __u64 rest; };
struct network { __u32 bits; __u8 address[4]; };
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1); };
char LICENSE[] SEC("license") = "GPL";
"""


def source() -> str:
    """All maps in one text: compiling is what takes time in a guest."""
    lines = [HEAD]
    for row in ROWS:
        definition = row.definition.replace("struct pair", "struct locked") if "lock" in row.has.split() else \
            row.definition
        lines.append(f'struct {{ __uint(type, {int(row.type)}); {definition} }} {row.type.name.lower()} SEC(".maps");')
    return "\n".join(lines)


def alone_with(obj: Object, name: str) -> Object:
    """The object with one of its maps and nothing else."""
    return type(obj)(name, obj.license, 0, {}, {}, {name: obj.maps[name]}, obj.btf, {}, {}, None)


def check(row: Row, obj: Object, pins: str | None) -> dict[str, str]:
    """What each operation did on this kernel: "yes", "no" (the type has none), or the words of `NotSupported`.

    AssertionError, or whatever else went wrong, comes out with the operation's name.
    """
    import ebpf

    name_of_map = row.type.name.lower()
    answers: dict[str, str] = {}
    try:
        session = ebpf.load(alone_with(obj, name_of_map), backend="kernel")
    except NotSupported as error:
        return {"create": error.message}
    with session, ExitStack() as stack:
        map = session.maps[name_of_map].raw
        assert isinstance(map, KernelMap)
        answers["create"] = "yes"
        try:
            entries = row.entries(stack, map) if row.entries is not None else []
        except NotSupported as error:
            return {"create": error.message}
        run = Run(row, session.maps[name_of_map], map, entries, pins)
        for name in OPERATIONS:
            wanted = name.split()[0] in row.has.split()
            operation: Callable[[], None] = getattr(run, name.replace(" ", "_"))
            try:
                operation()
                answers[name] = "yes"
            except NotSupported as error:
                answers[name] = error.message if wanted else "no"
            except (EbpfError, AssertionError, OSError, LookupError, ValueError) as error:
                if wanted:
                    raise AssertionError(f"{row.type.name} {name}: {error!r}") from error
                answers[name] = "no"
    return answers


class Run:
    """The operations, in an order in which each finds what it needs."""

    def __init__(self, row: Row, typed: object, map: KernelMap, entries: list[Entry], pins: str | None) -> None:
        self.row = row
        self.map = map
        self.typed_map = typed
        self.entries = entries
        self.pins = pins
        self.keyless = row.type in (T.QUEUE, T.STACK, T.BLOOM_FILTER)

    def _need(self) -> list[Entry]:
        if not self.entries:
            raise UsageError("it has no entries")
        return self.entries

    def _fill(self) -> list[Entry]:
        entries = self._need()
        if self.row.type != T.STACK_TRACE:
            for key, value in entries:
                if self.row.type == T.REUSEPORT_SOCKARRAY:
                    self.map.delete(key)  # a socket is in one place
                self.map.update(key, value)
        return entries

    def lookup(self) -> None:
        entries = self._fill()
        if self.row.type == T.BLOOM_FILTER:
            assert self.map.may_contain(entries[0][1]) and self.map.may_contain(entries[1][1])
            assert not all(self.map.may_contain(u64(n) + u64(1)) for n in range(100))
            return
        found = self.map.lookup(entries[0][0])
        assert found is not None
        expected = entries[-1 if self.row.type == T.STACK else 0][1]
        if self.row.shown:
            assert found == expected, (found, expected)
        else:
            assert any(found)

    def update(self) -> None:
        if self.row.type == T.STACK_TRACE:
            self.map.update(*self._need()[0])
        self._fill()

    def flags(self) -> None:
        if self.keyless:
            raise UsageError("no keys")
        entries = self._fill()
        key, value = entries[0]
        refused = False
        try:
            self.map.update(key, value, BPF_NOEXIST)
        except MapError as error:
            refused = "already" in error.message
            if not refused:
                raise
        assert refused, "NOEXIST wrote over an entry"
        self.map.update(key, value, BPF_EXIST)
        if self.row.type not in maps.ARRAYS:
            assert self.map.delete(key)
            missing = False
            try:
                self.map.update(key, value, BPF_EXIST)
            except KeyMissing:
                missing = True
            assert missing, "EXIST made an entry"
            self.map.update(key, value, BPF_NOEXIST)

    def delete(self) -> None:
        key = self._need()[0][0]
        if self.keyless:
            raise UsageError("no keys")
        self._fill()
        assert self.map.delete(key)
        if self.row.type in (T.CGROUP_ARRAY, T.PERF_EVENT_ARRAY, T.XSKMAP):
            return
        if self.row.type in (T.PROG_ARRAY, T.ARRAY_OF_MAPS, T.STACK_TRACE, T.HASH_OF_MAPS) or self.row.shown:
            assert self.map.lookup(key) is None

    def iterate(self) -> None:
        if self.keyless:
            raise UsageError("no keys")
        entries = self._need() if self.row.type == T.STACK_TRACE else self._fill()
        keys = list(self.map.keys())
        if self.row.type != T.STACK_TRACE:
            assert {key for key, _ in entries} <= set(keys)
        assert len(keys) == len(set(keys))

    def read_batch(self) -> None:
        if self.keyless:
            raise UsageError("no keys")
        entries = self._fill()
        bulk = self.map.read_all()
        size, stride = self.map.key_size, self.map.value_stride
        found = {bytes(bulk.keys[i * size:i * size + size]): bytes(bulk.values[i * stride:i * stride + stride])
                 for i in range(bulk.count)}
        if self.row.shown and self.row.type != T.STACK_TRACE:
            for key, value in entries:
                assert found[key] == value, (found, entries)

    def write_batch(self) -> None:
        if self.keyless:
            raise UsageError("no keys")
        entries = self._need()
        assert self.map.update_batch(b"".join(k for k, _ in entries), b"".join(v for _, v in entries)) == len(entries)
        if self.row.shown:
            assert all(self.map.lookup(key) == value for key, value in entries)

    def take(self) -> None:
        entries = self._fill()
        found = self.map.lookup_and_delete(entries[0][0])
        assert found is not None
        if self.row.type in (T.QUEUE, T.STACK):
            assert found == entries[-1 if self.row.type == T.STACK else 0][1]
            while self.map.lookup_and_delete(b"") is not None:
                pass
        else:
            assert found == entries[0][1] and self.map.lookup(entries[0][0]) is None

    def freeze(self) -> None:
        """On a map of its own: there is no way back."""
        if self.row.type in (T.CGROUP_STORAGE, T.PERCPU_CGROUP_STORAGE, T.ARENA) or "lock" in self.row.has.split():
            # Values with a spin lock cannot be frozen; nor what has no entries to protect.
            if "freeze" not in self.row.has.split():
                raise UsageError("not tried")
        flags = self.map.flags
        with maps.create_map(name="ice", type=self.row.type, key_size=self.map.key_size,
                             value_size=self.map.value_size, max_entries=self.map.max_entries,
                             flags=flags & (BPF_F_NO_PREALLOC)) as other:
            other.freeze()
            if not self.entries or self.row.type == T.STACK_TRACE:
                return
            try:
                other.update(*self.entries[0])
            except MapError as error:
                assert "frozen" in error.message
            else:
                raise AssertionError("a frozen map was written to")

    def mmap(self) -> None:
        if self.row.type == T.RINGBUF:
            reader = self.map.ring_buffer()
            with programs.load_program(code.ringbuf_output(self.map.fileno(), 2), type=ProgType.RAW_TRACEPOINT,
                                       name="send") as program:
                for _ in range(3):
                    program.test_run(context=bytes(8))
            assert [len(record) for record in reader] == [16, 16, 16]
            reader.close()
        elif self.row.type == T.USER_RINGBUF:
            producer = self.map.user_ring_buffer()
            producer.send(b"12345678")
            assert producer.fill == 16
            producer.close()
        elif self.row.type == T.ARENA:
            arena = self.map.arena()
            arena.write(arena.address + 8, b"12345678")
            assert arena.read(arena.address + 8, 8) == b"12345678" and len(arena.view) == 4 * sys.PAGE_SIZE
        else:
            if not self.map.flags & BPF_F_MMAPABLE:
                raise UsageError("not made for it")
            entries = self._fill()
            memory = self.map.map_memory()
            try:
                assert bytes(memory.view[:16]) == entries[0][1]
                memory.view[:8] = u64(77)
                assert (self.map.lookup(u32(0)) or b"")[:8] == u64(77)
            finally:
                memory.close()

    def lock(self) -> None:
        entries = self._need()
        if "lock" not in self.row.has.split() and self.row.type != T.ARRAY:
            raise UsageError("its values have none")
        self.map.update(entries[0][0], entries[0][1])
        self.map.update(entries[0][0], u64(5) + u64(0), BPF_F_LOCK)
        assert (self.map.lookup(entries[0][0], BPF_F_LOCK) or b"")[:8] == u64(5)

    def typed(self) -> None:
        from ebpf.session.maps import Map

        map = self.typed_map
        assert isinstance(map, Map)
        if map.value_codec is None or self.keyless or not self.entries:
            raise UsageError("it has no types")
        self._fill()
        key = map._decode_key(self.entries[0][0])
        value = map[key]
        one = value[0] if map.per_cpu else value
        assert one.number == 7 and "number=7" in repr(one).replace(" ", "").replace(":", "="), repr(one)

    def pin(self) -> None:
        if self.pins is None:
            raise NotSupported("pinning here: no BPF file system of our own")
        path = f"{self.pins}/{self.row.type.name.lower()}"
        self.map.pin(path)
        try:
            with maps.open_pinned(path) as again:
                assert again.info().id == self.map.info().id and again.type == self.row.type
        finally:
            os.unlink(path)


def iter_results(pins: str | None) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Each row's name with what it answered, or with what is wrong."""
    import ebpf

    obj = ebpf.compile(source())
    for row in ROWS:
        try:
            yield row.type.name.lower(), check(row, obj, pins)
        except Exception as error:  # the others are to be heard, too
            import traceback

            yield row.type.name.lower(), f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"


_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x20000


def alone() -> str | None:
    """This process goes into a network and a mount namespace of its own, with a bpffs: its path (None: no bpffs)."""
    import subprocess

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS):
        raise NotSupported(f"namespaces of our own: {os.strerror(ctypes.get_errno())}")
    libc.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    place = "/tmp" if os.access("/tmp", os.W_OK) else "/run"
    pins = tempfile.mkdtemp(prefix="bpffs-", dir=place)
    if libc.mount(b"bpf", pins.encode(), b"bpf", 0, None):
        return None
    return pins
