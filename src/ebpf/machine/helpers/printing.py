"""bpf_trace_printk and its like: the kernel's subset of format strings (kernel/bpf/helpers.c, lib/vsprintf.c).

Where the kernel differs: ``%p`` and ``%pK`` print the pointer itself, which the kernel hashes; ``%ps``, ``%pS``,
``%pB`` print a number, since no address here has a symbol.
"""

from __future__ import annotations

from errno import EINVAL
from struct import unpack
from typing import TYPE_CHECKING

from ebpf.machine.helpers.probing import probe, probe_string
from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.machine.environment import Environment

MAX_PRINTK_ARGS = 3
MAX_VARARGS = 12
MAX_WIDTH_DIGITS = 6
_ENDS = b" \t\n\v\f\r!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"  # isspace or ispunct
_STRING_MAX = 512


def format_text(env: Environment, format: bytes, arguments: Sequence[int]) -> bytes | int:
    """The text, or -EINVAL where the kernel refuses the format string. ``format`` ends before its NUL."""
    if any(c >= 0x80 or (c < 0x20 and c not in _ENDS) for c in format):
        return -EINVAL
    out = bytearray()
    at, used, size = 0, 0, len(format)
    while at < size:
        if format[at] != 0x25:
            out.append(format[at])
            at += 1
            continue
        if format[at + 1:at + 2] == b"%":
            out += b"%"
            at += 2
            continue
        if used >= len(arguments):
            return -EINVAL
        value = arguments[used]
        used += 1
        at += 1
        start = at
        while at < size and format[at] in b"0+- ":
            at += 1
        while at < size and format[at] in b"0123456789":
            at += 1
        spec = format[start:at].decode()
        if len(spec) > MAX_WIDTH_DIGITS:
            return -EINVAL  # the kernel cuts such lines to 1024 bytes; nobody means them
        rest = format[at:at + 3]
        end = 1  # characters of the conversion
        if rest[:1] == b"p":
            following = rest[1:2]
            if not following or following in (bytes([c]) for c in _ENDS):
                out += _pad(f"{value:016x}", spec)
            elif rest[1:3] in (b"ks", b"us"):
                end = 3
                out += _string(env, value, spec, user=rest[1:2] == b"u", kernel=rest[1:2] == b"k")
                if not _ends(format, at + end):
                    return -EINVAL
            elif following in (b"K", b"x"):
                end = 2
                out += _pad(f"{value:016x}", spec)
            elif following in (b"s", b"S", b"B"):
                end = 2
                out += _pad(f"0x{value:x}", spec)
            elif rest[1:3] in (b"i4", b"I4", b"i6", b"I6"):
                end = 3
                out += _pad(_address(env, value, rest[1:3].decode()), spec)
            else:
                return -EINVAL
        elif rest[:1] == b"s":
            if not _ends(format, at + 1):
                return -EINVAL
            out += _string(env, value, spec, user=True, kernel=True)
        elif rest[:1] == b"c":
            if not _ends(format, at + 1):
                return -EINVAL
            out += _pad(chr(value & 0xFF), spec, "latin-1")
        else:
            bits, end = 32, 0
            while format[at + end:at + end + 1] == b"l" and end < 2:
                bits, end = 64, end + 1
            kind = format[at + end:at + end + 1]
            end += 1
            if not kind or kind not in b"diuxX":
                return -EINVAL
            value &= (1 << bits) - 1
            if kind in b"di" and value >> (bits - 1):
                value -= 1 << bits
            out += (f"%{spec}{'d' if kind in b'diu' else kind.decode()}" % value).encode()
        at += end
    return bytes(out)


def _ends(format: bytes, at: int) -> bool:
    return at >= len(format) or format[at] in _ENDS


def _pad(text: str, spec: str, encoding: str = "ascii") -> bytes:
    width = spec.lstrip("0+- ")
    if not width:
        return text.encode(encoding)
    return (text.ljust(int(width)) if "-" in spec else text.rjust(int(width))).encode(encoding)


def _string(env: Environment, address: int, spec: str, *, user: bool, kernel: bool) -> bytes:
    text = probe_string(env, address, _STRING_MAX, user=user, kernel=kernel)
    return _pad((text or b"").decode("latin-1"), spec, "latin-1")


def _address(env: Environment, pointer: int, kind: str) -> str:
    size = 4 if kind[1] == "4" else 16
    data = probe(env, pointer, size) or bytes(size)
    if size == 4:
        return ".".join(f"{b:03}" if kind[0] == "i" else str(b) for b in data)
    return (":" if kind[0] == "I" else "").join(data[n:n + 2].hex() for n in range(0, 16, 2))


def _format_of(env: Environment, address: int, size: int) -> bytes | int:
    """A format string that must end with its NUL."""
    data = env.space.read(address, size)
    if not data or data[-1]:
        return -EINVAL
    return data.partition(b"\0")[0]


def _values(env: Environment, data: int, data_len: int) -> tuple[int, ...] | int:
    if data_len % 8 or data_len > MAX_VARARGS * 8 or (data_len and not data):
        return -EINVAL
    return unpack(f"<{data_len // 8}Q", env.space.read(data, data_len))


def _print(env: Environment, format: bytes | int, values: Sequence[int] | int) -> int:
    if isinstance(format, int) or isinstance(values, int):
        return -EINVAL
    text = format_text(env, format, values)
    if isinstance(text, int):
        return text
    env.print(text.decode("utf-8", "backslashreplace").removesuffix("\n"))
    return len(text)


@helper
def bpf_trace_printk(env: Environment, fmt: int, fmt_size: int, arg1: int, arg2: int, arg3: int) -> int:
    """A line for the trace pipe; the length of its text."""
    return _print(env, _format_of(env, fmt, u32(fmt_size)), (arg1, arg2, arg3))


@helper
def bpf_trace_vprintk(env: Environment, fmt: int, fmt_size: int, data: int, data_len: int) -> int:
    return _print(env, _format_of(env, fmt, u32(fmt_size)), _values(env, data, u32(data_len)))


@helper
def bpf_snprintf(env: Environment, str: int, str_size: int, fmt: int, data: int, data_len: int) -> int:
    """The length that the whole text would have, its NUL included; what fits is in ``str``."""
    values = _values(env, data, u32(data_len))
    if isinstance(values, int):
        return values
    text = format_text(env, env.space.read_string(fmt), values)
    if isinstance(text, int):
        return text
    size = u32(str_size)
    if size:
        env.space.write(str, text[:size - 1] + b"\0")
    return len(text) + 1
