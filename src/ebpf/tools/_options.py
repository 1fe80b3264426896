"""A tool's options, the same on the command line (``--pid 42``) and from Python (``pid=42``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence


class Option(NamedTuple):
    """One option: ``flags`` as argparse takes them (without a dash: an argument by its place).

    ``kind`` makes the value out of text; ``bool`` is a switch, ``list`` collects what is left.
    """

    flags: tuple[str, ...]
    help: str
    kind: Callable[[str], Any] = str
    default: Any = None
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called in Python."""
        return self.flags[-1].lstrip("-").replace("-", "_")


class Options:
    """The values of a tool's options, as attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:  # for type checkers: every option is Any
        raise AttributeError(name)


def option(*flags: str, help: str, kind: Callable[[str], Any] = str, default: Any = None, metavar: str = "",
           choices: tuple[str, ...] = ()) -> Option:
    """An option of a tool; the last flag gives it its name."""
    return Option(flags, help, kind, False if kind is bool and default is None else default, metavar, choices)


def user_id(text: str) -> int:
    """A user's number, from that or the name."""
    if text.isdecimal():
        return int(text)
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ebpf.UsageError(f"there is no user {text!r}") from None


def positive(text: str) -> float:
    """A number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise ebpf.UsageError(f"{text!r} is no number of seconds", helps=("say 10, or 0.5",))
    return value


def number(text: str) -> int:
    """A whole number, not below zero."""
    if not text.isdecimal():
        raise ebpf.UsageError(f"{text!r} is no number")
    return int(text)


def process_id(text: str) -> int:
    """A process that there is."""
    value = number(text)
    if not os.path.exists(f"/proc/{value}"):
        raise ebpf.UsageError(f"there is no process {value}")
    return value


# What a tool may filter by; each names its own subset.
FILTERS = {
    "pid": option("-p", "--pid", kind=process_id, metavar="PID", help="this process alone"),
    "tid": option("-t", "--tid", kind=process_id, metavar="TID", help="this thread alone"),
    "uid": option("-u", "--uid", kind=user_id, metavar="USER", help="this user's processes alone (a name or number)"),
    "comm": option("-n", "--comm", metavar="NAME", help="processes of this name alone (its first 15 bytes)"),
    "cgroup": option("--cgroup", metavar="PATH", help="processes in this control group (version 2) or below it"),
    "container": option("--container", metavar="ID|NAME", help="processes of this container alone"),
}
ALWAYS = (
    option("--duration", kind=positive, metavar="SECONDS", help="end after that time"),
    option("--json", kind=bool, help="one JSON object a line"),
    option("--no-header", kind=bool, help="no titles above the columns"),
    option("-T", "--timestamp", kind=bool, help="say when, in a column of its own"),
)


def add_to(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Tell argparse; values stay text until `values` makes something of them."""
    for one in options:
        if one.kind is bool:
            parser.add_argument(*one.flags, action="store_true", dest=one.name, help=one.help)
        elif not one.flags[0].startswith("-"):
            parser.add_argument(one.flags[0], nargs="*" if one.kind is list else "?", default=None,
                                metavar=one.metavar or one.name.upper(), help=one.help)
        else:
            parser.add_argument(*one.flags, dest=one.name, default=None, metavar=one.metavar or one.name.upper(),
                                help=one.help + (f" (default {one.default})" if one.default is not None else ""))


def values(options: Sequence[Option], given: Mapping[str, Any]) -> Options:
    """Every option's value: what was given, made out of text where it is text, or the default.

    `UsageError` for an option that there is not, and for values that do not fit.
    """
    known = {one.name: one for one in options}
    for name in given:
        if name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, known, n=1)
            raise ebpf.UsageError(f"there is no option {name!r}", helps=(
                f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}",))
    made: dict[str, Any] = {}
    for name, one in known.items():
        value = given.get(name)
        if value is None or (value == [] and one.default is not None):
            value = one.default
        elif isinstance(value, str) and one.kind not in (str, list, bool):
            value = one.kind(value)
        if value is not None and one.choices and value not in one.choices:
            raise ebpf.UsageError(f"{value!r} is no {name}", helps=(f"say one of: {', '.join(one.choices)}",))
        made[name] = value
    return Options(made)
