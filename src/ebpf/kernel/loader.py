"""An `Object` becomes maps and programs of the running kernel.

`load` makes the maps (and, unless told otherwise, loads the programs); `KernelObject.load_program` loads one program,
when it is wanted, in the way it is wanted: BCC decides on a program's type as late as that. What happens in between:
types reduced to what this kernel takes, descriptors and addresses filled in, fields moved to where this kernel has
them (CO-RE).
"""

from __future__ import annotations

import errno as _errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from ebpf.abi.maps import BPF_F_MMAPABLE, MAP_TYPES, MapType
from ebpf.abi.programs import PROGRAM_TYPES, ProgType
from ebpf.diagnostics import unknown_name
from ebpf.errors import EbpfError, KernelError, LoadError, MapError, NotSupported, RelocationError
from ebpf.kernel import features, maps, programs, sys
from ebpf.kernel.cpus import per_cpu_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ebpf.btf import Btf
    from ebpf.btf.core import CoreResults
    from ebpf.kernel.attach import KernelLink
    from ebpf.kernel.externs import KernelTypes
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.maps import KernelMap
    from ebpf.kernel.programs import KernelProgram
    from ebpf.kernel.struct_ops import Slot, Table
    from ebpf.object import Linked, MapSpec, Object, ProgramSpec

# What the source register of a wide load, or of a call, says about its immediate (BPF_PSEUDO_*).
_MAP_FD, _MAP_VALUE, _BTF_ID, _KFUNC_CALL = 1, 2, 3, 2
#: "invalid func unknown#2002000000": a weak function that this kernel lacks, called after all (libbpf's number).
MISSING_KFUNC_IMM: Final = 2002000000
PIN_ROOT: Final = "/sys/fs/bpf"


def load(obj: Object, *, load_programs: bool | Iterable[str] = True, types: Mapping[str, int] | None = None,
         max_entries: Mapping[str, int] | None = None, data: Mapping[str, bytes] | None = None,
         reuse: Mapping[str, KernelMap] | None = None, pin_root: str = PIN_ROOT, target_btf: Btf | None = None,
         facts: Callable[[], SystemFacts] | None = None, log_level: int = 0) -> KernelObject:
    """Create the maps of `obj` and load its programs.

    `load_programs`: all that their sections give a type and that are not marked ``SEC("?…")``, none, or these names.
    `types` gives types to programs whose sections don't. `max_entries` and `data` (contents of data sections, by map
    name) replace what the object says; `reuse` gives maps that exist already. `facts`, called when they are
    wanted, saves reading the running kernel's types again; `target_btf` stands in for them in CO-RE.

    Raises `VerifierError`, `RelocationError`, `MapError`, `NotSupported`, `PrivilegeError`;
    nothing stays behind then.
    """
    loaded = KernelObject(obj, types=types or {}, target_btf=target_btf, facts=facts, log_level=log_level)
    try:
        loaded._create_maps(max_entries or {}, data or {}, reuse or {}, pin_root)
        if isinstance(load_programs, bool):
            wanted = [name for name, spec in obj.programs.items() if load_programs and spec.autoload
                      and (spec.type is not None or name in loaded.types)
                      and (spec.type != ProgType.STRUCT_OPS or loaded._slot(name) is not None)]
        else:
            wanted = list(load_programs)
        for name in wanted:
            loaded.load_program(name)
    except BaseException:
        loaded.close()
        raise
    return loaded


class KernelObject:
    """A loaded object: `maps` and `programs` (those loaded so far) by name. Closing it closes both."""

    def __init__(self, obj: Object, *, types: Mapping[str, int], target_btf: Btf | None,
                 facts: Callable[[], SystemFacts] | None, log_level: int) -> None:
        self.obj = obj
        self.types = dict(types)
        self.maps: dict[str, KernelMap] = {}
        self.programs: dict[str, KernelProgram] = {}
        #: why the object's types could not be loaded ("" if they were): programs then go without line information
        self.btf_problem = ""
        #: what became of each CO-RE relocation, by program
        self.core_results: dict[str, CoreResults] = {}
        #: struct_ops maps as this kernel wants them
        self.tables: dict[str, Table] = {}
        self._borrowed: set[str] = set()
        self._target_btf = target_btf
        self._facts = facts
        self._log_level = log_level
        self._btf: sys.OwnedFd | None = None
        self._btf_tried = False
        self._kernel: KernelTypes | None = None

    def __enter__(self) -> KernelObject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close programs, types, and maps but those of `reuse`. What is attached or pinned keeps what it needs."""
        for program in self.programs.values():
            program.close()
        for name, map in self.maps.items():
            if name not in self._borrowed:
                map.close()
        if self._btf is not None:
            self._btf.close()

    @property
    def kernel_types(self) -> KernelTypes:
        """The running kernel's types, read when first needed."""
        if self._kernel is None:
            from ebpf.kernel.externs import KernelTypes

            self._kernel = KernelTypes(self._facts() if self._facts is not None else None)
        return self._kernel

    # ---- types ----

    def btf_fd(self) -> int:
        """The object's types in the kernel, loaded when first needed; 0 if it has none or the kernel takes none."""
        if not self._btf_tried:
            self._btf_tried = True
            if self.obj.btf is not None:
                fd = self._load_btf(self.obj.btf)
                self._btf = sys.OwnedFd(fd) if fd > 0 else None
        return self._btf.fileno() if self._btf is not None else 0

    def _load_btf(self, btf: Btf) -> int:
        from ebpf.btf import sanitize

        data = sanitize(btf, features.btf_features())
        result, _ = sys.attempt("BTF_LOAD", btf=sys.address_of(data), btf_size=len(data))
        if result >= 0:
            return result
        if result == -_errno.EPERM and features.have("memcg_accounting") is not True:
            from ebpf.kernel.privileges import raise_memlock

            if raise_memlock():
                result, _ = sys.attempt("BTF_LOAD", btf=sys.address_of(data), btf_size=len(data))
                if result >= 0:
                    return result
        import ctypes

        log = ctypes.create_string_buffer(1 << 16)
        sys.attempt("BTF_LOAD", btf=sys.address_of(data), btf_size=len(data), btf_log_buf=ctypes.addressof(log),
                    btf_log_size=len(log), btf_log_level=1)
        last = log.value.decode(errors="replace").strip().splitlines()
        self.btf_problem = f"{os.strerror(-result)}{': ' + last[-1] if last else ''}"
        return 0

    # ---- maps ----

    def _create_maps(self, max_entries: Mapping[str, int], data: Mapping[str, bytes], reuse: Mapping[str, KernelMap],
                     pin_root: str) -> None:
        for given, what in ((max_entries, "max_entries"), (data, "data"), (reuse, "reuse")):
            for name in given:
                if name not in self.obj.maps:
                    raise unknown_name("map", name, self.obj.maps, where=f" ({what})")
        for spec in self.obj.maps.values():
            if spec.type == MapType.STRUCT_OPS:
                self._create_table(spec)
                continue
            if spec.name in reuse:
                self.maps[spec.name] = reuse[spec.name]
                self._borrowed.add(spec.name)
                continue
            spec = spec._replace(max_entries=max_entries.get(spec.name, spec.max_entries))
            path = f"{pin_root}/{spec.name}" if spec.pinning else ""
            if path and os.path.exists(path):
                self.maps[spec.name] = _reopen(path, spec)
                continue
            made = self.maps[spec.name] = self._create(spec)
            if spec.is_data:
                self._fill(made, spec, data.get(spec.name))
            if spec.type == MapType.ARENA:
                made.arena()  # programs load only when it has an address
            if path:
                os.makedirs(pin_root, exist_ok=True)
                made.pin(path)
        for spec in self.obj.maps.values():
            if spec.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
                for index, inner in spec.values:
                    self.maps[spec.name].update(struct.pack("@I", index), struct.pack("@i", self.maps[inner].fileno()))

    def _create_table(self, spec: MapSpec) -> None:
        """A struct_ops map: its contents go in when it is attached."""
        from ebpf.kernel import struct_ops

        table = self.tables[spec.name] = struct_ops.lay_out(spec, self.obj, self.kernel_types)
        self.maps[spec.name] = struct_ops.create(spec, table, self.kernel_types, self.btf_fd())

    def attach_table(self, name: str) -> KernelLink:
        """Register the struct_ops map `name`: the kernel calls its programs from now on."""
        from ebpf.kernel import struct_ops
        from ebpf.kernel.attach import struct_ops as hook

        table = self.tables.get(name)
        if table is None:
            raise unknown_name("struct_ops map", name, self.tables)
        value = struct_ops.filled(table, lambda program: self.load_program(program).fileno())
        return hook.attach(self.maps[name], value, table.type_name)

    def _create(self, spec: MapSpec) -> KernelMap:
        row = MAP_TYPES.get(spec.type)
        entries, flags = spec.max_entries, spec.flags | (row.flags if row else 0)
        if row is not None and row.max_entries == "cpus" and not entries:
            entries = per_cpu_slots()
        if row is not None and row.max_entries == "pages":
            # A power of two pages, as libbpf rounds: objects written for small pages load everywhere.
            entries = max(sys.PAGE_SIZE, 1 << (max(entries, 1) - 1).bit_length())
        if flags & BPF_F_MMAPABLE and spec.is_data and features.have("mmapable") is False:
            flags &= ~BPF_F_MMAPABLE
        if spec.is_data and features.have("global_data") is False:
            raise NotSupported("global variables", since="5.2")
        key_size, value_size = spec.key_size, spec.value_size
        if row is not None and row.max_entries in ("pages", "cpus"):
            # Buffers of events: `__type(value, struct event)` says what is sent through them, not what they store.
            key_size, value_size = row.key_size or 0, row.value_size or 0
        inner = None
        if spec.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS):
            if spec.inner is None:
                raise MapError(f"map of maps {spec.name!r} does not say what its inner maps are like",
                               map_name=spec.name, helps=("declare one: __array(values, struct inner_map)",))
            inner = self._create(spec.inner)
        typed = bool(spec.key_type_id or spec.value_type_id) and (row is None or row.btf_types)
        try:
            return maps.create_map(
                name=spec.name, type=int(spec.type), key_size=key_size, value_size=value_size,
                max_entries=entries, flags=flags, btf_fd=self.btf_fd() if typed else 0, key_type_id=spec.key_type_id,
                value_type_id=spec.value_type_id, inner_fd=inner.fileno() if inner else 0,
                numa_node=spec.numa_node if spec.flags & 4 else None, map_extra=spec.map_extra)
        finally:
            if inner is not None:
                inner.close()

    def _fill(self, made: KernelMap, spec: MapSpec, given: bytes | None) -> None:
        """Initial contents of a data section; constants are frozen then, so that the verifier may rely on them."""
        contents = given if given is not None else spec.initial
        if spec.name == ".kconfig" and given is None:
            from ebpf.kernel.externs import kconfig_contents

            contents = kconfig_contents(self.obj, spec.value_size)
        if contents is not None and any(contents):
            made.update(bytes(4), contents)
        if spec.frozen:
            try:
                made.freeze()
            except KernelError as error:
                if error.errno != _errno.EINVAL:  # before 5.2
                    raise

    # ---- programs ----

    def load_program(self, name: str, *, type: int | None = None, expected_attach_type: int | None = None,
                     attach_to: str | None = None, attach_prog_fd: int = 0, ifindex: int = 0,
                     log_level: int | None = None, again: bool = False,
                     signature: bytes | Callable[[bytes], bytes] | None = None, keyring: int = 0,
                     reshape: Callable[[Linked, bytes], tuple[Linked, bytes]] | None = None) -> KernelProgram:
        """The program `name`, loaded if it is not yet. `again` loads another copy, which the caller owns.

        `type`, `expected_attach_type` and `attach_to` replace what its section says; `reshape` gets the finished
        instructions and gives those to load. `signature`, or what it makes of the instructions as they go to the
        kernel, is checked against `keyring` (`ebpf.kernel.signing`; Linux 6.18). Raises `VerifierError` and the like.
        """
        if not again and name in self.programs:
            return self.programs[name]
        spec = self.obj.programs.get(name)
        if spec is None:
            raise unknown_name("program", name, self.obj.programs)
        loaded = self._load(spec, type, expected_attach_type, attach_to, attach_prog_fd, ifindex,
                            self._log_level if log_level is None else log_level, reshape, signature, keyring)
        if not again:
            self.programs[name] = loaded
            self._fill_program_arrays(name, loaded)
        return loaded

    def _fill_program_arrays(self, name: str, loaded: KernelProgram) -> None:
        for spec in self.obj.maps.values():
            if spec.type == MapType.PROG_ARRAY:
                for index, wanted in spec.values:
                    if wanted == name:
                        self.maps[spec.name].update(struct.pack("@I", index), struct.pack("@i", loaded.fileno()))

    def _load(self, spec: ProgramSpec, type: int | None, expected: int | None, attach_to: str | None,
              attach_prog_fd: int, ifindex: int, log_level: int,
              reshape: Callable[[Linked, bytes], tuple[Linked, bytes]] | None,
              signature: bytes | Callable[[bytes], bytes] | None, keyring: int) -> KernelProgram:
        from ebpf.object.linker import link

        kind = type if type is not None else self.types.get(spec.name, spec.type)
        if kind is None:
            raise LoadError(f"{spec.name!r}: its section {spec.section!r} does not say what type of program it is",
                            helps=("name the section after the hook, SEC(\"kprobe/vfs_read\"), or give a type",))
        own = type is None and self.types.get(spec.name) is None
        attach_type = int(expected if expected is not None else (spec.expected_attach_type or 0) if own else 0)
        target = attach_to if attach_to is not None else spec.attach_to
        info = spec.info if own else None
        flags = programs.BPF_F_SLEEPABLE if spec.sleepable else 0
        if info is not None and info.frags:
            flags |= programs.BPF_F_XDP_HAS_FRAGS

        linked = link(self.obj, spec.name)
        code = self._relocate_core(spec, linked)
        code, fd_array = self._relocate(spec, linked, code)
        if reshape is not None:
            linked, code = reshape(linked, code)

        attach_btf_id = attach_btf_fd = 0
        row = PROGRAM_TYPES.get(kind)
        if kind == ProgType.STRUCT_OPS:
            slot = self._slot(spec.name)
            if slot is None:
                raise LoadError(f"{spec.name!r} stands in no struct_ops map of this object that this kernel has a "
                                "member for", helps=("name it in a variable in SEC(\".struct_ops.link\")",))
            attach_btf_id, attach_type = slot.struct_id, slot.member
            attach_btf_fd = self.kernel_types.module_fd(slot.module)
        elif attach_prog_fd:
            from ebpf.kernel.externs import target_in_program

            attach_btf_id = target_in_program(attach_prog_fd, target or spec.name)
        elif row is not None and row.btf_target_required:
            place = self.kernel_types.attach_target(kind, attach_type, target)
            attach_btf_id, attach_btf_fd = place.id, self.kernel_types.module_fd(place.module)

        btf_fd = self.btf_fd() if linked.func_info and features.have("btf_func") is not False else 0
        arguments: dict[str, Any] = {
            "type": int(kind), "name": spec.name, "license": self.obj.license, "flags": flags, "ifindex": ifindex,
            "kern_version": self.obj.kernel_version or 0, "btf_fd": btf_fd,
            "func_info": linked.func_info_bytes() if btf_fd else b"",
            "line_info": linked.line_info_bytes() if btf_fd else b"", "attach_btf_id": attach_btf_id,
            "attach_btf_obj_fd": attach_btf_fd, "attach_prog_fd": attach_prog_fd, "fd_array": fd_array,
            "attach_to": target, "signature": signature(code) if callable(signature) else signature or b"",
            "keyring": keyring}
        try:
            try:
                return programs.load_program(code, expected_attach_type=attach_type, log_level=log_level, **arguments)
            except KernelError as error:
                # An attach type that is only nice to have, and that this kernel does not know.
                if error.errno != _errno.EINVAL or info is None or not info.attach_type_optional or not attach_type:
                    raise
                return programs.load_program(code, expected_attach_type=0, log_level=log_level, **arguments)
        except programs.LoadRefused as refused:
            raise self._explain(spec, linked, refused, ProgType(kind)) from None

    def _slot(self, program: str) -> Slot | None:
        """Where a struct_ops program belongs."""
        return next((t.slots[program] for t in self.tables.values() if program in t.slots), None)

    def _relocate_core(self, spec: ProgramSpec, linked: Linked) -> bytes:
        if not linked.core_relos:
            return linked.code
        from ebpf.btf import relocate

        if self.obj.btf is None:
            raise RelocationError(f"{spec.name!r} has CO-RE relocations but the object has no BTF")
        targets = [self._target_btf] if self._target_btf is not None else self.kernel_types.targets()
        code, self.core_results[spec.name] = relocate(linked.code, linked.core_relos_by_bytes(), self.obj.btf, targets)
        return code

    def _relocate(self, spec: ProgramSpec, linked: Linked, code: bytes) -> tuple[bytes, bytes]:
        """The code with everything filled in that only this kernel knows, and the descriptors it refers to by index."""
        if not linked.relocations:
            return code, b""
        out = bytearray(code)
        fds: list[int] = [0]
        for slot, kind, symbol, addend in linked.relocations:
            at = slot * 8
            if kind in ("map", "data", "kconfig"):
                map_name = ".kconfig" if kind == "kconfig" else symbol
                found = self.maps.get(map_name)
                if found is None:
                    raise RelocationError(f"{spec.name!r} uses map {map_name!r}, which the object does not define")
                if kind == "kconfig":
                    addend += self.obj.externs[symbol].offset
                _wide(out, at, _MAP_FD if kind == "map" else _MAP_VALUE, found.fileno(), 0 if kind == "map" else addend)
            elif kind == "ksym":
                self._ksym(out, at, symbol, addend, fds)
            elif kind == "kfunc":
                self._kfunc(out, at, symbol, fds)
            else:
                raise RelocationError(f"{spec.name!r} uses {symbol!r}, which is defined nowhere")
        return bytes(out), struct.pack(f"@{len(fds)}i", *fds) if len(fds) > 1 else b""

    def _ksym(self, out: bytearray, at: int, symbol: str, addend: int, fds: list[int]) -> None:
        """The address of a kernel variable or function: by type where it is declared with one, else by kallsyms."""
        from ebpf.btf.types import Kind
        from ebpf.kernel.symbols import kernel_symbols

        extern = self.obj.externs[symbol]
        if extern.type_id and (extern.is_function or self._typed(extern.type_id)):
            place = self.kernel_types.find(symbol, Kind.FUNC if extern.is_function else Kind.VAR)
            if place is not None:
                _wide(out, at, _BTF_ID, place.id, self.kernel_types.module_fd(place.module))
                return
        else:
            address = kernel_symbols().address(symbol)
            if address == 0:
                raise RelocationError(f"the address of the kernel's {symbol!r} is hidden from this user",
                                      helps=("sysctl kernel.kptr_restrict=0, or run with CAP_SYSLOG",))
            if address is not None:
                address += addend
                _wide(out, at, 0, address & 0xFFFFFFFF, address >> 32)
                return
        if not extern.weak:
            raise self._missing(symbol, "function" if extern.is_function else "variable")
        _wide(out, at, 0, 0, 0)

    def _typed(self, type_id: int) -> bool:
        """Whether a ``__ksym`` variable is declared with a type (``extern const void x __ksym`` is not)."""
        return self.obj.btf is not None and self.obj.btf.resolve(type_id) != 0

    def _kfunc(self, out: bytearray, at: int, symbol: str, fds: list[int]) -> None:
        from ebpf.btf.types import Kind

        place = self.kernel_types.find(symbol, Kind.FUNC)
        if place is None:
            if not self.obj.externs[symbol].weak:
                raise self._missing(symbol, "function")
            struct.pack_into("<BBhi", out, at, 0x85, 0, 0, MISSING_KFUNC_IMM)
            return
        index = 0
        if place.module:
            fd = self.kernel_types.module_fd(place.module)
            if fd not in fds[1:]:
                fds.append(fd)
            index = fds.index(fd, 1)
        struct.pack_into("<BBhi", out, at, 0x85, _KFUNC_CALL << 4, index, place.id)

    def _missing(self, symbol: str, what: str) -> RelocationError:
        similar = self.kernel_types.vmlinux.similar(symbol)
        return RelocationError(f"this kernel has no {what} called {symbol!r} for programs", helps=(
            *((f"similar: {', '.join(similar)}",) if similar else ()),
            "declare it __weak and test its address, to do without where it is missing"))

    def _explain(self, spec: ProgramSpec, linked: Linked, refused: programs.LoadRefused, type: ProgType) -> EbpfError:
        from ebpf.kernel.refusal import explain
        from ebpf.verifier.wording import SourceLine

        lines = [SourceLine(r.insn_off, r.file, r.line, r.column, r.text) for r in linked.line_info]
        error = explain(spec.name, refused.log, refused.errno, lines, program_type=type.name.lower())
        missing = self.core_results[spec.name].problems() if spec.name in self.core_results else []
        if missing and ("#195896080" in refused.log or "#195896080" in error.message):
            error.notes = (*error.notes, *(f"this kernel lacks what the program reads: {m}" for m in missing))
        if error.diagnostics and error.diagnostics[0].code == "V0101":
            from ebpf.kernel.privileges import withheld_helpers

            notes, helps = withheld_helpers()
            error.notes, error.helps = (*error.notes, *notes), (*error.helps, *helps)
        return error


def _wide(out: bytearray, at: int, source: int, low: int, high: int) -> None:
    """Fill in a wide load: what its immediate means, and its two halves."""
    out[at + 1] = out[at + 1] & 15 | source << 4
    struct.pack_into("<I", out, at + 4, low & 0xFFFFFFFF)
    struct.pack_into("<I", out, at + 12, high & 0xFFFFFFFF)


def _reopen(path: str, spec: MapSpec) -> KernelMap:
    """A pinned map, if it is what `spec` describes."""
    found = maps.open_pinned(path)
    for what, theirs, ours in (("type", found.type, int(spec.type)), ("key size", found.key_size, spec.key_size),
                               ("value size", found.value_size, spec.value_size),
                               ("max_entries", found.max_entries, spec.max_entries or found.max_entries)):
        if theirs != ours:
            shown = [MapType(n).name.lower() if what == "type" else str(n) for n in (theirs, ours)]
            found.close()
            raise MapError(f"the map pinned at {path} has {what} {shown[0]}, this object's {spec.name!r} "
                           f"has {shown[1]}",
                           map_name=spec.name, helps=(f"remove {path} if nothing needs it any more",))
    found.name = spec.name
    return found
