"""Pragmas, and the macros that are computed at their use."""

from __future__ import annotations

from ebpf.compiler.c.lexer import Token, tokenize
from ebpf.compiler.c.macros_expand import Computed, Macro
from ebpf.compiler.c.preprocessor_condition import ConditionError, evaluate
from ebpf.compiler.c.preprocessor_conditionals import Conditionals
from ebpf.compiler.c.preprocessor_state import ATTRIBUTES, Frame

_SILENT_PRAGMAS = frozenset(
    {
        "GCC",
        "clang",
        "STDC",
        "message",
        "warning",
        "error",
        "region",
        "endregion",
        "mark",
        "weak",
        "ident",
        "comment",
        "omp",
        "ms_struct",
        "push",
        "pop",
        "optimize",
    }
)


class Pragmas(Conditionals):
    def _pragma(self, frame: Frame, head: Token, line: list[Token]) -> None:
        made = self._pragma_token(head, line, frame.name)
        if made is not None:
            self.out.append(made)

    def _pragma_token(self, head: Token, line: list[Token], filename: str) -> Token | None:
        """The token for a pragma that means something to us."""
        words = [t.text for t in line]
        if not words:
            return None
        first = words[0]
        text = ""
        if first == "once":
            self.once.add(filename)
            return None
        if first in ("unroll", "nounroll") or words[:2] == ["GCC", "unroll"]:
            text = self._unroll(first, line[2:] if first == "GCC" else line[1:])
        elif words[:2] == ["clang", "loop"]:
            text = self._clang_loop(line[2:])
        elif words[:3] == ["clang", "attribute", "push"]:
            names = [w.strip("_") for t, w in zip(line[3:], words[3:]) if t.kind == "id" and w.strip("_") in ATTRIBUTES]
            text = " ".join(["attribute push", *names])
        elif words[:3] == ["clang", "attribute", "pop"]:
            text = "attribute pop"
        elif first == "pack":
            numbers = [w for w in words[1:] if w.isdecimal()]
            verb = "push" if "push" in words else "pop" if "pop" in words else "set"
            text = f"pack {verb} {numbers[0] if numbers else ('0' if verb == 'set' else '')}".rstrip()
        elif first in ("push_macro", "pop_macro") and len(line) > 2 and line[2].kind == "str":
            self._macro_stack(first, words[2][1:-1])
            return None
        elif first not in _SILENT_PRAGMAS:
            self.diagnostics.warning("C0113", f"`#pragma {first}` has no meaning here", head.loc, line[-1].end)
        return Token("pragma", text, head.loc, line[-1].end, True, False) if text else None

    def _unroll(self, first: str, line: list[Token]) -> str:
        if first == "nounroll":
            return "unroll 1"
        tokens = [t for t in self.expander.expand_list(line) if t.kind not in ("(", ")")]
        if not tokens:
            return "unroll 0"
        try:
            count = evaluate(tokens, self._identifier)
        except ConditionError:
            self.diagnostics.error("C0113", "`#pragma unroll` takes a number", tokens[0].loc, tokens[-1].end)
            return ""
        return f"unroll {max(count, 1)}"

    def _clang_loop(self, line: list[Token]) -> str:
        words = [t.text for t in line]
        for index, word in enumerate(words):
            if word == "unroll_count" and index + 2 < len(line):
                return self._unroll("unroll", line[index + 1 :])
            if word == "unroll" and index + 2 < len(words):
                return "unroll 1" if words[index + 2] == "disable" else "unroll 0"
        return ""

    def _macro_stack(self, verb: str, name: str) -> None:
        macros = self.expander.macros
        stack = self.saved.setdefault(name, [])
        if verb == "push_macro":
            stack.append(macros.get(name))
        elif stack:
            entry = stack.pop()
            if entry is None:
                macros.pop(name, None)
            else:
                macros[name] = entry

    # -------------------------------------------------------------------------------------------- computed macros

    def _computed(self) -> dict[str, Computed]:
        def number(token: Token, value: int) -> list[Token]:
            return [Token("num", str(value), token.loc, token.end)]

        def string(token: Token, value: str) -> list[Token]:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return [Token("str", f'"{escaped}"', token.loc, token.end)]

        def counter(token: Token, args: list[list[Token]]) -> list[Token]:
            self.counter += 1
            return number(token, self.counter - 1)

        def pragma(token: Token, args: list[list[Token]]) -> list[Token]:
            if len(args) != 1 or len(args[0]) != 1 or args[0][0].kind != "str":
                self.diagnostics.error("C0113", "`_Pragma` takes one string", token.loc, token.end)
                return []
            text = args[0][0].text
            text = text[text.index('"') + 1 : -1].replace('\\"', '"').replace("\\\\", "\\")
            line = tokenize(text, 0)[:-1]
            for part in line:
                part.loc, part.end = token.loc, token.end
            made = self._pragma_token(token, line, self.main_name)
            return [made] if made is not None else []

        def enabled(kinds: tuple[str, ...]) -> Computed:
            def make(token: Token, args: list[list[Token]]) -> list[Token]:
                name = args[0][0].text if args and args[0] else ""
                macro = self.expander.lookup(name)
                if isinstance(macro, Macro):
                    return number(token, int([t.text for t in macro.body] == ["1"]))
                return number(token, int(self.kconfig(name) in kinds))

            return Computed(make, arguments=True)

        both, builtin, module = enabled(("y", "m")), enabled(("y",)), enabled(("m",))
        return {
            "__LINE__": Computed(lambda t, a: number(t, self.sources.line(t.loc))),
            "__FILE__": Computed(lambda t, a: string(t, self.sources.file_name(t.loc))),
            "__BASE_FILE__": Computed(lambda t, a: string(t, self.main_name)),
            "__FILE_NAME__": Computed(lambda t, a: string(t, self.sources.file_name(t.loc).rpartition("/")[2])),
            "__INCLUDE_LEVEL__": Computed(lambda t, a: number(t, self.depth)),
            "__COUNTER__": Computed(counter),
            # The same text gives the same object, whenever it is compiled.
            "__DATE__": Computed(lambda t, a: string(t, "??? ?? ????")),
            "__TIME__": Computed(lambda t, a: string(t, "??:??:??")),
            "__TIMESTAMP__": Computed(lambda t, a: string(t, "??? ??? ?? ??:??:?? ????")),
            "_Pragma": Computed(pragma, arguments=True),
            "IS_ENABLED": both,
            "IS_REACHABLE": both,
            "IS_BUILTIN": builtin,
            "IS_MODULE": module,
        }
