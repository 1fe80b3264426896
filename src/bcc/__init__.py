"""BCC's Python API on top of `ebpf`: scripts written for ``from bcc import BPF`` run unmodified.

No libbcc, no LLVM library, no kernel headers: programs in BCC's dialect of C are compiled by this package.
"""

from __future__ import annotations

from bcc import excepthook as _excepthook
from bcc.bpf import BPF, TRACEFS
from bcc.constants import (
    DEBUG_BPF,
    DEBUG_BPF_REGISTER_STATE,
    DEBUG_BTF,
    DEBUG_LLVM_IR,
    DEBUG_PREPROCESSOR,
    DEBUG_SOURCE,
    BPFAttachType,
    BPFProgType,
    PerfEventSampleFormat,
    PerfHWConfig,
    PerfSWConfig,
    PerfType,
    XDPAction,
    XDPFlags,
)
from bcc.utils import ArgString, _assert_is_bytes, get_online_cpus, get_possible_cpus, printb
from bcc.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bcc.buffers import PerfEventArray, RingBuf
    from bcc.perf import Perf
    from bcc.symbols import SymbolCache
    from bcc.table import Table
    from bcc.usdt import USDT, USDTException
    from bcc.utils import StrcmpRewrite

__all__ = [
    "BPF", "DEBUG_BPF", "DEBUG_BPF_REGISTER_STATE", "DEBUG_BTF", "DEBUG_LLVM_IR", "DEBUG_PREPROCESSOR", "DEBUG_SOURCE",
    "TRACEFS", "USDT", "ArgString", "BPFAttachType", "BPFProgType", "Perf", "PerfEventArray", "PerfEventSampleFormat",
    "PerfHWConfig", "PerfSWConfig", "PerfType", "RingBuf", "StrcmpRewrite", "SymbolCache", "Table", "USDTException",
    "XDPAction", "XDPFlags", "__version__", "_assert_is_bytes", "get_online_cpus", "get_possible_cpus", "printb",
]

# Seldom wanted, so they are imported when they are.
_LATE = {"Perf": "bcc.perf", "SymbolCache": "bcc.symbols", "PerfEventArray": "bcc.buffers", "RingBuf": "bcc.buffers",
         "Table": "bcc.table", "USDT": "bcc.usdt", "USDTException": "bcc.usdt", "StrcmpRewrite": "bcc.utils"}

_excepthook.install()


def __getattr__(name: str) -> object:
    home = _LATE.get(name)
    if name in ("lib", "libbcc"):
        home = "bcc.libbcc"  # says why there is none
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
