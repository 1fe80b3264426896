"""The guest's initial RAM disk: what happens inside before the command runs.

The host and pid 1 talk over one port ("control"): the guest says ``ready``; the host answers with the length of a shell
script and the script; the guest says ``exit N`` when the command has ended. A snapshot is taken while the guest waits
for that script: the host's file system is not mounted yet then (QEMU cannot save a machine with a 9p mount).
"""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from pathlib import Path

from ebpf.testing.guests import store

# What the guest needs before it can reach its modules on the host; built in on some kernels.
_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")

_STAGE_1 = r"""#!/bin/busybox sh
b=/bin/busybox
give_up() { echo "guest: $*" >/dev/console; $b reboot -f; }
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
$b mount -t sysfs none /sys
while read -r module; do $b insmod /modules/$module || give_up "insmod $module"; done </modules/order

$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o ptmxmode=666 none /dev/pts
$b mount -t tmpfs none /dev/shm
for link in fd: stdin:/0 stdout:/1 stderr:/2; do $b ln -s /proc/self/fd${link#*:} /dev/${link%%:*}; done
for what in cgroup2:/sys/fs/cgroup bpf:/sys/fs/bpf tracefs:/sys/kernel/tracing debugfs:/sys/kernel/debug \
            securityfs:/sys/kernel/security; do
    $b mount -t ${what%%:*} none ${what#*:}
done
$b ip link set lo up
$b mount -t tmpfs -o mode=755 none /run
$b mount -t tmpfs -o mode=755 none /upper
$b mkdir -p /upper/data /upper/work /run/guest /run/lock
$b cp /bin/busybox /stage2 /run/guest
$b ln -s busybox /run/guest/modprobe
echo /run/guest/modprobe >/proc/sys/kernel/modprobe

for port in /sys/class/virtio-ports/*; do
    read -r name <$port/name
    $b ln -s ../../dev/${port##*/} /run/guest/port-$name
done
exec 3<>/run/guest/port-control
echo ready >&3
until read -r length <&3; do $b usleep 10000; done
$b head -c $length <&3 >/run/guest/job

$b mount -t 9p -o ro,cache=loose,trans=virtio,version=9p2000.L,msize=512000 root /lower || give_up 'no root share'
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work none /new || give_up 'no overlay'
for place in dev proc sys run; do $b mount -o move /$place /new/$place; done
# pid 1 has to move its root, not only change it: the kernel starts modprobe below pid 1's.
cd /new && $b mount -o move . / && exec $b chroot . /run/guest/busybox sh /run/guest/stage2
"""

# `job` is read twice: here, to set the date, find the modules and mount writable shares; and as the command's shell.
_STAGE_2 = r"""b=/run/guest/busybox
cd /run/guest
. ./job
$b mkfifo out err
$b cat out >port-out 3>&- & out=$!
$b cat err >port-err 3>&- & err=$!
/bin/sh ./job go <port-in >out 2>err 3>&-
status=$?
# What the command left running would hold the pipes open.
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    case $pid in 1 | $out | $err) ;; *) kill -9 $pid 2>/dev/null ;; esac
done
wait
$b sync
echo "exit $status" >&3
$b sleep 60
$b reboot -f
"""


def initrd(kernel: store.Kernel) -> Path:
    """The RAM disk for ``kernel``, built when it is missing; its name tells what went into it."""
    recipe = repr((_STAGE_1, _STAGE_2, _MODULES, kernel.release, store.busybox().stat().st_size))
    path = kernel.directory / f"initrd-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if path.exists():
        return path
    files: list[tuple[str, int, bytes]] = [
        (name, 0o040755, b"") for name in "bin dev lower modules new proc run sys upper".split()]
    files += [("init", 0o100755, _STAGE_1.encode()), ("stage2", 0o100644, _STAGE_2.encode()),
              ("bin/busybox", 0o100755, store.busybox().read_bytes())]
    order = _load_order(kernel)
    files += [(f"modules/{i}", 0o100644, _module(kernel.modules / name)) for i, name in enumerate(order)]
    files.append(("modules/order", 0o100644, "".join(f"{i}\n" for i in range(len(order))).encode()))
    with store.replacing(path) as new:
        new.write_bytes(_cpio(files))
    return path


def _load_order(kernel: store.Kernel) -> list[str]:
    """Paths of `_MODULES` and what they depend on, each after what it needs (modules.dep lists that in reverse)."""
    needs: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    order: list[str] = []
    for wanted in filter(None, map(by_name.get, _MODULES)):
        order += [p for p in (*reversed(needs[wanted]), wanted) if p not in order]
    return order


def _module(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def _cpio(files: list[tuple[str, int, bytes]]) -> bytes:
    """An archive in cpio's "newc" form (the kernel's driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        # inode, mode, uid, gid, links, mtime, size, device major/minor, rdev major/minor, name size, checksum
        numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08X" % n for n in numbers) + name.encode() + b"\0", data):
            out += part
            out += bytes(-len(out) % 4)
    return bytes(out)
