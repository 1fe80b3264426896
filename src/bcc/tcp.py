"""TCP's states and flags as text, for the scripts that show connections."""

from __future__ import annotations

tcpstate = dict(enumerate((
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
    "LISTEN", "CLOSING", "NEW_SYN_RECV"), 1))

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
TCPHDR_FIN, TCPHDR_SYN, TCPHDR_RST, TCPHDR_PSH, TCPHDR_ACK, TCPHDR_URG, TCPHDR_ECE, TCPHDR_CWR = (
    1 << i for i in range(8))


def flags2str(flags: int) -> str:
    """``0x12`` → ``"SYN|ACK"``."""
    return "|".join(name for i, name in enumerate(_FLAGS) if flags & 1 << i)
