"""What all probes of a script share while it is compiled: types of maps, events, settings, the kernel's types.

A script is compiled in passes: a map's or variable's type may become known, or grow, after its first use. Types only
grow; when a pass has changed none, its programs are the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.maps import MapType
from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.dialect.maps import map_record
from ebpf.compiler.trace import types as T
from ebpf.compiler.trace.config import Config
from ebpf.compiler.trace.plan import EVENTS, EXITED, FULL, LOST, PACKETS, Event, Map, Probe, Type
from ebpf.compiler.trace.types import Ty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.source import Diagnostics
    from ebpf.compiler.facts import ScriptFacts
    from ebpf.compiler.trace import ast
    from ebpf.compiler.trace.user_types import UserTypes
    from ebpf.errors import EbpfError

SCRATCH, STARTED = "scratch", "started"
_STACK_MAP_ENTRIES = 8192
_PER_CPU_BYTES = 32 << 10  # more, the kernel's allocator for per-CPU memory does not give (PCPU_MIN_UNIT_SIZE)
_KINDS = {
    "hash": MapType.HASH,
    "lruhash": MapType.LRU_HASH,
    "percpuhash": MapType.PERCPU_HASH,
    "percpulruhash": MapType.LRU_PERCPU_HASH,
    "array": MapType.ARRAY,
    "percpuarray": MapType.PERCPU_ARRAY,
}


class ScriptMap:
    """A map of the script. ``key`` is None until it is used; () for a scalar."""

    __slots__ = ("declared", "entries", "key", "key_at", "name", "used_at", "value", "value_at", "variable")

    def __init__(self, name: str, object_name: str) -> None:
        self.name = name
        self.key: tuple[Ty, ...] | None = None
        self.value: Ty = T.UNKNOWN
        self.key_at: ast.Node | None = None
        self.value_at: ast.Node | None = None
        self.used_at: ast.Node | None = None
        self.declared: str | None = None
        self.entries = 0
        record = C.Record("struct", None, align=8, complete=True)
        self.variable = tree.Variable(object_name, record, "global", 0, 0, section=".maps")

    @property
    def per_cpu(self) -> bool:
        return self.value.kind in T.PER_CPU or (self.declared or "").startswith("percpu")

    @property
    def bucketed(self) -> bool:
        """Whether the kernel's key ends in a bucket."""
        return self.value.kind in ("hist", "lhist", "tseries")

    @property
    def key_size(self) -> int:
        size = sum(T.stored_size(t) for t in self.key or ())
        return (size + 8 if self.bucketed else size) or 8

    @property
    def value_size(self) -> int:
        return T.AGGREGATES.get(self.value.kind) or T.stored_size(self.value)


class ScriptState:
    def __init__(
        self,
        diagnostics: Diagnostics,
        checker: Checker,
        facts: ScriptFacts,
        config: Config,
        params: Sequence[str],
    ) -> None:
        self.diagnostics = diagnostics
        self.checker = checker
        self.facts = facts
        self.config = config
        self.params = tuple(params)
        self.maps: dict[str, ScriptMap] = {}
        self.variables: dict[int, Ty] = {}  # by id of the node that first assigns
        self.record_sizes: dict[int, int] = {}  # by id of the call
        self.helper_errors = 0
        self.frugal = False
        self.scratch_large = False
        self.changed = False
        self.unsafe: dict[str, None] = {}
        self.options: dict[str, None] = {}
        self.macros: dict[str, ast.Macro] = {}
        self.user_functions: dict[str, ast.Function] = {}
        self.imported: set[str] = set()
        self.records: dict[str, C.Record] = {}  # of tracepoints, by category:name
        self.functions_known: dict[str, bool] = {}
        self._formats: dict[tuple[str, str], str | None] = {}
        self.formats_unknown: dict[tuple[str, str], EbpfError] = {}  # why one could not be read
        self._user_types: dict[tuple[str, str], UserTypes] = {}
        self._helpers: dict[str, tuple[int, C.CType]] = {}
        self._known: dict[str, int | str | None] = {}
        self.begin()

    def begin(self) -> None:
        """Before each pass."""
        self.changed = False
        self.events: list[Event] = []
        self.programs: list[tree.FunctionDecl] = []
        self.functions: dict[str, tree.FunctionDecl] = {}
        self.probes: list[Probe] = []
        self.globals: dict[str, tree.Variable] = {}
        self.externs: dict[str, tree.Variable] = {}
        self.exited: tree.Variable | None = None
        self.scratch_size = 0
        self.scratch_slots = 0
        self.unit_types: list[C.CType] = []

    # ---------------------------------------------------------------------------------------------------- helpers

    def helper(self, name: str) -> tuple[int, C.CType]:
        """Number and result of a kernel helper: a long, or a pointer to words."""
        found = self._helpers.get(name)
        if found is None:
            from ebpf.abi.helpers import HELPERS_BY_NAME

            helper = HELPERS_BY_NAME[name]
            head = helper.signature.partition("(")[0]
            result: C.CType = C.Pointer(C.ULONG) if "*" in head else C.ULONG if head.startswith("u") else C.LONG
            found = self._helpers[name] = helper.id, result
        return found

    def has_helper(self, name: str) -> bool:
        """Whether the kernel is new enough for it."""
        from ebpf.abi.helpers import HELPERS_BY_NAME

        helper = HELPERS_BY_NAME.get(name)
        if helper is None:
            return False
        major, _, minor = str(helper.since).partition(".")
        return (int(major) << 16 | int(minor or 0) << 8) <= self.facts.kernel_version | 255

    def constant(self, name: str) -> int | None:
        """A constant of C headers, or the kernel's enumerator of that name."""
        from ebpf.abi.constants import lookup_constant
        from ebpf.compiler.c.kernel_types import ABI_ARCH

        if name not in self._known:
            version = self.facts.kernel_version
            found = lookup_constant(
                name, arch=ABI_ARCH.get(self.facts.arch, self.facts.arch), kernel=(version >> 16, version >> 8 & 255)
            )
            self._known[name] = found
        known = self._known[name]
        return known if isinstance(known, int) else None

    def tracepoint_format(self, category: str, event: str) -> str | None:
        """The tracepoint's format; None where there is no such tracepoint."""
        from ebpf.errors import EbpfError

        key = category, event
        if key not in self._formats:
            try:
                self._formats[key] = self.facts.tracepoint_format(category, event)
            except EbpfError as error:  # tracefs is closed to us, and the tracepoint not one of those that we know
                self._formats[key] = None
                self.formats_unknown[key] = error
        return self._formats[key]

    # ------------------------------------------------------------------------------------------------------- maps

    def map(self, name: str) -> ScriptMap:
        known = self.maps.get(name)
        if known is None:
            known = self.maps[name] = ScriptMap(name, f"AT_{name[1:]}")
        return known

    def map_global(self, name: str) -> tree.Variable:
        """One of our own maps, made when first named."""
        v = self.globals.get(name)
        if v is None:
            record = C.Record("struct", None, align=8, complete=True)
            v = self.globals[name] = tree.Variable(name, record, "global", 0, 0, section=".maps")
        return v

    def globals_extern(self, name: str, node: ast.Node) -> tree.Variable:
        """A symbol of the kernel, whose address the loader fills in."""
        v = self.externs.get(name)
        if v is None:
            v = self.externs[name] = tree.Variable(
                name, C.Qualified(C.VOID, const=True), "extern", node.loc, node.end, section=".ksyms"
            )
        return v

    def user_types(self, path: str, function: str) -> UserTypes:
        """Types of a program, as its ``function`` sees them."""
        from ebpf.compiler.trace.user_types import UserTypes

        known = self._user_types.get((path, function))
        if known is None:
            known = self._user_types[path, function] = UserTypes(self.facts, path, function, self.checker.own_tag)
        return known

    def exit_word(self) -> tree.Variable:
        """The word that says that `exit` was called, made when first named."""
        if self.exited is None:
            self.exited = tree.Variable("exited", C.Qualified(C.ULONG, volatile=True), "global", 0, 0, section=EXITED)
        return self.exited

    def own_globals(self) -> list[tree.Variable]:
        """What programs name that is no map."""
        return [*self.externs.values(), *((self.exited,) if self.exited is not None else ())]

    def stack_map(self, depth: int) -> tree.Variable:
        """Stacks of at most ``depth`` frames."""
        return self.map_global(f"stack_{depth}")

    def settle(self) -> bool:
        """Whether another pass is needed."""
        if self.scratch_size > _PER_CPU_BYTES and not self.scratch_large:
            self.scratch_large = self.changed = True
        return self.changed

    def take_slot(self) -> int:
        """A number for a function's part of the scratch map: nothing that interrupts it writes there."""
        self.scratch_slots += 1
        return self.scratch_slots - 1

    def event(self, event: Event) -> int:
        """The number of a kind of record."""
        self.events.append(event)
        return len(self.events) - 1

    @property
    def ring_buffer(self) -> bool:
        return self.facts.kernel_version >= 0x50800

    def finish_maps(self) -> list[tree.Variable]:
        """The definitions of all maps, now that their types are known."""
        out = []
        for m in self.maps.values():
            kind = _KINDS[m.declared or "hash"]
            if m.value.kind == "tseries" and m.declared is None:
                kind = MapType.LRU_HASH  # each interval is an entry, and old ones are nobody's loss
            if m.value.kind in T.PER_CPU and kind in (MapType.HASH, MapType.LRU_HASH):
                kind = MapType.PERCPU_HASH if kind == MapType.HASH else MapType.LRU_PERCPU_HASH
            key = C.Array(C.ULONG, m.key_size // 8) if m.key_size > 8 else C.ULONG
            if kind in (MapType.ARRAY, MapType.PERCPU_ARRAY):
                key = C.UINT
            size = m.value_size
            value = C.Array(C.ULONG, size // 8) if size > 8 else C.ULONG
            entries = m.entries or (1 if not m.key and not m.bucketed else self.config.max_map_keys)
            if m.value.kind == "tseries":
                entries = max(entries, 2 * m.value.args[1])
            _define(m.variable, kind, key, value, entries)
            out.append(m.variable)
        pages = 1 << max(0, self.config.perf_rb_pages * max(1, self.facts.cpus_possible) - 1).bit_length()
        for name, v in self.globals.items():
            if name == EVENTS and self.ring_buffer:
                _define(v, MapType.RINGBUF, None, None, min(pages, 1 << 14) * self.facts.page_size)
            elif name in (EVENTS, PACKETS):
                _define(v, MapType.PERF_EVENT_ARRAY, C.UINT, C.UINT, 0)
            elif name == LOST:
                _define(v, MapType.PERCPU_ARRAY, C.UINT, C.ULONG, 1)
            elif name == FULL:
                _define(v, MapType.PERCPU_ARRAY, C.UINT, C.ULONG, max(len(self.maps), 1))
            elif name == STARTED:
                _define(v, MapType.ARRAY, C.UINT, C.ULONG, 2)
            elif name == SCRATCH:
                each = self.facts.cpus_possible if self.scratch_large else 1
                kind = MapType.ARRAY if self.scratch_large else MapType.PERCPU_ARRAY
                value = C.Array(C.ULONG, max(self.scratch_size, 8) // 8)
                _define(v, kind, C.UINT, value, max(self.scratch_slots, 1) * each)
            else:
                depth = int(name.rpartition("_")[2])
                _define(v, MapType.STACK_TRACE, C.UINT, C.Array(C.ULONG, depth), _STACK_MAP_ENTRIES)
            out.append(v)
        return out

    def plan_maps(self) -> tuple[Map, ...]:
        out = []
        for m in self.maps.values():
            key: Type | None = None
            if m.key:
                parts = [T.plan_type(t) for t in m.key]
                key = (
                    parts[0]
                    if len(parts) == 1
                    else T.plan_type(T.tuple_type([(str(i), t) for i, t in enumerate(m.key)]))
                )
            out.append(Map(m.name, m.variable.name, key, T.plan_type(m.value), m.per_cpu))
        return tuple(out)


def _define(v: tree.Variable, kind: MapType, key: C.CType | None, value: C.CType | None, entries: int) -> None:
    """Fill in the record that describes a map to loaders; its identity is known to the code already."""
    made = map_record(int(kind), key, value, entries, 0, None, 0)
    record = C.strip(v.type)
    assert isinstance(record, C.Record)
    record.fields, record.size = made.fields, made.size
