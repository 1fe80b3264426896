"""`ebpf.inventory.audit`: what is loaded, whose it is, what it could do, and what to look at first.

Abilities come from the calls in the instructions that the kernel gives back, by the table `ebpf.abi.abilities`. Nothing
that is found here is proof of harm: monitoring tools read memory, firewalls drop packets. What deserves a look first is
what can deceive, and what nobody seems to own.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.abilities import ABILITIES, BY_TYPE
from ebpf.errors import EbpfError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ebpf.kernel.attach.link import LinkInfo
    from ebpf.kernel.programs import ProgramInfo

_CALL = 0x85
_TAIL_CALL = 12  # BPF_FUNC_tail_call
_TRACING_MODIFY_RETURN = 26  # BPF_MODIFY_RETURN


class Audited(NamedTuple):
    """A program, and what there is to know about it before trusting it.

    ``attention`` orders the list: 0 nothing unusual, up to 9. ``abilities`` and ``remarks`` are phrases.
    ``abilities_known`` is false where the kernel hides the instructions from this user. ``age_s``: seconds since it was
    loaded. ``held_by``: (pid, command) of the processes that hold it or a link of it; ``pins``: paths in bpffs.
    """

    id: int
    name: str
    type: str
    attention: int
    abilities: tuple[str, ...]
    abilities_known: bool
    remarks: tuple[str, ...]
    attached: tuple[str, ...]
    held_by: tuple[tuple[int, str], ...]
    pins: tuple[str, ...]
    owner_uid: int
    age_s: float
    maps: tuple[int, ...]


class Facts(NamedTuple):
    """What the kernel says, as values: everything that `judge` looks at."""

    programs: tuple[ProgramInfo, ...]
    calls: Mapping[int, frozenset[str] | None]  #: program id → names of what it calls; None: hidden
    links: tuple[LinkInfo, ...]
    targets: Mapping[int, str]  #: link id → what it is attached to
    holders: Mapping[tuple[str, int], Iterable[tuple[int, str]]]  #: ("program" or "link", id) → processes
    pins: Mapping[tuple[str, int], tuple[str, ...]]
    deleted: frozenset[int]  #: processes whose executable is no longer there
    now_ns: int  #: since boot


def judge(facts: Facts) -> list[Audited]:
    """The programs, those to look at first in front."""
    links: dict[int, list[LinkInfo]] = {}
    for link in facts.links:
        links.setdefault(link.prog_id, []).append(link)
    found = [_judge(program, links.get(program.id, []), facts) for program in facts.programs]
    found.sort(key=lambda f: (-f.attention, f.id))
    return found


def _judge(program: ProgramInfo, links: list[LinkInfo], facts: Facts) -> Audited:
    calls = facts.calls.get(program.id)
    abilities = {a.name: a.weight for a in ABILITIES if calls is not None and not calls.isdisjoint(a.calls)}
    by_type = BY_TYPE.get(program.type_name)
    if by_type is not None:
        abilities.setdefault(by_type[1], by_type[0])
    if any(link.details.get("attach_type") == _TRACING_MODIFY_RETURN for link in links):
        abilities.setdefault("overrides returns", 3)
    keys = [("program", program.id), *(("link", link.id) for link in links)]
    held_by = tuple(dict.fromkeys(holder for key in keys for holder in facts.holders.get(key, ())))
    pins = tuple(path for key in keys for path in facts.pins.get(key, ()))
    remarks = []
    if not held_by and not pins:
        remarks.append("no process that this user can see holds it and it is pinned nowhere: something in the kernel "
                       "keeps it (a tc filter, XDP, a cgroup, a program array, another program), or a process of "
                       "another namespace")
    gone = [f"{command}({pid})" for pid, command in held_by if pid in facts.deleted]
    if gone:
        remarks.append(f"{', '.join(gone)}: the executable of this process has been deleted or replaced")
    if calls is None:
        remarks.append("the kernel hides its instructions from this user: what it calls is not known "
                       "(needs CAP_SYS_ADMIN, and addresses: kernel.kptr_restrict)")
    attention = max(abilities.values(), default=0) * 2
    attention += (not held_by and not pins) * (2 if abilities else 1) + bool(gone)
    return Audited(program.id, program.name, program.type_name, min(attention, 9),
                   tuple(sorted(abilities, key=lambda a: -abilities[a])), calls is not None, tuple(remarks),
                   tuple(f"{link.type} {facts.targets.get(link.id, '')}".rstrip() for link in links), held_by, pins,
                   program.created_by_uid, max(0.0, (facts.now_ns - program.load_time_ns) / 1e9), program.map_ids)


def read_facts() -> Facts:
    """The running kernel's; needs CAP_SYS_ADMIN, as listing programs does. Raises `PrivilegeError`."""
    from ebpf.kernel.pins import pinned
    from ebpf.session.inventory import inventory

    programs = tuple(inventory.programs())
    links = tuple(inventory.links())
    holders = inventory.holders(but_us=True)
    pids = {pid for held in holders.values() for pid, _ in held}
    return Facts(programs, {p.id: _calls(p.id) for p in programs}, links,
                 {link.id: inventory.link_target(link) for link in links}, holders, pinned(),
                 frozenset(pid for pid in pids if _is_deleted(pid)), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _calls(program_id: int) -> frozenset[str] | None:
    """The names of the helpers and kernel functions that a program calls; None where the kernel hides them."""
    from ebpf.session.inventory import inventory

    try:
        with inventory.program(program_id) as program:
            code = program.xlated()
    except EbpfError:  # unloaded meanwhile
        return frozenset()
    if not code:
        return None
    names = called_functions(code)
    return frozenset(names.values()) if names is not None else None


def called_functions(code: bytes) -> dict[int, str] | None:
    """Slot → name of the function that is called there, of instructions as the kernel gives them back.

    A helper's number has become the distance of its function from ``__bpf_call_base`` there, a kernel function's
    likewise. None where this user may not see addresses.
    """
    from ebpf.isa import iter_slots
    from ebpf.isa.codec import decode
    from ebpf.session.host import host

    names: dict[int, str] = {}
    base = None
    for slot, insn in iter_slots(decode(code, translated=True)):
        if insn.opcode != _CALL or insn.src not in (0, 2):
            continue
        if insn.src == 0 and insn.imm == _TAIL_CALL:  # no function: an instruction of its own, shown as what it was
            names[slot] = "bpf_tail_call"
            continue
        if base is None:
            base = host.kernel_address("__bpf_call_base") or 0
            if not base:
                return None
        function = host.kernel_symbol((base + insn.imm) & 0xFFFFFFFFFFFFFFFF)
        if function is not None and function[1] == 0:
            names[slot] = function[0]
    return names


def _is_deleted(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False
