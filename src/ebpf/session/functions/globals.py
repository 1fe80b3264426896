"""Global variables of programs that are Python functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.py.declarations import GlobalDecl
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from typing import Generic, TypeVar

    from ebpf.session.session import Session

    T = TypeVar("T")

    class _Typed(GlobalDecl, Generic[T]):
        pass
else:
    class _Typed(GlobalDecl):
        __slots__ = ()

        def __class_getitem__(cls, _: Any) -> Any:
            return cls

    T = None


class Global(_Typed[T]):
    """A variable that programs and Python share: ``total = ebpf.Global(u64)``, and ``total.value`` on both sides.

    Before a session it is what the next one begins with; while one is open, what the programs see. With ``const=True``
    programs only read it, so that the verifier leaves out what it switches off; it is set before they are loaded.
    """

    __slots__ = ("_bound", "_wanted")

    def __init__(self, type: type[T], initial: T | None = None, *, const: bool = False, name: str = "") -> None:
        super().__init__(type, initial, const=const, name=name)
        self._bound: list[tuple[Session, str]] = []
        self._wanted: Any = None

    def __repr__(self) -> str:
        return f"<Global {self.name or '?'}: {self.type!r}{', const' * self.const}>"

    def _bind(self, session: Session, name: str) -> None:
        self._bound = [pair for pair in self._bound if not pair[0].closed] + [(session, name)]

    @property
    def value(self) -> T:
        """What it holds now. `UsageError` once the session that had it is closed."""
        for session, name in reversed(self._bound):
            if not session.closed:
                found: T = session.variables[name]
                return found
        if self._bound:
            raise UsageError(f"global variable {self._bound[-1][1]!r}: its session is closed",
                             helps=("read it inside `with ebpf.attach(…):`",))
        if self._wanted is not None or self.initial is not None:
            known: T = self.initial if self._wanted is None else self._wanted
            return known
        from ebpf.compiler.py.types import zero

        nothing: T = zero(self.type)
        return nothing

    @value.setter
    def value(self, value: T) -> None:
        for session, name in reversed(self._bound):
            if not session.closed:
                session.variables[name] = value
                return
        self._bound = []
        self._wanted = value
