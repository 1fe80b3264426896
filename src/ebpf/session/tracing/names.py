"""What numbers stand for: addresses, stacks, users, control groups, errors, times. Looked up when they are printed."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from ebpf.session.tracing.values import Frame, Stack, Symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ebpf.kernel.user_symbols import UserSymbols
    from ebpf.session.tracing.replaying import Replay

_AF_INET, _AF_INET6 = 2, 10
_BUILD_ID_FRAME: Final = struct.Struct("<i20sQ")  # struct bpf_stack_build_id
_BUILD_ID_VALID: Final = 1


class Names:
    """Answers for one running script. `stacks` are its stack maps, `probes` its probes' names; `replay`: the recording
    whose times it has.
    """

    def __init__(self, probes: Sequence[str] = (), stacks: Mapping[str, Any] | None = None,
                 replay: Replay | None = None) -> None:
        self._probes = probes
        self._targets: dict[int, Sequence[str]] = {}
        self.stacks = stacks or {}
        self._users: dict[int, str] = {}
        self._cgroups: dict[int, str] = {}
        self._kernel: dict[int, Frame] = {}
        self._user: UserSymbols | None = None
        self._replay = replay
        self._boot_ns: int | None = None if replay is None else replay.real_ahead_of_boot_ns

    # ---- the kernel's and processes' code ----

    def kernel_frame(self, address: int) -> Frame:
        """The kernel's function at an address."""
        found = self._kernel.get(address)
        if found is None:
            from ebpf.kernel.symbols import kernel_symbols

            resolved = kernel_symbols().resolve(address)
            found = Frame(address) if resolved is None else Frame(address, resolved[0].name, resolved[1],
                                                                  resolved[0].module)
            self._kernel[address] = found
        return found

    def kernel_symbol(self, address: int) -> Symbol:
        """``ksym()``."""
        return Symbol(self.kernel_frame(address).symbol or f"{address:#x}", address)

    @property
    def user(self) -> UserSymbols:
        """Symbols of processes, also of those that have ended since `follow`."""
        if self._user is None:
            from ebpf.kernel.user_symbols import UserSymbols

            self._user = UserSymbols()
        return self._user

    def user_symbol(self, address: int, pid: int) -> Symbol:
        """``usym()``."""
        return Symbol(Frame(*self.user.resolve(pid, address)).symbol or f"{address:#x}", address)

    def kernel_stack(self, id: int, mode: str, depth: int, map: str) -> Stack:
        """``kstack``: the frames that the kernel kept under ``id``; none where it is negative."""
        return Stack(self._frames(id, mode, depth, map, self.kernel_frame), mode)

    def user_stack(self, id: int, pid: int, mode: str, depth: int, map: str) -> Stack:
        """``ustack`` of process ``pid``."""
        return Stack(self._frames(id, mode, depth, map, lambda address: Frame(*self.user.resolve(pid, address))), mode,
                     user=True)

    def _frames(self, id: int, mode: str, depth: int, map: str, name: Callable[[int], Frame]) -> list[Frame]:
        data = self.stacks[map].lookup(id.to_bytes(4, "little")) if id >= 0 else None
        if not data:
            return []
        if mode == "build_id":
            rows = list(_BUILD_ID_FRAME.iter_unpack(data[:len(data) // _BUILD_ID_FRAME.size * _BUILD_ID_FRAME.size]))
            return [Frame(offset, "", offset, build_id.hex()) if status == _BUILD_ID_VALID else Frame(offset)
                    for status, build_id, offset in rows[:depth] if status]
        addresses = struct.unpack(f"<{len(data) // 8}Q", data)
        found = []
        for address in addresses[:depth]:
            if not address:
                break
            found.append(Frame(address) if mode == "raw" else name(address))
        return found

    # ---- probes, users, groups, errors ----

    def set_targets(self, probe: int, targets: Sequence[str]) -> None:
        """What a probe with a pattern was attached to, in the order of its cookies."""
        self._targets[probe] = targets

    def probe_name(self, number: int) -> str:
        """``probe``: the index of a probe, and in the upper half which of its targets."""
        index, target = number & 0xFFFFFFFF, number >> 32
        targets = self._targets.get(index, ())
        if target < len(targets):
            return targets[target]
        return self._probes[index] if index < len(self._probes) else ""

    def user_name(self, uid: int) -> str:
        """``username``; the number where there is no such user."""
        uid &= 0xFFFFFFFF
        if uid not in self._users:
            import pwd

            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]

    def cgroup_path(self, id: int) -> str:
        """``cgroup_path()``: the hierarchy's name and the path in it."""
        if id not in self._cgroups:
            self._cgroups = {number: path for root, name in _cgroup_mounts() for number, path in _cgroups(root, name)}
        return self._cgroups.setdefault(id, "")

    def error_name(self, number: int) -> str:
        """``strerror()``."""
        return os.strerror(abs(number))

    # ---- addresses, times ----

    def address(self, family: int, data: bytes) -> str:
        """``ntop()``: an IPv4 or IPv6 address as text; "" for another family."""
        four = data[12:16] if family == _AF_INET6 else data[:4]
        dotted = ".".join(map(str, four))
        if family == _AF_INET:
            return dotted
        if family != _AF_INET6:
            return ""
        if data[:12] == b"\0" * 10 + b"\xff\xff":
            return f"::ffff:{dotted}"
        if data[:12] == bytes(12) and data[12:14] != b"\0\0":
            return f"::{dotted}"
        from ipaddress import IPv6Address

        return str(IPv6Address(data))

    def seconds(self, ns: int, clock: str = "boot") -> float:
        """A time of the kernel's as seconds since the epoch."""
        return (ns + (self._offset_ns() if clock in ("boot", "") else 0)) / 1e9

    def time(self, ns: int, clock: str, text: str) -> str:
        """``strftime()``: ``text`` with the local time ``ns``; ``%f`` are microseconds."""
        whole = ns + (self._offset_ns() if clock in ("boot", "") else 0)
        if clock == "monotonic":
            whole = ns + (time.time_ns() - time.monotonic_ns() if self._replay is None
                          else self._replay.real_ahead_ns)
        text = text.replace("%f", f"{whole // 1000 % 1000000:06d}")
        return time.strftime(text, time.localtime(whole // 1_000_000_000))

    def now(self, text: str) -> str:
        """``time()``: ``text`` with the local time that it is."""
        return time.strftime(text, time.localtime(None if self._replay is None else self._replay.now()))

    def _offset_ns(self) -> int:
        if self._boot_ns is None:
            self._boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return self._boot_ns


def _cgroup_mounts() -> list[tuple[str, str]]:
    """(where it is mounted, the name) of every hierarchy."""
    found = []
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split()
                if fields[2] == "cgroup2":
                    found.append((fields[1], "unified"))
                elif fields[2] == "cgroup":
                    found.append((fields[1], os.path.basename(fields[1])))
    except OSError:
        pass
    return found


def _cgroups(root: str, name: str) -> list[tuple[int, str]]:
    found = []
    for folder, _, _ in os.walk(root):
        try:
            found.append((os.stat(folder).st_ino, f"{name}:{folder[len(root):] or '/'}"))
        except OSError:  # removed meanwhile
            continue
    return found
