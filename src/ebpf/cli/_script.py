"""Running a Python script as ``python script.py`` would, with our `bcc` in front of any other."""

from __future__ import annotations

import os
import sys
import traceback

import ebpf


def run_script(path: str, arguments: list[str]) -> int:
    """Runs it as ``__main__``; returns its exit status (1 after an exception, whose traceback starts in the script)."""
    import runpy

    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    _prefer_our_bcc()
    try:
        runpy.run_path(path, run_name="__main__")
    except ebpf.EbpfError as error:
        from ebpf.cli import print_error

        print_error(error)
        if (place := _place(error, path)) is not None:
            print(f"  = note: raised by {place}", file=sys.stderr)
        return 1
    except SyntaxError as error:
        traceback.print_exception(error, limit=0)
        return 1
    except SystemExit as error:
        if isinstance(error, KeyboardInterrupt):  # what the machine traced has ended, and the script let that pass
            return 0
        raise
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:
        _print_from_script(error, path)
        return 1
    return 0


def _prefer_our_bcc() -> None:
    """Where `import bcc` would find another (a distribution's python3-bpfcc), put the directory of ours before it."""
    import importlib.util

    home = os.path.dirname(os.path.dirname(os.path.abspath(ebpf.__file__)))
    ours = os.path.join(home, "bcc", "__init__.py")
    try:
        found = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None or os.path.realpath(found.origin) != os.path.realpath(ours):
        if os.path.isfile(ours):
            sys.path.insert(1, home)


def _frames(error: BaseException, path: str) -> list[traceback.FrameSummary]:
    """The frames from the script's first on: ours and runpy's before it are nobody's business."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, f in enumerate(frames) if f.filename == path), 0)
    return list(frames[first:])


def _place(error: BaseException, path: str) -> str | None:
    lines = [f for f in _frames(error, path) if f.filename == path]
    return f"{path}:{lines[-1].lineno}: {lines[-1].line}" if lines else None


def _print_from_script(error: Exception, path: str) -> None:
    print("Traceback (most recent call last):", file=sys.stderr)
    sys.stderr.write("".join(traceback.format_list(_frames(error, path))))
    sys.stderr.write("".join(traceback.format_exception_only(error)))
