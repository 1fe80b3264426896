"""Small things that BCC's scripts import: printing bytes, arguments as bytes, lists of CPUs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILESYSTEMENCODING = sys.getfilesystemencoding()


def printb(s: bytes, file: Any = None, nl: int = 1) -> None:
    """Print bytes as they are, and flush; ``nl`` adds a newline."""
    out = sys.stdout if file is None else file
    raw: Any = getattr(out, "buffer", out)
    if raw is not out:
        out.flush()  # what was printed as text comes first
    raw.write(s)
    if nl:
        raw.write(b"\n")
    out.flush()


class ArgString:
    """A command-line argument that is ``str`` to argparse and ``bytes()`` to comparisons with what the kernel says."""

    def __init__(self, arg: str) -> None:
        self.s = arg

    def __bytes__(self) -> bytes:
        return self.s.encode(FILESYSTEMENCODING, "surrogateescape")

    def __str__(self) -> str:
        return self.s


def to_bytes(value: Any) -> bytes:
    """``str``, ``bytes``, `ArgString` or a path, as bytes: BCC's API takes all of them."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(FILESYSTEMENCODING, "surrogateescape")
    if value is None:
        return b""
    return bytes(value) if hasattr(value, "__bytes__") else str(value).encode()


def to_str(value: Any) -> str:
    """The same as text."""
    return value if isinstance(value, str) else to_bytes(value).decode(FILESYSTEMENCODING, "surrogateescape")


def _assert_is_bytes(arg: Any) -> bytes | None:
    return None if arg is None else to_bytes(arg)


def get_online_cpus() -> list[int]:
    """CPUs that run now."""
    from ebpf import host

    return host.online_cpus()


def get_possible_cpus() -> list[int]:
    """CPUs that may ever run; per-CPU maps have a value for each."""
    from ebpf import host

    return host.possible_cpus()


def detect_language(candidates: list[str], pid: int) -> str | None:
    """Which of ``candidates`` (``"java"``, ``"node"``, ``"perl"``, ``"php"``, ``"python"``, ``"ruby"``) process
    ``pid`` runs, by its files.
    """
    places = [f"/proc/{pid}/exe"]
    names = []
    try:
        import os

        names.append(os.path.basename(os.readlink(places[0])))
        with open(f"/proc/{pid}/maps") as maps:
            names += [os.path.basename(line.split()[-1]) for line in maps if "/" in line]
    except (OSError, IndexError):
        return None
    known = ("java", "node", "perl", "php", "python", "ruby")
    for language in known:
        if language in candidates and any(n.startswith((language, "lib" + language)) for n in names):
            return language
    return None


class StrcmpRewrite:
    """``STRCMP("text", expression)`` in the filters of BCC's `trace` and `argdist`, as generated C."""

    @staticmethod
    def rewrite_expr(expr: str, bin_cmp: bool, is_user: bool, probe_user_list: list[str], streq_functions: str,
                     probeid: int) -> dict[str, Any]:
        """``expr`` with each STRCMP replaced by a call of a comparing function, whose text is added to
        ``streq_functions``.
        """
        import re

        pattern = r'STRCMP\("([^"]+)\",(.+?)\)' if bin_cmp else r'STRCMP\(("[^"]+\"),(.+?)\)'
        for match in list(re.finditer(pattern, expr)):
            literal, place = match.group(1), match.group(2).strip()
            read = "bpf_probe_read_user" if is_user or place in probe_user_list else "bpf_probe_read"
            name = f"streq_{probeid}"
            streq_functions += (
                f"\nstatic inline bool {name}(char const *ignored, uintptr_t str) {{\n"
                f"    char needle[] = {literal};\n"
                "    char haystack[sizeof(needle)];\n"
                f"    {read}(&haystack, sizeof(haystack), (void *)str);\n"
                "    for (int i = 0; i < sizeof(needle) - 1; ++i)\n"
                "        if (needle[i] != haystack[i])\n"
                "            return false;\n"
                "    return true;\n}\n")
            probeid += 1
            expr = expr.replace("STRCMP", name, 1)
        return {"expr": expr, "streq_functions": streq_functions, "probeid": probeid}
