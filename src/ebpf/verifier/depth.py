"""Stack of functions that call each other: at most 512 bytes together, 8 frames, no recursion.

Every chain of calls in the program's text is looked at, also those that no path takes: that is an upper bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier.program import CALL_LOCAL, WIDE
from ebpf.verifier.ranges import M32, signed32
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.state import MAX_FRAMES, STACK_BYTES

if TYPE_CHECKING:
    from ebpf.verifier.program import Program

_TAIL_CALL_LIMIT = 256


def check_depth(program: Program, used: list[int], tail_callers: set[int]) -> int:
    """The greatest stack, in bytes, of any chain of calls; raises `Refuse` if it is too much. ``used``: bytes of each
    function."""
    callees: dict[int, list[tuple[int, int, bool]]] = {s.index: [] for s in program.subprogs}
    for at, insn in program.insns.items():
        kind = program.ops[at][0]
        if kind == CALL_LOCAL:
            target = at + 1 + insn.imm
        elif kind == WIDE and insn.src == 4:
            target = at + 1 + signed32(insn.imm & M32)
        else:
            continue
        callees[program.subprog_of(at).index].append((program.subprog_at[target].index, at, kind == CALL_LOCAL))
    deepest = 0
    # Depth first over chains; a callback that a wide load names is taken as called from there.
    best: dict[tuple[int, int], int] = {}
    stack: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, -1, ())]
    while stack:
        index, below, at, chain = stack.pop()
        if index in chain:
            raise Refuse(
                "V0403",
                f"`{program.subprogs[index].name}` calls itself (through {len(chain)} frames)",
                row="frames",
                slot=at,
            )
        if len(chain) >= MAX_FRAMES:
            raise Refuse("V0403", f"functions call each other more than {MAX_FRAMES} deep", row="frames", slot=at)
        total = below + max(32, (used[index] + 31) // 32 * 32)
        if total > STACK_BYTES:
            raise Refuse(
                "V0403",
                f"{len(chain) + 1} functions that call each other use {total} bytes of stack",
                row="stack-size",
                slot=max(at, 0),
                size=total,
            )
        if chain and index in tail_callers and below >= _TAIL_CALL_LIMIT:
            raise Refuse(
                "V0403",
                f"a tail call from a function that is called with {below} bytes of stack in use",
                row="stack-size",
                slot=at,
                size=below,
            )
        deepest = max(deepest, total)
        # The same function at the same depth with no more stack below it was looked at already.
        if best.get((index, len(chain)), -1) >= below and not _recursive(program, callees):
            continue
        best[index, len(chain)] = below
        stack += [(callee, total, slot, (*chain, index)) for callee, slot, _ in callees[index]]
    return deepest


def _recursive(program: Program, callees: dict[int, list[tuple[int, int, bool]]]) -> bool:
    """Whether the call graph has a circle."""
    state: dict[int, int] = {}

    def visit(index: int) -> bool:
        state[index] = 1
        for callee, _, _ in callees[index]:
            if state.get(callee, 0) == 1 or (callee not in state and visit(callee)):
                return True
        state[index] = 2
        return False

    return any(visit(s.index) for s in program.subprogs if s.index not in state)
