"""The checker's messages, one row each: code → what it is about. Codes never change their meaning; new ones are
appended.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    # names
    "C0301": "a name that nothing declares",
    "C0302": "a type that nothing declares",
    "C0303": "a member that the type does not have",
    "C0304": "a second definition of one name",
    # expressions
    "C0305": "operands of a type that the operator does not take",
    "C0306": "a value of one type where another is wanted",
    "C0307": "a target that cannot be assigned to",
    "C0308": "an expression that has to be constant",
    "C0309": "the wrong number of arguments",
    "C0310": "a call of something that is no function",
    "C0311": "a type whose members are not known here",
    "C0312": "an initialiser that does not fit",
    # statements and declarations
    "C0313": "a jump without a target",
    "C0314": "a declaration that C does not allow",
    "C0315": "something that BPF programs cannot do",
    "C0316": "a static assertion that fails",
    "C0317": "an attribute with a wrong argument",
    "C0318": "a case value used twice",
    "C0319": "a function that is declared and used but not defined",
    # warnings
    "C0330": "pointers to different types",
    "C0331": "a function that may end without its value",
    "C0332": "an integer used as a pointer, or a pointer as an integer",
    "C0333": "a value computed and not used",
    "C0334": "a constant that does not fit its type",
    "C0335": "a printk format that does not fit its arguments",
    # CO-RE, wrappers, helpers
    "C0351": "a CO-RE question about something that is no kernel field, type or enumerator",
    "C0352": "a program wrapper that is used wrongly",
    "C0353": "a macro with meaning that is used wrongly",
    "C0354": "a CPU register that this architecture's pt_regs lacks",
    # BCC's dialect
    "C0401": "a map declaration with wrong arguments",
    "C0402": "a map method that does not exist",
    "C0403": "a map method that this map type does not have",
    "C0404": "parameters that a program cannot have",
    "C0405": "a tracepoint that does not exist",
    "C0406": "a kernel function or hook that does not exist",
    "C0407": "an event record that Python could not read",
    "C0409": "an argument of a static probe that is not enabled",
}
