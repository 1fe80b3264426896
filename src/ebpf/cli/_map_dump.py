"""``ebpf map dump``: every entry, as text, JSON, CSV or Arrow, with progress for who waits."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

import ebpf
from ebpf.cli._map_rows import Rows
from ebpf.cli.output import show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

FORMATS = ("text", "json", "csv", "arrow")
_EVERY_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="of a dump (default: text, or by the name of --output)")
    parser.add_argument("--output", "-o", metavar="FILE", help="write a dump there; .json, .csv and .arrow say how")


def dump(map: ebpf.Map, args: argparse.Namespace) -> int:
    """Write all entries out."""
    format = "json" if args.json else args.format or _by_name(args.output) or "text"
    if format == "arrow":
        return _arrow(map, args.output)
    out = open(args.output, "w", newline="" if format == "csv" else None) if args.output else sys.stdout
    try:
        writer = {"text": _text, "json": _json, "csv": _csv}[format]
        count = writer(_watched(map), out)
    finally:
        if out is not sys.stdout:
            out.close()
    _say(f"{count} {'entry' if count == 1 else 'entries'}")
    return 0


def _by_name(path: str | None) -> str | None:
    end = (path or "").rpartition(".")[2]
    return end if end in FORMATS else None


def _watched(map: ebpf.Map) -> Iterator[list[tuple[Any, Any]]]:
    """The entries in pieces; every half second a line says how far we are."""
    done, last = 0, time.monotonic()
    for piece in map.chunks():
        yield piece
        done += len(piece)
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            _say(f"{done} entries so far (at most {map.max_entries})")


def _text(pieces: Iterator[list[tuple[Any, Any]]], out: TextIO) -> int:
    count = 0
    for piece in pieces:
        out.writelines(f"{show(key)}: {show(value)}\n" for key, value in piece)
        count += len(piece)
    return count


def _json(pieces: Iterator[list[tuple[Any, Any]]], out: TextIO) -> int:
    rows, count = None, 0
    out.write("[")
    for piece in pieces:
        if piece:
            rows = rows or Rows(piece[0])
            out.write((",\n " if count else "\n ") + rows.json(piece))
            count += len(piece)
    out.write("\n]\n" if count else "]\n")
    return count


def _csv(pieces: Iterator[list[tuple[Any, Any]]], out: TextIO) -> int:
    import csv

    writer = csv.writer(out)
    rows, count = None, 0
    for piece in pieces:
        if piece:
            if rows is None:
                rows = Rows(piece[0])
                writer.writerow(rows.columns)  # a struct is a column for each member, an array one for each element
            writer.writerows(rows.csv(piece))
            count += len(piece)
    return count


def _arrow(map: ebpf.Map, path: str | None) -> int:
    if path is None and sys.stdout.isatty():
        raise ebpf.UsageError("Arrow is no text", helps=("--output FILE.arrow",))
    table = map.to_arrow()
    import pyarrow

    sink = path if path is not None else pyarrow.PythonFile(sys.stdout.buffer, mode="w")
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    _say(f"{table.num_rows} rows")
    return 0


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
