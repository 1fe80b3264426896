"""What programs send and receive through OpenSSL, before it is enciphered and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CALLS = (("SSL_read", "enter_read"), ("SSL_write", "enter_write"), ("SSL_read_ex", "enter_read_ex"),
          ("SSL_write_ex", "enter_write_ex"))


class Sniffed(NamedTuple):
    """What one call carried: ``length`` bytes, of which ``data`` has the first 8192. ``direction``: READ or WRITE."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    direction: str
    length: int
    data: bytes

    @property
    def text(self) -> str:
        """The data as text in one line."""
        return _values.text(self.data).encode("unicode_escape").decode()


class SslSniff(EventTool):
    name = "sslsniff"
    about = "Shows what programs send and receive through OpenSSL (SSL_write, SSL_read), as plain text."
    examples = (
        ("", "every program that uses the system's libssl"),
        ("-n curl --hex", "of processes called curl, in hexadecimal"),
        ("--library /opt/app/libssl.so.3 -p 181", "of a library of its own"),
        ("-- curl -s https://example.com", "of a command, as an ordinary user"),
    )
    options = (
        option("--library", default="ssl", metavar="FILE", help="which libssl, by path or short name"),
        option("--hex", kind=bool, help="the data in hexadecimal"),
    )
    columns = (
        text_column("COMM", "comm", 16), Column("PID", "pid", 7), text_column("DIR", "direction", 5),
        Column("LEN", "length", 7), text_column("DATA", "text"),
    )

    def attach(self, session: ebpf.Session, options: Options) -> None:
        for function, program in _CALLS:
            try:
                session.programs["leave"].attach_uretprobe(options.library, function, pid=options.pid)
                session.programs[program].attach_uprobe(options.library, function, pid=options.pid)
            except ebpf.TargetNotFound:
                if function in ("SSL_read", "SSL_write"):  # the others came with 1.1.1
                    raise

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Sniffed:
        who = record.who
        raw = record.data
        data = raw if isinstance(raw, bytes) else bytes(raw)
        return Sniffed(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm),
                       "WRITE" if record.writes else "READ", record.length, data[:record.kept])

    def table(self, options: Options) -> Any:
        from ebpf.tools._columns import Table

        if not options.hex:
            return super().table(options)
        made = super().table(options)
        return Table([*made.columns[:-1], Column("DATA", "data", 0, bytes.hex, True)])


TOOL = SslSniff()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Sniffed]:
    """Calls as they return; options as on the command line (``pid=``, ``library=``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
