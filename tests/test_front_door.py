"""`import ebpf`: which names it offers, that each is there, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf

SOURCE = Path(ebpf.__file__)

# The public API. A name added or removed here is a decision, and a line in CHANGELOG.md.
NAMES = [
    "AttachError", "AttachType", "Audited", "Btf", "CompileError", "Diagnostic", "EbpfError", "EventStream",
    "Finding", "FlameGraph", "FormatError", "InternalError", "KernelError", "KeyMissing", "Link", "LoadError", "Map",
    "MapError", "MapFull", "MapSpec", "MapType", "NotSupported", "Object", "PrivilegeError", "ProgType", "Program",
    "ProgramCost", "ProgramSpec", "Record", "RelocationError", "Session", "TargetNotFound", "Trace", "TraceEvent",
    "UnknownName", "UsageError", "VerifierError", "build", "compile", "disassemble", "examine", "explain",
    "format_diagnostic", "format_error", "host", "inventory", "link", "list_probes", "load", "open", "read_pcap",
    "record", "trace", "use", "verify", "write_pcap",
]


def test_offers_exactly_these_names() -> None:
    assert ebpf.__all__ == NAMES
    assert set(NAMES) <= set(dir(ebpf))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ebpf, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    block = next(n for n in ast.parse(SOURCE.read_text()).body if isinstance(n, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = [(node.module, alias.asname) for node in imports for alias in node.names]
    assert sorted(seen, key=str) == sorted(((home, name) for name, home in ebpf._HOME_OF.items()), key=str)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'attach_everything'"):
        ebpf.attach_everything  # noqa: B018


def test_errors_are_one_tree() -> None:
    errors = [getattr(ebpf, n) for n in NAMES if n.endswith("Error") or n in ("KeyMissing", "MapFull", "NotSupported",
                                                                             "TargetNotFound", "UnknownName")]
    assert all(issubclass(e, ebpf.EbpfError) for e in errors)


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has imported after ``statement``, beyond what it starts with."""
    code = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(SOURCE.parents[1])!r}); {statement}; " \
           "print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(out.split())


def test_importing_it_imports_nothing() -> None:
    # On measure: `typing` alone is 6 ms, `dataclasses` 11 ms, NumPy 80 ms, llvmlite 35 ms and 60 MB.
    assert modules_after("import ebpf") == {"ebpf", "__future__"}


def test_errors_cost_nothing_heavy() -> None:
    heavy = {"ctypes", "numpy", "llvmlite", "dataclasses", "inspect", "elftools", "pyroute2", "argparse", "subprocess"}
    assert not heavy & modules_after("import ebpf; ebpf.EbpfError")
