"""Follow every path of a program, one instruction at a time, until each ends safely or one is refused.

The exploration is depth first: at a branch one way is put aside, the other followed. Where ways meet, the state is
compared with those
seen there before (`equivalence`); a path that an earlier one covers ends there. Every concrete run of the program is a
path of this
exploration (each step's result contains what the machine would compute), so if no step of any path is refused, no run
faults.
Termination of the program: a loop is followed round by round, a state that comes back unchanged is refused as endless,
and loops whose
bound is proven in another way (`loops`) or by their helper are taken as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.context_layouts import context_layout
from ebpf.verifier import arithmetic, atomics, btf_access, calls, helpers, jumps, kfuncs, loops, memory
from ebpf.verifier.equivalence import COVERED, EQUAL, WITHIN, states_equal
from ebpf.verifier.program import (
    ADDR_SPACE_CAST,
    ARITHMETIC,
    ATOMIC,
    CALL,
    CALL_KFUNC,
    CALL_LOCAL,
    EXIT,
    JUMP,
    JUMP_IF,
    LOAD,
    MAY_GOTO,
    MOV_K,
    MOV_SIGNED,
    MOV_X,
    MOV_X32,
    NEGATE,
    PACKET_LOAD,
    STORE_K,
    STORE_X,
    SWAP,
    WIDE,
    MapInfo,
    Program,
    Subprog,
)
from ebpf.verifier.ranges import M32, U32, UNKNOWN, Range, bswap, const, sext, signed32, sub, truncate, union, zext32
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import INVALID8, Checkpoint, Frame, Slot, State, Trail, make_checkpoint
from ebpf.verifier.values import (
    ARENA,
    BTF,
    CTX,
    FUNC,
    MAP_PTR,
    MAP_VALUE,
    PACKET_KINDS,
    PERCPU_BTF,
    Pointer,
    Scalar,
    anything,
    mark_precise,
    number,
)

if TYPE_CHECKING:
    from typing import Any

    from ebpf.verifier.helpers import Call
    from ebpf.verifier.options import Options
    from ebpf.verifier.values import Value

_INVALID8 = INVALID8
_ZERO = const(0)


class Explorer:
    """The exploration of one function of a program (`run`), and what it found on the way."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program = program
        self.options = options
        self.layout = context_layout(program.type, options.arch)
        self.prototype = btf_access.prototype(program)
        self.main: Subprog = program.subprogs[0]
        self.state: State = State([])
        self.regs: list[Value | None] = []
        self.slot = 0
        self.pending: list[tuple[int, State]] = []
        self.explored: dict[int, list[Checkpoint]] = {}  # all ways from there were followed
        self.active: dict[int, list[Checkpoint]] = {}  # on the present path
        self.callback_entries: set[int] = set()
        self.combined: dict[int, tuple[Range, Range, Range]] = {}  # by slot: operands of the last time, and the result
        self.converge = {
            at
            for at, op in enumerate(program.ops)
            if op[0] == MAY_GOTO or (op[0] == CALL_KFUNC and kfuncs.is_iterator_step(program, at))
        }
        self.track_bases = False
        # While a loop is being proven: its slots, how many functions deep it is, and the states that leave it.
        self.body: frozenset[int] | None = None
        self.body_depth = 0
        self.exits: list[tuple[int, State]] = []
        self.proved = False  # some loop was
        self.invariants: dict[int, loops.Invariant] = {}
        self.rounds: dict[int, int] = {}  # visits of each loop head
        self.loop_failures: dict[int, int] = {}
        self.extra_insns = 0  # what a kernel would look at beyond what was (rounds that were not followed)
        self._ids = 0
        self._skip_join = -1
        self.result: Range | None = None
        # figures
        self.insns = 0
        self.jumps = 0
        self._kept_at = (0, 0)
        self.states = 0
        self.paths = 0
        self.stack_used = [0] * len(program.subprogs)
        self.call_graph: dict[int, set[int]] = {}
        self.tail_callers: set[int] = set()
        self.globals_called: set[int] = set()
        # facts by slot: kinds of pointers used (bits), the map if it is always the same, outcomes of jumps (bits: 1 not
        # taken, 2 taken)
        self.kinds = [0] * program.length
        self.maps: dict[int, MapInfo | None] = {}
        self.context_bytes = 0
        self.outcomes = bytearray(program.length)
        self.visited = bytearray(program.length)

    # -- bookkeeping that the rules use

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    def push(self, slot: int, state: State) -> None:
        """Put a way aside, to be followed later."""
        if state.parent is None:
            state.parent = self.state.parent
        if state.parent is not None:
            state.parent.branches += 1
        state.trail = Trail(self.slot, slot, state.trail)
        self.pending.append((slot, state))
        if len(self.pending) > self.options.max_pending:
            raise Refuse("V0401", f"more than {self.options.max_pending} ways are open at once", row="too-complex")

    def push_frame(self, frame: Frame) -> None:
        self.state.frames.append(frame)
        self.regs = frame.regs

    def pop_frame(self) -> Frame:
        frame = self.state.frames.pop()
        self.regs = self.state.frames[-1].regs
        return frame

    def note_access(self, pointer: Pointer, at: int, size: int) -> None:
        self.kinds[self.slot] |= 1 << pointer.kind
        if pointer.map is not None:
            self.note_map(pointer.map)
        elif pointer.kind == CTX and at + size > self.context_bytes:
            self.context_bytes = at + size

    def note_map(self, info: MapInfo | None) -> None:
        if info is not None and self.maps.setdefault(self.slot, info) is not info:
            self.maps[self.slot] = None

    def note_stack(self, frame: int, depth: int) -> None:
        sub = self.state.frames[frame].subprog
        if depth > self.stack_used[sub]:
            self.stack_used[sub] = depth

    def note_call(self, slot: int, sub: Subprog) -> None:
        self.call_graph.setdefault(self.state.frames[-1].subprog, set()).add(sub.index)
        if sub.is_global:
            self.globals_called.add(sub.index)

    def note_tail_call(self) -> None:
        self.tail_callers.add(self.state.frames[-1].subprog)

    def note_result(self, result: Value | None) -> None:
        """What the program returns on this path joins what it returns on others."""
        if not self.options.track_result:
            return
        if isinstance(result, Scalar):
            mark_precise(result)  # or a path with another result would be taken as covered
        span = result.range if isinstance(result, Scalar) else UNKNOWN
        self.result = span if self.result is None else union(self.result, span)

    def forget_packet(self, state: State) -> None:
        """The packet may have moved: pointers into it are numbers now."""
        for frame in state.frames:
            for i in range(10):
                value = frame.regs[i]
                if value is not None and value.kind in PACKET_KINDS:
                    frame.regs[i] = anything()
            for at, slot in frame.stack.items():
                if slot.value is not None and slot.value.kind in PACKET_KINDS:
                    frame.stack[at] = Slot(slot.types, anything())

    def release(self, ref: int, helper: str) -> None:
        """What ``ref`` stands for was given back: whatever belongs to it must not be used any more."""
        if not ref or ref not in self.state.refs:
            raise Refuse("V0301", f"`{helper}` is given something that is not held", row="not-held", helper=helper)
        del self.state.refs[ref]
        for frame in self.state.frames:
            for i in range(10):
                value = frame.regs[i]
                if isinstance(value, Pointer) and value.ref == ref:
                    frame.regs[i] = anything()
            for at, slot in frame.stack.items():
                value = slot.value
                if isinstance(value, Pointer) and value.ref == ref:
                    frame.stack[at] = Slot(slot.types, anything())

    def forget_borrowed_under_lock(self) -> None:
        """Pointers that were valid only while the lock was held (none of those that this verifier gives out are)."""

    def destroy_object(self, frame: Frame, base: int) -> None:
        """A write hits a dynptr or an iterator on the stack: both of its slots are gone; one that holds a reference
        must not be lost."""
        info = frame.stack[base].info
        assert info is not None
        if info.ref and info.ref in self.state.refs:
            raise Refuse("V0301", "this write would overwrite a dynptr or iterator that is still held", row="leak-end")
        self.invalidate_dynptr(info.id)

    def invalidate_dynptr(self, id: int) -> None:
        """The object is gone, and with it every slice taken of it."""
        for frame in self.state.frames:
            for at, slot in list(frame.stack.items()):
                if slot.info is not None and slot.info.id == id:
                    frame.stack[at] = Slot(_INVALID8)
                elif isinstance(slot.value, Pointer) and slot.value.target == ("dynptr", id):
                    frame.stack[at] = Slot(slot.types, anything())
            for i in range(10):
                value = frame.regs[i]
                if isinstance(value, Pointer) and value.target == ("dynptr", id):
                    frame.regs[i] = anything()

    def enter_callback(self, slot: int, call: Call) -> int:
        return calls.enter_callback(self, slot, call)

    # -- the exploration

    def run(self, sub: Subprog) -> None:
        """Follow all paths of the function. Raises `Refuse`."""
        self.main = sub
        self.explored, self.active = {}, {}
        self.pending = []
        self.invariants, self.rounds = {}, {}
        self.follow_all(sub.start, calls.initial_state(self, sub))

    def follow_all(self, slot: int, state: State) -> None:
        """Follow the path from ``slot`` and all ways that are put aside from then on."""
        self._start(slot, state)
        self._skip_join = slot
        while True:
            self._follow(self.slot)
            self.paths += 1
            if not self.pending:
                return
            slot, state = self.pending.pop()
            self._start(slot, state)

    def _start(self, slot: int, state: State) -> None:
        self.state = state
        self.regs = state.frames[-1].regs
        self.slot = slot

    def _follow(self, slot: int) -> None:
        """Follow one path from ``slot`` to its end."""
        program, options = self.program, self.options
        ops, joins, converge, entries = program.ops, program.joins, self.converge, self.callback_entries
        visited, limit = self.visited, options.max_insns
        count = self.insns
        body = self.body
        try:
            while True:
                self.slot = slot
                if body is not None and self._leaves(body, slot):
                    break
                if slot in joins or slot in converge or (slot in entries and self._at_callback_entry(slot)):
                    self.insns = count
                    ended = self._visit_join(slot) < 0
                    count = self.insns
                    if ended:
                        break
                count += 1
                if count > limit:
                    raise Refuse("V0401", f"gave up after {limit} instructions", row="too-many", processed=limit)
                visited[slot] = 1
                kind, dst, src, off, imm, extra = ops[slot]
                regs = self.regs
                if kind == MOV_X:
                    value = regs[src]
                    if value is None:
                        raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
                    regs[dst] = value
                elif kind == LOAD:
                    size, signed = extra
                    regs[dst] = memory.load(self, src, off, size, signed)
                elif kind == MOV_K:
                    regs[dst] = Scalar(extra)
                elif kind == ARITHMETIC:
                    regs[dst] = arithmetic.combine(self, dst, src, off, extra)
                elif kind == JUMP_IF:
                    op, is32, constant = extra
                    self.jumps += 1
                    self.insns = count
                    way, taken = jumps.jump_if(self, dst, src, op, is32, constant)
                    if way == 0:
                        self.outcomes[slot] |= 1
                    elif way == 1:
                        self.outcomes[slot] |= 2
                        slot = self._jump(slot, slot + 1 + off)
                        continue
                    else:
                        self.outcomes[slot] |= 3
                        assert taken is not None
                        self.push(slot + 1 + off, taken)
                elif kind == STORE_X:
                    value = regs[src]
                    if value is None:
                        raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
                    pointer = regs[dst]
                    if not (
                        isinstance(pointer, Pointer)
                        and pointer.kind == MAP_VALUE
                        and memory.store_kptr(self, pointer, off, extra, value)
                    ):
                        memory.store(self, dst, off, extra, value)
                elif kind == STORE_K:
                    pointer = regs[dst]
                    value = number(imm)
                    if not (
                        isinstance(pointer, Pointer)
                        and pointer.kind == MAP_VALUE
                        and memory.store_kptr(self, pointer, off, extra, value)
                    ):
                        memory.store(self, dst, off, extra, value)
                elif kind == CALL:
                    self.insns = count
                    after = helpers.check_call(self, slot, imm)
                    slot = after if after == slot + 1 else self._jump(slot, after)
                    continue
                elif kind == JUMP:
                    self.jumps += 1
                    slot = program.successors[slot][0]
                    self.state.trail = Trail(self.slot, slot, self.state.trail)
                    continue
                elif kind == EXIT:
                    self.insns = count
                    after = calls.leave(self, slot)
                    if after < 0:
                        break
                    slot = self._jump(slot, after)
                    continue
                elif kind == WIDE:
                    regs[dst] = self._wide(slot)
                    slot += 2
                    continue
                elif kind == CALL_LOCAL:
                    self.insns = count
                    slot = self._jump(slot, calls.call_local(self, slot, slot + 1 + imm))
                    continue
                else:
                    self.insns = count
                    slot = self._rare(slot, kind, dst, src, off, imm, extra)
                    if slot < 0:
                        break
                    continue
                slot += 1
        finally:
            self.insns = count
        self._path_ends()

    def _leaves(self, body: frozenset[int], slot: int) -> bool:
        depth = len(self.state.frames)
        if depth > self.body_depth or (depth == self.body_depth and slot in body):
            return False
        self.exits.append((slot, self.state))
        return True

    def _jump(self, slot: int, to: int) -> int:
        self.state.trail = Trail(slot, to, self.state.trail)
        return to

    def _rare(self, slot: int, kind: int, dst: int, src: int, off: int, imm: int, extra: Any) -> int:
        """The less frequent instructions; returns the next slot, -1 if the path ends."""
        regs = self.regs
        if kind in (MOV_X32, MOV_SIGNED):
            value = regs[src]
            if value is None:
                raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
            if not isinstance(value, Scalar):
                regs[dst] = Scalar(U32 if kind == MOV_X32 else UNKNOWN)
            elif kind == MOV_X32:
                # Below 2**32 the low half is the number itself: then both are one number still.
                regs[dst] = value if value.range.umax <= M32 else Scalar(zext32(value.range), (value,))
            else:
                size, is32 = extra
                made = sext(value.range, size)
                regs[dst] = Scalar(zext32(made) if is32 else made, (value,))
            return slot + 1
        if kind == SWAP or kind == NEGATE:
            value = regs[dst]
            if value is None:
                raise Refuse("V0206", f"R{dst} is read before it has a value", row="register", register=dst)
            if not isinstance(value, Scalar):
                regs[dst] = anything()
            elif kind == NEGATE:
                made = sub(_ZERO, value.range)
                regs[dst] = Scalar(zext32(made) if extra else made, (value,))
            else:
                regs[dst] = Scalar(truncate(value.range, imm // 8) if extra else bswap(value.range, imm), (value,))
            return slot + 1
        if kind == ATOMIC:
            atomics.check(self, dst, src, off, imm, extra)
            return slot + 1
        if kind == CALL_KFUNC:
            return kfuncs.check_call(self, slot)
        if kind == PACKET_LOAD:
            atomics.packet_load(self, src, extra)
            return slot + 1
        if kind == MAY_GOTO:
            # The machine (as the kernel) leaves the loop when its budget is used up: both ways are possible each time,
            # and it ends.
            self.push(slot + 1 + off, self.state.copy())
            return slot + 1
        if kind == ADDR_SPACE_CAST:
            value = regs[src]
            if value is None:
                raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
            regs[dst] = Pointer(ARENA) if imm == 1 << 16 or imm == 1 else anything()
            return slot + 1
        if extra == "frame pointer":
            raise Refuse("V0103", "R10, the frame pointer, cannot be written", row="frame-pointer", register=10)
        opcode = self.program.insns[slot].opcode
        what = {0x8D: "calls through a register (callx)", 0x0D: "jumps through a table (gotox)"}.get(opcode)
        words = "this instruction cannot be verified"
        if what:
            words = f"{what} cannot be verified: where they lead is not known"
        raise Refuse("V0104", words, row="unknown-insn")

    def _wide(self, slot: int) -> Value:
        reference = self.program.references.get(slot)
        insn = self.program.insns[slot]
        if reference is None:
            if insn.src == 4:
                return Pointer(FUNC, target=slot + 1 + signed32(insn.imm & M32))
            if insn.src:
                raise Refuse(
                    "V0103", "this wide load refers to something that is not known here", row="unknown-reference"
                )
            return number(insn.imm)
        if reference.kind == "map":
            return Pointer(MAP_PTR, map=reference.map)
        if reference.kind == "value":
            info = reference.map
            assert info is not None
            return Pointer(MAP_VALUE, off=reference.offset, map=info, id=self.new_id() if info.fields else 0)
        if reference.kind == "variable":
            # The kernel's own memory: read by what is known of it (`btf_access`), and never taken for granted.
            if reference.target is None:
                return Pointer(BTF, bound=reference.offset, readonly=True)
            kind = PERCPU_BTF if reference.symbol == "percpu" else BTF
            return Pointer(kind, target=reference.target, readonly=True)
        return anything()

    # -- where ways meet

    def _at_callback_entry(self, slot: int) -> bool:
        return (
            self.state.frames[-1].callback is not None
            and self.program.subprogs[self.state.frames[-1].subprog].start == slot
        )

    def trail_to(self, slot: int) -> list[tuple[int, int]]:
        """How the present path got to where it is: (slot, next slot) of each step that was not to the next
        instruction."""
        out, trail = [], self.state.trail
        while trail is not None:
            out.append((trail.slot, trail.to))
            trail = trail.earlier
        return out[::-1]

    def _visit_join(self, slot: int) -> int:
        """-1: an earlier state covers this one; 1: this state was kept for comparison; 0: neither."""
        state, program = self.state, self.program
        invariant = self.invariants.get(slot)
        if invariant is not None and loops.same_frames(invariant.state, state):
            if self._skip_join != slot:
                loops.arrive(self, invariant, state)
                return -1
            self._skip_join = -1
            return 1
        repeats = slot in self.converge or self._at_callback_entry(slot)
        in_loop = repeats
        active = self.active.get(slot)
        if active:
            if repeats:
                for checkpoint in reversed(active):
                    if self._comes_back(checkpoint, checkpoint, state):
                        return -1
                self._widen(active[-1].state)
                if self._comes_back(active[-1], active[-1], state):
                    return -1
            elif slot in program.loop_heads:
                in_loop = True
                # A round that repeats forever comes back to each of its states: it is enough to look for some (Brent's
                # algorithm: those whose number is a power of two), or long loops would cost the square of their rounds.
                last = len(active) - 1
                for index in {last, *(1 << n for n in range(last.bit_length()))}:
                    if states_equal(program, slot, active[index].state, state, EQUAL):
                        raise Refuse(
                            "V0402",
                            "this loop comes back to the same state: it never ends",
                            row="endless",
                            at_insn=slot,
                        )
                rounds = self.rounds[slot] = self.rounds.get(slot, 0) + 1
                if rounds >= loops.FIRST_ATTEMPT and not rounds & (rounds - 1) and not self.options.unroll:
                    if loops.attempt(self, slot, active[-1].state):
                        self.rounds[slot] = loops.FIRST_ATTEMPT - 3  # the next time round it is worth trying at once
                        return -1
        found = self.explored.get(slot)
        if found:
            drop: list[Checkpoint] = []
            for checkpoint in reversed(found):
                loop = checkpoint.open_loop
                if loop is None:
                    if states_equal(program, slot, checkpoint.state, state, COVERED):
                        checkpoint.hits += 1
                        self._propagate(checkpoint.state, state)
                        return -1
                elif self._comes_back(checkpoint, loop, state):
                    checkpoint.hits += 1
                    return -1
                checkpoint.misses += 1
                if checkpoint.misses > checkpoint.hits * 3 + 3:
                    drop.append(checkpoint)
            for checkpoint in drop:
                found.remove(checkpoint)
        # How much was done since a state was kept, on whatever path: many short paths must not go without one.
        since, jumped = self.insns - self._kept_at[0], self.jumps - self._kept_at[1]
        due = in_loop and not repeats and self.rounds[slot] == loops.FIRST_ATTEMPT - 1  # the next round is an attempt
        if not repeats and not due and (found or active) and (since < 8 or jumped < 2) and since < 30:
            return 0
        if in_loop and not repeats and since < 100 and jumped < 20 and not due:
            return 0
        self.active.setdefault(slot, []).append(make_checkpoint(slot, state))
        self.states += 1
        self._kept_at = (self.insns, self.jumps)
        return 1

    def _widen(self, old: State) -> None:
        """Between two rounds of a loop that something else bounds: numbers that changed and do not matter so far may be
        anything.

        Sound since the path goes on with more states than before. It makes the rounds' states meet.
        """
        for a, b in zip(old.frames, self.state.frames, strict=False):
            for i in range(10):
                x, y = a.regs[i], b.regs[i]
                if (
                    isinstance(x, Scalar)
                    and isinstance(y, Scalar)
                    and not x.precise
                    and not y.precise
                    and x.range is not y.range
                ):
                    b.regs[i] = Scalar(UNKNOWN, (y,))
            for at, slot in a.stack.items():
                other = b.stack.get(at)
                if (
                    other is not None
                    and isinstance(slot.value, Scalar)
                    and isinstance(other.value, Scalar)
                    and not slot.value.precise
                    and not other.value.precise
                    and slot.value.range is not other.value.range
                ):
                    b.stack[at] = Slot(other.types, Scalar(UNKNOWN, (other.value,)), other)

    def _comes_back(self, old: Checkpoint, head: Checkpoint, state: State) -> bool:
        """Whether ``old`` contains this state, and the way from ``head`` to here is a round of the loop there.

        Sound by induction over rounds: whatever can happen from here is examined from ``old``. But ``old`` was, or is
        to be, examined only up to where ways come back to the head, so nothing may be left out of the comparison
        (`WITHIN`); and until all ways from the head were followed, nobody knows what matters of the states on the way
        here, so they too are compared that way (`Checkpoint.open_loop`). What makes the head's loop end (an iterator, a
        helper that calls back, a budget) must be the same one, not another of its kind that each round makes anew.
        """
        if not self._same_budget(head, state) or not states_equal(self.program, old.slot, old.state, state, WITHIN):
            return False
        head.backs.append((old, state))
        checkpoint = state.parent
        while checkpoint is not None:
            loop = checkpoint.open_loop
            if loop is None or loop.depth > head.depth:
                checkpoint.loop = head
            if checkpoint is head:
                break
            checkpoint = checkpoint.parent
        return True

    def _same_budget(self, head: Checkpoint, state: State) -> bool:
        index = len(head.state.frames) - 1
        if len(state.frames) <= index:
            return False
        a, b = head.state.frames[index], state.frames[index]
        kind = self.program.ops[head.slot][0]
        if kind == MAY_GOTO:
            return a.id == b.id  # each call of the function has its own
        if kind == CALL_KFUNC:
            place = a.regs[1]
            if not isinstance(place, Pointer) or not place.var.is_const:
                return False
            at = place.off + place.var.smin
            x, y = (s.frames[place.frame].stack.get(at) for s in (head.state, state))
            return x is not None and y is not None and x.info is not None and y.info is not None and (
                x.info.id == y.info.id)
        return a.is_async or a.callback is b.callback  # (what a timer starts is a run of its own)

    def _loop_done(self, head: Checkpoint) -> None:
        """All ways from a loop's head were followed: what mattered from a covering state on matters for those that it
        covered, over all rounds."""
        outer = head.open_loop
        if outer is not None:
            outer.backs += head.backs
        else:
            changed = True
            while changed:
                changed = False
                for old, state in head.backs:
                    changed |= self._propagate(old.state, state)
        head.backs = []

    def _propagate(self, old: State, new: State) -> bool:
        """What mattered from the old state on matters for the one that it covers; whether that was news."""
        news = False
        for a, b in zip(old.frames, new.frames, strict=True):
            for i in range(10):
                x, y = a.regs[i], b.regs[i]
                if isinstance(x, Scalar) and x.precise and isinstance(y, Scalar) and not y.precise:
                    mark_precise(y)
                    news = True
            for at, slot in a.stack.items():
                if slot.read:
                    other = b.stack.get(at)
                    if other is not None:
                        if not other.read:
                            other.mark_read()
                            news = True
                        x, y = slot.value, other.value
                        if isinstance(x, Scalar) and x.precise and isinstance(y, Scalar) and not y.precise:
                            mark_precise(y)
                            news = True
        return news

    def _path_ends(self) -> None:
        checkpoint = self.state.parent
        while checkpoint is not None:
            checkpoint.branches -= 1
            if checkpoint.branches:
                return
            # All ways from there were followed: from now on it may cover others.
            if checkpoint.backs:
                self._loop_done(checkpoint)
            if not checkpoint.proven:
                self.active[checkpoint.slot].remove(checkpoint)
            self.explored.setdefault(checkpoint.slot, []).append(checkpoint)
            checkpoint = checkpoint.parent
