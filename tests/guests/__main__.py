"""``./dev guest``: the package's own command line for guests."""

from __future__ import annotations

import os
import sys

from ebpf.testing.guests.__main__ import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], "./dev guest"))
    except BrokenPipeError:
        os._exit(141)
