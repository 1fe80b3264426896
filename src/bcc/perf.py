"""``Perf.perf_event_open``: scripts that drive perf by hand. Attributes are accepted; opening is the package's
business.
"""

from __future__ import annotations

import ctypes as ct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BITS = ("disabled inherit pinned exclusive exclude_user exclude_kernel exclude_hv exclude_idle mmap comm freq "
         "inherit_stat enable_on_exec task watermark precise_ip:2 mmap_data sample_id_all exclude_host exclude_guest "
         "exclude_callchain_kernel exclude_callchain_user mmap2 comm_exec use_clockid context_switch write_backward "
         "namespaces ksymbol bpf_event aux_output cgroup text_poke __reserved_1:30")


def _bit_fields() -> list[tuple[str, Any, int]]:
    return [(name, ct.c_uint64, int(width or 1)) for name, _, width in (f.partition(":") for f in _BITS.split())]


class _Sample(ct.Union):
    _fields_ = [("sample_period", ct.c_uint64), ("sample_freq", ct.c_uint64)]


class _Wakeup(ct.Union):
    _fields_ = [("wakeup_events", ct.c_uint32), ("wakeup_watermark", ct.c_uint32)]


class _Config1(ct.Union):
    _fields_ = [("bp_addr", ct.c_uint64), ("kprobe_func", ct.c_uint64), ("uprobe_path", ct.c_uint64),
                ("config1", ct.c_uint64)]


class _Config2(ct.Union):
    _fields_ = [("bp_len", ct.c_uint64), ("kprobe_addr", ct.c_uint64), ("probe_offset", ct.c_uint64),
                ("config2", ct.c_uint64)]


class Perf:
    """struct perf_event_attr for `BPF.attach_perf_event_raw`."""

    PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, PERF_TYPE_HW_CACHE = range(4)
    PERF_SAMPLE_RAW = 1 << 10
    PERF_FLAG_FD_CLOEXEC = 8

    class perf_event_attr(ct.Structure):
        """struct perf_event_attr, PERF_ATTR_SIZE_VER6."""

        _anonymous_ = ["_sample", "_wakeup", "_config1", "_config2"]
        _fields_ = [
            ("type", ct.c_uint32), ("size", ct.c_uint32), ("config", ct.c_uint64), ("_sample", _Sample),
            ("sample_type", ct.c_uint64), ("read_format", ct.c_uint64), *_bit_fields(), ("_wakeup", _Wakeup),
            ("bp_type", ct.c_uint32), ("_config1", _Config1), ("_config2", _Config2),
            ("branch_sample_type", ct.c_uint64), ("sample_regs_user", ct.c_uint64), ("sample_stack_user", ct.c_uint32),
            ("clockid", ct.c_int32), ("sample_regs_intr", ct.c_uint64), ("aux_watermark", ct.c_uint32),
            ("sample_max_stack", ct.c_uint16), ("__reserved_2", ct.c_uint16), ("aux_sample_size", ct.c_uint32),
            ("__reserved_3", ct.c_uint32),
        ]

        def __init__(self) -> None:
            super().__init__()
            self.size = ct.sizeof(self)
