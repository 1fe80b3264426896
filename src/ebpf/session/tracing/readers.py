"""From the bytes of a record, a key or a value to what they mean: one function for each type of the plan."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from ebpf.errors import InternalError
from ebpf.session.tracing.values import Array, Buffer, Enumerator, Struct, Tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.trace.plan import Type
    from ebpf.session.tracing.names import Names

    Data = bytes | memoryview
    Reader = Callable[[Data, int], Any]  # (bytes, offset) -> value

_INTEGERS: Final = {(1, False): "<B", (1, True): "<b", (2, False): "<H", (2, True): "<h", (4, False): "<I",
                    (4, True): "<i", (8, False): "<Q", (8, True): "<q"}
_QUAD = struct.Struct("<Q").unpack_from
_SIGNED_QUAD = struct.Struct("<q").unpack_from
_WORD = struct.Struct("<I").unpack_from


def reader(type: Type, names: Names) -> Reader:
    """What reads a value of ``type``; ``names`` answers for addresses, ids and numbers that have names."""
    make = _READERS.get(type.kind)
    if make is None:
        raise InternalError(f"no values of type {type.kind!r} can be read")
    return make(type, names)


def values_reader(args: Sequence[tuple[int, Type]], names: Names) -> Callable[[bytes], tuple[Any, ...]]:
    """What reads all arguments of a record. Integers and strings by one unpacking: most records have nothing else."""
    codes, conversions, end = "<", [], 0
    for number, (offset, type) in enumerate(args):
        code = _INTEGERS.get((type.size, bool(type.signed))) if type.kind in ("int", "pointer") else None
        if code is None and type.kind != "str" or offset < end:
            reads = [(at, reader(each, names)) for at, each in args]
            return lambda record: tuple([read(record, at) for at, read in reads])
        codes += f"{offset - end}x{code[1] if code is not None else f'{type.size}s'}"
        conversions.append(f"x[{number}]" if code is not None else
                           f'x[{number}].partition(nul)[0].decode("utf-8", "surrogateescape")')
        end = offset + type.size
    unpack = struct.Struct(codes).unpack_from
    if all(type.kind != "str" for _, type in args):
        return unpack
    body = f"lambda record: (x := unpack(record)) and ({', '.join(conversions)},)"
    made: Callable[[bytes], tuple[Any, ...]] = eval(body, {"unpack": unpack, "nul": b"\0"})
    return made


def format_kind(type: Type) -> str:
    """What `Format` is told of a value."""
    if type.kind == "str":
        return "str"
    if type.kind != "int":
        return ""
    if type.size < 4 or (type.signed and type.size == 4):
        return "int"
    return "signed" if type.signed else "unsigned"


def _integer(type: Type, names: Names) -> Reader:
    code = _INTEGERS.get((type.size, bool(type.signed)))
    if code is None:  # a bit-field's odd size
        return lambda data, at: int.from_bytes(data[at:at + type.size], "little", signed=bool(type.signed))
    unpack = struct.Struct(code).unpack_from
    return lambda data, at: unpack(data, at)[0]


def _bool(type: Type, names: Names) -> Reader:
    return lambda data, at: any(data[at:at + type.size])


def _string(type: Type, names: Names) -> Reader:
    size = type.size

    def read(data: Data, at: int) -> str:
        return bytes(data[at:at + size]).partition(b"\0")[0].decode("utf-8", "surrogateescape")

    return read


def _buffer(type: Type, names: Names) -> Reader:
    room = type.size - 4

    def read(data: Data, at: int) -> Buffer:
        length = min(_WORD(data, at)[0], room)
        return Buffer(data[at + 4:at + 4 + length])

    return read


def _enum(type: Type, names: Names) -> Reader:
    number = _integer(type, names)
    known = dict(type.args)
    return lambda data, at: Enumerator(value := number(data, at), known.get(value, ""))


def _parts(type: Type, names: Names) -> list[tuple[str, int, Reader]]:
    return [(name, offset, reader(part, names)) for name, offset, part in type.args]


def _tuple(type: Type, names: Names) -> Reader:
    parts = [(offset, read) for _, offset, read in _parts(type, names)]
    return lambda data, at: Tuple([read(data, at + offset) for offset, read in parts])


def _record(type: Type, names: Names) -> Reader:
    parts = _parts(type, names)
    return lambda data, at: Struct({name: read(data, at + offset) for name, offset, read in parts})


def _array(type: Type, names: Names) -> Reader:
    count, element = type.args
    read = reader(element, names)
    size = element.size
    return lambda data, at: Array([read(data, at + i * size) for i in range(count)])


def _kernel_stack(type: Type, names: Names) -> Reader:
    mode, depth, map_name = type.args
    return lambda data, at: names.kernel_stack(_SIGNED_QUAD(data, at)[0], mode, depth, map_name)


def _user_stack(type: Type, names: Names) -> Reader:
    mode, depth, map_name = type.args
    return lambda data, at: names.user_stack(_SIGNED_QUAD(data, at)[0], _WORD(data, at + 8)[0], mode, depth, map_name)


def _user_symbol(type: Type, names: Names) -> Reader:
    return lambda data, at: names.user_symbol(_QUAD(data, at)[0], _WORD(data, at + 8)[0])


def _inet(type: Type, names: Names) -> Reader:
    return lambda data, at: names.address(_QUAD(data, at)[0], bytes(data[at + 8:at + 24]))


def _mac(type: Type, names: Names) -> Reader:
    return lambda data, at: ":".join([f"{byte:02X}" for byte in data[at:at + 6]])


def _timestamp(type: Type, names: Names) -> Reader:
    clock, text = type.args
    return lambda data, at: names.time(_QUAD(data, at)[0], clock, text)


def _named(ask: str) -> Callable[[Type, Names], Reader]:
    def make(type: Type, names: Names) -> Reader:
        number = _integer(type, names)
        answer = getattr(names, ask)
        return lambda data, at: answer(number(data, at))

    return make


_READERS: Final[dict[str, Callable[[Type, Names], Reader]]] = {
    "int": _integer, "pointer": _integer, "bool": _bool, "str": _string, "buf": _buffer, "enum": _enum,
    "tuple": _tuple, "record": _record, "array": _array, "kstack": _kernel_stack, "ustack": _user_stack,
    "usym": _user_symbol, "inet": _inet, "mac": _mac, "timestamp": _timestamp, "ksym": _named("kernel_symbol"),
    "username": _named("user_name"), "probe": _named("probe_name"), "cgroup_path": _named("cgroup_path"),
    "strerror": _named("error_name"),
}
