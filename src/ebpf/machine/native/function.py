"""One function of a program on its way to LLVM IR: blocks, registers, control flow; see `lifter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.machine.native import accesses, block, calls
from ebpf.machine.native.operations import BINARY, CONDITIONS
from ebpf.machine.native.registers import ARG, STACK, UNKNOWN, Rules
from ebpf.machine.semantics import JUMPS

if TYPE_CHECKING:
    from ebpf.isa import Insn
    from ebpf.machine.native.lifter import Unit
    from ebpf.machine.native.registers import Base, Bases

M64 = (1 << 64) - 1


class Function:
    """Slots ``start`` to ``end`` of the unit's program."""

    def __init__(self, unit: Unit, start: int, end: int) -> None:
        self.unit = unit
        self.start = start
        self.end = end
        self.insns = {s: i for s, i in unit.program.insns.items() if start <= s < end and unit.verified.reached[s]}
        self.ops = unit.ops
        self.live = unit.program.live
        self.has_loop = False
        self.is_entry = start == 0
        self.targets = {s: self._target(s, i) for s, i in self.insns.items()}
        self.heads = self._heads()
        self.blocks = self._blocks()
        self.rules = Rules(self.insns, self.ops, unit.loaded, unit.named)
        begin = UNKNOWN if not self.is_entry else (None, ARG, *UNKNOWN[2:])
        self.bases_at: dict[int, Bases] = {}
        if start in self.insns:
            self.bases_at = self.rules.solve(start, begin, self._ways, self.blocks)
        # while a block is written
        self.bases: list[Base] = []
        self.lines: list[str] = []
        self.current: dict[int, str] = {}
        self.base_pointers: dict[Base, str] = {}
        self.dirty: set[int] = set()
        self.cells: set[Base] = set()
        self.count = 0
        self.uses_dead = False

    # ---- control flow ----

    def _target(self, slot: int, insn: Insn) -> int | None:
        """Where the instruction jumps to, if it may."""
        op = self.ops[slot]
        if op in JUMPS or op == "may_goto":
            return slot + 1 + insn.off
        if op == "ja":
            return slot + 1 + (insn.imm if insn.opcode & 7 == 6 else insn.off)
        return None

    def _ways(self, slot: int) -> list[int]:
        """The slots that the instruction at ``slot`` may go on to: what the verifier saw it do."""
        insn, op = self.insns[slot], self.ops[slot]
        target, after = self.targets[slot], slot + insn.slots
        if op == "ja":
            assert target is not None
            return [target]
        if op == "exit":
            return []
        if op in JUMPS:
            assert target is not None
            outcome = self.unit.verified.outcomes[slot]
            return [*([after] if outcome & 1 else ()), *([target] if outcome & 2 else ())]
        return [after] if target is None else [after, target]

    def _heads(self) -> list[int]:
        heads = {self.start}
        for slot, insn in self.insns.items():
            target = self.targets[slot]
            if target is not None:
                ways = self._ways(slot)
                heads.update(ways)
                if target <= slot and target in ways:
                    self.has_loop = True
            elif self.ops[slot] == "exit":
                heads.add(slot + insn.slots)
        return sorted(h for h in heads if h in self.insns)

    def _blocks(self) -> dict[int, list[int]]:
        """The slots of each basic block, by its first."""
        insns, ops, targets, heads = self.insns, self.ops, self.targets, set(self.heads)
        found = {}
        for slot in self.heads:
            slots = found[slot] = [slot]
            while targets[slot] is None and ops[slot] != "exit":
                slot += insns[slot].slots
                if slot not in insns or slot in heads:
                    break
                slots.append(slot)
        return found

    # ---- text ----

    def emit(self, text: str) -> str:
        """A line that defines a value; its name."""
        self.count += 1
        name = f"%t{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def fresh(self) -> str:
        self.count += 1
        return f"x{self.count}"

    # ---- registers ----

    def raw(self, register: int) -> str:
        """The cell of a register: the number, or its offset from its base."""
        if register == 10:
            return str(self.unit.frame_bytes)
        found = self.current.get(register)
        if found is None:
            found = self.current[register] = self.emit(f"load i64, ptr %r{register}")
        return found

    def set(self, register: int, operand: str) -> None:
        self.current[register] = operand
        self.dirty.add(register)

    def pointer(self, base: Base) -> str:
        """A base as a pointer."""
        assert base is not None
        kind = base[0]
        if kind == "stack":
            return "%stack"
        if kind == "arg":
            return "%arg"
        if kind == "function":
            return f"@f{base[1]}"
        if kind == "value":
            name = str(base[1])
            if name not in self.unit.values:
                self.unit.values.append(name)
            return f'@"v.{name}"'
        found = self.base_pointers.get(base)
        if found is None:
            self.cells.add(base)
            found = self.base_pointers[base] = self.emit(f"load ptr, ptr %base{base[1]}")
        return found

    def set_base(self, slot: int, pointer: str) -> None:
        """What the instruction at ``slot`` gave is the base of its register now."""
        base: Base = ("loaded", slot)
        self.cells.add(base)
        self.do(f"store ptr {pointer}, ptr %base{slot}")
        self.base_pointers[base] = pointer

    def place(self, register: int, off: int) -> str:
        """``register + off`` as a pointer."""
        base = self.bases[register]
        raw = self.raw(register)
        if base is None:
            if off:
                raw = self.add(raw, str(off))
            return self.emit(f"inttoptr i64 {raw} to ptr")
        at = self.add(raw, str(off)) if off else raw
        return self.emit(f"getelementptr i8, ptr {self.pointer(base)}, i64 {at}")

    def value(self, register: int) -> str:
        """A register's 64 bits."""
        base = self.bases[register]
        raw = self.raw(register)
        if base is None:
            return raw
        if raw != "0":
            at = self.emit(f"getelementptr i8, ptr {self.pointer(base)}, i64 {raw}")
        else:
            at = self.pointer(base)
        return self.emit(f"ptrtoint ptr {at} to i64")

    def low(self, register: int) -> str:
        """A register's lower 32 bits."""
        return self.emit(f"trunc i64 {self.value(register)} to i32")

    def add(self, a: str, b: str) -> str:
        if _is_number(a) and _is_number(b):
            return _number(int(a) + int(b))
        return self.emit(f"add i64 {a}, {b}")

    def word(self, index: int) -> str:
        """The address of a word of the shared block."""
        return self.emit(f"getelementptr i64, ptr %run, i64 {index}") if index else "%run"

    # ---- the function ----

    def lift(self) -> str:
        """Its text."""
        blocks: list[str] = []
        for head in self.heads:
            if head not in self.bases_at:
                continue  # only by ways that are never taken
            self.lines = []
            self._block(head)
            blocks += [f"b{head}:", *self.lines]
        out = []
        name = f"f{self.start}" if not self.is_entry else "entry"
        linkage = "" if self.is_entry or self.start in self.unit.functions else "internal "
        first = "ptr %arg" if self.is_entry else "i64 %a1"
        out.append(f"define {linkage}i64 @{name}(ptr %run, {first}, i64 %a2, i64 %a3, i64 %a4, i64 %a5) nounwind {{")
        out.append("entry:")
        out += [f"  %r{n} = alloca i64" for n in range(10)]
        out += [f"  %base{base[1]} = alloca ptr" for base in self.cells if base]
        out.append("  store i64 0, ptr %r0")
        out.append(f"  store i64 {'0' if self.is_entry else '%a1'}, ptr %r1")
        out += [f"  store i64 %a{n}, ptr %r{n}" for n in range(2, 6)]
        out += [f"  store i64 0, ptr %r{n}" for n in range(6, 10)]
        text = "\n".join(blocks)
        size = self.unit.frame_bytes
        if "%stack" in text:
            out.append(f"  %stack = alloca [{size} x i8], align 16")
            out.append(f"  call void @llvm.memset.p0.i64(ptr align 16 %stack, i8 0, i64 {size}, i1 false)")
        if "%time" in text:
            out.append("  %time = alloca [2 x i64]")
        if "%budget" in text:
            out.append("  %budget = alloca i64")
            out.append(f"  %whole.at = getelementptr i64, ptr %run, i64 {block.BUDGET}")
            out.append("  %whole = load i64, ptr %whole.at")
            out.append("  store i64 %whole, ptr %budget")
        if not linkage and self.unit.may_fail:
            # Helpers in Python may reach the frames of a program: they must know where these are.
            out += ["  %top.at = getelementptr i64, ptr %run, i64 " + str(block.TOP),
                    "  %top.old = load ptr, ptr %top.at", "  %top.none = icmp eq ptr %top.old, null",
                    "  %top.here = call ptr @llvm.frameaddress.p0(i32 0)",
                    "  %top = select i1 %top.none, ptr %top.here, ptr %top.old", "  store ptr %top, ptr %top.at"]
        if "%stack" in text and self.unit.checked:
            out += self._frame_is_known(size)
        out.append(f"  br label %b{self.start}")
        if self.start not in self.bases_at:
            blocks = [f"b{self.start}:", "  br label %dead"]
            self.uses_dead = True
            text = ""
        out += blocks
        if self.uses_dead:
            out += ["dead:", "  store i64 1, ptr %run", "  ret i64 0"]
        if "%failed" in text:
            out += ["failed:", "  ret i64 0"]
        out.append("}")
        if self.is_entry and 0 in self.unit.functions:
            out += ["define i64 @f0(ptr %run, i64 %a1, i64 %a2, i64 %a3, i64 %a4, i64 %a5) nounwind {",
                    "  %p = inttoptr i64 %a1 to ptr",
                    "  %r = call i64 @entry(ptr %run, ptr %p, i64 %a2, i64 %a3, i64 %a4, i64 %a5)", "  ret i64 %r", "}"]
        return "\n".join(out)

    def _frame_is_known(self, size: int) -> list[str]:
        from ebpf.machine.native.lifter import Site

        site = self.unit.site(Site("frame", self.start, size=size))
        return ["  %frame = ptrtoint ptr %stack to i64",
                f"  call i64 @upcall(i64 {site}, i64 %frame, i64 0, i64 0, i64 0, i64 0)"]

    def _block(self, head: int) -> None:
        self.bases = list(self.bases_at[head])
        self.current = {}
        self.base_pointers = {}
        self.dirty = set()
        slots = self.blocks[head]
        for slot in slots:
            self._instruction(slot)
        last = slots[-1]
        if self.ops[last] != "exit" and self.targets[last] is None:
            self.go(last + self.insns[last].slots)

    def flush(self, live: int) -> None:
        """Registers that changed and that are read later (bits), into their cells."""
        for register in sorted(self.dirty):
            if live >> register & 1:
                self.do(f"store i64 {self.current[register]}, ptr %r{register}")
        self.dirty.clear()

    def go(self, target: int) -> None:
        """On to another block."""
        known = self.bases_at.get(target)
        if known is None:
            self.uses_dead = True
            self.do("br label %dead")
            return
        live = self.live[target]
        self.flush(live)
        for register in range(10):
            if live >> register & 1 and self.bases[register] is not None and known[register] is None:
                self.do(f"store i64 {self.value(register)}, ptr %r{register}")
        self.do(f"br label %b{target}")

    def branch(self, condition: str, target: int, after: int) -> None:
        """Two ways; conversions of registers stand on each."""
        self.flush(self.live[target] | self.live[after])
        before, pointers, current = self.lines, self.base_pointers, self.current
        labels, ways = [], []
        for where in (target, after):
            self.lines, self.base_pointers, self.current = [], dict(pointers), dict(current)
            self.go(where)
            if len(self.lines) == 1:  # nothing to convert: straight there
                labels.append(self.lines[0].rpartition("%")[2])
            else:
                labels.append(self.fresh())
                ways += [f"{labels[-1]}:", *self.lines]
        self.lines = before
        self.do(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
        self.lines += ways

    def check_failed(self) -> None:
        """Leave if a helper raised."""
        if not self.unit.may_fail:
            return
        failed = self.emit("load i64, ptr %run")
        bad, good = self.emit(f"icmp ne i64 {failed}, 0"), self.fresh()
        self.do(f"br i1 {bad}, label %failed, label %{good}, !prof !0")
        self.label(good)

    def exit(self) -> None:
        self.do(f"ret i64 {self.value(0)}")

    # ---- instructions ----

    def _instruction(self, slot: int) -> None:
        insn, op = self.insns[slot], self.ops[slot]
        after = self.rules.known[slot]
        cls = insn.opcode & 7
        if cls in (4, 7):
            self._arithmetic(insn, op, after)
        elif op in JUMPS:
            self._jump(slot, insn, op)
            return
        elif op == "may_goto":
            left = self.emit("load i64, ptr %budget")
            less = self.emit(f"sub i64 {left}, 1")
            none = self.emit(f"icmp eq i64 {left}, 0")
            kept = self.emit(f"select i1 {none}, i64 0, i64 {less}")
            self.do(f"store i64 {kept}, ptr %budget")
            self.branch(none, slot + 1 + insn.off, slot + 1)
            return
        elif op == "ja":
            target = self.targets[slot]
            assert target is not None
            self.go(target)
            return
        elif op == "exit":
            self.exit()
            return
        elif op == "lddw":
            self._wide(slot, insn, after)
        elif op in ("ld_abs", "ld_ind") or op.startswith("call"):
            self._settle(after, range(6))
            calls.call(self, slot)
            for register in range(1, 6):
                self.bases[register] = None
                self.current.pop(register, None)
                self.dirty.discard(register)
        else:
            if op in ("ldx", "ldsx", "load_acquire"):
                self._settle(after, range(insn.dst, insn.dst + 1))
            accesses.access(self, slot, after)
        self.bases = list(after)

    def _settle(self, after: Bases, written: range) -> None:
        """Registers that lose their base without being written become numbers."""
        for register in range(10):
            if register not in written and self.bases[register] is not None and after[register] is None:
                value = self.value(register)
                self.set(register, value)
                self.bases[register] = None

    def _wide(self, slot: int, insn: Insn, after: Bases) -> None:
        base = after[insn.dst]
        program = self.unit.program
        if base is not None and base[0] == "function":
            self.set(insn.dst, "0")
        elif base is not None:
            self.set(insn.dst, _number(program.references[slot].offset))
        elif slot in program.references or insn.src:
            index = self.unit.constant(slot)
            at = self.emit(f"getelementptr i64, ptr @k, i64 {index}")
            self.set(insn.dst, self.emit(f"load i64, ptr {at}, !invariant.load !1"))
        else:
            self.set(insn.dst, _number(insn.imm))

    def _jump(self, slot: int, insn: Insn, op: str) -> None:
        target, after = slot + 1 + insn.off, slot + 1
        outcome = self.unit.verified.outcomes[slot]
        if outcome in (1, 2):
            self.go(after if outcome == 1 else target)
            return
        wide = insn.opcode & 7 == 5
        t = "i64" if wide else "i32"
        a = self.value(insn.dst) if wide else self.low(insn.dst)
        if insn.opcode & 8:
            b = self.value(insn.src) if wide else self.low(insn.src)
        else:
            b = str(insn.imm)
        if op == "jset":
            both = self.emit(f"and {t} {a}, {b}")
            condition = self.emit(f"icmp ne {t} {both}, 0")
        else:
            condition = self.emit(f"icmp {CONDITIONS[op]} {t} {a}, {b}")
        self.branch(condition, target, after)

    def _arithmetic(self, insn: Insn, op: str, after: Bases) -> None:
        from ebpf.machine.native.lifter import refuse_missing

        refuse_missing(op)
        dst, src, wide = insn.dst, insn.src, insn.opcode & 7 == 7
        uses_register = bool(insn.opcode & 8)
        t = "i64" if wide else "i32"
        if op == "addr_space_cast":  # an arena's memory has one address here
            self.set(dst, self.value(src))
            return
        if op in ("le", "be", "bswap"):
            self.set(dst, self._swapped(self.value(dst), insn.imm, op != "le"))
            return
        if op == "movsx":
            cut = self.emit(f"trunc i64 {self.value(src)} to i{insn.off}")
            if wide:
                self.set(dst, self.emit(f"sext i{insn.off} {cut} to i64"))
            else:
                self._set32(dst, self.emit(f"sext i{insn.off} {cut} to i32"))
            return
        if op == "mov":
            if not uses_register:
                self.set(dst, _number(insn.imm) if wide else str(insn.imm & 0xFFFFFFFF))
            elif wide:
                self.set(dst, self.raw(src))
            else:
                self._set32(dst, self.low(src))
            return
        if op == "neg":
            a = self.value(dst) if wide else self.low(dst)
            result = self.emit(f"sub {t} 0, {a}")
        else:
            if wide and op in ("add", "sub") and (self.bases[dst] or (uses_register and self.bases[src])):
                self._move(insn, op, after)
                return
            a = self.value(dst) if wide else self.low(dst)
            b = (self.value(src) if wide else self.low(src)) if uses_register else str(insn.imm)
            result = self._binary(op, t, a, b)
        if wide:
            self.set(dst, result)
        else:
            self._set32(dst, result)

    def _move(self, insn: Insn, op: str, after: Bases) -> None:
        """Addition and subtraction of places: `registers.Rules._arithmetic` says what becomes of the base."""
        mine = self.bases[insn.dst]
        if not insn.opcode & 8:
            delta = str(insn.imm if op == "add" else -insn.imm)
            self.set(insn.dst, self.add(self.raw(insn.dst), delta))
            return
        other = self.bases[insn.src]
        if after[insn.dst] is None:
            if op == "sub" and mine == other:
                a, b = self.raw(insn.dst), self.raw(insn.src)
            else:
                a, b = self.value(insn.dst), self.value(insn.src)
        else:
            a, b = self.raw(insn.dst), self.raw(insn.src)
        self.set(insn.dst, self.add(a, b) if op == "add" else self.emit(f"sub i64 {a}, {b}"))

    def _set32(self, register: int, operand: str) -> None:
        self.set(register, self.emit(f"zext i32 {operand} to i64"))

    def _binary(self, op: str, t: str, a: str, b: str) -> str:
        if _is_number(b) and op in ("div", "mod") and int(b):
            return self.emit(f"{'udiv' if op == 'div' else 'urem'} {t} {a}, {b}")
        names: dict[str, str] = {}
        result = ""
        m = "63" if t == "i64" else "31"
        for index, step in enumerate(BINARY[op].split("; ")):
            text = step.replace("{t}", t).replace("{a}", a).replace("{b}", b).replace("{m}", m)
            for key, name in names.items():
                text = text.replace(key, name)
            result = self.emit(text)
            names[f"{{{index + 1}}}"] = result
        return result

    def _swapped(self, value: str, width: int, swap: bool) -> str:
        if width == 64:
            return self.emit(f"call i64 @llvm.bswap.i64(i64 {value})") if swap else value
        cut = self.emit(f"trunc i64 {value} to i{width}")
        if swap:
            cut = self.emit(f"call i{width} @llvm.bswap.i{width}(i{width} {cut})")
        return self.emit(f"zext i{width} {cut} to i64")


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _number(value: int) -> str:
    """A 64-bit constant, as signed."""
    value &= M64
    return str(value - (1 << 64) if value >> 63 else value)


assert STACK is not None
