"""The debugger filling a terminal: source and bytecode, registers beside what the verifier knows of them, stack, maps.

Stands on Textual (``pip install 'ebpf[debug]'``); what it shows and does is `Debugger`'s and `Repl`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Footer, Input, Static

from ebpf.debugger.repl import Repl

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from ebpf.debugger.debugger import Debugger

_AROUND = 12  # lines of source, instructions
_ANSWER = 200  # lines of answers that are kept


class DebuggerApp(App[None]):
    """One window: keys step, the line at the bottom takes the commands of `Repl`."""

    TITLE = "ebpf debug"
    CSS = """
    .pane { border: round $primary; padding: 0 1; height: 1fr; }
    #code { width: 1fr; }
    #facts { width: 1fr; }
    #answers { height: 8; }
    """
    BINDINGS: ClassVar = [
        ("f5", "go('run')", "Run"),
        ("f10", "go('next')", "Next line"),
        ("f11", "go('step')", "Step into"),
        ("f12", "go('finish')", "Step out"),
        ("f8", "go('step_instruction')", "Instruction"),
        ("f7", "go('back_line')", "Back"),
        ("f6", "go('back')", "Back one"),
        ("f9", "breakpoint", "Breakpoint"),
        ("f2", "go('restart')", "Restart"),
        ("ctrl+q", "quit", "Leave"),
    ]

    def __init__(self, debugger: Debugger) -> None:
        super().__init__()
        self.debugger = debugger
        self.repl = Repl(debugger)
        self._answers: list[str] = []

    def compose(self) -> ComposeResult:
        """The panes."""
        with Horizontal():
            with Vertical(id="code"):
                yield self._pane("source", "Source")
                yield self._pane("bytecode", "Bytecode")
            with Vertical(id="facts"):
                yield self._pane("registers", "Registers, and what the verifier knows")
                yield self._pane("locals", "Variables")
                yield self._pane("stack", "Stack")
                yield self._pane("maps", "Maps")
        yield self._pane("answers", "")
        yield Input(placeholder="a command: break 12, continue, map NAME, help", id="command")
        yield Footer()

    @staticmethod
    def _pane(name: str, title: str) -> VerticalScroll:
        pane = VerticalScroll(Static("", id=name, markup=False), classes="pane")
        pane.border_title = title
        if name == "answers":
            pane.styles.height = 8
        return pane

    def on_mount(self) -> None:
        """The first picture."""
        self._draw()
        self.query_one("#command", Input).focus()

    # ---- what is done ----

    def action_go(self, how: str) -> None:
        """A step, by the name of `Debugger`'s method."""
        if not self.debugger.finished or how in ("back", "back_line", "restart"):
            getattr(self.debugger, how)()
        self._draw()

    def action_breakpoint(self) -> None:
        """Set or remove a breakpoint at the line where the program stands."""
        d = self.debugger
        here = next((b for b in d.breakpoints if d.slot in b.slots), None)
        if here is not None:
            d.delete(here.number)
        elif d.place is not None:
            d.break_at(f"#{d.slot}")
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A command."""
        self._answers += [f"> {event.value}", *self.repl.execute(event.value)]
        del self._answers[:-_ANSWER]
        event.input.value = ""
        if self.repl.ended:
            self.exit()
        self._draw()

    # ---- what is shown ----

    def _draw(self) -> None:
        d = self.debugger
        self.sub_title = f"{d.program}: {d.where()}"
        execute = self._lines
        self._show("source", execute(f"list {_AROUND}") if not d.finished else [d.where()])
        self._show("bytecode", execute(f"disassemble {_AROUND}") if not d.finished else [])
        self._show("registers", [str(register) for register in d.registers])
        self._show("locals", execute("locals"))
        self._show("stack", execute("stack"))
        lines = []
        for name, map in d.maps.items():
            if map.type.name not in ("RINGBUF", "PERF_EVENT_ARRAY") and not name.startswith("."):
                lines += [f"{name}:", *(f"  {line}" for line in execute(f"map {name}")[:_AROUND])]
        self._show("maps", lines)
        self._show("answers", self._answers or [d.where()])
        box: Any = self.query_one("#answers", Static).parent
        box.scroll_end(animate=False)

    def _lines(self, command: str) -> list[str]:
        return Repl(self.debugger).execute(command)

    def _show(self, name: str, lines: list[str]) -> None:
        self.query_one(f"#{name}", Static).update("\n".join(lines))
