"""Signals that processes send: ``kill``, ``tkill`` and ``tgkill``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def signal_number(text: str) -> int:
    """``"9"``, ``"KILL"`` or ``"SIGKILL"``."""
    if text.isdecimal():
        return int(text)
    from signal import Signals

    try:
        return int(Signals[text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"])
    except KeyError:
        raise ebpf.UsageError(f"there is no signal {text!r}") from None


class Kill(NamedTuple):
    """``pid`` sent ``signal`` to ``target`` (a process or thread; below zero a group); ``error`` (``"ESRCH"``) or
    ``""``.
    """

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    signal: str
    target: int
    error: str

    @property
    def result(self) -> str:
        """``"ok"`` or the error."""
        return self.error or "ok"


class KillSnoop(EventTool):
    name = "killsnoop"
    about = "Shows each signal that a process sends to another by kill, tkill or tgkill. Signal 0 only asks."
    examples = (
        ("", "every signal"),
        ("-s KILL", "only SIGKILL"),
        ("--target 181", "what is sent to process 181"),
        ("-- make test", "what make and all it starts send, as an ordinary user"),
    )
    options = (
        option("-x", "--failed", kind=bool, help="only what could not be sent"),
        option("-s", "--signal", kind=signal_number, metavar="SIGNAL", help="this signal alone"),
        option("--target", kind=number, metavar="PID", help="signals to this process alone"),
    )
    columns = (
        Column("PID", "pid", 7), text_column("COMM", "comm", 16), text_column("SIGNAL", "signal", 11),
        Column("TARGET", "target", 7), text_column("RESULT", "result"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {"failed_only": options.failed, "only_signal": options.signal or 0, "only_target": options.target or 0}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Kill:
        who = record.who
        return Kill(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm),
                    _values.signal_name(record.signal), record.target, _values.error_name(record.result))


TOOL = KillSnoop()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Kill]:
    """Signals as they are sent; options as on the command line (``signal=``, ``target=``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
