"""How a script that imports `bcc` ends when nobody catches an error of ours.

The message, with the place in the C source where there is one, and the script's own line; no traceback through this
package. Ctrl-C while the script waits in one of our calls ends it without a word (and with SIGINT's exit status, as
ever). Everything else goes to the hook that was there before.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_previous: Any = None


def install() -> None:
    """Put our hook before the one that is there; once."""
    global _previous
    if _previous is None:
        _previous = sys.excepthook
        sys.excepthook = _hook


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt) and _ends_in_ours(trace):
        return
    errors = sys.modules.get("ebpf.errors")
    if errors is None or not isinstance(error, errors.EbpfError) or isinstance(error, errors.InternalError):
        _previous(kind, error, trace)
        return
    from ebpf import format_error

    stream = sys.stderr
    try:
        color = stream.isatty()
    except (AttributeError, ValueError):
        color = False
    text = format_error(error, color=color)
    if not text.lstrip("\x1b[0123456789;m").startswith(("error", "warning")):
        text = f"error: {text}"
    print(text, file=stream)
    place = _callers_line(trace)
    if place:
        print(place, file=stream)


def _callers_line(trace: TracebackType | None) -> str:
    """The last line of the trace that is neither ours nor the standard library's."""
    import linecache

    ours = _our_folders()
    found = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith((*ours, "<frozen")):
            source = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            found = f"  in {code.co_filename}:{trace.tb_lineno}" + (f": {source}" if source else "")
        trace = trace.tb_next
    return found


def _our_folders() -> tuple[str, str]:
    import os

    here = os.path.dirname(__file__)
    return here + os.sep, os.path.join(os.path.dirname(here), "ebpf") + os.sep


def _ends_in_ours(trace: TracebackType | None) -> bool:
    """Whether the innermost call was one of this package, or made by it."""
    ours = _our_folders()
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(ours):
            return True
        trace = trace.tb_next
    return False
