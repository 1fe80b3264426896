"""The package's own guests, under the name that these tests know them by."""

from __future__ import annotations

from ebpf.testing.guests.guest import Guest, GuestError, Result

__all__ = ["Guest", "GuestError", "Result"]
