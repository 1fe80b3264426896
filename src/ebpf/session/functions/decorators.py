"""Decorators that make programs of functions: one for every kind of hook in the table of section names (`hooks`).

::

    @ebpf.tracepoint("syscalls:sys_enter_openat")
    @ebpf.kprobe("vfs_read", cookie=7)
    @ebpf.xdp(interface="eth0")
    @ebpf.cgroup_connect4(cgroup="/sys/fs/cgroup/web")
    @ebpf.fentry("do_unlinkat", sleepable=True)

A section's name is the decorator's: ``.`` and, after ``cgroup``, ``/`` become ``_``, ``.s`` is ``sleepable=True``,
``.frags`` is ``frags=True``; what comes after any other slash is the first argument (``tc("ingress")``).
Options say where to attach (`attaching`), and may be left for `Function.on`. `hooks.pyi` tells editors all of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.sections import SECTION_NAMES, TARGETED_SECTIONS
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.session.functions.function import Function

# Shorter names of the same sections, and names that say too little without "SEC".
_ALIASES = frozenset(("tp", "raw_tp", "raw_tp.w", "classifier"))
_RENAMED = {"socket": "socket_filter", "action": "tc_action"}


class Hook:
    """A decorator: call it with a target and options, or use it as it is where it needs neither."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        #: (variant, sleepable, frags) → section name
        self.sections: dict[tuple[str, bool, bool], str] = {}
        self.targeted = False  # the section names a target

    def __repr__(self) -> str:
        return f"<decorator ebpf.{self.__name__}>"

    @property
    def variants(self) -> list[str]:
        """What the first argument may be where it is no target; "" says it may be left away."""
        return sorted({variant for variant, _, _ in self.sections})

    def __call__(self, target: Any = "", /, *, sleepable: bool = False, frags: bool = False, name: str = "",
                 **options: Any) -> Any:
        """The decorator; or, used without parentheses, the program."""
        if hasattr(target, "__code__"):
            return self(target.__name__ if self.__name__ in NAMED_BY_FUNCTION else "")(target)
        if not isinstance(target, str):
            raise UsageError(f"@ebpf.{self.__name__}: the target is text, not {target!r}")
        compiled = self._table(target, options) if self.__name__ == "struct_ops" else None
        section = self._section(target, sleepable, frags, options)

        def decorate(function: Callable[..., Any]) -> Function:
            from ebpf.session.functions.attaching import check_options
            from ebpf.session.functions.function import Function

            if isinstance(function, Function):
                raise UsageError(f"`{function.name}` is a program already ({function.section}): one decorator each",
                                 helps=("define two programs that call one plain function",))
            check_options(getattr(function, "__name__", "?"), section, options)
            return Function(function, section, name=name, attach_options=options, options=compiled)

        return decorate

    def _table(self, target: str, options: dict[str, Any]) -> dict[str, Any]:
        """What the compiler is told of a struct_ops program, of whose table it is a part."""
        table = options.pop("table", None)
        if not isinstance(table, str) or not table.isidentifier() or target.count(".") != 1:
            raise UsageError("@ebpf.struct_ops needs the kernel's struct, the function in it, and the table's name",
                             helps=('@ebpf.struct_ops("tcp_congestion_ops.ssthresh", table="mine")',
                                    "members that are no functions are set in a table that is written in C"))
        return {"table": table}

    def _section(self, target: str, sleepable: bool, frags: bool, options: dict[str, Any]) -> str:
        variant = "" if self.targeted or self.variants == [""] else target
        found = self.sections.get((variant, sleepable, frags))
        if found is None:
            from ebpf.diagnostics import did_you_mean

            known = self.variants
            if variant not in known:
                similar = did_you_mean(variant, known, limit=1)
                said = f"@ebpf.{self.__name__}({variant!r})" if variant else f"@ebpf.{self.__name__} alone"
                raise UsageError(f"there is no hook {said}",
                                 helps=(f"did you mean {similar[0]!r}?" if similar else
                                        f"there are {', '.join(repr(v) for v in known if v)}",))
            raise UsageError(f"@ebpf.{self.__name__}: there is no {'sleepable' if sleepable else 'frags'} one")
        if not self.targeted:
            if target and not variant:  # the hook's own word: an event, a netfilter hook
                word = _WORDS.get(self.__name__)
                if word is None:
                    raise UsageError(f"@ebpf.{self.__name__} takes no target, and it was given {target!r}")
                options.setdefault(word, target)
            return found
        if self.__name__ == "tracepoint":
            target = target.replace(":", "/", 1)
        binary = options.pop("binary", None)
        if binary is not None:
            target = f"{binary}:{target}"
        return f"{found}/{target}" if target else found


# Without a target the program's own name is that of the kernel's function or system call.
NAMED_BY_FUNCTION = frozenset(("kprobe", "kretprobe", "ksyscall", "kretsyscall", "fentry", "fexit"))
_WORDS = {"perf_event": "event", "netfilter": "hook"}


def _named() -> dict[str, Hook]:
    found: dict[str, Hook] = {}
    for section in SECTION_NAMES:
        if section in _ALIASES:
            continue
        head, _, variant = section.partition("/")
        parts = head.split(".")
        sleepable, frags = "s" in parts[1:], "frags" in parts[1:]
        name = "_".join(part for part in parts if part not in ("s", "frags"))
        if name == "cgroup":
            name, variant = f"cgroup_{variant}", ""
        name = _RENAMED.get(name, name)
        hook = found.setdefault(name, Hook(name))
        hook.sections[variant, sleepable, frags] = section
        hook.targeted = hook.targeted or section in TARGETED_SECTIONS
    for hook in found.values():
        hook.__doc__ = _about(hook)
    return dict(sorted(found.items()))


def _about(hook: Hook) -> str:
    sections = ", ".join(f"``{section}``" for section in hook.sections.values())
    first = "a target" if hook.targeted else " or ".join(repr(v) for v in hook.variants if v)
    return f"Make a program of a function: section {sections}.{f' The first argument: {first}.' if first else ''}"


HOOKS: dict[str, Hook] = _named()
"""Every decorator by its name."""

