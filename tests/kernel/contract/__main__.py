"""``python -m tests.kernel.contract maps|hooks``: the contract on this kernel, a line of JSON for each row."""

from __future__ import annotations

import json
import sys

from tests.kernel.contract import maps


def main() -> None:
    what = sys.argv[1]
    pins = maps.alone()
    if what == "maps":
        for name, answers in maps.iter_results(pins):
            print(json.dumps([name, answers]), flush=True)


if __name__ == "__main__":
    main()
