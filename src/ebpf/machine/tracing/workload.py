"""The demonstration: what the machine traces when nobody names a command. Run as a script of its own.

For three seconds, several times a second, it does a little of what programs like to watch: new processes and threads,
commands, files opened, read and written, directories listed, a connection to itself. It works in a directory of its
own, which it removes, needs no privilege, and leaves nothing behind.
"""

from __future__ import annotations

import os
import sys

SECONDS = 3.2
PAUSE_S = 0.15
COMMANDS = (("true",), ("ls", "."), ("cat", "greeting"), ("date",), ("uname", "-s"), ("wc", "-l", "greeting"))


def main() -> None:
    """Until the time is over, or a signal."""
    import shutil
    import signal
    import tempfile
    import time

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    place = tempfile.mkdtemp(prefix="ebpf-demonstration-")
    os.chdir(place)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # the terminal is the script's
        os.dup2(null, fd)
    end = time.monotonic() + SECONDS
    try:
        round = 0
        while time.monotonic() < end:
            files(round)
            command(COMMANDS[round % len(COMMANDS)])
            connection()
            thread()
            round += 1
            time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        pass
    finally:
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)


def files(round: int) -> None:
    """Write a file, read it, rename it, list directories."""
    with open("note", "w") as note:
        note.write(f"round {round}\n")
    os.replace("note", "greeting")
    with open("greeting") as greeting:
        greeting.read()
    os.listdir(".")
    os.listdir("/")
    with open("/etc/passwd" if round % 2 else "/proc/self/status") as other:
        other.read(4096)
    try:
        os.stat("not-there")
    except FileNotFoundError:
        pass


def command(argv: tuple[str, ...]) -> None:
    """A process of its own (clone) that becomes a command (execve), or ends if there is none of that name."""
    pid = os.fork()
    if not pid:
        try:
            os.execvp(argv[0], argv)
        except OSError:
            os._exit(127)
    os.waitpid(pid, 0)


def connection() -> None:
    """A question and an answer over the loopback device."""
    import socket

    try:
        with socket.create_server(("127.0.0.1", 0)) as server, \
                socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
            client.sendall(b"hello?")
            accepted.recv(64)
            accepted.sendall(b"hello!")
            client.recv(64)
    except OSError:  # no loopback device here
        pass


def thread() -> None:
    """A thread that says nothing."""
    import threading

    other = threading.Thread(target=os.getpid)
    other.start()
    other.join()


if __name__ == "__main__":
    main()
