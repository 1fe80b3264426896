"""Our side in a guest: ``ebpf run SCRIPT ARG…``, whose C the host compiles, against the guest's types, into the shared cache.

Emulation makes compiling twenty times slower. What the host put into the cache is used only if every answer that it rests on
is what the guest's kernel says too; else the guest compiles for itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time

_PATIENCE_S = 60
_TRACEPOINTS = re.compile(r"TRACEPOINT_PROBE\(\s*(\w+)\s*,\s*(\w+)\s*\)|tracepoint__(\w+?)__(\w+)")


def main() -> int:
    from ebpf.session import build

    share = os.environ["EBPF_COMPARE_LANE"]
    compile_here = build.compile_bytes

    def compile_bytes(text: str, **options: object) -> bytes:
        if options.get("cache", True):
            _ask(share, {"mcpu": "v3", "text": text, **{k: v for k, v in options.items() if k not in ("btf", "cc", "cache")}})
        return compile_here(text, **options)  # type: ignore[arg-type]

    build.compile_bytes = compile_bytes
    from ebpf.cli import main as run

    return run(["run", *sys.argv[1:]])


def _ask(share: str, request: dict[str, object]) -> None:
    """Let the host compile it, and wait until it has."""
    from ebpf.compiler import cache

    formats = []
    for found in sorted(set(_TRACEPOINTS.findall(str(request["text"])))):
        category, name = found[0] or found[2], found[1] or found[3]
        try:
            with open(f"/sys/kernel/tracing/events/{category}/{name}/format") as file:
                formats.append((category, name, file.read()))
        except OSError:
            formats.append((category, name, None))
    fields = tuple(request[name] for name in ("dialect", "mcpu", "defines", "include_dirs"))
    key = cache.object_key(str(request["text"]), str(request["filename"]), (*fields, 2, None))
    data = json.dumps({**request, "formats": formats, "key": key})
    busy = f"/run/compiling-{os.getpid()}"
    with open(busy, "w"):
        pass
    new = f"{share}/requests/.{key}"
    with open(new, "w") as out:
        out.write(data)
    os.rename(new, f"{share}/requests/{key}")
    until = time.monotonic() + _PATIENCE_S
    while key not in os.listdir(f"{share}/answers") and time.monotonic() < until:
        time.sleep(0.05)
    os.unlink(busy)


if __name__ == "__main__":
    sys.exit(main())
