"""The task in whose name tested programs run: what the ``bpf_get_current_…`` helpers tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ALIASES = {"tgid": "pid"}


class TestTask:
    """Attributes may be set one by one (``rig.task.comm = "nginx"``) or together (`set`).

    ``pid`` is the process (also ``tgid``, the kernel's name), ``tid`` the thread (the kernel's ``pid``); setting
    ``pid`` sets ``tid``, too, as in a process with one thread, unless that was set.
    """

    __test__ = False  # no test class, whatever pytest thinks of its name

    def __init__(self) -> None:
        self.pid = 1000
        self.tid = 1000
        self.uid = 0
        self.gid = 0
        self.comm: bytes = b"test"
        self.cgroup_id = 1
        self.address = 0  # what bpf_get_current_task gives
        self.user_stack: Sequence[int] = ()
        self.kernel_stack: Sequence[int] = ()

    def set(self, **values: Any) -> None:
        """``set(pid=7, comm="nginx", uid=1000)``; `UsageError` for what a task does not have."""
        for name, value in values.items():
            name = _ALIASES.get(name, name)
            if name not in self.__dict__:
                raise UsageError(f"a task has no {name!r}", helps=(f"it has {', '.join(self.__dict__)}",))
            setattr(self, name, value)
        if ("pid" in values or "tgid" in values) and "tid" not in values:
            self.tid = self.pid

    def __setattr__(self, name: str, value: Any) -> None:
        name = _ALIASES.get(name, name)
        if name == "comm" and isinstance(value, str):
            value = value.encode()
        if name == "comm" and len(value) > 15:
            value = value[:15]  # the kernel's 16 bytes end with a NUL
        if name == "pid" and self.__dict__.get("tid") == self.__dict__.get("pid"):
            object.__setattr__(self, "tid", value)
        object.__setattr__(self, name, value)

    @property
    def tgid(self) -> int:
        """The kernel's name for ``pid``."""
        return self.pid

    def as_dict(self) -> Mapping[str, Any]:
        """All of it."""
        return dict(self.__dict__)
