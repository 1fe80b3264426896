"""The verifier: proves that a program is safe to run, or says which instruction is not, on which path, and what would
mend it.

``verify(obj, "name")`` gives a `Verified` or raises `ebpf.errors.VerifierError` with a diagnostic. It is pure: nothing
here looks at
the machine it runs on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.verifier.options import Options
    from ebpf.verifier.verdict import Verified, verify, verify_program, verify_raw

__all__ = ["Options", "Verified", "verify", "verify_program", "verify_raw"]

_LATE = {
    "Options": "options",
    "Verified": "verdict",
    "verify": "verdict",
    "verify_program": "verdict",
    "verify_raw": "verdict",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(f"ebpf.verifier.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
