"""Instructions → text, in the notation of the kernel's verifier log."""

from __future__ import annotations

import re

from ebpf.isa.codec import decode, form_of, iter_slots
from ebpf.isa.insn import Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ebpf.isa.forms import Form


def helper_name(number: int) -> str | None:
    """The helper function with this number, such as ``bpf_map_lookup_elem`` for 1, if it has one."""
    return _helpers().get(number)


_names: dict[int, str] | None = None


def _helpers() -> dict[int, str]:
    global _names
    if _names is None:
        from ebpf.abi.helpers import HELPERS_BY_ID

        _names = {number: helper.name for number, helper in HELPERS_BY_ID.items()}
    return _names


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (value >> 31 << 32)


def _kfunc_fd(insn: Insn) -> str:
    return f"[{insn.off}]" if insn.off else ""


#: operand of a template → (printf conversion, how to get its value)
OPERANDS: dict[str, tuple[str, Callable[[Insn], object]]] = {
    "dst": ("%d", lambda insn: insn.dst),
    "src": ("%d", lambda insn: insn.src),
    "off": ("%+d", lambda insn: insn.off),
    "imm": ("%d", lambda insn: insn.imm),
    "uimm": ("0x%x", lambda insn: insn.imm & 0xFFFFFFFF),
    "rel": ("%+d", lambda insn: _signed(insn.imm)),
    "wide": ("0x%x", lambda insn: insn.imm),
    "lo": ("%d", lambda insn: _signed(insn.imm)),
    "hi": ("%d", lambda insn: _signed(insn.imm >> 32)),
    "to": ("%d", lambda insn: insn.imm >> 16 & 0xFFFF),
    "frm": ("%d", lambda insn: insn.imm & 0xFFFF),
    "helper": ("%s", lambda insn: helper_name(insn.imm) or "unknown"),
    "fd_idx": ("%s", _kfunc_fd),
}

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_compiled: dict[int, tuple[str, tuple[Callable[[Insn], object], ...]]] = {}


def format_insn(insn: Insn) -> str:
    """``insn`` as the kernel's verifier prints it, without slot number and opcode: ``r1 = *(u64 *)(r2 +8)``.

    Raises `InsnError` if it is no valid instruction.
    """
    form = form_of(insn)
    pattern, getters = _compiled.get(id(form)) or _compile(form)
    return pattern % tuple([get(insn) for get in getters])


def _compile(form: Form) -> tuple[str, tuple[Callable[[Insn], object], ...]]:
    names = _PLACEHOLDER.findall(form.template)
    escaped = form.template.replace("%", "%%")
    compiled = (_PLACEHOLDER.sub(lambda m: OPERANDS[m[1]][0], escaped), tuple(OPERANDS[n][1] for n in names))
    _compiled[id(form)] = compiled  # forms live as long as the module does, so ids are stable
    return compiled


def disassemble(code: bytes | bytearray | memoryview | Iterable[Insn], *,
                translated: bool = False) -> Iterator[tuple[int, Insn, str]]:
    """Each instruction as (slot, instruction, text). The texts, joined by newlines, assemble to the same bytes."""
    insns = decode(code, translated=translated) if isinstance(code, bytes | bytearray | memoryview) else code
    for slot, insn in iter_slots(insns):
        yield slot, insn, format_insn(insn)
