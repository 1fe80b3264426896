"""The event of a tracing program from its arguments' names: ``{"filename": "/etc/passwd", "dfd": -100}``.

The names are the kernel's: of a function's parameters, of a system call's arguments, of a tracepoint's fields. A value
is a number, or what a pointer leads to (text, bytes, a struct's members by name), which is placed in memory for the
event. Arguments that are not named are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.abi.programs import AttachType, ProgType
from ebpf.abi.registers import REGISTERS
from ebpf.abi.syscalls import kernel_function_of, number_of, plain_name, syscall_arguments
from ebpf.abi.tracepoints import HEADER_BYTES, TracepointField, tracepoint_fields
from ebpf.diagnostics import unknown_name
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.btf import Btf
    from ebpf.machine.placed import PlacedMemory
    from ebpf.object import ProgramSpec

    Types = Callable[[], Btf | None]

_ARCH = "x86_64"
_M64 = (1 << 64) - 1
_WORDS = frozenset(int(t) for t in (
    ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE, ProgType.TRACING, ProgType.LSM))
_RETURN = ("ret", "rc", "return")
_AFTER = frozenset((int(AttachType.TRACE_FEXIT), int(AttachType.MODIFY_RETURN), int(AttachType.LSM_MAC)))


class Parameter(NamedTuple):
    """One argument; ``type`` is its BTF type (0: not known)."""

    name: str
    type: int = 0


class Event:
    """What the arguments of an event of the program ``spec`` become; ``types`` gives the kernel's types."""

    def __init__(self, spec: ProgramSpec, type: int, memory: PlacedMemory, types: Types) -> None:
        self.spec = spec
        self.type = type
        self.memory = memory
        self._types = types

    def context(self, fields: Mapping[str, Any]) -> bytes | dict[str, Any]:
        """The context's bytes, or its fields with numbers in place of what was to be placed in memory."""
        if self.type in _WORDS:
            return self._words(fields)
        if self.type == ProgType.KPROBE:
            return self._registers(fields)
        if self.type == ProgType.TRACEPOINT:
            return self._record(fields)
        return dict(fields)

    # ---- values ----

    def _value(self, name: str, value: Any, type: int = 0) -> int:
        """A number for ``value``: itself, or the address where it was placed."""
        if isinstance(value, (str, bytes, bytearray)):
            return self.memory.place(value if isinstance(value, str) else bytes(value))
        if isinstance(value, Mapping):
            return self._struct(name, value, type)
        try:
            return int(value) & _M64
        except (TypeError, ValueError):
            raise UsageError(f"{self.spec.name!r}: argument {name} is a number, or what it points to (text, bytes, a "
                             f"struct's members by name), not {value!r}") from None

    def _struct(self, name: str, members: Mapping[str, Any], pointer: int) -> int:
        from ebpf.btf import codec
        from ebpf.btf.types import Ptr, Struct, Union

        btf = self._types()
        t = btf.resolved(pointer) if btf is not None and pointer else None
        pointee = btf.resolved(t.type) if btf is not None and isinstance(t, Ptr) and t.type else None
        if btf is None or not isinstance(pointee, (Struct, Union)):
            raise UsageError(f"{self.spec.name!r}: argument {name} does not point to a struct whose members are known: "
                             "give its bytes")
        return self.memory.place(codec(btf, pointee.id).encode(self._members(btf, pointee.id, members)))

    def _members(self, btf: Btf, id: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The members with addresses for what pointers among them lead to."""
        from ebpf.btf.types import Ptr, Struct, Union

        known = btf.members(id)
        found: dict[str, Any] = {}
        for name, value in given.items():
            field = known.get(name)
            if field is None:
                raise unknown_name("member", name, known, where=f" of struct {btf.type(id).name}")
            t = btf.resolved(field.type)
            if isinstance(t, Ptr) and not isinstance(value, int):
                value = self._value(name, value, field.type)
            elif isinstance(t, (Struct, Union)) and isinstance(value, Mapping):
                value = self._members(btf, t.id, value)
            found[name] = value
        return found

    def _parameters(self, function: str) -> tuple[Parameter, ...] | None:
        """The parameters of a kernel function; ``None`` where no types tell them."""
        from ebpf.btf.types import Func, FuncProto, Kind

        btf = self._types()
        id = btf.find(function, Kind.FUNC) if btf is not None and function else None
        if btf is None or id is None:
            return None
        function_type = btf.type(id)
        proto = btf.type(function_type.type) if isinstance(function_type, Func) else None
        return tuple(Parameter(p.name, p.type) for p in proto.params) if isinstance(proto, FuncProto) else None

    # ---- words: raw tracepoints, fentry, LSM ----

    def _words(self, fields: Mapping[str, Any]) -> bytes:
        known = list(self._word_parameters())
        given = dict(fields)
        positional = given.pop("args", ())
        if isinstance(positional, (int, str, bytes, Mapping)):
            positional = (positional,)
        words = [0] * max(len(known), len(positional))
        for at, value in enumerate(positional):
            words[at] = self._value(f"args[{at}]", value, known[at].type if at < len(known) else 0)
        places = {parameter.name: at for at, parameter in enumerate(known)}
        for name, value in given.items():
            at = places.get("ret" if name in _RETURN else name, -1)
            if at < 0 and name.startswith("arg") and name[3:].isdigit() and int(name[3:]) < 12:
                at = int(name[3:])  # by position, where the kernel's types are not known
                words += [0] * (at + 1 - len(words))
            if at < 0:
                raise unknown_name("argument", name, places or ["args", "arg0"],
                                   where=f" of {self.spec.attach_to or self.spec.name}")
            words[at] = self._value(name, value, known[at].type if at < len(known) else 0)
        return b"".join(word.to_bytes(8, "little") for word in words)

    def _word_parameters(self) -> tuple[Parameter, ...]:
        target = self.spec.attach_to
        attach_type = int(self.spec.expected_attach_type or 0)
        if self.type == ProgType.LSM:
            found = self._parameters(f"bpf_lsm_{target}") or ()
        elif self.type == ProgType.TRACING and attach_type != AttachType.TRACE_RAW_TP:
            found = self._parameters(target) or ()
        else:
            found = (self._parameters(f"__bpf_trace_{target}") or self._parameters(f"__traceiter_{target}")
                     or (Parameter(""),))[1:]
        return (*found, Parameter("ret")) if attach_type in _AFTER else found

    # ---- registers: kprobes, uprobes ----

    def _registers(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        row = REGISTERS[_ARCH]
        own = {*(f"parm{n}" for n in range(1, len(row.args) + 1)), "rc", "args", *row.args}
        own |= {line.partition(":")[0] for line in row.members.split(";")}
        function = self.spec.attach_to.partition("+")[0]
        call = plain_name(function)
        kind = self.spec.info.kind if self.spec.info is not None else ""
        if kind in ("ksyscall", "kretsyscall"):
            call, wrapped = function, True
        else:
            wrapped = call is not None and function.startswith((row.syscall_prefix, "sys_"))
        arguments = syscall_arguments(call) if call is not None else None
        known: tuple[Parameter, ...] = ()
        if wrapped and arguments is not None:
            known = tuple(Parameter(argument.name) for argument in arguments)
        elif not kind.startswith("u"):
            known = self._parameters(function) or tuple(Parameter(a.name) for a in arguments or ())
        registers = row.syscall_args if wrapped else row.args
        places = {p.name: (register, p.type) for p, register in zip(known, registers, strict=False)}
        found: dict[str, Any] = {}
        inner: dict[str, Any] = {}
        for name, value in fields.items():
            if name == "args":
                for at, (register, one) in enumerate(zip(registers, value, strict=False)):
                    (inner if wrapped else found)[register] = self._value(
                        f"args[{at}]", one, known[at].type if at < len(known) else 0)
            elif name in _RETURN:
                found["rc"] = self._value(name, value)
            elif name in places:
                register, type = places[name]
                (inner if wrapped else found)[register] = self._value(name, value, type)
            elif name in own:
                found[name] = self._value(name, value)
            else:
                raise unknown_name("argument", name, [*places, *sorted(own - {"args"})],
                                   where=f" of {function or self.spec.name}")
        if inner:
            order = row.members.replace(":8 a", "").split(";")
            found[row.args[0]] = self.memory.kernel(pack(f"<{len(order)}Q", *(inner.get(name, 0) for name in order)))
        return found

    # ---- records: tracepoints ----

    def _record(self, fields: Mapping[str, Any]) -> bytes | dict[str, Any]:
        category, _, name = self.spec.attach_to.partition("/")
        known = tracepoint_fields(category, name) if name else None
        if known is None or {field for field in fields if not field.startswith("common_")} - {f.name for f in known}:
            return {field: self._value(field, value) if isinstance(value, Mapping) else value
                    for field, value in fields.items()}
        return self._known_record(category, name, known, fields)

    def _known_record(self, category: str, name: str, known: tuple[TracepointField, ...],
                      fields: Mapping[str, Any]) -> bytes:
        from ebpf.machine.hooks.contexts import record

        values: dict[str, int | bytes] = {}
        call = name.partition("_")[2].partition("_")[2]
        if category == "syscalls":
            number = number_of(kernel_function_of(call), _ARCH)
            values["__syscall_nr"] = 0 if number is None else number
        for field in known:
            if field.name not in fields:
                if field.is_string:
                    values[field.name] = b""
                continue
            value = fields[field.name]
            if field.is_string or field.type.startswith("char["):
                values[field.name] = value.encode() if isinstance(value, str) else bytes(value)
            elif field.size > 8:
                values[field.name] = b"".join(self._value(field.name, one).to_bytes(8, "little")
                                              for one in value).ljust(field.size, b"\0") + b"\0"
            else:
                values[field.name] = self._value(field.name, value)
        data = bytearray(record(known, values, int(fields.get("common_pid", 0))))
        for field in known:
            if field.size > 8 and isinstance(value := values.get(field.name), bytes) and not field.is_string \
                    and not field.type.startswith("char["):
                data[field.offset:field.offset + field.size] = value[:field.size]  # numbers have no NUL at their end
        assert len(data) >= HEADER_BYTES
        return bytes(data)
