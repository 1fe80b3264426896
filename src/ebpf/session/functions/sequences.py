"""Declared maps that resemble a list: arrays of values and of open things (`containers`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.compiler.py.declarations import MapDecl
from ebpf.errors import UsageError
from ebpf.session.functions.containers import DeclaredMap, only_in_programs, u32_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    V = TypeVar("V")

    class _Sequence(Sequence[V]):
        pass
else:
    from ebpf.session.functions.containers import Subscripted

    class _Sequence(Subscripted, Sequence):
        __slots__ = ()

    V = None


class Array(DeclaredMap, _Sequence[V]):
    """A list of fixed length that programs share: ``totals = ebpf.Array(u64, 16)``, all zero at first."""

    __slots__ = ()
    TYPE = MapType.ARRAY

    def __init__(self, value: type[V], max_entries: int = 1, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(u32_type(), value, max_entries, flags=flags, name=name, pinning=pinning)

    def _index(self, index: int) -> int:
        size = self.live.max_entries
        at = index + size if index < 0 else index
        if not 0 <= at < size:
            raise IndexError(f"array {self.live.name!r} has entries 0 to {size - 1}, not {index}")
        return at

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.live.values()[index]
        return self.live[self._index(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            self.live[self._index(index)] = value
            return
        places, values = range(*index.indices(self.live.max_entries)), list(value)
        if len(places) != len(values):
            raise UsageError(f"{len(values)} values for {len(places)} places of an array: its length is fixed")
        self.live.update(zip(places, values))

    def __len__(self) -> int:
        return self.max_entries if not self._bound else self.live.max_entries

    def __iter__(self) -> Iterator[V]:
        values: list[V] = self.live.values()
        return iter(values)

    def __reversed__(self) -> Iterator[V]:
        values: list[V] = self.live.values()
        return reversed(values)

    def __contains__(self, value: object) -> bool:
        return value in self.live.values()

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The first place that holds ``value``; ``ValueError`` if none does."""
        return self.live.values().index(value, start, self.live.max_entries if stop is None else stop)

    def count(self, value: Any) -> int:
        """How many places hold ``value``."""
        return self.live.values().count(value)

    def clear(self) -> None:
        """Write zeros everywhere."""
        self.live.clear()


class PerCpuArray(Array[Any]):
    """An `Array` with a value for each CPU: elements are tuples, one value for each possible CPU."""

    __slots__ = ()
    TYPE = MapType.PERCPU_ARRAY

    def totals(self) -> list[Any]:
        """Each element summed over all CPUs (values that are numbers)."""
        return [sum(values) for values in self.live.values()]


class _Descriptors(Array[Any]):
    """An array whose values are open things: programs, sockets, devices, maps."""

    __slots__ = ()

    def __init__(self, max_entries: int = 64, *, flags: int = 0, name: str = "", pinning: str = "") -> None:
        DeclaredMap.__init__(self, u32_type(), u32_type(), max_entries, flags=flags, name=name, pinning=pinning)

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value.fileno() if hasattr(value, "fileno") else value)

    def __delitem__(self, index: int) -> None:
        del self.live[self._index(index)]

    def __getitem__(self, index: Any) -> Any:
        return self.live[index]

    def __iter__(self) -> Iterator[Any]:
        return (value for index in range(len(self)) if (value := self.live.get(index)) is not None)


class ProgArray(_Descriptors):
    """Programs to go on with: ``jumps[0] = other``, and in a program ``jumps.jump(ctx, 0)``."""

    __slots__ = ()
    TYPE = MapType.PROG_ARRAY

    def jump(self, ctx: Any, index: int) -> None:
        """In a program: go on with that program; where there is none, with the next line."""
        only_in_programs("jump")


class CgroupArray(_Descriptors):
    """Control groups to ask about: ``groups[0] = open("/sys/fs/cgroup/web")``."""

    __slots__ = ()
    TYPE = MapType.CGROUP_ARRAY

    def contains(self, index: int) -> bool:
        """In a program: whether the current task is in that group, or in one below it."""
        only_in_programs("contains")


class DevMap(_Descriptors):
    """Network devices to send packets to, by their indexes (Linux 4.14)."""

    __slots__ = ()
    TYPE = MapType.DEVMAP

    def redirect(self, key: int, flags: int = 0) -> int:
        """In a program: the verdict that sends the packet (or message) there."""
        only_in_programs("redirect")


class CpuMap(_Descriptors):
    """CPUs to hand packets to: the values are lengths of their queues (Linux 4.15)."""

    __slots__ = ()
    TYPE = MapType.CPUMAP

    def redirect(self, key: int, flags: int = 0) -> int:
        """In a program: the verdict that sends the packet (or message) there."""
        only_in_programs("redirect")


class XskMap(_Descriptors):
    """AF_XDP sockets, by queue (Linux 4.18)."""

    __slots__ = ()
    TYPE = MapType.XSKMAP

    def redirect(self, key: int, flags: int = 0) -> int:
        """In a program: the verdict that sends the packet (or message) there."""
        only_in_programs("redirect")


class SockMap(_Descriptors):
    """Sockets: ``peers[0] = sock``. Programs redirect to them, and `ebpf.sk_msg`, `ebpf.sk_skb` run for them."""

    __slots__ = ()
    TYPE = MapType.SOCKMAP

    def redirect(self, key: int, flags: int = 0) -> int:
        """In a program: the verdict that sends the packet (or message) there."""
        only_in_programs("redirect")


class ReuseportSockArray(_Descriptors):
    """Sockets of one port, for `ebpf.sk_reuseport` to choose from (Linux 4.19)."""

    __slots__ = ()
    TYPE = MapType.REUSEPORT_SOCKARRAY

    def __init__(self, max_entries: int = 64, *, flags: int = 0, name: str = "", pinning: str = "") -> None:
        from ebpf.compiler.py.types import u64

        DeclaredMap.__init__(self, u32_type(), u64, max_entries, flags=flags, name=name, pinning=pinning)


class ArrayOfMaps(_Descriptors):
    """An array whose values are maps like ``inner``: ``outer[0] = other_map``."""

    __slots__ = ()
    TYPE = MapType.ARRAY_OF_MAPS

    def __init__(self, inner: MapDecl, max_entries: int = 64, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        u32 = u32_type()
        DeclaredMap.__init__(self, u32, u32, max_entries, flags=flags, name=name, pinning=pinning, inner=inner)


class StackTrace(DeclaredMap):
    """Stacks, by the number that ``stacks.kernel(ctx)`` or ``stacks.user(ctx)`` gives in a program."""

    __slots__ = ()
    TYPE = MapType.STACK_TRACE

    def __init__(self, max_entries: int = 16_384, *, depth: int = 127, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        from ebpf.compiler.py.types import ArrayType, u64

        super().__init__(u32_type(), ArrayType(u64, depth), max_entries, flags=flags, name=name, pinning=pinning)

    def __getitem__(self, number: int) -> tuple[int, ...]:
        """The addresses of a stack, the innermost first."""
        found: tuple[int, ...] = tuple(self.live[number])
        return found[:found.index(0)] if 0 in found else found

    def __contains__(self, number: object) -> bool:
        return number in self.live

    def kernel(self, ctx: Any = None) -> int:
        """In a program: the number of the kernel's stack now; negative if there is none."""
        only_in_programs("kernel")

    def user(self, ctx: Any = None) -> int:
        """In a program: the number of the process's own stack now; negative if it cannot be read."""
        only_in_programs("user")
