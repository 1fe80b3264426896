"""Kprobes: a program at (nearly) any instruction of the kernel; kretprobes: at the return of a function.

Through the kprobe PMU of perf_event_open(2) (Linux 4.17), which leaves nothing behind; else through tracefs'
``kprobe_events``, whose definitions are removed on `detach` and, those of processes that died, at the next attach.
"""

from __future__ import annotations

import errno as _errno
import itertools
import os
import re
from typing import TYPE_CHECKING

from ebpf.errors import (
    AttachError,
    EbpfError,
    KernelError,
    NotSupported,
    PrivilegeError,
    TargetNotFound,
    UsageError,
)
from ebpf.kernel import sys
from ebpf.kernel.attach.link import LinkGroup, refused
from ebpf.kernel.attach.perf import dynamic_pmu, open_event, set_program
from ebpf.kernel.symbols import SYSCALL_PREFIXES, function_not_found, kernel_function, kernel_symbols
from ebpf.kernel.tracepipe import tracefs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_serial = itertools.count(1)


def attach(program: KernelProgram, function: str, *, offset: int = 0, retprobe: bool = False,
           cookie: int | None = None, legacy: bool = False, maxactive: int = 0) -> KernelLink:
    """Run `program` when the kernel function `function` is entered (`offset` bytes into it), or returns.

    A system call's name (``sys_clone``, any prefix) finds the running kernel's own function. Raises `TargetNotFound`
    with similar names, `AttachError` where the kernel forbids probing. `legacy`: through tracefs. `maxactive` (legacy
    kretprobes): how many calls may be under way at once.
    """
    kind = "kretprobe" if retprobe else "kprobe"
    pmu = None if legacy or maxactive else dynamic_pmu("kprobe")
    if pmu is None and (missing := unavailable()) is not None:
        raise missing
    if retprobe and offset:
        raise UsageError("a kretprobe is at the return of a function: it has no offset")

    def once(name: str) -> KernelLink | int:
        where = f"{name}+{offset:#x}" if offset else name
        if pmu is None:
            return _attach_legacy(program, name, offset, kind, where, cookie, maxactive)
        type, retprobe_bit, _ = pmu
        text = name.encode() + b"\0"
        attr = sys.perf_event_attr(type, int(retprobe) << retprobe_bit, sample=1, wakeup_events=1,
                                   config1=sys.address_of(text), config2=offset)
        event = open_event(attr, None)
        if event < 0:
            return event
        return set_program(program, event, kind=kind, target=where, cookie=cookie)

    result = once(function)
    if isinstance(result, int) and result in (-_errno.ENOENT, -_errno.EINVAL, -_errno.ESRCH):
        # Only now look at the kernel's 150,000 symbols.
        translated = translate(function)
        if translated != function:
            function = translated
            result = once(translated)
    if isinstance(result, int):
        raise _failure(program, function, offset, kind, -result)
    return result


def unavailable() -> NotSupported | None:
    """The error for a kernel without kprobes; None if it has them (or hides its symbols)."""
    symbols = kernel_symbols()
    if "register_kprobe" in symbols or "schedule" not in symbols:
        return None
    return NotSupported("kprobes", notes=("it is built without CONFIG_KPROBES",), instead=(
        "probe a tracepoint (SEC(\"tracepoint/category/name\")) or raw tracepoint (SEC(\"raw_tp/name\")) instead, a "
        "user program's function (SEC(\"uprobe/file:function\")), or run it on a distribution's kernel"))


def translate(function: str) -> str:
    """A system call's function by this kernel's name; any other name as it is."""
    if not function.startswith(SYSCALL_PREFIXES):
        return function
    try:
        return kernel_function(function)
    except TargetNotFound:
        return function


def _failure(program: KernelProgram, function: str, offset: int, kind: str, errno: int) -> EbpfError:
    if errno in (_errno.ENOENT, _errno.EINVAL, _errno.EILSEQ, _errno.ESRCH):
        kernel_symbols.cache_clear()  # a module may have come since
        symbols = [s for s in kernel_symbols().find_all(function) if s.kind in "tTwW"]
        if not symbols:
            return function_not_found(function)
        if errno == _errno.EILSEQ or offset:
            return AttachError(f"{function}+{offset:#x} is not the beginning of an instruction that can be probed",
                               notes=("kprobes want an instruction's first byte, inside the function",))
        return function_not_found(function, "it is on the kernel's list of functions that must not be probed, or "
                                            "is marked notrace")
    if errno == _errno.EADDRNOTAVAIL:
        return AttachError(f"the kernel has several functions called {function!r}; which one is not clear",
                           notes=(f"it has {len(kernel_symbols().find_all(function))} of that name (static functions "
                                  "of different files)",), helps=("probe another function, or a tracepoint",))
    if errno == _errno.EBUSY:
        return AttachError(f"{function!r} is in use by something that excludes kprobes (livepatch, ftrace with "
                           "IPMODIFY)")
    return refused(program, kind, function, errno, needs=("CAP_PERFMON",))


def attach_many(program: KernelProgram, functions: Sequence[str], *, retprobe: bool = False,
                partly: bool = False) -> LinkGroup:
    """Attach to many functions, one event each: 20 to 50 ms for each, and as long for detaching.

    If one cannot be probed all are detached again; with `partly` it is passed over, unless none can.
    Programs loaded with ``expected_attach_type=BPF_TRACE_KPROBE_MULTI`` go to `kprobe_multi.attach_many` instead: one
    system call.
    """
    links: list[KernelLink] = []
    done: list[str] = []
    problem: EbpfError | None = None
    try:
        for function in functions:
            try:
                links.append(attach(program, function, retprobe=retprobe))
                done.append(function)
            except PrivilegeError:
                raise
            except (AttachError, KernelError) as error:
                if not partly:
                    raise
                problem = error
        if problem is not None and not links:
            raise problem
    except BaseException:
        for link in links:
            link.detach()
        raise
    return LinkGroup(links, kind="kretprobe" if retprobe else "kprobe", target=f"{len(links)} functions",
                     program=program.name, functions=done)


def functions_matching(pattern: str | bytes) -> list[str]:
    """Kernel functions whose whole name matches the regular expression `pattern` and that can be probed, sorted.

    From tracefs' ``available_filter_functions`` (what ftrace can trace, each by one of its names) and, where addresses
    are to be seen, the other names that kallsyms has for those; where tracefs is missing, all functions of kallsyms.
    Without those on the kprobes blacklist.
    """
    text = pattern if isinstance(pattern, bytes) else pattern.encode()
    try:
        matches = re.compile(b"(?:" + text + b")\\Z").match
    except re.error as error:
        raise UsageError(f"{text.decode(errors='replace')!r} is not a regular expression: {error}") from None
    names: Iterable[bytes]
    try:
        with open(f"{tracefs()}/available_filter_functions", "rb") as file:
            # Where a weak function was not linked in, its call to ftrace is left over (Linux 6.0).
            known = {line.split(None, 1)[0] for line in file
                     if line.strip() and not line.startswith(b"__ftrace_invalid_address__")}
        names = [*filter(matches, known), *kernel_symbols().other_names(known, matches)]
    except (OSError, EbpfError):
        names = filter(matches, (name.encode() for name in kernel_symbols().functions()))
    return sorted({name.decode(errors="replace") for name in names} - blacklisted())


def blacklisted() -> set[str]:
    """Functions that kprobes must not touch, as far as debugfs tells."""
    try:
        with open("/sys/kernel/debug/kprobes/blacklist") as file:
            return {line.split()[1] for line in file if len(line.split()) > 1}
    except OSError:
        return set()


# ---- through tracefs ----------------------------------------------------------------------------


def _attach_legacy(program: KernelProgram, function: str, offset: int, kind: str, target: str, cookie: int | None,
                   maxactive: int) -> KernelLink | int:
    root = tracefs()
    definitions = f"{root}/kprobe_events"
    if not os.path.exists(definitions):
        raise NotSupported("kprobes", notes=("it is built without CONFIG_KPROBE_EVENTS",),
                           instead="probe a tracepoint, a raw tracepoint or a user program's function instead")
    _sweep(definitions)
    safe = re.sub(r"\W", "_", function)[:40]
    event = f"{'r' if kind == 'kretprobe' else 'p'}_{safe}_{offset:x}_{os.getpid()}_{next(_serial)}"
    probe = f"r{maxactive or ''}" if kind == "kretprobe" else "p"
    result = _append(definitions, f"{probe}:ebpf/{event} {function}{f'+{offset}' if offset else ''}")
    if result < 0:
        return result

    def remove() -> None:
        _append(definitions, f"-:ebpf/{event}")

    try:
        with open(f"{root}/events/ebpf/{event}/id") as file:
            id = int(file.read())
        fd = open_event(sys.perf_event_attr(sys.PERF_TYPE_TRACEPOINT, id, sample=1, wakeup_events=1), None)
    except BaseException:
        remove()
        raise
    if fd < 0:
        remove()
        return fd
    return set_program(program, fd, kind=kind, target=target, cookie=cookie, after=remove)


def _append(path: str, line: str) -> int:
    """One definition; 0 or ``-errno``. Python's open(…, "a") seeks, which this file refuses."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        return -(error.errno or _errno.EIO)
    try:
        os.write(fd, line.encode() + b"\n")
    except OSError as error:
        return -(error.errno or _errno.EIO)
    finally:
        os.close(fd)
    return 0


_OURS = re.compile(r"^[pr]\d*:ebpf/(\w+_(\d+)_\d+) ")


def _sweep(definitions: str) -> None:
    """Remove definitions of ours whose process is gone."""
    try:
        with open(definitions) as file:
            lines = file.readlines()
    except OSError:
        return
    for line in lines:
        match = _OURS.match(line)
        if match and not os.path.exists(f"/proc/{match[2]}"):
            _append(definitions, f"-:ebpf/{match[1]}")
