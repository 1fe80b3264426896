"""A Python function that is a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ebpf.compiler.py.declarations import ProgramDecl
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ebpf.compiler.py.declarations import GlobalDecl
    from ebpf.object import Object, ProgramSpec
    from ebpf.session.backend import TestRun
    from ebpf.session.programs import Program
    from ebpf.session.session import Session


class _Life:
    """What a function has come to: shared with those that `Function.on` makes of it."""

    __slots__ = ("object", "sessions", "trial")

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.trial: Session | None = None  # what `test_run` began
        self.object: Object | None = None


class Function(ProgramDecl):
    """What a decorator such as `ebpf.kprobe` makes of a function: a program that `ebpf.attach` and `ebpf.load` take.

    It is compiled when it is first wanted, and importing its module costs nothing. It is not called from Python
    (`UsageError`): ``function`` is the function beneath.
    """

    def __init__(self, function: Callable[..., Any], section: str, *, name: str = "",
                 attach_options: Mapping[str, Any] | None = None, options: dict[str, Any] | None = None) -> None:
        if not hasattr(function, "__code__"):
            raise UsageError(f"a program is a function written with `def`, not {function!r}")
        super().__init__(function, section, name=name, options=options)
        #: where and how to attach it, as its decorator was told
        self.attach_options: dict[str, Any] = dict(attach_options or {})
        self._life = _Life()
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"<Function {self.name}: {self.section}>"

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise UsageError(f"`{self.name}` is an eBPF program: Python cannot call it",
                         helps=(f"`ebpf.attach({self.__name__})` runs it at its hook, "
                                f"`{self.__name__}.test_run(…)` once, on test data",
                                f"`{self.__name__}.function` is the Python function"))

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"`{self.name}` is a program and cannot be pickled: import it where it is wanted",
                         helps=(f"from {self.__module__} import {self.__name__}",))

    def on(self, **options: Any) -> Function:
        """The same program, to be attached elsewhere: ``ebpf.attach(drop.on(interface="veth0"))``.

        ``options`` are those of the decorator, and take the place of what it was told.
        """
        from ebpf.session.functions.attaching import check_options

        check_options(self.name, self.section, options)
        made = Function(self.function, self.section, name=self.name, options=self.options,
                        attach_options={**self.attach_options, **options})
        made._life = self._life
        return made

    # ---- what it is ----

    @property
    def source(self) -> str:
        """Its Python text, with its decorators."""
        from textwrap import dedent

        from ebpf.compiler.py.source import segment

        return dedent(segment(self.function.__code__)) + "\n"

    @property
    def object(self) -> Object:
        """The object that the function is compiled to, alone (`ebpf.load` takes it, too)."""
        if self._life.object is None:
            from ebpf.session.functions.attaching import compile_functions

            self._life.object = compile_functions([self])
        return self._life.object

    @property
    def spec(self) -> ProgramSpec:
        """The program in `object`: its instructions, relocations and lines."""
        return self.object.programs[self.name]

    @property
    def globals(self) -> dict[str, GlobalDecl]:
        """The global variables that it, and what it calls, refer to, by name: ``count.globals["limit"].value``."""
        from ebpf.compiler.py.declarations import collect

        return collect([self]).globals

    # ---- where it runs ----

    def _bind(self, session: Session) -> None:
        life = self._life
        life.sessions = [old for old in life.sessions if not old.closed] + [session]
        if life.trial is not None and life.trial is not session:
            life.trial.close()
            life.trial = None

    @property
    def session(self) -> Session | None:
        """The open session that was made from it last."""
        return next((s for s in reversed(self._life.sessions) if not s.closed), None)

    @property
    def program(self) -> Program:
        """The loaded program in its open session; `UsageError` without one."""
        session = self.session
        if session is None:
            raise UsageError(f"`{self.name}` is not loaded",
                             helps=(f"ebpf.attach({self.__name__}), or ebpf.load({self.__name__}) without attaching",))
        return session.programs[self.name]

    def fileno(self) -> int:
        """The descriptor of the loaded program: ``jumps[0] = other`` puts it into a `ProgArray`."""
        return self.program.fileno()

    def test_run(self, data: bytes = b"", context: bytes | Mapping[str, Any] = b"", **options: Any) -> TestRun:
        """Run it once on ``data`` (a packet) and ``context``; see `Program.test_run`.

        Where it is loaded, it runs there. Else it is loaded into the userspace machine first, in a session of its own
        that stays until the next `ebpf.attach` or `ebpf.load` of it, or `reset`: maps and global variables can be read
        and set afterwards, and keep what they hold from one run to the next.
        """
        if self.session is None:
            from ebpf.session.functions.attaching import load_functions

            self._life.trial = load_functions([self], backend="machine")
        return self.program.test_run(data, context, **options)

    def reset(self) -> None:
        """End the session that `test_run` began: maps and variables begin anew with the next one."""
        if self._life.trial is not None:
            self._life.trial.close()
            self._life.trial = None

    def _repr_html_(self) -> str:
        from ebpf.session.notebook import function_page

        return function_page(self)
