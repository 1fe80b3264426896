"""What a running program sees of the world: memory, stack frames, maps, the traced task, clock, random numbers, output.

One `Environment` belongs to a machine. Helpers take it as their first argument; tests replace its parts (clock, random,
task, memory).
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ebpf.errors import MachineFault, NotSupported
from ebpf.machine.memory import SHIFT, AddressSpace
from ebpf.machine.semantics import M64, STACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.machine.interpreter import Program
    from ebpf.machine.maps.base import MachineMap
    from ebpf.machine.packets import Packet
    from ebpf.machine.runtime.bindings import Runtime
    from ebpf.machine.timers import Timer
    from ebpf.machine.translator import Translated

MAX_FRAMES = 8
MAX_TAIL_CALLS = 33
MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS: rounds of may_goto and bpf_loop
NO_FUEL_LIMIT = 1 << 62


class TracedMemory(Protocol):
    """The memory of the traced process. Both raise `OSError` where there is none, or not of that kind."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Store ``data``."""


class Task(NamedTuple):
    """The task in whose name programs run: what the `bpf_get_current_…` helpers tell."""

    pid: int = 1  #: the process (the kernel's tgid)
    tid: int = 1  #: the thread (the kernel's pid)
    uid: int = 0
    gid: int = 0
    comm: bytes = b"ebpf"
    cgroup_id: int = 1
    address: int = 0  #: what bpf_get_current_task gives; 0: there is no kernel memory to look at
    user_stack: Sequence[int] = ()  #: return addresses, innermost first
    kernel_stack: Sequence[int] = ()


class CurrentTask(Protocol):
    """What a `Task` tells; where a command is traced, read when a program asks for it."""

    @property
    def pid(self) -> int: ...
    @property
    def tid(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def comm(self) -> bytes: ...
    @property
    def cgroup_id(self) -> int: ...
    @property
    def address(self) -> int: ...
    @property
    def user_stack(self) -> Sequence[int]: ...
    @property
    def kernel_stack(self) -> Sequence[int]: ...


class Clock:
    """The time that helpers tell, in nanoseconds; replace the methods to stop or turn it."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()

    def tai_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_TAI) if hasattr(time, "CLOCK_TAI") else time.time_ns()


class Redirect(NamedTuple):
    """Where a program wants its packet to go: ``ifindex``, or (``map`` says which) the value of a map's entry."""

    ifindex: int
    flags: int = 0
    map: str = ""
    peer: bool = False
    neighbour: bool = False  #: with the link-layer addresses of the next hop (bpf_redirect_neigh)


class Route(NamedTuple):
    """A route for bpf_fib_lookup. ``network`` is a prefix (``"10.0.0.0/8"``, ``"2001:db8::/32"``); ``dmac`` the next
    hop's address, empty if it is not known; ``kind`` ``"unicast"``, or why packets do not go there: ``"blackhole"``,
    ``"unreachable"``, ``"prohibit"``, ``"local"`` (for this host).
    """

    network: str
    ifindex: int = 0
    smac: bytes = b""
    dmac: bytes = b""
    gateway: str = ""
    source: str = ""  #: this host's address on that way
    mtu: int = 1500
    metric: int = 0
    kind: str = "unicast"


class Environment:
    """See the module's text."""

    def __init__(
        self,
        *,
        cpus: int = 1,
        task: Task | None = None,
        clock: Clock | None = None,
        memory: TracedMemory | None = None,
        seed: int | None = None,
        native: bool | None = None,
        space: AddressSpace | None = None,
    ) -> None:
        self.space = space or AddressSpace()
        self.seed = seed
        self._native = native
        self.cpus = cpus
        self.cpu = 0
        self.task: CurrentTask = task or Task()
        self.clock = clock or Clock()
        self.memory = memory
        self.random = random.Random(seed)
        self.may_goto_budget = MAX_LOOPS
        # A dict, not a list: a negative depth must not find the last frame.
        self.frames = {n: bytearray(STACK_BYTES) for n in range(MAX_FRAMES)}
        self.tops: dict[int, int] = {}
        for depth, frame in self.frames.items():
            window = self.space.reserve("the stack" if not depth else f"the stack of frame {depth}")
            self.tops[depth] = self.space.show(window, frame) + STACK_BYTES
        self.functions: dict[int, Callable[..., int]] = {}
        self.maps: dict[int, MachineMap] = {}  # by address
        self.maps_by_id: dict[int, MachineMap] = {}
        self.programs: dict[int, Program] = {}  # by id, for tail calls
        self.translated: dict[str, Translated] = {}  # by the name of their text's file
        self.fuel = [NO_FUEL_LIMIT]
        self.tail_calls = 0
        self.depth = 0
        self.lock = 0  # address of the spin lock that is held
        #: what programs printed, newest last; nobody has to read it
        self.printed: deque[str] = deque(maxlen=65536)
        self.on_print: Callable[[str], object] | None = None
        #: signals that programs sent: (signal, whole process)
        self.signals: list[tuple[int, bool]] = []
        self.on_signal: Callable[[int, bool], object] | None = None
        self.owners: dict[tuple[str, int], int] = {}
        self.timers: dict[int, Timer] = {}  # by address
        #: a packet's `pkt_type`; None: by its destination, as for the device `lo`, whose address is all zero
        self.packet_type: int | None = None
        #: socket filters see frames from the Ethernet header on, as those of packet sockets (AF_PACKET) do
        self.raw_socket = False
        #: what bpf_fib_lookup looks at
        self.routes: Sequence[Route] = ()
        self.begin_event()

    def begin_event(self) -> None:
        """Forget what belongs to one event: the packet, its verdicts, cookies."""
        self.packet: Packet | None = None
        self.context = 0  # address of the context
        self.redirect: Redirect | None = None
        self.clones: list[tuple[bytes, Redirect]] = []
        self.tail_calls = 0
        self.attach_cookie = 0
        self.func_ip = 0
        self.arguments: Sequence[int] = ()
        self.return_value: int | None = None
        self.override: int | None = None
        self.lock = 0

    # ---- maps ----

    @property
    def native(self) -> bool:
        """Whether maps are made in native memory: where compiled programs share them, or the caller wants it."""
        return self.space.native if self._native is None else self._native

    def runtime(self) -> Runtime:
        """The C code of native maps. `NotSupported` where native code cannot be had."""
        from ebpf.machine.runtime.build import runtime

        return runtime()

    def owner(self, kind: str, number: int) -> int:
        """The address that stands for a task, socket, inode or control group of which the number is known."""
        address = self.owners.get((kind, number))
        if address is None:
            window = self.space.reserve(f"{kind} {number}")
            address = self.owners[kind, number] = window << SHIFT
        return address

    # ---- programs ----

    def namespace(self) -> dict[str, object]:
        """What the text of translated programs refers to."""
        from ebpf.machine.helpers import by_id
        from ebpf.machine.helpers.kfuncs import KFUNCS

        names: dict[str, object] = {
            "rd": self.space.readable,
            "wr": self.space.writable,
            "frames": self.frames,
            "tops": self.tops,
            "env": self,
            "fuel": self.fuel,
            "function": self.function,
            "tail_call": self.tail_call,
            "load_packet": self.load_packet,
            "quiet_load": self.quiet_load,
            "exhausted": exhausted,
            "runs_off": runs_off,
            "unknown_helper": unknown_helper,
            "unknown_kfunc": unknown_kfunc,
        }
        for number, helper in by_id().items():
            names[f"h{number}"] = helper.function
        for name, helper in KFUNCS.items():
            names[f"k_{name}"] = helper.function
        return names

    def kfunc_text(self, name: str) -> str:
        """Python for a call of the kernel function ``name``."""
        from ebpf.machine.helpers.kfuncs import KFUNCS

        found = KFUNCS.get(name)
        if found is None:
            return f"unknown_kfunc({name!r})"
        return f"r0 = k_{name}({', '.join(['env', *(f'r{n}' for n in range(1, found.arguments + 1))])}) & {M64:#x}"

    def call_text(self, number: int) -> list[str]:
        """Python for a call of helper ``number``."""
        from ebpf.machine.helpers import TAIL_CALL, by_id

        if number == TAIL_CALL:
            return ["t = tail_call(r2, r3)", "if t is not None: return t(depth, r1)"]
        helper = by_id().get(number)
        if helper is None:
            return [f"unknown_helper({number})"]
        arguments = ", ".join(["env", *(f"r{n}" for n in range(1, helper.arguments + 1))])
        text = f"r0 = h{number}({arguments}) & {M64:#x}"
        return ["env.depth = depth", text] if helper.calls_back else [text]

    def function(self, address: int) -> Callable[..., int]:
        """The function at ``address``; a fault if there is none."""
        found = self.functions.get(address)
        if found is None:
            raise MachineFault(f"call of {address:#x}: no function is there", address=address, access="call")
        return found

    def call(self, address: int, *arguments: int) -> int:
        """Call a function of the program from a helper (a callback)."""
        depth = self.depth
        try:
            return self.function(address)(depth + 1, *arguments)
        finally:
            self.depth = depth

    def tail_call(self, map_address: int, index: int) -> Callable[..., int] | None:
        """The entry of the program to go on with; ``None``: the calling program goes on."""
        program = self.tail_program(map_address, index)
        return None if program is None else program.entry

    def tail_program(self, map_address: int, index: int) -> Program | None:
        """The program that a tail call leads to, counted; ``None``: there is none, or it would be the 34th."""
        from ebpf.machine.maps.programs import ProgramArray

        array = self.map(map_address)
        if not isinstance(array, ProgramArray):
            raise MachineFault(f"tail call through {array.name!r}, which is no program array", access="call")
        found = self.programs.get(array.program_id(index & 0xFFFFFFFF) or 0)
        if found is None or self.tail_calls >= MAX_TAIL_CALLS:
            return None
        self.tail_calls += 1
        return found

    # ---- what helpers ask for ----

    def map(self, address: int) -> MachineMap:
        """The map whose address a program passed."""
        found = self.maps.get(address)
        if found is None:
            raise MachineFault(f"{address:#x} is no map", address=address)
        return found

    def load_packet(self, offset: int, size: int) -> int | None:
        """A legacy packet load: big-endian, from the packet or (negative offsets) its headers; None: too short."""
        packet = self.packet
        if packet is None:
            raise MachineFault("packet load in a program that has no packet", access="read", size=size)
        data = packet.load(offset & 0xFFFFFFFF, size)
        return None if data is None else int.from_bytes(data, "big")

    def quiet_load(self, address: int, size: int, signed: bool) -> int:
        """A load through a pointer to a kernel's object: 0 where nothing can be read."""
        from ebpf.machine.helpers.probing import probe

        data = probe(self, address & M64, size, user=False)
        return 0 if data is None else int.from_bytes(data, "little", signed=signed) & M64

    def print(self, line: str) -> None:
        """A line of bpf_trace_printk."""
        self.printed.append(line)
        if self.on_print is not None:
            self.on_print(line)

    def map_address(self, window: int) -> int:
        """The address that stands for a map: nothing can be read there."""
        return window << SHIFT


def exhausted() -> None:
    raise MachineFault("the program was stopped: it used up the loops that it was given",
                       helps=("if it ends at all, give it more (`loops=`)",))


def runs_off(slot: int) -> None:
    raise MachineFault(f"the program runs off its end after slot {slot}")


def unknown_kfunc(name: str) -> None:
    raise NotSupported(f"the kernel function {name}", who="the userspace machine", notes=("it needs a kernel",))


def unknown_helper(number: int) -> None:
    """Refuse a helper, by name if it has one."""
    from ebpf.abi.helpers import HELPERS_BY_ID

    known = HELPERS_BY_ID.get(number)
    if known is None:
        raise MachineFault(f"call of helper number {number}, which does not exist", access="call")
    raise NotSupported(f"the helper {known.name}", who="the userspace machine",
                       notes=("what it does needs a kernel",))
