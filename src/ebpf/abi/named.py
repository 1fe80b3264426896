"""Integers that know their kernel name.

`enum.IntEnum` would do, but importing `enum` and building these classes costs 5 ms of a cached start that may last 65.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self


class NamedInt(int):
    """An integer of a kernel enumeration: ``XDP = ProgType(6)``, ``ProgType.XDP.name == "XDP"``, equal to ``6``.

    A number that this table does not have (a newer kernel's) is kept, and named by its number.
    """

    PREFIX: ClassVar[str] = ""
    _by_value: ClassVar[dict[int, NamedInt]]
    _by_name: ClassVar[dict[str, NamedInt]]
    name: str

    def __new__(cls, value: int) -> Self:
        known = cls._by_value.get(value)
        if known is not None:
            return known  # type: ignore[return-value]
        new = super().__new__(cls, value)
        new.name = f"UNKNOWN_{value}"
        return new

    @property
    def kernel_name(self) -> str:
        """The enumerator's name in the kernel: ``BPF_PROG_TYPE_XDP``."""
        return self.PREFIX + self.name

    @classmethod
    def define(cls, names: str) -> None:
        """Give the class its members: names in order of value, separated by white space, beginning at 0."""
        cls._by_value, cls._by_name = {}, {}
        for value, name in enumerate(names.split()):
            member = int.__new__(cls, value)
            member.name = name
            cls._by_value[value] = cls._by_name[name] = member
            setattr(cls, name, member)

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The member called ``name`` (with the kernel's prefix or without, any case), or ``None``."""
        upper = name.upper()
        found = cls._by_name.get(upper)
        if found is None and upper.startswith(cls.PREFIX):
            found = cls._by_name.get(upper[len(cls.PREFIX):])
        return found  # type: ignore[return-value]

    @classmethod
    def members(cls) -> Iterator[Self]:
        """Every member, by value."""
        return iter(cls._by_value.values())  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __str__(self) -> str:
        return self.kernel_name

    def __reduce__(self) -> tuple[type[Self], tuple[int]]:
        return type(self), (int(self),)
