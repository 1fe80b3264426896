"""BTF that the kernel holds: what came with a loaded program or map, by id."""

from __future__ import annotations

import ctypes
import struct

from ebpf.kernel import maps, sys

_BTF_INFO = struct.Struct("@QII")  # struct bpf_btf_info: btf, btf_size, id


def read_btf(id: int) -> bytes:
    """The types with that id (`ProgramInfo.btf_id`, `MapInfo.btf_id`), as raw BTF. Needs CAP_SYS_ADMIN; Linux 4.18."""
    handle = sys.OwnedFd(sys.call("BTF_GET_FD_BY_ID", id=id))
    try:
        _, size, _ = _BTF_INFO.unpack(maps.object_info(handle.fileno(), _BTF_INFO.size))
        buffer = ctypes.create_string_buffer(size)
        maps.object_info(handle.fileno(), _BTF_INFO.size, _BTF_INFO.pack(ctypes.addressof(buffer), size, 0))
        return buffer.raw
    finally:
        handle.close()
