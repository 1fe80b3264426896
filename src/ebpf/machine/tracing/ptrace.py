"""ptrace(2), process_vm_readv(2) and their like, through the C library."""

from __future__ import annotations

import ctypes
import os
from struct import pack_into

TRACEME, PEEKUSER, CONT, SINGLESTEP, DETACH, SYSCALL = 0, 3, 7, 9, 17, 24
SETOPTIONS, GETEVENTMSG, GETSIGINFO, GETREGSET, SETREGSET = 0x4200, 0x4201, 0x4202, 0x4204, 0x4205
SEIZE, INTERRUPT, LISTEN, GET_SYSCALL_INFO = 0x4206, 0x4207, 0x4208, 0x420E
NT_PRSTATUS, NT_ARM_SYSTEM_CALL = 1, 0x404

O_TRACESYSGOOD, O_TRACEFORK, O_TRACEVFORK, O_TRACECLONE, O_TRACEEXEC = 1, 2, 4, 8, 16
O_TRACEEXIT, O_TRACESECCOMP, O_EXITKILL = 64, 128, 1 << 20
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_EXIT, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 6, 7, 128

WALL = 0x40000000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 22, 38, 2

libc = ctypes.CDLL(None, use_errno=True)
_ptrace = libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_readv, _writev = libc.process_vm_readv, libc.process_vm_writev
for _call in (_readv, _writev):
    _call.restype = ctypes.c_ssize_t
    _call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """The call as it is: its result, or -errno."""
    result: int = _ptrace(request, tid, address, data)
    return -ctypes.get_errno() if result == -1 else result


def prctl(option: int, value: int, more: int = 0) -> None:
    """prctl(2). Raises `OSError`."""
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(more), ctypes.c_ulong(0),
                  ctypes.c_ulong(0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def install_filter(code: bytes) -> None:
    """A seccomp filter for this process and what it becomes. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = (ctypes.c_uint64 * 2)(len(code) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def enter_namespaces(paths: list[str]) -> None:
    """setns(2) into what the files stand for, in order. Raises `OSError`."""
    # All are opened first: inside a user namespace other processes' files in /proc are out of reach.
    for fd in [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]:
        if libc.setns(fd, 0) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(fd)


class Registers:
    """A register set's buffer: `words` after `read`. One is enough for a process that traces one stop at a time."""

    __slots__ = ("_at", "_iov", "buffer", "words")

    def __init__(self, count: int) -> None:
        self.words = (ctypes.c_uint64 * count)()
        self.buffer = memoryview(self.words).cast("B")
        self._iov = (ctypes.c_uint64 * 2)(ctypes.addressof(self.words), ctypes.sizeof(self.words))
        self._at = ctypes.addressof(self._iov)

    def read(self, tid: int) -> bool:
        """Fill `words` with those of a stopped task; whether it (still) could be done."""
        return bool(_ptrace(GETREGSET, tid, NT_PRSTATUS, self._at) != -1)

    def write(self, tid: int) -> bool:
        """The other way round."""
        return bool(_ptrace(SETREGSET, tid, NT_PRSTATUS, self._at) != -1)


def set_syscall_number(tid: int, number: int) -> None:
    """aarch64: replace the number of the system call that the task is about to make."""
    word = ctypes.c_uint32(number & 0xFFFFFFFF)
    iov = (ctypes.c_uint64 * 2)(ctypes.addressof(word), 4)
    ptrace(SETREGSET, tid, NT_ARM_SYSTEM_CALL, ctypes.addressof(iov))


def event_message(tid: int) -> int:
    """PTRACE_GETEVENTMSG: the new task's id after a fork, the exit status, the former id after an exec."""
    word = ctypes.c_ulong()
    ptrace(GETEVENTMSG, tid, 0, ctypes.addressof(word))
    return word.value


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Exactly ``size`` bytes of a process. Raises `OSError`."""
    buffer = bytearray(size)
    if size:
        _transfer(_readv, pid, address, buffer)
    return bytes(buffer)


def write_memory(pid: int, address: int, data: bytes) -> None:
    """Store ``data`` in a process, where it could write itself. Raises `OSError`."""
    if data:
        _transfer(_writev, pid, address, bytearray(data))


def _transfer(call: object, pid: int, address: int, buffer: bytearray) -> None:
    size = len(buffer)
    vectors = bytearray(32)
    pack_into("=QQQQ", vectors, 0, ctypes.addressof(ctypes.c_char.from_buffer(buffer)), size,
              address & 0xFFFFFFFFFFFFFFFF, size)
    at = ctypes.addressof(ctypes.c_char.from_buffer(vectors))
    done = call(pid, at, 1, at + 16, 1, 0)  # type: ignore[operator]
    if done != size:
        error = ctypes.get_errno() if done < 0 else 14  # EFAULT: the rest is not there
        raise OSError(error, os.strerror(error))
