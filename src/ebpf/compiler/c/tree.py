"""The typed tree: what a program means, every conversion spelled out, every dialect gone.

The checker makes it from the syntax tree; the lowering turns it into LLVM IR without asking any question about C's
rules, BCC's dialect, helpers' names or macros. Every expression has a ``type`` (`types.CType`) and a place. An
expression is an lvalue (``VarRef`` to a variable, ``Deref``, ``Member``, ``StringConst``, ``CompoundLiteral``) or a
value; an lvalue becomes a value only through
``Convert("load")`` or ``Convert("decay")``. ``checktree.py`` verifies these rules; tests run it after the checker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c.nodes import NodeBase, field

if TYPE_CHECKING:
    from ebpf.compiler.c.types import CType, Field, Function


class Expr(NodeBase):
    type: CType
    loc: int
    end: int


# --------------------------------------------------------------------------------------------------------- things


class Variable(NodeBase):
    """A local variable, a parameter or a global; identity is the variable.

    ``kind``: ``"local"``, ``"parameter"``, ``"global"``, ``"extern"`` (``.ksyms``/``.kconfig`` by ``section``).
    ``register`` variables are locals. Globals: ``init`` is a constant initialiser (`Constant` tree) or None for zeroes.
    """

    name: str
    type: CType
    kind: str
    loc: int
    end: int
    section: str | None = None
    static: bool = False
    weak: bool = False
    hidden: bool = False
    align: int = 0
    init: Initializer | None = None
    tags: tuple[str, ...] = ()  # BTF declaration tags


class FunctionDecl(NodeBase):
    """A function of the program, or an extern one (kfunc: ``body`` is None, ``section`` ``".ksyms"``)."""

    name: str
    type: Function
    loc: int
    end: int
    parameters: list[Variable] = field(default_factory=list)
    body: Block | None = None
    section: str | None = None  # programs: their ELF section; None: .text
    linkage: str = "static"  # "program" | "static" (own subprogram) | "inline" (always inlined) | "global" | "extern"
    noinline: bool = False
    weak: bool = False
    hidden: bool = False
    context: bool = False  # the first parameter is a program's context pointer
    tags: tuple[tuple[int, str], ...] = ()  # (parameter index or -1, BTF declaration tag)


class Unit(NodeBase):
    """A whole program. Maps are globals in section ``.maps``, the licence one in ``license``: the dialects end in
    the same form.

    ``events`` maps a map's name to the type of the records sent through it. ``types`` are further types whose BTF
    the object must carry (map keys and values of legacy dialects are reached through ``.maps`` already).
    """

    filename: str
    globals: list[Variable]
    functions: list[FunctionDecl]
    events: dict[str, CType] = field(default_factory=dict)
    types: list[CType] = field(default_factory=list)


# --------------------------------------------------------------------------------------------------------- values


class IntConst(Expr):
    """An integer (or null pointer, or enumerator) of ``type``; ``value`` is already reduced to it."""

    value: int


class StringConst(Expr):
    """An lvalue of type ``char[n]`` in read-only data; ``value`` includes the closing NUL."""

    value: bytes


class VarRef(Expr):
    """An lvalue: a variable."""

    variable: Variable


class FunctionRef(Expr):
    """A function designator (type `Function`); only called, or converted by ``Convert("function")``."""

    function: FunctionDecl


class Deref(Expr):
    """An lvalue: what ``pointer`` points to. ``volatile`` accesses are never merged or dropped."""

    pointer: Expr
    volatile: bool = False


class Member(Expr):
    """An lvalue: field ``field`` of the record lvalue ``base`` (anonymous levels are Members of their own).

    ``relocatable``: the access is recorded for CO-RE (a ``preserve_access_index`` record or expression).
    A bit-field is read and written through ``Convert("load")`` and ``Assign`` only.
    """

    base: Expr
    field: Field
    relocatable: bool = False


class ElementOf(Expr):
    """An lvalue: element ``index`` (a 64-bit integer value) of the array lvalue ``base``; keeps arrays visible for
    CO-RE paths.
    """

    base: Expr
    index: Expr
    relocatable: bool = False


class RecordValueMember(Expr):
    """A value: field ``field`` of a record *value* (``f().a``, a ProbeRead of a record)."""

    base: Expr
    field: Field


class AddressOf(Expr):
    """A pointer to the lvalue (or function designator) ``operand``."""

    operand: Expr


class Convert(Expr):
    """One conversion. ``kind``:

    ``load`` lvalue → value · ``decay`` array lvalue → pointer to its first element · ``function`` designator →
    pointer · ``int`` integer/enum/bool → integer (extends by the *operand's* signedness) · ``bool`` scalar → 0 or 1
    in a ``_Bool`` · ``int_to_pointer`` · ``pointer_to_int`` · ``pointer`` pointer → pointer ·
    ``void`` value dropped · ``same`` same representation, other name
    """

    kind: str
    operand: Expr


class Unary(Expr):
    """``-``, ``~`` on a promoted integer (already converted to ``type``), ``!`` on a scalar (type int)."""

    op: str
    operand: Expr


class Binary(Expr):
    """Arithmetic ``+ - * / % & | ^`` with both operands of ``type``; shifts (right operand of any integer type);
    comparisons ``== != < <= > >=`` of two operands of one integer or pointer type, giving int. Signedness is the
    operands' type's."""

    op: str
    left: Expr
    right: Expr


class PointerAdd(Expr):
    """``pointer + index`` (or minus if ``negative``) in elements of ``pointer``'s target; ``index`` is a 64-bit
    integer. void and functions count 1.
    """

    pointer: Expr
    index: Expr
    negative: bool = False


class PointerDiff(Expr):
    """``left - right`` in elements of ``size`` bytes, type long."""

    left: Expr
    right: Expr
    size: int


class Logical(Expr):
    """``&&``, ``||``: scalars in, int 0 or 1 out, right side evaluated only when needed."""

    op: str
    left: Expr
    right: Expr


class Conditional(Expr):
    """Both branches have ``type``. ``then`` is None for GNU's ``a ?: b``: then ``condition`` has ``type`` itself and
    is evaluated once.
    """

    condition: Expr
    then: Expr | None
    otherwise: Expr


class Comma(Expr):
    left: Expr
    right: Expr


class Assign(Expr):
    """``target = value``; the value (of ``target``'s type; records too) is the expression's."""

    target: Expr
    value: Expr


class Update(Expr):
    """``target op= value``, ``++``, ``--``, with ``target``'s address evaluated once.

    The old value is converted to ``computation``, combined with ``value`` (of that type; for ``<<``/``>>`` any
    integer; for pointers a 64-bit element count with ``op`` ``+`` or ``-`` and ``computation`` the pointer type),
    converted back and stored. The expression's value is the new one, or the
    old one if ``postfix``.
    """

    op: str
    target: Expr
    value: Expr
    computation: CType
    postfix: bool = False


class CallHelper(Expr):
    """A call of kernel helper number ``helper``; up to five scalar or pointer arguments."""

    helper: int
    name: str
    args: list[Expr]


class CallFunction(Expr):
    """A call of one of the program's functions (record arguments and results allowed only where it is inlined) or of
    a kfunc.
    """

    function: FunctionDecl
    args: list[Expr]


class CallPointer(Expr):
    """A call through a function pointer value (callx; or a helper called through a pointer constant)."""

    pointer: Expr
    args: list[Expr]


class ProbeRead(Expr):
    """A value of ``type`` read from kernel (or user) memory at ``address`` by helper ``helper``: a zeroed temporary
    is filled and its value taken.

    A failed read gives 0. For a bit-field ``field`` is set, ``address`` points to its storage unit of
    ``unit_bytes``, and the temporary has that size.
    """

    helper: int
    address: Expr
    field: Field | None = None
    unit_bytes: int = 0


class Builtin(Expr):
    """A compiler builtin by name with checked arguments.

    ``memcpy memmove memset`` (constant or variable length; a fourth argument is what is known of the target's
    alignment) ``memcmp`` · ``bswap16/32/64`` · ``expect`` ·
    ``constant_p`` (folded as late as possible) · ``unreachable`` ·
    ``trap`` · ``barrier`` · ``barrier_var`` (lvalue) · ``ctz clz popcount ffs`` (operand's width) · ``add_overflow
    sub_overflow mul_overflow`` (a, b, pointer) · atomics on a pointer: ``atomic_add sub and or xor nand`` (value
    before; result unused is allowed and cheaper), ``atomic_add_fetch …`` (value after),
    ``atomic_exchange atomic_compare_exchange`` (pointer, expected, new; value before) ``atomic_load atomic_store``
    ``fence`` ·
    ``load_byte load_half load_word`` (legacy packet loads at an offset: args [offset]) · ``return_address
    frame_address`` · ``assume``. For a host also ``prefetch``, and behind an atomic's arguments its memory orders.
    """

    name: str
    args: list[Expr]


class CoreInfo(Expr):
    """A CO-RE question, answered at load. ``kind``:

    about a field, ``operand`` is a relocatable lvalue: ``field_byte_offset field_byte_size field_exists field_signed
    field_lshift_u64 field_rshift_u64`` · about a type, ``about`` is set: ``type_id_local type_id_target type_exists
    type_size type_matches`` · about an enumerator, ``about`` is the enum and ``enumerator`` its name:
    ``enumval_exists enumval_value``
    """

    kind: str
    operand: Expr | None = None
    about: CType | None = None
    enumerator: str | None = None


class CoreBitfield(Expr):
    """The value of a relocatable bit-field or scalar read through CO-RE's shifts (``BPF_CORE_READ_BITFIELD[_PROBED]``);
    ``helper`` is the probe read to use, or 0 for direct loads."""

    operand: Expr
    helper: int = 0


class StatementExpr(Expr):
    """GNU's ``({ … })``; ``value`` is the last expression or None (type void), evaluated in the block's scope after
    ``body``.
    """

    body: Block
    value: Expr | None


class CompoundLiteral(Expr):
    """An lvalue: a fresh variable (local or global by its kind) initialised by ``variable.init`` when evaluated."""

    variable: Variable


class Temporary(Expr):
    """A value used more than once: ``value`` is evaluated at the first node met at run time in program order and
    shared by identity.

    The checker uses one `Temporary` object in several places only where the first dominates the others.
    """

    value: Expr


# --------------------------------------------------------------------------------------------------- initialisers


class InitPart(NodeBase):
    """``value`` goes to ``offset`` bytes from the start of the object (or into the bit-field ``field`` of the record
    there).
    """

    offset: int
    value: Expr
    field: Field | None = None


class Initializer(NodeBase):
    """All of an object: zero first (unless ``whole``), then each part in order of writing.

    A scalar has one part at 0. A ``char`` array from a string has one part with a `StringConst`, padded with zeroes
    to the array's size. A record copied from an expression has one part and ``whole`` True. For globals every
    ``value`` is a constant: `IntConst`, an `AddressOf` a global with `PointerAdd`s, a `FunctionRef` conversion, a
    `StringConst` decay.
    """

    type: CType
    parts: list[InitPart]
    whole: bool = False


# ------------------------------------------------------------------------------------------------------ statements


class Stmt(NodeBase):
    loc: int
    end: int


class Block(Stmt):
    items: list[Stmt]


class Declare(Stmt):
    """A local comes to life; initialised each time control passes if ``init`` is set (``variable.init`` is not used
    for locals).
    """

    variable: Variable
    init: Initializer | None


class Evaluate(Stmt):
    expr: Expr


class If(Stmt):
    """``condition`` is any scalar value, here and in loops."""

    condition: Expr
    then: Stmt
    otherwise: Stmt | None


class Loop(Stmt):
    """All three loops: [``init``]; test ``condition`` (first time too unless ``test_last``); ``body``; ``step``.

    ``unroll``: None as the optimiser likes, 0 fully, 1 never, n by n.
    """

    init: Stmt | None
    condition: Expr | None
    step: Expr | None
    body: Stmt
    test_last: bool = False
    unroll: int | None = None


class Switch(Stmt):
    """``value`` is an integer; ``cases`` in ``body`` are `CaseLabel`s of this switch, at any depth."""

    value: Expr
    body: Stmt
    cases: list[CaseLabel]
    default: CaseLabel | None


class CaseLabel(Stmt):
    """A place a switch jumps to: values ``low`` to ``high`` inclusive (of the switch's type), or the default if
    ``low`` is None.
    """

    low: int | None
    high: int | None


class Label(Stmt):
    """A goto's target; identity is the label."""

    name: str


class Goto(Stmt):
    target: Label


class Break(Stmt):
    pass


class Continue(Stmt):
    pass


class Return(Stmt):
    """``value`` already has the function's result type."""

    value: Expr | None


class AsmOperand(NodeBase):
    """``constraint`` as written; an output (``=``, ``+``) is an lvalue, an input a value."""

    name: str | None
    constraint: str
    expr: Expr


class Asm(Stmt):
    template: str
    outputs: list[AsmOperand]
    inputs: list[AsmOperand]
    clobbers: list[str]
    volatile: bool
