"""Congestion controls of TCP in use: which there are, and a connection of our own under one of them."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

_TCP_CONGESTION = 13
_BYTES = 1 << 20


def known() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def transfer(algorithm: str, host: str = "127.0.0.1") -> None:
    """A megabyte over the loopback device under that congestion control."""
    with socket.socket() as listener, socket.socket() as sender:
        listener.bind((host, 0))
        listener.listen()
        sender.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, algorithm.encode())
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        thread = threading.Thread(target=sender.sendall, args=(bytes(_BYTES),))
        thread.start()
        left = _BYTES
        while left:
            left -= len(receiver.recv(1 << 16))
        thread.join()
        receiver.close()
