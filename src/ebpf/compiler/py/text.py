"""Text: f-strings and what prints them, comparisons."""

from __future__ import annotations

import ast
import re

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py.contexts import Contexts
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.memory import _is_char
from ebpf.compiler.py.values import Const, Format, Int, Ref, Value, words


class Text(Contexts):
    def value(self, node: ast.expr) -> Value:
        raise NotImplementedError

    def _is_text(self, v: Value) -> bool:
        if isinstance(v, Const):
            return isinstance(v.value, (str, bytes))
        if not isinstance(v, Ref):
            return False
        inner = C.strip(v.t)
        return _is_char(inner.element) if isinstance(inner, C.Array) else v.pointer and _is_char(v.t)

    def text_equal(self, left: Value, right: Value, equal: bool, node: ast.AST, prefix: bool = False) -> Value:
        """Whether two texts are the same (or one begins with the other, a constant)."""
        if isinstance(left, Const):
            left, right = right, left
        if isinstance(left, Const):
            a, b = (v.value.encode() if isinstance(v.value, str) else v.value for v in (left, right))  # type: ignore[attr-defined]
            return Const((a.startswith(b) if prefix else a == b) is equal)
        if not self._is_text(left) or not self._is_text(right):
            other = right if self._is_text(left) else left
            self.refuse("P0207", node, f"text and {words(other)} do not compare")
        assert isinstance(left, Ref)
        a_ref = self.own(left, node)
        inner = C.strip(a_ref.t)
        assert isinstance(inner, C.Array)
        size = inner.count or 0
        if isinstance(right, Const):
            raw = right.value.encode() if isinstance(right.value, str) else right.value
            if len(raw) > size:
                self.refuse("P0205", node, f"this is always {not equal}: {words(left)} never has {len(raw)} bytes")
            count = len(raw) if prefix or len(raw) == size else len(raw) + 1
            if not count:
                return Const(equal)
            literal = tree.StringConst(C.Array(C.CHAR, count), self.loc, self.end, raw.ljust(count, b"\0"))
            second_at: tree.Expr = tree.Convert(C.Pointer(C.CHAR), self.loc, self.end, "decay", literal)
        else:
            assert isinstance(right, Ref)
            b_ref = self.own(right, node)
            second = C.strip(b_ref.t)
            assert isinstance(second, C.Array)
            count = min(size, second.count or 0)
            second_at = b_ref.e
        args = [cast(a_ref.e, VOID_POINTER), cast(second_at, VOID_POINTER), self.const(count, C.ULONG)]
        e = self.temp(tree.Builtin(C.INT, self.loc, self.end, "memcmp", args))
        return self.truth_of(self.compare("==" if equal else "!=", e, self.const(0, C.INT)))

    # -------------------------------------------------------------------------------------------------- f-strings

    def _joined(self, node: ast.JoinedStr) -> Value:
        """An f-string: its format for the kernel, and what is printed."""
        text, args = b"", []
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value).encode().replace(b"%", b"%%")
                continue
            assert isinstance(part, ast.FormattedValue)
            if part.conversion not in (-1, 115):
                self.refuse("P0214", part, "programs cannot print a value's `repr`", helps=["leave `!r` away"])
            written = ""
            if isinstance(part.format_spec, ast.JoinedStr):
                for piece in part.format_spec.values:
                    if not isinstance(piece, ast.Constant):
                        self.refuse("P0214", part, "a format has to be constant")
                    written += str(piece.value)
            v = self.value(part.value)
            word, printed = self._conversion(v, written, part)
            text += word
            if printed is not None:
                args.append(printed)
        return Format(text, args)

    def _conversion(self, v: Value, spec: str, node: ast.FormattedValue) -> tuple[bytes, Value | None]:
        """The kernel's printf conversion for a value; constants are printed right here."""
        if isinstance(v, Const):
            try:
                return format(v.value, spec).encode().replace(b"%", b"%%"), None
            except (TypeError, ValueError) as error:
                self.refuse("P0214", node, f"`{spec}` does not fit {words(v)}: {error}")
        self.not_none(v, node.value)
        if isinstance(v, Ref) and not (v.pointer and not _is_char(v.t)):
            inner = C.strip(v.t)
            text = _is_char(inner.element) if isinstance(inner, C.Array) else v.pointer
            if not text or spec not in ("", "s"):
                self.refuse(
                    "P0214",
                    node,
                    f"{words(v)} cannot be printed{f' as `{spec}`' if text else ''}",
                    helps=["print its members"] if not text else ["leave the format away"],
                )
            return b"%s", self.own(v, node)
        number = self.number(v, node.value)
        prefix = "l" * 2 if number.ty.size == 8 else ""
        body, letter = (spec[:-1], spec[-1]) if spec and spec[-1] in "dxXobc" else (spec, "")
        before = b"0x" if body.startswith("#") else b""  # the kernel's printf has no `#`
        body = body.removeprefix("#")
        if letter in ("o", "b", "c") or not (body == "" or body.isdigit()):
            self.refuse(
                "P0214",
                node,
                f"the kernel cannot print a number as `{spec}`",
                helps=["there are `x`, `X`, `d`, `#x` and widths such as `08x`"],
            )
        kind = letter if letter in ("x", "X") else "d" if number.ty.signed else "u"
        return before + f"%{body}{prefix}{kind}".encode(), number

    def _needs(self, version: str, what: str, node: ast.AST, instead: str) -> None:
        """Refuse what the helpers of an older kernel cannot do."""
        major, _, minor = version.partition(".")
        if self.state.facts.kernel_version | 255 < int(major) << 16 | int(minor) << 8:
            self.refuse("P0214", node, f"{what} needs Linux {version}", helps=[instead])

    def print_value(self, v: Value, node: ast.expr) -> None:
        if isinstance(v, Const):
            v = Format(
                str(v.value if not isinstance(v.value, bytes) else v.value.decode(errors="replace"))
                .encode()
                .replace(b"%", b"%%"),
                [],
            )
        elif not isinstance(v, Format):
            word, value = self._conversion(v, "", ast.copy_location(ast.FormattedValue(node, -1, None), node))
            v = Format(word, [value] if value is not None else [])
        if re.search(rb"%\d", v.text.replace(b"%%", b"")):  # bpf_trace_printk used to know bare conversions alone
            self._needs("5.13", "a width in what is printed", node, "leave it away, or send the number to Python")
        if len(v.args) > 3:
            self._needs("5.16", "printing more than three values at once", node, "print twice")
        text, args = v.text, self._format_words(v)
        literal = self._text_constant(text)
        size = self.const(len(text) + 1, C.UINT)
        if len(args) <= 3:
            self.effect("bpf_trace_printk", literal, size, *args)
            return
        data, length = self._word_array(args)
        self.effect("bpf_trace_vprintk", literal, size, data, self.const(length, C.UINT))

    def _format_words(self, v: Format) -> list[tree.Expr]:
        out = []
        for a in v.args:
            if isinstance(a, Int):
                wide = a.ty.size == 8
                out.append(
                    cast(a.e, (C.LONG if a.ty.signed else C.ULONG) if wide else C.INT if a.ty.signed else C.UINT)
                )
            else:
                assert isinstance(a, Ref)
                out.append(cast(a.e, C.ULONG))
        return out

    def _text_constant(self, text: bytes) -> tree.Expr:
        literal = tree.StringConst(C.Array(C.CHAR, len(text) + 1), self.loc, self.end, text + b"\0")
        return tree.Convert(C.Pointer(C.CHAR), self.loc, self.end, "decay", literal)

    def _word_array(self, args: list[tree.Expr]) -> tuple[tree.Expr, int]:
        t = C.Array(C.ULONG, max(len(args), 1))
        place = self.raw_memory(t)
        for i, a in enumerate(args):
            at = tree.ElementOf(C.ULONG, self.loc, self.end, place, self.const(i))
            self.store(at, cast(a, C.ULONG))
        return self.pointer(place), 8 * len(args)

    def format_into(self, v: Format, place: tree.Expr, size: int, node: ast.AST) -> None:
        """An f-string into memory (Linux 5.13)."""
        self._needs("5.13", "an f-string in memory", node, "send the values, and format them in Python")
        args = self._format_words(v)
        data, length = self._word_array(args) if args else (self.const(0, VOID_POINTER), 0)
        self.effect(
            "bpf_snprintf",
            self.pointer(place),
            self.const(size, C.UINT),
            self._text_constant(v.text),
            data,
            self.const(length, C.UINT),
        )

    def seq_print(self, node: ast.Call) -> Value:
        (text,) = self.given(node, "text", 1)
        assert text is not None
        v = self.value(text)
        if isinstance(v, Const):
            v = Format(str(v.value).encode().replace(b"%", b"%%"), [])
        if not isinstance(v, Format):
            self.refuse("P0214", text, "a text or an f-string is printed")
        meta = self.context_attribute("meta", node)
        assert isinstance(meta, Ref)
        lvalue, _ = self.member(meta, "seq", node)
        seq = self.load(lvalue)
        args = self._format_words(v)
        data, length = self._word_array(args) if args else (self.const(0, VOID_POINTER), 0)
        self.effect(
            "bpf_seq_printf",
            seq,
            self._text_constant(v.text),
            self.const(len(v.text) + 1, C.UINT),
            data,
            self.const(length, C.UINT),
        )
        return Const(None)
