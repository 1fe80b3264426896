"""The C runtime's code: compiled once by our own compiler, then read from the cache.

A start from the cache imports neither the compiler nor LLVM. Without a cache directory the compiler runs in each
process that makes a native map (a second).
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import TYPE_CHECKING

from ebpf.errors import NotSupported
from ebpf.machine.runtime.bindings import SOURCES, Runtime

if TYPE_CHECKING:
    from ebpf.btf import Btf

#: the facts' names of architectures that there is native code for
_ARCHES = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64", "arm64": "arm64"}
_SEPARATOR = b"\0ebpf-runtime-ir\0"


class HostFacts:
    """What the compiler may know of the process itself (`ebpf.compiler.facts.Facts`): no kernel at all."""

    kernel_id = "host"
    kernel_version = 0
    cpus_online = cpus_possible = 1
    page_size = 4096

    def __init__(self, arch: str) -> None:
        self.arch = arch

    def btf(self) -> Btf | None:
        return None

    def module_btfs(self) -> tuple[Btf, ...]:
        return ()

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return None

    def kconfig(self, name: str) -> str | None:
        return None

    def syscall_prefix(self) -> str:
        return ""

    def read_include(self, path: str) -> str | None:
        file = SOURCES / path
        return file.read_text() if file.parent == SOURCES and file.is_file() else None

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        return None

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        return None

    def inode(self, path: str) -> int | None:
        return None

    def user_symbol(self, path: str, name: str) -> int | None:
        return None


def host_arch() -> str:
    """The architecture of this process, by the facts' names. `NotSupported` where there is no native code."""
    arch = _ARCHES.get(platform.machine())
    if arch is None:
        raise NotSupported(f"native maps on {platform.machine() or 'this machine'}",
                           who="the userspace machine", notes=("the interpreter has maps of its own",))
    return arch


def host_ir(name: str, arch: str | None = None) -> str:
    """LLVM IR of one of the C files here, as our compiler gives it: not optimised."""
    return ir_of((SOURCES / name).read_text(), name, arch)


def ir_of(text: str, filename: str, arch: str | None = None) -> str:
    """LLVM IR of C text for the host; ``#include`` finds the headers here."""
    from ebpf.compiler.options import Options
    from ebpf.compiler.pipeline import compile_host_ir

    arch = arch or host_arch()
    options = Options(dialect="libbpf", target="host", arch=arch)
    return compile_host_ir(text, filename=filename, facts=HostFacts(arch), options=options)


@cache
def runtime() -> Runtime:
    """The runtime of this process. `NotSupported` where native code cannot be had."""
    from ebpf.compiler.cache import Store, object_key
    from ebpf.machine.native.loader import NativeCode

    arch = host_arch()
    store, key = Store(), object_key(_sources(), "runtime.c", ("host", arch, _cpu()))
    kept = store.get(key)
    if kept is None or _SEPARATOR not in kept:
        kept = _compile(arch)
        store.put(key, kept)
    ir, _, elf = kept.partition(_SEPARATOR)
    code = NativeCode(elf)
    return Runtime(code.address, ir.decode(), keep=code)


def _sources() -> str:
    """Changes whenever a file of the C does."""
    with os.scandir(SOURCES) as entries:
        files = [(e.name, s.st_mtime_ns, s.st_size) for e in entries if e.name[-2:] in (".c", ".h") and (s := e.stat())]
    return repr(sorted(files))


def _compile(arch: str) -> bytes:
    from ebpf.machine.native.codegen import compile_host

    return host_ir("lookup.c", arch).encode() + _SEPARATOR + compile_host(host_ir("runtime.c", arch))


def _cpu() -> str:
    """What the CPU can do: code for another one in a shared home directory is not for us."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            text = file.read(8192)
    except OSError:
        return ""
    return next((line for line in text.decode(errors="replace").splitlines()
                 if line.startswith(("flags", "Features"))), "")
