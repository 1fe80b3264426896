"""The system calls that eBPF needs, and what their errors mean.

Everything that reaches the kernel through ``bpf(2)`` goes through the one function `bpf` of this module, so that a test
can put another in its place (`monkeypatch.setattr(sys, "bpf", fake)`) and run the layers above without root. `call`
packs a command's attributes by the table `COMMANDS` and raises; hot paths pack for themselves and look at the
returned number.

A system call returns its result, or ``-errno``. `failure` turns ``errno`` into an exception: the only place that knows
which capability a command wants, and what else refuses it (sysctls, lockdown, RLIMIT_MEMLOCK).
"""

from __future__ import annotations

import ctypes
import errno as _errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ebpf.errors import EbpfError, InternalError, KernelError, NotSupported, PrivilegeError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable

PAGE_SIZE: Final = os.sysconf("SC_PAGE_SIZE")
ENOTSUPP: Final = 524  # the kernel's own, absent from the C library


class Command(NamedTuple):
    """One row per ``bpf(2)`` command: number, members of its part of ``union bpf_attr``, capabilities, first version.

    A member is ``name:code`` with `struct`'s codes; native alignment gives C's layout.
    """

    number: int
    members: str
    needs: tuple[str, ...]
    since: str


_BPF = ("CAP_BPF",)
_ADMIN = ("CAP_SYS_ADMIN",)  # for BPF_*_GET_FD_BY_ID and *_GET_NEXT_ID still
_BY_ID = "id:I next_id:I open_flags:I"
_BATCH = "in_batch:Q out_batch:Q keys:Q values:Q count:I map_fd:I elem_flags:Q flags:Q"
_ELEMENT = "map_fd:I key:Q value:Q flags:Q"

COMMANDS: Final[dict[str, Command]] = {
    "MAP_CREATE": Command(0, "map_type:I key_size:I value_size:I max_entries:I map_flags:I inner_map_fd:I numa_node:I "
                             "map_name:16s map_ifindex:I btf_fd:I btf_key_type_id:I btf_value_type_id:I "
                             "btf_vmlinux_value_type_id:I map_extra:Q value_type_btf_obj_fd:i map_token_fd:i",
                          _BPF, "3.18"),
    "MAP_LOOKUP_ELEM": Command(1, _ELEMENT, _BPF, "3.18"),
    "MAP_UPDATE_ELEM": Command(2, _ELEMENT, _BPF, "3.18"),
    "MAP_DELETE_ELEM": Command(3, _ELEMENT, _BPF, "3.18"),
    "MAP_GET_NEXT_KEY": Command(4, _ELEMENT, _BPF, "3.18"),
    "PROG_LOAD": Command(5, "prog_type:I insn_cnt:I insns:Q license:Q log_level:I log_size:I log_buf:Q kern_version:I "
                            "prog_flags:I prog_name:16s prog_ifindex:I expected_attach_type:I prog_btf_fd:I "
                            "func_info_rec_size:I func_info:Q func_info_cnt:I line_info_rec_size:I line_info:Q "
                            "line_info_cnt:I attach_btf_id:I attach_btf_obj_fd:I core_relo_cnt:I fd_array:Q "
                            "core_relos:Q core_relo_rec_size:I log_true_size:I prog_token_fd:i fd_array_cnt:I "
                            "signature:Q signature_size:I keyring_id:I",
                         ("CAP_BPF", "CAP_PERFMON"), "3.18"),
    "OBJ_PIN": Command(6, "pathname:Q bpf_fd:I file_flags:I path_fd:i", (), "4.4"),
    "OBJ_GET": Command(7, "pathname:Q bpf_fd:I file_flags:I path_fd:i", (), "4.4"),
    "PROG_ATTACH": Command(8, "target_fd:I attach_bpf_fd:I attach_type:I attach_flags:I replace_bpf_fd:I",
                           ("CAP_NET_ADMIN",), "4.10"),
    "PROG_DETACH": Command(9, "target_fd:I attach_bpf_fd:I attach_type:I attach_flags:I replace_bpf_fd:I",
                           ("CAP_NET_ADMIN",), "4.10"),
    "PROG_TEST_RUN": Command(10, "prog_fd:I retval:I data_size_in:I data_size_out:I data_in:Q data_out:Q repeat:I "
                                 "duration:I ctx_size_in:I ctx_size_out:I ctx_in:Q ctx_out:Q flags:I cpu:I "
                                 "batch_size:I", _BPF, "4.12"),
    "PROG_GET_NEXT_ID": Command(11, _BY_ID, _ADMIN, "4.13"),
    "MAP_GET_NEXT_ID": Command(12, _BY_ID, _ADMIN, "4.13"),
    "PROG_GET_FD_BY_ID": Command(13, _BY_ID, _ADMIN, "4.13"),
    "MAP_GET_FD_BY_ID": Command(14, _BY_ID, _ADMIN, "4.13"),
    "OBJ_GET_INFO_BY_FD": Command(15, "bpf_fd:I info_len:I info:Q", (), "4.13"),
    "PROG_QUERY": Command(16, "target_fd:I attach_type:I query_flags:I attach_flags:I prog_ids:Q prog_cnt:I",
                          ("CAP_NET_ADMIN",), "4.15"),
    "RAW_TRACEPOINT_OPEN": Command(17, "name:Q prog_fd:I cookie:Q", ("CAP_PERFMON",), "4.17"),
    "BTF_LOAD": Command(18, "btf:Q btf_log_buf:Q btf_size:I btf_log_size:I btf_log_level:I btf_log_true_size:I "
                            "btf_flags:I btf_token_fd:i", _BPF, "4.18"),
    "BTF_GET_FD_BY_ID": Command(19, _BY_ID, _ADMIN, "4.18"),
    "TASK_FD_QUERY": Command(20, "pid:I fd:I flags:I buf_len:I buf:Q prog_id:I fd_type:I probe_offset:Q "
                                 "probe_addr:Q", _ADMIN, "4.18"),
    "MAP_LOOKUP_AND_DELETE_ELEM": Command(21, _ELEMENT, _BPF, "4.20"),
    "MAP_FREEZE": Command(22, "map_fd:I", _BPF, "5.2"),
    "BTF_GET_NEXT_ID": Command(23, _BY_ID, _ADMIN, "5.4"),
    "MAP_LOOKUP_BATCH": Command(24, _BATCH, _BPF, "5.6"),
    "MAP_LOOKUP_AND_DELETE_BATCH": Command(25, _BATCH, _BPF, "5.6"),
    "MAP_UPDATE_BATCH": Command(26, _BATCH, _BPF, "5.6"),
    "MAP_DELETE_BATCH": Command(27, _BATCH, _BPF, "5.6"),
    # The tail is a union by attach type: `extra` holds it, packed by the caller.
    "LINK_CREATE": Command(28, "prog_fd:I target_fd:I attach_type:I flags:I extra:48s", (), "5.7"),
    "LINK_UPDATE": Command(29, "link_fd:I new_prog_fd:I flags:I old_prog_fd:I", (), "5.7"),
    "LINK_GET_FD_BY_ID": Command(30, _BY_ID, _ADMIN, "5.8"),
    "LINK_GET_NEXT_ID": Command(31, _BY_ID, _ADMIN, "5.8"),
    "ENABLE_STATS": Command(32, "type:I", _ADMIN, "5.8"),
    "ITER_CREATE": Command(33, "link_fd:I flags:I", (), "5.8"),
    "LINK_DETACH": Command(34, "link_fd:I", (), "5.9"),
    "PROG_BIND_MAP": Command(35, "prog_fd:I map_fd:I flags:I", _BPF, "5.10"),
    "TOKEN_CREATE": Command(36, "flags:I bpffs_fd:I", _BPF, "6.9"),
}

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_machine = os.uname().machine
# (bpf, perf_event_open) by machine; the generic table serves aarch64, riscv64, loongarch64.
_NR_BPF, _NR_PERF_EVENT_OPEN = {
    "x86_64": (321, 298), "s390x": (351, 331), "ppc64le": (361, 319), "armv7l": (386, 364), "i686": (357, 336),
}.get(_machine, (280, 241))

Buffer = ctypes.Array[ctypes.c_char]


def bpf(command: int, attr: Buffer, size: int) -> int:
    """``bpf(2)``: the result, or ``-errno``. `attr` is at least `size` bytes and may be written to by the kernel."""
    result: int = _syscall(_NR_BPF, ctypes.c_long(command), attr, ctypes.c_ulong(size))
    return result if result >= 0 else -ctypes.get_errno()


_layouts: dict[str, tuple[struct.Struct, tuple[str, ...], tuple[Any, ...]]] = {}


def layout(name: str) -> tuple[struct.Struct, tuple[str, ...], tuple[Any, ...]]:
    """Layout of a command's attributes: packer, member names, and each member's "nothing"."""
    found = _layouts.get(name)
    if found is None:
        members = [m.partition(":") for m in COMMANDS[name].members.split()]
        codes = [code for _, _, code in members]
        packer = struct.Struct("@" + "".join(codes))
        found = _layouts[name] = (packer, tuple(m[0] for m in members),
                                  tuple(b"" if code.endswith("s") else 0 for code in codes))
    return found


def attempt(name: str, /, **members: int | bytes) -> tuple[int, Buffer]:
    """Run a command; its result or ``-errno``, and the attributes as the kernel left them.

    What is refused for want of privilege is tried again with a BPF token, where there is one (`ebpf.kernel.token`).
    """
    result, attr = _attempt(name, members)
    if result == -_errno.EPERM and name in ("MAP_CREATE", "PROG_LOAD", "BTF_LOAD"):
        from ebpf.kernel import token

        more = token.members(name, members.get(token.flags_member(name) or ""))
        if more is not None:
            return _attempt(name, {**members, **more})
    return result, attr


def _attempt(name: str, given: dict[str, int | bytes]) -> tuple[int, Buffer]:
    packer, names, nothing = layout(name)
    members = dict(given)
    values = [members.pop(n, default) for n, default in zip(names, nothing, strict=True)]
    # -1, a closed descriptor, is for the kernel to refuse.
    values = [v & 0xFFFFFFFF if isinstance(v, int) and v < 0 and v != default else v
              for v, default in zip(values, nothing, strict=True)]
    if members:
        raise InternalError(f"bpf(BPF_{name}) has no attribute called {', '.join(members)}")
    attr = ctypes.create_string_buffer(packer.pack(*values), packer.size)
    return bpf(COMMANDS[name].number, attr, packer.size), attr


def call(name: str, /, *, feature: str = "", **members: int | bytes) -> int:
    """Run a command; its result. Raises what `failure` makes of its ``errno``; `feature` words a `NotSupported`."""
    result, _ = attempt(name, **members)
    if result < 0:
        raise failure(f"bpf(BPF_{name})", -result, command=name, feature=feature)
    return result


def member(name: str, attr: Buffer, wanted: str) -> int:
    """One member of a command's attributes after the call."""
    packer, names, _ = layout(name)
    value: int = packer.unpack_from(attr)[names.index(wanted)]
    return value


def address_of(data: bytes | bytearray | memoryview | mmap.mmap | ctypes.Array[Any]) -> int:
    """Where the bytes of `data` are. The caller keeps it alive, and does not resize it, while the address is used."""
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    if isinstance(data, ctypes.Array):
        return ctypes.addressof(data)
    return ctypes.addressof(ctypes.c_char.from_buffer(data)) if len(data) else 0


# ---- perf events, ioctls, memory ----------------------------------------------------------------

(PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, PERF_TYPE_HW_CACHE, PERF_TYPE_RAW,
 PERF_TYPE_BREAKPOINT) = range(6)
PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_BPF_OUTPUT = 0, 10
PERF_SAMPLE_RAW: Final = 1 << 10
PERF_FLAG_FD_CLOEXEC: Final = 8
PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE = 0x2400, 0x2401
PERF_EVENT_IOC_SET_BPF: Final = 0x40042408

# struct perf_event_attr up to PERF_ATTR_SIZE_VER5: type, size, config, sample_period|freq, sample_type, read_format,
# bit-field of flags, wakeup_events, bp_type, config1|kprobe_func|uprobe_path, config2|probe_offset, …
_PERF_ATTR = struct.Struct("@IIQQQQQIIQQQQIiQIHH")
PERF_ATTR_DISABLED, PERF_ATTR_INHERIT, PERF_ATTR_FREQ = 1, 1 << 1, 1 << 10


def perf_event_attr(type: int, config: int, *, sample: int = 0, sample_type: int = 0, flags: int = 0,
                    wakeup_events: int = 0, config1: int = 0, config2: int = 0, bp_type: int = 0) -> Buffer:
    """A ``struct perf_event_attr``. `sample` is the period, or with PERF_ATTR_FREQ in `flags` the frequency in Hz."""
    data = _PERF_ATTR.pack(type, _PERF_ATTR.size, config, sample, sample_type, 0, flags, wakeup_events, bp_type,
                           config1, config2, 0, 0, 0, 0, 0, 0, 0, 0)
    return ctypes.create_string_buffer(data, len(data))


def perf_event_open(attr: Buffer, pid: int, cpu: int, group: int = -1, flags: int = PERF_FLAG_FD_CLOEXEC) -> int:
    """``perf_event_open(2)``: a file descriptor, or ``-errno``."""
    result: int = _syscall(_NR_PERF_EVENT_OPEN, attr, ctypes.c_long(pid), ctypes.c_long(cpu), ctypes.c_long(group),
                           ctypes.c_ulong(flags))
    return result if result >= 0 else -ctypes.get_errno()


def ioctl(fd: int, request: int, argument: int = 0) -> int:
    """``ioctl(2)`` with a number: its result, or ``-errno``."""
    result: int = _libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(request), ctypes.c_long(argument))
    return result if result >= 0 else -ctypes.get_errno()


def system_call(number: int, *arguments: int) -> int:
    """``syscall(2)`` by its number: its result, or ``-errno``."""
    result: int = _syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return result if result >= 0 else -ctypes.get_errno()


def prctl(option: int, argument: int) -> int:
    """``prctl(2)`` with one argument: its result, or ``-errno``."""
    result: int = _libc.prctl(ctypes.c_int(option), *map(ctypes.c_ulong, (argument, 0, 0, 0)))
    return result if result >= 0 else -ctypes.get_errno()


_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Mapping:
    """Shared memory with the kernel. `address` serves ctypes callers, `view` (bytes) everyone else.

    Python's own `mmap` does not tell a read-only mapping's address, which BCC's callbacks are given. After `close`
    nobody may touch a view of it: hand out copies. A forked child has not got it (the kernel leaves rings out of the
    copy), and may have something else at that address: only the process that made it unmaps it.
    """

    __slots__ = ("_process", "address", "length", "view")

    def __init__(self, fd: int, length: int, *, offset: int = 0, writable: bool = False, address: int = 0) -> None:
        """`address`: nowhere else; EEXIST if something is there (MAP_FIXED_NOREPLACE)."""
        found = _libc.mmap(address or None, length, 3 if writable else 1, 1 | (0x100000 if address else 0), fd, offset)
        if found in (None, ctypes.c_void_p(-1).value):
            raise failure("mmap()", ctypes.get_errno(), needs=("CAP_IPC_LOCK",))
        self._process = os.getpid()
        self.address: int = found
        self.length = length
        view = memoryview((ctypes.c_ubyte * length).from_address(found)).cast("B")
        self.view = view if writable else view.toreadonly()

    def words(self) -> memoryview:
        """The mapping as unsigned 64-bit words; one read is one load."""
        return self.view.cast("Q")

    def close(self) -> None:
        """Unmap; doing so again is harmless."""
        if self.address:
            address, self.address = self.address, 0
            if self._process == os.getpid():
                _libc.munmap(address, self.length)

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            self.close()


def memory_barrier() -> None:
    """Loads after this see what the kernel published before the position that was just read.

    x86 and s390x order loads by themselves. Elsewhere releasing and taking the interpreter lock does it (a mutex).
    """
    if not _ORDERED:
        _libc.sched_yield()


_ORDERED: Final = _machine in ("x86_64", "i686", "s390x")


class OwnedFd:
    """A file descriptor with one owner: closed on `close`, at the end of ``with``, and when nobody refers to it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The number; -1 once closed."""
        return self._fd

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Close it; doing so again is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            try:
                self.close()
            except (OSError, TypeError):  # TypeError: the interpreter is shutting down, `os` is gone
                pass


# ---- errors -------------------------------------------------------------------------------------


def failure(what: str, errno: int, *, command: str = "", needs: Iterable[str] = (), feature: str = "",
            helps: Iterable[str] = ()) -> EbpfError:
    """The exception for a failed system call `what` (``"bpf(BPF_MAP_CREATE)"``).

    EPERM (and EACCES where the capability is missing) becomes a `PrivilegeError` that names what is missing or what
    forbids it; ENOSYS, and EOPNOTSUPP or E2BIG when a `feature` is named, `NotSupported`; the rest `KernelError`.
    """
    row = COMMANDS.get(command)
    wanted = tuple(needs) or (row.needs if row else ())
    if errno == _errno.ENOSYS:
        if row is not None and command != "MAP_CREATE":
            return NotSupported(f"bpf(BPF_{command})", since=row.since)
        return NotSupported(what, instead="use a kernel that is built with CONFIG_BPF_SYSCALL and CONFIG_PERF_EVENTS")
    if feature and errno in (_errno.EOPNOTSUPP, ENOTSUPP, _errno.E2BIG):
        return NotSupported(feature, since=row.since if row else None)
    if errno in (_errno.EPERM, _errno.EACCES):
        from ebpf.kernel import privileges

        reason = privileges.explain(wanted, perf=not command and "CAP_PERFMON" in wanted)
        if errno == _errno.EPERM or reason.missing or reason.notes:
            return PrivilegeError(what, errno, needs=reason.missing or wanted, notes=reason.notes,
                                  helps=(*helps, *reason.helps), message=_privilege_message(what, reason.missing))
    if errno == _errno.ENOMEM and command in ("MAP_CREATE", "PROG_LOAD"):
        return KernelError(what, errno, notes=("the kernel could not get the memory",),
                           helps=("make max_entries smaller, or raise the memory limit of this cgroup", *helps))
    return KernelError(what, errno, helps=helps,
                       message=f"{what}: not supported (ENOTSUPP)" if errno == ENOTSUPP else None)


def _privilege_message(what: str, missing: tuple[str, ...]) -> str:
    if missing:
        return f"{what}: this user lacks {' and '.join(missing)}"
    return f"{what}: not permitted here"
