"""What a verifier can have against a program: one row per reason, from which messages, `ebpf explain` and the docs are made.

A code names a reason, whoever found it: the kernel's verifier (whose own words ``pattern`` recognises, across versions 5.10 to
7.2) or ours. ``message`` and ``helps`` may use the pattern's named groups and the facts that `kernel.refusal` gathers from the log:
``{name}`` the variable at that place of the source, ``{helper}`` the helper called there, ``{origin}`` the helper that made the value,
``{program_type}``, ``{reason}`` the verifier's own line. A row whose ``needs`` fact is unknown is passed over for the next that matches.
Order matters: the first row that fits wins.
"""

# ruff: noqa: E501  (a row a reason: wrapping the patterns would hide them)
from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """One way in which a verifier words one reason."""

    code: str
    pattern: str
    message: str
    label: str
    helps: tuple[str, ...]
    notes: tuple[str, ...] = ()
    needs: str = ""  # a fact without which this row does not apply
    key: str = ""  # by which our own verifier names the row; several rows may share one: the first whose ``needs`` is known
    where: str = "use"  # "use": the instruction named last; "origin": where the value came from


TITLES: dict[str, str] = {
    "V0100": "the verifier refused the program",
    "V0101": "helper unknown to this kernel, or not for this type of program",
    "V0102": "helper reserved for GPL-compatible programs",
    "V0103": "wrong kind of argument for a helper",
    "V0104": "code that cannot be reached, or that leaves the program",
    "V0201": "pointer used that may be NULL",
    "V0202": "access outside a map's value",
    "V0203": "packet access past the proven bytes",
    "V0204": "access outside the stack",
    "V0205": "uninitialised stack read",
    "V0206": "uninitialised register read",
    "V0207": "access that the context does not offer",
    "V0208": "kernel memory read through a plain pointer",
    "V0209": "a number used as a pointer",
    "V0210": "misaligned access",
    "V0211": "index or size without a proven bound",
    "V0212": "arithmetic that a pointer does not allow",
    "V0213": "write to read-only memory",
    "V0214": "memory used after it was given back, or has moved",
    "V0215": "access outside a block of memory",
    "V0216": "access that a kernel type does not allow",
    "V0301": "reference not released",
    "V0302": "lock rules broken",
    "V0401": "too many steps to verify",
    "V0402": "loop without a proven end",
    "V0403": "stack frames too large or too deep",
    "V0501": "return value not allowed",
    "V0502": "address leaked to an unprivileged user",
}

REFUSALS: tuple[Refusal, ...] = (
    # -- pointers that may be NULL
    Refusal("V0201", r"(?P<register>R\d+) invalid mem access '(?P<kind>map_value|map_value_or_null)_or_null'|"
                     r"(?P<register2>R\d+) invalid mem access 'map_value_or_null'",
            "`{name}` may be NULL here: a lookup answers NULL when the map has no such key",
            "dereferenced without a check",
            ("check it first: `if (!{name}) return 0;` before this line, or `if ({name}) {{ … }}` around it",),
            ("the verifier follows every path, and on one of them the key is missing",), key="null-map"),
    Refusal("V0201", r"(?P<register>R\d+) invalid mem access '(?:ringbuf_|alloc_)?mem_or_null'",
            "`{name}` may be NULL here: a reservation answers NULL when the ring buffer is full",
            "used without a check",
            ("check it first: `if (!{name}) return 0;` right after the reservation",), key="null-mem"),
    Refusal("V0201", r"(?P<register>R\d+) invalid mem access '(?P<kind>\w+)_or_null_?'",
            "`{name}` may be NULL here ({kind} or NULL)", "used without a check",
            ("check it first: `if (!{name}) return 0;` before this line",), key="null"),
    Refusal("V0201", r"(?P<register>R\d+) pointer arithmetic on (?P<kind>\w+)_or_null_? prohibited",
            "`{name}` may be NULL here, and arithmetic on it comes before the check", "moved before it is checked",
            ("check `{name}` for NULL first, then add to it",), key="null-arithmetic"),
    Refusal("V0201", r"(?P<register>R\d+) type=(?P<kind>\w+)_or_null_? expected=",
            "an argument of `{helper}` may be NULL here", "passed without a check",
            ("check the pointer for NULL before the call",), key="null-argument"),
    Refusal("V0201", r"Possibly NULL pointer passed to (?P<what>.*)",
            "a pointer that may be NULL is passed here", "passed without a check",
            ("check the pointer for NULL before the call",)),
    # -- kernel memory and numbers used as pointers
    Refusal("V0214", r"(?P<register>R\d+) invalid mem access '(?:inv|scalar)'",
            "`{name}` is used after `{released_by}` gave it back", "no longer ours here",
            ("do everything with `{name}` before `{released_by}`",), needs="released_by", key="number"),
    Refusal("V0214", r"(?P<register>R\d+) invalid mem access '(?:inv|scalar)'",
            "`{name}` points to where the packet was before `{moved_by}`", "no longer the packet here",
            ("read `data` and `data_end` from the context again after `{moved_by}`, and compare them again",),
            ("`{moved_by}` may move the packet: what pointed into it is a plain number from then on",),
            needs="moved_by", key="number"),
    Refusal("V0208", r"(?P<register>R\d+) invalid mem access '(?:inv|scalar)'",
            "kernel memory cannot be read through `{name}` directly: it came from `{origin}` as a plain number",
            "read through an unchecked pointer",
            ("read it with `bpf_probe_read_kernel(&dst, sizeof(dst), &{name}->field)` or `BPF_CORE_READ({name}, field)`",
             "or take a pointer that the verifier knows: `bpf_get_current_task_btf()` (Linux 5.11)"), needs="origin_task", key="number"),
    Refusal("V0208", r"(?P<register>R\d+) invalid mem access '(?:inv|scalar)'",
            "memory cannot be read through `{name}` directly: to the verifier, what the context holds is a plain number",
            "read through an unchecked pointer",
            ("read kernel memory with `bpf_probe_read_kernel(&dst, sizeof(dst), {name})` or `BPF_CORE_READ({name}, field)`, "
             "user memory with `bpf_probe_read_user`",), needs="origin_context", key="number"),
    Refusal("V0209", r"(?P<register>R\d+) invalid mem access '(?:inv|scalar)'",
            "`{name}` is a number to the verifier, not a pointer, and cannot be dereferenced", "dereferenced here",
            ("read unknown memory with `bpf_probe_read_kernel` or `bpf_probe_read_user`; a failed read then is an error code, "
             "not a crash",), ("{origin_note}",), key="number"),
    Refusal("V0103", r"(?P<register>R\d+) invalid mem access '(?P<kind>[\w_]+)'",
            "memory cannot be reached through this pointer ({kind})", "access here", (), key="no-access"),
    # -- bounds
    Refusal("V0203", r"invalid access to packet, off=(?P<offset>-?\d+) size=(?P<size>\d+), "
                     r"R\d+\(id=\d+,off=-?\d+,r=(?P<range>\d+)\)",
            "packet read may run past `data_end`", "reaches byte {last}; {proven}",
            ("compare with `data_end` before this access: `if (data + {wanted} > data_end) return …;`",), key="packet"),
    Refusal("V0203", r"(?P<register>R\d+) offset is outside of the packet|invalid access to packet.*",
            "packet access may run past `data_end`", "not proven to be inside the packet",
            ("compare the end of the access with `data_end` before it, with the same pointer that is then used",)),
    Refusal("V0202", r"invalid access to map value, value_size=(?P<value_size>\d+) off=(?P<offset>-?\d+) size=(?P<size>\d+)",
            "access outside the map's value", "bytes {offset} to {last} of a value of {value_size} bytes",
            ("keep the index below the value's size, or make the value larger",), key="value"),
    Refusal("V0202", r"(?P<register>R\d+) (?:max|min) value is outside of the (?:allowed memory range|map value|array range)",
            "access may fall outside the value", "index not proven small enough",
            ("bound the index first: `if (i >= N) return 0;`, or mask it with `i &= N - 1` (N a power of two)",), key="value-max"),
    Refusal("V0202", r"(?P<register>R\d+) min value is negative, either use unsigned index or do a if \(index >=0\) check\.?",
            "the index may be negative", "lower end not proven",
            ("make the index unsigned, or check `if (i < 0) return 0;` first",), key="negative"),
    Refusal("V0211", r"(?P<register>R\d+) unbounded memory access, make sure to bounds check any such access",
            "the index has no proven upper bound", "may reach any byte",
            ("bound it on every path before this line: `if (i >= N) return 0;`, or `i &= N - 1` (N a power of two)",), key="unbounded"),
    Refusal("V0211", r"(?P<register>R\d+) unbounded memory access, use 'var &= const' or 'if \(var < const\)'",
            "the size given to `{helper}` has no proven upper bound", "size may be anything",
            ("bound it before the call: `if (n > sizeof(buf)) n = sizeof(buf);` (n unsigned)",), key="size-unbounded"),
    Refusal("V0211", r"(?P<register>R\d+) min value is negative, either use unsigned or 'var &= const'",
            "the size given to `{helper}` may be negative", "lower end not proven",
            ("make it unsigned and bound it: `if (n > sizeof(buf)) n = sizeof(buf);`",), key="size-negative"),
    Refusal("V0211", r"math between (?P<kind>\w+) pointer and (?:register with unbounded min value|-?\d+) is not allowed|"
                     r"value -?\d+ makes (?P<kind2>\w+) pointer be out of bounds",
            "a value that may be negative or huge is added to a pointer", "offset without a proven range",
            ("make the index unsigned and bound it on both sides before adding it",), key="math"),
    Refusal("V0204", r"invalid (?:indirect access to|write to|read from|variable-offset (?:read from|write to)|"
                     r"unbounded variable-offset (?:indirect access to|read from|write to)) stack "
                     r"(?P<register>R\d+)?.*?off=?\s*(?P<offset>-?\d+) size=?\s*(?P<size>\d+)",
            "access outside the stack object", "{size} bytes at stack offset {offset} do not fit",
            ("pass the object's real size (`sizeof(x)`), or make the object larger; a program has 512 bytes of stack",), key="stack"),
    Refusal("V0205", r"invalid (?:indirect )?read from stack (?P<register>R\d+)?\s*off (?P<offset>-?\d+)\+(?P<at>\d+) size (?P<size>\d+)",
            "stack memory is read before anything was written to it", "byte {at} of {size} is not initialised",
            ("initialise the whole object: `= {{}}` (padding between members counts: `__builtin_memset(&x, 0, sizeof(x))`)",), key="uninit-stack"),
    Refusal("V0206", r"(?P<register>R\d+) !read_ok",
            "a variable is used before it has a value", "no value on some path",
            ("give the variable a value where it is declared",),
            ("after a call of a helper or function the registers R1 to R5 hold nothing",), key="register"),
    Refusal("V0215", r"invalid access to memory, mem_size=(?P<value_size>\d+) off=(?P<offset>-?\d+) size=(?P<size>\d+)",
            "access outside the block of memory", "bytes {offset} to {last} of {value_size}",
            ("reserve more, or stay inside what was reserved",), key="memory"),
    Refusal("V0215", r"invalid access to (?P<what>[\w ]+), .*",
            "access outside the memory that this pointer covers", "not proven to be inside", (), key="socket"),
    Refusal("V0210", r"misaligned (?P<what>\w+) access off .* size (?P<size>\d+)",
            "{size} bytes are accessed at an address that is not a multiple of {size}", "misaligned",
            ("align the member (drop `packed`), or copy it out with `__builtin_memcpy`",), key="misaligned"),
    # -- context
    Refusal("V0207", r"invalid bpf_context access off=(?P<offset>-?\d+) size=(?P<size>\d+)",
            "the context of {program_type} does not allow this access", "{size} bytes at offset {offset} of the context",
            ("read only the fields that this type of program may see; some fields cannot be written, and some exist only on newer kernels",), key="context"),
    Refusal("V0207", r"dereference of modified ctx ptr (?P<register>R\d+) off=(?P<offset>-?\d+) disallowed|"
                     r"variable ctx access var_off=.*",
            "the context is read at an offset that is not a constant", "moved context pointer",
            ("read each field by its name (`ctx->field`), not through pointer arithmetic",), key="context-moved"),
    Refusal("V0216", r"(?:only read is supported|cannot write into (?P<what>.*)|R\d+ is ptr_\w+ (?P<why>.*))",
            "the kernel's own structures can only be read here", "{reason}", (), key="kernel-write"),
    Refusal("V0216", r"access beyond struct (?P<struct>\w+) at off (?P<offset>\d+) size (?P<size>\d+)",
            "access beyond the end of `struct {struct}`", "{size} bytes at offset {offset}", (), key="kernel-bounds"),
    Refusal("V0216", r"access beyond the end of member .*", "access beyond the end of a member", "{reason}", ()),
    Refusal("V0213", r"write into map forbidden, value_size=.*|(?P<register>R\d+) cannot write into (?P<kind>\w+)|"
                     r"write access to (?P<what>\w+).*|cannot write into packet.*",
            "this memory is read-only here", "written to",
            ("a `const` global is frozen when the program is loaded: use a non-const global or a map for what changes",), key="read-only"),
    Refusal("V0212", r"(?P<register>R\d+) pointer arithmetic with (?P<operator>\S+) operator prohibited|"
                     r"(?P<register2>R\d+) (?P<operator2>32-bit) pointer arithmetic prohibited",
            "a pointer allows only + and - with a bounded number", "other arithmetic on a pointer",
            ("do the arithmetic on an index, then add it to the pointer",), key="operator"),
    Refusal("V0212", r"(?P<register>R\d+) pointer arithmetic on (?P<kind>[\w_]+) prohibited|"
                     r"(?P<register2>R\d+) (?:pointer )?(?P<op>[-+]=|pointer) pointer prohibited.*",
            "this kind of pointer cannot be moved", "arithmetic on it", (), key="pointer-kind"),
    # -- helpers
    Refusal("V0102", r"cannot call GPL-restricted function from non-GPL compatible program",
            "`{helper}` may be called only by programs under a GPL-compatible licence", "GPL-only helper",
            ("declare the licence if that is what yours is: `char LICENSE[] SEC(\"license\") = \"GPL\";` (BCC: `BPF_LICENSE(GPL);`)",), key="gpl"),
    Refusal("V0101", r"(?:unknown func|program of this type cannot use helper) (?P<called>[\w#]+)",
            "`{helper}` cannot be called by {program_type} on this kernel", "not available here",
            ("use a helper that this type of program has (`ebpf doctor` says what this kernel offers), or another type of program",), key="helper-type"),
    Refusal("V0101", r"invalid func (?P<called>[\w#]+)",
            "this kernel has no helper `{helper}`", "newer than this kernel", (), key="no-helper"),
    Refusal("V0103", r"(?P<register>R(?P<argument>\d+)) type=(?P<found>[\w ]+) expected=(?P<expected>.*)",
            "argument {argument} of `{helper}` must be {expected_words}, not {found_words}", "wrong kind of argument",
            ("copy the value into a local variable first and pass that variable's address",), needs="found_words", key="argument"),
    Refusal("V0103", r"arg#(?P<argument>\d+) (?P<why>.*)",
            "an argument does not have the type that is needed", "{reason}", (), needs="helper"),
    Refusal("V0103", r"cannot pass map_type (?P<map_type>\d+) into func (?P<called>[\w#]+)",
            "`{helper}` does not work on this type of map", "wrong type of map", (), key="map-type"),
    # -- references and locks
    Refusal("V0301", r"Unreleased reference id=(?P<id>\d+) alloc_insn=(?P<alloc>\d+)",
            "what `{origin}` gave is never given back on some path", "leaves the program still holding it",
            ("{release_help}",), needs="alloc", key="leak"),
    Refusal("V0301", r"(?:tail_call|BPF_EXIT|bpf_exit) .*would lead to reference leak",
            "the program ends while it still holds a reference", "ends here", (), key="leak-end"),
    Refusal("V0302", r"bpf_spin_unlock is missing|BPF_EXIT .*inside bpf_spin_lock-ed region",
            "the program ends while it holds a lock", "ends here, still locked",
            ("call `bpf_spin_unlock` on every path from the lock to a `return`",), key="lock-end"),
    Refusal("V0302", r".*(?:bpf_spin_lock|spin_lock|lock).*",
            "the rules of locks are broken here: {reason}", "not allowed here", (), needs="mentions_lock", key="lock"),
    # -- size
    Refusal("V0401", r"BPF program is too large\. Processed (?P<processed>\d+) insn",
            "the verifier gave up after {processed} instructions", "this is where it was",
            ("a loop is followed round by round: bound it lower, or use `bpf_loop` (Linux 5.17) or `bpf_for` (Linux 6.4), whose body is verified once",
             "fewer branches inside the loop also help: each doubles the paths"), key="too-many"),
    Refusal("V0401", r"The sequence of \d+ jumps is too complex\.",
            "too many open branches at once", "too complex", ("split the program: tail calls, or functions that are not inlined (`__noinline`)",), key="too-complex"),
    Refusal("V0402", r"back-edge from insn (?P<from>\d+) to (?P<to>\d+)|infinite loop detected at insn (?P<at_insn>\d+)",
            "this loop has no end that the verifier can prove", "jumps back for ever",
            ("count towards a constant: `for (int i = 0; i < 64; i++)`, leaving early with `break`",), key="endless"),
    Refusal("V0403", r"combined stack size of \d+ calls is (?P<size>\d+)\. Too large",
            "functions that call each other use {size} bytes of stack; 512 are allowed", "over the limit",
            ("move large local objects into a per-CPU array map",), key="stack-size"),
    Refusal("V0403", r"the call stack of \d+ frames is too deep.*", "functions call each other more than 8 deep", "too deep", (), key="frames"),
    Refusal("V0104", r"unreachable insn (?P<at_insn>\d+)|jump out of range from insn (?P<from2>\d+).*|last insn is not an exit or jmp",
            "code that is never reached, or that runs off the end", "{reason}",
            ("every path must end in `return`",)),
    # -- results
    Refusal("V0501", r"(?:At program exit the register|In [\w ]+ the register) R0 (?P<has>.*?) should have been in "
                     r"(?P<range>[\[(].*[\])])",
            "{program_type} may return only values in {range_words}", "returns {has_words}",
            ("return one of the allowed values on every path",), key="result"),
    Refusal("V0206", r"R0 !read_ok", "the program ends without a return value on some path", "R0 never set",
            ("end every path with `return 0;`",), key="r0"),
    Refusal("V0502", r"R0 leaks addr as return value|leaking pointer.*|R\d+ leaks addr .*",
            "an address would leave the program", "address, not a number", ()),
)

# What a register may hold, in words (the keys are the verifier's own).
REGISTER_KINDS: dict[str, str] = {
    "inv": "a number", "scalar": "a number", "ctx": "the context", "fp": "stack memory", "pkt": "packet memory",
    "pkt_meta": "packet metadata", "pkt_end": "the packet's end", "map_value": "a map's value", "map_key": "a map's key",
    "map_ptr": "a map", "mem": "a block of memory", "alloc_mem": "a block of memory", "ringbuf_mem": "a ring-buffer record",
    "sock": "a socket", "ptr_": "a kernel object", "func": "a function", "buf": "a buffer", "trusted_ptr_": "a kernel object",
    "dynptr_ptr": "a dynptr", "percpu_ptr_": "a per-CPU kernel object", "flow_keys": "flow keys", "rdonly_mem": "read-only memory",
}
