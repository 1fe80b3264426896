"""Messages of the preprocessor (C01…) and the parser (C02…), one row each: code → what it is about. Codes never change
their meaning; new ones are appended.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    # preprocessor
    "C0101": "a directive that the preprocessor does not have",
    "C0102": "a macro definition that C does not allow",
    "C0103": "`#if`, `#else` and `#endif` that do not match",
    "C0104": "a condition of `#if` that cannot be evaluated",
    "C0105": "a macro call that is never closed",
    "C0106": "a macro with the wrong number of arguments",
    "C0107": "a `##` whose result is not one token",
    "C0108": "macros or conditions nested too deeply",
    "C0109": "an `#include` that cannot be followed",
    "C0110": "a header that is not found",
    "C0111": "an `#error` or `#warning` of the program's own",
    "C0112": "a `#line` without a line number",
    "C0113": "a `#pragma` that has no meaning here, or not this one",
    # parser
    "C0201": "characters that are not C: a string or comment without its end, a stray sign",
    "C0202": "something else is expected at this place",
    "C0203": "a `;` is missing",
    "C0204": "C++ where programs are written in C",
    "C0205": "a word that is neither one of C's nor a known type",
    "C0206": "C that BPF has no instructions for",
    "C0207": "a number, character or string that is not well formed",
    "C0208": "a declaration that is not well formed",
    "C0209": "braces that do not match",
    "C0210": "an assignment where a comparison may be meant",
    "C0211": "a statement or declaration that cannot stand here",
    "C0212": "an assignment that C's grammar does not allow",
    "C0213": "code nested too deeply",
}
