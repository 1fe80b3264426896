"""Debian's 38 bpftrace tools, unchanged, beside Debian's bpftrace on the same work: the same lines but for numbers.

The tools are read from the package where it is installed. What a tool says of the work is found by marks; tools whose
output is a histogram or a table of counts are compared by their keys.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import pytest

from ebpf.errors import NotSupported
from tests.trace_guest.side_by_side import Said, marked, normal, require_bpftrace, watch

_TOOLS = "/usr/sbin"
_SAMPLE = ("opensnoop", "vfscount")


class Tool(NamedTuple):
    """``marks``: what its lines about the work contain; ``keys``: the map whose keys are compared; ``header``: how its first
    line begins; ``needs``: kernel functions without any of which it cannot be attached."""

    marks: tuple[str, ...] = ()
    keys: str = ""
    header: str = ""
    needs: str = ""


TOOLS: dict[str, Tool] = {
    "bashreadline": Tool(("echo wl-typed",), header="Tracing bash commands"),
    "biolatency": Tool(header="Tracing block device I/O", needs="blk_account_io_start __blk_account_io_start"),
    "biosnoop": Tool(header="TIME(ms)", needs="blk_account_io_start __blk_account_io_start"),
    "biostacks": Tool(header="Tracing block I/O", needs="blk_account_io_start __blk_account_io_start"),
    "bitesize": Tool(header="Tracing block device I/O"),
    "capable": Tool(header="Tracing cap_capable"),
    "cpuwalk": Tool(header="Sampling CPU at 99hz"),
    "dcsnoop": Tool(("wl-missing",), header="Tracing dcache lookups"),
    "execsnoop": Tool(("wl-argument", "/bin/cat"), header="TIME(ms)"),
    "gethostlatency": Tool(("localhost",), header="Tracing getaddr/gethost calls"),
    "killsnoop": Tool((" 10 ",), header="Tracing kill() signals"),
    "loads": Tool(header="Reading load averages"),
    "mdflush": Tool(needs="md_flush_request"),
    "naptime": Tool(header="Tracing sleeps"),
    "oomkill": Tool(header="Tracing oom_kill_process()"),
    "opensnoop": Tool(("wl-file",), header="Tracing open syscalls"),
    "pidpersec": Tool(header="Tracing new processes"),
    "runqlat": Tool(header="Tracing CPU scheduler"),
    "runqlen": Tool(header="Sampling run queue length"),
    "setuids": Tool(("setuid",), header="Tracing setuid"),
    "ssllatency": Tool(header="Tracing SSL/TLS handshake"),
    "sslsnoop": Tool(header="Tracing SSL/TLS handshake"),
    "statsnoop": Tool(("wl-missing", "wl-file"), header="Tracing stat syscalls"),
    "swapin": Tool(header="", needs="swap_readpage"),
    "syncsnoop": Tool(("tracepoint:",), header="Tracing sync syscalls"),
    "syscount": Tool(header="Counting syscalls"),
    "tcpaccept": Tool(("127.0.0.1",), header="Tracing TCP accepts"),
    "tcpconnect": Tool(("127.0.0.1",), header="Tracing tcp connections"),
    "tcpdrop": Tool(header="Tracing tcp drops"),
    "tcplife": Tool(("127.0.0.1",), header="PID"),
    "tcpretrans": Tool(header="Tracing tcp retransmits"),
    "tcpsynbl": Tool(header="Tracing SYN backlog"),
    "threadsnoop": Tool(header="TIME(ms)"),
    "undump": Tool(("wl-unix",), header="Dump UNIX socket"),
    "vfscount": Tool(keys="@", header="Tracing VFS calls"),
    "vfsstat": Tool(header="Tracing key VFS calls"),
    "writeback": Tool(header="Tracing writeback"),
    "xfsdist": Tool(needs="xfs_file_read_iter"),
}


def _installed() -> set[str]:
    try:
        return {name.removesuffix(".bt") for name in os.listdir(_TOOLS) if name.endswith(".bt")}
    except OSError:
        return set()


@pytest.mark.guest(kernels=("6.1",), timeout_s=240)
@pytest.mark.parametrize("name", _SAMPLE)
def test_a_tool_says_what_it_says_under_bpftrace(name: str) -> None:
    compare(name)


# Minutes under emulation: only --all-guests runs them (conftest.py).
@pytest.mark.guest(kernels=("6.1",), timeout_s=240)
@pytest.mark.parametrize("name", sorted(set(TOOLS) - set(_SAMPLE)))
def test_every_tool_says_what_it_says_under_bpftrace(name: str) -> None:
    compare(name)


def compare(name: str) -> None:
    """Watch the work with both, and compare."""
    require_bpftrace()
    path = f"{_TOOLS}/{name}.bt"
    if not os.path.exists(path):
        raise NotSupported(f"{name}.bt", who="this system", instead="install Debian's bpftrace")
    tool = TOOLS[name]
    theirs, ours = watch(path)
    if tool.needs and not _has_function(tool.needs):
        # bpftrace goes on without the functions that are missing; we say what is there in their place.
        assert ours.status != 0 and tool.needs.split()[0] in ours.err, ours.err
        return
    assert theirs.status == 0, f"bpftrace failed: {theirs.err}"
    assert ours.status == 0, f"{ours.err}\n(bpftrace did it)"
    differences = different(tool, theirs, ours)
    assert not differences, f"{differences}\n--- bpftrace\n{theirs.out[-3000:]}\n--- ours\n{ours.out[-3000:]}{ours.err}"


def different(tool: Tool, theirs: Said, ours: Said) -> str:
    """What is not as it should be; "" if nothing."""
    if theirs.lines[:1] != ours.lines[:1]:
        return f"first lines: {theirs.lines[:1]} and {ours.lines[:1]}"
    if tool.header:
        headers = [next((line for line in said.lines if line.startswith(tool.header)), None) for said in (theirs, ours)]
        if headers[0] != headers[1] or headers[0] is None:
            return f"headers: {headers}"
    if tool.marks:
        mine, other = marked(ours, tool.marks), marked(theirs, tool.marks)
        if not other:
            return "bpftrace says nothing of the work"
        if mine != other:
            return f"only ours: {sorted(mine - other)}, only bpftrace's: {sorted(other - mine)}"
    if shapes(theirs) - shapes(ours):
        return f"kinds of lines that only bpftrace writes: {sorted(shapes(theirs) - shapes(ours))}"
    return ""


def shapes(said: Said) -> set[str]:
    """What maps there are: their names, and whether they have keys."""
    return {re.sub(r"\[.*\]", "[]", match[1]) for line in said.lines if (match := re.match(r"(@\w*(?:\[[^]]*\])?): ", line))}


def _has_function(names: str) -> bool:
    wanted = set(names.split())
    with open("/proc/kallsyms") as file:
        return any(line.split()[2] in wanted for line in file)


def test_every_tool_of_the_package_has_a_row() -> None:
    installed = _installed()
    if not installed:
        pytest.skip("Debian's bpftrace is not installed")
    assert installed <= set(TOOLS)


def test_numbers_do_not_count() -> None:
    assert normal("12:04:55  1234   bash   0x12") == "#:#:# # bash #"
