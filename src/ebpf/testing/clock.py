"""Time as the tested programs see it: it stands still until a test moves it."""

from __future__ import annotations

_S = 1_000_000_000
_START_NS = 1_000 * _S  # the machine has been up for a while: 0 looks like a bug in many a program
_TAI_NS = 1_700_000_037 * _S  # 2023-11-14 22:13:20 UTC


class FrozenClock:
    """What bpf_ktime_get_ns and its sisters tell. All clocks move together with `advance`; each can be set by itself.

    ``monotonic_ns``, ``boot_ns`` (monotonic time and the time asleep) and ``tai_ns`` are methods, as the machine's
    environment wants them.
    """

    def __init__(self, monotonic_ns: int = _START_NS, *, boot_ns: int | None = None, tai_ns: int = _TAI_NS) -> None:
        self._monotonic_ns = monotonic_ns
        self._boot_ns = monotonic_ns if boot_ns is None else boot_ns
        self._tai_ns = tai_ns

    def __repr__(self) -> str:
        return f"FrozenClock({self._monotonic_ns}, boot_ns={self._boot_ns}, tai_ns={self._tai_ns})"

    def monotonic_ns(self) -> int:
        """Nanoseconds since the start, without those asleep: bpf_ktime_get_ns, bpf_jiffies64."""
        return self._monotonic_ns

    def boot_ns(self) -> int:
        """Nanoseconds since the start: bpf_ktime_get_boot_ns."""
        return self._boot_ns

    def tai_ns(self) -> int:
        """Nanoseconds since 1970 in International Atomic Time: bpf_ktime_get_tai_ns."""
        return self._tai_ns

    def set(self, *, monotonic_ns: int | None = None, boot_ns: int | None = None, tai_ns: int | None = None) -> None:
        """Set some of the clocks."""
        if monotonic_ns is not None:
            self._monotonic_ns = monotonic_ns
        if boot_ns is not None:
            self._boot_ns = boot_ns
        if tai_ns is not None:
            self._tai_ns = tai_ns

    def advance(self, seconds: float = 0, *, ns: int = 0) -> None:
        """Let time pass: ``seconds`` (fractions too) and ``ns`` nanoseconds, on every clock."""
        passed = round(seconds * _S) + ns
        self._monotonic_ns += passed
        self._boot_ns += passed
        self._tai_ns += passed
