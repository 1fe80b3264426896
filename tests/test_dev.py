"""`./dev` on machines that lack things: what it says, in one sentence, and that it breaks nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "sh cat cksum cut date dirname env flock getent id mkdir printf rm sed tr".split()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but what `./dev` reads, and a PATH without any Python."""
    place = tmp_path / "checkout"
    place.mkdir()
    # Its last resort is an absolute path, which this machine may well have.
    text = (ROOT / "dev").read_text().replace(" /usr/bin/python3;", ";")
    (place / "dev").write_text(text)
    (place / "dev").chmod(0o755)
    shutil.copy(ROOT / "pyproject.toml", place)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        if (found := shutil.which(tool)) is not None:
            (tools / tool).symlink_to(found)
    return place


def dev(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(checkout / "dev"), *arguments], text=True, capture_output=True, check=False,
                          env={"PATH": str(checkout.parent / "bin"), "HOME": str(checkout.parent), **environment})


def fake_python(checkout: Path, name: str, body: str) -> None:
    path = checkout.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


# A Python that can do everything but make environments, as Debian has it without python3-venv.
CRIPPLED = f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"'
OLD = 'case "$1" in -V) echo Python 3.9.2 ;; *) exit 1 ;; esac'


def test_help_needs_nothing(checkout: Path) -> None:
    done = dev(checkout, "help")
    assert done.returncode == 0 and "./dev hello" in done.stdout and "./dev test" in done.stdout


def test_an_unknown_command_is_refused(checkout: Path) -> None:
    done = dev(checkout, "frobnicate")
    assert done.returncode == 1 and 'no command "frobnicate"' in done.stderr


def test_without_python(checkout: Path) -> None:
    done = dev(checkout, "hello")
    assert done.returncode == 1
    assert done.stderr.startswith("dev: needs Python 3.11 or newer, and there is no python3 here")
    assert done.stderr.count("\n") == 1


def test_with_an_old_python(checkout: Path) -> None:
    fake_python(checkout, "python3", OLD)
    done = dev(checkout, "test")
    assert done.returncode == 1
    assert "found only python3 (3.9.2)" in done.stderr and done.stderr.count("\n") == 1


def test_a_name_that_starts_nothing_is_no_python(checkout: Path) -> None:
    fake_python(checkout, "python3.13", "echo 'version manager: command not found' >&2; exit 127")
    assert "there is no python3 here" in dev(checkout, "hello").stderr or \
        "found only python3.13:" in dev(checkout, "hello").stderr


def test_where_python_cannot_make_environments(checkout: Path) -> None:
    # There is no apt-get in this PATH: root, too, is told what to install.
    fake_python(checkout, "python3", CRIPPLED)
    done = dev(checkout, "hello")
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert done.returncode == 1 and f"apt-get install {package}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may install packages")
def test_root_gets_the_package_installed(checkout: Path) -> None:
    marker = checkout.parent / "installed"
    fake_python(checkout, "python3", f'[ -e {marker} ] || case "$*" in *ensurepip*) exit 1 ;; esac\n'
                                     f'case "$*" in *"-m venv"*) echo made >&2; exit 1 ;; esac\nexec {sys.executable} "$@"')
    fake_python(checkout, "apt-get", f'echo "$@" >>{checkout.parent}/apt-log; case "$1" in install) : >{marker} ;; esac')
    done = dev(checkout, "hello")
    assert "install" in (checkout.parent / "apt-log").read_text() and "-venv" in (checkout.parent / "apt-log").read_text()
    assert "made" in done.stderr  # and went on to make the environment


def test_installs_once_and_again_when_the_project_asks_for_more(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho ran "$@"\n')
    python.chmod(0o755)
    first, second = dev(checkout, "hello"), dev(checkout, "hello")
    assert "installing ebpf into it" in first.stderr
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == f"ran {checkout.resolve()}/examples/hello.py\n"
    # Tests want more than running does, and what has more serves those who want less.
    assert "installing ebpf[test] into it" in dev(checkout, "setup", "test").stderr
    assert dev(checkout, "setup", "run").stderr == ""
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "installing ebpf into it" in dev(checkout, "hello").stderr
