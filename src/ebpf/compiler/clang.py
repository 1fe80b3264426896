"""``--cc clang``: all of C, compiled by a clang that is there anyway: on PATH, or in the ``ziglang`` wheel.

What comes out is an object like any other. clang needs what our own compiler does not: headers. The system's are
searched after the program's own directory and ``include_dirs``; a program for libbpf also wants libbpf's headers
(Debian: ``libbpf-dev``) or a ``vmlinux.h``.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ebpf.diagnostics import Diagnostic, Span
from ebpf.errors import CompileError, NotSupported, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MESSAGE = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): (?P<kind>fatal error|error|warning|note): (?P<text>.*)$",
    re.MULTILINE,
)
_BUG = re.compile(r"PLEASE submit a bug report|Stack dump:|fatal error: error in backend: (?P<text>.*)")
_TIMEOUT_SECONDS = 300
# Where distributions keep a clang that they give no plain name.
_VERSIONED = [f"clang-{n}" for n in range(25, 11, -1)]


def find_clang(cc: str = "clang") -> list[str]:
    """The command for ``cc``: a path or name, or for ``"clang"`` whichever is there. Raises `NotSupported` if there is
    none."""
    from shutil import which

    if cc != "clang":
        words = cc.split() if not os.path.exists(cc) else [cc]
        found = which(words[0]) if words else None
        if found is None:
            raise UsageError(
                f"there is no compiler called `{cc}`", helps=("give a path, or `clang` for the one that is installed",)
            )
        return [found, *words[1:]]
    for name in ("clang", *_VERSIONED):
        found = which(name)
        if found is not None:
            return [found]
    wheel = _ziglang()
    if wheel is not None:
        return [wheel, "clang"]
    error = NotSupported("compiling with clang", instead="pip install ziglang (it has a whole clang), or install clang")
    error.message = "there is no clang on PATH and no ziglang wheel"
    raise error


def _ziglang() -> str | None:
    """The ``zig`` binary of the ``ziglang`` wheel; ``zig clang`` is clang with all of LLVM's targets."""
    from importlib.util import find_spec

    spec = find_spec("ziglang")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = os.path.join(folder, "zig")
        if os.access(path, os.X_OK):
            return path
    return None


def compile_with_clang(
    text: str,
    *,
    filename: str = "<text>",
    cc: str = "clang",
    mcpu: str = "v3",
    defines: Iterable[str] = (),
    include_dirs: Iterable[str] = (),
    flags: Sequence[str] = (),
) -> bytes:
    """The object that clang makes of ``text``. ``flags`` go to it as they are. Raises `CompileError` with its
    messages."""
    import subprocess
    from tempfile import TemporaryDirectory

    command = find_clang(cc)
    with TemporaryDirectory(prefix="ebpf-clang-") as folder:
        # From a file, because clang reads source lines for BTF from there: the program's own where it is unchanged.
        source = (
            filename
            if _same(filename, text)
            else os.path.join(folder, os.path.basename(filename).strip("<>") or "text")
        )
        if source != filename:
            with open(source, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        target = os.path.join(folder, "out.o")
        command += [
            "-x",
            "c",
            "-target",
            "bpf",
            f"-mcpu={mcpu}",
            "-O2",
            "-g",
            "-c",
            source,
            "-o",
            target,
            "-fno-stack-protector",
            "-Wno-unknown-attributes",
        ]
        command += [f"-D__TARGET_ARCH_{_arch()}"]
        command += [d if d.startswith("-U") else f"-D{d}" for d in defines]
        here = os.path.dirname(filename) if not filename.startswith("<") else ""
        for path in (here or ".", *include_dirs):
            command += ["-I", path]
        for path in _system_includes():
            command += ["-idirafter", path]
        command += flags
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CompileError(f"{filename}: {command[0]} did not finish in {_TIMEOUT_SECONDS} s") from None
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be started: {error.strerror}") from None
        words = done.stderr.decode("utf-8", "replace").replace(source, filename)
        if done.returncode == 0:
            try:
                with open(target, "rb") as out:
                    return out.read()
            except OSError:
                words += "\nclang said that all is well and wrote no object"
        raise _failure(words, filename, text, command[0], done.returncode)


def _same(filename: str, text: str) -> bool:
    try:
        with open(filename, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(len(text) + 1) == text
    except (OSError, ValueError):
        return False


def _arch() -> str:
    machine = os.uname().machine
    return {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390", "ppc64le": "powerpc"}.get(
        machine, machine
    )


def _system_includes() -> list[str]:
    machine = os.uname().machine
    candidates = ("/usr/local/include", f"/usr/include/{machine}-linux-gnu", "/usr/include")
    return [path for path in candidates if os.path.isdir(path)]


def _failure(words: str, filename: str, text: str, command: str, status: int) -> CompileError:
    lines = text.splitlines()
    found: list[Diagnostic] = []
    for m in _MESSAGE.finditer(words):
        line, column = int(m["line"]), int(m["column"])
        source = lines[line - 1] if m["file"] == filename and line <= len(lines) else ""
        span = Span(m["file"], line, column, 0, source)
        if m["kind"] == "note":
            if found:
                last = found[-1]
                found[-1] = Diagnostic(
                    last.severity,
                    last.code,
                    last.message,
                    last.span,
                    notes=last.notes,
                    helps=last.helps,
                    related=(*last.related, (span, m["text"])),
                )
            continue
        helps: tuple[str, ...] = ()
        missing = re.match(r"'([^']+)' file not found", m["text"])
        if missing:
            helps = _headers(missing[1])
        found.append(
            Diagnostic("warning" if m["kind"] == "warning" else "error", "C0701", m["text"], span, helps=helps)
        )
    if not any(d.severity == "error" for d in found):
        reason = _BUG.search(words)
        say = (
            reason["text"]
            if reason and reason["text"]
            else next((w for w in reversed(words.split("\n")) if w.strip()), "")
        )
        found.append(
            Diagnostic(
                "error",
                "C0702",
                f"{os.path.basename(command)} failed (exit status {status})",
                notes=(say[:500],) if say else (),
            )
        )
    errors = sum(d.severity == "error" for d in found)
    return CompileError(f"{filename}: {errors} error{'s' if errors != 1 else ''} from clang", diagnostics=found)


def _headers(name: str) -> tuple[str, ...]:
    if name.startswith("bpf/"):
        return ("install libbpf's headers (Debian: libbpf-dev), or compile without --cc: our own compiler needs none",)
    if name.rpartition("/")[2] == "vmlinux.h":
        return (
            "write it with `bpftool btf dump file /sys/kernel/btf/vmlinux format c > vmlinux.h`, "
            "or compile without --cc",
        )
    if name.startswith(("linux/", "asm/", "uapi/", "net/")):
        return ("install the kernel's user headers (Debian: linux-libc-dev), or compile without --cc",)
    return ()
