"""One QEMU process: its command line, the ports between it and us, and its snapshot."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ebpf.testing.guests import boot, store

# A kernel that oopses must end the machine (we report it as such); the rest saves boot time under emulation.
_KERNEL_ARGUMENTS = ("quiet console=ttyS0 oops=panic panic=-1 reboot=t tsc=reliable no_timer_check mitigations=off "
                     "cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1 "
                     "lsm=landlock,lockdown,yama,integrity,bpf")
_PORTS = ("control", "in", "out", "err")


@cache
def default_accelerator() -> str:
    """``kvm`` where the processor has it, else emulation.

    /dev/kvm alone says little: on a paravirtual host without vmx or svm it exists and crawls. Emulation runs all
    processors on one thread: with several, newer kernels now and then die while they patch their own code.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    if re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.M) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "kvm"
    return "tcg,thread=single"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a guest is made of. ``shares`` are directories of the host that it may write to."""

    kernel: store.Kernel
    memory: str = "1G"
    cpus: int = 2
    shares: tuple[str, ...] = ()
    append: str = ""
    accelerator: str = ""
    cpu: str = ""

    def hardware(self) -> list[str]:
        """The command line, as far as it shapes the machine (and so its snapshot); shared paths are left open."""
        accelerator = self.accelerator or default_accelerator()
        # Nehalem is x86-64-v2, what NumPy's wheels ask for; models with AVX boot slower under emulation.
        cpu = self.cpu or ("host" if accelerator.startswith("kvm") else "Nehalem,+rdrand")
        command = [store.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-machine", "q35,sata=off,smbus=off,vmport=off,usb=off", "-accel", accelerator, "-cpu", cpu,
                   "-smp", str(self.cpus), "-m", self.memory, "-kernel", str(self.kernel.vmlinux),
                   "-initrd", str(boot.initrd(self.kernel)), "-append", f"{_KERNEL_ARGUMENTS} {self.append}".strip(),
                   "-serial", "chardev:console", "-device", "virtio-serial-pci"]
        for port in _PORTS:
            command += ["-device", f"virtserialport,chardev={port},name={port}"]
        for tag in self.share_tags():
            command += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return command

    def share_tags(self) -> list[str]:
        return ["root", *(f"share{i}" for i in range(len(self.shares)))]

    def snapshot(self) -> Path:
        """Where the machine's snapshot is or would be: bound to the hardware, QEMU's binary and the RAM disk."""
        qemu = os.stat(shutil.which(store.QEMU) or "/").st_mtime_ns
        key = hashlib.sha256(repr((self.hardware(), qemu)).encode()).hexdigest()[:16]
        return self.kernel.directory / f"snapshot-{key}"


class Qemu:
    """A running machine. ``ports`` maps names to our ends of its ports; closing the object ends the machine."""

    def __init__(self, machine: Machine, *, resume: Path | None = None, monitor: bool = False) -> None:
        command = machine.hardware()
        for tag, path in zip(machine.share_tags(), ("/", *machine.shares), strict=True):
            mode = "on" if tag == "root" else "off"
            command += ["-fsdev", f"local,id={tag},path={os.path.abspath(path).replace(',', ',,')},"
                                  f"security_model=none,multidevs=remap,readonly={mode}"]
        if resume is not None:
            command += ["-incoming", f"exec:cat {shlex.quote(str(resume))}"]
        if monitor:
            command += ["-mon", "chardev=monitor,mode=control"]
        self.ports: dict[str, socket.socket] = {}
        theirs: list[socket.socket] = []
        for name in ("console", *_PORTS, *(("monitor",) if monitor else ())):
            self.ports[name], end = socket.socketpair()
            theirs.append(end)
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        prctl = ctypes.CDLL(None).prctl
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[s.fileno() for s in theirs], start_new_session=True,
                preexec_fn=lambda: prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG: no machine outlives us
        finally:
            for end in theirs:
                end.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for port in self.ports.values():
            port.close()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_snapshot(machine: Machine, timeout_s: float = 120) -> Path:
    """Boots the machine to where it waits for its job and saves it there; runs from there start in half a second."""
    path = machine.snapshot()
    with store.replacing(path) as new, Qemu(machine, monitor=True) as qemu:
        control = qemu.ports["control"]
        control.settimeout(timeout_s)
        if control.recv(64) != b"ready\n":
            raise RuntimeError(f"the guest does not boot: {_console_tail(qemu)}")
        monitor = _Monitor(qemu.ports["monitor"], timeout_s)
        monitor("migrate-set-parameters", **{"max-bandwidth": 100 << 30})
        monitor("migrate", uri=f"exec:cat >{shlex.quote(str(new))}")
        while (status := monitor("query-migrate").get("status")) not in ("completed", "failed"):
            time.sleep(0.01)
        if status == "failed":
            raise RuntimeError("QEMU could not save the guest (is the disk full?)")
    _forget_old_snapshots(machine.kernel)
    return path


def _forget_old_snapshots(kernel: store.Kernel, keep: int = 4) -> None:
    """Each is 90 MB, and every change of QEMU, RAM disk or options makes the former ones useless."""
    def last_use(path: Path) -> float:
        return max(path.stat().st_mtime, path.stat().st_atime)

    for old in sorted(kernel.directory.glob("snapshot-*"), key=last_use)[:-keep]:
        old.unlink(missing_ok=True)


def _console_tail(qemu: Qemu) -> str:
    qemu.process.kill()
    _, complaint = qemu.process.communicate()
    log = b""
    while chunk := qemu.ports["console"].recv(65536):
        log += chunk
    return (complaint + log)[-2000:].decode(errors="replace")


class _Monitor:
    """QEMU's machine protocol: one JSON object a line each way, events in between."""

    def __init__(self, port: socket.socket, timeout_s: float) -> None:
        port.settimeout(timeout_s)
        self._port = port
        self._read = b""
        self._line()  # the greeting
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: object) -> dict[str, object]:
        self._port.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self._line())
            if "error" in answer:
                raise RuntimeError(f"QEMU refused {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                value: dict[str, object] = answer["return"]
                return value

    def _line(self) -> bytes:
        while b"\n" not in self._read:
            chunk = self._port.recv(65536)
            if not chunk:
                raise RuntimeError("QEMU ended while it was being asked")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line
