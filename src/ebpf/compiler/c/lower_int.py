"""Integer arithmetic: C's operators as LLVM instructions, and what LLVM's BPF back end cannot do, done by hand.

Below ``-mcpu=v4`` BPF has no signed division: it is done on magnitudes. For 128 bits the back end would call libgcc for
multiplication, division and shifts by a variable; the functions at the end take their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c.lower_types import bits_of, ir_type, is_signed

if TYPE_CHECKING:
    from ebpf.compiler.c.lower_function import FunctionLowering
    from ebpf.compiler.c.types import CType

_PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_SIGNED_COMPARE = {"==": "eq", "!=": "ne", "<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}
_UNSIGNED_COMPARE = {"==": "eq", "!=": "ne", "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}
COMPARISONS = _SIGNED_COMPARE


def compare(f: FunctionLowering, op: str, t: CType, a: str, b: str) -> str:
    """``a op b`` as an i1; ``t`` is the operands' type."""
    word = (_SIGNED_COMPARE if is_signed(t) else _UNSIGNED_COMPARE)[op]
    return f.w.emit(f"icmp {word} {ir_type(t)} {a}, {b}")


def convert(f: FunctionLowering, value: str, source: CType, target: CType) -> str:
    """An integer as another integer type."""
    return resize(f, value, bits_of(source), bits_of(target), is_signed(source))


def resize(f: FunctionLowering, value: str, have: int, want: int, signed: bool) -> str:
    if have == want:
        return value
    number = _number(value)
    if number is not None:
        number &= (1 << have) - 1
        if signed and number >> (have - 1):
            number -= 1 << have
        return str(number & ((1 << want) - 1))
    word = "trunc" if want < have else "sext" if signed else "zext"
    return f.w.emit(f"{word} i{have} {value} to i{want}")


def binary(f: FunctionLowering, op: str, t: CType, a: str, b: str) -> str:
    """``a op b`` for both operands of type ``t`` (``+ - * / % & | ^``)."""
    bits, signed = bits_of(t), is_signed(t)
    if op in "/%":
        return _divide(f, op == "%", bits, signed, a, b)
    if op == "*" and bits == 128 and not (_power_of_two(a) or _power_of_two(b)):
        return f.w.emit(f"call i128 {f.module.runtime('ebpf.mul128', _MUL128)}(i128 {a}, i128 {b})")
    return f.w.emit(f"{_PLAIN[op]} i{bits} {a}, {b}")


def shift(f: FunctionLowering, op: str, t: CType, a: str, count: str, count_type: CType) -> str:
    """``a << count`` or ``a >> count``; the count may be of another width."""
    bits = bits_of(t)
    name = "shl" if op == "<<" else "ashr" if is_signed(t) else "lshr"
    if bits == 128 and _number(count) is None:
        count = resize(f, count, bits_of(count_type), 64, False)
        return f.w.emit(f"call i128 {f.module.runtime(f'ebpf.{name}128', _SHIFTS128[name])}(i128 {a}, i64 {count})")
    count = resize(f, count, bits_of(count_type), bits, False)
    return f.w.emit(f"{name} i{bits} {a}, {count}")


def _divide(f: FunctionLowering, remainder: bool, bits: int, signed: bool, a: str, b: str) -> str:
    divisor = _number(b)
    easy = _power_of_two(b) and divisor is not None and not divisor >> (bits - 1)
    if signed:
        native = "srem" if remainder else "sdiv"
        # A constant divisor is multiplied and shifted by LLVM where the double width exists: 32 bits only.
        direct = bits <= 64 and (f.options.mcpu == "v4" or f.unit.host)
        if easy or direct or (bits == 32 and divisor not in (None, 0)):
            return f.w.emit(f"{native} i{bits} {a}, {b}")
        sign_a, sign_b = f.w.emit(f"ashr i{bits} {a}, {bits - 1}"), f.w.emit(f"ashr i{bits} {b}, {bits - 1}")
        size_a, size_b = _flip(f, bits, a, sign_a), _flip(f, bits, b, sign_b)
        sign = sign_a if remainder else f.w.emit(f"xor i{bits} {sign_a}, {sign_b}")
        return _flip(f, bits, _divide(f, remainder, bits, False, size_a, size_b), sign)
    if bits == 128 and not easy:
        name = "ebpf.urem128" if remainder else "ebpf.udiv128"
        f.module.runtime("ebpf.divide128", _DIVIDE128)
        return f.w.emit(f"call i128 {f.module.runtime(name, _wrapper128(name, remainder))}(i128 {a}, i128 {b})")
    return f.w.emit(f"{'urem' if remainder else 'udiv'} i{bits} {a}, {b}")


def _flip(f: FunctionLowering, bits: int, value: str, sign: str) -> str:
    """``value`` negated where ``sign`` is -1, as it is where ``sign`` is 0."""
    return f.w.emit(f"sub i{bits} {f.w.emit(f'xor i{bits} {value}, {sign}')}, {sign}")


def _number(text: str) -> int | None:
    return int(text) if text[0] not in "%@ni" else None  # "null", "inttoptr (...)"


def _power_of_two(text: str) -> bool:
    n = _number(text)
    return n is not None and n > 0 and n & (n - 1) == 0


# ----------------------------------------------------------------------------------------------- 128-bit runtime

# The product of the low halves is put together from four 32-bit products. The empty assembly keeps the optimiser from
# recognising a double-width multiplication, which it would turn back into the i128 that cannot be generated.
_MUL128 = """\
define internal i128 @ebpf.mul128(i128 %a, i128 %b) alwaysinline nounwind "no-builtins" {
  %al = trunc i128 %a to i64
  %bl = trunc i128 %b to i64
  %aw = lshr i128 %a, 64
  %ah = trunc i128 %aw to i64
  %bw = lshr i128 %b, 64
  %bh = trunc i128 %bw to i64
  %a0 = and i64 %al, 4294967295
  %a1 = lshr i64 %al, 32
  %b0 = and i64 %bl, 4294967295
  %b1 = lshr i64 %bl, 32
  %p = mul i64 %a0, %b0
  %p00 = call i64 asm "", "=r,0"(i64 %p)
  %p01 = mul i64 %a0, %b1
  %p10 = mul i64 %a1, %b0
  %p11 = mul i64 %a1, %b1
  %c0 = lshr i64 %p00, 32
  %m0 = add i64 %p10, %c0
  %m0l = and i64 %m0, 4294967295
  %m0h = lshr i64 %m0, 32
  %m1 = add i64 %p01, %m0l
  %m1h = lshr i64 %m1, 32
  %h0 = add i64 %p11, %m0h
  %h1 = add i64 %h0, %m1h
  %x = mul i64 %al, %bh
  %y = mul i64 %ah, %bl
  %h2 = add i64 %h1, %x
  %h = add i64 %h2, %y
  %l0 = and i64 %p00, 4294967295
  %l1 = shl i64 %m1, 32
  %l = or i64 %l0, %l1
  %lz = zext i64 %l to i128
  %hz = zext i64 %h to i128
  %hs = shl i128 %hz, 64
  %r = or i128 %lz, %hs
  ret i128 %r
}
"""

# Shift-and-subtract, 128 rounds; when both fit in 64 bits, one instruction. Not inlined: it is long, and kernels walk
# it once per call either way. The result goes through memory because a BPF function returns one register. A round has
# no branch: the verifier would follow both ways of each, 2¹²⁸ paths; so comparing is subtracting, and the borrow is
# made of bits.
_DIVIDE128 = """\
define internal void @ebpf.divide128(ptr %out, i64 %al, i64 %ah, i64 %bl, i64 %bh) noinline nounwind "no-builtins" {
entry:
  %any = or i64 %ah, %bh
  %small = icmp eq i64 %any, 0
  %quotient.h = getelementptr i8, ptr %out, i64 8
  %remainder = getelementptr i8, ptr %out, i64 16
  %remainder.h = getelementptr i8, ptr %out, i64 24
  br i1 %small, label %narrow, label %round
narrow:
  %q = udiv i64 %al, %bl
  %r = urem i64 %al, %bl
  store i64 %q, ptr %out
  store i64 0, ptr %quotient.h
  store i64 %r, ptr %remainder
  store i64 0, ptr %remainder.h
  ret void
round:
  %i = phi i64 [ 0, %entry ], [ %i.next, %round ]
  %nl = phi i64 [ %al, %entry ], [ %nl.next, %round ]
  %nh = phi i64 [ %ah, %entry ], [ %nh.next, %round ]
  %rl = phi i64 [ 0, %entry ], [ %rl.next, %round ]
  %rh = phi i64 [ 0, %entry ], [ %rh.next, %round ]
  %over = lshr i64 %rh, 63
  %rh.1 = shl i64 %rh, 1
  %rl.top = lshr i64 %rl, 63
  %rh.2 = or i64 %rh.1, %rl.top
  %rl.1 = shl i64 %rl, 1
  %n.top = lshr i64 %nh, 63
  %rl.2 = or i64 %rl.1, %n.top
  %nh.1 = shl i64 %nh, 1
  %nl.top = lshr i64 %nl, 63
  %nh.next = or i64 %nh.1, %nl.top
  %nl.1 = shl i64 %nl, 1
  %tl = sub i64 %rl.2, %bl
  %not.l = xor i64 %rl.2, -1
  %bl.1 = and i64 %not.l, %bl
  %bl.2 = or i64 %not.l, %bl
  %bl.3 = and i64 %bl.2, %tl
  %bl.4 = or i64 %bl.1, %bl.3
  %bl.5 = call i64 asm "", "=r,0"(i64 %bl.4)
  %borrow.l = lshr i64 %bl.5, 63
  %th.1 = sub i64 %rh.2, %bh
  %th = sub i64 %th.1, %borrow.l
  %not.h = xor i64 %rh.2, -1
  %bh.1 = and i64 %not.h, %bh
  %bh.2 = or i64 %not.h, %bh
  %bh.3 = and i64 %bh.2, %th
  %bh.4 = or i64 %bh.1, %bh.3
  %bh.5 = call i64 asm "", "=r,0"(i64 %bh.4)
  %borrow = lshr i64 %bh.5, 63
  %fits = xor i64 %borrow, 1
  %take.1 = or i64 %fits, %over
  %take = call i64 asm "", "=r,0"(i64 %take.1)
  %mask = sub i64 0, %take
  %dl = and i64 %bl, %mask
  %borrow.taken = and i64 %borrow.l, %mask
  %dh.1 = and i64 %bh, %mask
  %dh = add i64 %dh.1, %borrow.taken
  %rl.next = sub i64 %rl.2, %dl
  %rh.next = sub i64 %rh.2, %dh
  %nl.next = or i64 %nl.1, %take
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, 128
  br i1 %more, label %round, label %finish
finish:
  store i64 %nl.next, ptr %out
  store i64 %nh.next, ptr %quotient.h
  store i64 %rl.next, ptr %remainder
  store i64 %rh.next, ptr %remainder.h
  ret void
}
"""


def _wrapper128(name: str, remainder: bool) -> str:
    return f"""\
define internal i128 @{name}(i128 %a, i128 %b) alwaysinline nounwind "no-builtins" {{
  %out = alloca [32 x i8], align 8
  %al = trunc i128 %a to i64
  %aw = lshr i128 %a, 64
  %ah = trunc i128 %aw to i64
  %bl = trunc i128 %b to i64
  %bw = lshr i128 %b, 64
  %bh = trunc i128 %bw to i64
  call void @ebpf.divide128(ptr %out, i64 %al, i64 %ah, i64 %bl, i64 %bh)
  %lp = getelementptr i8, ptr %out, i64 {16 * remainder}
  %hp = getelementptr i8, ptr %out, i64 {16 * remainder + 8}
  %l = load i64, ptr %lp, align 8
  %h = load i64, ptr %hp, align 8
  %lz = zext i64 %l to i128
  %hz = zext i64 %h to i128
  %hs = shl i128 %hz, 64
  %r = or i128 %lz, %hs
  ret i128 %r
}}
"""


def _shift128(name: str) -> str:
    left = name == "shl"
    # (half that loses bits to the other, half that receives them): for a left shift low → high.
    giver, taker = ("l", "h") if left else ("h", "l")
    other = "lshr" if left else "shl"
    fill = f"%fill = {'ashr i64 %h, 63' if name == 'ashr' else 'and i64 %h, 0'}"
    body = f"""\
define internal i128 @ebpf.{name}128(i128 %a, i64 %n) alwaysinline nounwind "no-builtins" {{
  %l = trunc i128 %a to i64
  %aw = lshr i128 %a, 64
  %h = trunc i128 %aw to i64
  {fill}
  %k = and i64 %n, 63
  %rest.0 = sub i64 63, %k
  %moved.0 = {other} i64 %{giver}, 1
  %moved = {other} i64 %moved.0, %rest.0
  %giver = {name} i64 %{giver}, %k
  %taker.0 = {"shl" if left else "lshr"} i64 %{taker}, %k
  %taker = or i64 %taker.0, %moved
  %far.bit = and i64 %n, 64
  %far = icmp ne i64 %far.bit, 0
  %t = select i1 %far, i64 %giver, i64 %taker
  %g = select i1 %far, i64 %fill, i64 %giver
"""
    high, low = ("%t", "%g") if left else ("%g", "%t")
    return (
        body
        + f"""\
  %lz = zext i64 {low} to i128
  %hz = zext i64 {high} to i128
  %hs = shl i128 %hz, 64
  %r = or i128 %lz, %hs
  ret i128 %r
}}
"""
    )


_SHIFTS128 = {name: _shift128(name) for name in ("shl", "lshr", "ashr")}
