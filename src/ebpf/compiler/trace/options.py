"""What a script's compiler is told besides the script."""

from __future__ import annotations

from typing import NamedTuple


class ScriptOptions(NamedTuple):
    """Hashable: a cached object is kept under it.

    ``params`` are the positional parameters (``$1``, …). ``config`` holds (name, value) of settings by their name
    (``max_strlen``) or variable (``BPFTRACE_MAX_STRLEN``); the script's own come first. ``include_dirs`` are where
    headers are looked for, ``includes`` files to read before the script. ``helper_errors``: 1 reports helpers that
    fail, 2 also reads of memory that is not there.
    """

    params: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    include_dirs: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    helper_errors: int = 0
    mcpu: str = "v3"


NO_OPTIONS = ScriptOptions()
