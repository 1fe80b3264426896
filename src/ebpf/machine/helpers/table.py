"""The table of helpers: one Python function each, under the kernel's name.

A helper takes the environment and as many registers as its C prototype has parameters (unsigned 64 bits each; narrower
parameters are cut by `u32` and its like), and returns an integer: negative ones become 64-bit two's complement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

M32 = 0xFFFFFFFF


class Helper(NamedTuple):
    """A helper that the machine has. ``calls_back``: it may call functions of the program."""

    name: str
    function: Callable[..., int]
    arguments: int
    calls_back: bool


HELPERS: dict[str, Helper] = {}


def helper(function: Callable[..., int]) -> Callable[..., int]:
    """Enter a function into the table under its name, which is the kernel's."""
    return _enter(function, calls_back=False)


def callback_helper(function: Callable[..., int]) -> Callable[..., int]:
    """The same for a helper that calls functions of the program."""
    return _enter(function, calls_back=True)


def _enter(function: Callable[..., int], *, calls_back: bool) -> Callable[..., int]:
    name = function.__name__
    HELPERS[name] = Helper(name, function, function.__code__.co_argcount - 1, calls_back)
    return function


def u32(value: int) -> int:
    """A register as ``u32``."""
    return value & M32


def s32(value: int) -> int:
    """A register as ``int``."""
    value &= M32
    return value - (1 << 32) if value >> 31 else value
