"""What this user may do with eBPF on this kernel: capabilities, sysctls, lockdown. Plain facts, read on demand."""

from __future__ import annotations

import os
from typing import NamedTuple

# linux/capability.h, those that eBPF asks for; CAP_PERFMON and CAP_BPF exist since Linux 5.8.
CAPABILITIES = {
    "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_IPC_LOCK": 14, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39,
}
# What CAP_SYS_ADMIN includes, for compatibility with kernels before 5.8 (kernel/bpf/token.c, perfmon_capable()).
_IMPLIED_BY_ADMIN = ("CAP_BPF", "CAP_PERFMON")
_LOCKDOWN_HELP = "lockdown comes with Secure Boot or the boot option lockdown=; nothing lifts it at run time"


class Privileges(NamedTuple):
    """Facts about this process and this kernel. `None` where the kernel does not tell."""

    euid: int
    capabilities: frozenset[str]  #: effective ones out of `CAPABILITIES`, what CAP_SYS_ADMIN includes counted in
    in_user_namespace: bool  #: capabilities of a user namespace do not count for eBPF
    lockdown: str | None  #: "none", "integrity", "confidentiality"
    unprivileged_bpf_disabled: int | None
    perf_event_paranoid: int | None
    kptr_restrict: int | None
    jit_enable: int | None
    memlock_bytes: int | None  #: RLIMIT_MEMLOCK's soft limit, None for no limit


class Explanation(NamedTuple):
    """Why something was refused: capabilities that are missing, other facts, what to change."""

    missing: tuple[str, ...]
    notes: tuple[str, ...]
    helps: tuple[str, ...]


def read_privileges() -> Privileges:
    """The facts as they are now."""
    return Privileges(
        euid=os.geteuid(),
        capabilities=effective_capabilities(),
        in_user_namespace=in_user_namespace(),
        lockdown=lockdown(),
        unprivileged_bpf_disabled=_sysctl("kernel/unprivileged_bpf_disabled"),
        perf_event_paranoid=_sysctl("kernel/perf_event_paranoid"),
        kptr_restrict=_sysctl("kernel/kptr_restrict"),
        jit_enable=_sysctl("net/core/bpf_jit_enable"),
        memlock_bytes=_memlock(),
    )


def effective_capabilities() -> frozenset[str]:
    """Those of `CAPABILITIES` in this thread's effective set, with those that CAP_SYS_ADMIN includes."""
    status = _text("/proc/thread-self/status") or _text("/proc/self/status")
    mask = 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
    held = {name for name, bit in CAPABILITIES.items() if mask >> bit & 1}
    if "CAP_SYS_ADMIN" in held:
        held.update(_IMPLIED_BY_ADMIN)
    return frozenset(held)


def in_user_namespace() -> bool:
    """Whether this process lives in a user namespace of its own, where capabilities mean less."""
    fields = _text("/proc/self/uid_map").split()
    return bool(fields) and fields != ["0", "0", "4294967295"]


def lockdown() -> str | None:
    """The kernel's lockdown mode: "none", "integrity" or "confidentiality"; None if it cannot be read."""
    text = _text("/sys/kernel/security/lockdown")
    start, end = text.find("["), text.find("]")
    return text[start + 1:end] if 0 <= start < end else None


def explain(needs: tuple[str, ...], *, perf: bool = False) -> Explanation:
    """Why a call that wants the capabilities `needs` was refused; `perf` for perf_event_open(2)."""
    held = effective_capabilities()
    missing = tuple(need for need in needs if need not in held)
    notes: list[str] = []
    helps: list[str] = []
    if missing:
        helps.append(f"run it as root, or give the process {' and '.join(missing)} "
                     f"(setpriv, systemd's AmbientCapabilities=, `docker run --cap-add`)")
        if _sysctl("kernel/unprivileged_bpf_disabled") and not perf and "CAP_BPF" in missing:
            notes.append("kernel.unprivileged_bpf_disabled forbids all of bpf(2) without CAP_BPF")
    paranoid = _sysctl("kernel/perf_event_paranoid")
    if perf and not missing and paranoid is not None and paranoid > 2 and "CAP_SYS_ADMIN" not in held:
        # A patch of Debian's and Ubuntu's kernels; CAP_PERFMON does not help against it.
        missing = ("CAP_SYS_ADMIN",)
        notes.append(f"kernel.perf_event_paranoid is {paranoid}: above 2 this distribution's kernel keeps all perf "
                     "events (kprobes, uprobes and tracepoints use them) to CAP_SYS_ADMIN")
        helps.append("sysctl kernel.perf_event_paranoid=2 makes CAP_PERFMON enough")
    elif perf and "CAP_PERFMON" in missing and paranoid is not None and paranoid > 1:
        notes.append(f"kernel.perf_event_paranoid is {paranoid}: perf events of the kernel need CAP_PERFMON")
        helps.append("or lower it: sysctl kernel.perf_event_paranoid=1 (tracing the kernel still wants CAP_PERFMON)")
    mode = lockdown()
    if mode in ("integrity", "confidentiality"):
        notes.append(f"the kernel is locked down ({mode}): "
                     + ("programs may not read kernel memory, kprobes and tracing are off" if mode == "confidentiality"
                        else "programs may not write user memory or override functions"))
        helps.append(_LOCKDOWN_HELP)
    if in_user_namespace():
        notes.append("this process is in a user namespace (a rootless container?), where capabilities do not count "
                     "for eBPF")
    return Explanation(missing, tuple(notes), tuple(helps))


def withheld_helpers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes and helps about what makes the verifier pretend that helpers don't exist (kernel/trace/bpf_trace.c,
    kernel/bpf/helpers.c: the table of helpers depends on lockdown and on capabilities); empty if nothing does.
    """
    if lockdown() == "confidentiality":
        return (("the kernel is locked down (confidentiality): helpers that read kernel memory are withheld from all "
                 "programs",), (_LOCKDOWN_HELP,))
    missing = [name for name in _IMPLIED_BY_ADMIN if name not in effective_capabilities()]
    if missing:
        return ((f"this user lacks {' and '.join(missing)}: many helpers are withheld from programs loaded so",),
                (f"run it as root, or give the process {' and '.join(missing)}",))
    return (), ()


def raise_memlock() -> bool:
    """Lift RLIMIT_MEMLOCK, against which kernels before 5.11 count maps and programs; whether that worked."""
    import resource

    unlimited = resource.RLIM_INFINITY
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if soft == unlimited:
            return False
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (unlimited, unlimited))
        except (ValueError, OSError):  # without CAP_SYS_RESOURCE only as far as the hard limit
            if soft == hard:
                return False
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    except (ValueError, OSError):
        return False
    return True


def _memlock() -> int | None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def _sysctl(name: str) -> int | None:
    text = _text(f"/proc/sys/{name}").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
