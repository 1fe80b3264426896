"""Where the arguments of static probes are, for programs that ask in libbpf's way (``<bpf/usdt.bpf.h>``).

Such an object has the map ``__bpf_usdt_specs``: one ``struct __bpf_usdt_spec`` for each way in which a probe's
arguments lie. Whoever attaches fills it, and hands each place its number as the attach cookie; before Linux 5.15, which
has none, the number is found by the address of the place (``__bpf_usdt_ip_to_spec_id``). The layout is taken from the
object's own types: libbpf has extended it once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ebpf.abi.registers import REGISTERS
from ebpf.binaries.mappings import iter_mappings
from ebpf.errors import AttachError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.binaries.usdt import UsdtArgument, UsdtProbe
    from ebpf.session.maps import Map
    from ebpf.session.programs import Program

SPECS, BY_ADDRESS = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"
_CONST, _REG, _REG_DEREF, _SIB = range(4)


class UsdtSpecs:
    """The specifications of one session; numbers are handed out once and shared by places that are alike."""

    def __init__(self, specs: Map, by_address: Map | None) -> None:
        self._specs = specs
        self._by_address = by_address
        self._numbers: dict[tuple[tuple[UsdtArgument, ...], int], int] = {}

    def numbers(self, places: Sequence[UsdtProbe], cookie: int, architecture: str) -> list[int]:
        """The number of each place's specification, written into the map where it is new.

        ``cookie`` is what ``bpf_usdt_cookie`` gives. Raises `AttachError` if the map is full.
        """
        found = []
        for place in places:
            key = (place.arguments, cookie)
            if key not in self._numbers:
                number = len(self._numbers)
                if number >= self._specs.max_entries:
                    raise AttachError(f"{place.provider}:{place.name} lies in more ways than `{SPECS}` has room for "
                                      f"({self._specs.max_entries})", helps=("define BPF_USDT_MAX_SPEC_CNT before the "
                                                                            "header", "attach to one process: pid="))
                self._specs[number] = self._encoded(place, cookie, REGISTERS[architecture].members)
                self._numbers[key] = number
            found.append(self._numbers[key])
        return found

    def note_addresses(self, addresses: Sequence[int], numbers: Sequence[int]) -> None:
        """For kernels without cookies: which place is hit is told by its address in the process."""
        if self._by_address is None:
            raise NotSupported("the arguments of static probes", since="5.15",
                               instead="an object that has the map __bpf_usdt_ip_to_spec_id")
        for address, number in zip(addresses, numbers, strict=True):
            self._by_address[address] = number

    def _encoded(self, place: UsdtProbe, cookie: int, members: str) -> dict[str, Any]:
        offsets = _offsets(members)
        arguments = [self._argument(place, argument, offsets) for argument in place.arguments]
        return {"args": arguments + [{}] * (12 - len(arguments)), "usdt_cookie": cookie & 0xFFFFFFFFFFFFFFFF,
                "arg_cnt": len(arguments)}

    def _argument(self, place: UsdtProbe, argument: UsdtArgument, offsets: dict[str, int]) -> dict[str, int]:
        spec = {"val_off": argument.constant & 0xFFFFFFFFFFFFFFFF, "arg_signed": int(argument.signed),
                "arg_bitshift": 64 - 8 * argument.size, "arg_type": _CONST}
        if argument.register:
            spec |= {"arg_type": _REG_DEREF if argument.address else _REG, "reg_off": offsets[argument.register]}
        if argument.index_register:
            if not self._has_index:
                raise NotSupported(f"the argument of {place.provider}:{place.name} that lies at {place.text!r}",
                                   who="the <bpf/usdt.bpf.h> that this object was built with",
                                   instead="a newer libbpf (1.7), or compile it here")
            spec |= {"arg_type": _SIB, "idx_reg_off": offsets[argument.index_register],
                     "scale_bitshift": argument.scale.bit_length() - 1}
        return spec

    @property
    def _has_index(self) -> bool:
        """Whether the object's layout knows operands with an index register."""
        from ebpf.btf.format import format_type

        btf = self._specs.btf
        id = btf.find("__bpf_usdt_arg_spec") if btf is not None else None
        return btf is not None and id is not None and "idx_reg_off" in format_type(btf, id)


def _offsets(members: str) -> dict[str, int]:
    """Register → its offset in ``struct pt_regs``, from a row of `ebpf.abi.registers`."""
    out: dict[str, int] = {}
    at = 0
    for member in members.split(";"):
        name, _, rest = member.partition(":")
        size, _, count = rest.split()[0].partition("[")
        if count:
            for i in range(int(count[:-1])):
                out[f"{name}[{i}]"] = at
                at += int(size)
        else:
            out[name] = at
            at += int(size)
    return out


def attach_with_specs(program: Program, specs: UsdtSpecs, path: str, places: Sequence[UsdtProbe], *, pid: int | None,
                      cookie: int | None) -> list[int]:
    """The numbers to attach the places with; written down where ``program`` will look for them."""
    numbers = specs.numbers(places, cookie or 0, os.uname().machine)
    if program._session.backend == "kernel":
        from ebpf.kernel.features import have

        if have("attach_cookie") is False:
            if pid is None:
                raise NotSupported("the arguments of static probes in every process", since="5.15",
                                   instead="one process: pid=")
            specs.note_addresses(addresses_in(pid, path, places), numbers)
            return []
    return numbers


def addresses_in(pid: int, path: str, places: Sequence[UsdtProbe]) -> list[int]:
    """Where the places are in the memory of a process that has mapped the file; `AttachError` if it has not."""
    status = os.stat(path)
    file = (status.st_dev, status.st_ino)
    segments = [mapping for mapping in iter_mappings(pid, code=True) if mapping.file == file]
    out = []
    for place in places:
        at = next((at for mapping in segments if (at := mapping.address(place.offset)) is not None), None)
        if at is None:
            raise AttachError(f"process {pid} has not mapped {path}")
        out.append(at)
    return out
