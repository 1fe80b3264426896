"""`debug` and `Debugger`: one run of a program in the machine, instruction by instruction."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.abi.actions import action_name
from ebpf.debugger.places import Breakpoint, Place, place_of, resolve
from ebpf.errors import MachineFault, NotSupported, UsageError
from ebpf.isa import format_insn
from ebpf.isa.insn import OP_CALL
from ebpf.machine.packets import PACKET_TYPES
from ebpf.machine.semantics import LOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ebpf.debugger.knowledge import Known
    from ebpf.debugger.locals import Local, Reader
    from ebpf.debugger.scopes import Scopes
    from ebpf.machine.image import Image
    from ebpf.machine.stepper import Stepper
    from ebpf.session import Map, Session

_M64 = (1 << 64) - 1
_PATIENCE = 10_000_000  # instructions in one go


class _Stopped:
    """Time that stands still, so that a run can be repeated."""

    def monotonic_ns(self) -> int:
        return 1_000_000_000_000

    boot_ns = monotonic_ns

    def tai_ns(self) -> int:
        return 1_700_000_037_000_000_000


class Register(NamedTuple):
    """``value`` is what the register holds (unsigned 64 bits), ``points_to`` what lies at that address in the machine
    ("": nothing), ``known`` what the verifier can say of it here (``None``: it never comes here).
    """

    name: str
    value: int
    points_to: str
    known: Known | None

    def __str__(self) -> str:
        signed = self.value - (1 << 64) if self.value >> 63 else self.value
        shown = f"{self.value:#x}" + (f" ({self.points_to})" if self.points_to else
                                      f" ({signed})" if signed < 0 or self.value > 9 else "")
        return f"{self.name:3} {shown:44} {self.known if self.known is not None else ''}".rstrip()


class Frame(NamedTuple):
    """One of the functions that called each other to come here."""

    function: str
    slot: int
    place: Place | None


def debug(source: Any, data: bytes | None = None, *, program: str | None = None,
          context: Mapping[str, Any] | bytes | None = None, prepare: Callable[[Session], object] | None = None,
          compile: Mapping[str, Any] | None = None, **options: Any) -> Debugger:
    """A program that stands before its first instruction, in the userspace machine.

    ``source``: the path of a ``.c`` or ``.o`` file, an `Object`, or Python functions; ``data`` the packet and
    ``context`` the fields of the event by name, as for `Program.test_run`. ``program`` may be left out if there is one.
    ``prepare(session)`` fills maps before the run (and before each repetition). ``compile`` are options of
    `ebpf.compile` for C, ``options`` those of `ebpf.load`.
    """
    return Debugger(source, data, program=program, context=context, prepare=prepare, compile=compile or {},
                    options=options)


class Debugger:
    """See `debug`. Methods that move on return the place where the program then stands (``None`` once it has ended)."""

    def __init__(self, source: Any, data: bytes | None, *, program: str | None, context: Any, prepare: Any,
                 compile: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._source = _built(source, compile)
        self._scopes: Scopes | None = None
        self._data = data
        self._context = context
        self._prepare = prepare
        self._options = dict(options)
        self._wanted = program
        self._known: dict[str, dict[int, list[Known]]] = {}
        self._texts: dict[str, list[str]] = {}
        self.breakpoints: list[Breakpoint] = []
        #: why it stands where it stands: "start", "step", "breakpoint 1", "end", "fault"
        self.stopped = "start"
        #: the fault that ended it, if one did
        self.fault: MachineFault | None = None
        self.session: Session
        self._stepper: Stepper
        self._open()

    def __repr__(self) -> str:
        return f"<Debugger {self.program}: {self.where()}>"

    # ---- the run ----

    def _open(self) -> None:
        from ebpf.compiler.variables import located
        from ebpf.session import load

        with located():  # Python functions are compiled when they are loaded
            self.session = load(self._source, backend="machine", cpus=self._options.get("cpus", 4), load_programs=False,
                                **{name: value for name, value in self._options.items() if name != "cpus"})
        try:
            self.program = self._choose()
            environment = self.session.machine.environment
            environment.clock = _Stopped()  # type: ignore[assignment]  # has Clock's methods
            environment.random.seed(0)
            if self._prepare is not None:
                self._prepare(self.session)
            self._type = self.session.machine.program(self.program).type
            needs_packet = self._type in PACKET_TYPES
            data = self._data if self._data is not None or not needs_packet else bytes(64)
            self._stepper = self.session.machine.step(self.program, data if needs_packet else None,
                                                      ctx=self._context or None)
        except BaseException:
            self.session.close()
            raise

    def _choose(self) -> str:
        programs = list(self.session.obj.programs)
        if self._wanted is None and len(programs) != 1:
            raise UsageError(f"{self.session.obj.name} has {len(programs)} programs: say which",
                             helps=(", ".join(programs),))
        name = programs[0] if self._wanted is None else self._wanted
        if name not in programs:
            from ebpf.diagnostics import unknown_name

            raise unknown_name("program", name, programs)
        return name

    def restart(self) -> Place | None:
        """Begin again, with maps as at the start; breakpoints stay."""
        self.session.close()
        self.fault, self.stopped = None, "start"
        self._open()
        return self.place

    def close(self) -> None:
        """Close the session; doing so again is harmless."""
        self.session.close()

    def __enter__(self) -> Debugger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- people ----

    def interact(self, lines: Iterable[str] | None = None, *, echo: bool = False) -> None:
        """Take commands (``help`` lists them) from ``lines``, or from the terminal, and print the answers."""
        import sys

        from ebpf.debugger.repl import PROMPT, Repl

        repl = Repl(self)
        sys.stdout.write("\n".join(repl.here()) + "\n")
        if lines is not None:
            repl.loop(lines, sys.stdout.write, echo=echo)
            return
        try:
            import readline  # noqa: F401  (editing and a history of lines)
        except ImportError:
            pass
        while not repl.ended:
            try:
                repl.loop([input(PROMPT)], sys.stdout.write)
            except EOFError:
                break
            except KeyboardInterrupt:
                sys.stdout.write("\n")

    def full_screen(self) -> None:
        """The same, filling the terminal. `UsageError` says how to get Textual where it is not installed."""
        try:
            import textual  # noqa: F401
        except ImportError:
            raise UsageError("the full screen needs Textual, which is not installed",
                             helps=("pip install 'ebpf[debug]'", "ebpf debug --no-tui takes commands line by line")
                             ) from None
        from ebpf.debugger.screen import DebuggerApp

        DebuggerApp(self).run()

    # ---- looking ----

    @property
    def finished(self) -> bool:
        """Whether it has ended (or failed: `fault`)."""
        return self._stepper.finished or self.fault is not None

    @property
    def result(self) -> int | None:
        """What it returned, as unsigned 32 bits; ``None`` while it runs."""
        found = self._stepper.result
        return None if found is None else found & 0xFFFFFFFF

    @property
    def result_name(self) -> str:
        """What that is called (``"XDP_DROP"``); "" where results have no names."""
        return "" if self.result is None else action_name(self._type, self.result)

    @property
    def slot(self) -> int:
        """The slot of the next instruction."""
        return self._stepper.slot

    @property
    def steps(self) -> int:
        """Instructions that were executed."""
        return self._stepper.steps

    @property
    def depth(self) -> int:
        """How many functions called each other to come here; 0 in the program itself."""
        return self._stepper.depth

    @property
    def instruction(self) -> str:
        """The next instruction."""
        return self._stepper.text

    @property
    def place(self) -> Place | None:
        """Where the next instruction comes from; ``None`` at the end, and where the object does not say."""
        return None if self.finished else place_of(self.image, self.slot)

    @property
    def image(self) -> Image:
        """The instructions of the program that runs now."""
        return self._stepper.image

    def where(self) -> str:
        """In words."""
        if self.fault is not None:
            return f"fault: {self.fault.message}"
        if self.finished:
            return f"ended with {self.result_name or self.result}"
        place = f"{self.place}, " if self.place is not None else ""
        return f"{place}in {self._stepper.function}, slot {self.slot}"

    @property
    def known(self) -> list[Known] | None:
        """What the verifier knows of r0 to r10 before the next instruction."""
        name = self.image.name
        if name not in self._known:
            from ebpf.debugger.knowledge import what_is_known

            self._known[name] = what_is_known(self.session.obj, name, self.session.machine.kernel_types())
        return self._known[name].get(self.slot)

    @property
    def registers(self) -> list[Register]:
        """r0 to r10, beside what the verifier knows of them."""
        known = None if self.finished else self.known
        name_of = self.session.machine.environment.space.name_of
        return [Register(f"r{n}", value, (name_of(value) or "") if value > 4096 else "", known[n] if known else None)
                for n, value in enumerate(self._stepper.registers)]

    def set_register(self, number: int, value: int) -> None:
        """Let register ``number`` (0 to 9) hold something else."""
        if not 0 <= number <= 9:
            raise UsageError(f"there is no register r{number} to set: r0 to r9")
        self._stepper.registers[number] = value & _M64

    @property
    def stack(self) -> bytes:
        """The 512 bytes of the current frame; the last lies just below r10."""
        return self._stepper.stack

    @property
    def frames(self) -> list[Frame]:
        """The functions that called each other, innermost first."""
        found = [Frame(self._stepper.function, self.slot, self.place)]
        for image, after, _, _ in reversed(self._stepper._callers):
            found.append(Frame(image.function_name(after - 1), after - 1, place_of(image, after - 1)))
        return found

    @property
    def locals(self) -> list[Local]:
        """Variables and parameters in scope here, those of the innermost (inlined) function first.

        `NotSupported` for objects that do not say where variables live: DWARF does, which clang makes with ``-g``;
        what is compiled for the debugger has it.
        """
        reader = self._variables()
        return [] if reader is None else reader.all()

    def evaluate(self, text: str) -> Local:
        """A variable, or an expression of it: ``pair.first``, ``*n``, ``skb->len``, ``names[2]``. `UsageError` for what
        is not there; `NotSupported` as `locals`.
        """
        reader = self._variables()
        if reader is None:
            raise UsageError("the program has ended: it has no variables any more")
        return reader.evaluate(text)

    def _variables(self) -> Reader | None:
        from ebpf.debugger.locals import Reader, frame_bytes, others_of

        if self.finished:
            return None
        obj = self.session.obj
        if self._scopes is None:
            if obj.image is None:
                raise NotSupported("looking at local variables: it does not say where they live", who=obj.name,
                                   instead="compile it with -g, or give the source")
            from ebpf.debugger.scopes import Scopes

            self._scopes = Scopes(obj.image, obj.name)
        start = self.image.function_start(self.slot)
        spec = obj.every_function.get(self._stepper.function)
        if spec is None:
            return None
        place, space = self.place, self.session.machine.environment.space
        return Reader(self._scopes, self._scopes.address(spec.section, spec.offset + 8 * (self.slot - start)),
                      place.line if place is not None else 0, self._stepper.registers,
                      frame_bytes(self.image, self.slot), space.read, space.name_of,
                      others_of(obj, self.session.machine.kernel_types))

    @property
    def maps(self) -> Mapping[str, Map]:
        """Maps by name, typed, as they are now."""
        return self.session.maps

    @property
    def variables(self) -> Any:
        """Global variables by name."""
        return self.session.variables

    @property
    def packet(self) -> bytes:
        """The packet as it is now; empty if there is none."""
        packet = self.session.machine.environment.packet
        return b"" if packet is None else packet.data()

    def read(self, address: int, size: int) -> bytes:
        """Memory of the machine. `MachineFault` where there is none."""
        return self.session.machine.environment.space.read(address, size)

    def disassembly(self, around: int | None = None) -> Iterator[tuple[int, str, Place | None]]:
        """Instructions (slot, text, place); ``around``: so many before and behind the next one."""
        slots = sorted(self.image.insns)
        if around is not None and self.slot in slots:
            at = slots.index(self.slot)
            slots = slots[max(0, at - around):at + around + 1]
        for slot in slots:
            yield slot, format_insn(self.image.insns[slot]), place_of(self.image, slot)

    def source(self, around: int = 5) -> list[tuple[int, str]]:
        """Lines of the source around the place (number, text); from the file if it is there, else what the object has.
        """
        place = self.place
        if place is None:
            return []
        lines = self._texts.get(place.file)
        if lines is None:
            try:
                with open(place.file, encoding="utf-8", errors="replace") as file:
                    lines = file.read().splitlines()
            except OSError:
                lines = []
            self._texts[place.file] = lines
        if place.line > len(lines):
            return [(place.line, place.text)]
        first = max(1, place.line - around)
        return [(n, lines[n - 1]) for n in range(first, min(len(lines), place.line + around) + 1)]

    # ---- breakpoints ----

    def break_at(self, where: str | int) -> Breakpoint:
        """Stop there: ``12`` or ``"file.c:12"`` (a line), a function's name, ``"#17"`` (an instruction),
        ``"map:NAME"`` (before an access to that map). `UsageError` if there is no such place.
        """
        number = max((b.number for b in self.breakpoints), default=0) + 1
        made = resolve(self.image, number, where, list(self.session.maps))
        self.breakpoints.append(made)
        return made

    def delete(self, number: int | None = None) -> None:
        """Forget breakpoint ``number``, or all."""
        if number is not None and all(b.number != number for b in self.breakpoints):
            raise UsageError(f"there is no breakpoint {number}")
        self.breakpoints = [b for b in self.breakpoints if number is not None and b.number != number]

    def _hit(self) -> Breakpoint | None:
        for b in self.breakpoints:
            if self.slot in b.slots or (b.kind == "map" and self._accessed() == b.what):
                return b
        return None

    def _accessed(self) -> str | None:
        """The map that the next instruction works on."""
        insn, op, registers = self.image.insns[self.slot], self.image.ops[self.slot], self._stepper.registers
        environment = self.session.machine.environment
        if insn.opcode == OP_CALL and not insn.src:
            for value in registers[1:3]:  # some helpers take their map second
                found = environment.maps.get(value)
                if found is not None:
                    return found.name
            return None
        if op in LOADS or insn.opcode & 7 in (2, 3):
            base = registers[insn.src if op in LOADS else insn.dst]
            name = environment.space.name_of((base + insn.off) & _M64) or ""
            head, _, map_name = name.rpartition("map ")
            if map_name in environment_map_names(environment) and name != head:
                return map_name
        return None

    # ---- going on ----

    def step_instruction(self, count: int = 1) -> Place | None:
        """Execute one instruction (or ``count``). A helper is one step."""
        for _ in range(count):
            if not self._advance():
                break
        return self._stand("step")

    def step(self) -> Place | None:
        """Go on to another line, into functions that are called."""
        return self._until(self._other_line(into=True))

    def next(self) -> Place | None:
        """Go on to another line of this function, or to its caller; what it calls runs through."""
        return self._until(self._other_line(into=False))

    def finish(self) -> Place | None:
        """Go on until this function has returned."""
        depth = self.depth
        return self._until(lambda: self.depth < depth)

    def run(self) -> Place | None:
        """Go on to the next breakpoint, or the end."""
        return self._until(lambda: False)

    def back(self, count: int = 1) -> Place | None:
        """Take back the last instruction (or ``count``): the run is repeated up to there, with maps as at the start."""
        target = max(0, self.steps - count)
        self.restart()
        while self.steps < target and self._advance():
            pass
        return self._stand("step back")

    def back_line(self) -> Place | None:
        """Take back instructions until another line is reached."""
        if not self.steps:
            return self.place
        target = self.steps
        here = self._line_key() if not self.finished else None
        self.restart()
        marks, last = [0], self._line_key()
        while self.steps < target and self._advance() and not self.finished:
            key = self._line_key()
            if key != last and key is not None:
                marks.append(self.steps)
                last = key
        wanted = next((m for m in reversed(marks) if m < target), 0)
        if here is not None and len(marks) > 1 and wanted == marks[-1] and last == here:
            wanted = marks[-2]
        self.restart()
        while self.steps < wanted and self._advance():
            pass
        return self._stand("step back")

    def _line_key(self) -> tuple[int, str, int] | None:
        place = self.place
        return None if place is None else (self.depth, place.file, place.line)

    def _other_line(self, *, into: bool) -> Callable[[], bool]:
        depth, here = self.depth, self.place

        def reached() -> bool:
            if self.depth > depth and not into:
                return False
            place = self.place
            return place is not None and (self.depth != depth or here is None
                                          or (place.file, place.line) != (here.file, here.line))

        return reached

    def _until(self, reached: Callable[[], bool]) -> Place | None:
        for _ in range(_PATIENCE):
            if not self._advance() or self.finished:
                return self._stand("")
            found = self._hit()
            if found is not None:
                return self._stand(f"breakpoint {found.number}")
            if reached():
                return self._stand("step")
        return self._stand(f"{_PATIENCE:,} instructions")

    def _advance(self) -> bool:
        if self.finished:
            return False
        try:
            self._stepper.step()
        except MachineFault as fault:
            self.fault = fault
            return False
        return True

    def _stand(self, why: str) -> Place | None:
        self.stopped = "fault" if self.fault is not None else "end" if self.finished else why
        return self.place


def environment_map_names(environment: Any) -> set[str]:
    """The maps that there are."""
    return {map.name for map in environment.maps.values()}


def _built(source: Any, options: Mapping[str, Any]) -> Any:
    """What `ebpf.load` takes."""
    if isinstance(source, (str, os.PathLike)) and (str(source).endswith(".c") or "\n" in str(source)):
        from ebpf.compiler.variables import located
        from ebpf.session import compile

        with located():
            return compile(source if isinstance(source, str) else Path(source), **options)
    if options:
        raise UsageError("only C is compiled with options")
    return source
