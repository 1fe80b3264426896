"""Tools that show what a system does, written on this package's own API: ``ebpf tools opensnoop``, or from Python::

    from ebpf.tools import opensnoop

    for event in opensnoop.events(pid=42):
        print(event.comm, event.path, event.error)

A tool is a module of its name, with a C program beside it, and offers `events` (what happens, as it happens) or
`reports` (what an interval added up to), both of named tuples. `TOOLS` says what there is.
"""

from __future__ import annotations

from typing import Final

#: Name → what it shows, in one line.
TOOLS: Final[dict[str, str]] = {
    "execsnoop": "programs that are run, with their arguments",
    "opensnoop": "files that are opened, or could not be",
}
