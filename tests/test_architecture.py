"""docs/architecture.md's rules, enforced: imports run downwards, the system stays at the edges, files stay short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"

# Lowest first. A module may import from its own layer and those before it.
LAYERS = ("errors", "abi", "isa", "btf", "object", "binaries", "compiler", "verifier", "machine", "kernel", "session",
          "debugger")
LAYER_OF = {name: i for i, name in enumerate(LAYERS)} | {"diagnostics": 0}

# Of the compiler, the kernel knows the facts that it is asked for and nothing else.
KERNEL_MAY_USE_OF_COMPILER = {"ebpf.compiler.facts"}

# Two backends side by side: neither knows the other.
BACKENDS = ("ebpf.machine", "ebpf.kernel")

# These use the front door alone: `import ebpf`, `from ebpf import name`; the command line runs the tools besides.
AT_THE_FRONT_DOOR = ("ebpf.cli", "ebpf.tools", "bcc", "ebpf.testing")

OS_MODULES = {"_ctypes", "ctypes", "fcntl", "mmap", "multiprocessing", "pty", "pyroute2", "resource", "select",
              "selectors", "socket", "subprocess", "termios"}
# Who may import which of them, and why.
OS_ALLOWED = {
    "ebpf.kernel": OS_MODULES,
    "ebpf.cli": OS_MODULES,
    "ebpf.binaries": {"mmap"},                 # libraries are large: what is not looked at is not read
    "ebpf.machine.native": OS_MODULES,         # memory that runs, and the process that makes code for it
    "ebpf.machine.runtime": {"ctypes", "_ctypes", "mmap"},   # the maps' memory, and their C
    "ebpf.machine.tracing": OS_MODULES,        # ptrace
    "ebpf.machine.network": OS_MODULES,        # network namespaces, packet sockets
    "ebpf.compiler.llvm.child": OS_MODULES,    # starts the code generator
    "ebpf.compiler.clang": {"subprocess"},     # starts clang
    "ebpf.session.poller": {"select"},         # waits on descriptors of either backend
    "ebpf.testing.guests": {"ctypes", "fcntl", "select", "selectors", "socket", "subprocess"},   # virtual machines
    "bcc": {"ctypes"},                         # BCC's API hands out and takes ctypes values
}

MAX_LINES = 700

MODULES = sorted(p for package in ("ebpf", "bcc") for p in (SRC / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, dotted name) of everything that the file imports when it runs, late imports included."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.orelse:
                yield from walk(child)
            return
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
              and isinstance(node.args[0].value, str)
              and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__")):
            yield node.lineno, node.args[0].value
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return tuple(walk(ast.parse(path.read_text(), str(path))))


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def import_problem(importer: str, imported: str) -> str | None:
    """Why ``importer`` may not import ``imported``; None if it may."""
    top = imported.partition(".")[0]
    if top in OS_MODULES:
        granted = next((names for who, names in OS_ALLOWED.items() if within(importer, who)), set())
        return None if top in granted else "touches the operating system outside kernel/ and cli/"
    if top == "bcc" and not within(importer, "bcc"):
        return "nothing is built on bcc"
    if top != "ebpf":
        return None
    for outside in AT_THE_FRONT_DOOR:
        if within(importer, outside):
            at_door = imported.count(".") <= 1 and imported.partition(".")[2] not in {*LAYER_OF, "cli", "tools"}
            runs_tools = outside == "ebpf.cli" and within(imported, "ebpf.tools")
            allowed = within(imported, outside) or at_door or runs_tools
            return None if allowed else "goes around the front door (`import ebpf`)"
    if importer == "ebpf" or imported == "ebpf":
        return None
    mine, theirs = LAYER_OF.get(importer.split(".")[1]), LAYER_OF.get(imported.split(".")[1])
    if mine is None:
        return f"ebpf.{importer.split('.')[1]} has no layer: give it one here and in docs/architecture.md"
    if theirs is None:
        return None if imported == "ebpf.__version__" else "is above every layer"
    if theirs > mine:
        return "imports run downwards only"
    if all(within(importer, b) or within(imported, b) for b in BACKENDS) and not any(
            within(importer, b) and within(imported, b) for b in BACKENDS):
        return "machine and kernel never import each other"
    if within(importer, "ebpf.kernel") and within(imported, "ebpf.compiler"):
        if not any(within(imported, allowed) for allowed in KERNEL_MAY_USE_OF_COMPILER):
            return "of the compiler, the kernel may know its facts protocol only"
    return None


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_downwards_and_the_system_stays_at_the_edges(path: Path) -> None:
    importer = module_name(path)
    problems = [f"{path.relative_to(ROOT)}:{line}: {imported}: {problem}"
                for line, imported in imports(path) if (problem := import_problem(importer, imported))]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(("importer", "imported", "allowed"), [
    ("ebpf.isa.decode", "ebpf.abi.helpers", True),
    ("ebpf.abi.helpers", "ebpf.isa", False),
    ("ebpf.btf.read", "ctypes", False),
    ("ebpf.kernel.sys", "ctypes", True),
    ("ebpf.kernel.facts", "ebpf.compiler.facts.Facts", True),
    ("ebpf.kernel.loader", "ebpf.compiler.c.parser", False),
    ("ebpf.kernel.loader", "ebpf.machine.maps", False),
    ("ebpf.machine.maps", "ebpf.kernel.maps", False),
    ("ebpf.machine.maps", "ebpf.machine.memory", True),
    ("ebpf.machine.machine", "ebpf.verifier", True),
    ("ebpf.machine.machine", "mmap", False),
    ("ebpf.session.load", "ebpf.compiler.c", True),
    ("ebpf.session.load", "socket", False),
    ("ebpf.cli.run", "ebpf.load", True),
    ("ebpf.cli.run", "ebpf.cli.output", True),
    ("ebpf.cli.run", "ebpf.kernel", False),
    ("ebpf.cli.run", "ebpf.kernel.sys", False),
    ("ebpf.cli.tools", "ebpf.tools.TOOLS", True),
    ("ebpf.tools.opensnoop", "ebpf.load", True),
    ("ebpf.tools.opensnoop", "ebpf.tools._tool.EventTool", True),
    ("ebpf.tools.opensnoop", "ebpf.session.Map", False),
    ("ebpf.tools.opensnoop", "subprocess", False),
    ("ebpf.session", "ebpf.tools", False),
    ("bcc.table", "ebpf.session.Map", False),
    ("bcc.table", "subprocess", False),
    ("ebpf.session", "bcc.table", False),
    ("ebpf.novel.thing", "ebpf.errors", False),
])
def test_the_rules_tell_right_from_wrong(importer: str, imported: str, allowed: bool) -> None:
    assert (import_problem(importer, imported) is None) is allowed


def test_late_and_conditional_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ebpf" / "isa" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import socket\nelse:\n    import mmap\n"
                    "def f():\n    from . import decode\n    from ..btf import Btf\n    import_module('ctypes')\n")
    monkeypatch.setattr(f"{__name__}.SRC", tmp_path)
    assert [name for _, name in imports(file)] == [
        "typing.TYPE_CHECKING", "mmap", "ebpf.isa.decode", "ebpf.btf.Btf", "ctypes"]


def test_the_document_names_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {p.parent.name for p in (SRC / "ebpf").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"`ebpf/(\w+)/`", text))


def is_generated(path: Path) -> bool:
    return path.stem.endswith("_generated") or "generated" in path.parts


@pytest.mark.parametrize("path", [p for p in sorted(ROOT.glob("**/*.py")) if ".venv" not in p.parts],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    if not is_generated(path):
        lines = path.read_text().count("\n")
        assert lines <= MAX_LINES, f"{lines} lines: look for the seam"


# Written so that this file does not hold what it forbids.
# (/proc/PID/root is a process's own root, wherever that is.)
_PLACES = re.compile(r"(?<!\})/" + r"(?:work|root)/|/tmp" + r"/v/|/opt/py" + "pi|/opt/" + r"wheels|/home/(?!user|you|alice|bob)\w+/")


def _texts() -> list[Path]:
    kinds = {".py", ".md", ".toml", ".sh", ".c", ".h", ".txt", ".cfg", ".json", ".yaml", ".yml"}
    found = [p for top in ("src", "tests", "docs", "examples", "bench", ".ci") for p in (ROOT / top).rglob("*")]
    return sorted(p for p in [*found, *ROOT.iterdir()]
                  if p.is_file() and (p.suffix in kinds or p.parent.name == ".ci" or p.name == "dev"))


def test_no_path_of_the_machine_that_it_was_written_on() -> None:
    found = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for path in _texts()
             for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1) if _PLACES.search(line)]
    assert not found, "\n".join(found)
