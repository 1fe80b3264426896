"""Global variables of programs, typed: ``session.variables["wanted_pid"]``; and constants given before loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.object import MapSpec, Object
    from ebpf.object.spec import Variable
    from ebpf.session.backend import RawMap


def find_variables(obj: Object) -> dict[str, tuple[MapSpec, Variable]]:
    """Every global variable of the object, by name; a static one gives way to another of its name."""
    found: dict[str, tuple[MapSpec, Variable]] = {}
    for spec in obj.maps.values():
        for variable in spec.variables:
            if variable.name not in found or not variable.is_static:
                found[variable.name] = (spec, variable)
    return found


def initial_data(obj: Object, values: Mapping[str, Any], data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Contents of data sections with ``values`` put in, for loading; ``data`` replaces what the object has."""
    from ebpf.diagnostics import unknown_name

    known = find_variables(obj)
    sections = {name: bytearray(contents) for name, contents in data.items()}
    for name, value in values.items():
        if name not in known:
            raise unknown_name("global variable", name, known)
        spec, variable = known[name]
        section = sections.get(spec.name)
        if section is None:
            section = sections[spec.name] = bytearray(spec.initial or bytes(spec.value_size))
        section[variable.offset:variable.offset + variable.size] = _encode(obj, variable, value)
    return {name: bytes(contents) for name, contents in sections.items()}


def _encode(obj: Object, variable: Variable, value: Any) -> bytes:
    if obj.btf is None or not variable.type_id:
        if isinstance(value, (bytes, bytearray)) and len(value) == variable.size:
            return bytes(value)
        raise UsageError(f"variable {variable.name!r} has no type: give it as {variable.size} bytes")
    from ebpf.btf import codec

    return codec(obj.btf, variable.type_id).encode(value)


class Variables:
    """Global variables of a session's programs, by name: read and written while they run.

    ``session.variables["wanted"]`` and ``session.variables.wanted`` are the same.

    Constants (``const volatile``) can be read; they are set when loading: ``load(obj, variables={"wanted_pid": 7})``.
    Where the kernel shares the memory (5.5) a write touches that variable alone; before, its whole section.
    """

    def __init__(self, obj: Object, maps: Mapping[str, RawMap]) -> None:
        self._obj = obj
        self._maps = maps
        self._known: dict[str, tuple[MapSpec, Variable]] | None = None

    def _find(self, name: str) -> tuple[MapSpec, Variable]:
        if self._known is None:
            self._known = find_variables(self._obj)
        if name not in self._known:
            from ebpf.diagnostics import unknown_name

            raise unknown_name("global variable", name, self._known)
        return self._known[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except UnknownName as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_obj", "_maps", "_known"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __iter__(self) -> Iterator[str]:
        return iter(find_variables(self._obj))

    def __contains__(self, name: object) -> bool:
        return name in find_variables(self._obj)

    def __len__(self) -> int:
        return len(find_variables(self._obj))

    def __getitem__(self, name: str) -> Any:
        spec, variable = self._find(name)
        section = self._maps[spec.name].lookup(bytes(4)) or b""
        data = section[variable.offset:variable.offset + variable.size]
        if self._obj.btf is None or not variable.type_id:
            return data
        from ebpf.btf import codec

        return codec(self._obj.btf, variable.type_id).decode(data)

    def __setitem__(self, name: str, value: Any) -> None:
        spec, variable = self._find(name)
        if spec.frozen:
            raise UsageError(f"{name!r} is a constant once the object is loaded",
                             helps=(f"load(obj, variables={{{name!r}: {value!r}}})",))
        self._maps[spec.name].write_part(variable.offset, _encode(self._obj, variable, value))
