"""The work that the tools watch: pieces by name, always the same, run as a process called ``wl-work``.

What a piece needs beforehand (a file system, a terminal) `prepare` makes, `clean` takes away. Whatever it makes has ``wl-`` in
its name, by which the tools' lines about it are found.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

BASE = "/tmp/wl"
_state: dict[str, Any] = {}
_FILE_SYSTEMS = {"ext4": ("64M", "mkfs.ext4 -q -F"), "xfs": ("320M", "mkfs.xfs -q -f"), "btrfs": ("128M", "mkfs.btrfs -q -f")}


# ---- before and after ----


def prepare(names: str) -> dict[str, str]:
    """Make what the pieces need; words for the tools' arguments."""
    words = {"me": str(os.getpid()), "base": BASE}
    for name in names.split():
        kind = name.partition(":")[2]
        if name.startswith("disk") and kind:
            _mount(kind)
            words["device"] = _state["device"]
        if name == "tty":
            import pty

            master, slave = pty.openpty()
            _state["tty"] = (master, slave)
            words["tty"] = os.ttyname(slave)
        if name in _PROCESSES:
            interpreter = "/usr/bin/python3" if name == "python" else sys.executable  # Debian's has static probes
            _state[name] = subprocess.Popen([interpreter, "-c", _PROCESSES[name]], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE)
            assert _state[name].stdout.readline()
            words[name] = str(_state[name].pid)
    return words


def _mount(kind: str) -> None:
    if os.path.ismount(f"/mnt/wl-{kind}"):
        return
    size, make = _FILE_SYSTEMS[kind]
    script = (f"set -e; mkdir -p /mnt/wl-{kind} /run/wl; truncate -s {size} /run/wl/{kind}; l=$(losetup -f --show /run/wl/{kind}); "
              f"{make} $l >/dev/null; mount $l /mnt/wl-{kind}; echo $l")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    _state["device"] = done.stdout.strip().rpartition("/")[2]


def run(names: str) -> int:
    """Do the work; its exit status."""
    if "tty" in _state:
        os.writev(_state["tty"][1], [b"wl-typed on a terminal\n".ljust(300), b"and more\n"])  # of one buffer 6.0 makes no vector
    for process in [_state[name] for name in ("waiter", "locker", "python") if name in _state]:
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
    return subprocess.run([sys.executable, "-S", __file__, *names.split()], check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL).returncode


def clean(names: str) -> None:
    """Take away what `prepare` made (file systems stay: the next case may want them)."""
    if "tty" in _state:
        for fd in _state.pop("tty"):
            os.close(fd)
    for name in _PROCESSES:
        if name in _state:
            process = _state.pop(name)
            process.stdin.close()
            process.wait()


# Processes beside the work: one that does something when it is told to, for tools that watch one process; one that takes
# two locks in one order and then in the other; one whose interpreter tells of functions and collections; one that holds BPF
# programs and maps.
_PROCESSES = {"waiter": r"""
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
open('/proc/self/comm', 'w').write('wl-waiter')
print(flush=True)
while sys.stdin.readline():
    for i in range(5):
        os.getpgid(0); os.getpgid(1)
        open('/tmp/wl/wl-waiter-file', 'w').close()
    for i in range(7):
        libc.malloc(12345 + i)
    thread = threading.Thread(target=os.getppid); thread.start(); thread.join()
    print(flush=True)
""", "locker": r"""
import ctypes, sys, threading
libc = ctypes.CDLL(None)
locks = [ctypes.create_string_buffer(64) for _ in range(2)]
open('/proc/self/comm', 'w').write('wl-locker')
def take(first, second):
    libc.pthread_mutex_lock(first); libc.pthread_mutex_lock(second)
    libc.pthread_mutex_unlock(second); libc.pthread_mutex_unlock(first)
print(flush=True)
while sys.stdin.readline():
    for order in (locks, locks[::-1]):
        thread = threading.Thread(target=take, args=order); thread.start(); thread.join()
    print(flush=True)
""", "python": r"""
import gc, sys
def wl_inner():
    return 1
def wl_outer():
    return wl_inner() + wl_inner()
gc.disable()
print(flush=True)
while sys.stdin.readline():
    for _ in range(3):
        wl_outer()
    gc.collect()
    print(flush=True)
""", "holder": r"""
import ebpf, sys
open('/proc/self/comm', 'w').write('wl-holder')
held = ebpf.load(ebpf.compile('''
int count SEC(".data");
SEC("socket") int one(struct __sk_buff *skb) { count++; return 0; }
SEC("socket") int two(struct __sk_buff *skb) { count++; return 0; }
char LICENSE[] SEC("license") = "GPL";
'''))
print(flush=True)
sys.stdin.read()
"""}


# ---- the pieces ----


def files(folder: str = BASE) -> None:
    """Files written, read, asked about, renamed, removed, and missing."""
    folder = f"/mnt/wl-{folder}" if folder in _FILE_SYSTEMS else folder
    os.makedirs(folder, exist_ok=True)
    for number in range(3):
        path = f"{folder}/wl-file-{number}"
        with open(path, "w") as file:
            file.write("x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        with open(path) as file:
            file.read()
        os.stat(path)
        os.statvfs(path)
    for missing in (os.stat, os.open):
        try:
            missing(f"{folder}/wl-missing", 0) if missing is os.open else missing(f"{folder}/wl-missing")  # type: ignore[operator]
        except FileNotFoundError:
            pass
    os.rename(f"{folder}/wl-file-0", f"{folder}/wl-renamed")
    os.unlink(f"{folder}/wl-renamed")
    os.unlink(f"{folder}/wl-file-1")


def disk(kind: str = "ext4") -> None:
    """A megabyte written to a disk and read back from it."""
    path = f"/mnt/wl-{kind}/wl-data"
    with open(path, "wb") as out:
        out.write(os.urandom(4096) * 256)
        out.flush()
        os.fsync(out.fileno())
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    with open(path, "rb", buffering=0) as data:
        while data.read(65536):
            pass
    os.stat(path)
    for _ in range(2):
        with open(path, "rb") as data:
            data.read(8192)


def remote() -> None:
    """Many small requests to the host, whose files a guest sees."""
    for folder, _, names in os.walk("/usr/share/zoneinfo"):
        for name in names:
            os.stat(f"{folder}/{name}")


def execs() -> None:
    """Programs run, one that is not there, and one that fails."""
    subprocess.run(["/bin/echo", "wl-argument", "one", "two"], stdout=subprocess.DEVNULL, check=False)
    subprocess.run(["/bin/sh", "-c", "exit 3 # wl-fails"], check=False)
    try:
        subprocess.run(["/tmp/wl/wl-not-there"], check=False)
    except OSError:
        pass
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    os.waitpid(child, 0)


def signals() -> None:
    """Processes told to end."""
    for number in (signal.SIGUSR1, signal.SIGTERM, 0):
        child = subprocess.Popen(["/bin/sleep", "100"])
        os.kill(child.pid, number)
        if not number:
            child.kill()
        child.wait()


def syncs() -> None:
    """Everything written out."""
    with open(f"{BASE}/wl-sync", "wb") as file:
        file.write(b"x")
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    os.sync()


def mounts() -> None:
    """A file system mounted and unmounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(f"{BASE}/wl-mount", exist_ok=True)
    libc.mount(b"wl-none", f"{BASE}/wl-mount".encode(), b"tmpfs", 0, b"size=1m")
    libc.umount2(f"{BASE}/wl-mount".encode(), 0)
    libc.mount(b"wl-none", b"/tmp/wl/not-there", b"tmpfs", 0, None)


def shm() -> None:
    """System V shared memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmdt.argtypes = (ctypes.c_void_p,)
    made = libc.shmget(0x1234, 8192, 0o1600)
    libc.shmdt(libc.shmat(made, None, 0))
    libc.shmctl(made, 0, None)


def scm() -> None:
    """An open file handed over."""
    here, there = socket.socketpair(socket.AF_UNIX)
    with open("/etc/hostname") as file:
        socket.send_fds(here, [b"x"], [file.fileno()])
    _, fds, _, _ = socket.recv_fds(there, 10, 4)
    os.close(fds[0])


def threads() -> None:
    """Threads made."""
    for _ in range(3):
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()


def tcp(address: str = "127.0.0.1") -> None:
    """Two connections, answers, ends; a port that nobody listens on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    address = "::1" if ":" in address else address
    for port in (5551, 5552):
        with socket.socket(family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            server.listen(7)
            with socket.socket(family) as client:
                client.connect((address, port))
                there, _ = server.accept()
                client.sendall(b"wl-hello" * 512)
                left = 4096
                while left:
                    left -= len(there.recv(left))
                there.sendall(b"wl-answer" * 10)
                client.recv(1000)
                there.close()
                client.recv(1)
    try:
        socket.create_connection((address, 5559), timeout=5).close()
    except OSError:
        pass


def tcp6() -> None:
    """The same over IPv6."""
    tcp("::1")


def lossy() -> None:
    """A connection through a network that loses everything for a while."""
    with socket.create_server(("127.0.0.1", 5553)) as server, socket.create_connection(("127.0.0.1", 5553)) as client:
        there, _ = server.accept()
        subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "100%"], check=True)
        client.sendall(b"wl-lost")
        time.sleep(1.2)
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)
        there.recv(100)
        there.close()


def udp() -> None:
    """Datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        there.bind(("127.0.0.1", 5554))
        for _ in range(5):
            here.sendto(b"wl-datagram" * 20, ("127.0.0.1", 5554))
            there.recv(1000)


def dns() -> None:
    """Names looked up."""
    socket.getaddrinfo("localhost", 80)
    try:
        socket.gethostbyname("wl-host.invalid")
    except OSError:
        pass


def _certificate() -> None:
    subprocess.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /tmp/wl/key -out /tmp/wl/cert "
                   "-subj /CN=localhost -days 2 2>/dev/null", shell=True, check=True)


def tls() -> None:
    """An encrypted conversation (Python's calls: SSL_write_ex, SSL_read_ex)."""
    import ssl

    _certificate()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain("/tmp/wl/cert", "/tmp/wl/key")
    client = ssl.create_default_context(cafile="/tmp/wl/cert")
    here, there = socket.socketpair()

    def answer() -> None:
        with server.wrap_socket(there, server_side=True) as secured:
            secured.recv(100)
            secured.sendall(b"wl-secret answer")
            secured.recv(100)

    thread = threading.Thread(target=answer)
    thread.start()
    with client.wrap_socket(here, server_hostname="localhost") as secured:
        secured.sendall(b"wl-secret question")
        secured.recv(100)
        secured.sendall(b"bye")
    thread.join()


def openssl() -> None:
    """An encrypted conversation of openssl's own client (SSL_write, SSL_read), with a server that says it backwards."""
    _certificate()
    server = subprocess.Popen("openssl s_server -accept 127.0.0.1:5556 -key /tmp/wl/key -cert /tmp/wl/cert -rev".split(),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    while b"ACCEPT" not in server.stdout.readline():
        pass
    client = subprocess.Popen("openssl s_client -quiet -connect 127.0.0.1:5556".split(), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(b"wl-secret word\n")
    client.stdin.flush()
    client.stdout.readline()
    for process in (client, server):
        process.terminate()
        process.wait()


def shell() -> None:
    """A shell that reads lines as from a terminal."""
    import pty

    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile"])
    os.write(fd, b"echo wl-typed\n")
    os.write(fd, b"exit\n")
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)


def cpu() -> None:
    """Something to calculate, for two at once."""
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                sum(range(1000))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def sleeps() -> None:
    """Waiting, many times."""
    for _ in range(20):
        time.sleep(0.005)


def group(limit: str, swap: str = "0") -> None:
    """Into a control group of one's own, with little memory."""
    path = "/sys/fs/cgroup/wl-group"
    try:
        with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as file:
            file.write("+memory")
    except OSError:
        pass
    os.makedirs(path, exist_ok=True)
    for name, value in (("memory.max", limit), ("memory.swap.max", swap), ("cgroup.procs", str(os.getpid()))):
        try:
            with open(f"{path}/{name}", "w") as file:
                file.write(value)
        except OSError:
            pass


def oom() -> None:
    """More memory than there may be."""
    child = os.fork()
    if child == 0:
        group("20M")
        held = []
        while True:
            held.append(b"x" * (1 << 20))
    os.waitpid(child, 0)


def swap() -> None:
    """Memory that is swapped out and wanted back."""
    subprocess.run("echo 64M > /sys/block/zram0/disksize; mkswap /dev/zram0 >/dev/null; swapon /dev/zram0",
                   shell=True, check=False)
    child = os.fork()
    if child == 0:
        group("24M", "max")
        held = [bytearray(os.urandom(4096)) * 256 for _ in range(32)]
        for _ in range(2):
            for block in held:
                block[::4096] = b"y" * 256
        os._exit(0)
    os.waitpid(child, 0)
    subprocess.run("swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset", shell=True, check=False)


def compact() -> None:
    """Memory moved together."""
    with open("/proc/sys/vm/compact_memory", "w") as file:
        file.write("1")


def getpgids() -> None:
    """A system call that nobody else makes, with known arguments."""
    for _ in range(5):
        os.getpgid(1)
    for _ in range(3):
        os.getpgid(0)


def malloc() -> None:
    """Memory asked for and kept."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for size in (12345, 12346):
        libc.malloc(size)


def main(names: list[str]) -> None:
    with open("/proc/self/comm", "w") as file:
        file.write("wl-work")
    os.makedirs(BASE, exist_ok=True)
    for name in names:
        kind, _, argument = name.partition(":")
        if kind == "tty" or kind in _PROCESSES:
            continue  # done by `run`
        globals()[kind](*([argument] if argument else []))


if __name__ == "__main__":
    main(sys.argv[1:])
