"""Messages of the tracing language, one row each: code → what it is about. Codes never change their meaning; new ones
are appended. T01: the text's form; T02: names and types; T03: probes.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "T0101": "characters that are no part of the tracing language, or a string without its end",
    "T0102": "something else is expected at this place of a script",
    "T0103": "a `;` is missing between two statements",
    "T0104": "a `}` is missing",
    "T0105": "a number that is not well formed, or has a fraction: BPF has no floating point",
    "T0106": "`=` where two values are compared",
    "T0107": "a probe's action without braces around it",
    "T0108": "a name without `$` or `@` that is assigned to",
    "T0109": "an attach point that is not well formed",
    "T0111": "a file that is imported and cannot be read",
    "T0201": "a name that is neither a builtin nor a constant",
    "T0202": "a variable that is used before it has a value",
    "T0203": "a variable or map that gets a value of another type than before",
    "T0204": "a map with another number or other types of keys than before",
    "T0205": "a function that the language does not have",
    "T0206": "a function with the wrong number of arguments",
    "T0207": "an argument of a type that the function does not take",
    "T0208": "an operation on types that do not allow it",
    "T0209": "a struct, union, enum or type that the kernel does not have",
    "T0210": "a field that the struct does not have",
    "T0211": "a format with another number of conversions than values",
    "T0212": "a conversion that does not fit its value",
    "T0213": "an aggregation that is not assigned to a map",
    "T0214": "a value that has to be a constant",
    "T0215": "`break` or `continue` outside of a loop",
    "T0216": "a loop or a macro that never ends",
    "T0217": "a map that never gets a value",
    "T0218": "a positional parameter that is missing or of the wrong kind",
    "T0219": "a setting that does not exist, or a value that it cannot have",
    "T0220": "a value that is too large",
    "T0301": "a kind of probe that does not exist",
    "T0302": "a probe's target that does not exist",
    "T0303": "a builtin or function that this kind of probe does not have",
    "T0305": "a script without probes",
    "T0306": "too many probes for one pattern",
}
