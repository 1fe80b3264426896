"""A program that runs natively: its code, compiled or from the cache; what it asks Python for; what goes wrong.

Native code calls Python through one function with the number of a *site* (`lifter.Site`) and r1 to r5. An exception in
Python must not unwind through native frames: it is kept, the shared block says "failed", native code returns at once,
and the exception goes on from there. Threads take turns: the lock of the environment's `State` is held while a program
runs.
"""

from __future__ import annotations

import ctypes
import json
import threading
from functools import partial
from hashlib import blake2b
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.errors import InternalError, MachineFault, NotSupported, UsageError
from ebpf.machine.environment import Clock, Task, unknown_helper, unknown_kfunc
from ebpf.machine.interpreter import KERNEL_OBJECTS, Program, place, where
from ebpf.machine.maps.arrays import Array
from ebpf.machine.native import block
from ebpf.machine.native.codegen import HASTY, QUICK
from ebpf.machine.native.lifter import Lifted, Site, lift
from ebpf.machine.native.loader import NativeCode, c_address
from ebpf.machine.native.space import NativeSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ebpf.compiler.cache import Store
    from ebpf.machine.environment import Environment
    from ebpf.machine.image import Image
    from ebpf.machine.maps import MachineMap
    from ebpf.verifier import Verified

M64 = (1 << 64) - 1
_ARGUMENTS = (ctypes.c_uint64,) * 6
_UPCALL = ctypes.CFUNCTYPE(ctypes.c_uint64, *_ARGUMENTS)
_SIGNATURE = (ctypes.c_uint64, ctypes.c_void_p, *(ctypes.c_uint64,) * 5)
_FORMAT = 2  # of what the cache keeps
_HASTY_KEY = "-hasty"
_HASTY_INSNS = 1024


class State:
    """What the programs of one environment share while one of them runs."""

    def __init__(self, environment: Environment, space: NativeSpace) -> None:
        self.environment = environment
        self.space = space
        self.words = (ctypes.c_uint64 * block.WORDS)()
        self.address = ctypes.addressof(self.words)
        self.lock = threading.RLock()
        self.pending: BaseException | None = None
        self.frames: dict[int, int] = {}  # checked mode: address → size
        self.refused: list[str] = []
        self.depth = 0  # runs, one in the other
        self._random = environment.random.getrandbits(64) if environment.seed is None else 0
        self.words[block.RANDOM] = self._random
        words = self.words
        space.top = lambda: words[block.TOP]

    def __enter__(self) -> State:
        """A run begins; one within another (a callback) goes on with what that has."""
        self.lock.acquire()
        self.space.enter()
        if not self.depth:
            self._begin()
        self.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        self.space.leave()
        self.lock.release()

    def _begin(self) -> None:
        """Fill the block for a run."""
        environment, words = self.environment, self.words
        known = 0
        task = environment.task
        if type(environment.clock) is Clock:
            known |= block.KNOWN_CLOCK
        if type(task) is Task:
            known |= block.KNOWN_TASK
            words[block.PID_TGID] = task.pid << 32 | task.tid
            words[block.UID_GID] = task.gid << 32 | task.uid
        if environment.seed is None:
            known |= block.KNOWN_RANDOM
        words[block.KNOWN] = known
        words[block.CPU] = environment.cpu
        words[block.BUDGET] = environment.may_goto_budget
        words[block.FAILED] = words[block.TOP] = 0
        self.frames.clear()

    def check(self) -> None:
        """Raise what a helper raised."""
        if self.words[block.FAILED]:
            raise self.failed()

    def failed(self) -> BaseException:
        """The exception that ended the program."""
        self.words[block.FAILED] = 0
        pending, self.pending = self.pending, None
        # Without one: a signal handler raised before our own code ran (ctypes has dropped what).
        return pending if pending is not None else KeyboardInterrupt()


def state_of(environment: Environment) -> State:
    """The environment's state; it needs a `NativeSpace`."""
    space = environment.space
    if not isinstance(space, NativeSpace):
        raise UsageError("native code needs an environment with real addresses: Environment(space=NativeSpace())")
    found = space.state
    if found is None:
        found = space.state = State(environment, space)
    assert isinstance(found, State)
    return found


def _best(natives: dict[tuple[int, bool], Native], key: int, thorough: bool) -> Native | None:
    """Thorough code, or hasty where that will do."""
    found = natives.get((key, True))
    return found if found is not None or thorough else natives.get((key, False))


class Compiled(NamedTuple):
    """What is kept in the cache: the object, and what it refers to."""

    lifted: Lifted  #: without its IR
    elf: bytes


class Native:
    """Loaded code of one program for one verdict."""

    def __init__(self, program: NativeProgram, verified: Verified | None, compiled: Compiled) -> None:
        lifted = compiled.lifted
        self.verified = verified  #: None: the cache says that it was (bare code has neither maps nor context)
        self.program = program
        self.state = program.state
        self.lifted = lifted
        self.is_thorough = lifted.opt != HASTY
        self.handlers = [self._handler(site) for site in lifted.sites]
        self._upcall = _UPCALL(self._called)
        image = program.image
        self._constants = (ctypes.c_uint64 * max(len(lifted.constants), 1))(*map(image.constant, lifted.constants))
        self.code = NativeCode(compiled.elf, self._symbols(image))
        self.entry = self.code.function("entry", *_SIGNATURE)
        for slot in lifted.functions:
            function = self.code.function(f"f{slot}", *_SIGNATURE)
            program.environment.functions[self.code.address(f"f{slot}")] = partial(self._call_back, function)

    def _symbols(self, image: Image) -> dict[str, int]:
        lifted, maps = self.lifted, self.program.maps
        symbols = {"upcall": ctypes.cast(self._upcall, ctypes.c_void_p).value or 0,
                   "clock_gettime": c_address("clock_gettime"), "k": ctypes.addressof(self._constants)}
        for name in lifted.values:
            found = maps[name]
            assert isinstance(found, Array)
            symbols[f"v.{name}"] = found.value_address
        for name in lifted.maps:
            symbols[f"m.{name}"] = maps[name].native
        for slot, reference in self.verified.program.references.items() if self.verified is not None else ():
            if reference.kind != "value" or reference.map is None or f"v.{reference.map.name}" not in symbols:
                continue
            if image.constant(slot) != symbols[f"v.{reference.map.name}"] + reference.offset:
                raise InternalError(f"{image.name!r}, slot {slot}: the verifier's address is not the machine's")
        if lifted.runtime:
            runtime = self.program.environment.runtime()
            symbols |= {name: runtime.address(name) for name in lifted.runtime}
        return symbols

    # ---- from native code to Python ----

    def _called(self, site: int, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        state = self.state
        try:
            state.words[block.FAILED] = 0
            return self.handlers[site](r1, r2, r3, r4, r5)
        except BaseException as error:  # carried past the native frames
            state.pending = self._placed(error, self.lifted.sites[site].slot)
            state.words[block.FAILED] = 1
            return 0

    def _placed(self, error: BaseException, slot: int) -> BaseException:
        image = self.program.image
        if isinstance(error, MachineFault):
            if error.slot is None:
                place(error, image, slot)
        elif isinstance(error, NotSupported):
            error.notes = (*error.notes, where(image, slot))
        return error

    def _call_back(self, function: Any, depth: int, *arguments: int) -> int:
        """A function of the program, called by a helper or timer."""
        state = self.state
        real = state.space.real
        given = [real(a & M64) for a in arguments]
        with state:  # (a timer's callback is a run of its own)
            r0: int = function(state.address, *given, *(0,) * (5 - len(given)))
            state.check()
            return r0

    def _handler(self, site: Site) -> Callable[..., int]:
        return getattr(self, f"_on_{site.kind}")(site)  # type: ignore[no-any-return]

    def _on_helper(self, site: Site) -> Callable[..., int]:
        from ebpf.machine.helpers import by_id

        environment, number = self.program.environment, site.number
        helper = by_id().get(number)
        if helper is None:
            return lambda *_: unknown_helper(number)  # type: ignore[return-value]
        function, count = helper.function, helper.arguments
        if gives_pointer(number):
            return self._pointer(helper.name, function, count)
        return lambda *r: function(environment, *r[:count]) & M64

    def _on_kfunc(self, site: Site) -> Callable[..., int]:
        from ebpf.abi.contracts import KFUNCS as CONTRACTS
        from ebpf.machine.helpers.kfuncs import KFUNCS

        environment = self.program.environment
        found = KFUNCS.get(site.name)
        if found is None:
            return lambda *_: unknown_kfunc(site.name)  # type: ignore[return-value]
        function, count = found.function, found.arguments
        contract = CONTRACTS.get(site.name)
        if contract is not None and contract.result == "dynmem?":
            return self._pointer(site.name, function, count)
        return lambda *r: function(environment, *r[:count]) & M64

    def _pointer(self, name: str, function: Callable[..., int], count: int) -> Callable[..., int]:
        """A helper or kernel function whose result programs use without asking again."""
        environment, space, maps = self.program.environment, self.state.space, self.program.environment.maps

        def pointer(*r: int) -> int:
            address = space.real(function(environment, *r[:count]) & M64)
            if address >> 63 and address not in maps:  # no address of a process, nor a map out of a map
                raise InternalError(f"{name} gave {address:#x}, which is no real address")
            return address

        return pointer

    def _on_packet(self, site: Site) -> Callable[..., int]:
        environment = self.program.environment

        def load(at: int, *_: int) -> int:
            found = environment.load_packet(at, site.size)
            return M64 if found is None else found

        return load

    def _on_tail(self, site: Site) -> Callable[..., int]:
        environment = self.program.environment

        def follow(r1: int, map_address: int, index: int, *_: int) -> int:
            found = environment.tail_program(map_address, index)
            if found is None:
                return 0
            if not isinstance(found, NativeProgram) or found.type != self.program.type:
                raise MachineFault(f"tail call from {self.program.name!r} to {found.name!r}, a program of another type",
                                   access="call")
            native = found.thorough if self.is_thorough else found.native
            assert native.verified is not None
            if native.verified.context_bytes > environment.space.size_at(r1):  # type: ignore[attr-defined]
                raise MachineFault(f"tail call to {found.name!r}, whose context is longer", access="call")
            return native.code.address("entry")

        return follow

    def _on_probe(self, site: Site) -> Callable[..., int]:
        """An access that the verifier's facts do not cover: see `accesses`."""
        from ebpf.machine.native.probes import perform

        environment = self.program.environment
        quiet = bool(site.number) and not site.number & ~KERNEL_OBJECTS
        return lambda address, value, expected, *_: perform(environment, site.name, site.size, address, value, expected,
                                                            quiet)

    def _on_check(self, site: Site) -> Callable[..., int]:
        state, access = self.state, "write" if site.write else "read"

        def check(address: int, *_: int) -> int:
            for start, size in state.frames.items():
                if start <= address and address + site.size <= start + size:
                    return 0
            if state.space.allows(address, site.size, access, frames=False):
                return 0
            state.words[block.REFUSED] += 1
            place = where(self.program.image, site.slot)
            state.refused.append(f"{access} of {site.size} bytes at {address:#x} {place}")
            return 1

        return check

    def _on_frame(self, site: Site) -> Callable[..., int]:
        frames = self.state.frames

        def known(address: int, *_: int) -> int:
            frames[address] = site.size
            return 0

        return known


class NativeProgram(Program):
    """A `Program` whose `call` runs native code. ``maps`` are those of its object by name; ``checked`` keeps every
    bounds check: `refused` then tells which accesses failed one."""

    def __init__(self, image: Image, environment: Environment, *, type: int = 0, id: int = 0,
                 verified: Verified | None = None, maps: Mapping[str, MachineMap] | None = None,
                 checked: bool = False, cache: bool = True) -> None:
        super().__init__(image, environment, type=type, id=id, verified=verified)
        self.maps = maps or {}
        self.checked = checked
        self.cache = cache
        self.state = state_of(environment)
        self._natives: dict[tuple[int, bool], Native] = {}  # by verdict, and whether it is thorough
        self._bare: dict[tuple[int, bool], Native] = {}  # by the block's length, and so
        self._chosen: Native | None = None

    def choose(self, code: bytes, length: int, verdict: Callable[[int], Verified], thorough: bool = False) -> None:
        """Bare code: run the version for blocks of ``length`` bytes from now on (``thorough``: see there).

        The cache keeps code by instructions, length, and this verifier's files: what is there was accepted by the very
        verifier that would look at it now, so that ``verdict`` is asked only for what is not. Raises `VerifierError`.
        """
        found = _best(self._bare, length, thorough) if not self.checked else None
        if found is None:
            from ebpf.compiler.cache import Store

            store = Store() if self.cache and not self.checked else None
            key = _bare_key(code, length)
            compiled = _kept(store, key, thorough)
            self.verified = None
            if compiled is None:
                self.verified = verdict(length)
                compiled = compile_program(self.verified, self.maps, self.environment, checked=self.checked,
                                           cache=False, thorough=thorough)
                _keep(store, key, compiled)
            if len(self._bare) >= 64:
                del self._bare[next(iter(self._bare))]
            found = Native(self, self.verified, compiled)
            self._bare[length, found.is_thorough] = found
        self._chosen = found

    @property
    def refused(self) -> list[str]:
        """Checked mode: accesses that were outside of all memory that the machine knows."""
        return self.state.refused

    @property
    def native(self) -> Native:
        """Its code for the verdict that it has, for a run that Python asks for: soon there rather than fast. Raises
        `UsageError` without a verdict."""
        return self._code(False)

    @property
    def thorough(self) -> Native:
        """`native`, for loops over many runs."""
        return self._code(True)

    def _code(self, thorough: bool) -> Native:
        if self._chosen is not None:
            return self._chosen
        verified = self.verified
        if verified is None:
            raise UsageError(f"{self.name!r} was not verified: it does not become native code",
                             helps=('leave verify=False away, or take engine="interpreter"',))
        found = _best(self._natives, id(verified), thorough)
        if found is None:
            if len(self._natives) >= 64:
                del self._natives[next(iter(self._natives))]
            compiled = compile_program(verified, self.maps, self.environment, checked=self.checked, cache=self.cache,
                                       thorough=thorough)
            self._own_memory()
            found = Native(self, verified, compiled)
            self._natives[id(verified), found.is_thorough] = found
        return found

    def _own_memory(self) -> None:
        """Tell the space of the maps' memory: helpers and probe reads may reach it."""
        space = self.state.space
        for found in self.environment.maps.values():
            if found.native:
                space.own_map(found)

    def call(self, r1: int = 0, r2: int = 0) -> int:
        native, state = self.native, self.state
        with state:
            r0: int = native.entry(state.address, r1, r2, 0, 0, 0)
            state.check()
            return r0


def gives_pointer(number: int) -> bool:
    """Whether programs reach memory through a helper's result. (Through those that are of a kernel's type they ask.)"""
    from ebpf.abi.helpers import HELPERS_BY_ID

    # (what bpf_per_cpu_ptr and bpf_this_cpu_ptr give is a kernel's variable: see `accesses.direct_kinds`)
    return HELPERS_BY_ID[number].signature.startswith("void *") and number not in (153, 154)


def native_maps(maps: Mapping[str, MachineMap]) -> dict[str, str]:
    """The runtime's kind of each map that native code may use directly."""
    return {name: found.native_kind for name, found in maps.items() if found.native}


def compile_program(verified: Verified, maps: Mapping[str, MachineMap], environment: Environment, *,
                    checked: bool = False, cache: bool = True, thorough: bool = True) -> Compiled:
    """Native code for ``verified``, from the cache if it was made before. Without ``thorough`` it is made in a fifth of
    the time where that costs its runs little (`_is_short`). Raises `NotSupported` (no llvmlite, no such processor),
    `InternalError`."""
    from ebpf.compiler.cache import Store

    native = native_maps(maps)
    store = Store() if cache else None
    key = _key(verified, native, checked)
    found = _kept(store, key, thorough)
    if found is not None:
        return found
    inlined, ir = frozenset[str](), ""
    if any(kind != "array" for kind in native.values()):
        ir = environment.runtime().ir
        inlined = frozenset(f"ebpf_{kind}_lookup" for kind in native.values() if f"@ebpf_{kind}_lookup(" in ir)
    lifted = lift(verified, native=native, inlined=inlined, checked=checked)
    if not thorough and _is_short(lifted, verified):
        lifted = lifted._replace(opt=HASTY)
    elf = _generate(lifted, ir if lifted.linked else "")
    if lifted.linked:
        lifted = lifted._replace(runtime=tuple(name for name in lifted.runtime if name not in inlined))
    compiled = Compiled(lifted._replace(ir=""), elf)
    _keep(store, key, compiled)
    return compiled


def _is_short(lifted: Lifted, verified: Verified) -> bool:
    """Whether a run takes no longer than Python's call of it, whatever the code: no loops, also none in what is linked.
    (And frames stay small: hasty code keeps in them whatever lives from one block to another.)"""
    return lifted.opt == QUICK and not lifted.linked and len(verified.program.insns) <= _HASTY_INSNS


def _generate(lifted: Lifted, link: str) -> bytes:
    from ebpf.compiler.llvm.child import CodeGenerationError
    from ebpf.machine.native.codegen import compile_host

    try:
        return compile_host(lifted.ir, link=link, opt=lifted.opt)
    except CodeGenerationError as error:
        if error.how == "missing":
            raise NotSupported("native code without the package llvmlite", who="this installation",
                               instead='engine="interpreter"') from None
        raise InternalError(f"LLVM gave no native code ({error.how})", notes=error.notes) from None


# ---- the cache ----


def _kept(store: Store | None, key: str, thorough: bool) -> Compiled | None:
    """What the cache has: thorough code, or hasty where that will do."""
    for name in (key,) if thorough else (key, key + _HASTY_KEY):
        kept = store.get(name) if store is not None else None
        found = _parse(kept) if kept is not None else None
        if found is not None:
            return found
    return None


def _keep(store: Store | None, key: str, compiled: Compiled) -> None:
    if store is not None:
        store.put(key + _HASTY_KEY if compiled.lifted.opt == HASTY else key, _emit(compiled))


def _bare_key(code: bytes, length: int) -> str:
    """A digest of bare code for one length of block, of who verified it and who made it native."""
    from ebpf.machine.native.identity import identity

    digest = blake2b(identity().encode(), digest_size=24)
    digest.update(f"{length} ".encode() + code)
    return f"native-bare-{digest.hexdigest()}"


def _key(verified: Verified, native: Mapping[str, str], checked: bool) -> str:
    """A digest of all that the code follows from: instructions, facts that shaped it, who made it, for which CPU."""
    from ebpf.machine.native.identity import identity

    program = verified.program
    digest = blake2b(identity().encode(), digest_size=24)
    for slot, insn in program.insns.items():
        digest.update(pack("<IBBhQ", slot, insn.opcode, insn.dst | insn.src << 4, insn.off, insn.imm & M64))
    digest.update(pack(f"<{len(verified.pointer_kinds)}I", *verified.pointer_kinds))
    digest.update(verified.outcomes + verified.reached)
    references = [(slot, r.kind, r.map.name if r.map is not None else "", r.offset)
                  for slot, r in program.references.items()]
    own = {id(r.map) for r in program.references.values()}
    maps = [(slot, m.name, int(m.type), m.key_size, m.value_size, m.max_entries, m.flags, id(m) in own,
             sorted((at, kind) for at, (kind, *_) in m.fields.items())) for slot, m in verified.maps.items()]
    parts = (references, sorted(program.kfuncs.items()), [(s.start, s.end) for s in program.subprogs], maps,
             sorted(native.items()), program.type, program.memory_bytes is None, verified.stack_bytes, checked)
    digest.update(repr(parts).encode())
    return f"native-{digest.hexdigest()}"


def _emit(compiled: Compiled) -> bytes:
    lifted = compiled.lifted
    return json.dumps([_FORMAT, *lifted]).encode() + b"\n" + compiled.elf


def _parse(data: bytes) -> Compiled | None:
    head, _, elf = data.partition(b"\n")
    try:
        format, *fields = json.loads(head)
        if format != _FORMAT or elf[:4] != b"\x7fELF":
            return None
        ir, opt, sites, constants, values, maps, functions, runtime, linked = fields
        lifted = Lifted(ir, opt, tuple(Site(*row) for row in sites), tuple(constants), tuple(values), tuple(maps),
                        tuple(functions), tuple(runtime), linked)
    except (ValueError, TypeError):
        return None
    return Compiled(lifted, elf)


