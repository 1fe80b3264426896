"""The state of one path: registers and stack of each function on the call stack, references held, locks taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier.values import SCALAR, STACK, Pointer, Scalar, Value

if TYPE_CHECKING:
    from ebpf.verifier.program import MapInfo

# What a byte of the stack holds.
INVALID, MISC, ZERO, SPILL, DYNPTR_BYTE, ITER_BYTE = range(6)
SPILL8, MISC8, ZERO8, INVALID8 = (bytes([k]) * 8 for k in (SPILL, MISC, ZERO, INVALID))
STACK_BYTES = 512
MAX_FRAMES = 8


class Slot:
    """Eight aligned bytes of stack: ``types`` says what each byte holds, ``value`` what was spilled there.

    ``read`` says that a path that started with this very object in place read it; `equivalence` ignores slots of old
    states that were
    never read afterwards. ``origin`` is the object this one stands for after a checkpoint, so that a read marks the
    earlier ones too.
    ``info`` describes dynptrs and iterators.
    """

    __slots__ = ("info", "origin", "read", "types", "value")

    def __init__(
        self, types: bytes, value: Value | None = None, origin: Slot | None = None, info: SlotInfo | None = None
    ) -> None:
        self.types = types
        self.value = value
        self.read = False
        self.origin = origin
        self.info = info

    def mark_read(self) -> None:
        slot: Slot | None = self
        while slot is not None and not slot.read:
            slot.read = True
            slot = slot.origin

    def __repr__(self) -> str:
        return f"<{'?m0Sdi'[0]}{''.join('?m0Sdi'[t] for t in self.types)} {self.value!r}>"


class SlotInfo:
    """What a dynptr (or iterator) slot is: ``kind`` (``"local"``, ``"ringbuf"``; iterators: their name), ``first`` of
    its slots,
    ``id`` of the object, ``ref`` held, ``state`` of an iterator (``"active"``, ``"drained"``), ``depth`` of its
    rounds."""

    __slots__ = ("depth", "first", "id", "kind", "readonly", "ref", "state")

    def __init__(
        self, kind: str, first: bool, id: int, ref: int = 0, state: str = "", depth: int = 0, readonly: bool = False
    ) -> None:
        self.kind = kind
        self.first = first
        self.id = id
        self.ref = ref
        self.state = state
        self.depth = depth
        self.readonly = readonly


class Frame:
    """One function on the call stack. ``stack`` maps an offset (a negative multiple of 8) to its `Slot`."""

    __slots__ = ("callback", "callsite", "id", "is_async", "regs", "stack", "subprog")

    def __init__(
        self, subprog: int, callsite: int, regs: list[Value | None], stack: dict[int, Slot], id: int = 0
    ) -> None:
        self.subprog = subprog
        self.callsite = callsite
        self.id = id  # of this call: another call of the same function is another one
        self.regs = regs
        self.stack = stack
        self.callback: CallbackInfo | None = None
        self.is_async = False

    def copy(self) -> Frame:
        new = Frame(self.subprog, self.callsite, self.regs.copy(), self.stack.copy(), self.id)
        new.callback = self.callback
        new.is_async = self.is_async
        return new


class CallbackInfo:
    """What called a callback: the helper's name, the highest result allowed, r1 to r5 of each round, references held
    outside."""

    __slots__ = ("args", "helper", "high", "refs")

    def __init__(self, helper: str, high: int, args: tuple[Value | None, ...], refs: frozenset[int]) -> None:
        self.helper = helper
        self.high = high
        self.args = args
        self.refs = refs


class State:
    """A path's state at an instruction. ``trail`` is how it got there: a chain of (slot, next slot, earlier)."""

    __slots__ = ("frames", "lock", "parent", "refs", "sections", "trail")

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.refs: dict[int, int] = {}  # reference → slot that took it
        self.lock: tuple[int, MapInfo | None, int] | None = None  # identity of the value, its map, slot
        self.parent: Checkpoint | None = None
        self.trail: Trail | None = None
        self.sections: dict[str, int] = {}  # "rcu", "preempt" → how often it was entered

    def copy(self) -> State:
        new = State([f.copy() for f in self.frames])
        new.refs = self.refs.copy() if self.refs else {}
        new.lock = self.lock
        new.parent = self.parent
        new.trail = self.trail
        new.sections = self.sections.copy() if self.sections else {}
        return new

    def replace_everywhere(self, old: Value, new: Value) -> None:
        """Every place that holds this very object holds ``new`` from now on."""
        for frame in self.frames:
            regs = frame.regs
            for i in range(10):
                if regs[i] is old:
                    regs[i] = new
            for at, slot in frame.stack.items():
                if slot.value is old:
                    fresh = Slot(slot.types, new, slot, slot.info)
                    fresh.read = slot.read
                    frame.stack[at] = fresh


class Trail:
    """A step that was not to the next instruction (or could have been elsewhere)."""

    __slots__ = ("earlier", "slot", "to")

    def __init__(self, slot: int, to: int, earlier: Trail | None) -> None:
        self.slot = slot
        self.to = to
        self.earlier = earlier


class Checkpoint:
    """A state kept for comparison. ``branches``: ways from here that are still to be explored; 0: all of them were
    found safe.

    ``loop``: the outermost checkpoint that a way from here came back to, so that what matters of this state is known
    only when all ways from that one were followed; ``backs``: of such a head the states that came back, each with the
    checkpoint that covered it.
    """

    __slots__ = ("backs", "branches", "depth", "hits", "loop", "misses", "parent", "proven", "slot", "state")

    def __init__(self, slot: int, state: State, parent: Checkpoint | None) -> None:
        self.slot = slot
        self.state = state
        self.parent = parent
        self.branches = 1
        self.hits = 0
        self.misses = 0
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.proven = False  # a loop's invariant: no state of a path (`loops`)
        self.loop: Checkpoint | None = None
        self.backs: list[tuple[Checkpoint, State]] = []

    @property
    def open_loop(self) -> Checkpoint | None:
        """The head of the loop around this state if ways from that head are still to be followed."""
        loop = self.loop
        while loop is not None and not loop.branches:
            loop = loop.loop if loop.loop is not loop else None
        return loop


def make_checkpoint(slot: int, state: State) -> Checkpoint:
    """Keep a copy of ``state``; the path goes on with fresh value objects whose marks are this checkpoint's own.

    Old objects become their parents, so a later mark reaches earlier checkpoints too, but marks made on other paths do
    not reach this one.
    """
    fresh: dict[int, Scalar] = {}
    for frame in state.frames:
        regs = frame.regs
        for i in range(10):
            value = regs[i]
            if value is not None and value.kind == SCALAR:
                regs[i] = _fresh(value, fresh)
        stack = frame.stack
        for at, spilled in stack.items():
            value = spilled.value
            if value is not None and value.kind == SCALAR:
                value = _fresh(value, fresh)
            stack[at] = Slot(spilled.types, value, spilled, spilled.info)
    saved = state.copy()
    checkpoint = Checkpoint(slot, saved, state.parent)
    state.parent = checkpoint
    return checkpoint


def _fresh(value: Scalar | Pointer, made: dict[int, Scalar]) -> Scalar:
    assert isinstance(value, Scalar)
    new = made.get(id(value))
    if new is None:
        new = made[id(value)] = Scalar(value.range, (value,))
        new.base, new.delta = value.base, value.delta
    return new


def initial_regs(context: Value | None) -> list[Value | None]:
    """Registers at a function's start: r1 as given, r10 the frame's end, the rest nothing."""
    regs: list[Value | None] = [None] * 11
    regs[1] = context
    regs[10] = Pointer(STACK)
    return regs
