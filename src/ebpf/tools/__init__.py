"""Tools that show what a system does, written on this package's own API: ``ebpf tools opensnoop``, or from Python::

    from ebpf.tools import opensnoop

    for event in opensnoop.events(pid=42):
        print(event.comm, event.path, event.error)

A tool is a module of its name, with a C program beside it, and offers `events` (what happens, as it happens) or
`reports` (what an interval added up to), both of named tuples. `TOOLS` says what there is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: Name → what it shows, in one line.
TOOLS: Final[dict[str, str]] = {
    "biolatency": "how long disks take, as a histogram",
    "biosnoop": "each request to a disk: whose it is, and how long it takes",
    "cachestat": "how often pages of files are found in the page cache",
    "capable": "capabilities that the kernel asks processes for",
    "cpudist": "how long tasks stay on a CPU (or off it), as a histogram",
    "execsnoop": "programs that are run, with their arguments",
    "exitsnoop": "processes that end: how old they were, and why",
    "filetop": "files that are read and written most",
    "funclatency": "how long a function takes, in the kernel or a program, as a histogram",
    "gethostlatency": "host names that are looked up, and how long that takes",
    "killsnoop": "signals that processes send",
    "memleak": "memory that was taken and not given back, by stack",
    "mountsnoop": "file systems that are mounted and unmounted",
    "offcputime": "where tasks wait: time off the CPU by stack, as text or a flame graph",
    "opensnoop": "files that are opened, or could not be",
    "profile": "what CPUs do: sampled stacks, as text or a flame graph",
    "runqlat": "how long tasks wait for a CPU, as a histogram",
    "sslsniff": "what programs send and receive through OpenSSL, in plain text",
    "syscount": "system calls, counted by call or process",
    "tcpaccept": "TCP connections that are accepted",
    "tcpconnect": "TCP connections that are begun",
    "tcplife": "TCP connections that end: how long they lived, what went through",
    "tcpretrans": "TCP packets that are sent once more",
}
