"""Why a raw tracepoint refuses a program: nothing here is attached, the kernel is played."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ebpf.abi.programs import ProgType
from ebpf.errors import AttachError, NotSupported, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach import raw_tracepoint
from ebpf.kernel.programs import KernelProgram


@pytest.mark.parametrize(("type", "cookie", "error", "words"), [
    (ProgType.KPROBE, 0, UsageError, "is a kprobe program, which no raw tracepoint takes"),
    (ProgType.RAW_TRACEPOINT, 7, NotSupported, "cookies of raw tracepoints"),
    (ProgType.RAW_TRACEPOINT, 0, AttachError, "reads more arguments than the tracepoint task_rename has"),
])
def test_einval(type: ProgType, cookie: int, error: type[Exception], words: str,
                monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, /, **members: Any) -> tuple[int, Any]:
        return -errno.EINVAL, None

    monkeypatch.setattr(sys, "attempt", refuse)
    monkeypatch.setattr(raw_tracepoint, "_arguments", lambda name: ["struct task_struct *", "const char *"])
    with pytest.raises(error, match=words) as caught:
        raw_tracepoint.attach(KernelProgram(-1, name="mine", type=type), "task_rename", cookie=cookie)
    if error is AttachError:
        assert "it has 2: struct task_struct *, const char *" in str(caught.value)
