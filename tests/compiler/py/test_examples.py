"""The unit tests that come with examples/functions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PATH = Path(__file__).resolve().parents[3] / "examples" / "functions" / "test_functions.py"
_SPEC = importlib.util.spec_from_file_location("examples_of_functions", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_module)
globals().update({n: v for n, v in vars(_module).items() if n.startswith("test_") or n == "wall"})
