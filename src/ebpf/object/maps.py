"""Maps as objects define them: by BTF in ``.maps``, by ``struct bpf_map_def`` in ``maps``; and one per data section."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, MapType
from ebpf.btf.types import LINKAGE_STATIC, Array, Enum, Enum64, FuncProto, Ptr, Struct, Var
from ebpf.errors import ElfError
from ebpf.object.elf import SHT_NOBITS, STT_SECTION
from ebpf.object.spec import MapSpec, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ebpf.btf import Btf
    from ebpf.btf.types import DataSec, Member
    from ebpf.object.elf import ElfImage, Section

# Members of a BTF map definition that are numbers → the field of `MapSpec` they set.
_NUMBERS = {"type": "type", "max_entries": "max_entries", "map_flags": "flags", "key_size": "key_size",
            "value_size": "value_size", "numa_node": "numa_node", "map_extra": "map_extra", "pinning": "pinning"}
_TYPES = {"key": ("key_size", "key_type_id"), "value": ("value_size", "value_type_id")}
_MAPS_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


def btf_maps(btf: Btf, section: DataSec, image: ElfImage) -> dict[int, MapSpec]:
    """The maps in ``.maps``, by offset in that section."""
    maps: dict[int, MapSpec] = {}
    values_at: dict[int, int] = {}
    for type_id, offset, _ in section.variables:
        var = btf.type(type_id)
        if not isinstance(var, Var):
            raise ElfError(f"`{var.name}` in `.maps` is not a variable")
        spec, values = _definition(btf, var.name, var.type, inner=False)
        maps[offset] = spec
        if values is not None:
            values_at[offset] = values
    elf_section = image.get(".maps")
    if elf_section is not None and values_at:
        _initial_values(maps, values_at, elf_section, image)
    return maps


def _definition(btf: Btf, name: str, type_id: int, *, inner: bool) -> tuple[MapSpec, int | None]:
    """The map that a struct describes, and the offset of its ``values`` (bytes) if it has them."""
    struct_ = btf.resolved(type_id)
    if not isinstance(struct_, Struct):
        raise ElfError(f"map `{name}` is defined by a {struct_.kind.name.lower()}, expected a struct")
    fields: dict[str, Any] = {}
    template: MapSpec | None = None
    values: int | None = None

    def put(field: str, value: int, what: str) -> None:
        if value > 0xFFFFFFFF and field != "map_extra":
            raise ElfError(f"map `{name}`: `{what}` is {value}, more than 32 bits hold")
        if fields.setdefault(field, value) != value:
            raise ElfError(f"map `{name}`: `{what}` says {value}, another member {fields[field]}")

    for member in struct_.members:
        if member.name in _NUMBERS:
            put(_NUMBERS[member.name], _number(btf, name, member), member.name)
        elif member.name in _TYPES:
            pointer = btf.resolved(member.type)
            if not isinstance(pointer, Ptr):
                raise ElfError(f"map `{name}`: `{member.name}` must be a pointer to the type", helps=(
                    f"write `__type({member.name}, …)`",))
            size_field, id_field = _TYPES[member.name]
            put(size_field, btf.size_of(pointer.type), member.name)
            fields[id_field] = pointer.type
        elif member.name == "values":
            if inner:
                raise ElfError(f"map `{name}`: maps in maps can be nested only once")
            values = member.bit_offset // 8
            template = _template(btf, name, member)
        else:
            raise ElfError(f"map `{name}` has an unknown member `{member.name}`", helps=(
                "known are " + ", ".join([*_NUMBERS, *_TYPES, "values"]),))
    if "type" not in fields:
        raise ElfError(f"map `{name}` has no `type`", helps=("write `__uint(type, BPF_MAP_TYPE_…);`",))
    type_ = MapType(fields.pop("type"))
    if type_ in _MAPS_OF_MAPS or type_ == MapType.PROG_ARRAY:
        # Their values are 4 bytes wide whatever they name.
        put("value_size", 4, "values")
    if type_ == MapType.PROG_ARRAY or type_ == MapType.ARRAY_OF_MAPS:
        put("key_size", 4, "values")
    if fields.get("pinning", 0) > 1:
        raise ElfError(f"map `{name}`: unknown pinning {fields['pinning']}", helps=("LIBBPF_PIN_BY_NAME is 1",))
    spec = MapSpec(name, type_, fields.pop("key_size", 0), fields.pop("value_size", 0), fields.pop("max_entries", 0),
                   inner=template)
    return spec._replace(**fields) if fields else spec, values


def _number(btf: Btf, name: str, member: Member) -> int:
    """``__uint(f, N)`` is a pointer to an array of N elements, ``__ulong(f, N)`` an enum of one value."""
    t = btf.resolved(member.type)
    if isinstance(t, Ptr):
        array = btf.resolved(t.type)
        if isinstance(array, Array):
            return array.nelems
    elif isinstance(t, Enum | Enum64) and len(t.values) == 1:
        return t.values[0].value & 0xFFFFFFFFFFFFFFFF
    raise ElfError(f"map `{name}`: `{member.name}` is not a number as `__uint({member.name}, …)` writes it")


def _template(btf: Btf, name: str, member: Member) -> MapSpec | None:
    """The inner map of ``__array(values, struct inner)``; ``None`` for an array of programs."""
    array = btf.resolved(member.type)
    pointer = btf.resolved(array.type) if isinstance(array, Array) else None
    if not isinstance(pointer, Ptr):
        raise ElfError(f"map `{name}`: `values` must be an array of pointers, as `__array(values, …)` writes it")
    if isinstance(btf.resolved(pointer.type), FuncProto):
        return None
    return _definition(btf, f"{name}.inner", pointer.type, inner=True)[0]


def _initial_values(maps: dict[int, MapSpec], values_at: dict[int, int], section: Section, image: ElfImage) -> None:
    starts = sorted(maps)
    entries: dict[int, list[tuple[int, str]]] = {}
    for rel in image.relocations(section):
        at = starts[max(0, bisect_right(starts, rel.offset) - 1)]
        if at not in values_at:
            raise ElfError(f"`.maps` has an initial value at {rel.offset:#x}, where no `values` are")
        spec, index = maps[at], (rel.offset - at - values_at[at]) // 8
        symbol = image.symbols[rel.symbol]
        target = symbol.name
        if symbol.type == STT_SECTION:
            in_place = int.from_bytes(section.data[rel.offset:rel.offset + 8], "little")
            found = maps.get(symbol.value + in_place)
            if found is None or symbol.section != section.index:
                raise ElfError(f"map `{spec.name}`: initial value {index} refers to nothing that is known")
            target = found.name
        if index < 0 or spec.max_entries and index >= spec.max_entries:
            raise ElfError(f"map `{spec.name}`: initial value {index} is beyond its {spec.max_entries} entries")
        entries.setdefault(at, []).append((index, target))
    for at, values in entries.items():
        maps[at] = maps[at]._replace(values=tuple(values))


def is_legacy_section(section: Section) -> bool:
    """``maps``, or ``KIND/maps`` as some loaders want it beside a program's section."""
    return section.name.rpartition("/")[2] == "maps" and section.size > 0 and not section.executable


def legacy_maps(section: Section, image: ElfImage) -> dict[int, MapSpec]:
    """The maps in a ``maps`` section (``struct bpf_map_def``), by offset.

    Five words are libbpf's before 1.0: type, sizes of key and value, entries, flags. aya's (Rust) go on with an id and
    a pinning; those of iproute2's ``struct bpf_elf_map`` with the id of the map that is a template for this one's, and
    the index at which a template itself is put. Zeros behind the five words are nobody's wish.
    """
    out: dict[int, MapSpec] = {}
    by_id: dict[int, int] = {}
    templates: list[tuple[int, int, int]] = []  # (of, its template's id, index)
    data = bytes(section.data)
    symbols = sorted((s for s in image.symbols if s.section == section.index and s.name and s.type != STT_SECTION),
                     key=lambda s: s.value)
    ends = [*(s.value for s in symbols[1:]), section.size]
    for symbol, after in zip(symbols, ends, strict=False):
        raw = data[symbol.value:after]
        if len(raw) < 20:
            raise ElfError(f"legacy map `{symbol.name}` has {len(raw)} bytes, at least 20 are needed")
        type_, key_size, value_size, max_entries, flags, id, pinning, inner_id, inner_index = struct.unpack(
            "<9I", raw[:36].ljust(36, b"\0"))
        of_iproute = len(raw) >= 36
        if any(raw[36:]) or pinning > 1 or of_iproute and pinning:
            raise ElfError(f"legacy map `{symbol.name}` sets fields that only other loaders know", helps=(
                "define it by BTF, in `SEC(\".maps\")`",))
        out[symbol.value] = MapSpec(symbol.name, MapType(type_), key_size, value_size, max_entries, flags,
                                    pinning=pinning)
        if id:
            by_id[id] = symbol.value
        if of_iproute and (inner_id or inner_index):
            templates.append((symbol.value, inner_id, inner_index))
    for at, inner_id, inner_index in templates:
        _put_template(out, by_id, at, inner_id, inner_index)
    return out


def _put_template(maps: dict[int, MapSpec], by_id: dict[int, int], at: int, inner_id: int, index: int) -> None:
    """iproute2's maps of maps: the outer names its template's id; that one says at which index it is the first value.

    An index of -1 is no value.
    """
    spec = maps[at]
    if spec.type not in _MAPS_OF_MAPS:
        return
    if inner_id not in by_id:
        raise ElfError(f"legacy map `{spec.name}` wants the map with id {inner_id} as its template, and there is none")
    inner = maps[by_id[inner_id]]
    values = ((index, inner.name),) if index != 0xFFFFFFFF else ()
    maps[at] = spec._replace(inner=inner._replace(name=f"{spec.name}.inner"), values=values)


def is_data_section(section: Section) -> bool:
    """Is it global data of programs, which becomes a map?"""
    head, _, rest = section.name.lstrip(".").partition(".")
    if not section.name.startswith(".") or head not in ("data", "rodata", "bss"):
        return False
    # `.data.rel.ro` and the like hold addresses of other sections; a loader cannot fill those.
    return section.size > 0 and (section.type == SHT_NOBITS) == (head == "bss") and section.flags & 2 != 0


def data_map(section: Section, types: DataSec | None, btf: Btf | None) -> MapSpec:
    """The array map of one element that holds a data section."""
    constant = section.name.startswith(".rodata")
    variables = tuple(_variables(btf, types)) if btf is not None and types is not None else ()
    flags = BPF_F_RDONLY_PROG if constant else 0
    if any(not v.is_static for v in variables):
        flags |= BPF_F_MMAPABLE  # user space may want to share it; statics are nobody else's business
    initial = None if section.type == SHT_NOBITS else bytes(section.data)
    return MapSpec(section.name, MapType.ARRAY, 4, section.size, 1, flags, 0, types.id if types else 0, initial=initial,
                   variables=variables, frozen=constant, is_data=True)


def kconfig_map(types: DataSec, btf: Btf) -> MapSpec:
    """The map of kernel configuration values that the loader fills in."""
    return MapSpec(".kconfig", MapType.ARRAY, 4, types.size, 1, BPF_F_RDONLY_PROG | BPF_F_MMAPABLE, 0, types.id,
                   variables=tuple(_variables(btf, types)), frozen=True, is_data=True)


def struct_ops_maps(section: Section, types: DataSec | None, btf: Btf | None,
                    function_at: Callable[[int, int], str | None], image: ElfImage) -> dict[str, MapSpec]:
    """One map for each variable in ``.struct_ops`` (or ``.struct_ops.link``): a table of functions for the kernel.

    ``values`` names the program for each function pointer, by byte offset in the struct.
    """
    if types is None or btf is None:
        raise ElfError(f"section `{section.name}` needs BTF")
    from ebpf.abi.maps import BPF_F_LINK

    out: dict[str, MapSpec] = {}
    relocations = image.relocations(section)
    for v in _variables(btf, types):
        values = []
        for rel in relocations:
            if v.offset <= rel.offset < v.offset + v.size:
                symbol = image.symbols[rel.symbol]
                in_place = int.from_bytes(section.data[rel.offset:rel.offset + 8], "little")
                name = function_at(symbol.section, symbol.value + in_place)
                if name is None:
                    raise ElfError(f"`{v.name}` refers to `{symbol.name}`, which is no function")
                values.append((rel.offset - v.offset, name))
        out[v.name] = MapSpec(v.name, MapType.STRUCT_OPS, 4, v.size, 1, BPF_F_LINK if ".link" in section.name else 0, 0,
                              btf.resolve(v.type_id), values=tuple(values),
                              initial=bytes(section.data[v.offset:v.offset + v.size]))
    return out


def _variables(btf: Btf, types: DataSec) -> list[Variable]:
    out = []
    for type_id, offset, size in types.variables:
        var = btf.type(type_id)
        if isinstance(var, Var):
            out.append(Variable(var.name, var.type, offset, size, var.linkage == LINKAGE_STATIC))
    return out


def by_name(maps: Mapping[int, MapSpec]) -> dict[str, MapSpec]:
    """The maps under their names; raises `ElfError` if two share one."""
    out: dict[str, MapSpec] = {}
    for spec in maps.values():
        if spec.name in out:
            raise ElfError(f"two maps are called `{spec.name}`")
        out[spec.name] = spec
    return out
