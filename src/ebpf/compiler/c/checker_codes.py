"""The checker's messages, one row each: code → what it is about. Codes never change their meaning; new ones are
appended.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    # names
    "C0201": "a name that nothing declares",
    "C0202": "a type that nothing declares",
    "C0203": "a member that the type does not have",
    "C0204": "a second definition of one name",
    # expressions
    "C0205": "operands of a type that the operator does not take",
    "C0206": "a value of one type where another is wanted",
    "C0207": "a target that cannot be assigned to",
    "C0208": "an expression that has to be constant",
    "C0209": "the wrong number of arguments",
    "C0210": "a call of something that is no function",
    "C0211": "a type whose members are not known here",
    "C0212": "an initialiser that does not fit",
    # statements and declarations
    "C0213": "a jump without a target",
    "C0214": "a declaration that C does not allow",
    "C0215": "something that BPF programs cannot do",
    "C0216": "a static assertion that fails",
    "C0217": "an attribute with a wrong argument",
    "C0218": "a case value used twice",
    # warnings
    "C0230": "pointers to different types",
    "C0231": "a function that may end without its value",
    "C0232": "an integer used as a pointer, or a pointer as an integer",
    "C0233": "a value computed and not used",
    "C0234": "a constant that does not fit its type",
    "C0235": "a printk format that does not fit its arguments",
    # CO-RE, wrappers, helpers
    "C0301": "a CO-RE question about something that is no kernel field, type or enumerator",
    "C0302": "a program wrapper that is used wrongly",
    "C0303": "a macro with meaning that is used wrongly",
    "C0304": "a CPU register that this architecture's pt_regs lacks",
    # BCC's dialect
    "C0401": "a map declaration with wrong arguments",
    "C0402": "a map method that does not exist",
    "C0403": "a map method that this map type does not have",
    "C0404": "parameters that a program cannot have",
    "C0405": "a tracepoint that does not exist",
    "C0406": "a kernel function or hook that does not exist",
    "C0407": "an event record that Python could not read",
    "C0408": "a part of BCC's dialect that is not supported",
}
