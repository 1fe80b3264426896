"""`Machine`: an object's maps and programs in this process; events are fired at its programs, one at a time.

Differences to a kernel are stated where they are made; the main ones: programs run one after the other (no two CPUs at
once, so atomic operations and locks cannot be contended), `cpus` and the current CPU are what the caller says, maps'
insides (hash order, LRU batches, Bloom bits) are our own, there is no kernel memory to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack_into
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.abi.context_layouts import context_layout
from ebpf.abi.maps import BPF_F_RDONLY_PROG, MAP_TYPES, MapType
from ebpf.abi.programs import ProgType
from ebpf.diagnostics import Names, unknown_name
from ebpf.errors import LoadError, MapError, NotSupported, RelocationError, UsageError
from ebpf.isa.insn import OP_CALL, PSEUDO_KFUNC_CALL
from ebpf.machine.environment import NO_FUEL_LIMIT
from ebpf.machine.helpers.kfuncs import KFUNCS
from ebpf.machine.image import Image
from ebpf.machine.interpreter import Program
from ebpf.machine.maps import MapShape, create_map
from ebpf.machine.maps.arrays import Array
from ebpf.machine.packets import PACKET_TYPES, Packet
from ebpf.machine.raw import is_native, make_environment
from ebpf.machine.stepper import Stepper

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from ebpf.btf import Btf
    from ebpf.btf.core import CoreResult
    from ebpf.machine.batch import Packets, Runs
    from ebpf.machine.environment import Clock, Redirect, Task, TracedMemory
    from ebpf.machine.maps import MachineMap
    from ebpf.machine.placed import PlacedMemory
    from ebpf.object import Extern, Linked, MapSpec, Object, ProgramSpec

    Context = bytes | Sequence[int] | Mapping[str, Any]

_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
_UNVERIFIED_LOOPS = 1 << 23  # as many as a kernel lets bpf_loop and may_goto make (BPF_MAX_LOOPS)
# Contexts that are as long as the event, and not padded to what the table says is possible.
_AS_GIVEN = frozenset({int(ProgType.TRACEPOINT), int(ProgType.SYSCALL)})
# What a program's externs `__kconfig` are unless the caller says otherwise.
KCONFIG = {"LINUX_KERNEL_VERSION": 6 << 16 | 18 << 8, "LINUX_HAS_BPF_COOKIE": 1, "LINUX_HAS_SYSCALL_WRAPPER": 1}


class Run(NamedTuple):
    """What a run gave. ``result`` is the program's return value (r0 as unsigned 32 bits, all 64 in ``r0``)."""

    result: int
    r0: int
    data: bytes  #: the packet afterwards, empty if there was none
    context: bytes
    redirect: Redirect | None  #: where the program asked to send the packet
    clones: tuple[tuple[bytes, Redirect], ...]  #: copies that it sent
    return_value: int | None  #: what bpf_set_retval set
    override: int | None  #: what bpf_override_return asked for


class Machine:
    """See the module's text. ``maps`` by name are there at once; programs are prepared when they are first used.

    ``btf``: the types that CO-RE relocations are answered from (the kernel's, or a dump of another one's); without it
    programs keep the layout that they were compiled with. ``ksyms``: addresses of kernel symbols; ``kconfig``: values
    of ``__kconfig`` externs; ``max_entries`` and ``data`` replace what the object says of its maps. ``loops``: how
    many jumps backwards a run may take (``None``: any number). A program is verified before its first run
    (`VerifierError`); ``verify=False`` leaves that out, for experiments: the interpreter then stops what a verifier
    would have refused, loops after 8,388,608 jumps unless ``loops`` says otherwise. ``engine``: ``"interpreter"``, or
    ``"jit"``: programs become native code when they run first (`step` and ``loops`` are the interpreter's).
    """

    def __init__(self, obj: Object, *, btf: Btf | None = None, ksyms: Mapping[str, int] | None = None,
                 kconfig: Mapping[str, int | bytes] | None = None, max_entries: Mapping[str, int] | None = None,
                 data: Mapping[str, bytes] | None = None, types: Mapping[str, int] | None = None, cpus: int = 1,
                 task: Task | None = None, clock: Clock | None = None, memory: TracedMemory | None = None,
                 seed: int | None = None, loops: int | None = None, verify: bool = True,
                 engine: str = "interpreter") -> None:
        if cpus < 1:
            raise UsageError("a machine has at least one CPU")
        self.obj = obj
        self.loops = loops if loops is not None or verify else _UNVERIFIED_LOOPS
        self.verify = verify
        self.engine = engine
        self.environment = make_environment(is_native(engine, verify), cpus=cpus, task=task, clock=clock, memory=memory,
                                            seed=seed)
        self.maps: dict[str, MachineMap] = Names("map")
        #: what became of each CO-RE relocation, by program
        self.core_results: dict[str, Sequence[CoreResult]] = {}
        self._btf = btf
        #: the kernel's types, asked when an event is described by its arguments' names
        self.kernel_types: Callable[[], Btf | None] = lambda: self._btf
        self._placed: PlacedMemory | None = None
        self._ksyms = ksyms or {}
        self._kconfig = {**KCONFIG, **(kconfig or {})}
        self._types = {} if types is None else types  # asked when a program is prepared
        self._programs: dict[str, Program] = {}
        self._specs: dict[str, MapSpec] = {}  # maps as they were made
        self._context_window = self.environment.space.reserve("the context")
        for given in (max_entries, data):
            for name in given or ():
                if name not in obj.maps:
                    raise unknown_name("map", name, obj.maps)
        for spec in obj.maps.values():
            entries = (max_entries or {}).get(spec.name, spec.max_entries)
            contents = (data or {}).get(spec.name)
            spec = self._specs[spec.name] = spec._replace(
                max_entries=entries, initial=spec.initial if contents is None else contents)
            self.maps[spec.name] = self._create(spec, contents)
        for spec in obj.maps.values():
            self._fill(spec)

    def __repr__(self) -> str:
        programs, maps = (", ".join(names) or "none" for names in (self.obj.programs, self.maps))
        return f"<Machine {self.obj.name}: programs {programs}; maps {maps}>"

    # ---- maps ----

    def _create(self, spec: MapSpec, contents: bytes | None) -> MachineMap:
        made = create_map(self.environment, self._shape(spec))
        if spec.is_data:
            initial = contents if contents is not None else spec.initial
            if spec.name == ".kconfig" and contents is None:
                initial = self._kconfig_contents(spec.value_size)
            if initial is not None:
                made.update(bytes(4), initial)
            if spec.frozen:
                made.freeze()
        return made

    def _shape(self, spec: MapSpec) -> MapShape:
        row = MAP_TYPES.get(spec.type)
        key_size, value_size, entries = spec.key_size, spec.value_size, spec.max_entries
        flags = spec.flags | (row.flags if row else 0)
        if spec.is_data and spec.frozen:
            flags |= BPF_F_RDONLY_PROG
        if row is not None and row.max_entries in ("pages", "cpus"):
            # Buffers of events: a declared value type says what is sent through them, not what they store.
            key_size, value_size = row.key_size or 0, row.value_size or 0
        if row is not None and row.max_entries == "cpus" and not entries:
            entries = self.environment.cpus
        if row is not None and row.max_entries == "pages":
            entries = max(4096, 1 << (max(entries, 1) - 1).bit_length())
        inner = None
        if spec.type in _OF_MAPS:
            if spec.inner is None:
                raise MapError(
                    f"map of maps {spec.name!r} does not say what its inner maps are like",
                    map_name=spec.name,
                    helps=("declare one: __array(values, struct inner_map)",),
                )
            inner = self._shape(spec.inner)
        lock, special = self._special(spec)
        return MapShape(spec.name, spec.type, key_size, value_size, entries, flags, spec.map_extra, inner, lock,
                        special)

    def _special(self, spec: MapSpec) -> tuple[int, bool]:
        """Where the spin lock of a map's values is (-1: nowhere), and whether they hold timers or kernel pointers."""
        if not spec.value_type_id or self.obj.btf is None or spec.is_data:
            return -1, False
        from ebpf.verifier.fields import special_fields

        kinds = {kind: offset for offset, (kind, _, _) in special_fields(self.obj.btf, spec.value_type_id).items()}
        return kinds.pop("lock", -1), bool(kinds)

    def _fill(self, spec: MapSpec) -> None:
        """Initial entries of maps of maps and program arrays."""
        for index, name in spec.values:
            key = index.to_bytes(4, "little")
            if spec.type in _OF_MAPS:
                self.maps[spec.name].update(key, self.maps[name].id.to_bytes(4, "little"))
            elif spec.type == MapType.PROG_ARRAY:
                self.maps[spec.name].update(key, self.program(name).id.to_bytes(4, "little"))

    def _kconfig_contents(self, size: int) -> bytes:
        contents = bytearray(size)
        for extern in self.obj.externs.values():
            if extern.section != ".kconfig":
                continue
            value = self._kconfig.get(extern.name)
            if value is None:
                if not extern.weak:
                    raise RelocationError(f"{extern.name}: nobody said what it is in this machine",
                                          helps=(f"Machine(…, kconfig={{{extern.name!r}: 1}}), or declare it __weak",))
                continue
            contents[extern.offset:extern.offset + extern.size] = _sized(extern, value)
        return bytes(contents)

    # ---- programs ----

    def program(self, name: str) -> Program:
        """The program ``name``, linked, relocated and verified. `UnknownName`, `RelocationError`, `NotSupported`,
        `VerifierError`."""
        found = self._programs.get(name)
        if found is None:
            spec = self.obj.programs.get(name)
            if spec is None:
                raise unknown_name("program", name, self.obj.programs)
            found = self._programs[name] = self._load(spec)
            self.environment.programs[found.id] = found
        return found

    def _load(self, spec: ProgramSpec) -> Program:
        from ebpf.object.linker import link

        type = self._types.get(spec.name, spec.type)
        if type is None:
            raise LoadError(f"{spec.name!r}: its section {spec.section!r} does not say what type of program it is",
                            helps=("name the section after the hook, or give a type: Machine(…, types={…})",))
        linked = link(self.obj, spec.name)
        code = self._relocate_core(spec, linked)
        wide = self._relocate(spec, linked)
        kfuncs = {slot: symbol for slot, kind, symbol, _ in linked.relocations if kind == "kfunc"}
        patched = bytearray(code)
        for slot in kfuncs:
            pack_into("<BBhi", patched, slot * 8, OP_CALL, PSEUDO_KFUNC_CALL << 4, 0, 0)
        image = Image(
            bytes(patched),
            name=spec.name,
            window=self.environment.space.reserve(f"the code of {spec.name}"),
            wide=wide,
            names=linked.functions,
            lines=linked.line_info,
            kfuncs=kfuncs,
        )
        verified = None
        if self.verify:
            from ebpf.machine.verdicts import verdict

            verified = verdict(self.obj, spec._replace(type=ProgType(type)), self._specs, linked, code, self._btf)
        number = len(self._programs) + 1
        if self.engine == "jit":
            from ebpf.machine.native.program import NativeProgram

            return NativeProgram(image, self.environment, type=int(type), id=number, verified=verified, maps=self.maps)
        return Program(image, self.environment, type=int(type), id=number, metered=self.loops is not None,
                       verified=verified)

    def _relocate_core(self, spec: ProgramSpec, linked: Linked) -> bytes:
        if not linked.core_relos or self._btf is None or self.obj.btf is None:
            return linked.code
        from ebpf.btf import relocate

        relos = linked.core_relos_by_bytes()
        code, self.core_results[spec.name] = relocate(linked.code, relos, self.obj.btf, [self._btf])
        return code

    def _relocate(self, spec: ProgramSpec, linked: Linked) -> dict[int, int]:
        """What each wide load that refers to something gives, by slot."""
        wide: dict[int, int] = {}
        for slot, kind, symbol, addend in linked.relocations:
            if kind in ("map", "data", "kconfig"):
                found = self.maps.get(".kconfig" if kind == "kconfig" else symbol)
                if found is None:
                    raise RelocationError(f"{spec.name!r} uses map {symbol!r}, which the object does not define")
                if kind == "map":
                    wide[slot] = found.address
                    continue
                if kind == "kconfig":
                    addend += self.obj.externs[symbol].offset
                assert isinstance(found, Array)  # data sections are arrays of one element
                wide[slot] = found.value_address + addend
            elif kind == "ksym":
                extern = self.obj.externs[symbol]
                if symbol not in self._ksyms and symbol not in KFUNCS and not extern.weak:
                    raise RelocationError(f"{spec.name!r} uses the kernel's {symbol!r}; this machine has no kernel",
                                          helps=(f"give it an address: Machine(…, ksyms={{{symbol!r}: …}})",))
                # The address of a kernel function says whether there is one (bpf_ksym_exists).
                wide[slot] = self._ksyms[symbol] + addend if symbol in self._ksyms else int(symbol in KFUNCS)
            elif kind == "kfunc":
                continue
            else:
                raise RelocationError(f"{spec.name!r} uses {symbol!r}, which is defined nowhere")
        return wide

    # ---- events ----

    def run(
        self,
        program: str,
        data: bytes | None = None,
        *,
        ctx: Context | None = None,
        cpu: int = 0,
        attach_cookie: int = 0,
        func_ip: int = 0,
        arguments: Sequence[int] = (),
        return_value: int | None = None,
    ) -> Run:
        """Run ``program`` for one event.

        ``data``: the packet, from its Ethernet header on, for programs that have one; ``ctx``: the context's bytes
        (absent ones are 0), or its fields by name (``{"ingress_ifindex": 2}``, ``{"parm1": 4711}`` for the registers of
        a kprobe), or 64-bit words for raw tracepoints and tracing programs. The rest is what the helpers of
        the same names tell. Raises `MachineFault` where the program does what no verified program would.
        """
        found = self.program(program)
        address, packet, context = self._event(found, data, ctx, cpu)
        environment = self.environment
        environment.attach_cookie, environment.func_ip = attach_cookie, func_ip
        environment.arguments, environment.return_value = arguments, return_value
        environment.fuel[0] = NO_FUEL_LIMIT if self.loops is None else self.loops
        try:
            r0 = found.call(address)
        finally:
            if packet is not None:
                packet.remove()
            if self._placed is not None:
                self._placed.forget()
        return Run(
            r0 & 0xFFFFFFFF,
            r0,
            packet.result() if packet is not None else b"",
            bytes(context),
            environment.redirect,
            tuple(environment.clones),
            environment.return_value,
            environment.override,
        )

    def run_many(self, program: str, packets: Packets, *, ctx: Context | None = None, cpu: int = 0, keep: bool = False,
                 numpy: bool = False) -> Runs:
        """Run ``program`` for every packet, in order.

        ``packets``: a sequence of ``bytes``, a two-dimensional NumPy array of ``uint8`` (a row each), or ``(buffer,
        offsets, lengths)``, from the Ethernet header on. ``ctx`` is what every context begins as. `Runs.results` has
        the return values (``numpy``: as a NumPy array); ``keep`` asks for the packets afterwards as well.

        Raises `UsageError` before anything runs if a packet is too short or lies outside, `MachineFault` as `run` does.
        """
        from ebpf.machine.batch import run_many

        return run_many(self, program, packets, ctx=ctx, cpu=cpu, keep=keep, numpy=numpy)

    def step(
        self, program: str, data: bytes | None = None, *, ctx: Context | None = None, cpu: int = 0
    ) -> Stepper:
        """The same, standing before the first instruction."""
        found = self.program(program)
        if self.environment.space.native:
            raise NotSupported("stepping through native code", who="the userspace machine",
                               instead='engine="interpreter"')
        address, _, _ = self._event(found, data, ctx, cpu)
        return Stepper(found, address)

    def _event(self, program: Program, data: bytes | None, ctx: Context | None,
               cpu: int) -> tuple[int, Packet | None, bytearray]:
        environment = self.environment
        if not 0 <= cpu < environment.cpus:
            raise UsageError(f"there is no CPU {cpu}: this machine has {environment.cpus}")
        environment.begin_event()
        environment.cpu = cpu
        given = self._context_bytes(program, ctx)
        layout = context_layout(program.type)
        packet = None
        if program.type in PACKET_TYPES:
            if data is None:
                raise UsageError(f"{program.name!r} works on packets: give it one (data=…)")
            packet = environment.packet = Packet(environment, program.type, data, given)
            context = packet.context
        else:
            if data is not None:
                raise UsageError(
                    f"{program.name!r} ({ProgType(program.type).name.lower()}) has no packet, only a context (ctx=…)"
                )
            size = layout.size if layout is not None and program.type not in _AS_GIVEN else len(given)
            if program.verified is not None and size < program.verified.context_bytes:
                size = program.verified.context_bytes  # what it may read is there, whatever was given
            context = bytearray(given.ljust(size, b"\0"))
        writable = layout is None or layout.writable
        space = environment.space
        space.hide(self._context_window)
        environment.context = space.show(self._context_window, context, writable=writable)
        return environment.context, packet, context

    def _context_bytes(self, program: Program, ctx: Context | None) -> bytes:
        if ctx is None or isinstance(ctx, bytes):
            return ctx or b""
        if isinstance(ctx, Mapping):
            from ebpf.machine.arguments import Event
            from ebpf.machine.contexts import encode_context

            spec = self.obj.programs[program.name]
            made = Event(spec, program.type, self.placed, self.kernel_types).context(ctx)
            return made if isinstance(made, bytes) else encode_context(self.obj, spec, program.type, made, self._btf)
        return b"".join((word & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little") for word in ctx)

    @property
    def placed(self) -> PlacedMemory:
        """Memory for one event, that pointers among its arguments lead to. What is placed before `run` is there until
        that run has ended.
        """
        if self._placed is None:
            from ebpf.machine.placed import PlacedMemory

            self._placed = PlacedMemory(self.environment.space)
            if self.environment.memory is None:
                self.environment.memory = self._placed
        return self._placed

    # ---- output ----

    @property
    def printed(self) -> deque[str]:
        """Lines of bpf_trace_printk, oldest first; take them with ``popleft``."""
        return self.environment.printed

    def expire_timers(self, now_ns: int | None = None) -> int:
        """Run the callbacks of timers that are due at ``now_ns`` (default: by the machine's clock); how many."""
        from ebpf.machine.timers import expire

        return expire(self.environment, self.environment.clock.monotonic_ns() if now_ns is None else now_ns)

    @property
    def next_timer_ns(self) -> int | None:
        """When the next timer is due, by the machine's monotonic clock; ``None``: none runs."""
        from ebpf.machine.timers import next_expiry

        return next_expiry(self.environment)


def _sized(extern: Extern, value: int | bytes) -> bytes:
    try:
        raw = value if isinstance(value, bytes) else value.to_bytes(extern.size, "little", signed=value < 0)
    except OverflowError:
        raw = bytes(extern.size + 1)
    if len(raw) > extern.size:
        raise RelocationError(f"{extern.name}={value!r} does not fit its {extern.size} bytes")
    return raw.ljust(extern.size, b"\0")
