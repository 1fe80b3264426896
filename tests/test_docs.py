"""README is true: its programs run, its commands exist, its links lead somewhere. The rest of docs/: tests/docs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.kernel
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n", 1)[0])
def test_programs_of_the_readme_run(code: str, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(code)
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path)})
    if os.geteuid() != 0 and ("PrivilegeError" in done.stderr or "lacks CAP_" in done.stderr):
        pytest.skip("kernel tests: not privileged (run as root)")
    assert done.returncode == 0, done.stderr
    # A print whose result is told in a comment prints that.
    expected = re.findall(r"print\(.*\)\s+# (.*)", code)
    assert done.stdout.splitlines() == expected


def test_commands_of_the_readme_exist() -> None:
    shown = set(re.findall(r"^ebpf ([\w-]+)", "\n".join(blocks("sh")), re.M))
    assert shown <= set(cli.COMMANDS)
    assert all(name in shown or f"`{name}`" in README for name in cli.COMMANDS)
    offered = subprocess.run([str(ROOT / "dev"), "help"], text=True, stdout=subprocess.PIPE, check=True).stdout
    for command in re.findall(r"\./dev (\w+)", README):
        assert command == "help" or f"./dev {command}" in offered


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert targets and all((ROOT / target).exists() for target in targets)
