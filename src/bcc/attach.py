"""The ``attach_`` and ``detach_`` methods of `BPF`, and what can be asked about places to attach to."""

from __future__ import annotations

import os

import ebpf
from bcc import renames
from bcc.utils import to_bytes, to_str
from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

_KPROBE, _TRACEPOINT, _PERF_EVENT, _RAW_TRACEPOINT, _TRACING, _LSM = 2, 5, 7, 17, 26, 29
_DEFAULT_PROBE_LIMIT = 1000

# System call functions by the names that kernels give them; "sys_clone" in a script means whichever this kernel has.
_SYSCALL_PREFIXES = (b"sys_", b"__x64_sys_", b"__x32_compat_sys_", b"__ia32_compat_sys_", b"__arm64_sys_",
                     b"__s390x_sys_", b"__s390_sys_", b"__riscv_sys_", b"__loongarch_sys_")


def _event_name(prefix: bytes, event: bytes) -> bytes:
    return prefix + event.replace(b"+", b"_").replace(b".", b"_")


def _functions(pattern: str) -> list[str]:
    """As BCC chooses them: what the kernel can trace, without what belongs to perf, and parts of functions."""
    return [name for name in host.functions(f"(?:{pattern}).*")
            if not name.startswith(("perf_", "__perf", "_kbl_addr_", "__SCT__")) and ".cold" not in name]


class Attaching:
    """Mixin of `BPF`. The dictionaries called ``…_fds`` say what is attached, as in BCC; links are beside them."""

    _xdp_links: dict[str, Any] = {}
    _syscall_prefixes = list(_SYSCALL_PREFIXES)

    def __init__(self) -> None:
        self.kprobe_fds: dict[bytes, dict[bytes, int]] = {}
        self.uprobe_fds: dict[bytes, int] = {}
        self.tracepoint_fds: dict[bytes, int] = {}
        self.raw_tracepoint_fds: dict[bytes, int] = {}
        self.kfunc_entry_fds: dict[bytes, int] = {}
        self.kfunc_exit_fds: dict[bytes, int] = {}
        self.fmod_ret_fds: dict[bytes, int] = {}
        self.lsm_fds: dict[bytes, int] = {}
        self.open_perf_events: dict[tuple[int, int], dict[int, int]] = {}
        self._links: dict[tuple[str, Any], Any] = {}

    def load_func(self, func_name: str | bytes, prog_type: int, device: Any = None, attach_type: int = -1) -> Any:
        raise NotImplementedError

    def _program(self, fn_name: bytes, prog_type: int) -> Any:
        return self.load_func(fn_name, prog_type).program

    def _keep(self, kind: str, name: Any, link: Any) -> int:
        self._links[kind, name] = link
        return int(link.fileno())

    def _drop(self, kind: str, name: Any) -> None:
        link = self._links.pop((kind, name), None)
        if link is not None:
            link.detach()

    def _forget_links(self) -> None:
        for kind, name in list(self._links):
            self._drop(kind, name)
        every: tuple[dict[Any, Any], ...] = (
            self.kprobe_fds, self.uprobe_fds, self.tracepoint_fds, self.raw_tracepoint_fds, self.kfunc_entry_fds,
            self.kfunc_exit_fds, self.fmod_ret_fds, self.lsm_fds, self.open_perf_events)
        for fds in every:
            fds.clear()
        mine = [dev for dev, (owner, _) in Attaching._xdp_links.items() if owner is self]
        for dev in mine:
            Attaching._xdp_links.pop(dev)[1].detach()

    # ---- by name ----

    def _trace_autoload(self) -> None:
        """Attach the functions whose names say where."""
        for text in list(self.session.obj.programs):  # type: ignore[attr-defined]
            name = text.encode()
            if name.startswith(b"kprobe__"):
                self.attach_kprobe(event=self.fix_syscall_fnname(name[8:]), fn_name=name)
            elif name.startswith(b"kretprobe__"):
                self.attach_kretprobe(event=self.fix_syscall_fnname(name[11:]), fn_name=name)
            elif name.startswith(b"tracepoint__"):
                self.attach_tracepoint(tp=name[12:].replace(b"__", b":"), fn_name=name)
            elif name.startswith(b"raw_tracepoint__"):
                self.attach_raw_tracepoint(tp=name[16:], fn_name=name)
            elif name.startswith(b"kfunc__"):
                self.attach_kfunc(fn_name=name)
            elif name.startswith(b"kretfunc__"):
                self.attach_kretfunc(fn_name=name)
            elif name.startswith(b"lsm__"):
                self.attach_lsm(fn_name=name)

    # ---- kernel functions ----

    def get_syscall_prefix(self) -> bytes:
        """What stands before a system call's name in this kernel: ``b"__x64_sys_"``."""
        return host.syscall_prefix().encode()

    def get_syscall_fnname(self, name: str | bytes) -> bytes:
        """The kernel function of a system call: ``"clone"`` → ``b"__x64_sys_clone"``."""
        return self.get_syscall_prefix() + to_bytes(name)

    def fix_syscall_fnname(self, name: str | bytes) -> bytes:
        """A system call's function by any kernel's name, by this kernel's name; other names as they are."""
        name = to_bytes(name)
        for prefix in _SYSCALL_PREFIXES:
            if name.startswith(prefix):
                return self.get_syscall_fnname(name[len(prefix):])
        return name

    @staticmethod
    def get_kprobe_functions(event_re: str | bytes) -> set[bytes]:
        """Kernel functions that can be probed and match the regular expression from their start."""
        pattern = to_str(event_re)
        found = {name.encode() for name in _functions(pattern)}
        return {pattern.encode()} if not found and renames.inlined(pattern) else found

    @staticmethod
    def get_probe_limit() -> int:
        """How many probes BCC's tools may open: BCC_PROBE_LIMIT, else 1000."""
        limit = os.environ.get("BCC_PROBE_LIMIT", "")
        return int(limit) if limit.isdigit() else _DEFAULT_PROBE_LIMIT

    def attach_kprobe(self, event: str | bytes = b"", event_off: int = 0, fn_name: str | bytes = b"",
                      event_re: str | bytes = b"") -> Self:
        """Run function ``fn_name`` of the text whenever the kernel function ``event`` is entered, or at ``event_off``
        bytes into it.

        ``sys_clone`` finds this kernel's own name of the system call. ``event_re``: every function that matches.
        """
        return self._attach_kprobe(b"p_", to_bytes(event), event_off, to_bytes(fn_name), event_re)

    def attach_kretprobe(self, event: str | bytes = b"", fn_name: str | bytes = b"", event_re: str | bytes = b"",
                         maxactive: int = 0) -> Self:
        """Run ``fn_name`` whenever the kernel function ``event`` returns.

        (``maxactive``: this kernel's default is used.)
        """
        return self._attach_kprobe(b"r_", to_bytes(event), 0, to_bytes(fn_name), event_re)

    def _attach_kprobe(self, prefix: bytes, event: bytes, offset: int, fn_name: bytes, event_re: str | bytes) -> Self:
        if event_re:
            self._attach_matching(prefix, to_str(event_re), fn_name)
            return self
        program = self._program(fn_name, _KPROBE)
        function, _, extra = event.partition(b"+")
        if extra:
            offset += int(extra, 0)
        kind = "kretprobe" if prefix == b"r_" else "kprobe"
        where = to_str(function) if offset else renames.where(kind, to_str(function))
        try:
            link = program.attach_kretprobe(where) if kind == "kretprobe" else \
                program.attach_kprobe(where, offset=offset)
        except ebpf.TargetNotFound:
            link = None if offset else renames.attach_instead(self, kind, where, fn_name, program)
            if link is None and (offset or not renames.absorbed(kind, where)):
                raise
        name = _event_name(prefix, event)
        if link is None:
            return self
        self.kprobe_fds.setdefault(name, {})[fn_name] = self._keep("kprobe", (name, fn_name), link)
        return self

    def _attach_matching(self, prefix: bytes, pattern: str, fn_name: bytes) -> None:
        names = _functions(pattern)
        if os.environ.get("BCC_PROBE_LIMIT") and len(names) + self.num_open_kprobes() > self.get_probe_limit():
            raise ebpf.AttachError(f"{len(names)} functions match {pattern!r}, more than BCC_PROBE_LIMIT allows")
        if not names:
            raise ebpf.TargetNotFound(f"no kernel function matches {pattern!r}", name=pattern)
        self._attach_names(prefix, names, fn_name)

    def _attach_names(self, prefix: bytes, functions: list[str], fn_name: bytes) -> None:
        """One link for all of them, where the kernel can do that; it is kept under each one's name."""
        group = self._program(fn_name, _KPROBE).attach_kprobes(functions, retprobe=prefix == b"r_", partly=True)
        if len(group.links) == len(group.functions):
            parts = list(zip(group.functions, group.links, strict=True))
        else:
            parts = [(function, group) for function in group.functions]
        for function, link in parts:
            name = _event_name(prefix, function.encode())
            self._drop("kprobe", (name, fn_name))
            self.kprobe_fds.setdefault(name, {})[fn_name] = self._keep("kprobe", (name, fn_name), link)

    def detach_kprobe_event(self, ev_name: str | bytes) -> None:
        """Detach everything from the event of that name (a key of ``kprobe_fds``)."""
        ev_name = to_bytes(ev_name)
        for fn_name in list(self.kprobe_fds.get(ev_name, ())):
            self.detach_kprobe_event_by_fn(ev_name, fn_name)

    def detach_kprobe_event_by_fn(self, ev_name: str | bytes, fn_name: str | bytes) -> None:
        """Detach one function from the event of that name."""
        ev_name, fn_name = to_bytes(ev_name), to_bytes(fn_name)
        if fn_name not in self.kprobe_fds.get(ev_name, ()):
            raise ebpf.UsageError(f"Kprobe {to_str(ev_name)} is not attached")
        del self.kprobe_fds[ev_name][fn_name]
        if not self.kprobe_fds[ev_name]:
            del self.kprobe_fds[ev_name]
        link = self._links.get(("kprobe", (ev_name, fn_name)))
        self._drop("kprobe", (ev_name, fn_name))
        rest = {key for key, other in self._links.items() if link is not None and other is link}
        if rest:  # it was one of many functions that share a link: the others get another
            prefix = ev_name[:2]
            functions = [f for f in getattr(link, "functions", ())
                         if ("kprobe", (_event_name(prefix, f.encode()), fn_name)) in rest]
            for key in rest:
                del self._links[key]
            self._attach_names(prefix, functions, fn_name)

    def detach_kprobe(self, event: str | bytes, fn_name: str | bytes | None = None) -> None:
        """Detach ``fn_name``, or everything of ours, from the entry of a kernel function."""
        self._detach_kprobe(b"p_", event, fn_name)

    def detach_kretprobe(self, event: str | bytes, fn_name: str | bytes | None = None) -> None:
        """Detach ``fn_name``, or everything of ours, from the return of a kernel function."""
        self._detach_kprobe(b"r_", event, fn_name)

    def _detach_kprobe(self, prefix: bytes, event: str | bytes, fn_name: str | bytes | None) -> None:
        name = _event_name(prefix, to_bytes(event))
        if name not in self.kprobe_fds:
            raise ebpf.UsageError(f"Kprobe {to_str(event)} is not attached")
        if fn_name:
            self.detach_kprobe_event_by_fn(name, fn_name)
        else:
            self.detach_kprobe_event(name)

    def num_open_kprobes(self) -> int:
        """How many kernel functions have a probe of ours."""
        return len(self.kprobe_fds)

    # ---- tracepoints ----

    @staticmethod
    def get_tracepoints(tp_re: str | bytes) -> list[str]:
        """Tracepoints (``category:name``) that match the regular expression from their start."""
        import re

        pattern = re.compile(to_str(tp_re))
        return [name for name in host.tracepoints() if pattern.match(name)]

    @staticmethod
    def tracepoint_exists(category: str | bytes, event: str | bytes) -> bool:
        """Whether there is such a tracepoint."""
        try:
            return os.path.isdir(os.path.join(host.tracefs(), "events", to_str(category), to_str(event)))
        except ebpf.PrivilegeError:
            raise
        except ebpf.KernelError:  # no tracefs, no tracepoints
            return False

    def attach_tracepoint(self, tp: str | bytes = b"", tp_re: str | bytes = b"", fn_name: str | bytes = b"") -> Self:
        """Run ``fn_name`` at the tracepoint ``tp`` (``"sched:sched_switch"``), or at all that match ``tp_re``."""
        names = [to_bytes(n) for n in self.get_tracepoints(tp_re)] if tp_re else [to_bytes(tp)]
        if not names:
            raise ebpf.TargetNotFound(f"no tracepoint matches {to_str(tp_re)!r}", name=to_str(tp_re))
        program = self._program(to_bytes(fn_name), _TRACEPOINT)
        for name in names:
            category, colon, event = to_str(name).partition(":")
            if not colon:
                raise ebpf.UsageError(f"a tracepoint is written category:name, not {to_str(name)!r}")
            link = program.attach_tracepoint(category, event)
            self.tracepoint_fds[name] = self._keep("tracepoint", name, link)
        return self

    def detach_tracepoint(self, tp: str | bytes = b"") -> None:
        """Detach from a tracepoint."""
        self._detach("tracepoint", self.tracepoint_fds, to_bytes(tp), "Tracepoint")

    def attach_raw_tracepoint(self, tp: str | bytes = b"", fn_name: str | bytes = b"") -> Self:
        """Run ``fn_name`` at the tracepoint ``tp`` (``"sched_switch"``) with raw arguments."""
        tp = to_bytes(tp)
        if tp in self.raw_tracepoint_fds:
            raise ebpf.UsageError(f"Raw tracepoint {to_str(tp)} has been attached")
        link = self._program(to_bytes(fn_name), _RAW_TRACEPOINT).attach_raw_tracepoint(to_str(tp))
        self.raw_tracepoint_fds[tp] = self._keep("raw_tracepoint", tp, link)
        return self

    def detach_raw_tracepoint(self, tp: str | bytes = b"") -> None:
        """Detach from a raw tracepoint."""
        self._detach("raw_tracepoint", self.raw_tracepoint_fds, to_bytes(tp), "Raw tracepoint")

    def _detach(self, kind: str, fds: dict[bytes, int], name: bytes, what: str) -> None:
        if name not in fds:
            raise ebpf.UsageError(f"{what} {to_str(name)} is not attached")
        del fds[name]
        self._drop(kind, name)

    def num_open_tracepoints(self) -> int:
        """How many tracepoints are attached to."""
        return len(self.tracepoint_fds)

    # ---- fentry, fexit, fmod_ret, LSM ----

    @staticmethod
    def add_prefix(prefix: bytes, name: bytes) -> bytes:
        """``name`` with ``prefix`` before it, unless it is there."""
        return name if name.startswith(prefix) else prefix + name

    def _attach_traced(self, prefix: bytes, fds: dict[bytes, int], fn_name: str | bytes, prog_type: int) -> Self:
        name = self.add_prefix(prefix, to_bytes(fn_name))
        if name in fds:
            raise ebpf.UsageError(f"{to_str(name)} has been attached")
        program = self._program(name, prog_type)
        target = program.section.partition("/")[2]
        written = to_str(name[len(prefix):])
        if target and not written.endswith(target):
            renames.note(f"this kernel has {target} in place of the function {written}: probing that")
        link = program.attach_tracing()
        fds[name] = self._keep("traced", name, link)
        return self

    def attach_kfunc(self, fn_name: str | bytes = b"") -> Self:
        """Attach a ``KFUNC_PROBE``: entry of a kernel function, typed arguments."""
        return self._attach_traced(b"kfunc__", self.kfunc_entry_fds, fn_name, _TRACING)

    def attach_kretfunc(self, fn_name: str | bytes = b"") -> Self:
        """Attach a ``KRETFUNC_PROBE``: return of a kernel function."""
        return self._attach_traced(b"kretfunc__", self.kfunc_exit_fds, fn_name, _TRACING)

    def attach_fmod_ret(self, fn_name: str | bytes = b"") -> Self:
        """Attach a ``KMOD_RET``: it may replace a function's result."""
        return self._attach_traced(b"kmod_ret__", self.fmod_ret_fds, fn_name, _TRACING)

    def attach_lsm(self, fn_name: str | bytes = b"") -> Self:
        """Attach an ``LSM_PROBE``: it may deny what the hook asks about."""
        return self._attach_traced(b"lsm__", self.lsm_fds, fn_name, _LSM)

    def detach_kfunc(self, fn_name: str | bytes = b"") -> None:
        """Detach a ``KFUNC_PROBE``."""
        name = self.add_prefix(b"kfunc__", to_bytes(fn_name))
        self._detach("traced", self.kfunc_entry_fds, name, "Kernel entry func")

    def detach_kretfunc(self, fn_name: str | bytes = b"") -> None:
        """Detach a ``KRETFUNC_PROBE``."""
        name = self.add_prefix(b"kretfunc__", to_bytes(fn_name))
        self._detach("traced", self.kfunc_exit_fds, name, "Kernel exit func")

    def detach_fmod_ret(self, fn_name: str | bytes = b"") -> None:
        """Detach a ``KMOD_RET``."""
        self._detach("traced", self.fmod_ret_fds, self.add_prefix(b"kmod_ret__", to_bytes(fn_name)), "Fmod_ret func")

    def detach_lsm(self, fn_name: str | bytes = b"") -> None:
        """Detach an ``LSM_PROBE``."""
        self._detach("traced", self.lsm_fds, self.add_prefix(b"lsm__", to_bytes(fn_name)), "LSM")

    # ---- user programs ----

    @staticmethod
    def get_user_functions_and_addresses(name: str | bytes, sym_re: str | bytes) -> list[tuple[bytes, int]]:
        """(name, address in the file) of functions of a program or library that match the regular expression."""
        import re

        pattern = re.compile(to_str(sym_re))
        return [(function.encode(), address) for function, (_, address) in host.user_functions(to_str(name)).items()
                if pattern.match(function)]

    @classmethod
    def get_user_functions(cls, name: str | bytes, sym_re: str | bytes) -> set[bytes]:
        """Their names."""
        return {function for function, _ in cls.get_user_functions_and_addresses(name, sym_re)}

    @classmethod
    def get_user_addresses(cls, name: str | bytes, sym_re: str | bytes) -> set[int]:
        """Their addresses, each once: a function may have several names."""
        return {address for _, address in cls.get_user_functions_and_addresses(name, sym_re)}

    def attach_uprobe(self, name: str | bytes = b"", sym: str | bytes = b"", sym_re: str | bytes = b"",
                      addr: int | None = None, fn_name: str | bytes = b"", pid: int = -1, sym_off: int = 0) -> Self:
        """Run ``fn_name`` whenever the function ``sym`` of the program or library ``name`` is entered.

        ``name``: a path, or a library without ``lib`` (``"c"``). ``addr``: an address in the file instead of a symbol;
        ``sym_re``: every function that matches; ``pid``: only in that process.
        """
        return self._attach_uprobe(b"p", name, sym, sym_re, addr, fn_name, pid, sym_off)

    def attach_uretprobe(self, name: str | bytes = b"", sym: str | bytes = b"", sym_re: str | bytes = b"",
                         addr: int | None = None, fn_name: str | bytes = b"", pid: int = -1) -> Self:
        """Run ``fn_name`` whenever that function returns."""
        return self._attach_uprobe(b"r", name, sym, sym_re, addr, fn_name, pid, 0)

    def _attach_usdt(self, path: str, provider: str, probe: str, function: str, pid: int | None) -> None:
        """For `USDT`: run ``function`` at every place of a static probe."""
        link = self._program(function.encode(), _KPROBE).attach_usdt(path, probe, provider=provider, pid=pid)
        name = f"p_{path}:{provider}:{probe}_{function}_{pid or -1}".encode()
        self.uprobe_fds[name] = self._keep("uprobe", name, link)

    def _attach_uprobe(self, prefix: bytes, name: str | bytes, sym: str | bytes, sym_re: str | bytes, addr: int | None,
                       fn_name: str | bytes, pid: int, sym_off: int) -> Self:
        if sym_re:
            addresses = self.get_user_addresses(name, sym_re)
            if not addresses:
                raise ebpf.TargetNotFound(f"no function of {to_str(name)} matches {to_str(sym_re)!r}",
                                          name=to_str(sym_re))
            for address in sorted(addresses):
                self._attach_uprobe(prefix, name, b"", b"", address, fn_name, pid, 0)
            return self
        program = self._program(to_bytes(fn_name), _KPROBE)
        path, where, only = to_str(name), (to_str(sym) or None) if addr is None else None, pid if pid > 0 else None
        if prefix == b"r":
            link = program.attach_uretprobe(path, where, address=addr, pid=only)
        else:
            link = program.attach_uprobe(path, where, address=addr, offset=sym_off, pid=only)
        event = self._uprobe_event(prefix, name, sym, addr, pid, sym_off)
        self.uprobe_fds[event] = self._keep("uprobe", event, link)
        return self

    @staticmethod
    def _uprobe_event(prefix: bytes, name: str | bytes, sym: str | bytes, addr: int | None, pid: int,
                      off: int) -> bytes:
        place = b"0x%x" % addr if addr is not None else to_bytes(sym) + (b"+0x%x" % off if off else b"")
        whole = b"_".join([prefix, to_bytes(name), place, *([b"%d" % pid] if pid > 0 else [])])
        return bytes(c if chr(c).isalnum() else 0x5F for c in whole)

    def detach_uprobe(self, name: str | bytes = b"", sym: str | bytes = b"", addr: int | None = None, pid: int = -1,
                      sym_off: int = 0) -> None:
        """Detach from the entry of a user function."""
        self.detach_uprobe_event(self._uprobe_event(b"p", name, sym, addr, pid, sym_off))

    def detach_uretprobe(self, name: str | bytes = b"", sym: str | bytes = b"", addr: int | None = None,
                         pid: int = -1) -> None:
        """Detach from the return of a user function."""
        self.detach_uprobe_event(self._uprobe_event(b"r", name, sym, addr, pid, 0))

    def detach_uprobe_event(self, ev_name: bytes) -> None:
        """Detach the event of that name (a key of ``uprobe_fds``)."""
        self._detach("uprobe", self.uprobe_fds, ev_name, "Uprobe")

    def num_open_uprobes(self) -> int:
        """How many user functions have a probe of ours."""
        return len(self.uprobe_fds)

    # ---- perf events ----

    def attach_perf_event(self, ev_type: int = -1, ev_config: int = -1, fn_name: str | bytes = b"",
                          sample_period: int = 0, sample_freq: int = 0, pid: int = -1, cpu: int = -1,
                          group_fd: int = -1) -> None:
        """Run ``fn_name`` at every ``sample_period``-th event, or ``sample_freq`` times a second, on every CPU or
        one.
        """
        program = self._program(to_bytes(fn_name), _PERF_EVENT)
        fds: dict[int, int] = {}
        for on in [cpu] if cpu >= 0 else host.online_cpus():
            link = program.attach_perf_event(ev_type, ev_config, period=sample_period, frequency=sample_freq,
                                             pid=pid if pid > 0 else None, cpu=on)
            fds[on] = self._keep("perf_event", (ev_type, ev_config, on), link)
        self.open_perf_events[ev_type, ev_config] = fds

    def attach_perf_event_raw(self, attr: Any, fn_name: str | bytes = b"", pid: int = -1, cpu: int = -1,
                              group_fd: int = -1) -> None:
        """The same for a filled-in `bcc.Perf.perf_event_attr` (its type, config and sampling are heeded)."""
        frequency = attr.freq
        self.attach_perf_event(attr.type, attr.config, fn_name, 0 if frequency else attr.sample_period,
                               attr.sample_freq if frequency else 0, pid, cpu, group_fd)

    def detach_perf_event(self, ev_type: int = -1, ev_config: int = -1) -> None:
        """Detach from a perf event."""
        fds = self.open_perf_events.pop((ev_type, ev_config), None)
        if fds is None:
            raise ebpf.UsageError(f"Perf event type {ev_type} config {ev_config} not attached")
        for cpu in fds:
            self._drop("perf_event", (ev_type, ev_config, cpu))

    # ---- network ----

    @staticmethod
    def attach_raw_socket(fn: Any, dev: str | bytes) -> None:
        """A packet socket on ``dev`` that receives what ``fn`` lets through; its descriptor is ``fn.sock``."""
        link = fn.program.attach_raw_socket(to_str(dev))
        fn.links["socket", dev] = link
        fn.sock = link.fileno()

    @staticmethod
    def attach_xdp(dev: str | bytes, fn: Any, flags: int = 0) -> None:
        """Run ``fn`` (`load_func` with `BPF.XDP`) for every packet that arrives at ``dev``."""
        if getattr(fn, "program", None) is None:
            raise ebpf.UsageError("arg 1 must be of type BPF.Function",
                                  helps=("give what load_func(…, BPF.XDP) returned",))
        name = to_str(dev)
        old = Attaching._xdp_links.pop(name, None)
        if old is not None:
            old[1].detach()
        Attaching._xdp_links[name] = (fn.bpf, fn.program.attach_xdp(name, flags=flags))

    @staticmethod
    def remove_xdp(dev: str | bytes, flags: int = 0) -> None:
        """Take the XDP program off ``dev``; nothing happens if there is none of ours."""
        held = Attaching._xdp_links.pop(to_str(dev), None)
        if held is not None:
            held[1].detach()

    @staticmethod
    def attach_func(fn: Any, attachable_fd: int, attach_type: int, flags: int = 0) -> None:
        """Attach ``fn`` to an open control group."""
        if getattr(fn, "program", None) is None:
            raise ebpf.UsageError("arg 1 must be of type BPF.Function")
        fn.links[attachable_fd, attach_type] = fn.program.attach_cgroup(attachable_fd, attach_type=attach_type)

    @staticmethod
    def detach_func(fn: Any, attachable_fd: int, attach_type: int) -> None:
        """Detach it again."""
        link = fn.links.pop((attachable_fd, attach_type), None)
        if link is None:
            raise ebpf.UsageError(f"function {to_str(fn.name)} is not attached to descriptor {attachable_fd}")
        link.detach()

    # ---- what this kernel can do ----

    @staticmethod
    def _has_symbol(*names: str) -> bool:
        return any(host.kernel_address(name) is not None for name in names)

    @classmethod
    def support_kfunc(cls) -> bool:
        """Whether ``KFUNC_PROBE`` works here: BTF, and trampolines."""
        return host.btf() is not None and cls._has_symbol("bpf_trampoline_link_prog")

    @classmethod
    def support_fmod_ret(cls) -> bool:
        """Whether ``KMOD_RET`` works here."""
        return cls.support_kfunc() and cls._has_symbol("bpf_modify_return_test", "bpf_fentry_test1")

    @classmethod
    def support_lsm(cls) -> bool:
        """Whether ``LSM_PROBE`` works here."""
        return host.btf() is not None and cls._has_symbol("bpf_lsm_bpf")

    @classmethod
    def support_raw_tracepoint(cls) -> bool:
        """Whether raw tracepoints work here (Linux 4.17)."""
        return cls._has_symbol("bpf_find_raw_tracepoint", "bpf_get_raw_tracepoint")

    @classmethod
    def support_raw_tracepoint_in_module(cls) -> bool:
        """Whether they do in modules."""
        return cls._has_symbol("bpf_trace_modules")

    @staticmethod
    def kernel_struct_has_field(struct_name: str | bytes, field_name: str | bytes) -> int:
        """1 if the kernel's struct has that field, maybe by a newer name; 0 if not; -1 if there is no such struct
        or no BTF.
        """
        struct, field = to_str(struct_name), to_str(field_name)
        found = host.struct_has_field(struct, field)
        if found is False and (name := host.renamed_member(struct, field)) is not None:
            renames.note(f"this kernel calls struct {struct}'s {field} {name}")
            found = True
        return -1 if found is None else int(found)


__all__ = ["Attaching"]
