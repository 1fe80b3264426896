"""Loops with a proven bound, accepted without following every round.

When a loop has gone round often, an *invariant* is guessed: a state H at its head that contains the present one.
Every way inside the loop is then explored from H. If every path that comes back to the head is contained in H, then by
induction over rounds no run can be in a state there that was not explored; the states that leave the loop are followed
like any others, so no run is in one behind it that was not: that is safety. The guess starts from what two rounds had
in common and grows (bounds jump to constants that the loop compares with) until it holds or something in the loop is
refused; then the loop is followed round by round as before. If something behind the loop is refused, the verdict is
found again without guesses (`verdict.verify_program`), so that a guess that was too wide costs time and nothing else.

That the loop ends needs a *ranking*: some place (register or stack slot) holds a number v at the head, and on every
way back v + d with one sign of d, where no addition wrapped (`arithmetic` keeps ``base`` and ``delta``). Since what
comes back is contained in H, v moves strictly in one direction between H's bounds: the number of rounds is at most
their distance over the smallest d. Of loops within loops some ways back leave v as it is: then another place must
rank those, and so on (a lexicographic order); the bounds multiply.

Compilers walk arrays with a pointer beside the counter that is compared: nothing bounds the pointer but its distance
from the counter. Where both moved by the same between two rounds, the guess says "pointer = counter + constant" (a
*link*): inside a round what is learnt of the counter is then known of the pointer, and a path that comes back must have
moved both by the same again, or the guess was wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier import ranges
from ebpf.verifier.equivalence import EQUAL, WITHIN, states_equal
from ebpf.verifier.program import JUMP_IF
from ebpf.verifier.ranges import M64, S64_MAX, S64_MIN, UNKNOWN, Range
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import Checkpoint, Slot, State
from ebpf.verifier.values import Pointer, Scalar, mark_precise

if TYPE_CHECKING:
    from ebpf.verifier.explore import Explorer

FIRST_ATTEMPT = 64  # rounds that are followed one by one before anything is guessed
MAX_ROUNDS = 1 << 32
_GROWTHS = 24
_ATTEMPTS = 2  # of one loop that fail: each costs as much as following some rounds

# A place that may hold a number: frame, and register (>= 0) or stack offset (< 0).
Place = tuple[int, int]


class Grows(Exception):
    """A path came back to the head in a state that the invariant does not contain."""

    def __init__(self, invariant: Invariant, state: State, broken: bool = False) -> None:
        super().__init__()
        self.invariant = invariant
        self.state = state
        self.broken = broken  # a link does not hold


class Invariant:
    """The guess for one loop head; ``arrivals`` are the changes of each place (``None``: unknown) on the ways back."""

    __slots__ = ("arrivals", "bases", "links", "slot", "state")

    def __init__(self, slot: int, state: State, links: dict[int, int]) -> None:
        self.links = links  # register of a pointer → register of the counter, both of the innermost function
        self.slot = slot
        self.state = state
        self.bases: dict[Place, int] = {}
        self.arrivals: set[tuple[int | None, ...]] = set()


def same_frames(a: State, b: State) -> bool:
    """Whether both are in the same function, called the same way."""
    return len(a.frames) == len(b.frames) and all(
        f.callsite == g.callsite and f.subprog == g.subprog for f, g in zip(a.frames, b.frames, strict=True)
    )


def arrive(x: Explorer, invariant: Invariant, state: State) -> None:
    """A path is back at the head: inside the invariant, or `Grows`. Notes by how much each place has changed."""
    if invariant.links:
        state = _unlinked(invariant, state)
    if not states_equal(x.program, invariant.slot, invariant.state, state, WITHIN):
        raise Grows(invariant, state)
    # That it is contained was the condition: what is covered by an earlier state on the way here must be contained too.
    _rely_on(state, invariant.state)
    changes: list[int | None] = []
    for place, base in invariant.bases.items():
        value = _at(state, place)
        changes.append(value.delta if isinstance(value, Scalar) and value.base == base else None)
    invariant.arrivals.add(tuple(changes))


def attempt(x: Explorer, slot: int, earlier: State) -> bool:
    """Try to prove the loop at ``slot`` from the present state on; ``earlier`` is a state of an earlier round."""
    state = x.state
    if not same_frames(earlier, state) or len(earlier.refs) != len(state.refs):
        return False
    guess = _widened(x, earlier, state, ())
    if guess is None:
        return False
    links = _links(earlier, state, x.program.live[slot])
    _link(guess, state, links)
    thresholds = _thresholds(x, slot)
    saved = (x.pending, x.explored, x.active, x.state, x.regs, x.slot, x.track_bases, dict(x.invariants))
    around = (x.body, x.body_depth, x.exits)
    proven: tuple[Invariant, list[tuple[int, State]]] | None = None
    outside = x.extra_insns
    x.loop_failures[slot] = x.loop_failures.get(slot, 0) + 1
    if x.loop_failures[slot] > _ATTEMPTS:
        return False
    failures, rounds_before = dict(x.loop_failures), dict(x.rounds)
    try:
        for _ in range(_GROWTHS):
            invariant = Invariant(slot, guess, links)
            x.extra_insns = outside
            before = x.insns
            try:
                _explore(x, invariant)
            except Grows as growth:
                if growth.invariant is not invariant:
                    raise  # of a loop around this one: that attempt goes on (what follows here is undone below)
                x.pending, x.explored, x.active, x.state, x.regs, x.slot, x.track_bases = saved[:7]
                x.invariants = dict(saved[7])
                if growth.broken:
                    links = {}
                    guess = _widened(x, earlier, state, ()) or guess
                    continue
                grown = _widened(x, guess, growth.state, thresholds)
                if grown is None:
                    break  # they differ in more than numbers
                _link(grown, guess, links)
                if states_equal(x.program, slot, guess, grown, EQUAL):
                    break
                guess = grown
                continue
            rounds = _rounds(invariant)
            if rounds is None or rounds > MAX_ROUNDS:
                break
            x.extra_insns += rounds * max(x.insns - before, 1)
            x.loop_failures[slot] = 0
            proven = invariant, x.exits
            break
    except Refuse:
        pass
    finally:
        x.pending, x.explored, x.active, x.state, x.regs, x.slot, x.track_bases, x.invariants = saved
        x.body, x.body_depth, x.exits = around
    if proven is None:
        x.extra_insns = outside
        # What failed inside a guess for this loop says nothing about the loops in it.
        x.loop_failures, x.rounds = {**failures, slot: x.loop_failures[slot]}, {**rounds_before, slot: x.rounds[slot]}
        return False
    _rely_on(state, proven[0].state)
    _go_on(x, state, *proven)
    x.proved = True
    return True


def _go_on(x: Explorer, state: State, invariant: Invariant, exits: list[tuple[int, State]]) -> None:
    """The ways out of a proven loop are put aside, to be followed as any others.

    Later paths that the invariant contains are covered once these were followed; but of links a comparison of states
    knows nothing.
    """
    parent = state.parent
    if not invariant.links:
        _rely_on(invariant.state, invariant.state)
        done = Checkpoint(invariant.slot, invariant.state, parent)
        done.branches = len(exits)
        done.proven = True
        if not exits:
            x.explored.setdefault(invariant.slot, []).append(done)
            return
        if parent is not None:
            parent.branches += 1
        parent = done
    elif parent is not None:
        parent.branches += len(exits)
    still = {place for i, place in enumerate(invariant.bases) if all(a[i] == 0 for a in invariant.arrivals)}
    for slot, leaving in exits:
        _forget_bases(invariant, state, leaving, still)
        leaving.parent = parent
        x.pending.append((slot, leaving))


def _forget_bases(invariant: Invariant, before: State, state: State, still: set[Place]) -> None:
    """Of a state that leaves the loop: a number that no round changes is the same relative to loops around this one as
    it was before; the others are related to nothing."""
    kept: dict[int, tuple[int, int]] = {}
    for place in still:
        held = _at(before, place)
        if isinstance(held, Scalar) and held.base:
            kept[invariant.bases[place]] = held.base, held.delta
    made: dict[int, Scalar] = {}

    def renewed(value: Scalar) -> Scalar:
        new = made.get(id(value))
        if new is None:
            new = made[id(value)] = Scalar(value.range, (value,))
            base, delta = kept.get(value.base, (0, 0))
            new.base, new.delta = base, delta + value.delta if base else 0
        return new

    for frame in state.frames:
        for r in range(10):
            value = frame.regs[r]
            if isinstance(value, Scalar) and value.base:
                frame.regs[r] = renewed(value)
            elif isinstance(value, Pointer) and value.link:
                frame.regs[r] = value.but(link=0)
        for at, slot in frame.stack.items():
            if isinstance(slot.value, Scalar) and slot.value.base:
                frame.stack[at] = Slot(slot.types, renewed(slot.value), slot, slot.info)
            elif isinstance(slot.value, Pointer) and slot.value.link:
                frame.stack[at] = Slot(slot.types, slot.value.but(link=0), slot, slot.info)


def _explore(x: Explorer, invariant: Invariant) -> None:
    """Follow all paths from the invariant; those that come back end there (`arrive`)."""
    start = invariant.state.copy()
    start.parent = None
    for index, frame in enumerate(start.frames):
        for r in range(10):
            value = frame.regs[r]
            if isinstance(value, Scalar) and index == len(start.frames) - 1:
                frame.regs[r] = _based(x, invariant, (index, r), value)
        for at, slot in frame.stack.items():
            if isinstance(slot.value, Scalar):
                fresh = Slot(slot.types, _based(x, invariant, (index, at), slot.value), slot, slot.info)
                frame.stack[at] = fresh
    regs = start.frames[-1].regs
    for register, counter in invariant.links.items():
        pointer, value = regs[register], regs[counter]
        assert isinstance(pointer, Pointer) and isinstance(value, Scalar)
        regs[register] = pointer.but(link=value.base)
    x.pending, x.explored, x.active = [], {}, {}
    x.body, x.body_depth, x.exits = x.program.loop_body(invariant.slot), len(start.frames), []
    x.track_bases = True
    x.invariants[invariant.slot] = invariant
    x.follow_all(invariant.slot, start)


def _links(earlier: State, state: State, live: int) -> dict[int, int]:
    """Pointers that moved by a constant between two rounds, each with a number that moved by the same; of registers
    that are read later."""
    before, now = earlier.frames[-1].regs, state.frames[-1].regs
    steps: dict[int, int] = {}
    registers = [r for r in range(10) if live >> r & 1]
    for register in registers:
        p, q = before[register], now[register]
        if isinstance(p, Scalar) and isinstance(q, Scalar) and p.range.is_const and q.range.is_const:
            steps.setdefault(q.range.smin - p.range.smin, register)
    out: dict[int, int] = {}
    for register in registers:
        p, q = before[register], now[register]
        if isinstance(p, Pointer) and isinstance(q, Pointer) and p.kind == q.kind and p.off != q.off:
            counter = steps.get(q.off - p.off)
            if counter is not None and p.var.is_const and q.var.is_const and p.var.umin == q.var.umin:
                out[register] = counter
    return out


def _link(guess: State, exact: State, links: dict[int, int]) -> None:
    """The guess's pointers as "counter plus constant"; ``exact``: a state in which that holds."""
    regs, known = guess.frames[-1].regs, exact.frames[-1].regs
    for register, counter in links.items():
        pointer, value, wide = known[register], known[counter], regs[counter]
        assert isinstance(pointer, Pointer) and isinstance(value, Scalar) and isinstance(wide, Scalar)
        constant = pointer.off + pointer.var.smin - value.range.smin
        regs[register] = pointer.but(off=constant, var=wide.range)


def _unlinked(invariant: Invariant, state: State) -> State:
    """The state of a path that came back, its pointers again as "counter plus constant". Raises `Grows` if one is not:
    the pointer's offset and the counter must have moved by the same from the same number at the round's start."""
    regs, held = state.frames[-1].regs, invariant.state.frames[-1].regs
    out: State | None = None
    for register, counter in invariant.links.items():
        pointer, value, at_head = regs[register], regs[counter], held[register]
        base = invariant.bases.get((len(state.frames) - 1, counter))
        if not (
            isinstance(pointer, Pointer)
            and isinstance(value, Scalar)
            and isinstance(at_head, Pointer)
            and base
            and pointer.link == value.base == base
            and pointer.off - at_head.off == value.delta
        ):
            raise Grows(invariant, state, broken=True)
        out = out or state.copy()
        out.frames[-1].regs[register] = pointer.but(off=at_head.off, var=value.range, link=0)
    return out or state


def _based(x: Explorer, invariant: Invariant, place: Place, value: Scalar) -> Scalar:
    new = Scalar(value.range, (value,))
    new.base = invariant.bases[place] = x.new_id()
    return new


def _rounds(invariant: Invariant) -> int | None:
    """The most rounds there can be; ``None`` if the ways back cannot be ranked."""
    places = list(invariant.bases)
    left = set(invariant.arrivals)
    rounds = 1
    while left:
        for index, place in enumerate(places):
            moves = [a[index] for a in left]
            if any(m is None for m in moves):
                continue
            steps = {m for m in moves if m}
            if steps and (min(steps) > 0 or max(steps) < 0):
                value = _at(invariant.state, place)
                assert isinstance(value, Scalar)
                least = min(abs(s) for s in steps)
                rounds *= (value.range.smax - value.range.smin) // least + 1
                left = {a for a in left if not a[index]}
                break
        else:
            return None
    return rounds


def _at(state: State, place: Place) -> object:
    frame = state.frames[place[0]]
    if place[1] >= 0:
        return frame.regs[place[1]]
    slot = frame.stack.get(place[1])
    return slot.value if slot is not None else None


def _thresholds(x: Explorer, slot: int) -> tuple[int, ...]:
    """Constants that the function compares with, and their neighbours: where a growing bound may stop."""
    sub = x.program.subprog_of(slot)
    found = {0, 1}
    for at in range(sub.start, sub.end):
        kind, _, _, _, imm, _ = x.program.ops[at]
        if kind == JUMP_IF:
            found |= {imm - 1, imm, imm + 1}
    return tuple(sorted(found))


def _widened(x: Explorer, old: State, new: State, thresholds: tuple[int, ...]) -> State | None:
    """A state that contains both; ``None`` where they differ in more than numbers."""
    out = new.copy()
    for a, b, c in zip(old.frames, new.frames, out.frames, strict=True):
        for r in range(10):
            p, q = a.regs[r], b.regs[r]
            if isinstance(p, Scalar) and isinstance(q, Scalar):
                c.regs[r] = _hull(p, q, thresholds)
        for at, slot in b.stack.items():
            other = a.stack.get(at)
            if other is None:
                continue
            p, q = other.value, slot.value
            if isinstance(p, Scalar) and isinstance(q, Scalar) and other.types == slot.types:
                c.stack[at] = Slot(slot.types, _hull(p, q, thresholds), slot, slot.info)
    return out


def _hull(a: Scalar, b: Scalar, thresholds: tuple[int, ...]) -> Scalar:
    if ranges.includes(a.range, b.range):
        return Scalar(a.range, (a, b))
    if not thresholds and not a.precise and not b.precise:
        return Scalar(UNKNOWN, (a, b))  # a sum, most likely: nothing has depended on it so far
    both = ranges.union(a.range, b.range)
    if not thresholds:
        return Scalar(_between(both.smin, both.smax, both), (a, b))
    low, high = a.range.smin, a.range.smax
    if b.range.smin < low:
        low = max((t for t in thresholds if t <= b.range.smin), default=S64_MIN)
    if b.range.smax > high:
        high = min((t for t in thresholds if t >= b.range.smax), default=S64_MAX)
    return Scalar(_between(low, high, both), (a, b))


def _between(low: int, high: int, both: Range) -> Range:
    """Signed bounds, and the bits that all members share."""
    keep = both.tm & -both.tm if both.tm else 1  # the lowest unknown bit: below it all members are alike
    mask = keep - 1
    made = ranges.make(0, M64, low, high, 0, ranges.M32, ranges.S32_MIN, ranges.S32_MAX, both.tv & mask, M64 & ~mask)
    return made if made is not None else UNKNOWN


def _rely_on(state: State, guess: State) -> None:
    """The proof holds for states inside the guess: what it says of the present state's values is relied on."""
    for frame, wide in zip(state.frames, guess.frames, strict=True):
        for r in range(10):
            value, other = frame.regs[r], wide.regs[r]
            if isinstance(value, Scalar) and isinstance(other, Scalar) and other.range is not UNKNOWN:
                mark_precise(value)
        for at, slot in frame.stack.items():
            slot.mark_read()
            held = wide.stack.get(at)
            if (
                isinstance(slot.value, Scalar)
                and held is not None
                and isinstance(held.value, Scalar)
                and held.value.range is not UNKNOWN
            ):
                mark_precise(slot.value)
