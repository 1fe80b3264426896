"""What the tracer child and the user's process say to each other: frames one way, records the other.

To the child: a frame is its length (32 bits) and a marshalled tuple ``(verb, …)``; a frame of length 0 lets the task
go on that is waited for. From the child: records, a fixed head and what belongs to the kind (registers, a file name).
"""

from __future__ import annotations

import marshal
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Kinds of records.
(ENTER, EXIT, FORK, EXEC, TASK_EXIT, UPROBE, URETPROBE, INTERVAL, SAMPLE, STARTED, ENDED, FAILED, MEMORY,
 DENIED) = range(1, 15)
WITH_REGISTERS = frozenset((ENTER, EXIT, UPROBE, URETPROBE, SAMPLE))

# What is wanted with an event: bits.
REPORT, WAIT, COMM, IDS, CGROUP = 1, 2, 4, 8, 16

#: size of all, kind, waits for an answer, tid, tgid, uid, gid, time (ns), two numbers of the kind, cgroup id, comm
HEAD = Struct("=IHHIIIIQQQQ16s")
LENGTH = Struct("=I")
GO = LENGTH.pack(0)
NO_ID = 0xFFFFFFFF  # uid and gid, where nobody asked for them


def frame(*message: Any) -> bytes:
    """A message as bytes."""
    body = marshal.dumps(message)
    return LENGTH.pack(len(body)) + body


def read_exactly(fd: int, size: int) -> bytes:
    """``size`` bytes. Raises `EOFError` where the other side is gone."""
    data = os.read(fd, size)
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """All of ``data``."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])
