"""Programs of the kernel: loading instructions, running them for a test, looking at what is loaded."""

from __future__ import annotations

import ctypes
import errno as _errno
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.abi.programs import ATTACH_SINCE, PROGRAM_TYPES, AttachType, ProgType
from ebpf.errors import EbpfError, KernelError, NotSupported, PrivilegeError, UsageError
from ebpf.kernel import features, maps, sys

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_LOG: Final = 1 << 16
_LAST_LOG: Final = 1 << 28  # below UINT_MAX >> 2, the kernel's limit since 5.17; before it is UINT_MAX >> 8
_OLD_LAST_LOG: Final = (1 << 24) - 1
_EAGAIN_TRIES: Final = 5
BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS = 1 << 4, 1 << 5


class ProgramInfo(NamedTuple):
    """What the kernel tells about a program (``struct bpf_prog_info``)."""

    id: int
    type: int
    name: str
    tag: str  #: hash of its instructions, hexadecimal
    jited_bytes: int
    xlated_bytes: int
    load_time_ns: int  #: since boot
    created_by_uid: int
    map_ids: tuple[int, ...]
    gpl_compatible: bool
    btf_id: int
    run_time_ns: int  #: only while statistics are on (kernel.bpf_stats_enabled)
    run_count: int
    verified_insns: int  #: Linux 5.16
    attach_btf_id: int
    recursion_misses: int  #: events for which it was not run, since it ran already on that CPU (Linux 5.12)

    @property
    def type_name(self) -> str:
        """Its type in small letters: ``"xdp"``."""
        return ProgType(self.type).name.lower()


# struct bpf_prog_info up to attach_btf_id (6.0), natural alignment
_PROG_INFO = struct.Struct("@II8sIIQQQIIQ16sIIQQIIQQIIQIIQQIIIIQQQQIII")


class TestRun(NamedTuple):
    """What BPF_PROG_TEST_RUN gave: the program's result, the packet and context afterwards, nanoseconds for one run."""

    result: int  #: as unsigned 32 bits
    data: bytes
    context: bytes
    duration_ns: int


class LoadRefused(Exception):
    """The kernel refused a program: `errno` and the verifier's `log`. `loader` makes a `VerifierError` of it."""

    def __init__(self, errno: int, log: str) -> None:
        super().__init__(errno, log)
        self.errno = errno
        self.log = log


class KernelProgram(sys.OwnedFd):
    """A program in the kernel, open by file descriptor; the kernel keeps it while something uses it."""

    __slots__ = ("attach_to", "expected_attach_type", "log", "name", "type")

    def __init__(self, fd: int, *, name: str, type: int, expected_attach_type: int = 0, attach_to: str = "",
                 log: str = "") -> None:
        super().__init__(fd)
        self.name = name
        self.type = ProgType(type)
        self.expected_attach_type = expected_attach_type
        self.attach_to = attach_to
        #: the verifier's log, where one was asked for
        self.log = log

    def __repr__(self) -> str:
        return f"<KernelProgram {self.name} {self.type_name} fd={self._fd}>"

    def __enter__(self) -> KernelProgram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def type_name(self) -> str:
        """Its type in small letters: ``"xdp"``."""
        return self.type.name.lower()

    def info(self) -> ProgramInfo:
        """What the kernel knows of the program."""
        return program_info(self._fd)

    def pin(self, path: str) -> None:
        """Keep the program under `path` on a BPF file system, beyond the end of this process."""
        maps.pin(self._fd, path)

    def xlated(self) -> bytes:
        """The instructions as the kernel rewrote them; empty if they are hidden from this user."""
        size = self.info().xlated_bytes
        if not size:
            return b""
        buffer = ctypes.create_string_buffer(size)
        prepared = bytearray(_PROG_INFO.size)
        struct.pack_into("@II", prepared, 16, 0, size)  # jited_prog_len, xlated_prog_len
        struct.pack_into("@Q", prepared, 32, ctypes.addressof(buffer))
        info = maps.object_info(self._fd, _PROG_INFO.size, bytes(prepared))
        got = struct.unpack_from("@I", info, 20)[0]
        return buffer.raw[:got] if struct.unpack_from("@Q", info, 32)[0] else b""

    def test_run(self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, data_size_out: int | None = None,
                 flags: int = 0, cpu: int = 0) -> TestRun:
        """Run it once (or `repeat` times) in the kernel on `data` (a packet) and `context`; nothing is attached.

        Works for network programs, raw tracepoints (context: arguments as 8-byte words), syscall programs and, for
        their own test functions only, fentry ones; `NotSupported` for kprobes and tracepoints.
        """
        room = data_size_out if data_size_out is not None else (len(data) + 512 if data else 0)
        out = ctypes.create_string_buffer(max(room, 1))
        ctx_in = ctypes.create_string_buffer(context, max(len(context), 1))
        ctx_out = ctypes.create_string_buffer(max(len(context), 1))
        skb_like = self.type not in (ProgType.RAW_TRACEPOINT, ProgType.SYSCALL, ProgType.TRACING)
        keep = bytearray(data)
        members: dict[str, int | bytes] = {
            "prog_fd": self._fd, "data_in": sys.address_of(keep), "data_size_in": len(data), "repeat": repeat,
            "flags": flags, "cpu": cpu, "ctx_in": ctypes.addressof(ctx_in) if context else 0,
            "ctx_size_in": len(context)}
        if room:
            members.update(data_out=ctypes.addressof(out), data_size_out=room)
        if context and skb_like:
            members.update(ctx_out=ctypes.addressof(ctx_out), ctx_size_out=len(context))
        result, attr = sys.attempt("PROG_TEST_RUN", **members)
        for _ in range(8):
            if result != -_errno.EINTR:
                break
            result, attr = sys.attempt("PROG_TEST_RUN", **members)
        if result in (-sys.ENOTSUPP, -_errno.EOPNOTSUPP):
            raise NotSupported(f"test runs of {self.type_name} programs", instead="attach it, or test with a program "
                               "of a type that can (xdp, tc, socket_filter, raw_tracepoint, syscall)")
        if result == -_errno.EINVAL:
            raise UsageError(f"{self.name!r}: data ({len(data)} bytes) or context ({len(context)} bytes) do not suit a "
                             f"{self.type_name} program", helps=("packets have at least 14 bytes; raw tracepoints "
                                                                "and syscall programs take a context and no data",))
        if result < 0 and result != -_errno.ENOSPC:
            raise sys.failure("bpf(BPF_PROG_TEST_RUN)", -result, command="PROG_TEST_RUN")
        size_out = sys.member("PROG_TEST_RUN", attr, "data_size_out") if room else 0
        if self.type == ProgType.SYSCALL and context:
            after = ctx_in.raw[:len(context)]
        else:
            after = ctx_out.raw[:sys.member("PROG_TEST_RUN", attr, "ctx_size_out")] if context and skb_like else b""
        return TestRun(sys.member("PROG_TEST_RUN", attr, "retval"), out.raw[:min(size_out, room)], after,
                       sys.member("PROG_TEST_RUN", attr, "duration"))


def load_program(code: bytes, *, type: int, name: str = "", license: str = "GPL", expected_attach_type: int = 0,
                 flags: int = 0, kern_version: int = 0, btf_fd: int = 0, func_info: bytes = b"", line_info: bytes = b"",
                 attach_btf_id: int = 0, attach_btf_obj_fd: int = 0, attach_prog_fd: int = 0, ifindex: int = 0,
                 fd_array: bytes = b"", log_level: int = 0, attach_to: str = "", signature: bytes = b"",
                 keyring: int = 0) -> KernelProgram:
    """Load finished instructions. Raises `LoadRefused` with the verifier's log when they are refused.

    ``signature`` is a detached PKCS#7 message over ``code``, to be checked against `keyring` (`ebpf.kernel.signing`).

    Without a log first: writing one costs the kernel time. `log_level` 1 or 2 asks for it in any case
    (`KernelProgram.log`). `func_info` and `line_info` are the kernel's own records (8 and 16 bytes).
    """
    text = license.encode() + b"\0"
    members: dict[str, int | bytes] = {
        "prog_type": type, "insns": sys.address_of(code), "insn_cnt": len(code) // 8, "license": sys.address_of(text),
        "kern_version": kern_version or (features.kernel_version_code() if type == ProgType.KPROBE else 0),
        "prog_flags": flags, "prog_name": maps._kernel_name(name), "prog_ifindex": ifindex,
        "expected_attach_type": expected_attach_type, "attach_btf_id": attach_btf_id,
        "attach_btf_obj_fd": attach_prog_fd or attach_btf_obj_fd}
    if btf_fd and func_info:
        members.update(prog_btf_fd=btf_fd, func_info=sys.address_of(func_info), func_info_rec_size=8,
                       func_info_cnt=len(func_info) // 8)
    if btf_fd and line_info:
        members.update(prog_btf_fd=btf_fd, line_info=sys.address_of(line_info), line_info_rec_size=16,
                       line_info_cnt=len(line_info) // 16)
    if fd_array:
        members["fd_array"] = sys.address_of(fd_array)
    if signature:
        members.update(signature=sys.address_of(signature), signature_size=len(signature), keyring_id=keyring)

    log = ""
    result = -_errno.EAGAIN
    if log_level:
        result, log = _load_with_log(members, log_level)
    else:
        result = _load(members)
        if result == -_errno.EPERM and features.have("memcg_accounting") is not True:
            from ebpf.kernel.privileges import raise_memlock

            if raise_memlock():
                result = _load(members)
        if result < 0 and result not in (-_errno.EPERM, -_errno.E2BIG, -_errno.ENOSYS, -_errno.EMFILE, -_errno.ENFILE):
            # Perhaps only the name is too much for this kernel.
            if result == -_errno.EINVAL and members["prog_name"] and features.have("prog_name") is False:
                members["prog_name"] = b""
                result = _load(members)
            if result < 0:
                first = result
                result, log = _load_with_log(members, 1)
                if result < 0 and not log:
                    result = first
        elif result == -_errno.E2BIG:
            result, log = _load_with_log(members, 1)
    if result < 0 and signature and not log.strip():
        from ebpf.kernel.signing import refusal

        if (refused := refusal(name, -result, keyring)) is not None:
            raise refused
    if result < 0:
        raise _load_failure(name, type, expected_attach_type, flags, -result, log)
    return KernelProgram(result, name=name, type=type, expected_attach_type=expected_attach_type,
                         attach_to=attach_to, log=log)


def _load(members: dict[str, int | bytes]) -> int:
    """One try; a few more when a signal arrived while the verifier was at work (EAGAIN)."""
    result = -_errno.EAGAIN
    for _ in range(_EAGAIN_TRIES):
        result, _ = sys.attempt("PROG_LOAD", **members)
        if result not in (-_errno.EAGAIN, -_errno.EINTR):
            break
    return result


def _load_with_log(members: dict[str, int | bytes], level: int) -> tuple[int, str]:
    """Load with a log, in a buffer that grows until everything fits."""
    size = _FIRST_LOG
    while True:
        buffer = ctypes.create_string_buffer(size)
        result = _load({**members, "log_level": level, "log_buf": ctypes.addressof(buffer), "log_size": size})
        log = buffer.value.decode(errors="replace")
        # Until 6.3 a log that is too long fails with ENOSPC; since then it is a rolling one that keeps the end.
        whole = result != -_errno.ENOSPC and len(buffer.value) < size - 1
        limit = _OLD_LAST_LOG if size <= _OLD_LAST_LOG < size * 4 else _LAST_LOG
        if whole or size >= limit:
            return result, log
        if result >= 0:
            os.close(result)
        size = min(size * 4, limit)


def _load_failure(name: str, type: int, attach_type: int, flags: int, errno: int,
                  log: str) -> Exception:
    what = f"loading {name!r}"
    if errno == _errno.EINVAL and (not log.strip() or log.startswith("processed 0 insns")):
        missing = _unknown(ProgType(type), attach_type)
        if missing is None and flags & BPF_F_XDP_HAS_FRAGS:
            missing = NotSupported("XDP programs for packets in several buffers", since="5.18",
                                   instead="a smaller MTU, and SEC(\"xdp\")")
        if missing is not None:
            return missing
    if errno == _errno.EPERM and not log:
        row = PROGRAM_TYPES.get(type)
        from ebpf.kernel.privileges import effective_capabilities

        needs = ("CAP_BPF", *(row.capabilities if row else ()))
        error = sys.failure(what, errno, command="PROG_LOAD", needs=needs)
        if (isinstance(error, PrivilegeError) and effective_capabilities().issuperset(needs) and not error.notes
                and features.have("memcg_accounting") is False):
            return PrivilegeError(what, needs=("CAP_SYS_RESOURCE",),
                                  message=f"{what}: over RLIMIT_MEMLOCK, against which this kernel counts programs",
                                  helps=("raise it: ulimit -l unlimited",))
        return error
    if log.strip() or errno in (_errno.EACCES, _errno.E2BIG):
        return LoadRefused(errno, log)
    if errno == _errno.EINVAL:
        row = PROGRAM_TYPES.get(type)
        known = f"programs of type {ProgType(type).name.lower()} exist since Linux {row.since}" if row else ""
        return KernelError("bpf(BPF_PROG_LOAD)", errno, message=f"{what}: the kernel refused the program before "
                           "verifying it", notes=(n for n in (
                               known, "its type, flags, attach type or debug information are not known to this kernel")
                                                  if n))
    if errno == _errno.EAGAIN:
        return KernelError("bpf(BPF_PROG_LOAD)", errno, message=f"{what}: interrupted by signals again and again")
    return sys.failure(what, errno, command="PROG_LOAD")


def _unknown(type: ProgType, attach_type: int) -> NotSupported | None:
    """The error if the kernel's own types do not name that program type or attach type."""
    from ebpf.abi.instead import INSTEAD
    from ebpf.kernel.facts import kernel_btf

    btf = kernel_btf()
    if btf is None:
        return None
    row = PROGRAM_TYPES.get(type)
    if btf.find_enumerator(type.kernel_name) is None:
        return NotSupported(f"{type.name.lower()} programs", since=row.since if row else None,
                            instead=INSTEAD.get(type.name.lower()))
    wanted = AttachType(attach_type)
    if attach_type and type not in (ProgType.STRUCT_OPS,) and btf.find_enumerator(wanted.kernel_name) is None:
        what = wanted.name.lower()
        return NotSupported(f"{what} programs", since=ATTACH_SINCE.get(wanted), instead=INSTEAD.get(what))
    return None


def program_info(fd: int) -> ProgramInfo:
    """What the kernel tells about the program behind `fd`."""
    data = maps.object_info(fd, _PROG_INFO.size)
    f = _PROG_INFO.unpack(data)
    count = f[9]
    map_ids: tuple[int, ...] = ()
    if count:
        ids = (ctypes.c_uint32 * count)()
        prepared = bytearray(_PROG_INFO.size)
        struct.pack_into("@IQ", prepared, 52, count, 0)
        struct.pack_into("@Q", prepared, 56, ctypes.addressof(ids))
        maps.object_info(fd, _PROG_INFO.size, bytes(prepared))
        map_ids = tuple(ids)
    return ProgramInfo(
        id=f[1], type=f[0], name=f[11].split(b"\0")[0].decode(errors="replace"), tag=f[2].hex(), jited_bytes=f[3],
        xlated_bytes=f[4], load_time_ns=f[7], created_by_uid=f[8], map_ids=map_ids, gpl_compatible=bool(f[13] & 1),
        btf_id=f[20], run_time_ns=f[32], run_count=f[33], verified_insns=f[35], attach_btf_id=f[37],
        recursion_misses=f[34])


def iter_programs() -> Iterator[ProgramInfo]:
    """Every program in the kernel (needs CAP_SYS_ADMIN)."""
    for id in maps.iter_ids("PROG"):
        try:
            yield open_by_id(id).info()
        except KernelError as error:
            if error.errno != _errno.ENOENT:  # gone in the meantime
                raise


def open_by_id(id: int) -> KernelProgram:
    """The program with that id (needs CAP_SYS_ADMIN)."""
    return _opened(sys.call("PROG_GET_FD_BY_ID", id=id))


def open_pinned(path: str) -> KernelProgram:
    """The program that is pinned under `path`."""
    name = os.fsencode(path) + b"\0"
    return _opened(sys.call("OBJ_GET", pathname=sys.address_of(name)))


def _opened(fd: int) -> KernelProgram:
    try:
        info = program_info(fd)
    except EbpfError:
        os.close(fd)
        raise
    return KernelProgram(fd, name=info.name or f"#{info.id}", type=info.type)
