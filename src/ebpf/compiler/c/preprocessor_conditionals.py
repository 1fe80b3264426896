"""``#if`` and its sisters: which groups of lines are read and which are skipped."""

from __future__ import annotations

from ebpf.compiler.c import headers
from ebpf.compiler.c.lexer import Token
from ebpf.compiler.c.preprocessor_condition import ConditionError, evaluate
from ebpf.compiler.c.preprocessor_state import ATTRIBUTES, BUILTINS, Condition, Frame, PreprocessorState

_CONDITIONALS = frozenset({"if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"})
_OPERATORS = frozenset(
    {
        "defined",
        "__has_include",
        "__has_include_next",
        "__has_builtin",
        "__has_attribute",
        "__has_c_attribute",
        "__has_feature",
        "__has_extension",
        "__has_warning",
    }
)


class Conditionals(PreprocessorState):
    def _if(self, frame: Frame, head: Token, line: list[Token]) -> None:
        holds = self._test(head, line)
        frame.conditions.append(Condition(head, holds))
        if not holds:
            self._skip(frame)

    def _test(self, head: Token, line: list[Token]) -> bool:
        """Whether the condition of ``#if`` and its sisters holds; a mistake in it is reported and counts as false."""
        kind = head.text
        if kind in ("if", "elif"):
            if not line:
                self.diagnostics.error("C0104", f"`#{kind}` needs a condition", head.loc, head.end)
                return False
            self.expander.in_condition = True
            try:
                tokens = self._replace_operators(self.expander.expand_list(self._replace_operators(line)))
                return evaluate(tokens, self._identifier) != 0
            except ConditionError as error:
                token = error.token or line[-1]
                self.diagnostics.error("C0104", f"in the condition of `#{kind}`: {error.message}", token.loc, token.end)
                return False
            finally:
                self.expander.in_condition = False
        if not line or line[0].kind != "id":
            self.diagnostics.error("C0104", f"`#{kind}` needs a name", head.loc, head.end)
            return False
        if len(line) > 1:
            self.diagnostics.warning(
                "C0104",
                f"only the first name after `#{kind}` counts",
                line[1].loc,
                line[1].end,
                helps=[f"write `#if{' !' if 'n' in kind[-4:-3] else ' '}defined(…)` for more"],
            )
        return self._defined(line[0].text) != (kind in ("ifndef", "elifndef"))

    def _defined(self, name: str) -> bool:
        if name in self.expander.macros or name in (
            "__has_include",
            "__has_builtin",
            "__has_attribute",
            "__has_feature",
        ):
            return True
        if name.startswith("CONFIG_"):
            return self._kconfig_value(name) is not None
        return self.constant(name) is not None

    def _kconfig_value(self, name: str) -> str | None:
        """What the kernel's autoconf.h defines ``name`` as: ``y`` is 1, a module's option is ``…_MODULE``."""
        if name.endswith("_MODULE") and self.kconfig(name[:-7]) == "m":
            return "1"
        value = self.kconfig(name)
        return None if value in (None, "n", "m", "") else "1" if value == "y" else value

    def _identifier(self, token: Token) -> int:
        name = token.text
        if name == "true":
            return 1
        value: int | str | None
        if name.startswith("CONFIG_"):
            value = self._kconfig_value(name)
        else:
            value = self.constant(name)
        if isinstance(value, str):
            try:
                return int(value, 0)
            except ValueError:
                return 0
        return value or 0

    def _replace_operators(self, line: list[Token]) -> list[Token]:
        """``defined X``, ``__has_include(…)`` and their like become 0 or 1."""
        out: list[Token] = []
        at = 0
        while at < len(line):
            token = line[at]
            at += 1
            if token.kind != "id" or token.text not in _OPERATORS:
                out.append(token)
                continue
            parenthesised = at < len(line) and line[at].kind == "("
            start = at + parenthesised
            stop = start + 1
            if parenthesised:
                while stop < len(line) and line[stop].kind != ")":
                    stop += 1
            inner = line[start:stop]
            if (
                not inner
                or (parenthesised and stop >= len(line))
                or (token.text == "defined" and inner[0].kind != "id")
            ):
                raise ConditionError(
                    f"`{token.text}` needs a name" + (" and a closing `)`" if parenthesised else ""), token
                )
            at = stop + parenthesised
            out.append(
                Token("num", "1" if self._operator(token.text, inner) else "0", token.loc, token.end, token.space)
            )
        return out

    def _operator(self, operator: str, inner: list[Token]) -> bool:
        name = inner[-1].text
        if operator == "defined":
            return self._defined(inner[0].text)
        if operator == "__has_include":
            header = self._header_name(inner)
            if header is None:
                return False
            path, quoted = header
            return (
                headers.costs_nothing(path, quoted=quoted)
                or headers.is_known(path)
                or self._find(path, quoted, "")[0] is not None
            )
        if operator == "__has_builtin":
            plain = name.removeprefix("__builtin_")
            return plain in BUILTINS or name.startswith("__sync_")
        if operator in ("__has_attribute", "__has_c_attribute"):
            return name.strip("_") in ATTRIBUTES
        return False

    def _skip(self, frame: Frame) -> None:
        """Skip groups until one is to be taken or the conditional ends."""
        tokens = frame.tokens
        at = frame.at
        nested = 0
        condition = frame.conditions[-1]
        while True:
            token = tokens[at]
            if not token.bol:
                at += 1
                continue
            if token.kind == "eof":
                frame.at = at
                return
            at += 1
            if token.kind != "#" or tokens[at].bol:
                continue
            head = tokens[at]
            word = head.text
            if word not in _CONDITIONALS:
                continue
            if word in ("if", "ifdef", "ifndef"):
                nested += 1
            elif word == "endif":
                if nested == 0:
                    frame.at = at + 1
                    frame.line()
                    frame.conditions.pop()
                    return
                nested -= 1
            elif nested == 0:
                frame.at = at + 1
                line = frame.line()
                at = frame.at
                if self._misplaced(condition, head) or condition.done:
                    continue
                if word == "else" or self._test(head, line):
                    condition.done = True
                    return

    def _misplaced(self, condition: Condition, head: Token) -> bool:
        """Mark an ``#else``; complain about what stands after one."""
        if condition.seen_else:
            opening = condition.opening
            self.diagnostics.error(
                "C0103",
                f"`#{head.text}` after `#else`",
                head.loc,
                head.end,
                related=[(opening.loc, opening.end, "the conditional begins here")],
            )
            return True
        condition.seen_else = head.text == "else"
        return False

    def _else(self, frame: Frame, head: Token, line: list[Token]) -> None:
        if not frame.conditions:
            self.diagnostics.error("C0103", f"`#{head.text}` without `#if`", head.loc, head.end)
            return
        self._misplaced(frame.conditions[-1], head)
        frame.conditions[-1].done = True
        self._skip(frame)

    def _endif(self, frame: Frame, head: Token, line: list[Token]) -> None:
        if not frame.conditions:
            self.diagnostics.error("C0103", "`#endif` without `#if`", head.loc, head.end)
            return
        frame.conditions.pop()
