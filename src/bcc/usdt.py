"""USDT probes: importable, so that scripts which only may use them run; using one says that it is not supported yet."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class USDTException(Exception):
    """What BCC raises when a USDT probe cannot be enabled."""


class USDT:
    """USDT probes of a process (``pid``) or a file (``path``)."""

    def __init__(self, pid: int | None = None, path: str | None = None) -> None:
        if not (pid and pid != -1) and not path:
            raise USDTException("either a pid or a binary path must be specified")
        self.pid = pid
        self.path = path
        self._unsupported()

    def _unsupported(self, *_: Any, **__: Any) -> NoReturn:
        from ebpf import NotSupported

        class USDTNotSupported(NotSupported, USDTException):
            """Both what this package and what BCC's scripts expect."""

        error = USDTNotSupported("USDT probes", instead="attach a uprobe to a function of that program instead")
        error.message = "USDT probes are not supported yet by this package"
        raise error

    enable_probe = enable_probe_or_bail = get_text = enumerate_probes = get_probe_arg_ctype = get_context = _unsupported
