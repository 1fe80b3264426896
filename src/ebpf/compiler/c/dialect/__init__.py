"""BCC's dialect, as semantics of the type checker: map macros and methods, unpacked arguments, reads through kernel
pointers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast

if TYPE_CHECKING:
    from ebpf.compiler.c.dialect.bcc import BccDialect as BccDialect
    from ebpf.compiler.c.preprocessor import Preprocessed

_LIBBPF_HEADERS = ("bpf_helpers.h", "bpf_core_read.h", "bpf_tracing.h", "vmlinux.h")
_BCC_WRAPPERS = frozenset(
    """
    TRACEPOINT_PROBE RAW_TRACEPOINT_PROBE KFUNC_PROBE KRETFUNC_PROBE MODULE_KFUNC_PROBE MODULE_KRETFUNC_PROBE KMOD_RET
    LSM_PROBE
""".split()
)


def is_bcc(unit: ast.TranslationUnit, pre: Preprocessed, dialect: str) -> bool:
    """Whether the text is in BCC's dialect: as asked, or else unless it names libbpf's headers or places things in
    sections.
    """
    if dialect != "auto":
        return dialect == "bcc"
    if any(i.rpartition("/")[2] in _LIBBPF_HEADERS for i in pre.includes):
        return False
    sections = False
    for item in unit.items:
        if isinstance(item, ast.MacroCall):
            return True
        if isinstance(item, ast.FunctionDef) and item.wrapper is not None:
            return item.wrapper.kind in _BCC_WRAPPERS
        if isinstance(item, (ast.FunctionDef, ast.VarDecl)):
            sections = sections or any(a.name == "section" for a in item.attributes)
    return not sections


class Marks:
    """Declarations that hold pointers into the kernel, found while checking: key → depth.

    Depth 0: the value points there itself; 1: it points to a place that holds such a pointer; and so on. A mark that
    is found after its
    key was asked for in vain calls for another pass.
    """

    __slots__ = ("_asked", "_depths", "_late")

    def __init__(self) -> None:
        self._depths: dict[tuple[object, ...], int] = {}
        self._asked: set[tuple[object, ...]] = set()
        self._late = False

    def get(self, key: tuple[object, ...]) -> int | None:
        depth = self._depths.get(key)
        if depth is None:
            self._asked.add(key)
        return depth

    def set(self, key: tuple[object, ...], depth: int) -> None:
        if key not in self._depths:
            self._depths[key] = depth
            if key in self._asked:
                self._late = True

    def settle(self) -> bool:
        """Whether another pass is needed; ready for it."""
        late, self._late = self._late, False
        self._asked.clear()
        return late


def __getattr__(name: str) -> object:
    # Programs for libbpf never need it.
    if name == "BccDialect":
        from ebpf.compiler.c.dialect.bcc import BccDialect

        globals()[name] = BccDialect
        return BccDialect
    raise AttributeError(name)
