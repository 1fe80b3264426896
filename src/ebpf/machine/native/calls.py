"""Calls as LLVM IR: functions of the program, helpers that are native, all others by one call of Python.

`NATIVE` has a row for each helper that native code does itself; a row gives r0's operand, or None where it cannot
(this map, these arguments), and then Python does it. Before Python is called the shared block says "failed"; Python
takes that back when it is done: whatever goes wrong there, native code leaves at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.machine.environment import MAX_LOOPS
from ebpf.machine.native import block
from ebpf.machine.semantics import SIZES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.native.function import Function

_CLOCK_MONOTONIC, _CLOCK_BOOTTIME = 1, 7
_E2BIG, _EINVAL = 7, 22


def call(f: Function, slot: int) -> None:
    """Write the call (or legacy packet load) at ``slot``; r0 afterwards."""
    op, insn = f.ops[slot], f.insns[slot]
    result: str | None = None
    if op == "call_local":
        result = _direct(f, f"@f{slot + 1 + insn.imm}" if slot + 1 + insn.imm else "@entry", slot + 1 + insn.imm == 0)
        f.check_failed()
    elif op == "callx":
        target = f.emit(f"inttoptr i64 {f.value(insn.dst)} to ptr")
        result = f.emit(f"call i64 {target}({_arguments(f)})")
        f.check_failed()
    elif op in ("ld_abs", "ld_ind"):
        result = _packet_load(f, slot)
    elif op == "call_kfunc":
        name = f.unit.program.kfuncs.get(slot, "")
        row = KFUNCS.get(name)
        result = row(f, slot) if row is not None else upcall(f, slot, "kfunc", name=name)
    elif insn.imm == _TAIL_CALL:
        _tail_call(f, slot)
        f.set(0, "0")  # a verifier lets nobody read it
        return
    else:
        native = NATIVE.get(insn.imm)
        if native is not None:
            result = native(f, slot)
        if result is None:
            result = upcall(f, slot, "helper", number=insn.imm)
    if f.unit.loaded(slot):
        f.set_base(slot, f.emit(f"inttoptr i64 {result} to ptr"))
        f.set(0, "0")
    else:
        f.set(0, result)


def _arguments(f: Function) -> str:
    return "ptr %run, " + ", ".join(f"i64 {f.value(n)}" for n in range(1, 6))


def _direct(f: Function, name: str, entry: bool) -> str:
    arguments = _arguments(f)
    if entry:
        first = f.emit(f"inttoptr i64 {f.value(1)} to ptr")
        arguments = arguments.replace(f"i64 {f.value(1)}", f"ptr {first}", 1)
    return f.emit(f"call i64 {name}({arguments})")


def upcall(f: Function, slot: int, kind: str, *, number: int = 0, name: str = "", size: int = 0) -> str:
    """r0 from Python, which gets r1 to r5."""
    from ebpf.machine.native.lifter import Site

    site = f.unit.site(Site(kind, slot, number=number, name=name, size=size))
    arguments = ", ".join(f"i64 {f.value(n)}" for n in range(1, 6))
    f.do("store i64 1, ptr %run")
    result = f.emit(f"call i64 @upcall(i64 {site}, {arguments})")
    f.check_failed()
    return result


def _packet_load(f: Function, slot: int) -> str:
    """A legacy load: the program ends with 0 where the packet is too short (Python gives all ones then)."""
    from ebpf.machine.native.lifter import Site

    insn = f.insns[slot]
    site = f.unit.site(Site("packet", slot, size=SIZES[insn.opcode & 0x18]))
    at = str(insn.imm) if f.ops[slot] == "ld_abs" else f.add(f.value(insn.src), str(insn.imm))
    f.do("store i64 1, ptr %run")
    result = f.emit(f"call i64 @upcall(i64 {site}, i64 {at}, i64 0, i64 0, i64 0, i64 0)")
    f.check_failed()
    short, good, bad = f.emit(f"icmp eq i64 {result}, -1"), f.fresh(), f.fresh()
    f.do(f"br i1 {short}, label %{bad}, label %{good}")
    f.label(bad)
    f.do("ret i64 0")
    f.label(good)
    return result


_TAIL_CALL = 12


def _tail_call(f: Function, slot: int) -> None:
    """Python says where to go on; 0: here."""
    where = upcall(f, slot, "tail")
    stay, away, here = f.emit(f"icmp eq i64 {where}, 0"), f.fresh(), f.fresh()
    f.do(f"br i1 {stay}, label %{here}, label %{away}")
    f.label(away)
    target = f.emit(f"inttoptr i64 {where} to ptr")
    context = f.emit(f"inttoptr i64 {f.value(1)} to ptr")
    result = f.emit(f"call i64 {target}(ptr %run, ptr {context}, i64 0, i64 0, i64 0, i64 0)")
    f.do(f"ret i64 {result}")
    f.label(here)


# ---- helpers that native code does itself ----


def _if_known(f: Function, slot: int, bit: int, native: Callable[[], str], kind: str = "helper") -> str:
    """``native`` where the shared block has what it needs, Python otherwise."""
    known = f.emit(f"load i64, ptr {f.word(block.KNOWN)}")
    has = f.emit(f"and i64 {known}, {bit}")
    is_known, fast, slow, done = f.emit(f"icmp ne i64 {has}, 0"), f.fresh(), f.fresh(), f.fresh()
    arguments = [f.value(n) for n in range(1, 6)]  # known on both ways
    del arguments
    f.do(f"br i1 {is_known}, label %{fast}, label %{slow}")
    f.label(fast)
    quick = native()
    fast_end = _here(f)
    f.do(f"br label %{done}")
    f.label(slow)
    other = upcall(f, slot, kind, number=f.insns[slot].imm)
    slow_end = _here(f)
    f.do(f"br label %{done}")
    f.label(done)
    return f.emit(f"phi i64 [ {quick}, %{fast_end} ], [ {other}, %{slow_end} ]")


def _here(f: Function) -> str:
    """The label of the block that is being written."""
    return next(line for line in reversed(f.lines) if line.endswith(":"))[:-1]


def _clock(number: int) -> Callable[[Function, int], str]:
    def row(f: Function, slot: int) -> str:
        def native() -> str:
            f.emit(f"call i32 @clock_gettime(i32 {number}, ptr %time)")
            seconds = f.emit("load i64, ptr %time")
            at = f.emit("getelementptr i64, ptr %time, i64 1")
            rest, whole = f.emit(f"load i64, ptr {at}"), f.emit(f"mul i64 {seconds}, 1000000000")
            return f.emit(f"add i64 {whole}, {rest}")

        return _if_known(f, slot, block.KNOWN_CLOCK, native)

    return row


def _word(index: int, bit: int) -> Callable[[Function, int], str]:
    def row(f: Function, slot: int) -> str:
        if not bit:
            return f.emit(f"load i64, ptr {f.word(index)}")
        return _if_known(f, slot, bit, lambda: f.emit(f"load i64, ptr {f.word(index)}"))

    return row


def _random(f: Function, slot: int) -> str:
    def native() -> str:  # splitmix64
        at = f.word(block.RANDOM)
        state = f.emit(f"load i64, ptr {at}")
        new = f.emit(f"add i64 {state}, {_signed64(0x9E3779B97F4A7C15)}")
        f.do(f"store i64 {new}, ptr {at}")
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            new = f.emit(f"xor i64 {new}, {f.emit(f'lshr i64 {new}, {shift}')}")
            new = f.emit(f"mul i64 {new}, {_signed64(factor)}")
        return f.emit(f"lshr i64 {new}, 32")

    return _if_known(f, slot, block.KNOWN_RANDOM, native)


def _signed64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


# The maps' runtime: helper → suffix of its function, and how it is declared and called.
_ALL = frozenset(("array", "percpu_array", "hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "lpm_trie"))
_PUSHED = frozenset(("queue", "stack", "bloom"))


def _runtime(f: Function, name: str, result: str, *types: str) -> str:
    declaration = f"declare {result} @{name}({', '.join(types)})"
    f.unit.runtime.setdefault(name, declaration)
    return name


def _map(f: Function, slot: int, kinds: frozenset[str]) -> tuple[str, str] | None:
    """The native map that the call is about: its pointer and kind."""
    name = f.unit.map_name(slot)
    if name is None or f.unit.native[name] not in kinds:
        return None
    if name not in f.unit.maps:
        f.unit.maps.append(name)
    return f'@"m.{name}"', f.unit.native[name]


def _cpu(f: Function) -> str:
    wide = f.emit(f"load i64, ptr {f.word(block.CPU)}")
    return f.emit(f"trunc i64 {wide} to i32")


def _lookup(f: Function, slot: int) -> str | None:
    found = _map(f, slot, _ALL)
    if found is None:
        return None
    map, kind = found
    info = f.unit.verified.maps[slot]
    if kind == "array":
        return _array_lookup(f, info.name, info.max_entries, info.value_size)
    name = _runtime(f, f"ebpf_{kind}_lookup", "i64", "ptr", "ptr", "i32")
    return f.emit(f"call i64 @{name}(ptr {map}, ptr {f.place(2, 0)}, i32 {_cpu(f)})")


def _array_lookup(f: Function, name: str, entries: int, value_size: int) -> str:
    """Of an array everything is known but the address of its first value."""
    index = f.emit(f"zext i32 {f.emit(f'load i32, ptr {f.place(2, 0)}, align 1')} to i64")
    inside = f.emit(f"icmp ult i64 {index}, {entries}")
    at = f.emit(f"mul i64 {index}, {-(-value_size // 8) * 8}")
    place = f.emit(f"getelementptr i8, ptr {f.pointer(('value', name))}, i64 {at}")
    address = f.emit(f"ptrtoint ptr {place} to i64")
    return f.emit(f"select i1 {inside}, i64 {address}, i64 0")


def _lookup_percpu(f: Function, slot: int) -> str | None:
    found = _map(f, slot, frozenset(("percpu_array", "percpu_hash", "lru_percpu_hash")))
    if found is None:
        return None
    name = _runtime(f, f"ebpf_{found[1]}_lookup", "i64", "ptr", "ptr", "i32")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)}, i32 {f.low(3)})")


def _plain(f: Function, slot: int) -> bool:
    """Nothing in the map's values that Python keeps track of."""
    return not any(kind not in ("lock",) for kind, *_ in f.unit.verified.maps[slot].fields.values())


def _update(f: Function, slot: int) -> str | None:
    found = _map(f, slot, _ALL)
    if found is None or not _plain(f, slot):
        return None
    name = _runtime(f, f"ebpf_{found[1]}_update", "i64", "ptr", "ptr", "ptr", "i64", "i32")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)}, ptr {f.place(3, 0)}, i64 {f.value(4)}, "
                  f"i32 {_cpu(f)})")


def _delete(f: Function, slot: int) -> str | None:
    found = _map(f, slot, _ALL)
    if found is None or not _plain(f, slot):
        return None
    name = _runtime(f, f"ebpf_{found[1]}_delete", "i64", "ptr", "ptr")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)})")


def _push(f: Function, slot: int) -> str | None:
    found = _map(f, slot, _PUSHED)
    if found is None:
        return None
    name = _runtime(f, f"ebpf_{found[1]}_push", "i64", "ptr", "ptr", "i64")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)}, i64 {f.value(3)})")


def _take(what: str) -> Callable[[Function, int], str | None]:
    def row(f: Function, slot: int) -> str | None:
        found = _map(f, slot, _PUSHED if what == "peek" else _PUSHED - {"bloom"})
        if found is None:
            return None
        name = _runtime(f, f"ebpf_{found[1]}_{what}", "i64", "ptr", "ptr")
        return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)})")

    return row


def _loop(f: Function, slot: int) -> str:
    """bpf_loop: a loop around the callback, which LLVM may put into it."""
    base = f.bases[2]
    target = f.pointer(base) if base is not None and base[0] == "function" and f.raw(2) == "0" else \
        f.emit(f"inttoptr i64 {f.value(2)} to ptr")
    rounds = f.emit(f"zext i32 {f.low(1)} to i64")
    context, flags = f.value(3), f.value(4)
    bad = f.emit(f"icmp ne i64 {flags}, 0")
    many = f.emit(f"icmp ugt i64 {rounds}, {MAX_LOOPS}")
    error = f.emit(f"select i1 {bad}, i64 {-_EINVAL}, i64 {-_E2BIG}")
    wrong = f.emit(f"or i1 {bad}, {many}")
    none = f.emit(f"icmp eq i64 {rounds}, 0")
    skip = f.emit(f"or i1 {wrong}, {none}")
    first = f.emit(f"select i1 {wrong}, i64 {error}, i64 0")
    before, body, out = f.fresh(), f.fresh(), f.fresh()
    f.do(f"br label %{before}")
    f.label(before)
    f.do(f"br i1 {skip}, label %{out}, label %{body}")
    f.label(body)
    next_name = f"%i{f.fresh()}"
    index = f.fresh()
    # (the back edge comes from the block that check_failed begins)
    place = len(f.lines)
    f.lines.append("")
    ended = f.emit(f"call i64 {target}(ptr %run, i64 %{index}, i64 {context}, i64 0, i64 0, i64 0)")
    f.check_failed()
    f.do(f"{next_name} = add i64 %{index}, 1")
    stop, last = f.emit(f"icmp ne i64 {ended}, 0"), f.emit(f"icmp uge i64 {next_name}, {rounds}")
    finished = f.emit(f"or i1 {stop}, {last}")
    end = _here(f)
    f.do(f"br i1 {finished}, label %{out}, label %{body}")
    f.lines[place] = f"  %{index} = phi i64 [ 0, %{before} ], [ {next_name}, %{end} ]"
    f.label(out)
    f.has_loop = True
    return f.emit(f"phi i64 [ {first}, %{before} ], [ {next_name}, %{end} ]")


def _spin_lock(f: Function, slot: int) -> str:
    """The lock's word is exchanged, as the maps' runtime and Python do it."""
    at, before, wait, have = f.place(1, 0), f.fresh(), f.fresh(), f.fresh()
    f.do(f"br label %{before}")
    f.label(before)
    f.do(f"br label %{wait}")
    f.label(wait)
    old = f.emit(f"atomicrmw xchg ptr {at}, i32 1 acquire, align 4")
    f.do(f"br i1 {f.emit(f'icmp eq i32 {old}, 0')}, label %{have}, label %{wait}")
    f.label(have)
    return "0"


def _spin_unlock(f: Function, slot: int) -> str:
    f.do(f"store atomic i32 0, ptr {f.place(1, 0)} release, align 4")
    return "0"


def _reserve(f: Function, slot: int) -> str | None:
    found = _map(f, slot, frozenset(("ringbuf",)))
    if found is None:
        return None
    name = _runtime(f, "ebpf_ringbuf_reserve", "i64", "ptr", "i64", "i64")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, i64 {f.value(2)}, i64 {f.value(3)})")


def _output(f: Function, slot: int) -> str | None:
    found = _map(f, slot, frozenset(("ringbuf",)))
    if found is None:
        return None
    name = _runtime(f, "ebpf_ringbuf_output", "i64", "ptr", "ptr", "i64", "i64")
    return f.emit(f"call i64 @{name}(ptr {found[0]}, ptr {f.place(2, 0)}, i64 {f.value(3)}, i64 {f.value(4)})")


def _commit(what: str) -> Callable[[Function, int], str | None]:
    def row(f: Function, slot: int) -> str | None:
        if "ringbuf" not in f.unit.native.values():
            return None
        name = _runtime(f, f"ebpf_ringbuf_{what}", "void", "ptr", "i64")
        f.do(f"call void @{name}(ptr {f.place(1, 0)}, i64 {f.value(2)})")
        return "0"

    return row


NATIVE: dict[int, Callable[[Function, int], str | None]] = {
    1: _lookup, 2: _update, 3: _delete, 87: _push, 88: _take("pop"), 89: _take("peek"), 195: _lookup_percpu,
    5: _clock(_CLOCK_MONOTONIC), 125: _clock(_CLOCK_BOOTTIME),
    7: _random, 8: _word(block.CPU, 0),
    14: _word(block.PID_TGID, block.KNOWN_TASK), 15: _word(block.UID_GID, block.KNOWN_TASK),
    93: _spin_lock, 94: _spin_unlock,
    130: _output, 131: _reserve, 132: _commit("submit"), 133: _commit("discard"),
    181: _loop,
}


# ---- kernel functions: see `ebpf.machine.helpers.kfuncs` for what they do ----


def _nothing(f: Function, slot: int) -> str:
    return "0"


def _iter_destroy(f: Function, slot: int) -> str:
    f.do(f"store i64 0, ptr {f.place(1, 0)}, align 1")
    return "0"


def _iter_next(f: Function, slot: int) -> str:
    at = f.place(1, 0)
    end_at = f.emit(f"getelementptr i8, ptr {at}, i64 4")
    now, end = f.emit(f"load i32, ptr {at}, align 1"), f.emit(f"load i32, ptr {end_at}, align 1")
    following = f.emit(f"add i32 {now}, 1")
    done = f.emit(f"icmp sge i32 {following}, {end}")
    kept = f.emit(f"select i1 {done}, i32 0, i32 {following}")
    last = f.emit(f"select i1 {done}, i32 0, i32 {end}")
    f.do(f"store i32 {kept}, ptr {at}, align 1")
    f.do(f"store i32 {last}, ptr {end_at}, align 1")
    address = f.emit(f"ptrtoint ptr {at} to i64")
    return f.emit(f"select i1 {done}, i64 0, i64 {address}")


KFUNCS: dict[str, Callable[[Function, int], str]] = {
    "bpf_iter_num_next": _iter_next, "bpf_iter_num_destroy": _iter_destroy,
    "bpf_rcu_read_lock": _nothing, "bpf_rcu_read_unlock": _nothing,
    "bpf_preempt_disable": _nothing, "bpf_preempt_enable": _nothing,
}
