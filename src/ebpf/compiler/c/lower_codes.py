"""Messages of the lowering and the code generator, one row each: code → what it is about. Codes never change their
meaning."""

from __future__ import annotations

CODES: dict[str, str] = {
    "C0501": "more arguments or parameters than a BPF call passes",
    "C0502": "a builtin that BPF has no instructions for",
    "C0503": "instructions in inline assembly",
    "C0504": "a move of memory that cannot be done",
    "C0505": "a packet load outside a function that has the context",
    "C0506": "an atomic operation of a width that BPF does not have",
    "C0601": "more than 512 bytes of stack",
    "C0602": "a copy or fill too long for registers",
    "C0603": "a product of 128 bits",
    "C0604": "signed division before -mcpu=v4",
    "C0605": "arguments or results that do not fit registers",
    "C0606": "an array whose length is known only at run time",
    "C0607": "an access to the context at a computed offset",
    "C0608": "an instruction that this -mcpu lacks",
    "C0609": "compiling without llvmlite",
    "C0610": "a code generator that does not start, or does not finish",
    "C0611": "an operation that would need a library",
    "C0612": "something that LLVM cannot make BPF code of",
    "C0613": "a call through a pointer that stays unknown",
    "C0701": "a message of clang's",
    "C0702": "a clang that failed without a message",
}
