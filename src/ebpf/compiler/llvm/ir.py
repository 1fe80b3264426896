"""A writer of LLVM IR as text: modules, functions, blocks, metadata.

Values are their own text (``"%7"``, ``"42"``, ``"@counts"``); types are LLVM's words (``"i64"``, ``"ptr"``). Nothing is
checked here: LLVM's verifier runs on every module. A line is a string, or a callable where a number is known only when
the whole module is (the position of a member in a record of which only used members are described).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Line = str | Callable[[], str]

#: triple and data layout by what is compiled for: BPF, or a host by the facts' name of its architecture
TARGETS = {
    "bpf": ("bpfel", "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"),
    "x86": (
        "x86_64-unknown-linux-gnu",
        "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128",
    ),
    "arm64": (
        "aarch64-unknown-linux-gnu",
        "e-m:e-p270:32:32-p271:32:32-p272:64:64-i8:8:32-i16:16:32-i64:64-i128:128-n32:64-S128-Fn32",
    ),
}


class Module:
    """One translation unit's IR. `text` gives it whole."""

    def __init__(self, source_name: str, target: str = "bpf") -> None:
        triple, layout = TARGETS[target]
        self._head = [
            f"source_filename = {quote(source_name)}",
            f'target datalayout = "{layout}"',
            f'target triple = "{triple}"',
            "",
        ]
        self._globals: list[str] = []
        self._declared: dict[str, str] = {}
        self._attributes: dict[str, str] = {}
        self._functions: list[FunctionWriter] = []
        self._raw: dict[str, str] = {}
        self._metadata: list[str | Callable[[], str]] = []
        self._unique: dict[str, str] = {}
        self._named: dict[str, list[str]] = {}
        self._used: list[str] = []
        self._strings: dict[bytes, str] = {}

    # ------------------------------------------------------------------------------------------ pieces

    def add_global(self, line: str) -> None:
        self._globals.append(line)

    def keep(self, symbol: str) -> None:
        """Names a symbol that the optimiser must not drop (``llvm.compiler.used``)."""
        self._used.append(symbol)

    def declare(self, line: str) -> None:
        """``declare`` a function once."""
        self._declared.setdefault(line, line)

    def intrinsic(self, name: str, signature: str, attributes: str = "") -> str:
        """``@name`` of an intrinsic, declared on its first use; ``signature`` is ``"void (ptr)"``."""
        if name not in self._declared:
            result, _, parameters = signature.partition(" ")
            self._declared[name] = f"declare {result} @{name}{parameters} {attributes}".rstrip()
        return f"@{name}"

    def runtime(self, name: str, text: str) -> str:
        """``@name`` of a function written in IR by hand, added on its first use."""
        self._raw.setdefault(name, text)
        return f"@{name}"

    def attributes(self, text: str) -> str:
        """``#n`` for a set of function attributes."""
        return self._attributes.setdefault(text, f"#{len(self._attributes)}")

    def string(self, data: bytes) -> str:
        """A private constant holding ``data``; equal strings share one. LLVM puts it into a section ``.rodata.str…`` or
        ``.rodata.cst…``."""
        name = self._strings.get(data)
        if name is None:
            name = self._strings[data] = f"@.str.{len(self._strings)}"
            self._globals.append(
                f"{name} = private unnamed_addr constant [{len(data)} x i8] {bytes_constant(data)}, align 1"
            )
        return name

    def function(self, head: str) -> FunctionWriter:
        writer = FunctionWriter(self, head)
        self._functions.append(writer)
        return writer

    # ---------------------------------------------------------------------------------------- metadata

    def node(self, text: str) -> str:
        """A metadata node, shared with an equal one."""
        number = self._unique.get(text)
        if number is None:
            number = self._unique[text] = f"!{len(self._metadata)}"
            self._metadata.append(text)
        return number

    def distinct(self, text: str | Callable[[], str] = "") -> str:
        """A node of its own; ``text`` may be given later through `fill`, or be a callable asked at the end."""
        self._metadata.append(text)
        return f"!{len(self._metadata) - 1}"

    def fill(self, node: str, text: str) -> None:
        self._metadata[int(node[1:])] = text

    def named(self, name: str, node: str) -> None:
        self._named.setdefault(name, []).append(node)

    def text(self) -> str:
        """The module. Callables are asked now, metadata last: they may still add nodes."""
        out = self._head + self._globals
        if self._used:
            items = ", ".join(f"ptr {s}" for s in self._used)
            out.append(
                f'@llvm.compiler.used = appending global [{len(self._used)} x ptr] [{items}], section "llvm.metadata"'
            )
        body: list[str] = []
        for f in self._functions:
            f.write(body)
        out += self._raw.values()
        out += body
        out += self._declared.values()
        out += [f"attributes {number} = {{ {text} }}" for text, number in self._attributes.items()]
        lines: list[str] = []
        i = 0
        while i < len(self._metadata):
            item = self._metadata[i]
            lines.append(f"!{i} = {item if isinstance(item, str) else item()}")
            i += 1
        out += [f"!{name} = !{{{', '.join(nodes)}}}" for name, nodes in self._named.items()]
        out += lines
        out.append("")
        return "\n".join(out)


class FunctionWriter:
    """Writes one function, block by block.

    ``dbg`` is appended to every instruction (``", !dbg !7"``). A terminator closes the block; whatever is written
    before the next `block` goes to a block nobody reaches, which LLVM drops.
    """

    __slots__ = ("_allocas", "_blocks", "_head", "_lines", "_number", "block_name", "dbg", "module", "open")

    def __init__(self, module: Module, head: str) -> None:
        self.module = module
        self._head = head
        self._allocas: list[str] = []
        self._lines: list[Line] = []
        self._number = 0
        self._blocks = 0
        self.dbg = ""
        self.block_name = "entry"
        self.open = True

    def emit(self, text: str) -> str:
        """An instruction with a result; gives its name."""
        if not self.open:
            self.block(self.label("dead"))
        self._number += 1
        name = f"%v{self._number}"
        self._lines.append(f"  {name} = {text}{self.dbg}")
        return name

    def emit_late(self, text: Callable[[], str]) -> str:
        """Like `emit`, for text that is known only at the end."""
        if not self.open:
            self.block(self.label("dead"))
        self._number += 1
        name = f"%v{self._number}"
        dbg = self.dbg
        self._lines.append(lambda: f"  {name} = {text()}{dbg}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        if not self.open:
            self.block(self.label("dead"))
        self._lines.append(f"  {text}{self.dbg}")

    def record(self, text: str) -> None:
        """A debug record, which is no instruction and has its own place."""
        if self.open:
            self._lines.append(f"    {text}")

    def end(self, text: str) -> None:
        """A terminator. After another one it is dropped: nothing can reach it."""
        if self.open:
            self._lines.append(f"  {text}{self.dbg}")
            self.open = False

    def alloca(self, type: str, align: int) -> str:
        self._number += 1
        name = f"%v{self._number}"
        self._allocas.append(f"  {name} = alloca {type}, align {align}")
        return name

    def label(self, hint: str) -> str:
        """A fresh block name."""
        self._blocks += 1
        return f"{hint}{self._blocks}"

    def block(self, name: str) -> None:
        """Begins block ``name``; an open block falls through into it."""
        if self.open:
            self._lines.append(f"  br label %{name}{self.dbg}")
        self._lines.append(f"{name}:")
        self.block_name = name
        self.open = True

    def jump(self, name: str) -> None:
        self.end(f"br label %{name}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        self.end(f"br i1 {condition}, label %{yes}, label %{no}")

    def write(self, out: list[str]) -> None:
        out.append(self._head + " {")
        out.append("entry:")
        out += self._allocas
        for line in self._lines:
            out.append(line if isinstance(line, str) else line())
        if self.open:
            out.append("  unreachable")
        out.append("}\n")


# LLVM names the start of a code section by a symbol of the section's name, and gives up where something else has that
# name already (`SEC("xdp") int xdp(…)`; clang does too). Such a section is called `~dp` until LLVM is done.
STAND_IN = "~"


def stand_in(section: str) -> str:
    """What to call a code section, as long as LLVM has it, whose name is a symbol's too; `output.finish` undoes it."""
    return STAND_IN + section[1:]


def quote(text: str) -> str:
    """LLVM's quoted string: everything unusual as ``\\hh``."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{_escape(text.encode("utf-8", "surrogateescape"))}"'


def symbol(name: str) -> str:
    """``@name``, quoted where it has to be."""
    plain = name.replace("_", "a").replace(".", "a").replace("$", "a")
    return f"@{name}" if plain.isascii() and plain.isalnum() and not name[0].isdigit() else "@" + quote(name)


def bytes_constant(data: bytes) -> str:
    """A ``[n x i8]`` constant."""
    return f'c"{_escape(data)}"' if any(data) else "zeroinitializer"


def _escape(data: bytes) -> str:
    return "".join(_ESCAPED[b] for b in data)


_ESCAPED = [chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02X}" for b in range(256)]
