"""Modules of a guest's kernel, with what they need: a fetched kernel has no binary index for modprobe."""

from __future__ import annotations

import os
import subprocess


def load(*names: str) -> None:
    """Load them, in a guest; one that this kernel does not have is left out."""
    folder = f"/lib/modules/{os.uname().release}"
    needs = {}
    with open(f"{folder}/modules.dep") as file:
        for line in file:
            path, _, others = line.partition(":")
            needs[os.path.basename(path).partition(".")[0].replace("-", "_")] = [path, *others.split()]
    for name in names:
        for path in reversed(needs.get(name, ())):
            subprocess.run(["insmod", f"{folder}/{path}"], check=False, stderr=subprocess.DEVNULL)
