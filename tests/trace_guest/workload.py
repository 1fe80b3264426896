"""What the tools watch: a little of everything that processes do, always the same. Run as a script: ``workload.py``.

Everything that it makes has ``wl-`` in its name, by which its lines are found.
"""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def main() -> None:
    folder = tempfile.mkdtemp(prefix="wl-")
    for number in range(3):  # files: opened, written, read, asked about, missing
        path = f"{folder}/wl-file-{number}"
        with open(path, "w") as file:
            file.write("x" * 4096)
            os.fsync(file.fileno())
        with open(path) as file:
            file.read()
        os.stat(path)
        os.statvfs(path)
    try:
        os.stat(f"{folder}/wl-missing")
    except FileNotFoundError:
        pass
    subprocess.run(["/bin/sh", "-c", "exec /bin/echo wl-argument one two"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["/bin/cat", f"{folder}/wl-file-0"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["/bin/sleep", "0.02"], check=True)
    child = subprocess.Popen(["/bin/sleep", "100"])
    os.kill(child.pid, signal.SIGUSR1)
    child.wait()
    os.sync()
    _connections()
    _users()
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()
    socket.getaddrinfo("localhost", 80)
    _shell()


def _connections() -> None:
    with socket.create_server(("127.0.0.1", 5555)) as server:
        with socket.create_connection(("127.0.0.1", 5555)) as client:
            there, _ = server.accept()
            client.sendall(b"wl-hello")
            there.recv(100)
            there.sendall(b"wl-answer" * 10)
            client.recv(1000)
            there.close()
    path = tempfile.mktemp(prefix="wl-socket-")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            there, _ = server.accept()
            client.sendall(b"wl-unix")
            there.recv(100)
            there.close()


def _users() -> None:
    if os.fork() == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0)
    os.wait()


def _shell() -> None:
    """A shell that reads lines as from a terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile"])
    os.write(fd, b"echo wl-typed\nexit\n")
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)


if __name__ == "__main__":
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
    main()
