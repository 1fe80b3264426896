"""Addresses to names: the kernel's and, by /proc/PID/maps, those of processes."""

from __future__ import annotations

from bisect import bisect_right

from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SymbolCache:
    """The symbols of one process, or of the kernel (``pid`` < 0)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._maps: list[tuple[int, int, int, str]] | None = None
        self._files: dict[str, tuple[list[int], list[tuple[int, str]]]] = {}

    def resolve(self, addr: int, demangle: bool) -> tuple[bytes | None, int, bytes | None]:
        """(name, offset into it, module); without a name the offset is into the module, without that the address."""
        if self.pid < 0:
            found = host.kernel_symbol(addr)
            if found is None:
                return None, addr, None
            return found[0].encode(), found[1], (found[2] or "kernel").encode()
        for attempt in range(2):  # what was mapped since is seen at the second look
            if self._maps is None or attempt:
                self._maps = _read_maps(self.pid)
            for start, end, offset, path in self._maps:
                if start <= addr < end:
                    return self._in_file(path, addr - start + offset)
        return None, addr, None

    def _in_file(self, path: str, offset: int) -> tuple[bytes | None, int, bytes | None]:
        module = path.encode()
        table = self._files.get(path)
        if table is None:
            from ebpf import EbpfError

            inside = f"/proc/{self.pid}/root{path}"
            order: list[tuple[int, str]] = []
            for candidate in (inside, path):
                try:
                    order = sorted((file_offset, name) for name, (file_offset, _) in
                                   host.user_functions(candidate).items())
                    break
                except (EbpfError, OSError):
                    continue
            table = self._files[path] = ([o for o, _ in order], order)
        index = bisect_right(table[0], offset) - 1
        if index < 0:
            return None, offset, module
        start, name = table[1][index]
        return name.encode(), offset - start, module

    def resolve_name(self, module: Any, name: bytes) -> int:
        """The address of a symbol; -1 if there is none."""
        if self.pid < 0:
            found = host.kernel_address(name.decode(errors="replace"))
            return -1 if found is None else found
        return -1


def _read_maps(pid: int) -> list[tuple[int, int, int, str]]:
    found = []
    try:
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
                    start, _, end = fields[0].partition("-")
                    found.append((int(start, 16), int(end, 16), int(fields[2], 16), fields[5].rstrip("\n")))
    except OSError:
        pass
    return found
