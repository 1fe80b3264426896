"""The debugger's line-oriented face: commands in, text out; works in pipes and from a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import EbpfError, NotSupported, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ebpf.debugger.debugger import Debugger
    from ebpf.debugger.places import Place

PROMPT = "(ebpf) "
_ENTRIES = 32  # of a map that are shown


class Command(NamedTuple):
    """A command: its names, what stands behind them, and what it does."""

    names: tuple[str, ...]
    arguments: str
    help: str
    run: Callable[[Repl, str], Iterable[str]]


class Repl:
    """``execute(line)`` gives the lines of the answer; ``quit`` sets `ended`."""

    def __init__(self, debugger: Debugger) -> None:
        self.debugger = debugger
        self.ended = False
        self._last = ""

    def execute(self, line: str) -> list[str]:
        """Run one command; an empty one repeats the last. Mistakes are answers, too."""
        line = line.strip() or self._last
        if not line or line.startswith("#"):
            return []
        self._last = line
        name, _, rest = line.partition(" ")
        command = _BY_NAME.get(name)
        if command is None:
            from ebpf.diagnostics import did_you_mean

            similar = did_you_mean(name, list(_BY_NAME), limit=1)
            return [f"error: there is no command {name!r}" + (f"; did you mean {similar[0]!r}?" if similar else
                                                              "; help lists them")]
        try:
            return list(command.run(self, rest.strip()))
        except EbpfError as error:
            return [f"error: {error.message}", *(f"  help: {text}" for text in error.helps)]
        except ValueError:
            return [f"error: {command.names[0]} {command.arguments}".rstrip()]

    def here(self, place: Place | None = None) -> list[str]:
        """Where the program stands: the source line and the next instruction."""
        d = self.debugger
        lines = []
        if d.stopped.startswith("breakpoint"):
            lines.append(d.stopped)
        lines.append(d.where())
        if not d.finished:
            if (place := d.place) is not None:
                lines.append(f"{place.line:5}  {place.text.rstrip()}")
            lines.append(f"  #{d.slot}: {d.instruction}")
        return lines

    def loop(self, lines: Iterable[str], write: Callable[[str], object], *, echo: bool = False) -> None:
        """Answer ``lines`` until they end or ``quit`` comes; ``echo`` repeats each behind the prompt."""
        for line in lines:
            if echo:
                write(f"{PROMPT}{line.rstrip()}\n")
            for answer in self.execute(line):
                write(answer + "\n")
            if self.ended:
                break


def _number(text: str, default: int = 1) -> int:
    return int(text, 0) if text else default


def _break(repl: Repl, text: str) -> Iterable[str]:
    if not text:
        return [str(b) for b in repl.debugger.breakpoints] or ["no breakpoints"]
    return [f"breakpoint {repl.debugger.break_at(text)}"]


def _delete(repl: Repl, text: str) -> Iterable[str]:
    repl.debugger.delete(int(text) if text else None)
    return []


def _moving(name: str) -> Callable[[Repl, str], Iterable[str]]:
    def run(repl: Repl, text: str) -> Iterable[str]:
        for _ in range(_number(text)):
            getattr(repl.debugger, name)()
            if repl.debugger.finished or repl.debugger.stopped.startswith("breakpoint"):
                break
        return repl.here()

    return run


def _counting(name: str) -> Callable[[Repl, str], Iterable[str]]:
    def run(repl: Repl, text: str) -> Iterable[str]:
        getattr(repl.debugger, name)(_number(text))
        return repl.here()

    return run


def _restart(repl: Repl, text: str) -> Iterable[str]:
    repl.debugger.restart()
    return repl.here()


def _registers(repl: Repl, text: str) -> Iterable[str]:
    wanted = text.split()
    return [str(r) for r in repl.debugger.registers if not wanted or r.name in wanted]


def _set(repl: Repl, text: str) -> Iterable[str]:
    name, _, value = text.partition("=")
    repl.debugger.set_register(int(name.strip().removeprefix("r")), int(value, 0))
    return _registers(repl, name.strip())


def _stack(repl: Repl, text: str) -> Iterable[str]:
    stack = repl.debugger.stack
    rows = [(at, stack[at:at + 16]) for at in range(0, len(stack), 16)]
    shown = [f"r10-{len(stack) - at:<4} {row.hex(' ')}" for at, row in rows if any(row) or text == "all"]
    return shown or ["the stack is all zero"]


def _maps(repl: Repl, text: str) -> Iterable[str]:
    d = repl.debugger
    if not text:
        return [f"{name}: {map.type.name.lower()}, {map.key_size} → {map.value_size} bytes, at most {map.max_entries}"
                for name, map in d.maps.items()]
    map = d.maps[text]
    if map.type.name in ("RINGBUF", "PERF_EVENT_ARRAY"):
        return ["records are read when the run is over: it carries events"]
    entries = list(map.items())
    lines = [f"{key!r}: {value!r}" for key, value in entries[:_ENTRIES]]
    return [*lines, f"… {len(entries)} entries"] if len(entries) > _ENTRIES else lines or ["empty"]


def _variables(repl: Repl, text: str) -> Iterable[str]:
    variables = repl.debugger.variables
    names = [text] if text else list(variables)
    return [f"{name} = {variables[name]!r}" for name in names] or ["the programs have no global variables"]


def _print(repl: Repl, text: str) -> Iterable[str]:
    """A variable, local or global; alone: all of them."""
    d = repl.debugger
    if not text:
        return [*_locals(repl, ""), *(f"{name} = {d.variables[name]!r}" for name in d.variables)]
    try:
        found = d.evaluate(text)
    except (UsageError, NotSupported):
        if text in d.variables:
            return _variables(repl, text)
        raise
    return [f"{text} = {'optimised out' if found.optimised_out else found.text}"]


def _locals(repl: Repl, text: str) -> Iterable[str]:
    found = repl.debugger.locals
    inner, lines = found[0].function if found else "", []
    for local in found:
        if local.function != inner:
            inner = local.function
            lines.append(f"in {inner}:")
        lines.append(str(local))
    return lines or ["no variables are in scope here"]


def _list(repl: Repl, text: str) -> Iterable[str]:
    place = repl.debugger.place
    stops = {place_.line for b in repl.debugger.breakpoints for slot in b.slots
             if (place_ := _place(repl, slot)) is not None}
    return [f"{'=>' if place and number == place.line else ' *' if number in stops else '  '} {number:5}  {line}"
            for number, line in repl.debugger.source(_number(text, 5))] or ["no source is known for this place"]


def _place(repl: Repl, slot: int) -> Place | None:
    from ebpf.debugger.places import place_of

    return place_of(repl.debugger.image, slot)


def _disassemble(repl: Repl, text: str) -> Iterable[str]:
    d, last = repl.debugger, 0
    around = None if text == "all" else _number(text, 6)
    for slot, insn, place in d.disassembly(around):
        if place is not None and place.line != last:
            last = place.line
            yield f"; {place}: {place.text.strip()}"
        yield f"{'=>' if slot == d.slot and not d.finished else '  '} {slot:4}: {insn}"


def _backtrace(repl: Repl, text: str) -> Iterable[str]:
    return [f"#{n} {frame.function}, slot {frame.slot}" + (f", {frame.place}" if frame.place else "")
            for n, frame in enumerate(repl.debugger.frames)]


def _packet(repl: Repl, text: str) -> Iterable[str]:
    data = repl.debugger.packet
    return [f"{at:04x}  {data[at:at + 16].hex(' ')}" for at in range(0, len(data), 16)] or ["there is no packet"]


def _memory(repl: Repl, text: str) -> Iterable[str]:
    where, _, size = text.partition(" ")
    d = repl.debugger
    address = d.registers[int(where[1:])].value if where.startswith("r") else int(where, 0)
    return [d.read(address, _number(size, 16)).hex(" ")]


def _where(repl: Repl, text: str) -> Iterable[str]:
    return repl.here()


def _quit(repl: Repl, text: str) -> Iterable[str]:
    repl.ended = True
    return []


def _help(repl: Repl, text: str) -> Iterable[str]:
    return [f"{', '.join(c.names) + (' ' + c.arguments if c.arguments else ''):34} {c.help}" for c in COMMANDS]


COMMANDS = (
    Command(("break", "b"), "[LINE|FILE:LINE|FUNCTION|#SLOT|map:NAME]", "stop there; alone: list breakpoints", _break),
    Command(("delete",), "[NUMBER]", "forget a breakpoint, or all", _delete),
    Command(("continue", "c", "run", "r"), "", "go on to the next breakpoint or the end", _moving("run")),
    Command(("step", "s"), "[N]", "to another line, into functions", _moving("step")),
    Command(("next", "n"), "[N]", "to another line, past functions", _moving("next")),
    Command(("finish",), "", "out of this function", _moving("finish")),
    Command(("stepi", "si"), "[N]", "one instruction", _counting("step_instruction")),
    Command(("back", "rs"), "[N]", "back to the line before", _moving("back_line")),
    Command(("backi", "rsi"), "[N]", "back by one instruction", _counting("back")),
    Command(("restart",), "", "begin again", _restart),
    Command(("registers", "regs"), "[rN …]", "values, and what the verifier knows of them", _registers),
    Command(("set",), "rN=VALUE", "change a register", _set),
    Command(("stack",), "[all]", "this function's stack, rows that are not zero", _stack),
    Command(("memory", "x"), "rN|ADDRESS [BYTES]", "memory", _memory),
    Command(("maps", "map"), "[NAME]", "the maps, or one's entries", _maps),
    Command(("locals",), "", "local variables and parameters", _locals),
    Command(("print", "p"), "[EXPRESSION]", "a variable: n, *n, pair.first, skb->len, names[2]", _print),
    Command(("variables",), "[NAME]", "global variables", _variables),
    Command(("packet",), "", "the packet as it is now", _packet),
    Command(("list", "l"), "[N]", "the source around", _list),
    Command(("disassemble", "dis"), "[N|all]", "the bytecode around, with its source", _disassemble),
    Command(("backtrace", "bt"), "", "the functions that led here", _backtrace),
    Command(("where", "w"), "", "where the program stands", _where),
    Command(("help", "h"), "", "this list", _help),
    Command(("quit", "q"), "", "leave", _quit),
)
_BY_NAME = {name: command for command in COMMANDS for name in command.names}
