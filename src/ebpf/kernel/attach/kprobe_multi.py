"""kprobe.multi: one program on many functions with one system call (Linux 5.18, CONFIG_FPROBE)."""

from __future__ import annotations

import errno as _errno
import struct
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.errors import EbpfError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.kprobe import translate
from ebpf.kernel.attach.link import LinkGroup, create
from ebpf.kernel.symbols import function_not_found, kernel_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN


def attach(program: KernelProgram, functions: Sequence[str], *, retprobe: bool = False,
           cookies: Sequence[int] = ()) -> KernelLink:
    """Run `program` at all `functions` (names), or at their returns; `cookies` gives each a number of its own.

    The program must have been loaded with ``expected_attach_type=BPF_TRACE_KPROBE_MULTI`` (or _SESSION). Raises
    `NotSupported` where the kernel cannot: `kprobe.attach_many` can everywhere, with a program loaded without that
    attach type.
    """
    if not functions:
        raise UsageError("no function to attach to")
    if cookies and len(cookies) != len(functions):
        raise UsageError(f"{len(functions)} functions but {len(cookies)} cookies")
    names = [name.encode() + b"\0" for name in functions]
    pointers = struct.pack(f"@{len(names)}Q", *map(sys.address_of, names))
    numbers = struct.pack(f"@{len(cookies)}Q", *cookies)
    extra = struct.pack("@IIQQQ", _RETURN if retprobe else 0, len(names), sys.address_of(pointers), 0,
                        sys.address_of(numbers) if cookies else 0)
    target = functions[0] if len(functions) == 1 else f"{len(functions)} functions"

    def explain(errno: int) -> EbpfError | None:
        if errno in (_errno.ENOENT, _errno.ESRCH):
            symbols = kernel_symbols()
            for name in functions:
                if name not in symbols:
                    return function_not_found(name)
            return TargetNotFound("one of these functions cannot be traced by ftrace", name=functions[0])
        if errno in (_errno.EOPNOTSUPP, _errno.EINVAL):
            return NotSupported("kprobe.multi", since="5.18", instead="attach kprobes one by one",
                                notes=("it needs CONFIG_FPROBE, which Debian's 6.1 for one lacks",))
        return None

    session = program.expected_attach_type == AttachType.TRACE_KPROBE_SESSION
    return create(program, target_fd=0, attach_type=AttachType.TRACE_KPROBE_SESSION if session
                  else AttachType.TRACE_KPROBE_MULTI, extra=extra, target=target, explain=explain,
                  kind="kretprobe.multi" if retprobe else "kprobe.multi")


_MOST_ATTEMPTS = 200


def attach_many(program: KernelProgram, functions: Sequence[str], *, retprobe: bool = False,
                partly: bool = False) -> LinkGroup:
    """The same for names that a system call may have on other kernels (``sys_clone``), and that may be there twice.

    With `partly` functions that cannot be probed are passed over, unless none can: the kernel refuses the whole list
    for the sake of one, without saying which, so that the list is halved until it is found.
    """
    names = list(dict.fromkeys(translate(f) if f.startswith("sys_") else f for f in functions))
    links: list[KernelLink] = []
    done: list[str] = []
    problem: TargetNotFound | None = None
    attempts = 0
    todo = [names]
    try:
        while todo:
            some = todo.pop()
            attempts += 1
            try:
                links.append(attach(program, some, retprobe=retprobe))
                done += some
            except TargetNotFound as error:
                if not partly or attempts > _MOST_ATTEMPTS:
                    raise
                problem = error
                if len(some) > 1:
                    todo += [some[len(some) // 2:], some[:len(some) // 2]]
        if problem is not None and not links:
            raise problem
    except BaseException:
        for link in links:
            link.detach()
        raise
    return LinkGroup(links, kind="kretprobe.multi" if retprobe else "kprobe.multi", target=f"{len(done)} functions",
                     program=program.name, functions=done)
