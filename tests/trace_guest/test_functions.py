"""Functions of the language that only a kernel can answer, in a guest."""

from __future__ import annotations

import os
import sys

import pytest

import ebpf

TALK = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).sendall(b"x")
"""


@pytest.mark.guest(timeout_s=240)
def test_variables_of_each_cpu_and_cookies_of_sockets() -> None:
    out: list[str] = []
    ebpf.trace("""
        BEGIN { @cpu = (uint64)((struct rq *)percpu_kaddr("runqueues", 0))->cpu; @none = percpu_kaddr("runqueues", 4000);
                @own = percpu_kaddr("runqueues") > 0; }
        fentry:tcp_sendmsg /pid == cpid/ { @cookies[socket_cookie(args.sk) > 0] = count(); }
        """, command=[os.path.realpath(sys.executable), "-c", TALK], backend="kernel").run(out.append)
    said = "".join(out)
    assert "@cpu: 0\n" in said and "@none: 0\n" in said and "@own: 1\n" in said and "@cookies[1]: 1\n" in said
