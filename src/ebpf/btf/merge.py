"""`Merger`: the types of several objects as one set, each type once.

Two structs that say the same are one, though they stand in different objects under different ids and refer to
themselves through pointers. So equality is coinductive: a pair of types is assumed equal while what they contain is
compared, and all pairs that were assumed become true together, or none. What merely refers (pointers, arrays,
qualifiers, prototypes) is one if what it refers to is. A forward declaration is the struct of that name as soon as one
object defines it.

Functions, variables and sections are the linker's: whether two of them are one is a question of symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.btf import types as T
from ebpf.btf.types import Kind, moved, references
from ebpf.btf.writer import Builder
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ebpf.btf.reader import Btf
    from ebpf.btf.types import Type

_OF_SYMBOLS = (Kind.FUNC, Kind.VAR, Kind.DATASEC, Kind.DECL_TAG)
_COMPOSITES = (Kind.STRUCT, Kind.UNION, Kind.FWD)


class Ids(dict[int, int]):
    """Type ids of one object → ids in the whole."""

    def __missing__(self, id: int) -> int:
        raise BtfError(f"type {id} is referred to, but is none")


class Merger:
    """Collects the types of objects. Ids count from 1; what `add` returned stays true whatever is added later."""

    def __init__(self) -> None:
        self.types: list[Type] = [T.Void()]
        #: `_key` of a struct, union or forward declaration → ids here
        self.composites: dict[object, list[int]] = {}
        #: kind (named tuples of different classes may be equal) and contents of any other type → its id here
        self.others: dict[tuple[Kind, Type], int] = {}

    def add(self, source: Btf) -> Ids:
        """All types of ``source`` but those that belong to symbols: id there → id here.

        Raises `BtfError` if one is damaged, or refers to itself without a struct between.
        """
        ids = Ids({0: 0})
        fresh = []
        completed: dict[int, int] = {}  # structs whose members are yet to be written: id here → id there
        for type in source:
            if type.kind in _COMPOSITES and type.id not in ids and not self._find(source, type, ids, completed):
                fresh.append(type)
        for type in fresh:  # they may refer to each other in circles: first an id for each
            if type.id not in ids:
                ids[type.id] = self.append(type)
                self.composites.setdefault(_key(type), []).append(ids[type.id])
                completed[ids[type.id]] = type.id
        for type in source:
            if type.kind not in _OF_SYMBOLS:
                self._add_other(source, type.id, ids)
        for here, there in completed.items():
            self.types[here] = moved(source.type(there), lambda id: ids[id])
        return ids

    def append(self, type: Type) -> int:
        """Add ``type``, which refers to ids here, whatever there is already; returns its id."""
        self.types.append(type)
        return len(self.types) - 1

    def builder(self) -> Builder:
        """A builder that holds the types under the same ids."""
        builder = Builder()
        for type in self.types[1:]:
            builder.add(type)
        return builder

    def _find(self, source: Btf, type: Type, ids: dict[int, int], completed: dict[int, int]) -> bool:
        """Is a struct like ``type`` here? Then it, and all that was compared on the way, goes into ``ids``."""
        for candidate in self.composites.get(_key(type), ()):
            assumed = equal(source.type, type.id, self.types.__getitem__, candidate, known=ids)
            if assumed is None:
                continue
            definitions = {here: there for there, here in assumed.items()
                           if self.types[here].kind == Kind.FWD != source.type(there).kind}
            if all(completed.get(here, there) == there for here, there in definitions.items()):
                completed |= definitions
                ids |= assumed
                return True
        return False

    def _add_other(self, source: Btf, id: int, ids: dict[int, int]) -> None:
        """Add what merely refers, what it refers to first. By a list: damaged input must not exhaust the stack."""
        wanted, waiting = [id], set()
        while wanted:
            current = wanted[-1]
            if current in ids:
                wanted.pop()
                continue
            type = source.type(current)
            missing = [i for i in references(type) if i not in ids]
            if not missing:
                new = moved(type, lambda id: ids[id])._replace(id=0)
                if (type.kind, new) not in self.others:
                    self.others[type.kind, new] = self.append(new)
                ids[current] = self.others[type.kind, new]
            elif current in waiting:
                raise BtfError(f"type {current} ({type.kind.name}) refers to itself", offset=source.offset_of(current))
            else:
                waiting.add(current)
                wanted += missing


def equal(there: Callable[[int], Type], id: int, here: Callable[[int], Type], candidate: int, *,
          known: Mapping[int, int] | None = None, names: bool = True) -> dict[int, int] | None:
    """Does type ``id`` of one set of types say the same as ``candidate`` of another? The pairs that then are equal.

    ``known`` pairs are taken for true, and are the only ones that their members may be in. Without ``names`` those of
    parameters do not count: declarations may differ in them.
    """
    known = known or {}
    assumed: dict[int, int] = {}
    pairs = [(id, candidate)]
    while pairs:
        a, b = pairs.pop()
        already = known.get(a, assumed.get(a))
        if already is not None:
            if already != b:
                return None
            continue
        if not a or not b:
            if a or b:
                return None
            continue
        x, y = there(a), here(b)
        assumed[a] = b
        if Kind.FWD in (x.kind, y.kind) and _key(x) == _key(y):
            continue
        if shape(x, names=names) != shape(y, names=names):
            return None
        pairs += zip(references(x), references(y), strict=True)
    return assumed


def shape(type: Type, *, names: bool = True) -> tuple[Any, ...]:
    """What a type says without what it refers to."""
    if isinstance(type, T.FuncProto) and not names:
        return (type.kind, len(type.params))
    return (type.kind, *moved(type, lambda id: 0)[1:])


def _key(type: Type) -> object:
    """Structs that may be one have equal keys: the name, or of those without a name all that they say."""
    if type.name:
        return type.name, type.kind == Kind.UNION or isinstance(type, T.Fwd) and type.is_union
    return shape(type)
