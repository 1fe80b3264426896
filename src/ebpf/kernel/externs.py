"""What programs want of the running kernel by name: types in its BTF, functions, variables, configuration values."""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING, NamedTuple, overload

from ebpf.abi.programs import AttachType, ProgType
from ebpf.btf import types as T
from ebpf.btf.types import Kind
from ebpf.diagnostics import did_you_mean
from ebpf.errors import KernelError, NotSupported, RelocationError, TargetNotFound, UsageError
from ebpf.kernel import facts, features, maps, symbols, sys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ebpf.btf import Btf
    from ebpf.kernel.facts import SystemFacts
    from ebpf.object import Extern, Object

# How the kernel's BTF spells the target of each kind of program: (prefix, kind of type).
_TARGETS = {
    (ProgType.TRACING, AttachType.TRACE_FENTRY): ("", Kind.FUNC),
    (ProgType.TRACING, AttachType.TRACE_FEXIT): ("", Kind.FUNC),
    (ProgType.TRACING, AttachType.MODIFY_RETURN): ("", Kind.FUNC),
    (ProgType.TRACING, AttachType.TRACE_RAW_TP): ("btf_trace_", Kind.TYPEDEF),
    (ProgType.TRACING, AttachType.TRACE_ITER): ("bpf_iter_", Kind.FUNC),
    (ProgType.LSM, AttachType.LSM_MAC): ("bpf_lsm_", Kind.FUNC),
    (ProgType.LSM, AttachType.LSM_CGROUP): ("bpf_lsm_", Kind.FUNC),
}
_TRISTATE = {None: 0, "n": 0, "y": 1, "m": 2}  # enum libbpf_tristate


class BtfPlace(NamedTuple):
    """A type of the running kernel: its id, and the module's name ("" for vmlinux)."""

    id: int
    module: str


class KernelTypes:
    """The running kernel's BTF, modules' included, as the loader asks for it; also the targets for CO-RE."""

    def __init__(self, facts: SystemFacts | None = None) -> None:
        self._targets: Sequence[Btf] | None = None
        self._facts = facts
        self._vmlinux: Btf | None = None
        self._modules: list[tuple[str, Btf]] | None = None
        self._fds: dict[str, sys.OwnedFd] = {}

    @property
    def vmlinux(self) -> Btf:
        """`NotSupported` where the kernel has no BTF."""
        if self._vmlinux is None:
            self._vmlinux = self._facts.btf() if self._facts is not None else facts.kernel_btf()
        if self._vmlinux is None:
            raise NotSupported("BTF of its own types", instead="use a kernel that is built with CONFIG_DEBUG_INFO_BTF",
                               notes=("/sys/kernel/btf/vmlinux is missing",))
        return self._vmlinux

    @property
    def modules(self) -> list[tuple[str, Btf]]:
        if self._modules is None:
            self._modules = facts.module_btfs(self.vmlinux)
        return self._modules

    def of(self, module: str) -> Btf:
        """The types of `module` ("" for vmlinux)."""
        return next((btf for name, btf in self.modules if name == module), self.vmlinux) if module else self.vmlinux

    def targets(self) -> Sequence[Btf]:
        """vmlinux, then the modules, which are read only when somebody gets that far."""
        if self._targets is None:
            self._targets = _targets(self)
        return self._targets

    def find(self, name: str, kind: Kind) -> BtfPlace | None:
        """The type called `name`, in vmlinux or else in a module."""
        id = self.vmlinux.find(name, kind)
        if id is not None:
            return BtfPlace(id, "")
        for module, btf in self.modules:
            id = btf.find(name, kind)
            if id is not None and id >= btf.first_id:
                return BtfPlace(id, module)
        return None

    def module_fd(self, module: str) -> int:
        """A descriptor of the module's BTF, as the kernel wants it beside a type id; 0 for vmlinux."""
        if not module:
            return 0
        if module not in self._fds:
            for id in maps.iter_ids("BTF"):
                try:
                    fd = sys.OwnedFd(sys.call("BTF_GET_FD_BY_ID", id=id))
                except KernelError as error:
                    if error.errno == _errno.ENOENT:
                        continue
                    raise
                if _btf_name(fd.fileno()) == module:
                    self._fds[module] = fd
                    break
            else:
                raise RelocationError(f"module {module} was unloaded meanwhile")
        return self._fds[module].fileno()

    def attach_target(self, type: int, attach_type: int, name: str) -> BtfPlace:
        """Where a program of that kind attaches: what ``SEC("fentry/NAME")`` means. `TargetNotFound` with similar
        ones.
        """
        row = _TARGETS.get((ProgType(type), AttachType(attach_type)))
        if type == ProgType.EXT:
            raise UsageError("a freplace program takes the place of a function of another program",
                             helps=("say which: load_program(name, replaces=program)",))
        if row is None:
            raise RelocationError(f"programs of type {ProgType(type).name.lower()} have no target by name")
        prefix, kind = row
        if not name:
            raise RelocationError("the program does not say what it attaches to",
                                  helps=('name it in the section: SEC("fentry/vfs_read")',))
        wanted = name.rpartition(":")[2]  # module:function
        spellings = [wanted]
        if kind == Kind.FUNC and not prefix and wanted.startswith(symbols.SYSCALL_PREFIXES):
            bare = next(wanted[len(p):] for p in symbols.SYSCALL_PREFIXES if wanted.startswith(p))
            spellings += [p + bare for p in symbols.SYSCALL_PREFIXES]
        for spelling in spellings:
            place = self.find(prefix + spelling, kind)
            if place is not None:
                return place
        what = {"btf_trace_": "tracepoint", "bpf_lsm_": "LSM hook", "bpf_iter_": "iterator"}.get(prefix, "function")
        pool = [n.removeprefix(prefix) for n, _ in self.vmlinux.iter_names(kind)
                if n.startswith(prefix) and (prefix or n[:2] == wanted[:2])]
        similar = did_you_mean(wanted, pool)
        raise TargetNotFound(f"the kernel's BTF has no {what} called {wanted!r}", name=wanted, similar=similar,
                             helps=(f"similar: {', '.join(similar)}",) if similar else ())


def target_in_program(fd: int, function: str) -> int:
    """The id of `function` in the types of the program behind ``fd``: where freplace, fentry and fexit attach to it."""
    from ebpf.btf import Btf
    from ebpf.kernel import programs
    from ebpf.kernel.btf_objects import read_btf

    info = programs.program_info(fd)
    if not info.btf_id:
        raise TargetNotFound(f"program {info.name!r} was loaded without types: nothing attaches to its functions",
                             name=function, helps=("compile it with BTF (clang: -g)",))
    btf = Btf.parse(read_btf(info.btf_id))
    found = btf.find(function, Kind.FUNC)
    if found is None:
        names = [name for name, _ in btf.iter_names(Kind.FUNC)]
        similar = did_you_mean(function, names)
        raise TargetNotFound(f"program {info.name!r} has no function {function!r}", name=function, similar=similar,
                             helps=(f"it has: {', '.join(names)}",))
    return found


def _targets(types: KernelTypes) -> Sequence[Btf]:
    """A sequence of `Btf` whose tail is read when it is reached."""
    from collections.abc import Sequence

    class Targets(Sequence["Btf"]):
        def __len__(self) -> int:
            return 1 + len(types.modules)

        @overload
        def __getitem__(self, index: int) -> Btf: ...
        @overload
        def __getitem__(self, index: slice) -> Sequence[Btf]: ...
        def __getitem__(self, index: int | slice) -> Btf | Sequence[Btf]:
            if index == 0:
                return types.vmlinux
            return [types.vmlinux, *(btf for _, btf in types.modules)][index]

        def __iter__(self) -> Iterator[Btf]:
            yield types.vmlinux
            for _, btf in types.modules:
                yield btf

    return Targets()


def _btf_name(fd: int) -> str:
    """The name of a loaded BTF object ("vmlinux", a module's; "" for a program's)."""
    import ctypes
    import struct

    name = ctypes.create_string_buffer(64)
    # struct bpf_btf_info: btf, btf_size, id, name, name_len, kernel_btf
    info = maps.object_info(fd, 32, struct.pack("@QIIQII", 0, 0, 0, ctypes.addressof(name), 64, 0))
    return name.value.decode() if struct.unpack_from("@I", info, 28)[0] else ""


def kconfig_contents(obj: Object, size: int) -> bytes:
    """The contents of ``.kconfig``: each extern filled in from the running kernel.

    `RelocationError` for an option that the kernel does not have, unless it is ``__weak``, or that does not fit its
    type.
    """
    data = bytearray(size)
    config: dict[str, str] | None = None
    for extern in obj.externs.values():
        if extern.section != ".kconfig":
            continue
        value: str | None
        if extern.name == "LINUX_KERNEL_VERSION":
            value = str(features.kernel_version_code())
        elif extern.name == "LINUX_HAS_BPF_COOKIE":
            value = "1" if features.have("attach_cookie") else "0"
        elif extern.name == "LINUX_HAS_SYSCALL_WRAPPER":
            value = "1" if symbols.syscall_prefix() != "sys_" else "0"
        else:
            if config is None:
                config = facts.read_kconfig()
            value = config.get(extern.name)
            if value is None and not config and not extern.weak:
                raise RelocationError(f"{extern.name}: this kernel's configuration is not known", helps=(
                    f"provide /proc/config.gz (CONFIG_IKCONFIG_PROC) or /boot/config-{os.uname().release}, "
                    "or declare it __weak",))
        if value is None:
            if not extern.weak:
                raise RelocationError(f"{extern.name} is not set in this kernel's configuration",
                                      helps=("declare it `extern … __kconfig __weak;` to get 0 instead",))
            continue
        data[extern.offset:extern.offset + extern.size] = _configuration_value(obj, extern, value)
    return bytes(data)


def _configuration_value(obj: Object, extern: Extern, value: str) -> bytes:
    """`value` in the form that the extern's type asks for."""
    assert obj.btf is not None  # externs have types, so there is BTF
    type = obj.btf.resolved(extern.type_id)
    misfit = RelocationError(f"{extern.name}={value} does not fit the type it is declared with")
    if isinstance(type, T.Array):
        text = value.encode() + b"\0"
        if len(text) > extern.size:
            raise misfit
        return text.ljust(extern.size, b"\0")
    if value in ("y", "n", "m"):
        if isinstance(type, T.Enum):
            number = _TRISTATE[value]
        elif extern.size == 1 and _is_char(obj, extern):
            return value.encode()
        elif value == "m":
            raise misfit
        else:
            number = int(value == "y")
        return number.to_bytes(extern.size, "little")
    try:
        number = int(value, 0)
        return number.to_bytes(extern.size, "little", signed=number < 0)
    except (ValueError, OverflowError):
        raise misfit from None


def _is_char(obj: Object, extern: Extern) -> bool:
    assert obj.btf is not None
    type = obj.btf.resolved(extern.type_id)
    return isinstance(type, T.Int) and type.name == "char"
