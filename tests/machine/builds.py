"""The maps' C runtime as several compilers build it, and programs around it."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from ebpf.machine.runtime.bindings import SOURCES, Runtime, from_library


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="ebpf-runtime-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def compiled(compiler: str, *arguments: str, name: str) -> Path:
    """What a compiler of this machine makes; skips where there is none."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    out = _folder() / name
    if not out.exists():
        subprocess.run([compiler, "-std=gnu11", "-I", str(SOURCES), *arguments, "-o", str(out)], check=True)
    return out


@cache
def _library(compiler: str) -> Runtime:
    path = compiled(compiler, "-O2", "-fPIC", "-shared", str(SOURCES / "runtime.c"), name=f"{compiler}.so")
    return from_library(str(path))


def runtime_of(build: str) -> Runtime:
    """The runtime as built by ``"ours"``, ``"gcc"``, ``"clang"``."""
    if build == "ours":
        from ebpf.machine.runtime.build import runtime

        return runtime()
    return _library(build)
