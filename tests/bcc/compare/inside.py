"""In the guest, as root: tools started, ours and BCC's, the work done once while both watch, both ended by Ctrl-C.

``python -m tests.bcc.compare.inside SHARE [--theirs] NAME…``. Results are files in SHARE/results, a case each.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.bcc.compare.plan import CASES, Case

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_WAITING = {"x86_64": ("7", "232", "281", "441", "35", "230", "23", "270", "271", "34", "128", "202"),
            "aarch64": ("22", "441", "101", "115", "72", "73", "137", "98")}[os.uname().machine]
_PATIENCE_S = 240
_TAP_S = 0.15
_THEIR_LIBRARIES = "/run/bcc"
_MODULES = ("loop ext4 xfs btrfs sch_netem veth nfs nfsv4 md_mod raid1 tun kvm zram scsi_debug")


class Tool:
    """One tool under way."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.ready_s = -1.0
        self.process = subprocess.Popen(argv, stdout=self.out, stderr=self.err, env=env, cwd=_ROOT, start_new_session=True,
                                        stdin=subprocess.DEVNULL)

    def wait_ready(self) -> bool:
        """Until it waits for events, or has ended by itself; whether it waits."""
        times = 0
        while time.monotonic() < self.began + _PATIENCE_S:
            if self.process.poll() is not None:
                return False
            times = times + 1 if self._waits() else 0
            if times >= 3:
                self.ready_s = time.monotonic() - self.began - 2 * _TAP_S
                return True
            time.sleep(_TAP_S)
        return False

    def _waits(self) -> bool:
        pid = self.process.pid
        if os.path.exists(f"/run/compiling-{pid}"):
            return False
        try:
            with open(f"/proc/{pid}/syscall") as file:
                fields = file.read().split()
            if fields[0] == "0":  # reading: the trace pipe, say
                return "trace_pipe" in os.readlink(f"/proc/{pid}/fd/{int(fields[1], 16)}")
            return fields[0] in _WAITING
        except (OSError, IndexError):
            return False

    def wait_end(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def interrupt(self) -> None:
        """What Ctrl-C does: to the tool and what it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)

    def told(self) -> dict[str, Any]:
        """Its last words."""
        late = False
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
            file.close()
        return {"out": texts[0], "err": texts[1], "status": "killed" if late else self.process.returncode,
                "ready_s": round(self.ready_s, 2)}


def _load_modules() -> None:
    """With what they need: a fetched kernel has no binary index for modprobe."""
    folder = f"/lib/modules/{os.uname().release}"
    needs = {}
    with open(f"{folder}/modules.dep") as file:
        for line in file:
            path, _, others = line.partition(":")
            needs[os.path.basename(path).partition(".")[0].replace("-", "_")] = [path, *others.split()]
    for module in _MODULES.split():
        for path in reversed(needs.get(module, ())):
            subprocess.run(["insmod", f"{folder}/{path}"], check=False, stderr=subprocess.DEVNULL)


def prepare(share: str, theirs: bool) -> None:
    """Modules, a network, and this kernel's facts for the host's compiler."""
    _load_modules()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    os.makedirs("/tmp/wl", exist_ok=True)
    if os.path.exists(f"{share}/headers.img"):
        subprocess.run(["mount", "-o", "loop,ro", f"{share}/headers.img", "/usr/src"], check=False)
    if theirs:  # page by page, over the network, they would take minutes
        os.makedirs(_THEIR_LIBRARIES, exist_ok=True)
        for pattern in ("libbcc.so.0", "libLLVM-14.so.1", "libclang-cpp.so.14"):
            for path in glob.glob(f"/usr/lib/*/{pattern}"):
                shutil.copy(path, _THEIR_LIBRARIES)
    from ebpf.compiler.cache import _modules
    from ebpf.kernel.facts import SystemFacts, read_kconfig

    facts = SystemFacts()
    shutil.copytree("/sys/kernel/btf", f"{share}/btf", dirs_exist_ok=True)
    with open(f"{share}/facts.json", "w") as file:
        json.dump({"kernel_id": facts.kernel_id, "kernel_version": facts.kernel_version, "cpus_online": facts.cpus_online,
                   "cpus_possible": facts.cpus_possible, "config": read_kconfig(), "modules": _modules(),
                   "release": os.uname().release}, file)


def run_case(share: str, name: str, case: Case, theirs: bool) -> dict[str, Any]:
    """Both tools on one piece of work; one after the other where they could not be at the same place at once."""
    from tests.bcc.compare import work

    place = work.prepare(case.work)
    args = [word.format(**place) for word in case.args]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
    plain = {k: v for k, v in env.items() if not k.startswith(("EBPF_", "PYTHONPATH"))}
    ways = {"theirs": (["/usr/bin/python3", case.path, *args], {**plain, "LD_LIBRARY_PATH": _THEIR_LIBRARIES}),
            "ours": ([sys.executable, "-m", "tests.bcc.compare.ours", case.path, *args],
                     {**env, "EBPF_CACHE_DIR": f"{share}/cache"})}
    if not theirs:
        del ways["theirs"]
    said: dict[str, Any] = {}
    for together in [[who] for who in ways] if case.apart else [list(ways)]:
        tools = {}
        for who in together:
            tools[who] = Tool(*ways[who])
            tools[who].wait_ready()
        if any(tool.process.poll() is None for tool in tools.values()):
            work.run(case.work)
            time.sleep(case.linger_s)
        if case.ends:
            for tool in tools.values():
                tool.wait_end(40)
        for tool in tools.values():
            tool.interrupt()
        said.update({who: tool.told() for who, tool in tools.items()})
    work.clean(case.work)
    return {"name": name, "script": os.path.basename(case.path), "args": args, "work": case.work, **said}


def main(argv: list[str]) -> int:
    share, theirs, names = argv[0], "--theirs" in argv, [a for a in argv[1:] if not a.startswith("-")]
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    prepare(share, theirs)
    os.makedirs(f"{share}/results", exist_ok=True)
    for name in names:
        start = time.monotonic()
        result = run_case(share, name, CASES[name], theirs and CASES[name].compare)
        result["seconds"] = round(time.monotonic() - start, 1)
        new = f"{share}/results/.{name}"
        with open(new, "w") as file:
            json.dump(result, file, indent=1)
        os.rename(new, f"{share}/results/{name}.json")
        print(name, result["seconds"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
