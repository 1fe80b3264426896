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

from tests.bcc.compare.plan import CASES, MODULES
from tests.guests import modules

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
WAITING = {"x86_64": ("7", "232", "281", "441", "35", "230", "23", "270", "271", "34", "128", "202"),
            "aarch64": ("22", "441", "101", "115", "72", "73", "137", "98")}[os.uname().machine]
_PATIENCE_S = 240
_FAREWELL_S = 60
_TAP_S = 0.15
_AT_ONCE = 6
_BEGAN = time.monotonic()
THEIR_LIBRARIES = "/run/bcc"


class Forks:
    """A process that forks tools: of ours, or of theirs."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(argv, env=env, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def spawn(self, argv: list[str], out: str, err: str, status: str, terminal: bool) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"argv": argv, "out": out, "err": err, "status": status, "terminal": terminal}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


class Tool:
    """One tool under way."""

    def __init__(self, forks: Forks, argv: list[str], terminal: bool = False) -> None:
        self.folder = tempfile.mkdtemp(prefix="tool-", dir="/run")
        self.began = time.monotonic()
        self.ready_s = -1.0
        self.pid = forks.spawn(argv, *(f"{self.folder}/{name}" for name in ("out", "err", "status")), terminal)

    def ended(self) -> bool:
        return os.path.exists(f"{self.folder}/status")

    def wait_ready(self) -> bool:
        """Until it waits for events, or has ended by itself; whether it waits."""
        times = 0
        while time.monotonic() < self.began + _PATIENCE_S:
            if self.ended():
                return False
            times = times + 1 if self._waits() else 0
            if times >= 3:
                self.ready_s = time.monotonic() - self.began - 2 * _TAP_S
                return True
            time.sleep(_TAP_S)
        return False

    def _waits(self) -> bool:
        pid = self.pid
        if os.path.exists(f"/run/compiling-{pid}"):
            return False
        try:
            with open(f"/proc/{pid}/syscall") as file:
                fields = file.read().split()
            if fields[0] == "0":  # reading: the trace pipe, say
                return "trace_pipe" in os.readlink(f"/proc/{pid}/fd/{int(fields[1], 16)}")
            return fields[0] in WAITING
        except (OSError, IndexError):
            return False

    def note_output(self) -> None:
        """What it has said by now was before the work."""
        if not self.ended():
            os.kill(int(os.readlink(f"{self.folder}/status.keeper")), signal.SIGUSR1)
            until = time.monotonic() + 10
            while not os.path.exists(f"{self.folder}/status.noted") and not self.ended() and time.monotonic() < until:
                time.sleep(0.01)

    def wait_end(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < until:
            time.sleep(0.03)
        return self.ended()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """What Ctrl-C does: to the tool and what it started."""
        if not self.ended():
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def told(self) -> dict[str, Any]:
        """Its last words."""
        late = not self.wait_end(_FAREWELL_S)
        if late:
            self.interrupt(signal.SIGKILL)
            self.wait_end(10)
        said = {"out": "", "err": "", "status": "-9 0"}
        for name in said:
            if os.path.exists(f"{self.folder}/{name}"):
                with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as file:
                    said[name] = file.read()
        status, before = map(int, said["status"].split())
        return {"out": said["out"], "err": said["err"], "status": "killed" if late else status,
                "ready_s": round(self.ready_s, 2), "before": before}


def prepare(share: str, theirs: bool, needed: tuple[str, ...] = tuple(MODULES.split())) -> None:
    """Modules, a network, and this kernel's facts for the host's compiler."""
    modules.load(*["loop", "ext4"] * theirs, *needed)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    os.makedirs("/tmp/wl", exist_ok=True)
    if theirs and os.path.exists(f"{share}/headers.img"):
        subprocess.run(["mount", "-o", "loop,ro", f"{share}/headers.img", "/usr/src"], check=False)
    if theirs:  # page by page, over the network, they would take minutes
        os.makedirs(THEIR_LIBRARIES, exist_ok=True)
        for pattern in ("libbcc.so.0", "libLLVM-14.so.1", "libclang-cpp.so.14"):
            for path in glob.glob(f"/usr/lib/*/{pattern}"):
                shutil.copy(path, THEIR_LIBRARIES)
    from ebpf.compiler.cache import _modules
    from ebpf.kernel.facts import SystemFacts, read_kconfig

    facts = SystemFacts()
    shutil.copytree("/sys/kernel/btf", f"{share}/btf", dirs_exist_ok=True)
    with open(f"{share}/facts.json", "w") as file:
        json.dump({"kernel_id": facts.kernel_id, "kernel_version": facts.kernel_version, "cpus_online": facts.cpus_online,
                   "cpus_possible": facts.cpus_possible, "config": read_kconfig(), "modules": _modules(),
                   "release": os.uname().release}, file)


def groups(names: list[str], mixed: bool) -> list[list[str]]:
    """Cases that can be run together, on the same work: so that what one says does not depend on which others there are.

    ``mixed``: on the work of all of them, where nothing is compared (but a disk each).
    """
    found: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        case = CASES[name]
        found.setdefault(("" if mixed and "disk" not in case.work else case.work, case.apart), []).append(name)
    return [same[at:at + _AT_ONCE] for same in found.values() for at in range(0, len(same), _AT_ONCE)]


def run_together(names: list[str], forks: dict[str, Forks]) -> list[dict[str, Any]]:
    """Some tools at once, on their work. Ours and theirs watch the same work, or where both could not be at the same place
    one after the other."""
    from tests.bcc.compare import work

    pieces = " ".join(dict.fromkeys(piece for name in names for piece in CASES[name].work.split()))
    place = {"device": "loop0", **work.prepare(pieces)}
    said: dict[str, dict[str, Any]] = {name: {} for name in names}
    try:
        for together in [[who] for who in forks] if CASES[names[0]].apart else [list(forks)]:
            tools: dict[tuple[str, str], Tool] = {}
            try:
                for who in together:
                    for name in names:
                        if who == "ours" or CASES[name].compare:
                            words = [word.format(**place) for word in CASES[name].args]
                            tool = tools[name, who] = Tool(forks[who], [CASES[name].path, *words], CASES[name].terminal)
                            tool.wait_ready()
                            _say(f"{name}: {who} ready after {tool.ready_s:.1f} s")
                for tool in tools.values():
                    tool.note_output()
                work.run(pieces)
                time.sleep(max(CASES[name].linger_s for name in names))
                for (name, _), tool in tools.items():
                    if CASES[name].ends:
                        tool.wait_end(40)
            finally:
                for tool in tools.values():
                    tool.interrupt()
                for (name, who), tool in tools.items():
                    said[name][who] = tool.told()
            _say("ended: " + ", ".join(f"{name} {who}" for name, who in tools))
    finally:
        work.clean(pieces)
    return [{"name": name, "script": os.path.basename(CASES[name].path), "kind": _kind(name), **found}
            for name, found in said.items()]


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:7.1f} {text}", flush=True)


def _kind(name: str) -> str:
    """What BCC's outputs that were kept must have been asked with."""
    return json.dumps([CASES[name].args, CASES[name].work, CASES[name].linger_s])


def keep(share: str, result: dict[str, Any]) -> None:
    """On disk; with what BCC said the last time, if it was not run this time."""
    path, new = f"{share}/results/{result['name']}.json", f"{share}/results/.{result['name']}"
    if "theirs" not in result and os.path.exists(path):
        with open(path) as file:
            old = json.load(file)
        if old.get("kind") == result["kind"] and "theirs" in old:
            result["theirs"] = old["theirs"]
    with open(new, "w") as file:
        json.dump(result, file, indent=1)
    os.rename(new, path)


def main(argv: list[str]) -> int:
    share, theirs, names = argv[0], "--theirs" in argv, [a for a in argv[1:] if not a.startswith("-")]
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    prepare(share, theirs, tuple(dict.fromkeys(module for name in names for module in CASES[name].modules())))
    os.makedirs(f"{share}/results", exist_ok=True)
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
    plain = {k: v for k, v in env.items() if not k.startswith(("EBPF_", "PYTHONPATH"))}
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fork.py")
    forks = {}
    if theirs:
        forks["theirs"] = Forks(["/usr/bin/python3", script], {**plain, "LD_LIBRARY_PATH": THEIR_LIBRARIES})
    forks["ours"] = Forks([sys.executable, "-m", "tests.bcc.compare.fork"], {**env, "EBPF_CACHE_DIR": f"{share}/cache"})
    for group in groups(names, "--mixed" in argv):
        try:
            for result in run_together(group, forks):
                keep(share, result)
        except Exception as error:  # the others are still to be run
            _say(f"{', '.join(group)}: {error!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
