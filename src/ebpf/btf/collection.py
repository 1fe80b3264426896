"""`BtfSet`: the BTF of a kernel and its modules, opened when somebody needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ebpf.btf.reader import Btf
    from ebpf.btf.types import Kind


class BtfSet(Sequence["Btf"]):
    """``vmlinux`` first, then the modules, as a sequence of `Btf` (for `relocate`) with look-ups over all of them.

    ``open_module`` gets a module's name and ``vmlinux``, and returns the module's split BTF; it is called at most once
    for each. A module whose BTF cannot be read (BtfError; OSError: it was unloaded meanwhile) counts as empty.
    """

    def __init__(self, vmlinux: Btf, modules: Iterable[str] = (),
                 open_module: Callable[[str, Btf], Btf] | None = None) -> None:
        self.vmlinux = vmlinux
        self.names = ("vmlinux", *modules)
        self._open = open_module
        self._opened: dict[int, Btf] = {0: vmlinux}

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Btf: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Btf]: ...
    def __getitem__(self, index: int | slice) -> Btf | Sequence[Btf]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self.names)
        found = self._opened.get(index)
        if found is None:
            name = self.names[index]
            try:
                if self._open is None:
                    raise BtfError(f"no way to open the BTF of module {name}")
                found = self._open(name, self.vmlinux)
            except (BtfError, OSError):
                found = self._empty()
            self._opened[index] = found
        return found

    def _empty(self) -> Btf:
        from ebpf.btf.writer import Builder

        return Builder(base=self.vmlinux).build()

    def find(self, name: str, kind: Kind | None = None) -> tuple[Btf, int] | None:
        """(the BTF, the id in it) of the first type called ``name``; modules are asked only if ``vmlinux`` has none."""
        return next(self.iter_find(name, kind), None)

    def iter_find(self, name: str, kind: Kind | None = None) -> Iterator[tuple[Btf, int]]:
        """Every type called ``name``, ``vmlinux``'s first."""
        for n in range(len(self)):
            btf = self[n]
            for id in btf.find_all(name, kind, own=True):
                yield btf, id

    def find_enumerator(self, name: str) -> tuple[Btf, int, int] | None:
        """(the BTF, id of the enum, value) of the first enumerator called ``name``."""
        for n in range(len(self)):
            found = self[n].find_enumerator(name)
            if found is not None:
                return self[n], *found
        return None
