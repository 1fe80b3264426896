"""What the tools watch: a little of everything that a system does, always the same. Run as a script: ``workload.py [AREA…]``.

It prepares itself (devices, certificates), says ``ready``, waits for a byte, works, says ``done``, and waits for the end of
its input. Each area runs in a
process of its own whose name begins with ``wl-``, by which its lines are found; what an area cannot have here (a module,
a program that is not installed) it says on standard error, and goes on. Disks are loop devices over files in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

FOLDER, GROUPS = "/run/wl", "/sys/fs/cgroup"
DISK, FILES, XFS, SWAP, MIRRORS = "/dev/loop0", "/dev/loop1", "/dev/loop2", "/dev/loop3", ("/dev/loop4", "/dev/loop5")
SIZES_MB = {DISK: 8, FILES: 16, XFS: 320, SWAP: 32, MIRRORS[0]: 8, MIRRORS[1]: 8}
_QUIET: dict[str, int] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(*argv: str) -> None:
    """A command that must succeed."""
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise OSError(f"{argv[0]}: {done.stderr.decode().strip()}")


def load_module(name: str) -> None:
    """By the program that the kernel itself would start: a guest's modules are not where the system's modprobe looks."""
    with open("/proc/sys/kernel/modprobe") as file:
        run(file.read().strip(), name)


# ---------------------------------------------------------------------------------------------------------- preparing


def prepare_disks() -> None:
    """Loop devices: two bare ones and two of a mirror, ext4, XFS, swap."""
    os.makedirs(FOLDER, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1G", "none", FOLDER)
    load_module("loop")
    for device, size in SIZES_MB.items():
        path = f"{FOLDER}/{os.path.basename(device)}"
        with open(path, "wb") as file:
            file.truncate(size << 20)
        if not os.path.exists(device):
            os.mknod(device, 0o060600, os.makedev(7, int(device[-1])))
        run("losetup", device, path)


def prepare_writeback() -> None:
    run("mkfs.ext4", "-q", FILES)
    os.makedirs(f"{FOLDER}/ext4", exist_ok=True)
    run("mount", "-t", "ext4", FILES, f"{FOLDER}/ext4")


def prepare_xfs() -> None:
    run("mkfs.xfs", "-q", "-f", XFS)
    os.makedirs(f"{FOLDER}/xfs", exist_ok=True)
    run("mount", "-t", "xfs", XFS, f"{FOLDER}/xfs")


def prepare_mirror() -> None:
    """A RAID 1 without metadata, by the three ioctls of linux/raid/md_u.h: no mdadm needed."""
    import fcntl
    import struct

    load_module("raid1")
    if not os.path.exists("/dev/md0"):
        os.mknod("/dev/md0", 0o060600, os.makedev(9, 0))
    set_array, add_disk, run_array = 0x40480923, 0x40140921, 0x400C0930
    fd = os.open("/dev/md0", os.O_RDWR)
    size_kb = (SIZES_MB[MIRRORS[0]] << 10) - 64
    # major 0, minor 90, patch, ctime, level, size, nr_disks, raid_disks, md_minor, not_persistent, then utime, state, …
    fcntl.ioctl(fd, set_array, struct.pack("18i", 0, 90, 0, 0, 1, size_kb, 2, 2, 0, 1, *[0, 1, 2, 2, 0, 0, 0, 0]))
    for number, path in enumerate(MIRRORS):
        device = os.stat(path).st_rdev
        state = 1 << 1 | 1 << 2  # active, in sync
        fcntl.ioctl(fd, add_disk, struct.pack("5i", number, os.major(device), os.minor(device), number, state))
    fcntl.ioctl(fd, run_array, struct.pack("3i", 0, 0, 0))
    os.close(fd)


def prepare_swap() -> None:
    run("mkswap", SWAP)
    run("swapon", SWAP)
    prepare_group("wl-swap")


def prepare_neighbour() -> None:
    """A network whose other end never answers: packets to it are dropped once ARP has given up."""
    run("ip", "link", "add", "wl0", "type", "veth", "peer", "name", "wl1")
    run("ip", "address", "add", "10.98.0.1/24", "dev", "wl0")
    run("ip", "link", "set", "wl1", "up")
    run("ip", "link", "set", "wl0", "up")
    for name, value in (("retrans_time_ms", "100"), ("mcast_solicit", "2")):
        with open(f"/proc/sys/net/ipv4/neigh/wl0/{name}", "w") as file:
            file.write(value)


def prepare_tls() -> None:
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-keyout", f"{FOLDER}/key", "-out", f"{FOLDER}/certificate")


def prepare_memory() -> None:
    prepare_group("wl-small")
    for name, value in (("memory.max", "16M"), ("memory.swap.max", "0")):
        set_group("wl-small", name, value)


def prepare_group(name: str) -> None:
    """A control group for memory."""
    set_group(".", "cgroup.subtree_control", "+memory")
    os.makedirs(f"{GROUPS}/{name}", exist_ok=True)


def set_group(name: str, file: str, value: str) -> None:
    with open(f"{GROUPS}/{name}/{file}", "w") as opened:
        opened.write(value)


# -------------------------------------------------------------------------------------------------------------- work


def files() -> None:
    folder = f"{FOLDER}/wl-folder"
    for number in range(7):
        os.mkdir(f"{folder}-{number}")
    for number in range(3):  # opened, written, read, asked about, missing
        path = f"{folder}-0/wl-file-{number}"
        with open(path, "w") as file:
            file.write("x" * 4096)
            os.fsync(file.fileno())
        with open(path) as file:
            file.read()
        os.stat(path)
        os.statvfs(path)
        os.symlink(path, f"{path}-symbolic")
        os.link(path, f"{path}-hard")
        os.rename(f"{path}-hard", f"{path}-renamed")
    with contextlib.suppress(FileNotFoundError):
        os.stat(f"{folder}-0/wl-missing")
    with contextlib.suppress(FileNotFoundError), open(f"{folder}-0/wl-file-missing") as file:
        file.read()
    for number in range(3):
        for suffix in ("", "-symbolic", "-renamed"):
            os.unlink(f"{folder}-0/wl-file-{number}{suffix}")
    for number in range(7):
        os.rmdir(f"{folder}-{number}")


def commands() -> None:
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", "exec /bin/echo wl-argument one two"], check=True, **_QUIET)
    subprocess.run(["/bin/cat", "/dev/null", "wl-cat-missing"], check=False, **_QUIET)


def sleeps() -> None:
    for seconds in (0.02, 0.03):
        request = (ctypes.c_long * 2)(0, int(seconds * 1e9))
        ctypes.CDLL(None).syscall({"x86_64": 35, "aarch64": 101}[os.uname().machine], request, None)


def kills() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(child, 0)
    os.kill(child, signal.SIGUSR1)
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


def busy() -> None:
    for _ in range(3000):
        os.getpriority(os.PRIO_PROCESS, 0)


def forks() -> None:
    for _ in range(25):
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)


def processors() -> None:
    """Both of them, for a while."""
    for cpu in sorted(os.sched_getaffinity(0)):
        if os.fork() == 0:
            os.sched_setaffinity(0, {cpu})
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                pass
            os._exit(0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def connections() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, 5555))
            server.listen(7)
            for _ in range(2):
                with socket.socket(family) as client:
                    client.connect((address, 5555))
                    there, _ = server.accept()
                    client.sendall(b"wl-hello" * 1000)
                    there.recv(20000)
                    there.sendall(b"wl-answer" * 10)
                    client.recv(1000)
                    there.close()
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 5556))


def retransmissions() -> None:
    """A server that is full answers no SYN: it is sent again after a second."""
    with socket.create_server(("127.0.0.1", 5557), backlog=0) as server:
        first = socket.create_connection(server.getsockname())
        second = socket.socket()
        second.settimeout(1.8)
        with contextlib.suppress(TimeoutError):
            second.connect(server.getsockname())
        second.close()
        first.close()


def drops() -> None:
    client = socket.socket()
    with contextlib.suppress(OSError):
        client.connect(("10.98.0.2", 80))
    client.close()


def unix() -> None:
    path = f"{FOLDER}/wl-socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            there, _ = server.accept()
            client.sendall(b"wl-unix \x01\xff")
            there.recv(100)
            there.close()
    os.unlink(path)


def users() -> None:
    _LIBC.setfsuid(12)
    os.setgid(65534)
    os.setresuid(0, 12, 0)
    os.setresuid(-1, 0, -1)
    os.setuid(65534)
    with contextlib.suppress(PermissionError):
        os.setuid(0)


def names() -> None:
    socket.getaddrinfo("localhost", 80)
    with contextlib.suppress(OSError):
        socket.getaddrinfo("wl-nowhere.invalid", 80)


def threads() -> None:
    for _ in range(2):
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()


def shell() -> None:
    """A shell that reads lines as from a terminal."""
    import pty

    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile"])
    os.write(fd, b"echo wl-typed one\necho wl-typed two\nexit\n")
    with contextlib.suppress(OSError):
        while os.read(fd, 4096):
            pass
    os.waitpid(pid, 0)


def tls() -> None:
    """Client and server of a connection, hand in hand."""
    import ssl

    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(f"{FOLDER}/certificate", f"{FOLDER}/key")
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname, client_side.verify_mode = False, ssl.CERT_NONE
    server = server_side.wrap_bio(there, here, server_side=True)
    client = client_side.wrap_bio(here, there)
    for _ in range(4):
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    for _ in range(3):
        client.write(b"wl-secret")
        server.read(100)


def blocks() -> None:
    import mmap

    memory = mmap.mmap(-1, 16384)
    fd = os.open(DISK, os.O_RDWR | os.O_DIRECT)
    for number in range(5):
        os.preadv(fd, [memoryview(memory)[:4096]], number * 65536)
        os.pwritev(fd, [memoryview(memory)], number * 65536)
    os.close(fd)


def written_back() -> None:
    with open(f"{FOLDER}/ext4/wl-file", "wb") as file:
        file.write(b"x" * 200_000)
    os.sync()


def xfs() -> None:
    for number in range(3):
        with open(f"{FOLDER}/xfs/wl-file-{number}", "wb", buffering=0) as file:
            file.write(b"x" * 8192)
            os.fsync(file.fileno())
        with open(f"{FOLDER}/xfs/wl-file-{number}", "rb", buffering=0) as file:
            file.read(8192)


def mirror() -> None:
    fd = os.open("/dev/md0", os.O_RDWR)
    for number in range(2):
        os.pwrite(fd, b"x" * 4096, number * 4096)
        os.fsync(fd)
    os.close(fd)


def swapping() -> None:
    import mmap

    set_group("wl-swap", "cgroup.procs", str(os.getpid()))
    memory = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 1 << 20, 4096):
        memory[at:at + 4] = b"wl-x"
    memory.madvise(21)  # MADV_PAGEOUT (5.4): they are written
    time.sleep(0.3)
    set_group("wl-swap", "memory.high", "0")  # and what has been written goes
    set_group("wl-swap", "memory.high", "max")
    for at in range(0, 1 << 20, 4096):
        assert memory[at:at + 4] == b"wl-x"


def too_much() -> None:
    """More memory than its control group has."""
    child = os.fork()
    if child == 0:
        set_group("wl-small", "cgroup.procs", str(os.getpid()))
        held = bytearray(64 << 20)
        os._exit(len(held) & 1)
    os.waitpid(child, 0)


AREAS: dict[str, tuple[Callable[[], None] | None, Callable[[], None]]] = {
    "files": (None, files), "commands": (None, commands), "sleeps": (None, sleeps), "kills": (None, kills),
    "busy": (None, busy), "forks": (None, forks), "processors": (None, processors), "connections": (None, connections),
    "retransmit": (None, retransmissions), "drops": (prepare_neighbour, drops), "unix": (None, unix),
    "users": (None, users), "names": (None, names), "threads": (None, threads), "shell": (None, shell),
    "tls": (prepare_tls, tls), "blocks": (None, blocks), "writeback": (prepare_writeback, written_back),
    "xfs": (prepare_xfs, xfs), "mirror": (prepare_mirror, mirror), "swap": (prepare_swap, swapping),
    "memory": (prepare_memory, too_much),
}
HELD = {"tls"}  # areas whose process stays until all is over: names of its addresses are found in it
DISKS = {"blocks", "writeback", "xfs", "mirror", "swap"}  # areas that need loop devices


def prepared(areas: list[str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The areas that can be had here."""
    no_disks = ""
    try:
        if DISKS & set(areas):
            prepare_disks()
        else:
            os.makedirs(FOLDER, exist_ok=True)
    except OSError as error:
        no_disks = str(error)
    for name in areas:
        prepare, work = AREAS[name]
        try:
            if no_disks and name in DISKS:
                raise OSError(f"no disks: {no_disks}")
            if prepare is not None:
                prepare()
        except OSError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        yield name, work


def in_process(name: str, work: Callable[[], None]) -> None:
    """Run an area in a process of its own, named after it."""
    done, doing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _LIBC.prctl(15, f"wl-{name}".encode())  # PR_SET_NAME
            work()
            status = 0
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os.close(doing)
            if name in HELD:
                sys.stdin.read()
            os._exit(status)
    os.close(doing)
    os.read(done, 1)
    os.close(done)
    if name not in HELD:
        os.waitpid(pid, 0)


def main() -> None:
    import mmap
    import pty  # imported now: what the areas import would be files that they open
    import ssl

    del mmap, pty, ssl
    work = list(prepared(sys.argv[1:] or list(AREAS)))
    print("ready", flush=True)
    os.read(0, 1)
    for name, area in work:
        in_process(name, area)
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
