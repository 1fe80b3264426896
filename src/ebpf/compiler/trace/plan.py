"""What a runtime needs of a compiled script besides its programs: probes, maps, records of events, settings.

The compiler writes a `Plan` into the object's section `SECTION`; a start from the cache reads it from there and imports
nothing else of the compiler. All offsets and sizes are bytes, all integers in records little-endian.

**Values in memory** (`Type`): ``kind``, ``size`` and, by kind, ``args``:

=================== ======= ==========================================================================================
kind                size    memory; ``args``
=================== ======= ==========================================================================================
int bool pointer    1 2 4 8 an integer, by ``signed``. (pointer: the C type it points to,)
enum                1 2 4 8 an integer; ((value, name), …)
str                 n       text, ended by NUL or the size
buf                 4 + n   u32 length, then the bytes
tuple record        n       (("0" or member's name, offset, `Type`), …)
array               n       (count, `Type`)
kstack              8       s64 id in the stack map, negative: none. (mode, depth, stack map)
ustack              16      s64 id, u32 tgid, u32 0. (mode, depth, stack map)
ksym                8       u64 address
usym                16      u64 address, u32 tgid, u32 0
inet                24      u64 address family, 16 bytes
mac                 6       the bytes
username            8       u64 user id
timestamp           8       u64 nanoseconds. (clock, strftime's format)
cgroup_path         8       u64 control group id
strerror            8       s64 error number
probe               8       u32 index in `Plan.probes`, u32 attach cookie: which of its targets (0: the only one)
=================== ======= ==========================================================================================

**As a map's value** also: ``count``, ``sum`` (8 bytes, s64 or u64 by ``signed``), ``min``, ``max`` (s64 value, u64
is_set), ``avg``, ``stats`` (s64 total, u64 count): one per CPU, to be added up, or the least or greatest taken.
``hist`` (k,), ``lhist`` (min, max, step): the kernel's key is the script's key, up to a multiple of 8, and then a u64
bucket; the value is a u64 count per CPU. ``tseries`` (interval_ns, intervals, kind): likewise, the bucket is time /
interval, and the value s64 and u64 by ``kind``: ``last`` the number and when it was, ``min``, ``max`` the number and
is_set, ``sum``, ``avg`` the total and the count. Intervals that are over make room for new ones.

Buckets of hist: n < 0 → 0; n < 2^k → n + 1; else with l = log2(n): ((l - k + 1) << k) + ((n >> (l - k)) & (2^k - 1)) +
1. Buckets of lhist: 0 below ``min``, then 1 for each ``step``, and one more at or above ``max``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would cost a cached start 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    class _Type(NamedTuple):
        kind: str
        size: int
        signed: bool
        args: tuple[Any, ...]

    class _Map(NamedTuple):
        name: str
        map: str
        key: Type | None
        value: Type
        per_cpu: bool

    class _Event(NamedTuple):
        kind: str
        size: int
        args: tuple[tuple[int, Type], ...]
        text: str
        map: str
        top: int
        div: int
        line: int

    class _Probe(NamedTuple):
        kind: str
        program: str
        target: str
        name: str
        line: int
        details: Mapping[str, Any]

    class _Plan(NamedTuple):
        probes: tuple[Probe, ...]
        events: tuple[Event, ...]
        maps: tuple[Map, ...]
        config: Mapping[str, Any]
        script: str
        unsafe: tuple[str, ...]
        options: tuple[str, ...]
        warnings: tuple[str, ...]
else:
    from collections import namedtuple

    _Type = namedtuple("_Type", "kind size signed args")
    _Map = namedtuple("_Map", "name map key value per_cpu")
    _Event = namedtuple("_Event", "kind size args text map top div line")
    _Probe = namedtuple("_Probe", "kind program target name line details")
    _Plan = namedtuple("_Plan", "probes events maps config script unsafe options warnings")

SECTION = ".ebpf.trace"
VERSION = 1
EVENTS = "events"
"""The ring buffer of records, or the perf event array of a kernel without ring buffers. A record is u32 index in
`Plan.events`, u32 0, then the arguments at their offsets from the record's start."""
LOST = "lost"
"""Per-CPU array of one u64: how many records found no room in the ring buffer."""
PACKETS = "packets"
"""Perf event array of what ``skboutput`` sends: a record as in `EVENTS` (when, how many bytes, where they begin), and
behind it the bytes of the packet."""
FULL = "full"
"""Per-CPU array of u64: how many entries found no room, by the number of the map in `Plan.maps`."""
EXITED = ".bss.exited"
"""Where a script calls `exit`: an array of one u64, `EXIT_CALLED` and the status's 32 bits. Programs but END's do
nothing from then on; the runtime looks at it because the record may find no room."""
EXIT_CALLED = 1 << 32
SELF_KINDS = frozenset(("begin", "end", "self"))
"""Probes that the runtime runs itself: programs of type raw_tracepoint, by BPF_PROG_TEST_RUN."""
TIMED_KINDS = frozenset(("profile", "interval", "software", "hardware"))
"""Probes that are perf events."""


class Type(_Type):
    """How a value lies in memory, and what it means."""

    __slots__ = ()

    def __new__(cls, kind: str, size: int, signed: bool = False, args: tuple[Any, ...] = ()) -> Type:
        return super().__new__(cls, kind, size, signed, args)


class Map(_Map):
    """A map of the script: ``name`` with its ``@``, ``map`` as the object calls it.

    ``key`` is None for a scalar, whatever single entry is there; of several keys it is a tuple. ``per_cpu``: a value
    for each CPU.
    """

    __slots__ = ()


class Event(_Event):
    """A kind of record; ``size`` is the whole record's, ``args`` are (offset, type).

    kinds: ``printf`` ``errorf`` ``warnf`` ``system`` ``cat`` (``text``: the format) · ``time`` (``text``: strftime's
    format) · ``join`` (``text``: the delimiter; strings, the first empty one ends them) · ``print_map`` (``map``,
    ``top``, ``div``; where they are not literal, two arguments carry them) · ``print_value`` (one argument; of a map's
    entry: ``map``, key, value) · ``clear`` ``zero`` (``map``) · ``exit`` (an argument: the status, or none) ·
    ``helper_error`` (``text``: the helper; the argument: the error number) · ``skboutput`` (``text``: the
    file, ``top``: where packets begin; they come in `PACKETS`) · ``unwatch`` (the address).
    """

    __slots__ = ()

    def __new__(
        cls,
        kind: str,
        size: int,
        args: tuple[tuple[int, Type], ...] = (),
        text: str = "",
        map: str = "",
        top: int = 0,
        div: int = 0,
        line: int = 0,
    ) -> Event:
        return super().__new__(cls, kind, size, args, text, map, top, div, line)


class Probe(_Probe):
    """An attach point. Several may share ``program``.

    kinds: begin end self kprobe kretprobe fentry fexit tracepoint rawtracepoint uprobe uretprobe usdt profile interval
    software hardware watchpoint asyncwatchpoint iter. ``target`` is what is written after the kind's colon, parsed into
    ``details``: ``function``, ``module``, ``offset``, ``address`` (kprobe, fentry: ``module`` may be absent) ·
    ``category``, ``event`` (tracepoint) · ``event`` (rawtracepoint) · ``path``, ``symbol``, ``offset``, ``address``
    (uprobe) · ``path``, ``provider``, ``event`` (usdt) · ``unit``, ``count``, ``period_ns`` (profile, interval) ·
    ``event``, ``count`` (software, hardware) · ``address``, ``length``, ``mode`` (watchpoint) · ``object``, ``pin``
    (iter) · ``signal`` (self). ``wildcard``: the names in it are patterns, expanded when it is attached. ``cookie``:
    the program asks for its attach cookie, which is the number of the target among those of this probe. ``name`` is
    what the builtin ``probe`` is (of a wildcard: the pattern).
    """

    __slots__ = ()


class Plan(_Plan):
    """All of a script but its programs. ``unsafe``: what in it needs ``--unsafe``. ``options``: names asked for by
    ``getopt``. ``warnings``: messages for people, already worded."""

    __slots__ = ()

    def emit(self) -> bytes:
        """The plan as bytes (JSON)."""
        from json import dumps

        return dumps((VERSION, *self), separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Plan:
        """The plan that `emit` made these bytes of. Raises `FormatError` for another version's."""
        from json import loads

        try:
            version, probes, events, maps, config, script, unsafe, options, warnings = loads(data)
        except ValueError as error:
            raise _damaged(str(error)) from None
        if version != VERSION:
            raise _damaged(f"version {version!r}, not {VERSION}")
        return cls(
            tuple([Probe(*p) for p in probes]),
            tuple([Event(e[0], e[1], tuple([(at, _type(t)) for at, t in e[2]]), *e[3:]) for e in events]),
            tuple([Map(m[0], m[1], None if m[2] is None else _type(m[2]), _type(m[3]), m[4]) for m in maps]),
            config,
            script,
            tuple(unsafe),
            tuple(options),
            tuple(warnings),
        )


def _type(raw: list[Any]) -> Type:
    kind, size, signed, args = raw
    if kind in ("tuple", "record"):
        args = [(name, at, _type(t)) for name, at, t in args]
    elif kind == "array":
        args = [args[0], _type(args[1])]
    elif kind == "enum":
        args = [tuple(a) for a in args]
    return Type(kind, size, signed, tuple(args))


def _damaged(what: str) -> Exception:
    from ebpf.errors import FormatError

    return FormatError(f"section {SECTION} holds no plan: {what}", helps=["compile the script again"])
