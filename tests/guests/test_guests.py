"""The guest harness itself: what a check inside sees, and that its failures are failures here."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from ebpf.testing.guests import Guest, GuestError, boot, fetch, store
from tests.guests import inside


@pytest.mark.guest(smoke=True)
def test_runs_under_the_wanted_kernel(guest_kernel: str) -> None:
    assert os.uname().release.startswith(guest_kernel + ".")
    assert os.geteuid() == 0
    assert os.path.exists("/sys/kernel/btf/vmlinux")
    assert os.path.exists("/sys/kernel/tracing/kprobe_events")


@pytest.mark.guest
@pytest.mark.parametrize("value", [1, (2, "three")])
def test_parameters_and_tmp_path_reach_the_inside(value: object, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(repr(value))
    assert eval((tmp_path / "x").read_text()) == value
    assert value in (1, (2, "three"))


def test_writes_stay_inside_and_statuses_come_out() -> None:
    if (reason := store.why_not(store.SAMPLE)) is not None:
        pytest.skip(f"guest tests: {reason}")
    command = "echo x >/etc/guest-was-here && cat /etc/guest-was-here; cat; echo no >&2; exit 7"
    result = Guest().run(["sh", "-c", command], stdin=b"y" * 300_000)
    assert (result.returncode, result.stdout, result.stderr) == (7, b"x\n" + b"y" * 300_000, b"no\n")
    assert not os.path.exists("/etc/guest-was-here")


def test_only_so_many_guests_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_GUESTS", str(tmp_path))
    monkeypatch.setenv("EBPF_GUEST_SLOTS", "2")
    asked: list[None] = []

    def give_up() -> bool:
        asked.append(None)
        return True

    with store.slot(give_up) as first, store.slot(give_up) as second:
        assert (first, second, asked) == (True, True, [])
        with store.slot(give_up) as third:
            assert not third and asked
    with store.slot(give_up) as again:
        assert again and len(asked) == 1


def test_a_crash_of_the_kernel_is_told_with_its_log() -> None:
    if (reason := store.why_not(store.SAMPLE)) is not None:
        pytest.skip(f"guest tests: {reason}")
    with pytest.raises(GuestError, match=r"died before the command ended(.|\n)*sysrq triggered crash"):
        Guest().run(["sh", "-c", "echo c >/proc/sysrq-trigger"])


def test_failing_checks_are_told_with_their_values() -> None:
    def check() -> None:
        seen = 41
        assert seen == 42

    with pytest.raises(AssertionError) as caught:
        check()
    verdict = inside._judge(caught.value)
    assert verdict["outcome"] == "failed"
    assert "seen = 41" in verdict["message"]


def test_skips_are_skips() -> None:
    with pytest.raises(pytest.skip.Exception) as caught:
        pytest.skip("because")
    assert inside._judge(caught.value) == {"outcome": "skipped", "message": "because"}


def test_unpacks_a_kernel_image() -> None:
    elf = b"\x7fELF" + bytes(range(256)) * 20
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(elf) + packer.flush()
    payload = packed + struct.pack("<I", len(elf))
    image = bytearray(1024 + 100) + payload
    image[0x1F1] = 1
    image[0x1FE:0x200], image[0x202:0x206] = b"\x55\xaa", b"HdrS"
    struct.pack_into("<II", image, 0x248, 100, len(payload))
    assert fetch.unpack_image(bytes(image)) == elf
    with pytest.raises(GuestError, match="not a bzImage"):
        fetch.unpack_image(bytes(2000))


@pytest.mark.parametrize(("there", "release"), [
    ({"linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-99-cloud-amd64"}, "6.1.0-56-amd64"),
    ({"linux-image-6.1.7+deb13-amd64", "linux-image-6.12.9+deb13-amd64"}, "6.1.7+deb13-amd64"),
    ({"linux-image-6.1.8-amd64", "linux-binary-6.1.8-amd64", "linux-image-6.1.7-amd64"}, "6.1.7-amd64"),
])
def test_chooses_the_newest_complete_kernel(there: set[str], release: str) -> None:
    assert fetch._choose("6.1", there)[0] == release


def test_a_kernel_that_is_not_there_is_said_so() -> None:
    with pytest.raises(GuestError, match=r"no kernel 2\.6"):
        fetch._choose("2.6", {"linux-image-6.1.0-9-amd64"})


def test_cpio_is_read_by_cpio(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("cpio") is None:
        pytest.skip("no cpio")
    archive = boot._cpio([("d", 0o040755, b""), ("d/f", 0o100644, b"hello")])
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "d/f").read_bytes() == b"hello"
