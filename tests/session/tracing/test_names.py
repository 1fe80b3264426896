"""What numbers stand for: addresses, users, errors, times, probes."""

from __future__ import annotations

import os
import pwd
import time
from types import SimpleNamespace

import pytest

from ebpf.session.tracing.names import Names

AF_INET, AF_INET6 = 2, 10


@pytest.mark.parametrize(("family", "data", "text"), [
    (AF_INET, bytes((127, 0, 0, 1)) + bytes(12), "127.0.0.1"),
    (AF_INET6, bytes(15) + b"\1", "::1"),
    (AF_INET6, bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
    (AF_INET6, bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 7)), "::ffff:10.0.0.7"),
    (AF_INET6, bytes(12) + bytes((10, 0, 0, 7)), "::10.0.0.7"),
    (AF_INET6, bytes(16), "::"),
    (99, bytes(16), ""),
])
def test_network_addresses(family: int, data: bytes, text: str) -> None:
    assert Names().address(family, data) == text


def test_users_errors_and_probes() -> None:
    names = Names(["BEGIN", "kprobe:vfs_*"])
    assert names.user_name(0) == pwd.getpwuid(0).pw_name
    assert names.user_name(0xFFFFFFF0) == str(0xFFFFFFF0)
    assert names.error_name(2) == names.error_name(-2) == os.strerror(2)
    names.set_targets(1, ["kprobe:vfs_read", "kprobe:vfs_write"])
    assert names.probe_name(0) == "BEGIN"
    assert names.probe_name(1 | 1 << 32) == "kprobe:vfs_write"
    assert names.probe_name(7) == ""


def test_times_are_local_and_have_microseconds() -> None:
    names = Names()
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(names.seconds(now) - time.time()) < 1
    assert names.time(1_700_000_000_123_456_789, "tai", "%s %f") == "1700000000 123456"
    assert names.time(now, "boot", "%Y") == time.strftime("%Y")


def test_stacks_end_where_their_addresses_do() -> None:
    stack = (0x1000).to_bytes(8, "little") + (0x2000).to_bytes(8, "little") + bytes(8 * 5)
    names = Names(stacks={"stack_7": SimpleNamespace(lookup=lambda key: stack)})
    raw = names.kernel_stack(3, "raw", 127, "stack_7")
    assert [frame.address for frame in raw] == [0x1000, 0x2000]
    assert str(raw) == "\n        1000\n        2000\n"
    assert len(names.kernel_stack(3, "raw", 1, "stack_7")) == 1
    assert names.kernel_stack(-14, "bpftrace", 127, "stack_7") == () and str(names.kernel_stack(-14, "raw", 1, "")) == "\n"


def test_how_stacks_print_in_each_mode() -> None:
    from ebpf.session.tracing.values import Frame, Stack

    frames = [Frame(0xFFFFFFFF813669E1, "vfs_read", 1), Frame(0x55, "", 0, "/bin/x")]
    assert str(Stack(frames)) == "\n        vfs_read+1\n        0x55\n"
    assert Stack(frames).text(4) == "\n    vfs_read+1\n    0x55\n"
    assert str(Stack(frames[:1], "perf")) == "\n\tffffffff813669e1 vfs_read+1\n"
    assert str(Stack([Frame(0x5652201A1EB0, "main", 0, "/usr/bin/bash")], "perf", user=True)) == \
        "\n\t5652201a1eb0 main+0 (/usr/bin/bash)\n"
    assert str(Stack(frames[1:], "build_id")) == "\n        /bin/x 0x0\n"
