"""The exceptions of `ebpf`: one tree, each with attributes a program can act on and words a person can.

::

    EbpfError
    ├── CompileError                      source text was refused (diagnostics say where and why)
    ├── FormatError (ValueError)          bytes are not what they claim to be
    │   ├── ElfError · BtfError · InsnError
    ├── LoadError                         an object cannot be loaded as it is
    │   ├── RelocationError               a symbol, type or field it needs is missing
    │   └── VerifierError                 the verifier refused a program (.log, .diagnostics)
    ├── AttachError                       a loaded program cannot be attached there
    │   └── TargetNotFound (LookupError)  the hook does not exist (.similar names some that do)
    ├── MapError                          a map operation failed
    │   ├── MapFull                       no room for another entry
    │   └── KeyMissing (KeyError)         no entry under that key
    ├── UnknownName (KeyError)            no such program, map or field in this object (.similar)
    ├── KernelError (OSError)             a system call failed for a reason of its own (.call, .errno)
    │   └── PrivilegeError (PermissionError)  this user may not do that (.needs names what would allow it)
    ├── MachineFault                      a program in the userspace machine did what none may (.address, .slot)
    ├── NotSupported                      this kernel or build cannot do that (.feature, .since, .instead)
    ├── UsageError (ValueError)           an argument does not fit (wrong type, size, range)
    └── InternalError                     a bug of ours; please report it
"""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ebpf.diagnostics import Diagnostic


class EbpfError(Exception):
    """Base of everything this package raises on purpose.

    ``message`` is one line; ``notes`` are facts, ``helps`` are edits or commands that would mend it;
    ``diagnostics`` carries the places in the source when there are any.
    """

    def __init__(
        self,
        message: str,
        *,
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        diagnostics: Sequence[Diagnostic] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.notes = tuple(notes)
        self.helps = tuple(helps)
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        # The renderer is imported only when somebody reads the words.
        from ebpf.diagnostics import format_error

        return format_error(self)


class CompileError(EbpfError):
    """Source text was refused; ``diagnostics`` holds one entry per mistake, in source order."""


class FormatError(EbpfError, ValueError):
    """Bytes are not what they claim to be; ``offset`` is where, in bytes, if known."""

    def __init__(self, message: str, *, offset: int | None = None, notes: Iterable[str] = (),
                 helps: Iterable[str] = ()) -> None:
        super().__init__(message, notes=notes, helps=helps)
        self.offset = offset


class ElfError(FormatError):
    """Not an ELF object for BPF, or a damaged one."""


class BtfError(FormatError):
    """Not BTF, or damaged BTF."""


class InsnError(FormatError):
    """Not a BPF instruction; ``offset`` counts bytes from the start of the code."""


class LoadError(EbpfError):
    """An object cannot be loaded as it is."""


class RelocationError(LoadError):
    """A symbol, type or field that the object refers to does not exist where it is to be loaded."""


class VerifierError(LoadError):
    """The verifier refused a program.

    ``program`` is its name, ``log`` the verifier's own text whole, ``diagnostics`` our reading of it.
    """

    def __init__(self, message: str, *, program: str, log: str, notes: Iterable[str] = (),
                 helps: Iterable[str] = (), diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message, notes=notes, helps=helps, diagnostics=diagnostics)
        self.program = program
        self.log = log


class AttachError(EbpfError):
    """A loaded program cannot be attached there."""


class _Similar(EbpfError):
    def __init__(self, message: str, *, name: str, similar: Sequence[str] = (),
                 notes: Iterable[str] = (), helps: Iterable[str] = ()) -> None:
        super().__init__(message, notes=notes, helps=helps)
        self.name = name
        self.similar = tuple(similar)


class TargetNotFound(_Similar, AttachError, LookupError):
    """The hook ``name`` does not exist; ``similar`` names some that do, best first."""


class UnknownName(_Similar, KeyError):
    """No program, map, field or type called ``name``; ``similar`` names some there are, best first."""


class MapError(EbpfError):
    """A map operation failed; ``map_name`` says on which map."""

    def __init__(self, message: str, *, map_name: str, notes: Iterable[str] = (),
                 helps: Iterable[str] = ()) -> None:
        super().__init__(message, notes=notes, helps=helps)
        self.map_name = map_name


class MapFull(MapError):
    """The map holds ``max_entries`` entries already (or memory for another could not be had)."""


class KeyMissing(MapError, KeyError):
    """The map has no entry under that key."""


class KernelError(EbpfError, OSError):
    """A system call failed; ``call`` names it (``"bpf(BPF_MAP_CREATE)"``), ``errno`` is the reason."""

    def __init__(self, call: str, errno: int, *, message: str | None = None,
                 notes: Iterable[str] = (), helps: Iterable[str] = ()) -> None:
        name = _errno.errorcode.get(errno, str(errno))
        EbpfError.__init__(self, message or f"{call}: {os.strerror(errno)} ({name})", notes=notes, helps=helps)
        self.call = call
        self.errno = errno


class PrivilegeError(KernelError, PermissionError):
    """This user may not do that; ``needs`` names what would allow it (``"CAP_BPF"``)."""

    def __init__(self, call: str, errno: int = _errno.EPERM, *, needs: Sequence[str] = (),
                 message: str | None = None, notes: Iterable[str] = (), helps: Iterable[str] = ()) -> None:
        super().__init__(call, errno, message=message, notes=notes, helps=helps)
        self.needs = tuple(needs)


class MachineFault(EbpfError):
    """A program in the userspace machine did what no verified program does: it was stopped.

    ``address`` and ``size`` say what was touched (``None``: it was no access to memory), ``region`` what is there or
    next to it, ``access`` how (``"read"``, ``"write"``, ``"atomic"``, ``"call"``). ``program`` and ``slot`` say which
    instruction it was, once that is known.
    """

    def __init__(self, message: str, *, address: int | None = None, region: str = "", access: str = "", size: int = 0,
                 program: str = "", slot: int | None = None, notes: Iterable[str] = (),
                 helps: Iterable[str] = ()) -> None:
        super().__init__(message, notes=notes, helps=helps)
        self.address = address
        self.region = region
        self.access = access
        self.size = size
        self.program = program
        self.slot = slot


class NotSupported(EbpfError):
    """This kernel (or ``who`` else) cannot do ``feature``; ``since`` is the first Linux version that can."""

    def __init__(self, feature: str, *, since: str | None = None, instead: str | None = None,
                 notes: Iterable[str] = (), who: str = "this kernel") -> None:
        when = f" (Linux {since} or newer can)" if since else ""
        super().__init__(f"{who} does not support {feature}{when}", notes=notes,
                         helps=(instead,) if instead else ())
        self.feature = feature
        self.since = since
        self.instead = instead


class UsageError(EbpfError, ValueError):
    """An argument does not fit: wrong type, size or range."""


class InternalError(EbpfError):
    """A bug of ours. The message says which assumption failed; please report it with the input."""
