"""System calls, without any: a fake `bpf` stands in for the kernel."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

import pytest

from ebpf.errors import InternalError, KernelError, KeyMissing, MapError, MapFull, NotSupported, PrivilegeError
from ebpf.kernel import features, maps, privileges, programs, sys


class FakeKernel:
    """Answers bpf() from a list, and keeps what was asked: (command, attributes)."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, bytes]] = []

    def __call__(self, command: int, attr: sys.Buffer, size: int) -> int:
        self.asked.append((command, bytes(attr[:size])))
        return self.answers.pop(0) if self.answers else -errno.EINVAL


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*answers: int) -> FakeKernel:
        kernel = FakeKernel(*answers)
        monkeypatch.setattr(sys, "bpf", kernel)
        return kernel

    yield install
    features.forget()


# Offsets of members of union bpf_attr, from include/uapi/linux/bpf.h as pahole prints it.
@pytest.mark.parametrize(("command", "member", "offset"), [
    ("MAP_CREATE", "map_name", 28), ("MAP_CREATE", "btf_fd", 48), ("MAP_CREATE", "map_extra", 64),
    ("MAP_CREATE", "map_token_fd", 76), ("MAP_LOOKUP_ELEM", "key", 8), ("MAP_LOOKUP_BATCH", "count", 32),
    ("MAP_LOOKUP_BATCH", "elem_flags", 40), ("PROG_LOAD", "insns", 8), ("PROG_LOAD", "log_buf", 32),
    ("PROG_LOAD", "prog_name", 48), ("PROG_LOAD", "expected_attach_type", 68), ("PROG_LOAD", "func_info", 80),
    ("PROG_LOAD", "line_info", 96), ("PROG_LOAD", "attach_btf_id", 108), ("PROG_LOAD", "fd_array", 120),
    ("PROG_LOAD", "core_relos", 128), ("PROG_LOAD", "fd_array_cnt", 148),
    ("PROG_LOAD", "signature", 152), ("PROG_LOAD", "keyring_id", 164), ("OBJ_GET_INFO_BY_FD", "info", 8),
    ("PROG_TEST_RUN", "data_in", 16), ("PROG_TEST_RUN", "ctx_out", 56), ("PROG_TEST_RUN", "cpu", 68),
    ("RAW_TRACEPOINT_OPEN", "prog_fd", 8), ("RAW_TRACEPOINT_OPEN", "cookie", 16), ("BTF_LOAD", "btf_size", 16),
    ("LINK_CREATE", "extra", 16), ("PROG_QUERY", "prog_ids", 16), ("TASK_FD_QUERY", "buf", 16),
])
def test_layout_is_c_s(command: str, member: str, offset: int) -> None:
    members = [m.split(":") for m in sys.COMMANDS[command].members.split()]
    names = [m[0] for m in members]
    at = names.index(member)
    before = "@" + "".join(code for _, code in members[:at]) + "0" + members[at][1].lstrip("0123456789")
    if members[at][1].endswith("s"):
        before = "@" + "".join(code for _, code in members[:at])
    assert struct.calcsize(before) == offset


def test_unknown_attribute_is_a_bug_of_ours() -> None:
    with pytest.raises(InternalError):
        sys.attempt("MAP_FREEZE", colour=1)


def test_call_packs_and_raises(fake: Any) -> None:
    kernel = fake(7, -errno.EINVAL)
    assert sys.call("MAP_FREEZE", map_fd=3) == 7
    assert kernel.asked == [(22, struct.pack("@I", 3))]
    with pytest.raises(KernelError) as caught:
        sys.call("MAP_FREEZE", map_fd=3)
    assert (caught.value.errno, caught.value.call) == (errno.EINVAL, "bpf(BPF_MAP_FREEZE)")


def test_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: frozenset({"CAP_BPF"}))
    error = sys.failure("x", errno.EPERM, needs=("CAP_BPF", "CAP_PERFMON"))
    assert isinstance(error, PrivilegeError) and error.needs == ("CAP_PERFMON",)
    assert isinstance(error, PermissionError)


def test_what_forbids_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/sys/kernel/perf_event_paranoid": "3\n", "/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
             "/sys/kernel/security/lockdown": "none integrity [confidentiality]\n",
             "/proc/self/uid_map": "0 1000 1\n"}
    monkeypatch.setattr(privileges, "_text", lambda path: texts.get(path, ""))
    perf = privileges.explain(("CAP_PERFMON",), perf=True)
    assert perf.missing == ("CAP_PERFMON",)
    words = " ".join((*perf.notes, *perf.helps))
    for fact in ("perf_event_paranoid is 3", "confidentiality", "user namespace"):
        assert fact in words
    bpf = privileges.explain(("CAP_BPF",))
    assert any("unprivileged_bpf_disabled" in note for note in bpf.notes)


@pytest.mark.parametrize(("number", "kind"), [
    (errno.ENOSYS, NotSupported), (errno.EOPNOTSUPP, NotSupported), (errno.E2BIG, NotSupported),
    (errno.EBUSY, KernelError), (errno.ENOMEM, KernelError)])
def test_errno_table(number: int, kind: type) -> None:
    assert type(sys.failure("x", number, command="MAP_CREATE", feature="that")) is kind


def _map(**changes: Any) -> maps.KernelMap:
    values: dict[str, Any] = {"name": "m", "type": 1, "key_size": 4, "value_size": 8, "max_entries": 2} | changes
    created = maps.KernelMap(-1, **values)
    return created


@pytest.mark.parametrize(("number", "flags", "kind"), [
    (errno.E2BIG, 0, MapFull), (errno.ENOMEM, 0, MapFull), (errno.EEXIST, 1, MapError),
    (errno.ENOENT, 2, KeyMissing), (errno.EBADF, 0, MapError)])
def test_update_failures(fake: Any, number: int, flags: int, kind: type) -> None:
    fake(-number)
    with pytest.raises(kind, match="'m'"):
        _map().update(bytes(4), bytes(8), flags)


def test_index_past_an_array_is_not_a_full_map(fake: Any) -> None:
    fake(-errno.E2BIG)
    with pytest.raises(MapError, match="out of range") as caught:
        _map(type=2).update(bytes(4), bytes(8))
    assert not isinstance(caught.value, MapFull)


class ChangingHash:
    """get_next_key and lookup over a dict, whose current key may vanish, as hash maps behave on Linux 5.10."""

    def __init__(self, keys: list[int], vanish: dict[int, list[int]]) -> None:
        self.keys = keys
        self.vanish = vanish

    def __call__(self, command: int, attr: sys.Buffer, size: int) -> int:
        if command in (24, 25):
            return -sys.ENOTSUPP
        _, key_at, value_at, _ = struct.unpack_from("@IQQQ", attr)
        key = struct.unpack("@I", ctypes.string_at(key_at, 4))[0] if key_at else None
        if command == 1:
            if key not in self.keys:
                return -errno.ENOENT
            ctypes.memmove(value_at, struct.pack("@Q", key), 8)
            return 0
        assert command == 4
        for gone in self.vanish.pop(key or 0, ()):
            self.keys.remove(gone)
        if key is None or key not in self.keys:
            at = 0
        else:
            at = self.keys.index(key) + 1
        if at >= len(self.keys):
            return -errno.ENOENT
        ctypes.memmove(value_at, struct.pack("@I", self.keys[at]), 4)
        return 0


def test_walk_survives_the_loss_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "bpf", ChangingHash([1, 2, 3, 4, 5], {3: [3]}))
    bulk = _map(max_entries=10).read_all()
    assert struct.unpack("@5I", bulk.keys) == (1, 2, 3, 4, 5)
    assert struct.unpack("@5Q", bulk.values) == (1, 2, 3, 4, 5)
    assert bulk.restarts == 1


def test_walk_ends_when_the_map_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = ChangingHash([1], {})
    monkeypatch.setattr(sys, "bpf", lambda c, a, s: 0 if c == 4 else kernel(c, a, s))  # always "key 0 comes next"
    with pytest.raises(MapError, match="faster than it can be walked"):
        list(_map().keys())


def test_load_asks_for_a_log_only_after_a_refusal(fake: Any) -> None:
    kernel = fake(-errno.EAGAIN, 0x7FFF)
    loaded = programs.load_program(bytes(8), type=1)
    loaded._fd = -1
    levels = [struct.unpack_from("@I", attr, 24)[0] for _, attr in kernel.asked]
    assert levels == [0, 0]


def test_log_buffer_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def bpf(command: int, attr: sys.Buffer, size: int) -> int:
        level, log_size, log = struct.unpack_from("@IIQ", attr, 24)
        if not level:
            return -errno.EACCES
        sizes.append(log_size)
        if log_size < 1 << 19:
            return -errno.ENOSPC
        ctypes.memmove(log, b"R0 !read_ok\n\0", 13)
        return -errno.EACCES

    monkeypatch.setattr(sys, "bpf", bpf)
    with pytest.raises(programs.LoadRefused) as caught:
        programs.load_program(bytes(8), type=1)
    assert caught.value.log == "R0 !read_ok\n" and sizes == sorted(set(sizes)) and len(sizes) > 1


def test_probe_that_cannot_tell_is_not_remembered(fake: Any) -> None:
    fake(-errno.EPERM, -errno.EINVAL)
    assert features.have("btf_float") is None
    assert features.have("btf_float") is False
    assert features.have("btf_float") is False  # remembered: the fake has no third answer, but would say EINVAL too
