"""Debian's python3-bpfcc as the peer: where it is, and how to run a script under it.

BCC compiles against kernel headers. Where those of the running kernel are not installed, any Debian headers stand in
for them: they are mounted as the running kernel's build and source directories in a mount namespace of the peer's
own, and BCC is told their version.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"

_STAND_IN = """
set -e
dir=/lib/modules/$(uname -r)
mount -t tmpfs none /lib/modules
mkdir -p "$dir"
ln -s "$1" "$dir/build"
ln -s "$2" "$dir/source"
shift 2
exec "$@"
"""


@functools.cache
def why_absent() -> str | None:
    """Why BCC cannot be the peer here; None if it can."""
    if os.geteuid():
        return "BCC needs root"
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import bcc"], capture_output=True, env=env)
    if probe.returncode:
        return "python3-bpfcc is not installed"
    if not _running_headers() and (_headers() is None or shutil.which("unshare") is None):
        return "kernel headers are not installed"
    return None


def command(script: str, *args: str) -> list[str]:
    """The command that runs ``script`` under BCC."""
    run = ["env", "-u", "PYTHONPATH", SYSTEM_PYTHON, script, *args]
    if _running_headers():
        return run
    found = _headers()
    assert found is not None
    build, source, version = found
    return ["unshare", "-m", "sh", "-c", _STAND_IN, "sh", str(build), str(source),
            "env", f"BCC_LINUX_VERSION_CODE={version}", *run]


def _running_headers() -> bool:
    return (Path("/lib/modules") / os.uname().release / "build").exists()


@functools.cache
def _headers() -> tuple[Path, Path, int] | None:
    for build in sorted(Path("/usr/src").glob("linux-headers-*-amd64"), reverse=True):
        source = build.with_name(build.name.replace("-amd64", "-common"))
        m = re.match(r"linux-headers-(\d+)\.(\d+)\.", build.name)
        if source.exists() and m:
            return build, source, (int(m[1]) << 16) + (int(m[2]) << 8)
    return None
