"""What the running kernel can do, found out by trying the smallest real operation.

`have(name)` answers True, False, or None for "could not tell" (no privilege, out of memory); only the first two are
remembered. `since` in a row is what messages say, never what is asked.
"""

from __future__ import annotations

import errno as _errno
import os
import struct
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.errors import UsageError
from ebpf.kernel import sys

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.btf import BtfFeature

# Answers that say nothing about the kernel.
_UNTOLD = frozenset({_errno.EPERM, _errno.EACCES, _errno.ENOMEM, _errno.EAGAIN, _errno.EMFILE, _errno.ENFILE,
                     _errno.EINTR})

_SOCKET_FILTER, _KPROBE = 1, 2
_HASH, _ARRAY, _PERCPU_ARRAY, _RINGBUF = 1, 2, 6, 27
_RET0: Final = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)


class Feature(NamedTuple):
    """A row: what it is in a message, the first kernel with it, and how to find out (raises `_Untold` if it can't)."""

    what: str
    since: str
    probe: Callable[[], bool]


class _Untold(Exception):
    pass


_answers: dict[str, bool] = {}


def have(name: str) -> bool | None:
    """Whether the running kernel has feature `name` (a key of `FEATURES`); None: could not tell."""
    if name in _answers:
        return _answers[name]
    row = FEATURES.get(name)
    if row is None:
        raise UsageError(f"no such kernel feature: {name!r} (there are {', '.join(FEATURES)})")
    try:
        answer = row.probe()
    except _Untold:
        return None
    _answers[name] = answer
    return answer


def forget() -> None:
    """Forget all answers; for tests that put another kernel in place."""
    _answers.clear()
    kernel_version_code.cache_clear()


def btf_features() -> frozenset[BtfFeature]:
    """What this kernel's BTF_LOAD takes, for `ebpf.btf.sanitizer.sanitize`; what cannot be told counts as taken."""
    from ebpf.btf import BtfFeature

    return frozenset(f for f in BtfFeature if have(f"btf_{f.name.lower()}") is not False)


def mcpu() -> str:
    """The highest instruction set level that the kernel takes: "v1" to "v4"; "v3" if it cannot be told (Linux 5.1)."""
    for level in ("v4", "v3", "v2"):
        answer = have(f"insn_{level}")
        if answer is None:
            return "v3"
        if answer:
            return level
    return "v1"


# ---- the probes ---------------------------------------------------------------------------------


def _close(result: int, *, no: frozenset[int] | None = None) -> bool:
    """True if a file descriptor came back (closed at once), False for a telling errno."""
    if result >= 0:
        os.close(result)
        return True
    if -result in _UNTOLD and (no is None or -result not in no):
        raise _Untold
    return False


def _prog(code: bytes = _RET0, **members: int | bytes) -> bool:
    license = b"GPL\0"
    members.setdefault("prog_type", _SOCKET_FILTER)
    if members["prog_type"] == _KPROBE:
        members.setdefault("kern_version", kernel_version_code())
    result, _ = sys.attempt("PROG_LOAD", insns=sys.address_of(code), insn_cnt=len(code) // 8,
                            license=sys.address_of(license), **members)
    if result == -_errno.EACCES:  # the verifier's own refusal, not a missing privilege
        return False
    return _close(result)


def _map(map_type: int, key: int = 4, value: int = 4, entries: int = 1, **members: int | bytes) -> bool:
    return _close(sys.attempt("MAP_CREATE", map_type=map_type, key_size=key, value_size=value, max_entries=entries,
                              **members)[0])


@cache
def kernel_version_code() -> int:
    """The running kernel's KERNEL_VERSION(); kprobe programs had to state it before 5.0.

    Debian and Ubuntu put the number that counts elsewhere than in ``uname -r``.
    """
    try:
        with open("/proc/version_signature") as file:
            text = file.read().split()[-1]
    except (OSError, IndexError):
        version = os.uname().version
        text = version.split(" Debian ")[1].split("-")[0] if " Debian " in version else os.uname().release
    numbers: list[int] = []
    for part in text.split(".")[:3]:
        digits = "".join(c for c in part[:len(part) - len(part.lstrip("0123456789"))])
        numbers.append(int(digits) if digits else 0)
    numbers += [0] * (3 - len(numbers))
    return numbers[0] << 16 | numbers[1] << 8 | min(numbers[2], 255)


def _btf(types: bytes, strings: bytes = b"\0a\0") -> bool:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    data = header + types + strings
    return _close(sys.attempt("BTF_LOAD", btf=sys.address_of(data), btf_size=len(data))[0])


_INT = struct.pack("<IIII", 1, 1 << 24, 4, 32 | 1 << 24)  # [1] int a, 32 bits, signed


def _type(kind: int, size_or_type: int, *, vlen: int = 0, flag: int = 0, name: int = 1, extra: bytes = b"") -> bytes:
    return struct.pack("<III", name, flag << 31 | kind << 24 | vlen, size_or_type) + extra


def _btf_func(linkage: int) -> Callable[[], bool]:
    proto = _type(13, 0, name=0)
    return lambda: _btf(_INT + proto + _type(12, 2, vlen=linkage))


def _datasec(name: bytes) -> Callable[[], bool]:
    var = _type(14, 1, extra=struct.pack("<I", 0))
    section = _type(15, 4, vlen=1, name=3, extra=struct.pack("<III", 2, 0, 4))
    return lambda: _btf(_INT + var + section, b"\0a\0" + name + b"\0")


def _perf_link() -> bool:
    program = _RET0
    license = b"GPL\0"
    fd, _ = sys.attempt("PROG_LOAD", prog_type=5, insns=sys.address_of(program), insn_cnt=2,  # TRACEPOINT
                        license=sys.address_of(license))
    if fd < 0:
        raise _Untold
    try:
        # BPF_PERF_EVENT on no perf event at all: EBADF where the kernel knows the attach type, EINVAL elsewhere.
        result, _ = sys.attempt("LINK_CREATE", prog_fd=fd, target_fd=0xFFFFFFFF, attach_type=41)
    finally:
        os.close(fd)
    return result == -_errno.EBADF


def _kprobe_multi() -> bool:
    program, license = _RET0, b"GPL\0"
    fd, _ = sys.attempt("PROG_LOAD", prog_type=_KPROBE, insns=sys.address_of(program), insn_cnt=2,
                        license=sys.address_of(license), expected_attach_type=42, kern_version=kernel_version_code())
    if fd < 0:
        if -fd in (_errno.EINVAL, _errno.E2BIG):
            return False
        raise _Untold
    try:
        # An address that no function has: ENOENT/EINVAL are both possible, so a name that everything has is tried.
        name = b"ksys_read\0"
        names = struct.pack("@Q", sys.address_of(name))
        extra = struct.pack("@IIQQQ", 0, 1, sys.address_of(names), 0, 0)
        result, _ = sys.attempt("LINK_CREATE", prog_fd=fd, attach_type=42, extra=extra)
        return _close(result)
    finally:
        os.close(fd)


def _batch() -> bool:
    fd, _ = sys.attempt("MAP_CREATE", map_type=_HASH, key_size=4, value_size=4, max_entries=1)
    if fd < 0:
        raise _Untold
    try:
        result, _ = sys.attempt("MAP_LOOKUP_BATCH", map_fd=fd, count=0)
        return result == 0
    finally:
        os.close(fd)


def _global_data() -> bool:
    fd, _ = sys.attempt("MAP_CREATE", map_type=_ARRAY, key_size=4, value_size=8, max_entries=1)
    if fd < 0:
        raise _Untold
    try:  # r1 = map value; r0 = 0; exit (BPF_PSEUDO_MAP_VALUE)
        return _prog(struct.pack("<BBhi", 0x18, 0x21, 0, fd) + bytes(8) + _RET0)
    finally:
        os.close(fd)


def _helper(number: int) -> Callable[[], bool]:
    """The verifier knows the helper if it complains about arguments (EACCES) rather than about the number (EINVAL)."""
    def probe() -> bool:
        code = struct.pack("<BBhi", 0x85, 0, 0, number) + _RET0[8:]
        license = b"GPL\0"
        fd, _ = sys.attempt("PROG_LOAD", prog_type=_KPROBE, insns=sys.address_of(code), insn_cnt=2,
                            license=sys.address_of(license), kern_version=kernel_version_code())
        if fd >= 0:
            os.close(fd)
        elif fd == -_errno.EPERM:
            raise _Untold
        return fd >= 0 or fd == -_errno.EACCES

    return probe


def _memcg() -> bool:
    # Memory is counted by cgroup since the version that brought bpf_ktime_get_coarse_ns (160); libbpf asks the same.
    return _prog(struct.pack("<BBhi", 0x85, 0, 0, 160) + _RET0)


def _insn(*insns: tuple[int, int, int, int]) -> Callable[[], bool]:
    return lambda: _prog(_RET0[:8] + b"".join(struct.pack("<BBhi", *i) for i in insns) + _RET0[8:])


FEATURES: Final[dict[str, Feature]] = {
    "prog_name": Feature("names of programs", "4.15", lambda: _prog(prog_name=b"probe")),
    "map_name": Feature("names of maps", "4.15", lambda: _map(_ARRAY, map_name=b"probe")),
    "global_data": Feature("global variables", "5.2", _global_data),
    "mmapable": Feature("arrays in shared memory (BPF_F_MMAPABLE)", "5.5", lambda: _map(_ARRAY, map_flags=1 << 10)),
    "rdonly_prog": Feature("maps that programs only read", "5.2", lambda: _map(_ARRAY, map_flags=1 << 7)),
    "ringbuf": Feature("ring buffers", "5.8", lambda: _map(_RINGBUF, 0, 0, sys.PAGE_SIZE)),
    "batch": Feature("reading maps in batches", "5.6", _batch),
    "perf_link": Feature("BPF links of perf events", "5.15", _perf_link),
    "attach_cookie": Feature("attach cookies of perf events", "5.15", _perf_link),
    "kprobe_multi": Feature("kprobe.multi (needs CONFIG_FPROBE)", "5.18", _kprobe_multi),
    "expected_attach_type": Feature("expected attach types", "4.17",
                                    lambda: _prog(prog_type=9, expected_attach_type=2)),
    "memcg_accounting": Feature("memory counted by cgroup", "5.11", _memcg),
    "probe_read_kernel": Feature("bpf_probe_read_kernel", "5.5", _helper(113)),
    "insn_v2": Feature("instruction set v2", "4.14", _insn((0xA5, 0, 0, 1))),
    "insn_v3": Feature("instruction set v3", "5.1", _insn((0xA6, 0, 0, 1))),
    "insn_v4": Feature("instruction set v4", "6.6", _insn((0xBF, 0, 8, 0))),
    "btf_func": Feature("BTF functions", "5.0", _btf_func(0)),
    "btf_func_global": Feature("BTF functions that are global", "5.6", _btf_func(1)),
    "btf_datasec": Feature("BTF data sections", "5.2", _datasec(b".data")),
    "btf_qmark_datasec": Feature("BTF data sections with ? in their names", "6.9", _datasec(b"?.data")),
    "btf_float": Feature("BTF floats", "5.13", lambda: _btf(_INT + _type(16, 4))),
    "btf_decl_tag": Feature("BTF declaration tags", "5.16",
                            lambda: _btf(_INT + _type(14, 1, extra=struct.pack("<I", 0))
                                         + _type(17, 2, extra=struct.pack("<i", -1)))),
    "btf_type_tag": Feature("BTF type tags", "5.17",
                            lambda: _btf(_INT + _type(18, 1) + _type(2, 2, name=0))),
    "btf_enum64": Feature("64-bit BTF enumerations", "6.0",
                          lambda: _btf(_type(19, 8, vlen=1, extra=struct.pack("<III", 1, 0, 0)))),
    "btf_attributes": Feature("BTF tags as attributes", "6.15", lambda: _btf(_INT + _type(18, 1, flag=1))),
}
