"""What eBPF can do here and now, for this user on this kernel, and what to change where it can't (`ebpf doctor`)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.kernel.privileges import Privileges

State = Literal["ok", "no", "denied", "unknown", "info"]


class Finding(NamedTuple):
    """One fact.

    ``state``: ``ok``; ``no``: cannot be done here; ``denied``: not by this user; ``unknown``; ``info``: neither good
    nor bad. ``detail`` says what was found, ``help`` what to change (empty where there is nothing to change).
    """

    group: str
    name: str
    state: State
    detail: str = ""
    help: str = ""


def examine() -> Iterator[Finding]:
    """Every fact, group by group. Reads, and tries the smallest real operations; attaches to nobody. Half a second."""
    from ebpf.kernel.privileges import read_privileges

    privileges = read_privileges()
    yield from _kernel(privileges)
    yield _backend()
    yield from _user(privileges)
    yield from _hooks(privileges)
    yield from _features()
    yield from _python()


def _kernel(privileges: Privileges) -> Iterator[Finding]:
    group = "kernel"
    system = os.uname()
    yield Finding(group, "Linux", "ok" if system.machine == "x86_64" else "info", f"{system.release} {system.machine}",
                  "" if system.machine == "x86_64" else "tracing has been tested on x86-64 only")
    btf = "/sys/kernel/btf/vmlinux"
    if os.access(btf, os.R_OK):
        modules = len(os.listdir("/sys/kernel/btf")) - 1
        also = f", and of {modules} module{'' if modules == 1 else 's'}" if modules else ""
        yield Finding(group, "BTF", "ok", f"{os.path.getsize(btf) / 1e6:.1f} MB{also}")
    else:
        yield Finding(group, "BTF", "no", f"{btf} is missing: the kernel's types are unknown",
                      "use a kernel with CONFIG_DEBUG_INFO_BTF (Debian 11, Ubuntu 20.10 and later have it); "
                      "programs that name no kernel type work without")
    jit = privileges.jit_enable
    if jit is not None:
        yield Finding(group, "JIT compiler", "ok" if jit else "info", ("off", "on", "on, with debug output")[jit % 3],
                      "" if jit else "sysctl net.core.bpf_jit_enable=1")
    if privileges.lockdown in ("integrity", "confidentiality"):
        what = "programs may not read kernel memory" if privileges.lockdown == "confidentiality" else \
            "programs may not write user memory or override functions"
        yield Finding(group, "lockdown", "no" if privileges.lockdown == "confidentiality" else "info",
                      f"{privileges.lockdown}: {what}", "it comes with Secure Boot or the boot option lockdown=; "
                      "only a reboot without them lifts it")
    elif privileges.lockdown is not None:
        yield Finding(group, "lockdown", "ok", privileges.lockdown)
    elif os.path.isdir("/sys/kernel/security") and not _is_empty("/sys/kernel/security"):
        yield Finding(group, "lockdown", "ok", "this kernel has no such thing (CONFIG_SECURITY_LOCKDOWN_LSM)")
    else:
        yield Finding(group, "lockdown", "unknown", "cannot be told: securityfs is not mounted",
                      "mount -t securityfs securityfs /sys/kernel/security")


def _backend() -> Finding:
    """Where `ebpf.load` would take a program."""
    from ebpf.session.choice import choose

    choice = choose()
    if choice.backend == "kernel":
        return Finding("user", "programs run in", "ok", f"the kernel: {choice.why}")
    return Finding("user", "programs run in", "info", f"the userspace machine: {choice.why}",
                   "" if choice.asked else "EBPF_BACKEND=kernel refuses instead; `ebpf run FILE -- COMMAND` traces a "
                   "command in the machine")


def _is_empty(directory: str) -> bool:
    try:
        return not os.listdir(directory)
    except OSError:
        return False


_CAPABILITIES = (
    ("CAP_BPF", "load programs, create maps"), ("CAP_PERFMON", "trace: kprobes, tracepoints, perf events"),
    ("CAP_NET_ADMIN", "attach to the network"), ("CAP_SYS_ADMIN", "list objects by id; all of the above"),
)


def _user(privileges: Privileges) -> Iterator[Finding]:
    group = "user"
    held = privileges.capabilities
    yield Finding(group, "user id", "info", f"{privileges.euid}{' (root)' if privileges.euid == 0 else ''}")
    for name, use in _CAPABILITIES:
        if name in held:
            yield Finding(group, name, "ok", use)
        else:
            yield Finding(group, name, "denied", f"missing: {use}", "run as root, or grant it (see setpriv(1))")
    if privileges.in_user_namespace:
        yield Finding(group, "user namespace", "no", "this process lives in one (a rootless container?): capabilities "
                      "do not count for eBPF", "run it outside, or in a container started by root with --cap-add")
    disabled = privileges.unprivileged_bpf_disabled
    if "CAP_BPF" not in held and disabled is not None:
        effect = ": bpf(2) only with CAP_BPF" if disabled else ": socket filters and little else"
        yield Finding(group, "unprivileged eBPF", "denied" if disabled else "info",
                      f"kernel.unprivileged_bpf_disabled is {disabled}{effect}",
                      "leave it as it is and grant capabilities")
    paranoid = privileges.perf_event_paranoid
    if paranoid is not None and paranoid > 2 and "CAP_SYS_ADMIN" not in held:
        yield Finding(group, "perf events", "denied", f"kernel.perf_event_paranoid is {paranoid}: above 2 this "
                      "distribution's kernel keeps kprobes, uprobes and tracepoints to CAP_SYS_ADMIN",
                      "sysctl kernel.perf_event_paranoid=2 makes CAP_PERFMON enough, but for uprobes")
    elif paranoid is not None and "CAP_PERFMON" not in held:
        yield Finding(group, "perf events", "denied" if paranoid > 1 else "info",
                      f"kernel.perf_event_paranoid is {paranoid}"
                      + (": none of the kernel's without CAP_PERFMON" if paranoid > 1 else ""))
    if privileges.kptr_restrict == 2 or (privileges.kptr_restrict == 1 and "CAP_SYSLOG" not in held):
        yield Finding(group, "kernel symbols", "denied", f"kernel.kptr_restrict is {privileges.kptr_restrict}: "
                      "addresses in /proc/kallsyms are hidden, stacks stay numbers", "sysctl kernel.kptr_restrict=0")
    if privileges.memlock_bytes is not None:
        from ebpf.kernel.features import have

        counted = have("memcg_accounting")
        state: State = "ok" if counted or "CAP_SYS_RESOURCE" in held else "unknown" if counted is None else "denied"
        detail = f"{privileges.memlock_bytes >> 10} KiB" + (
            ", not counted by this kernel" if counted else ", raised when needed" if state == "ok" else
            "; whether maps count against it cannot be told without privilege" if counted is None else
            ", against which this kernel counts maps and programs")
        yield Finding(group, "RLIMIT_MEMLOCK", state, detail,
                      "" if state == "ok" else "ulimit -l unlimited (only Linux before 5.11 wants it)")


def _hooks(privileges: Privileges) -> Iterator[Finding]:
    from ebpf.kernel.hooks import HOOKS

    for hook in HOOKS:
        try:
            answer = hook.probe()
        except OSError as error:  # /proc or /sys is not there, or is hidden
            yield Finding("hooks", hook.name, "unknown", f"{error.filename or error}: {error.strerror}")
            continue
        missing = [c for c in ("CAP_BPF", *hook.needs) if c not in privileges.capabilities]
        state: State = answer.state
        detail, help = answer.detail, answer.help
        held = privileges.capabilities
        if hook.perf_event and (privileges.perf_event_paranoid or 0) > 2 and "CAP_SYS_ADMIN" not in held \
                and state != "no":
            # Debian's and Ubuntu's patch: CAP_PERFMON does not help against it.
            missing = [*(c for c in missing if c == "CAP_BPF"), "CAP_SYS_ADMIN"]
        if hook.name == "bpffs":
            pass  # a question of the file system alone
        elif missing and (state == "denied" or (state == "ok" and hook.needs)):
            # A perf event or a file that opens is not enough: the program behind it has to load.
            state, detail, help = "denied", f"needs {' and '.join(missing)}", ""
        elif state == "denied" and not help:
            # All capabilities are there, and still: it is the kernel's set-up, not the user.
            locked = privileges.lockdown if privileges.lockdown not in (None, "none") else ""
            state, detail = "no", (f"refused although the capabilities are there: the kernel is locked down ({locked})"
                                   if locked else "refused although the capabilities are there")
            help = "" if locked else "a security module, a seccomp filter or the hypervisor forbids it"
        yield Finding("hooks", hook.name, state, detail or hook.what, help)


def _features() -> Iterator[Finding]:
    from ebpf.kernel.features import FEATURES, have, mcpu

    yield Finding("features", "instruction set", "info", mcpu())
    for name in ("ringbuf", "batch", "perf_link", "global_data", "memcg_accounting"):
        row, answer = FEATURES[name], have(name)
        state: State = "unknown" if answer is None else "ok" if answer else "no"
        yield Finding("features", row.what, state, "cannot be told without privilege" if answer is None else
                      "" if answer else f"since Linux {row.since}")


def _python() -> Iterator[Finding]:
    group = "package"
    from ebpf import __version__

    yield Finding(group, "ebpf", "ok", f"{__version__}, Python {sys.version.split()[0]}")
    from importlib import metadata

    for name, use in (("llvmlite", "compiling"), ("numpy", "reading maps and events in bulk")):
        try:
            detail = metadata.version(name)
            if name == "llvmlite":
                detail += f" (LLVM {_llvm_version()})"
            yield Finding(group, name, "ok", detail)
        except metadata.PackageNotFoundError:
            yield Finding(group, name, "no", f"not installed: no {use}", f"pip install {name}")
    yield from _bcc(group)
    yield from _cache(group)


def _llvm_version() -> str:
    try:
        from llvmlite import binding
    except (ImportError, OSError) as error:
        return f"does not load: {error}"
    return ".".join(map(str, binding.llvm_version_info))


def _bcc(group: str) -> Iterator[Finding]:
    """Which `bcc` a script gets: the first on sys.path; the others are told too."""
    places = []
    for entry in sys.path:
        file = os.path.join(entry or ".", "bcc", "__init__.py")
        if os.path.isfile(file) and os.path.realpath(file) not in places:
            places.append(os.path.realpath(file))
    system = [f"{base}/bcc/__init__.py" for base in ("/usr/lib/python3/dist-packages",)
              if os.path.isfile(f"{base}/bcc/__init__.py")]
    ours = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", "bcc", "__init__.py"))
    others = [p for p in dict.fromkeys([*places, *system]) if p != ours]
    if places and places[0] != ours:
        yield Finding(group, "import bcc", "no", f"finds {os.path.dirname(places[0])}, not ours",
                      "run scripts with `ebpf run script.py`, or put ours first in PYTHONPATH: "
                      f"{os.path.dirname(os.path.dirname(ours))}")
    else:
        also = f"; {', '.join(os.path.dirname(p) for p in others)} is there too" if others else ""
        yield Finding(group, "import bcc", "ok", f"ours wins{also}")


def _cache(group: str) -> Iterator[Finding]:
    from ebpf.compiler.cache import Store

    store = Store()
    remedy = "set EBPF_CACHE_DIR to a directory of yours"
    if store.path is None:
        yield Finding(group, "cache", "info", store.why_not or "switched off", remedy)
        return
    if not os.path.lexists(store.path):
        parent = os.path.dirname(store.path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        if os.access(parent, os.W_OK):
            yield Finding(group, "cache", "ok", f"{store.path} (nothing in it yet)")
        else:
            yield Finding(group, "cache", "no", f"{store.path} cannot be made", remedy)
        return
    store.get("")  # opens and checks the directory
    if store.why_not:
        yield Finding(group, "cache", "no", f"not used: {store.why_not}",
                      f"chown {os.geteuid()} {store.path}; chmod 700 {store.path}; or {remedy}")
        return
    files = [os.path.join(folder, name) for folder, _, names in os.walk(store.path) for name in names]
    size = sum(os.lstat(f).st_size for f in files)
    yield Finding(group, "cache", "ok", f"{store.path}: {len(files)} files, {size / 1e6:.1f} MB")
