"""`USDT`: static probes of a process or a file, enabled for functions of a program text, as BCC's scripts use them."""

from __future__ import annotations

import os
import sys

import ebpf
from bcc.utils import to_str
from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from bcc.bpf import BPF

_PAGE_BYTES = 4096


class USDTException(Exception):
    """What BCC raises when a USDT probe cannot be enabled."""


class USDTProbeArgument:
    """Where an argument of a probe is found."""

    def __init__(self, argument: Any) -> None:
        self._argument = argument
        self.size = -argument.size if argument.signed else argument.size
        self.constant = argument.constant
        self.deref_offset = argument.constant
        self.base_register_name = argument.register.encode() or None
        self.index_register_name = argument.index_register.encode() or None
        self.scale = argument.scale

    @property
    def ctype(self) -> str:
        """Its type in C."""
        return f"{'int' if self._argument.signed else 'uint'}{self._argument.size * 8}_t"

    def read(self, into: str) -> str:
        """C that reads it into the variable ``into``, of that type."""
        argument = self._argument
        if not argument.register:
            return f"{into} = {argument.constant}LL;"
        place = f"ctx->{argument.register}"
        if not argument.address:
            return f"{into} = {place};"
        if argument.index_register:
            place += f" + ctx->{argument.index_register} * {argument.scale}"
        return f"bpf_probe_read_user(&{into}, sizeof({into}), (void *)({place} + {argument.constant}LL));"

    def __str__(self) -> str:
        argument = self._argument
        where = argument.register or str(argument.constant)
        if argument.address:
            sign = "-" if argument.constant < 0 else "+"
            index = f" + {argument.index_register} * {argument.scale}" if argument.index_register else ""
            where = f"*({where} {sign} {abs(argument.constant)}{index})"
        return f"{argument.size} {'  signed' if argument.signed else 'unsigned'} bytes @ {where}"


class USDTProbeLocation:
    """One of a probe's places."""

    def __init__(self, probe: USDTProbe, index: int, found: Any) -> None:
        self.probe = probe
        self.index = index
        self.num_arguments = len(found.arguments)
        self.address = found.address
        self.bin_path = probe.bin_path
        self._found = found

    def __str__(self) -> str:
        return f"{to_str(self.bin_path)} {self.address:#x}"

    def get_argument(self, index: int) -> USDTProbeArgument:
        """The argument ``index``, from 0."""
        if not 0 <= index < self.num_arguments:
            raise USDTException(f"error retrieving probe argument {index} location {self.index}")
        return USDTProbeArgument(self._found.arguments[index])


class USDTProbe:
    """A probe: provider, name, the file that has it, and its places."""

    def __init__(self, path: str, places: list[Any]) -> None:
        first = places[0]
        self.provider: bytes = first.provider.encode()
        self.name: bytes = first.name.encode()
        self.bin_path = os.fsencode(path)
        self.semaphore: int = first.semaphore
        self.num_locations = len(places)
        self.num_arguments = max(len(place.arguments) for place in places)
        self._places = places

    def __str__(self) -> str:
        return f"{self.short_name()} [sema {self.semaphore:#x}]"

    def short_name(self) -> str:
        """``provider:name``."""
        return f"{self.provider.decode()}:{self.name.decode()}"

    def get_location(self, index: int) -> USDTProbeLocation:
        """The place ``index``, from 0."""
        if not 0 <= index < self.num_locations:
            raise USDTException(f"error retrieving probe location {index}")
        return USDTProbeLocation(self, index, self._places[index])

    def argument_ctype(self, index: int) -> str:
        """The C type that holds the argument of every place: the widest, signed if one is."""
        arguments = [p.arguments[index] for p in self._places if index < len(p.arguments)]
        if not arguments:
            raise USDTException(f"{self.short_name()} has no argument {index + 1}")
        size = max(a.size for a in arguments)
        return f"{'int' if any(a.signed for a in arguments) else 'uint'}{size * 8}_t"

    def readers(self, function: str) -> str:
        """C: for each argument the function that ``bpf_usdt_readarg`` calls, and that of ``bpf_usdt_readarg_p``."""
        return "".join(self._reader(function, n) for n in range(self.num_arguments))

    def _reader(self, function: str, index: int) -> str:
        ctype = self.argument_ctype(index)
        by_way: dict[str, set[int]] = {}
        for place in self._places:
            way = "{ }"
            if index < len(place.arguments):
                argument = USDTProbeArgument(place.arguments[index])
                way = f"{{ {argument.ctype} it = 0; {argument.read('it')} value = it; }}"
            by_way.setdefault(way, set()).add(place.address % _PAGE_BYTES)
        ways = list(by_way.items())
        taken: set[int] = set()
        for _, pages in ways:
            if taken & pages:
                raise ebpf.NotSupported(f"the static probe {self.short_name()}: two of its places cannot be told apart"
                                        " and hold their arguments differently")
            taken |= pages
        # Where a file is mapped is known when it runs, an address within its page before.
        text = ways[-1][0]
        for way, pages in reversed(ways[:-1]):
            here = " || ".join(f"at == {page:#x}" for page in sorted(pages))
            text = f"if ({here}) {way} else {text}"
        name = f"{function}_{index + 1}"
        return f"""static inline int _bpf_readarg_{name}(struct pt_regs *ctx, void *dest, size_t len)
{{
    {ctype} value = 0;
    unsigned long at = PT_REGS_IP(ctx) & {_PAGE_BYTES - 1};
    {text}
    switch (len) {{
    case 1: *(u8 *)dest = value; return 0;
    case 2: *(u16 *)dest = value; return 0;
    case 4: *(u32 *)dest = value; return 0;
    case 8: *(u64 *)dest = value; return 0;
    }}
    return -1;
}}
static inline int _bpf_readarg_p_{name}(struct pt_regs *ctx, void *dest, size_t len)
{{
    u64 address = 0;
    _bpf_readarg_{name}(ctx, &address, sizeof(address));
    return bpf_probe_read_user(dest, len, (void *)address);
}}
"""


class USDT:
    """The static probes of a process (``pid``) and the files that it has mapped, or of one file (``path``)."""

    def __init__(self, pid: int | None = None, path: str | bytes | None = None) -> None:
        self.pid = pid if pid and pid != -1 else None
        self.path = to_str(path) if path else None
        if self.pid is None and self.path is None:
            raise USDTException("either a pid or a binary path must be specified")
        try:
            files = [host.find_binary(self.path, self.pid)] if self.path else host.mapped_files(self.pid or 0)
        except ebpf.TargetNotFound as error:
            raise _both(error) from None
        self._probes = [probe for file in files for probe in _probes(file, certain=bool(self.path))]
        self._enabled: list[tuple[USDTProbe, str]] = []

    def enable_probe(self, probe: str | bytes, fn_name: str | bytes) -> None:
        """Run the function ``fn_name`` wherever ``probe`` (``"name"``, ``"provider:name"``) is hit."""
        self._enabled.append((self._find(to_str(probe)), to_str(fn_name)))

    def enable_probe_or_bail(self, probe: str | bytes, fn_name: str | bytes) -> None:
        """The same; where it does not exist the script ends, with the reason on stderr."""
        try:
            self.enable_probe(probe, fn_name)
        except USDTException as error:
            print(error, file=sys.stderr)
            sys.exit(1)

    def _find(self, name: str) -> USDTProbe:
        provider, colon, event = name.partition(":")
        if not colon:
            provider, event = "", name
        found = [p for p in self._probes if p.name.decode() == event and provider in ("", p.provider.decode())]
        if not found:
            self._missing(name)
        return found[0]

    def _missing(self, name: str) -> NoReturn:
        known = sorted({p.short_name() for p in self._probes})
        where = self.path or f"process {self.pid} and the files that it has mapped"
        shown = f"it has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}" if known else \
            "it has none: was it built with them (--with-dtrace, --enable-dtrace)?"
        raise _both(ebpf.TargetNotFound(f"Failed to enable USDT probe '{name}': no such probe in {where}", name=name,
                                        helps=(shown,)))

    def enumerate_probes(self) -> list[USDTProbe]:
        """All probes that there are."""
        return list(self._probes)

    def get_context(self) -> USDT:
        """What stands for this object in BCC's own functions."""
        return self

    def get_text(self) -> str:
        """C that the enabled probes' functions read their arguments with."""
        return "#include <uapi/linux/ptrace.h>\n" + "".join(dict.fromkeys(
            probe.readers(function) for probe, function in self._enabled))

    def get_probe_arg_ctype(self, probe_name: str | bytes, arg_index: int) -> str:
        """The C type of an argument, which counts from 0."""
        return self._find(to_str(probe_name)).argument_ctype(arg_index)

    def enumerate_active_probes(self) -> list[tuple[bytes, bytes, int, int]]:
        """(file, function, address, process or -1) for each place of the enabled probes."""
        return [(probe.bin_path, function.encode(), probe.get_location(n).address, self.pid or -1)
                for probe, function in self._enabled for n in range(probe.num_locations)]

    def attach_uprobes(self, bpf: BPF, attach_usdt_ignore_pid: bool = False) -> None:
        """Attach the enabled probes' functions (`BPF` does, for its ``usdt_contexts``)."""
        pid = None if attach_usdt_ignore_pid else self.pid
        for probe, function in self._enabled:
            bpf._attach_usdt(to_str(probe.bin_path), probe.provider.decode(), probe.name.decode(), function, pid)


def texts(contexts: Iterable[Any]) -> str:
    """The C of several `USDT`s, to stand before a program: each function once."""
    return "".join(dict.fromkeys(context.get_text() for context in contexts))


def _probes(path: str, *, certain: bool) -> list[USDTProbe]:
    """``certain``: the user has named the file; else what is no ELF file is passed over."""
    try:
        places = host.usdt_probes(path)
    except (ebpf.EbpfError, OSError):
        if certain:
            raise
        return []
    by_name: dict[tuple[str, str], list[Any]] = {}
    for place in places:
        by_name.setdefault((place.provider, place.name), []).append(place)
    return [USDTProbe(path, found) for found in by_name.values()]


def _both(error: ebpf.TargetNotFound) -> ebpf.TargetNotFound:
    """The error as this package's and as BCC's scripts expect it."""

    class USDTNotFound(ebpf.TargetNotFound, USDTException):
        """Both."""

    return USDTNotFound(error.message, name=error.name, similar=error.similar, helps=error.helps)
