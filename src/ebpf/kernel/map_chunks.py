"""A large map piece by piece: for who wants to see progress, or not all of it in memory at once."""

from __future__ import annotations

import ctypes
import errno as _errno
import struct
from typing import TYPE_CHECKING, Final

from ebpf.kernel import sys
from ebpf.kernel.maps import Bulk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.kernel.maps import KernelMap

_BATCH: Final = struct.Struct("@QQQQIiQQ")
_NO_BATCH: Final = frozenset({_errno.EINVAL, _errno.EOPNOTSUPP, sys.ENOTSUPP, _errno.ENOSYS})


def iter_chunks(map: KernelMap, size: int = 1 << 16) -> Iterator[Bulk]:
    """The entries of `map`, about `size` at a time; all at once where the kernel reads no batches (before 5.6)."""
    number = sys.COMMANDS["MAP_LOOKUP_BATCH"].number
    token = (ctypes.c_char * max(map.key_size, 8))()
    position = ctypes.addressof(token)
    attr = (ctypes.c_char * _BATCH.size)()
    first = True
    while True:
        keys, values = bytearray(size * map.key_size), bytearray(size * map.value_stride)
        _BATCH.pack_into(attr, 0, 0 if first else position, position, sys.address_of(keys), sys.address_of(values),
                         size, map.fileno(), 0, 0)
        result = sys.bpf(number, attr, _BATCH.size)
        count = _BATCH.unpack_from(attr)[4]
        if result == -_errno.EINTR:
            continue
        if result == -_errno.ENOSPC:  # a bucket with more entries than there is room
            size *= 2
            continue
        if result not in (0, -_errno.ENOENT):
            if first and -result in _NO_BATCH:
                yield map.read_all()
                return
            raise map._failure(result, "read")
        if count:
            yield Bulk(memoryview(keys)[:count * map.key_size], memoryview(values)[:count * map.value_stride], count)
        if result == -_errno.ENOENT:
            return
        first = False
