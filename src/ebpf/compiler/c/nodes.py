"""How tree nodes are declared: like slotted dataclasses, at a tenth of the import time.

A dataclass costs 0.2 to 0.3 ms when its module is imported (it is made twice, and its methods are compiled at once);
sixty node classes made 10 to 20 ms of every start. Here a class's ``__init__`` is compiled when its first instance is
made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable


class _Factory:
    __slots__ = ("make",)

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """A field whose default is made anew for each node."""
    return _Factory(default_factory)


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class NodeType(type):
    """The type of node classes: annotations become slots and the parameters of ``__init__``, base class's first.

    ``_fields`` are their names in that order; nodes are compared by identity.
    """

    _fields: tuple[str, ...]
    _defaults: dict[str, object]

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> NodeType:
        own = tuple(namespace.get("__annotations__", ()))
        inherited: tuple[str, ...] = ()
        defaults: dict[str, object] = {}
        for base in bases:
            inherited += getattr(base, "_fields", ())
            defaults.update(getattr(base, "_defaults", {}))
        defaults.update({f: namespace.pop(f) for f in own if f in namespace})
        namespace["__slots__"] = own
        namespace["_fields"] = namespace["__match_args__"] = inherited + own
        namespace["_defaults"] = defaults
        namespace.setdefault("__init__", _first_init)
        return super().__new__(mcs, name, bases, namespace)


def _first_init(self: Any, *args: object, **named: object) -> None:
    """Compile the class's real ``__init__``, and run it."""
    cls = type(self)
    scope: dict[str, object] = {}
    parameters, lines = ["self"], []
    for name in cls._fields:
        value = name
        if name in cls._defaults:
            default = cls._defaults[name]
            scope[f"_default_{name}"] = default
            parameters.append(f"{name}=_default_{name}")
            if isinstance(default, _Factory):
                value = f"_default_{name}.make() if {name} is _default_{name} else {name}"
        else:
            parameters.append(name)
        lines.append(f" self.{name} = {value}")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)
    init: Any = scope["__init__"]
    cls.__init__ = init
    init(self, *args, **named)


class NodeBase(metaclass=NodeType):
    """Base of all node classes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in type(self)._fields)})"
