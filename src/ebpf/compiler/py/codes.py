"""Messages about programs in Python, one row each: code → what it is about. Codes never change their meaning; new
ones are appended. P01: what the subset lacks; P02: names, types and values; P03: programs, contexts and maps.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "P0101": "a statement of Python that programs cannot have",
    "P0102": "an expression of Python that programs cannot have",
    "P0103": "a function whose source cannot be read",
    "P0104": "a function that calls itself",
    "P0105": "a function of Python that programs cannot call",
    "P0106": "a loop that is not over a range, a tuple or a map",
    "P0107": "a pattern that `match` cannot have in programs",
    "P0201": "a name that has no value",
    "P0202": "a variable that may be used before it has a value",
    "P0203": "a variable that gets a value of another type than before",
    "P0204": "a value of a type that does not fit",
    "P0205": "a number in a Python program that does not fit its type",
    "P0206": "a value that may not fit the narrower type it is stored as",
    "P0207": "an operator of Python between types that do not have it",
    "P0208": "something mutable of Python's that a program refers to",
    "P0209": "a member that a struct does not have",
    "P0210": "a struct, type or constant that the kernel does not have",
    "P0211": "a function called with arguments that do not fit",
    "P0212": "a value that may be None and is used as if it were not",
    "P0213": "a value of a Python program that has to be known when it is compiled",
    "P0214": "text that cannot be printed or stored so",
    "P0215": "an index outside of an array",
    "P0216": "an annotation that is no type of programs",
    "P0301": "a hook whose context or target is not known",
    "P0302": "a parameter that the hook does not have",
    "P0303": "an operation that this kind of map does not have",
    "P0304": "two maps, variables or programs of one name, or a map with other types in its place",
    "P0305": "a helper that the kernel does not have, or called with other arguments than it takes",
    "P0306": "a record that is not of its map's type",
    "P0307": "something that this kind of program does not have",
}
