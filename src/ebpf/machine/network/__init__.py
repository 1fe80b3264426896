"""Packets for the machine: files of captured ones (`read_pcap`, `write_pcap`), a few of every kind to show
(`demonstration_packets`), and a network device of our own (`Wire`) whose frames pass through programs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.machine.network.demonstration import demonstration_packets
    from ebpf.machine.network.pcap import CapturedPacket, read_pcap, write_pcap
    from ebpf.machine.network.wire import Wire, WireLink

__all__ = ["CapturedPacket", "Wire", "WireLink", "demonstration_packets", "read_pcap", "write_pcap"]

_PLACES = {"Wire": "wire", "WireLink": "wire", "demonstration_packets": "demonstration"}


def __getattr__(name: str) -> object:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"ebpf.machine.network.{_PLACES.get(name, 'pcap')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
