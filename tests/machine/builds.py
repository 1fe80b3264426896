"""The maps' C runtime as several compilers build it, and programs around it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from ebpf.machine.runtime.bindings import SOURCES, Runtime, from_library

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-sign-compare")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ebpf-runtime-")


def compiled(compiler: str, *arguments: str, name: str) -> Path:
    """What a compiler of this machine makes; skips where there is none."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    out = Path(_folder().name) / name
    if not out.exists():
        subprocess.run([compiler, "-std=gnu11", "-I", str(SOURCES), *arguments, "-o", str(out)], check=True)
    return out


@cache
def _library(compiler: str) -> Runtime:
    path = compiled(compiler, "-O2", "-fPIC", "-shared", *WARNINGS, str(SOURCES / "runtime.c"), name=f"{compiler}.so")
    return from_library(str(path))


def runtime_of(build: str) -> Runtime:
    """The runtime as built by ``"ours"``, ``"gcc"``, ``"clang"``."""
    if build == "ours":
        from ebpf.machine.runtime.build import runtime

        return runtime()
    return _library(build)
