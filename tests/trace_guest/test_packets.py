"""skboutput() in guests: the packets of a process that sends some, in a file that says what they are."""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import pytest

import ebpf

SEND = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(3):
    sender.sendto(b"packet %d " % n * 200, ("127.0.0.1", 9999))
"""


def packets(data: bytes) -> list[tuple[float, int, bytes]]:
    """(time, length on the wire, bytes) of a pcap file's packets."""
    magic, major, minor, _, _, most, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, most, link) == (0xA1B23C4D, 2, 4, 65535, 101)
    out, at = [], 24
    while at < len(data):
        seconds, ns, kept, length = struct.unpack_from("=IIII", data, at)
        out.append((seconds + ns / 1e9, length, data[at + 16:at + 16 + kept]))
        at += 16 + kept
    return out


@pytest.mark.guest(timeout_s=240)
def test_packets_are_written_to_a_file(tmp_path: Path) -> None:
    os.system("ip link set lo up")
    file = tmp_path / "sent.pcap"
    with ebpf.trace(f"""fentry:__dev_queue_xmit /comm == "python3"/ {{
                            @said[skboutput("{file}", args.skb, args.skb.len, 14)] = count(); }}""",
                    command=[os.path.realpath(sys.executable), "-c", f"open('/proc/self/comm', 'w').write('python3');{SEND}"],
                    backend="kernel") as trace:
        for _ in trace:
            pass
        assert dict(trace.maps["@said"])[0] >= 3
    sent = [packet for packet in packets(file.read_bytes()) if packet[2][9] == 17]  # UDP
    assert len(sent) == 3
    for n, (when, length, data) in enumerate(sent):
        assert abs(time.time() - when) < 120
        assert length == len(data) == 28 + 1800
        assert data[0] == 0x45 and data[16:20] == bytes((127, 0, 0, 1)) and data[28:37] == b"packet %d " % n
    with pytest.raises(ebpf.UsageError, match="No such file"):
        with ebpf.trace('fentry:__dev_queue_xmit { skboutput("/nowhere/x", args.skb, 64); }', backend="kernel"):
            pass
