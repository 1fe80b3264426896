"""uprobe.multi (Linux 6.6) and uprobe.session (6.13): one program on many functions of a file with one system call."""

from __future__ import annotations

import errno as _errno
import os
import struct
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.binaries.find import find_binary
from ebpf.binaries.place import locate
from ebpf.binaries.symbols import elf_symbols
from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.link import create

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN


def attach(program: KernelProgram, binary: str, functions: str | Sequence[str], *, retprobe: bool = False,
           pid: int | None = None, cookies: Sequence[int] = ()) -> KernelLink:
    """Run `program` at all `functions` of `binary`: names, or one pattern (``"malloc*"``).

    The program must have been loaded with ``expected_attach_type=BPF_TRACE_UPROBE_MULTI`` (or _SESSION).
    """
    path = find_binary(binary, pid)
    names = sorted(n for n in elf_symbols(path).functions if fnmatchcase(n, functions)) if isinstance(
        functions, str) else list(functions)
    if not names:
        raise TargetNotFound(f"{path} has no function that matches {functions!r}", name=str(functions))
    places = [locate(path, symbol=name, pid=pid).offset for name in names]
    if isinstance(functions, str):  # aliases share a place, which takes a program once
        places = sorted(set(places))
    offsets = struct.pack(f"@{len(places)}Q", *places)
    numbers = struct.pack(f"@{len(cookies)}Q", *cookies)
    text = os.fsencode(path) + b"\0"
    extra = struct.pack("@QQQQIII", sys.address_of(text), sys.address_of(offsets), 0,
                        sys.address_of(numbers) if cookies else 0, len(places), _RETURN if retprobe else 0, pid or 0)

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.ESRCH:
            return TargetNotFound(f"no process {pid}", name=str(pid))
        if errno == _errno.EINVAL and program.expected_attach_type not in (
                AttachType.TRACE_UPROBE_MULTI, AttachType.TRACE_UPROBE_SESSION):
            return AttachError(f"{program.name!r} was not loaded for uprobe.multi")
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to {path}", errno, needs=("CAP_SYS_ADMIN",))
        if errno in (_errno.EINVAL, _errno.EOPNOTSUPP):
            return NotSupported("uprobe.multi", since="6.6", instead="attach uprobes one by one")
        return None

    return create(program, target_fd=0, attach_type=program.expected_attach_type, extra=extra, explain=explain,
                  target=f"{path}: {names[0] if len(places) == 1 else f'{len(places)} functions'}",
                  kind="uretprobe.multi" if retprobe else "uprobe.multi")
