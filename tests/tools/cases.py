"""What each tool is shown in a guest, what it must say, and BCC's tool of that name beside it as a witness."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any, NamedTuple

Key = tuple[Any, ...]


class Case(NamedTuple):
    """``work``: pieces of tests/bcc/compare/work.py. ``key``: an item as what two tools can agree on, or None if it is of
    no interest; ``theirs``: BCC's arguments, and ``line``: a line of its output as the same. ``expect``: what must be among
    the keys in any case.

    Tools that count: ``amount``, an item as (label, number), and ``amounts``, BCC's output as the same, added up; what ours
    has labels for must be equal but for a part ``within`` and a number ``beyond`` (what was counted while only one of the
    two watched). ``apart``: BCC's watches the work before ours does. Its probes of programs name an offset for a reference
    count that nobody gave it, and at one place the kernel takes no two offsets.
    """

    args: dict[str, Any]
    work: str
    key: Callable[[dict[str, Any]], Key | None]
    expect: tuple[Key, ...]
    theirs: str | None = None
    line: Callable[[str], Key | None] = lambda line: None
    amount: Callable[[dict[str, Any]], tuple[str, float] | None] | None = None
    amounts: Callable[[str], dict[str, float]] = lambda text: {}
    within: float = 0
    beyond: float = 0
    apart: bool = False


def _match(pattern: str, make: Callable[..., Key | None]) -> Callable[[str], Key | None]:
    compiled = re.compile(pattern)

    def parse(line: str) -> Key | None:
        found = compiled.search(line)
        return make(*found.groups()) if found else None

    return parse


def _error(number: str) -> str:
    return errno.errorcode.get(abs(int(number)), "") if int(number) else ""


def _ours(*fields: str, when: Callable[[dict[str, Any]], bool] = lambda item: True) -> Callable[[dict[str, Any]], Key | None]:
    return lambda item: tuple(item[f] for f in fields) if when(item) else None


def _executed(error: str, path: str, arguments: str) -> Key | None:
    """What BCC's always has: it reads 128 bytes of each argument, and has none where the last page ends before."""
    if path.endswith("/sh"):
        return error, "sh"
    return (error, arguments) if path.endswith(("/echo", "/wl-not-there")) else None


def _total(item: dict[str, Any]) -> Key | None:
    return ("counted",) if sum(bucket["count"] for bucket in item["buckets"]) else None


def _sums(pattern: str) -> Callable[[str], dict[str, float]]:
    """Lines that match: the first group is the label, the rest are numbers."""
    compiled = re.compile(pattern, re.M)

    def parse(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for label, *numbers in compiled.findall(text):
            found[label] = found.get(label, 0) + sum(map(float, numbers))
        return found

    return parse


def _histograms(label: str) -> Callable[[str], dict[str, float]]:
    """How much BCC's histograms count, by what ``label`` matches in the line above one."""
    heading, bucket = re.compile(label), re.compile(r"^ *\d+ -> \d+ +: (\d+) ")

    def parse(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        at = ""
        for line in text.splitlines():
            if (head := heading.search(line)) is not None:
                at = head[1]
            elif (count := bucket.match(line)) is not None:
                found[at] = found.get(at, 0) + int(count[1])
        return found

    return parse


def _counted(item: dict[str, Any], label: str) -> tuple[str, float]:
    return label, sum(bucket["count"] for bucket in item["buckets"])


def _of_work(item: dict[str, Any]) -> tuple[str, float] | None:
    """A histogram of one of the work's processes."""
    return _counted(item, item["label"].split()[2]) if item["label"].endswith(" wl-work") else None


def _held(text: str) -> dict[str, float]:
    """What the last whole report of BCC's memleak holds."""
    reports = [sum(map(float, re.findall(r"^\s+(\d+) bytes in \d+ allocations", report, re.M)))
               for report in text.split("outstanding allocations")]
    return {"held": next((held for held in reversed(reports) if held), 0)}


_COUNTED = (("counted",),)

CASES: dict[str, Case] = {
    "opensnoop": Case(
        {}, "files", _ours("comm", "error", "path", when=lambda o: "wl-" in o["path"] and o["comm"] == "wl-work"),
        (("wl-work", "", "/tmp/wl/wl-file-1"), ("wl-work", "ENOENT", "/tmp/wl/wl-missing")), "",
        _match(r"^\d+ +(\S+) +-?\d+ +(\d+) +(\S*wl-\S*)$", lambda comm, e, path: (comm, _error(e), path) if comm == "wl-work" else None)),
    "execsnoop": Case(
        {"failed": True}, "execs", lambda o: _executed(o["error"], o["arguments"][0], " ".join(o["arguments"][1:])),
        (("", "wl-argument one two"), ("", "sh"), ("ENOENT", "")), "-x",
        _match(r"^\S+ +\d+ +\d+ +(-?\d+) +(\S+) ?(.*)$", lambda e, path, rest: _executed(_error(e), path, rest.replace('"', "").strip()))),
    "exitsnoop": Case(
        {}, "execs", lambda o: (o["comm"], o["status"] or o["signal"]) if o["comm"] in ("echo", "sh", "wl-work") else None,
        (("echo", ""), ("sh", 3), ("wl-work", "SIGTERM")), "",
        _match(r"^(echo|sh|wl-work) +\d+ +\d+ +\d+ +\S+ +(0|code \d+|signal .*)$",
               lambda comm, why: (comm, "" if why == "0" else int(why.split()[1]) if why.startswith("code") else
                                  "SIGTERM" if "15" in why else why))),
    "killsnoop": Case(
        {}, "signals", lambda o: (o["signal"], o["error"]) if o["comm"] == "wl-work" else None,
        (("SIGUSR1", ""), ("SIGTERM", ""), ("0", "")), "",
        _match(r" (\d+) +wl-work +(\d+) +\d+ +(-?\d+)$",
               lambda pid, sig, e: ({"10": "SIGUSR1", "15": "SIGTERM", "9": "SIGKILL"}.get(sig, sig), _error(e)))),
    "mountsnoop": Case(
        {}, "mounts", lambda o: (o["operation"], o["target"], o["error"]) if "/tmp/wl/" in o["target"] else None,
        (("mount", "/tmp/wl/wl-mount", ""), ("umount", "/tmp/wl/wl-mount", ""), ("mount", "/tmp/wl/not-there", "ENOENT")), "",
        _match(r'(mount|umount)\((?:"[^"]*", )?"(/tmp/wl/[^"]*)".*\) = (-?\w+)$',
               lambda call, target, e: (call, target, "" if e == "0" else e.lstrip("-")))),
    "capable": Case(
        {}, "signals mounts", lambda o: (o["comm"], o["name"]) if o["comm"] == "wl-work" else None,
        (("wl-work", "CAP_SYS_ADMIN"),), "", _match(r" (wl-work) +\d+ +(CAP_\w+)", lambda comm, name: (comm, name))),
    "tcpconnect": Case(
        {}, "tcp tcp6", lambda o: (o["ip"], o["destination"], o["port"]) if o["comm"] == "wl-work" else None,
        ((4, "127.0.0.1", 5551), (4, "127.0.0.1", 5559), (6, "::1", 5552)), "",
        _match(r"^\d+ +wl-work +([46]) +\S+ +(\S+) +(\d+) *$", lambda ip, to, port: (int(ip), to, int(port)))),
    "tcpaccept": Case(
        {}, "tcp tcp6", lambda o: (o["ip"], o["remote_address"], o["local_port"]) if o["comm"] == "wl-work" else None,
        ((4, "127.0.0.1", 5551), (6, "::1", 5552)), "",
        _match(r"^\d+ +wl-work +([46]) +(\S+) +\d+ +\S+ +(\d+)", lambda ip, who, port: (int(ip), who, int(port)))),
    "tcplife": Case(
        {}, "tcp tcp6",
        lambda o: (o["ip"], min(o["local_port"], o["remote_port"]), o["sent_bytes"] // 1024, o["received_bytes"] // 1024)
        if min(o["local_port"], o["remote_port"]) in (5551, 5552) else None,
        ((4, 5551, 4, 0), (4, 5551, 0, 4), (6, 5552, 4, 0)), "",
        _match(r"^\d+ +\S+ +(\S+) +(\d+) +\S+ +(\d+) +(\d+) +(\d+) +\S+$",
               lambda a, lp, rp, tx, rx: (6 if ":" in a else 4, min(int(lp), int(rp)), int(tx), int(rx))
               if {lp, rp} & {"5551", "5552"} else None)),
    "tcpretrans": Case(
        {}, "lossy", lambda o: (o["ip"], o["state"], o["kind"]) if 5553 in (o["local_port"], o["remote_port"]) else None,
        ((4, "ESTABLISHED", "R"),), "",
        _match(r"^\S+ +\d+ +(\d) +\S+ +(R|L)> +\S+ +(\w+)$", lambda ip, kind, state: (int(ip), state, kind))),
    "gethostlatency": Case(
        {}, "dns", lambda o: (o["host"],) if o["host"].startswith(("localhost", "wl-")) else None,
        (("localhost",), ("wl-host.invalid",)), "", _match(r" (localhost|wl-\S+)$", lambda host: (host,)), apart=True),
    "sslsniff": Case(
        {}, "tls", lambda o: (o["direction"], o["length"]) if "wl-secret" in o["data"] else None,
        (("WRITE", 18), ("READ", 18), ("WRITE", 16), ("READ", 16))),
    "sslsniff openssl": Case(
        {"comm": "openssl"}, "openssl", lambda o: (o["direction"], o["length"]), (("WRITE", 15), ("READ", 15)),
        "-c openssl", _match(r"^(READ|WRITE)/\w+ +\S+ +openssl +\d+ +(\d+)", lambda direction, length: (direction, int(length))), apart=True),
    "biolatency": Case(
        {"disks": True}, "disk:ext4", _total, _COUNTED, "-D", amount=lambda o: _counted(o, o["label"].split()[2]),
        amounts=_histograms(r"^disk = b?'?(\w+)"), within=0.05, beyond=2),
    "biosnoop": Case({}, "disk:ext4", lambda o: (o["comm"][:4], o["kind"][0]) if o["comm"] == "wl-work" else None,
                     (("wl-w", "R"),), "", _match(r"^\S+ +(wl-work) +\d+ +\S+ +([RW])", lambda comm, kind: (comm[:4], kind))),
    "runqlat": Case({"processes": True}, "cpu", _total, _COUNTED, "-P", amount=_of_work, amounts=_histograms(r"^pid = (\d+)"),
                    within=0.1, beyond=3),
    "cpudist": Case({"processes": True}, "cpu", _total, _COUNTED, "-P", amount=_of_work, amounts=_histograms(r"^pid = (\d+)"),
                    within=0.1, beyond=3),
    "offcputime": Case(
        {}, "sleeps", lambda o: (o["comm"],) if o["comm"] == "wl-work" and any("nanosleep" in k for k in o["kernel"]) else None,
        (("wl-work",),), "-f",
        amount=lambda o: ("slept", o["count"]) if o["comm"] == "wl-work" and any("nanosleep" in k for k in o["kernel"]) else None,
        amounts=lambda text: {"slept": sum(map(float, re.findall(r"^wl-work;.*nanosleep.* (\d+)$", text, re.M)))}, within=0.05),
    "profile": Case(
        {"frequency": 49}, "cpu", lambda o: (o["comm"],) if o["comm"] == "wl-work" and o["user"] else None, (("wl-work",),),
        "-f -F 49", amount=lambda o: ("wl-work", o["count"]) if o["comm"] == "wl-work" else None,
        amounts=lambda text: {"wl-work": sum(map(float, re.findall(r"^wl-work;.* (\d+)$", text, re.M)))}, within=0.15, beyond=3),
    "funclatency": Case({"function": "vfs_fsync_range"}, "files", _total, _COUNTED, "vfs_fsync_range",
                        amount=lambda o: _counted(o, ""), amounts=_histograms(r"^Function = (\w+)$")),
    "cachestat": Case(
        {}, "disk:ext4", lambda o: ("used",) if o["hits"] + o["misses"] > 100 else None, (("used",),), "1",
        amount=lambda o: ("looked up", o["hits"] + o["misses"]), within=0.2,
        amounts=lambda text: {"looked up": sum(int(h) + int(m) for h, m in re.findall(r"^ +(\d+) +(\d+) +\d+ +[\d.]+%", text, re.M))}),
    "filetop": Case(
        {"rows": 1000}, "files", lambda o: (o["file"], o["writes"] > 0, o["written_bytes"]) if "wl-file-1" in o["file"] else None,
        (("wl-file-1", True, 4096),), "-C -r 1000 1",
        amount=lambda o: (o["file"], o["writes"] + o["written_bytes"] / 1024) if o["file"].startswith("wl-file") else None,
        amounts=lambda text: {file: sum(int(w) + int(kb) for w, kb, name in re.findall(
            r"^\d+ +wl-work +\d+ +(\d+) +\d+ +(\d+) +R (wl-file\S*)", text, re.M) if name == file)
            for file in ("wl-file-0", "wl-file-1", "wl-file-2")}),
    "syscount": Case(
        {"processes": True, "top": 100000}, "files", lambda o: (o["name"],) if o["name"] == "wl-work" else None, (("wl-work",),),
        "-P -T 100000", amount=lambda o: (str(o["pid"]), o["count"]) if o["name"] == "wl-work" else None,
        amounts=_sums(r"^(\d+) +wl-work +(\d+)"), beyond=1),
    "memleak": Case({"older": 0}, "files", lambda o: ("held",) if o["held_bytes"] else None, (("held",),)),
    "memleak process": Case(
        {"pid": "{waiter}", "older": 0, "min_size": 12345, "max_size": 12360}, "waiter",
        lambda o: (o["held_bytes"], o["blocks"]) if o["blocks"] >= 7 else None, ((86436, 7),), "-p {waiter} -o 10 -z 12345 -Z 12360 1",
        amount=lambda o: ("held", o["held_bytes"]), amounts=_held, apart=True),
}
