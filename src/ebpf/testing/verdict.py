"""What a run of a tested program gave: its verdict by name and number, and the packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebpf import Program


class Verdict:
    """The return value of one run, with all that came with it. Compares with a number and with a name::

        assert firewall.send(packet) == "XDP_DROP"
        assert firewall.send(packet) == 1

    ``result`` is unsigned 32 bits (``signed`` the same as a C ``int``), ``name`` what it is called (``""``: results of
    this program type have no names), ``data`` the packet afterwards, ``context`` the context's bytes afterwards,
    ``redirect`` and ``clones`` where the program sent it (the machine's; ``None`` and ``()`` in a kernel), ``override``
    what bpf_override_return asked for.
    """

    __slots__ = ("clones", "context", "data", "name", "override", "program", "redirect", "result", "sent")
    __hash__ = None  # type: ignore[assignment]  # equal to numbers and to names

    def __init__(self, program: Program, run: Any, sent: bytes = b"") -> None:
        self.program = program.name
        self.result: int = run.result
        self.name: str = program.result_name(run.result)
        self.data: bytes = run.data
        self.context: bytes = run.context
        self.redirect = getattr(run, "redirect", None)
        self.clones = getattr(run, "clones", ())
        self.override: int | None = getattr(run, "override", None)
        self.sent = sent

    @property
    def signed(self) -> int:
        """The return value as a C ``int``: ``-1`` of an LSM program that refuses, say."""
        return self.result - (1 << 32) if self.result >> 31 else self.result

    @property
    def changed(self) -> bool:
        """Whether the packet is another one than before."""
        return self.data != self.sent

    def packet(self, layer: Any = None) -> Any:
        """The packet afterwards, as scapy's ``layer`` (default: ``Ether``); scapy must be installed."""
        if layer is None:
            from scapy.layers.l2 import Ether

            layer = Ether
        return layer(self.data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Verdict):
            return self.result == other.result and self.data == other.data
        if isinstance(other, str):
            return other in (self.name, _short(self.name)) and bool(self.name)
        if isinstance(other, int):
            return other in (self.result, self.signed)
        return NotImplemented

    def __int__(self) -> int:
        return self.result

    __index__ = __int__

    def __repr__(self) -> str:
        said = f"{self.name} ({self.result})" if self.name else str(self.signed)
        more = "" if self.data == self.sent else f", packet changed ({len(self.sent)} → {len(self.data)} bytes)"
        return f"<{self.program}: {said}{more}>"


def _short(name: str) -> str:
    """``XDP_DROP`` → ``DROP``, ``TC_ACT_OK`` → ``OK``."""
    return name.removeprefix("XDP_").removeprefix("TC_ACT_").removeprefix("SK_")
