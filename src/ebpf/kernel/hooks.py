"""Which hooks this user can reach on this kernel, found out with the smallest real operation that touches nobody.

For people (`ebpf doctor`): attaching never asks here, it tries and words its own refusal. Probes that the kernel
makes us register are registered disabled, on a function that only the kernel's own self-tests call.
"""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import EbpfError, KernelError, PrivilegeError
from ebpf.kernel import features, sys
from ebpf.kernel.attach.perf import dynamic_pmu, open_event

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["ok", "no", "denied", "unknown"]

# net/bpf/test_run.c: called by BPF_PROG_TEST_RUN of tracing programs and by nothing else.
_QUIET_FUNCTION: Final = "bpf_fentry_test1"
_RETURN_0: Final = bytes.fromhex("b700000000000000" "9500000000000000")


class Answer(NamedTuple):
    """``ok``, ``no`` (this kernel or its set-up cannot), ``denied`` (this user may not), ``unknown``; why; help."""

    state: State
    detail: str = ""
    help: str = ""


class Hook(NamedTuple):
    """A row: its name, what one uses it for, the capabilities beyond CAP_BPF that it asks for, how to find out."""

    name: str
    what: str
    needs: tuple[str, ...]
    probe: Callable[[], Answer]
    perf_event: bool = False  #: attached through perf_event_open(2), whose own sysctl applies


def _from_errno(errno: int, ok: str = "") -> Answer:
    if errno == 0:
        return Answer("ok", ok)
    if errno in (_errno.EPERM, _errno.EACCES):
        return Answer("denied", "not permitted")
    if errno in (_errno.EMFILE, _errno.ENFILE, _errno.ENOMEM, _errno.EINTR, _errno.EAGAIN):
        return Answer("unknown", os.strerror(errno))
    return Answer("no", os.strerror(errno))


def _perf_event(attr: sys.Buffer, pid: int | None = None) -> int:
    fd = open_event(attr, pid)
    if fd >= 0:
        os.close(fd)
        return 0
    return -fd


def _kprobe() -> Answer:
    pmu = dynamic_pmu("kprobe")
    if pmu is None:
        from ebpf.kernel.attach.kprobe import unavailable
        from ebpf.kernel.tracepipe import tracefs

        try:
            there = unavailable() is None and os.path.exists(f"{tracefs()}/kprobe_events")
        except EbpfError:
            there = False
        if there:
            return Answer("ok", "through tracefs")
        return Answer("no", "the kernel is built without kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)",
                      "use tracepoints, raw tracepoints or uprobes instead")
    for function in (_QUIET_FUNCTION, "bpf_prog_test_run_tracing", "vfs_read"):
        name = function.encode() + b"\0"
        attr = sys.perf_event_attr(pmu[0], 0, sample=1, flags=sys.PERF_ATTR_DISABLED, config1=sys.address_of(name))
        errno = _perf_event(attr)
        if errno not in (_errno.ENOENT, _errno.EINVAL):
            return _from_errno(errno)
    return _from_errno(errno)


def _kprobe_multi() -> Answer:
    return _feature("kprobe_multi")


def _feature(name: str) -> Answer:
    row = features.FEATURES[name]
    have = features.have(name)
    if have is None:
        return Answer("unknown", "cannot be told without privilege")
    return Answer("ok") if have else Answer("no", f"not in this kernel: {row.what}, since Linux {row.since}")


def _uprobe() -> Answer:
    pmu = dynamic_pmu("uprobe")
    if pmu is None:
        return Answer("no", "the kernel is built without uprobes (CONFIG_UPROBE_EVENTS)")
    path = os.fsencode(os.path.realpath("/proc/self/exe")) + b"\0"
    attr = sys.perf_event_attr(pmu[0], 0, sample=1, flags=sys.PERF_ATTR_DISABLED, config1=sys.address_of(path))
    return _from_errno(_perf_event(attr, 0))


def _tracepoint() -> Answer:
    from ebpf.kernel.tracepipe import tracefs

    try:
        events = f"{tracefs()}/events"
        if not os.path.isdir(events):
            return Answer("no", "tracefs has no events (CONFIG_EVENT_TRACING is off)")
        syscalls = "" if os.path.isdir(f"{events}/syscalls") else \
            "no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS is off)"
        return Answer("ok", syscalls)
    except PrivilegeError as error:
        return Answer("denied", error.message, error.helps[0] if error.helps else "")
    except KernelError as error:
        return Answer("no", error.message, error.helps[0] if error.helps else "")


def _program(type: ProgType, **members: int) -> Callable[[], Answer]:
    """Whether a program of that type that does nothing loads."""
    def probe() -> Answer:
        license = b"GPL\0"
        result, _ = sys.attempt(
            "PROG_LOAD", prog_type=type, insns=sys.address_of(_RETURN_0), insn_cnt=2, license=sys.address_of(license),
            kern_version=features.kernel_version_code(), **members)
        if result >= 0:
            os.close(result)
        return _from_errno(0 if result >= 0 else -result)

    return probe


def _fentry() -> Answer:
    from ebpf.kernel.facts import kernel_btf

    btf = kernel_btf()
    if btf is None:
        return Answer("no", "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", "use kprobes instead")
    from ebpf.btf.types import Kind

    target = btf.find(_QUIET_FUNCTION, kind=Kind.FUNC)
    if target is None:
        return Answer("unknown", f"this kernel has no {_QUIET_FUNCTION} to try it on")
    license = b"GPL\0"
    fd, _ = sys.attempt("PROG_LOAD", prog_type=ProgType.TRACING, insns=sys.address_of(_RETURN_0), insn_cnt=2,
                        license=sys.address_of(license), expected_attach_type=AttachType.TRACE_FENTRY,
                        attach_btf_id=target)
    if fd == -_errno.EACCES:  # the verifier's word, not a missing privilege
        return Answer("no", "the kernel does not let fentry programs load (no BPF trampolines in this build)",
                      "use kprobes or tp_btf instead")
    if fd < 0:
        return _from_errno(-fd)
    try:
        link, _ = sys.attempt("RAW_TRACEPOINT_OPEN", prog_fd=fd)
    finally:
        os.close(fd)
    if link >= 0:
        os.close(link)
        return Answer("ok")
    if -link in (sys.ENOTSUPP, _errno.EOPNOTSUPP, _errno.EBUSY):
        return Answer("no", "the kernel is built without CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
                      "use kprobes instead")
    return _from_errno(-link)


def _lsm() -> Answer:
    active, told_by = _security_modules()
    if active is None:
        return Answer("unknown", "which security modules are active cannot be told: securityfs is not mounted",
                      "mount -t securityfs securityfs /sys/kernel/security")
    if "bpf" not in active:
        return Answer("no", f"the active security modules are {', '.join(active)}{told_by}",
                      f"boot with lsm={','.join(m for m in active if m != 'capability')},bpf")
    from ebpf.btf.types import Kind
    from ebpf.kernel.facts import kernel_btf

    btf = kernel_btf()
    hook = btf.find("bpf_lsm_file_mprotect", kind=Kind.FUNC) if btf is not None else None
    if hook is None:
        return Answer("no", "the kernel has no BTF of its security hooks (CONFIG_DEBUG_INFO_BTF, CONFIG_BPF_LSM)")
    answer = _program(ProgType.LSM, expected_attach_type=AttachType.LSM_MAC, attach_btf_id=hook)()
    return Answer(answer.state, answer.detail or told_by.strip(" ()"), answer.help)


def _security_modules() -> tuple[list[str] | None, str]:
    """The active ones; and, unless the kernel itself says so, who does."""
    try:
        with open("/sys/kernel/security/lsm") as file:
            return file.read().strip().split(","), ""
    except OSError:
        pass
    try:
        with open("/proc/cmdline") as file:
            for word in file.read().split():
                if word.startswith("lsm="):
                    return word[4:].split(","), " (by the boot option lsm=)"
    except OSError:
        pass
    from ebpf.kernel.facts import read_kconfig

    built_in = read_kconfig().get("CONFIG_LSM")
    return (built_in.strip('"').split(","), " (by CONFIG_LSM)") if built_in else (None, "")


def _cgroup() -> Answer:
    place = cgroup2_mount()
    if place is None:
        return Answer("no", "no version 2 control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified")
    answer = _program(ProgType.CGROUP_SKB)()
    return Answer(answer.state, answer.detail or place, answer.help)


def cgroup2_mount() -> str | None:
    """Where version 2 control groups are mounted."""
    return _mounted("cgroup2")


def _mounted(kind: str) -> str | None:
    try:
        with open("/proc/mounts") as file:
            return next((fields[1] for line in file if len(fields := line.split()) > 2 and fields[2] == kind), None)
    except OSError:
        return None


def _bpffs() -> Answer:
    place = _mounted("bpf")
    if place is None:
        return Answer("no", "no BPF file system is mounted: nothing can be pinned",
                      "mount -t bpf bpf /sys/fs/bpf")
    if os.access(place, os.W_OK):
        return Answer("ok", place)
    return Answer("denied", f"{place} is not writable for this user")


def _clock() -> Answer:
    attr = sys.perf_event_attr(sys.PERF_TYPE_SOFTWARE, sys.PERF_COUNT_SW_CPU_CLOCK, sample=10**9,
                               flags=sys.PERF_ATTR_DISABLED)
    return _from_errno(_perf_event(attr))


def _cycles() -> Answer:
    attr = sys.perf_event_attr(sys.PERF_TYPE_HARDWARE, 0, sample=10**9, flags=sys.PERF_ATTR_DISABLED)
    errno = _perf_event(attr)
    if errno in (_errno.ENOENT, _errno.EOPNOTSUPP, _errno.ENODEV):
        return Answer("no", "no hardware counters (a virtual machine?)", "sample by cpu-clock instead")
    return _from_errno(errno)


HOOKS: Final[tuple[Hook, ...]] = (
    Hook("kprobe", "kernel functions: entry and return", ("CAP_PERFMON",), _kprobe, True),
    Hook("kprobe.multi", "many kernel functions at once", ("CAP_PERFMON",), _kprobe_multi),
    Hook("fentry", "kernel functions with typed arguments", ("CAP_PERFMON",), _fentry),
    Hook("tracepoint", "the kernel's stable events", ("CAP_PERFMON",), _tracepoint, True),
    Hook("raw tracepoint", "the same, with raw arguments", ("CAP_PERFMON",), _program(ProgType.RAW_TRACEPOINT)),
    Hook("uprobe", "functions of user programs and libraries", ("CAP_SYS_ADMIN",), _uprobe, True),
    Hook("perf event", "sampling by clock", ("CAP_PERFMON",), _clock, True),
    Hook("hardware counters", "sampling by cycles, cache misses, ...", ("CAP_PERFMON",), _cycles, True),
    Hook("lsm", "security decisions", ("CAP_PERFMON",), _lsm),
    Hook("socket filter", "packets of one socket", (), _program(ProgType.SOCKET_FILTER)),
    Hook("xdp", "packets as they arrive at a device", ("CAP_NET_ADMIN",), _program(ProgType.XDP)),
    Hook("tc", "packets at a device, both ways", ("CAP_NET_ADMIN",), _program(ProgType.SCHED_CLS)),
    Hook("cgroup", "sockets and packets of control groups", ("CAP_NET_ADMIN",), _cgroup),
    Hook("bpffs", "pinning programs, maps and links", (), _bpffs),
)
