"""`link`: a program and the subprograms it needs, as one run of instructions.

The kernel takes a program whole: the main function first, every function that it calls (or takes the address of) behind
it, calls as distances. Functions follow in the order in which they are first referred to, depth first. What only the
loader knows stays open: `Linked.relocations`.
"""

from __future__ import annotations

from array import array
from struct import pack_into
from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import RelocationError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ebpf.btf.ext import CoreRelos, FuncInfos, LineInfos
    from ebpf.object.spec import Object, ProgramSpec, RelocationKind

_PSEUDO_CALL, _PSEUDO_FUNC = 1, 4


class Unresolved(NamedTuple):
    """An instruction for the loader to complete: ``kind``, ``symbol`` and ``addend`` of `Relocation`, at ``slot``."""

    slot: int
    kind: RelocationKind
    symbol: str
    addend: int


class Linked(NamedTuple):
    """A whole program. ``insn_off`` in the three tables, and ``slot``, count 8-byte slots, as bpf(2) does.

    ``functions`` are (slot, name) of each function, the program itself first. ``func_info`` and ``line_info`` are
    empty if any function lacks them: the kernel wants all or none.
    """

    code: bytes
    relocations: tuple[Unresolved, ...]
    func_info: FuncInfos | tuple[()]
    line_info: LineInfos | tuple[()]
    core_relos: CoreRelos | tuple[()]
    functions: tuple[tuple[int, str], ...]

    def func_info_bytes(self) -> bytes:
        """``struct bpf_func_info[]``: records of 8 bytes."""
        return self.func_info.words.tobytes() if self.func_info else b""

    def line_info_bytes(self) -> bytes:
        """``struct bpf_line_info[]``: records of 16 bytes; its strings are those of the object's BTF."""
        return self.line_info.words.tobytes() if self.line_info else b""

    def core_relos_by_bytes(self) -> CoreRelos | tuple[()]:
        """`core_relos` with ``insn_off`` in bytes, as `ebpf.btf.relocate` wants them."""
        return self.core_relos.with_offsets([8 * at for at in self.core_relos.offsets]) if self.core_relos else ()

    def function_of(self, slot: int) -> str:
        """The name of the function that the instruction at ``slot`` belongs to."""
        name = self.functions[0][1]
        for start, candidate in self.functions:
            if start > slot:
                break
            name = candidate
        return name


def link(obj: Object, program_name: str) -> Linked:
    """The program ``program_name`` (or a subprogram, to be run by itself) with all that it calls.

    Raises `UnknownName` if there is none, `RelocationError` if it refers to a symbol that is defined nowhere.
    """
    functions = obj.every_function
    main = functions.get(program_name)
    if main is None:
        from ebpf.diagnostics import did_you_mean

        near = did_you_mean(program_name, functions)
        raise UnknownName(f"{obj.name}: there is no program `{program_name}`", name=program_name, similar=near,
                          helps=[f"did you mean `{near[0]}`?"] if near else
                          [f"its programs are {', '.join(obj.programs)}"] if obj.programs else [])
    parts, starts = _collect(main, functions)
    code = bytearray().join([p.code for p in parts])
    open_: list[Unresolved] = []
    for part in parts:
        base = starts[part.name]
        for offset, kind, symbol, addend in part.relocations:
            slot = base + offset // 8
            if kind == "call":
                code[slot * 8 + 1] = code[slot * 8 + 1] & 15 | _PSEUDO_CALL << 4
                pack_into("<i", code, slot * 8 + 4, starts[symbol] - slot - 1)
            elif kind == "func":
                code[slot * 8 + 1] = code[slot * 8 + 1] & 15 | _PSEUDO_FUNC << 4
                pack_into("<i4xi", code, slot * 8 + 4, starts[symbol] - slot - 1, 0)
            elif kind == "undefined":
                raise RelocationError(
                    f"`{part.name}` uses `{symbol}`, neither defined in {obj.name} nor declared as the kernel's",
                    helps=(f"define it, or declare `extern … {symbol} __ksym;` (with debug information: `-g`)",))
            else:
                open_.append(Unresolved(slot, kind, symbol, addend))
    return Linked(bytes(code), tuple(open_), _moved(parts, starts, [p.func_infos for p in parts], required=True),
                  _moved(parts, starts, [p.line_infos for p in parts], required=True),
                  _moved(parts, starts, [p.core_relos for p in parts], required=False),
                  tuple([(starts[p.name], p.name) for p in parts]))


def _collect(main: ProgramSpec, functions: Mapping[str, ProgramSpec]) -> tuple[list[ProgramSpec], dict[str, int]]:
    """The functions to be laid out, in order, and the slot at which each starts."""
    parts, starts = [main], {main.name: 0}
    end = len(main.code) // 8
    # Depth first, as libbpf does it; a stack because functions may call each other in a circle or a long chain.
    stack = [iter(main.relocations)]
    while stack:
        for _, kind, symbol, _ in stack[-1]:
            if kind in ("call", "func") and symbol not in starts:
                callee = functions[symbol]
                starts[symbol] = end
                end += len(callee.code) // 8
                parts.append(callee)
                stack.append(iter(callee.relocations))
                break
        else:
            stack.pop()
    return parts, starts


def _moved(parts: Sequence[ProgramSpec], starts: dict[str, int], tables: Sequence[Any], *, required: bool) -> Any:
    """The functions' tables behind each other, in slots of the whole."""
    words: array[int] = array("I")
    offsets: list[int] = []
    found = None
    for part, table in zip(parts, tables, strict=True):
        if not table or required and table.first_offset:
            if required:
                return ()
            continue
        found = table
        every, first, last = table.every, table.first, table.last
        away = starts[part.name] - (table.start >> 3)
        words += every[first:last]
        offsets += [(at >> 3) + away for at in every[first:last:table.width]]
    if found is None:
        return ()
    words[::found.width] = array("I", offsets)
    return found.of(words, found.btf)
