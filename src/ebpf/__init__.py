"""eBPF from Python: C text in, a program attached in the Linux kernel out, its maps and events as Python values.

::

    import ebpf

    with ebpf.load(ebpf.compile("prog.c")) as session:
        session.attach()
        for event in session.maps["events"].events():
            print(event.pid, event.comm)

Names are resolved when they are first used (PEP 562): ``import ebpf`` itself imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would cost 6 ms
if TYPE_CHECKING:
    from ebpf.abi.maps import MapType as MapType
    from ebpf.abi.programs import AttachType as AttachType, ProgType as ProgType
    from ebpf.btf import Btf as Btf, Record as Record
    from ebpf.diagnostics import (
        Diagnostic as Diagnostic,
        format_diagnostic as format_diagnostic,
        format_error as format_error,
    )
    from ebpf.errors import (
        AttachError as AttachError,
        CompileError as CompileError,
        EbpfError as EbpfError,
        FormatError as FormatError,
        InternalError as InternalError,
        KernelError as KernelError,
        KeyMissing as KeyMissing,
        LoadError as LoadError,
        MapError as MapError,
        MapFull as MapFull,
        NotSupported as NotSupported,
        PrivilegeError as PrivilegeError,
        RelocationError as RelocationError,
        TargetNotFound as TargetNotFound,
        UnknownName as UnknownName,
        UsageError as UsageError,
        VerifierError as VerifierError,
    )
    from ebpf.isa import disassemble as disassemble
    from ebpf.machine.network.pcap import read_pcap as read_pcap, write_pcap as write_pcap
    from ebpf.object import MapSpec as MapSpec, Object as Object, ProgramSpec as ProgramSpec
    from ebpf.session import (
        EventStream as EventStream,
        Link as Link,
        Map as Map,
        Program as Program,
        Session as Session,
        compile as compile,
        load as load,
        open as open,
        use as use,
    )
    from ebpf.session.audit import Audited as Audited
    from ebpf.session.doctor import Finding as Finding, examine as examine
    from ebpf.session.explain import explain as explain
    from ebpf.session.flamegraph import FlameGraph as FlameGraph
    from ebpf.session.host import host as host
    from ebpf.session.inventory import inventory as inventory
    from ebpf.session.recordings import record as record
    from ebpf.session.statistics import ProgramCost as ProgramCost
    from ebpf.session.toolchain import build as build, link as link
    from ebpf.session.tracing.build import trace as trace
    from ebpf.session.tracing.listing import list_probes as list_probes
    from ebpf.session.tracing.trace import Trace as Trace, TraceEvent as TraceEvent
    from ebpf.session.verification import verify as verify

__version__ = "0.1.0"

# Where each name lives. One row a module; `__all__` follows from it.
_HOMES = {
    "ebpf.abi.maps": (
        "MapType",
    ),
    "ebpf.abi.programs": (
        "AttachType", "ProgType",
    ),
    "ebpf.btf": (
        "Btf", "Record",
    ),
    "ebpf.diagnostics": (
        "Diagnostic", "format_diagnostic", "format_error",
    ),
    "ebpf.errors": (
        "AttachError", "CompileError", "EbpfError", "FormatError", "InternalError", "KernelError", "KeyMissing",
        "LoadError", "MapError", "MapFull", "NotSupported", "PrivilegeError", "RelocationError", "TargetNotFound",
        "UnknownName", "UsageError", "VerifierError",
    ),
    "ebpf.isa": (
        "disassemble",
    ),
    "ebpf.machine.network.pcap": (
        "read_pcap", "write_pcap",
    ),
    "ebpf.object": (
        "MapSpec", "Object", "ProgramSpec",
    ),
    "ebpf.session": (
        "EventStream", "Link", "Map", "Program", "Session", "compile", "load", "open",
        "use",
    ),
    "ebpf.session.toolchain": (
        "build", "link",
    ),
    "ebpf.session.audit": (
        "Audited",
    ),
    "ebpf.session.statistics": (
        "ProgramCost",
    ),
    "ebpf.session.doctor": (
        "Finding", "examine",
    ),
    "ebpf.session.explain": (
        "explain",
    ),
    "ebpf.session.flamegraph": (
        "FlameGraph",
    ),
    "ebpf.session.host": (
        "host",
    ),
    "ebpf.session.inventory": (
        "inventory",
    ),
    "ebpf.session.tracing.build": (
        "trace",
    ),
    "ebpf.session.tracing.listing": (
        "list_probes",
    ),
    "ebpf.session.tracing.trace": (
        "Trace", "TraceEvent",
    ),
    "ebpf.session.recordings": (
        "record",
    ),
    "ebpf.session.verification": (
        "verify",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value  # the next use costs nothing
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
