"""A cache that is damaged, somebody else's or in the way: the program runs all the same, and `ebpf doctor` says why.

What is in the cache runs in the kernel, so nothing but what this user wrote, whole, may come out of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import ebpf
from ebpf.compiler import cache
from ebpf.compiler.cache import Store
from tests.acceptance.process import EBPF, PYTHON, run

TEXT = 'SEC("xdp") int f(struct xdp_md *ctx) { return %d; }\nchar L[] SEC("license") = "GPL";\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("EBPF_CACHE_DIR", str(place))
    return place


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that the compiler really ran."""
    from ebpf.compiler import pipeline

    done: list[str] = []
    original = pipeline.compile_c

    def counted(text: str, **how: object) -> bytes:
        done.append(text)
        return original(text, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "compile_c", counted)
    return done


def compile_it(number: int = 1) -> bytes:
    """The code of the program, which says whether the right one came."""
    return ebpf.compile(TEXT % number, dialect="libbpf").programs["f"].code


def objects(folder: Path) -> list[Path]:
    return sorted(folder.glob("object-*"))


def test_the_second_time_nothing_is_compiled(folder: Path, compilations: list[str]) -> None:
    first = compile_it()
    assert len(compilations) == 1 and len(objects(folder)) == 1
    assert compile_it() == first and len(compilations) == 1
    assert compile_it(2) != first and len(compilations) == 2
    assert folder.stat().st_mode & 0o777 == 0o700 and objects(folder)[0].stat().st_mode & 0o777 == 0o600


def overwritten(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    def damage(folder: Path, file: Path) -> None:
        file.write_bytes(change(file.read_bytes()))

    return damage


def through_a_symlink(folder: Path, file: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    os.rename(file, elsewhere)
    file.symlink_to(elsewhere)


def a_pipe(folder: Path, file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_folder(folder: Path, file: Path) -> None:
    file.unlink()
    file.mkdir()


def world_writable(folder: Path, file: Path) -> None:
    file.chmod(0o666)


def somebody_elses(folder: Path, file: Path) -> None:
    try:
        os.chown(file, 12345, 12345)
    except PermissionError:
        pytest.skip("giving a file to somebody else needs root")


DAMAGE = {
    "empty": overwritten(lambda data: b""),
    "cut at the front": overwritten(lambda data: data[1:]),
    "cut in the header": overwritten(lambda data: data[:15]),
    "cut in the middle": overwritten(lambda data: data[:len(data) // 2]),
    "one byte short": overwritten(lambda data: data[:-1]),
    "one bit wrong": overwritten(lambda data: data[:-200] + bytes([data[-200] ^ 1]) + data[-199:]),
    "one byte more": overwritten(lambda data: data + b"\0"),
    "zeros": overwritten(lambda data: bytes(len(data))),
    "text": overwritten(lambda data: b"hello\n" * 1000),
    "a symbolic link": through_a_symlink,
    "a pipe": a_pipe,
    "a folder": a_folder,
    "writable for all": world_writable,
    "somebody else's": somebody_elses,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_as_we_wrote_it(folder: Path, compilations: list[str], damage: str) -> None:
    right = compile_it()
    (file,) = objects(folder)
    DAMAGE[damage](folder, file)
    state = cache.state()
    assert state.usable and [name for name, _ in state.ignored] == [file.name] and state.ignored[0][1]
    assert compile_it() == right and len(compilations) == 2
    if damage != "a folder":  # nothing that could be put in its place
        assert compile_it() == right and len(compilations) == 2
        assert not cache.state().ignored
    assert sorted(p.name for p in folder.parent.iterdir()) in (["cache"], ["cache", "elsewhere"])


def folder_of_somebody_else(folder: Path) -> None:
    folder.mkdir(0o700)
    try:
        os.chown(folder, 12345, 12345)
    except PermissionError:
        pytest.skip("giving a folder to somebody else needs root")


def folder_writable_for_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def folder_is_a_symlink(folder: Path) -> None:
    real = folder.parent / "real"
    real.mkdir(0o700)
    folder.symlink_to(real)


def folder_is_a_file(folder: Path) -> None:
    folder.write_text("no folder")


def folder_below_a_file(folder: Path) -> None:
    (folder.parent / "x").write_text("")
    os.environ["EBPF_CACHE_DIR"] = str(folder.parent / "x" / "cache")


FOLDERS = {"somebody else's": (folder_of_somebody_else, "belongs to user 12345"),
           "writable for all": (folder_writable_for_all, "others may write"),
           "a symbolic link": (folder_is_a_symlink, "cannot be used"),
           "a file": (folder_is_a_file, "cannot be used"),
           "below a file": (folder_below_a_file, "")}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_cannot_be_trusted_or_used(folder: Path, compilations: list[str], what: str) -> None:
    prepare, reason = FOLDERS[what]
    prepare(folder)
    before = sorted(p.name for p in folder.parent.rglob("*"))
    assert compile_it() == compile_it() and len(compilations) == 2
    assert sorted(p.name for p in folder.parent.rglob("*")) == before, "something was written there"
    state = cache.state()
    if reason:
        assert not state.usable and reason in state.why_not
        told = run([*EBPF, "doctor"])
        assert reason in told.out, told.out


def test_switched_off_and_without_a_home(compilations: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_CACHE_DIR", "")
    assert compile_it() == compile_it() and len(compilations) == 2 and not cache.state().usable
    monkeypatch.delenv("EBPF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/path")
    monkeypatch.setenv("HOME", "/nonexistent/home")
    assert compile_it() == compile_it() and len(compilations) == 4
    assert not os.path.exists("/nonexistent") and "no home" in cache.state().why_not


def test_a_full_disk(folder: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full in the place of the new file: every write fails with ENOSPC, as on a disk that is full."""
    real = os.open

    def full(path: object, flags: int, *args: object, **how: object) -> int:
        if flags & os.O_CREAT and how.get("dir_fd") is not None:
            real(path, flags, *args, **how)  # type: ignore[arg-type]
            return real("/dev/full", os.O_WRONLY)
        return real(path, flags, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", full)
    assert compile_it() == compile_it() and len(compilations) == 2
    assert folder.is_dir() and not list(folder.iterdir()), "half a file stayed"


def test_a_file_system_that_is_full_or_read_only(tmp_path: Path) -> None:
    """The real things, in a mount namespace of our own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs root and unshare(1)")
    script = tmp_path / "script.py"
    script.write_text(f"import ebpf\nfor i in range(2): print(len(ebpf.compile({TEXT % 1!r}, dialect='libbpf').programs))\n")
    where = tmp_path / "mount"
    where.mkdir()
    for mount in (f"mount -t tmpfs -o size=4k,mode=700 tmpfs {where} && head -c 4096 /dev/zero >{where}/x",
                  f"mount -t tmpfs -o mode=700 tmpfs {where} && mount -o remount,ro {where}"):
        done = subprocess.run(["unshare", "--mount", "sh", "-c", f"({mount}) || exit 77; exec \"$@\"", "sh", *PYTHON, str(script)],
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, "EBPF_CACHE_DIR": str(where), "PYTHONPATH": str(Path(ebpf.__file__).parents[1])})
        if done.returncode == 77:
            pytest.skip(f"no mounts here: {done.stderr.strip()}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n1\n", "")


def test_two_at_once_and_leftovers(folder: Path) -> None:
    """Writers don't see each other's halves; what a killed one left behind goes when the cache grows."""
    store = Store()
    store.put("k", b"a" * 1000)
    (folder / ".k.99999").write_bytes(b"half")
    assert store.get("k") == b"a" * 1000
    assert dict(cache.state().ignored)[".k.99999"].startswith("damaged, or left behind")
    programs = [subprocess.Popen([*PYTHON, "-c", f"import ebpf\nebpf.compile({TEXT % 3!r}, dialect='libbpf')"],
                                 env={**os.environ, "PYTHONPATH": str(Path(ebpf.__file__).parents[1])}) for _ in range(3)]
    assert [p.wait(60) for p in programs] == [0, 0, 0]
    assert len(objects(folder)) == 1 and len(cache.state().ignored) == 1


def test_the_least_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 10_000)
    store = Store()
    for i in range(8):
        store.put(f"k{i}", bytes(1000))
        os.utime(folder / f"k{i}", (i, i))
    assert store.get("k0") is not None  # used just now
    store.put("k8", bytes(1500))
    os.utime(folder / "k8", (8, 8))
    store.put("k9", bytes(1500))
    assert store.get("k0") is not None and store.get("k1") is None and store.get("k9") is not None
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 10_000


def test_a_fact_that_changed(folder: Path, compilations: list[str], tmp_path: Path) -> None:
    """An included file is part of what was compiled, one that appears later too."""
    header = tmp_path / "later.h"
    text = '#if __has_include("later.h")\n#include "later.h"\n#endif\n#ifndef N\n#define N 1\n#endif\n' + TEXT.replace("%d", "N")

    def build() -> bytes:
        return ebpf.compile(text, dialect="libbpf", include_dirs=[str(tmp_path)]).programs["f"].code

    first = build()
    assert build() == first and len(compilations) == 1
    header.write_text("#define N 2\n")
    second = build()
    assert second != first and len(compilations) == 2
    header.write_text("#define N 3\n")
    assert build() not in (first, second) and len(compilations) == 3
    header.unlink()
    assert build() == first
