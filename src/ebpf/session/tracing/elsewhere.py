"""Facts of a kernel that is not the running one: its types and tracepoints, given as files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf.errors import KernelError, UsageError
from ebpf.kernel.facts import SystemFacts

if TYPE_CHECKING:
    from pathlib import Path

    from ebpf.btf import Btf

_ELF_MAGIC = b"\x7fELF"


class OtherKernel(SystemFacts):
    """As `SystemFacts`, with types out of ``btf`` (raw BTF, or a vmlinux with a section of it) and tracepoints out of
    ``formats`` (a copy of tracefs' ``events``: ``CATEGORY/NAME/format``)."""

    __slots__ = ("_formats",)

    def __init__(self, btf: str | Path | None, formats: str | Path | None) -> None:
        super().__init__(None, None if btf is None else _read_btf(os.fspath(btf)))
        self._formats = None if formats is None else os.fspath(formats)
        if self._formats is not None and not os.path.isdir(self._formats):
            raise UsageError(f"{self._formats} is no directory", helps=("give a copy of /sys/kernel/tracing/events",))

    def tracepoint_format(self, category: str, name: str) -> str | None:
        if self._formats is None:
            return super().tracepoint_format(category, name)
        try:
            with open(f"{self._formats}/{category}/{name}/format", encoding="utf-8") as file:
                return file.read()
        except OSError:
            return None


def _read_btf(path: str) -> Btf:
    from ebpf.btf.reader import Btf
    from ebpf.object.elf import ElfImage

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise KernelError(f"open({path})", error.errno or 0) from None
    if data[:4] == _ELF_MAGIC:
        data = bytes(ElfImage.parse(data).section(".BTF").data)
    return Btf.parse(data)
