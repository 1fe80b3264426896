"""A kernel without kprobes says so, whatever tracefs looks like."""

from __future__ import annotations

import pytest

from ebpf.errors import NotSupported, PrivilegeError
from ebpf.kernel import tracepipe
from ebpf.kernel.attach import kprobe
from ebpf.kernel.symbols import KernelSymbols


def test_kprobes_that_are_not_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kprobe, "dynamic_pmu", lambda name: None)
    monkeypatch.setattr(kprobe, "kernel_symbols", lambda: KernelSymbols(b"0 T schedule\n0 T vfs_read\n"))
    with pytest.raises(NotSupported, match="does not support kprobes") as caught:
        kprobe.attach(None, "vfs_read")  # type: ignore[arg-type]
    assert "CONFIG_KPROBES" in caught.value.notes[0] and "tracepoint" in (caught.value.instead or "")


def test_no_symbols_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (b"", b"0 T schedule\n0 T register_kprobe\n"):
        monkeypatch.setattr(kprobe, "kernel_symbols", lambda text=text: KernelSymbols(text))
        assert kprobe.unavailable() is None


@pytest.mark.parametrize(("mounts", "error", "words"), [
    ("sysfs /sys sysfs rw 0 0\n", OSError, "not mounted"),
    ("tracefs /sys/kernel/tracing tracefs rw 0 0\n", PrivilegeError, "closed to this user"),
    ("debugfs /sys/kernel/debug debugfs rw 0 0\n", PrivilegeError, "closed to this user"),
])
def test_tracefs_that_is_hidden_or_absent(monkeypatch: pytest.MonkeyPatch, mounts: str, error: type[Exception],
                                          words: str) -> None:
    def listdir(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(tracepipe.os.path, "exists", lambda path: False)
    monkeypatch.setattr(tracepipe.os.path, "isdir", lambda path: False)
    monkeypatch.setattr(tracepipe.os, "listdir", listdir)
    monkeypatch.setattr(tracepipe, "_mounts", lambda: mounts.splitlines())
    with pytest.raises(error, match=words):
        tracepipe.tracefs()
