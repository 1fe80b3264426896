"""Every block of the documentation does what the text around it says: programs run, C compiles or is refused as told."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import ebpf
from tests.conftest import _almighty
from tests.docs.snippets import ROOT, Snippet, all_snippets, expected_lines, matches

SNIPPETS = [s for s in all_snippets() if s.language in ("python", "c", "sh") and "not run" not in s.marks]
RUN = [s for s in SNIPPETS if s.language == "sh" or s.language == "python" and "file" not in s.marks]
HERE = [s for s in RUN if "guest" not in s.needs]
GUEST = [s for s in RUN if "guest" in s.needs]
C = [s for s in SNIPPETS if s.language == "c"]
TIMEOUT_S = 60


def by_id(snippet: Snippet) -> str:
    return snippet.id


def skip_unless_possible(snippet: Snippet) -> None:
    for need in snippet.needs:
        if need == "root":
            if not _almighty():
                pytest.skip("kernel tests: not privileged (run as root)")
        elif need == "uprobes":
            if not os.path.exists("/sys/bus/event_source/devices/uprobe"):
                pytest.skip("this kernel: no uprobes")
        elif need.startswith("/"):
            if not os.path.exists(need):
                pytest.skip(f"not here: {need}")
        elif importlib.util.find_spec(need) is None and shutil.which(need) is None:
            pytest.skip(f"not installed: {need}")


def run(snippet: Snippet, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the block in ``folder``, with the page's files there and `ebpf` and `python` on PATH."""
    for name, text in snippet.files:
        (folder / name).write_text(text)
    commands = folder / ".bin"
    commands.mkdir()
    for name, start in (("ebpf", '-m ebpf.cli "$@"'), ("python", '"$@"')):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {start}\n')
        (commands / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{commands}:{os.environ.get('PATH', '')}", "PYTHONPATH": str(ROOT / "src"),
           "NO_COLOR": "1"}
    if snippet.language == "python":
        (folder / "snippet.py").write_text(snippet.text)
        command = [sys.executable, "snippet.py"]
    else:
        command = ["sh", "-e", "-c", snippet.text]
    return subprocess.run(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)


def check(snippet: Snippet, folder: Path) -> None:
    done = run(snippet, folder)
    if "PrivilegeError" in done.stdout and not _almighty():
        pytest.skip("kernel tests: not privileged (run as root)")
    wanted = int(snippet.marks.get("status", ["0"])[0])
    assert done.returncode == wanted, done.stdout
    if snippet.output is not None:
        assert matches(done.stdout, snippet.output), done.stdout
    told = expected_lines(snippet)
    printed = done.stdout.splitlines()
    for line in told:
        found = next((i for i, p in enumerate(printed) if matches(p, line)), None)
        assert found is not None, f"{line!r} is not printed:\n{done.stdout}"
        printed = printed[found + 1:]


@pytest.mark.kernel
@pytest.mark.parametrize("snippet", HERE, ids=by_id)
def test_block_runs(snippet: Snippet, tmp_path: Path) -> None:
    skip_unless_possible(snippet)
    check(snippet, tmp_path)


@pytest.mark.guest(timeout_s=180)
@pytest.mark.parametrize("snippet", GUEST, ids=by_id)
def test_block_runs_in_a_guest(snippet: Snippet) -> None:
    for need in snippet.needs:
        if need not in ("guest", "root"):
            skip_unless_possible(snippet._replace(marks={"needs": [need]}))
    with tempfile.TemporaryDirectory() as folder:
        check(snippet, Path(folder))


@pytest.mark.kernel
@pytest.mark.parametrize("snippet", C, ids=by_id)
def test_c_is_accepted_or_refused_as_told(snippet: Snippet, tmp_path: Path) -> None:
    skip_unless_possible(snippet)
    for name, text in snippet.files:
        (tmp_path / name).write_text(text)
    name = snippet.marks.get("file", ["prog.c"])[0]
    refused, unloadable = snippet.marks.get("refused"), snippet.marks.get("unloadable")
    try:
        obj = ebpf.compile(snippet.text, filename=name, include_dirs=[str(tmp_path)],
                           dialect=snippet.marks.get("dialect", ["auto"])[0])
    except ebpf.CompileError as error:
        assert refused is not None, str(error)
        assert [d.code for d in error.diagnostics if d.severity == "error"] == refused, str(error)
        message = str(error)
    else:
        assert refused is None, "this should be refused"
        if unloadable is None:
            return
        with pytest.raises(ebpf.VerifierError) as caught, ebpf.load(obj):
            pass
        assert [d.code for d in caught.value.diagnostics] == unloadable, str(caught.value)
        message = str(caught.value)
    if snippet.output is not None:
        assert matches(message, snippet.output), message


def test_every_mark_is_known() -> None:
    known = {"file", "refused", "unloadable", "continues", "needs", "not run", "status", "dialect"}
    for snippet in all_snippets():
        assert set(snippet.marks) <= known, snippet.id
    assert len(HERE) > 20 and GUEST and len(C) > 10
