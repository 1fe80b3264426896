"""What an object file holds, as values: programs, maps, variables, externs. Same bytes, same values, on any host.

These are blueprints: nothing here refers to a kernel. They are named tuples because a start with a warm cache makes
them, and importing `dataclasses` alone would cost a sixth of its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ebpf.abi.maps import MapType
    from ebpf.abi.programs import AttachType, ProgType
    from ebpf.abi.sections import SectionInfo
    from ebpf.btf import Btf
    from ebpf.btf.ext import CoreRelos, FuncInfos, LineInfos
    from ebpf.object.elf import ElfImage

RelocationKind: TypeAlias = Literal["call", "func", "map", "data", "kconfig", "ksym", "kfunc", "undefined"]


class Relocation(NamedTuple):
    """Something in a function's code that is not known yet.

    ``offset`` is where, in bytes from the start of the function. By ``kind`` the instruction there is

    - ``call`` a local call of the function ``symbol``; ``func`` a wide load of that function's address
    - ``map`` a wide load of the map ``symbol``; ``data`` of the address ``addend`` bytes into the data map ``symbol``
    - ``kconfig`` a wide load of the address of the variable ``symbol`` in the map ``.kconfig``, plus ``addend``
    - ``ksym`` a wide load of the address of the kernel's ``symbol`` (variable or function)
    - ``kfunc`` a call of the kernel's function ``symbol``
    - ``undefined`` one of a symbol that neither this object defines nor its types declare
    """

    offset: int
    kind: RelocationKind
    symbol: str
    addend: int = 0


class ProgramSpec(NamedTuple):
    """One function: a program, or a subprogram that programs call.

    ``code`` is its own instructions alone; `ebpf.object.link` adds those of the subprograms it needs. ``offset`` says
    where it starts in its section, in bytes. ``func_infos``, ``line_infos`` and ``core_relos`` are sequences of
    records, made when they are looked at; ``insn_off`` in them counts bytes from the start of the function.
    ``type`` is ``None`` for subprograms and where the section's name says nothing. ``autoload`` is false for
    ``SEC("?…")``.
    """

    name: str
    section: str
    type: ProgType | None
    expected_attach_type: AttachType | None
    attach_to: str
    sleepable: bool
    autoload: bool
    is_global: bool
    offset: int
    code: bytes
    relocations: tuple[Relocation, ...] = ()
    func_infos: FuncInfos | tuple[()] = ()
    line_infos: LineInfos | tuple[()] = ()
    core_relos: CoreRelos | tuple[()] = ()

    @property
    def info(self) -> SectionInfo | None:
        """All that the section's name says."""
        from ebpf.abi.sections import parse_section

        return parse_section(self.section)


class Variable(NamedTuple):
    """A variable in a data section; ``offset`` and ``size`` in bytes, ``type_id`` in the object's BTF."""

    name: str
    type_id: int
    offset: int
    size: int
    is_static: bool = False


class MapSpec(NamedTuple):
    """A map to be made. Sizes in bytes; ``max_entries`` 0 where the loader or the kernel chooses.

    ``key_type_id`` and ``value_type_id`` are 0 where the object says only how large they are. ``inner`` is the
    template of a map of maps. ``values`` are the initial entries of a map of maps or a program array: (index, name of
    map or program). A data section (``.data``, ``.rodata.x``, ``.bss``, ``.kconfig``) is an array of one element:
    ``initial`` is its contents (``None``: all zero), ``variables`` what is in it; ``frozen`` says that user space
    must not change it once it is loaded.
    ``pinning`` is 1 (LIBBPF_PIN_BY_NAME) for a map to be shared under its name.
    """

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type_id: int = 0
    value_type_id: int = 0
    inner: MapSpec | None = None
    pinning: int = 0
    numa_node: int = 0
    map_extra: int = 0
    values: tuple[tuple[int, str], ...] = ()
    initial: bytes | None = None
    variables: tuple[Variable, ...] = ()
    frozen: bool = False
    is_data: bool = False


class Extern(NamedTuple):
    """Something of the kernel's that programs use: a configuration value, a variable, or a function.

    ``section`` is ``.kconfig`` or ``.ksyms``. ``type_id`` is the declared type (of a function its ``Func``, 0 for
    ``void``).
    ``weak``: may be missing, then its address is 0. ``offset`` and ``size`` place a ``.kconfig`` value in its map, in
    bytes.
    """

    name: str
    section: str
    type_id: int
    is_function: bool
    weak: bool
    offset: int = 0
    size: int = 0


class Object:
    """A BPF object: what `ebpf.object.read_object` finds in a file. Not to be changed.

    ``functions`` are the subprograms; ``functions_at`` finds a function by section and offset (bytes).
    ``btf`` has the sizes and offsets of its data sections filled in, as the kernel wants them. ``image`` is the file
    itself where it carries DWARF (for debuggers), else None.
    """

    __slots__ = ("_events", "_every", "_notes", "btf", "externs", "functions", "functions_at", "image",
                 "kernel_version", "license", "maps", "name", "programs")

    def __init__(self, name: str, license: str, kernel_version: int, programs: Mapping[str, ProgramSpec],
                 functions: Mapping[str, ProgramSpec], maps: Mapping[str, MapSpec], btf: Btf | None,
                 externs: Mapping[str, Extern], functions_at: Mapping[tuple[str, int], str],
                 notes: bytes | None, image: ElfImage | None = None) -> None:
        self.name = name
        self.license = license
        self.kernel_version = kernel_version
        self.programs = programs
        self.functions = functions
        self.maps = maps
        self.btf = btf
        self.externs = externs
        self.functions_at = functions_at
        self.image = image
        self._notes = notes
        self._events: Mapping[str, int] | None = None
        self._every: Mapping[str, ProgramSpec] | None = None

    @property
    def every_function(self) -> Mapping[str, ProgramSpec]:
        """`functions` and `programs` together, by name."""
        if self._every is None:
            self._every = {**self.functions, **self.programs}
        return self._every

    @property
    def events(self) -> Mapping[str, int]:
        """Map name → BTF type id of the records that programs send through it, where the compiler knew."""
        if self._events is None:
            self._events = read_events(self._notes, self.btf)
        return self._events

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Object):
            return NotImplemented
        mine = None if self.btf is None else self.btf.data
        theirs = None if other.btf is None else other.btf.data
        return mine == theirs and all(getattr(self, a) == getattr(other, a) for a in (
            "license", "kernel_version", "programs", "functions", "maps", "externs", "_notes"))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Object {self.name!r}: programs {_names(self.programs)}; maps {_names(self.maps)}>"


def _names(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(names) or "none"


def read_events(notes: bytes | None, btf: Btf | None) -> Mapping[str, int]:
    """The ``.ebpf`` section: ``{"events": {map name: type id}}``."""
    if not notes:
        return {}
    import json  # 4 ms, wanted only by who reads events

    from ebpf.errors import ElfError

    try:
        events = json.loads(notes)["events"]
        items = list(events.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ElfError("section `.ebpf` is damaged: expected {\"events\": {map name: type id}}") from None
    for name, type_id in items:
        if type(type_id) is not int or not 0 < type_id < (len(btf) if btf is not None else 1):
            raise ElfError(f"section `.ebpf`: events of `{name}` have the unknown type {type_id!r}")
    return dict(items)
