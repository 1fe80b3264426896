"""What native code and Python share during a run: one block of words, by index."""

from __future__ import annotations

#: nonzero: a helper raised; native code returns as soon as it sees this
FAILED = 0
CPU = 1
#: which of the following are valid (bits below); else the helper is Python's
KNOWN = 2
PID_TGID = 3
UID_GID = 4
RANDOM = 5
#: rounds of may_goto
BUDGET = 6
#: how often the checked mode had to refuse an access
REFUSED = 7
#: an address in the outermost frame
TOP = 8
WORDS = 16

KNOWN_CLOCK, KNOWN_TASK, KNOWN_RANDOM = 1, 2, 4
