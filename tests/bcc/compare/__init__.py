"""Debian's BCC tools, run by BCC and by us at the same time in one guest, on the same work: ``python -m tests.bcc.compare``."""
