"""What a function refers to, found without parsing it: its words, looked up where the function would.

This is what the key of a cache rests on, so words that only seem to be references (in a string, say) cost a needless
compilation at most; nothing that the function refers to is missed.
"""

from __future__ import annotations

from ebpf.compiler.py.declarations import GlobalDecl, MapDecl, ProgramDecl
from ebpf.compiler.py.library import Helpers
from ebpf.compiler.py.source import segment
from ebpf.compiler.py.types import ArrayType, IntType, KernelNames, KernelType, PointerType, StructType, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FunctionType
    from typing import Any

_PLAIN = (int, str, bytes, float, type(None))
_NOT_WORDS = {c: " " for c in range(128) if not (chr(c).isalnum() or chr(c) in "_.")}
_MISSING = object()
_OURS = "ebpf."


class Walk:
    """Collects from programs: ``parts`` is text that changes when anything does that the object depends on."""

    def __init__(self) -> None:
        self.maps: dict[str, MapDecl] = {}
        self.globals: dict[str, GlobalDecl] = {}
        self.parts: list[str] = []
        self._seen: set[int] = set()
        self._named: set[int] = set()

    def program(self, p: ProgramDecl) -> None:
        self.parts.append(f"program {p.name} {p.section} {sorted(p.options.items())!r}")
        self.function(p.function)

    def function(self, function: Any) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        code = function.__code__
        text = segment(code)
        self.parts.append(f"{code.co_filename}:{code.co_firstlineno}\n{text}")
        self.parts.append(repr(sorted((k, self._type(v)) for k, v in function.__annotations__.items())))
        self.parts.append(repr(function.__defaults__ or ()))
        names = set(_names(code))
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        for word in dict.fromkeys(text.translate(_NOT_WORDS).split()):
            head, *rest = word.split(".")
            value = _value(function, cells, head)
            if value is not _MISSING:
                self._take(word, head, value, rest, head in names)

    def _take(self, word: str, name: str, value: Any, rest: list[str], used: bool) -> None:
        """What a word stands for: modules, classes and their like are followed by attributes."""
        for attribute in rest:
            if isinstance(value, (KernelNames, Helpers)):
                self.parts.append(word)
                return
            if isinstance(value, (MapDecl, GlobalDecl, ProgramDecl, IntType, StructType)) or isinstance(value, _PLAIN):
                break
            if type(value).__name__ == "module" and value.__name__.partition(".")[0] == "ebpf":
                if attribute not in vars(value):
                    return  # a name of the front door that nobody has resolved: nothing of the program's own
            value = getattr(value, attribute, _MISSING)
            name = attribute
            if value is _MISSING:
                return
        if isinstance(value, MapDecl):
            if used and id(value) not in self._named:
                self._named.add(id(value))
                self.maps[value.name or name] = value
            self.parts.append(f"{word} {describe_map(value)}")
        elif isinstance(value, GlobalDecl):
            if used and id(value) not in self._named:
                self._named.add(id(value))
                self.globals[value.name or name] = value
            self.parts.append(f"{word} global {describe(value.type)} {value.initial!r} {value.const}")
        elif isinstance(value, ProgramDecl):
            self.parts.append(f"{word} program {value.name} {value.section}")
        elif isinstance(value, (IntType, StructType, ArrayType, KernelType, PointerType)):
            self.parts.append(f"{word} {describe(value)}")
        elif isinstance(value, (*_PLAIN, tuple)):
            self.parts.append(f"{word} {value!r}")
        elif hasattr(value, "__code__") and hasattr(value, "__globals__"):
            self._called(word, value)
        else:
            self.parts.append(f"{word} is {type(value).__name__}")

    def _called(self, word: str, value: FunctionType) -> None:
        module = value.__module__ or ""
        self.parts.append(f"{word} function {module}.{value.__qualname__}")
        if not module.startswith(_OURS) and module not in modules_of_python():
            self.function(value)

    def _type(self, t: Any) -> str:
        return t if isinstance(t, str) else describe(t)


def modules_of_python() -> frozenset[str]:
    """Names of the standard library's modules, whose functions no program can call."""
    from sys import stdlib_module_names

    return stdlib_module_names


def describe_map(m: MapDecl) -> str:
    inner = "" if m.inner is None else f" of {describe_map(m.inner)}"
    return (
        f"map {int(m.type)} {describe(m.key)} {describe(m.value)} {m.max_entries} {m.flags} {m.name} {m.pinning} "
        f"{m.map_extra}{inner}"
    )


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for c in code.co_consts:
        if type(c) is type(code):
            yield from _names(c)


def _value(function: FunctionType, cells: dict[str, Any], name: str) -> Any:
    cell = cells.get(name)
    if cell is not None:
        try:
            return cell.cell_contents
        except ValueError:
            return _MISSING
    return function.__globals__.get(name, _MISSING)
