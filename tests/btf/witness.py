"""Where other people's BTF comes from in these tests: the kernel, clang and bpftool, where they are installed."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.btf import Btf

VMLINUX = Path("/sys/kernel/btf/vmlinux")


@functools.cache
def vmlinux() -> Btf:
    """This machine's kernel."""
    try:
        return Btf.parse(VMLINUX.read_bytes())
    except OSError as error:
        pytest.skip(f"this kernel offers no BTF: {error}")


def tool(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"not installed: {' or '.join(names)}")


def compile_bpf(source: str, directory: Path, *flags: str) -> dict[str, bytes]:
    """C through clang: the object's sections by name, and the object itself under ``""``."""
    clang = tool("clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14")
    text, out = directory / "prog.c", directory / "prog.o"
    text.write_text(source)  # not through a pipe: clang reads the file again for the lines of .BTF.ext
    command = [clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3", *flags, "-c", str(text), "-o", str(out)]
    done = subprocess.run(command, text=True, capture_output=True)
    assert not done.returncode, done.stderr
    from elftools.elf.elffile import ELFFile

    with out.open("rb") as file:
        sections = {s.name: s.data() for s in ELFFile(file).iter_sections() if s["sh_type"] != "SHT_NOBITS"}
    sections[""] = out.read_bytes()
    sections[".path"] = str(out).encode()
    return sections


def bpftool(*arguments: str, errors: bool = False) -> str:
    """What bpftool prints, on request together with its complaints."""
    done = subprocess.run([tool("bpftool"), *arguments], text=True, capture_output=True)
    return done.stdout + done.stderr if errors else done.stdout
