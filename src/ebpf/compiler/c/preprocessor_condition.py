"""The expression of an ``#if`` (C11 6.10.1): arithmetic in intmax_t and uintmax_t, every identifier already
replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c.lexer import PRECEDENCE, is_float, parse_integer, unescape

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.lexer import Token

Value = tuple[int, bool]  # the value, and whether its type is uintmax_t


class ConditionError(Exception):
    """``message`` about the token ``token`` (None: about the end of the line)."""

    def __init__(self, message: str, token: Token | None) -> None:
        super().__init__(message)
        self.message = message
        self.token = token


def evaluate(tokens: list[Token], identifier: Callable[[Token], int]) -> int:
    """The value of the expression that ``tokens`` spell; raises `ConditionError`."""
    reader = _Reader(tokens, identifier)
    value = reader.comma()
    if reader.at < len(tokens):
        token = tokens[reader.at]
        raise ConditionError(f"`{token.text}` is not expected here", token)
    return value[0]


def _wrap(value: int, unsigned: bool) -> Value:
    value &= 0xFFFFFFFFFFFFFFFF
    if not unsigned and value >> 63:
        value -= 1 << 64
    return value, unsigned


class _Reader:
    def __init__(self, tokens: list[Token], identifier: Callable[[Token], int]) -> None:
        self.tokens = tokens
        self.at = 0
        self.identifier = identifier
        self.unevaluated = 0

    def kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else "end"

    def fail(self, message: str) -> ConditionError:
        return ConditionError(message, self.tokens[self.at] if self.at < len(self.tokens) else None)

    def comma(self) -> Value:
        value = self.conditional()
        while self.kind() == ",":
            self.at += 1
            value = self.conditional()
        return value

    def conditional(self) -> Value:
        condition = self.binary(1)
        if self.kind() != "?":
            return condition
        self.at += 1
        then = condition
        if self.kind() != ":":
            then = self.guarded(not condition[0], self.comma)
        if self.kind() != ":":
            raise self.fail("`:` expected")
        self.at += 1
        otherwise = self.guarded(bool(condition[0]), self.conditional)
        unsigned = then[1] or otherwise[1]
        return _wrap(then[0] if condition[0] else otherwise[0], unsigned)

    def guarded(self, skip: bool, read: Callable[[], Value]) -> Value:
        """Read an operand; where C would not evaluate it, a division by zero in it is no mistake."""
        self.unevaluated += skip
        value = read()
        self.unevaluated -= skip
        return value

    def binary(self, least: int) -> Value:
        left = self.unary()
        while True:
            op = self.kind()
            precedence = PRECEDENCE.get(op, 0)
            if precedence < least or not precedence:
                return left
            token = self.tokens[self.at]
            self.at += 1
            skip = (op == "||" and left[0] != 0) or (op == "&&" and left[0] == 0)

            def operand(level: int = precedence + 1) -> Value:
                return self.binary(level)

            left = self.apply(op, left, self.guarded(skip, operand), token)

    def apply(self, op: str, left: Value, right: Value, token: Token) -> Value:
        a, b = left[0], right[0]
        if op == "||":
            return int(bool(a) or bool(b)), False
        if op == "&&":
            return int(bool(a) and bool(b)), False
        if op in ("<<", ">>"):
            shift = b & 63
            return _wrap(a << shift if op == "<<" else a >> shift, left[1])
        unsigned = left[1] or right[1]
        if unsigned:
            a, b = a & 0xFFFFFFFFFFFFFFFF, b & 0xFFFFFFFFFFFFFFFF
        match op:
            case "+":
                return _wrap(a + b, unsigned)
            case "-":
                return _wrap(a - b, unsigned)
            case "*":
                return _wrap(a * b, unsigned)
            case "/" | "%":
                if b == 0:
                    if self.unevaluated:
                        return 0, unsigned
                    raise ConditionError("division by zero", token)
                quotient = abs(a) // abs(b)
                if (a < 0) != (b < 0):
                    quotient = -quotient
                return _wrap(quotient if op == "/" else a - quotient * b, unsigned)
            case "&":
                return _wrap(a & b, unsigned)
            case "|":
                return _wrap(a | b, unsigned)
            case "^":
                return _wrap(a ^ b, unsigned)
            case "==":
                return int(a == b), False
            case "!=":
                return int(a != b), False
            case "<":
                return int(a < b), False
            case ">":
                return int(a > b), False
            case "<=":
                return int(a <= b), False
            case _:
                return int(a >= b), False

    def unary(self) -> Value:
        kind = self.kind()
        if kind in ("-", "+", "!", "~"):
            self.at += 1
            value, unsigned = self.unary()
            if kind == "!":
                return int(not value), False
            return _wrap(-value if kind == "-" else ~value if kind == "~" else value, unsigned)
        if kind == "(":
            opening = self.tokens[self.at]
            self.at += 1
            inner = self.comma()
            if self.kind() != ")":
                raise ConditionError("this `(` is never closed", opening)
            self.at += 1
            return inner
        if kind == "end":
            raise self.fail("a value is missing at the end of the line")
        token = self.tokens[self.at]
        self.at += 1
        if kind == "num":
            if is_float(token.text):
                raise ConditionError("only integers can stand in a condition", token)
            number = parse_integer(token.text)
            if isinstance(number, str):
                raise ConditionError(number, token)
            value, suffix, decimal = number
            return _wrap(value, "u" in suffix or value >> 63 != 0)
        if kind == "chr":
            data, complaints = unescape(token.text)
            if complaints:
                raise ConditionError(complaints[0], token)
            units = list(data)
            value = 0
            for unit in units:
                value = (value << 8) | unit
            if len(units) == 1 and token.text[0] == "'" and value > 127:
                value -= 256
            return value, False
        if kind == "id":
            if self.kind() == "(":
                raise ConditionError(f"`{token.text}` is not a macro that takes arguments", token)
            return _wrap(self.identifier(token), False)
        raise ConditionError(f"`{token.text}` is not expected in a condition", token)
