"""What programs can call: their names and signatures. In a program the compiler knows them by identity; outside each
raises `UsageError`, because there is no program that could run it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar

    from ebpf.compiler.py.types import chars, linux

    F = TypeVar("F", bound=Callable[..., Any])


def _outside(name: str) -> NoReturn:
    from ebpf.errors import UsageError

    raise UsageError(
        f"`{name}` works inside programs only",
        helps=["call it in a function with a decorator of a hook, such as `@ebpf.tracepoint(…)`, or in one such calls"],
    )


# --------------------------------------------------------------------------------------------------- who, when, where


def pid() -> int:
    """The process (what user space calls its pid): u32."""
    _outside("pid")


def tid() -> int:
    """The thread: u32."""
    _outside("tid")


def pid_tgid() -> int:
    """Process in the upper 32 bits, thread in the lower: u64."""
    _outside("pid_tgid")


def uid() -> int:
    """The user: u32."""
    _outside("uid")


def gid() -> int:
    """The group: u32."""
    _outside("gid")


def comm() -> chars:
    """The thread's name: chars[16]."""
    _outside("comm")


def current_task() -> linux.task_struct:
    """The thread's `linux.task_struct`: members are read safely, through any number of pointers."""
    _outside("current_task")


def cgroup_id() -> int:
    """The thread's control group (version 2): u64."""
    _outside("cgroup_id")


def cpu() -> int:
    """The CPU that this runs on: u32."""
    _outside("cpu")


def numa_node() -> int:
    """The NUMA node that this runs on: u32."""
    _outside("numa_node")


def ktime_ns() -> int:
    """Nanoseconds since boot, without time asleep: u64."""
    _outside("ktime_ns")


def boot_ns() -> int:
    """Nanoseconds since boot, time asleep included: u64. Linux 5.8."""
    _outside("boot_ns")


def jiffies() -> int:
    """The kernel's ticks: u64. Linux 5.5."""
    _outside("jiffies")


def random() -> int:
    """A random number: u32."""
    _outside("random")


# --------------------------------------------------------------------------------------------------------- memory


def read_user(type: Any, address: Any) -> Any:
    """A value of ``type`` in the process's memory; zeroes where it cannot be read."""
    _outside("read_user")


def read_kernel(type: Any, address: Any) -> Any:
    """A value of ``type`` in the kernel's memory; zeroes where it cannot be read."""
    _outside("read_kernel")


def read_user_str(address: Any, size: int = 64) -> chars:
    """Text up to NUL in the process's memory: chars[size]."""
    _outside("read_user_str")


def read_kernel_str(address: Any, size: int = 64) -> chars:
    """Text up to NUL in the kernel's memory: chars[size]."""
    _outside("read_kernel_str")


def cast(type: Any, pointer: Any) -> Any:
    """An address as a pointer to a struct: ``cast(linux.sock, address).sk_family``."""
    _outside("cast")


def address_of(place: Any) -> int:
    """Where something lies: a local struct, a member of a kernel struct (for helpers that take a pointer)."""
    _outside("address_of")


def sizeof(of: Any) -> int:
    """Bytes of a type or value."""
    _outside("sizeof")


# --------------------------------------------------------------------------------------------------------- numbers


def log2(number: int) -> int:
    """The number of the highest bit that is set, 0 for 0: the slot of a histogram. u32."""
    _outside("log2")


def ntohs(number: int) -> int:
    """A 16-bit number with its bytes the other way round."""
    _outside("ntohs")


def ntohl(number: int) -> int:
    """A 32-bit number with its bytes the other way round."""
    _outside("ntohl")


htons, htonl = ntohs, ntohl


# ---------------------------------------------------------------------------------------------------------- output


def printk(text: str) -> None:
    """A line to the kernel's trace pipe: a str, or an f-string of integers and texts."""
    _outside("printk")


# --------------------------------------------------------------------------------------------------------- effects


def signal(number: int) -> int:
    """Send a signal to the current process. Linux 5.3."""
    _outside("signal")


def redirect(ifindex: int, flags: int = 0) -> int:
    """The verdict that sends the packet to another interface."""
    _outside("redirect")


def tail_call(context: Any, programs: Any, index: int) -> None:
    """Go on in the program at ``index`` of a program array; comes back only if there is none."""
    _outside("tail_call")


# --------------------------------------------------------------------------------------------------------- helpers


class HelperName:
    """A helper of the kernel by its name, callable in programs."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any) -> Any:
        _outside(f"helpers.{self.name}")

    def __repr__(self) -> str:
        return f"ebpf.helpers.{self.name}"


class Helpers:
    """``ebpf.helpers``: every helper of the kernel, without ``bpf_``: ``ebpf.helpers.get_smp_processor_id()``."""

    __slots__ = ()

    def __getattr__(self, name: str) -> HelperName:
        from ebpf.abi.helpers import HELPERS_BY_NAME

        if name.startswith("__") or f"bpf_{name}" not in HELPERS_BY_NAME:
            from ebpf.diagnostics import did_you_mean

            close = did_you_mean(name, [n.removeprefix("bpf_") for n in HELPERS_BY_NAME])
            words = f"; did you mean {' or '.join(f'`{n}`' for n in close)}?" if close else ""
            raise AttributeError(f"the kernel has no helper {name!r}{words}")
        return HelperName(name)

    def __repr__(self) -> str:
        return "ebpf.helpers"


helpers = Helpers()


def noinline(function: F) -> F:
    """Keep a helper function as a function of its own in the object, instead of a copy at each call."""
    function.__ebpf_noinline__ = True  # type: ignore[attr-defined]
    return function
