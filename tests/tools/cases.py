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
    """

    args: dict[str, Any]
    work: str
    key: Callable[[dict[str, Any]], Key | None]
    expect: tuple[Key, ...]
    theirs: str | None = None
    line: Callable[[str], Key | None] = lambda line: None


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


def _total(item: dict[str, Any]) -> Key | None:
    return ("counted",) if sum(bucket["count"] for bucket in item["buckets"]) else None


_COUNTED = (("counted",),)
_PORTS = ("5551", "5552", "5559")

CASES: dict[str, Case] = {
    "opensnoop": Case(
        {}, "files", _ours("comm", "error", "path", when=lambda o: "wl-" in o["path"] and o["comm"] == "wl-work"),
        (("wl-work", "", "/tmp/wl/wl-file-1"), ("wl-work", "ENOENT", "/tmp/wl/wl-missing")), "",
        _match(r"^\d+ +(\S+) +-?\d+ +(\d+) +(\S*wl-\S*)$", lambda comm, e, path: (comm, _error(e), path) if comm == "wl-work" else None)),
    "execsnoop": Case(
        {"failed": True}, "execs", lambda o: (o["error"], " ".join(o["arguments"][1:])) if "wl-" in str(o["arguments"]) else None,
        (("", "wl-argument one two"), ("", "-c exit 3 # wl-fails"), ("ENOENT", "")), "-x",
        _match(r"^\S+ +\d+ +\d+ +(-?\d+) +(\S+) ?(.*)$",
               lambda e, path, rest: (_error(e), rest.replace('"', "").strip()) if "wl-" in path + rest else None)),
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
        _match(r"^\d+ +wl-work +([46]) +\S+ +(\S+) +(\d+)$", lambda ip, to, port: (int(ip), to, int(port)))),
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
        (("localhost",), ("wl-host.invalid",)), "", _match(r" (localhost|wl-\S+)$", lambda host: (host,))),
    "sslsniff": Case(
        {}, "tls", lambda o: (o["direction"], o["length"]) if "wl-secret" in o["data"] else None,
        (("WRITE", 18), ("READ", 18), ("WRITE", 16), ("READ", 16)), "-x",
        lambda line: None),
    "biolatency": Case({}, "disk:ext4", _total, _COUNTED),
    "biosnoop": Case({}, "disk:ext4", lambda o: (o["comm"][:4], o["kind"][0]) if o["comm"] == "wl-work" else None,
                     (("wl-w", "R"),), "", _match(r"^\S+ +(wl-work) +\d+ +\S+ +([RW])", lambda comm, kind: (comm[:4], kind))),
    "runqlat": Case({}, "cpu", _total, _COUNTED),
    "cpudist": Case({}, "cpu", _total, _COUNTED),
    "offcputime": Case({}, "sleeps", lambda o: (o["comm"],) if o["comm"] == "wl-work" and any("nanosleep" in k for k in o["kernel"])
                       else None, (("wl-work",),)),
    "profile": Case({}, "cpu", lambda o: (o["comm"],) if o["comm"] == "wl-work" and o["user"] else None, (("wl-work",),)),
    "funclatency": Case({"function": "vfs_read"}, "files", _total, _COUNTED),
    "cachestat": Case({}, "disk:ext4", lambda o: ("used",) if o["hits"] + o["misses"] > 100 else None, (("used",),)),
    "filetop": Case({"rows": 1000}, "files", lambda o: (o["file"], o["writes"] > 0, o["written_bytes"]) if "wl-file-1" in o["file"] else None,
                    (("wl-file-1", True, 4096),)),
    "syscount": Case({"processes": True, "top": 1000}, "files", lambda o: (o["name"],) if o["name"] == "wl-work" else None, (("wl-work",),)),
    "memleak": Case({"older": 0}, "files", lambda o: ("held",) if o["held_bytes"] else None, (("held",),)),
}
