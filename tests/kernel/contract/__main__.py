"""``python -m tests.kernel.contract maps|hooks|own-hooks|needs|own-needs``: the contract on this kernel, a line of JSON
for each row.

``hooks`` attaches to the whole machine: in guests alone. ``own-hooks`` leaves those out. ``needs`` finds the capabilities
that each hook needs (of those named behind it, if any). ``tables DIRECTORY`` writes what
was kept of such runs (DIRECTORY/maps-6.1.jsonl, hooks-6.1.jsonl, …) into docs/kernel.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.kernel.contract import maps


def main() -> None:
    what = sys.argv[1]
    if what == "tables":
        from pathlib import Path

        from tests.kernel.contract import tables

        return tables.write(Path(sys.argv[2]))
    pins = maps.alone()
    results: Iterator[tuple[str, Any]]
    if what == "maps":
        results = maps.iter_results(pins)
    elif what.endswith("needs"):
        from tests.kernel.contract import needs

        results = needs.iter_results(sys.argv[2:], everything=what == "needs")
    else:
        from tests.kernel.contract import hooks

        results = hooks.iter_results(pins, everything=what == "hooks")
    for name, answers in results:
        print(json.dumps([name, answers]), flush=True)


if __name__ == "__main__":
    main()
