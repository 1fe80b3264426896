"""Writes what the documentation takes from the code: ``./dev docs``, or ``python docs/generate.py [--check]``.

``api.md``, ``messages.md``, ``machine.md`` and the decorators' ``hooks.pyi`` are made whole; ``c.md`` and ``bcc.md``
have tables between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. ``--check`` writes nothing and fails if
something is stale; a test runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate_api
import generate_hooks
import generate_machine
import generate_tables

DOCS = Path(__file__).parent
WHOLE: dict[str, Callable[[], str]] = {"api.md": generate_api.page, "messages.md": generate_tables.messages_page,
                                         "machine.md": generate_machine.page}
WITH_TABLES = ("c.md", "bcc.md")
_TABLE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end of table -->)", re.S)


def pages() -> dict[Path, str]:
    """Every page that takes something from the code, as it should be."""
    made = {DOCS / name: page() for name, page in WHOLE.items()}
    made[DOCS.parent / "src/ebpf/session/functions/hooks.pyi"] = generate_hooks.page()
    for name in WITH_TABLES:
        text = (DOCS / name).read_text()
        made[DOCS / name] = _TABLE.sub(lambda m: f"{m[1]}\n{generate_tables.TABLES[m['name']]()}\n\n{m[3]}", text)
    return made


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; the exit status."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is stale: run ./dev docs")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text)
    print(f"wrote {', '.join(path.name for path in stale) or 'nothing: all is current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
