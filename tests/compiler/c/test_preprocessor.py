"""The preprocessor, by hand-written cases and against clang's."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ebpf.compiler.c.lexer import tokenize
from ebpf.compiler.c.preprocessor import Preprocessed, preprocess
from ebpf.compiler.c.source import SourceMap

CLANG = shutil.which("clang")


def run(text: str, files: dict[str, str] | None = None, **options) -> Preprocessed:
    return preprocess(SourceMap(), "test.c", text, read_include=(files or {}).get, **options)


def words(text: str, **options) -> list[str]:
    result = run(text, **options)
    assert [d.message for d in result.diagnostics if d.severity == "error"] == []
    return [t.text for t in result.tokens[:-1]]


# (what it shows, text, tokens)
CASES = [
    ("object-like", "#define A 1 + B\n#define B 2\nA A;", "1 + 2 1 + 2 ;"),
    ("undef", "#define A 1\n#undef A\nA", "A"),
    ("function-like", "#define F(x, y) x*y\nF(1, (2, 3)) F (4,5) F", "1 * ( 2 , 3 ) 4 * 5 F"),
    ("empty arguments", "#define F(x) [x]\n#define G() g\n#define H(x,y) <x|y>\nF() G() H(,) H(1,)", "[ ] g < | > < 1 | >"),
    ("call over lines", "#define F(x) x x\nF(\n  1\n  +\n 2)\n", "1 + 2 1 + 2"),
    ("name at the end of an expansion", "#define F(x) <x>\n#define G F\nG(1)", "< 1 >"),
    ("self reference", "#define foo foo + 1\nfoo", "foo + 1"),
    ("mutual reference", "#define a b\n#define b a\na b", "a b"),
    ("self reference through an argument", "#define f(x) x + f(x)\nf(f(1))", "1 + f ( 1 ) + f ( 1 + f ( 1 ) )"),
    ("rescanning reaches past the expansion", "#define f(a) a*g\n#define g(a) f(a)\nf(2)(9)", "2 * 9 * g"),
    ("stringize", r'''#define S(x) #x
S( a  +  "q\n" '\'' ) S() S(<:)''', r'''"a + \"q\\n\" '\\''" "" "<:"'''),
    ("stringize does not expand", "#define A 1\n#define S(x) #x\n#define X(x) S(x)\nS(A) X(A)", '"A" "1"'),
    ("paste", "#define P(a,b) a##b\nP(x,1) P(1,2) P(,y) P(x,) P(<,<=)", "x1 12 y x <<="),
    ("paste makes a macro's name", "#define AB ok\n#define P(a,b) a##b\nP(A,B)", "ok"),
    ("paste chains", "#define P(a,b,c) a##b##c\nP(1,2,3) P(,,) P(a,,c)", "123 ac"),
    ("paste does not expand its operands", "#define A 1\n#define P(a,b) a##b\nP(A,A)", "AA"),
    ("## in an argument is no operator", "#define I(x) x\nI(a ## b)", "a ## b"),
    ("hash_hash of the standard", "#define hash_hash # ## #\n#define mkstr(a) # a\n#define in_between(a) mkstr(a)\n"
     "#define join(c, d) in_between(c hash_hash d)\njoin(x, y)", '"x ## y"'),
    ("variadic", "#define V(f, ...) f(__VA_ARGS__)\nV(p, 1, 2) V(p) V(p,)", "p ( 1 , 2 ) p ( ) p ( )"),
    ("GNU comma", '#define D(f, ...) p(f, ## __VA_ARGS__)\nD("a") D("a", 1) D("a", 1, 2)', 'p ( "a" ) p ( "a" , 1 ) p ( "a" , 1 , 2 )'),
    ("GNU named variadic", "#define D(f, a...) p(f, ##a) <a>\nD(1) D(1, 2, 3)", "p ( 1 ) < > p ( 1 , 2 , 3 ) < 2 , 3 >"),
    ("__VA_OPT__", "#define F(a, ...) f(0 __VA_OPT__(, a ## 1 __VA_ARGS__))\nF(x) F(x, 1) F(x, )", "f ( 0 ) f ( 0 , x1 1 ) f ( 0 )"),
    ("argument prescan", "#define x 3\n#define f(a) f(x * (a))\n#undef x\n#define x 2\n#define g f\n#define z z[0]\n#define h g(~\n"
     "#define m(a) a(w)\n#define w 0,1\n#define t(a) a\n#define p() int\n#define q(x) x\n#define r(x,y) x ## y\n#define str(x) # x\n"
     "f(y+1) + f(f(z)) % t(t(g)(0) + t)(1);\ng(x+(3,4)-w) | h 5) & m\n(f)^m(m);\np() i[q()] = { q(1), r(2,3), r(4,), r(,5), r(,) };\n"
     "char c[2][6] = { str(hello), str() };",
     "f ( 2 * ( y + 1 ) ) + f ( 2 * ( f ( 2 * ( z [ 0 ] ) ) ) ) % f ( 2 * ( 0 ) ) + t ( 1 ) ; f ( 2 * ( 2 + ( 3 , 4 ) - 0 , 1 ) ) "
     '| f ( 2 * ( ~ 5 ) ) & f ( 2 * ( 0 , 1 ) ) ^ m ( 0 , 1 ) ; int i [ ] = { 1 , 23 , 4 , 5 , } ; char c [ 2 ] [ 6 ] = { "hello" , "" } ;'),
    ("indirect counting of arguments", "#define N(...) N_(__VA_ARGS__, 3, 2, 1, 0)\n#define N_(a, b, c, n, ...) n\nN(x) N(x, y) N(x, y, z)",
     "1 2 3"),
    ("EVAL idiom", "#define EMPTY\n#define DEFER(x) x EMPTY\n#define A() 123\n#define EXPAND(...) __VA_ARGS__\nDEFER(A)() EXPAND(DEFER(A)())",
     "A ( ) 123"),
    ("splices", "#def\\\nine A\\\nB 1\\\n2\nA\\\nB \"x\\\ny\" // c \\\n gone\nz", '12 "xy" z'),
    ("comments", "a/* x */b /**/ c // d\ne /* \n\n */ f", "a b c e f"),
    ("digraphs", "%:define A <: :> <% %>\nA\n#define P(a) %:a\nP(x)", '<: :> <% %> "x"'),
    ("conditionals", "#if 1\na\n#else\nb\n#endif\n#if 0\nc\n#elif 0\nd\n#elif 1\ne\n#elif 1\nf\n#else\ng\n#endif", "a e"),
    ("nested conditionals", "#if 0\n#if 1\na\n#else\nb\n#endif\nc\n#else\n#ifdef X\nd\n#else\ne\n#endif\n#endif", "e"),
    ("conditions", "#if (1 ? 2 : 3/0) == 2 && !defined X && !defined(Y) && -1 < 0 && -1 > 0u\na\n#endif\n"
     "#if 0x10 == 16 && 010 == 8 && 'a' == 97 && '\\n' == 10 && (1 || 1/0) && ~0 == -1 && (3, 4) == 4\nb\n#endif\n"
     "#if -7 / 2 == -3 && -7 % 2 == -1 && 1 << 62 > 0 && 0xffffffffffffffff == -1 && -1 >> 1 == -1\nc\n#endif", "a b c"),
    ("conditions expand macros", "#define V(a,b) (a*256+b)\n#define CODE V(6,1)\n#if CODE >= V(5,10) && CODE < V(6,2)\na\n#endif\n#if X\n#else\nb\n#endif",
     "a b"),
    ("defined out of a macro", "#define HAS defined(FOO)\n#define FOO\n#if HAS\na\n#endif", "a"),
    ("a skipped group may hold anything", "#if 0\ndon't 'x \" #define A\n#else garbage\n#endif\n#ifdef Q\nisn't\n#endif\nz", "z"),
    ("directives in a call", "#define F(x) [x]\nF(1\n#ifdef Q\n2\n#else\n3\n#endif\n)", "[ 1 3 ]"),
    ("__LINE__", "__LINE__\n#define L __LINE__\n\nL \\\n__LINE__\n#line 100 \"x.c\"\n__LINE__ __FILE__", '1 4 5 100 "x.c"'),
    ("__COUNTER__", "__COUNTER__ __COUNTER__\n#define J(a,b) a##b\n#define K(a,b) J(a,b)\nK(x,__COUNTER__)", "0 1 x2"),
    ("hash at the line's middle", "a # b\n#\n # \n b", "a # b b"),
    ("numbers", "1.e+5-1 0x1e+1 .5f 1..2 08u 1'000", "1.e+5 - 1 0x1e+1 .5f 1..2 08u 1'000"),
    ("punctuators", "a+++++b ->-- ... .. >>=<<= %:%: ^=|| &&", "a ++ ++ + b -> -- ... . . >>= <<= %:%: ^= || &&"),
    ("prefixes", "u8\"a\" L'x' u\"b\" U'c' R u8 L", "u8\"a\" L'x' u\"b\" U'c' R u8 L"),
    ("macro in angle include", "#define H <linux/bpf.h>\n#include H\nx", "x"),
    ("elifdef", "#define B\n#ifdef A\n1\n#elifdef B\n2\n#elifndef C\n3\n#else\n4\n#endif", "2"),
    ("push_macro", '#define A 1\n#pragma push_macro("A")\n#undef A\n#define A 2\nA\n#pragma pop_macro("A")\nA', "2 1"),
]  # fmt: skip
# clang 14 does not know these, or spells them otherwise.
NOT_FOR_CLANG = {"macro in angle include", "push_macro", "numbers", "__LINE__"}


@pytest.mark.parametrize("text, expected", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_tokens(text, expected):
    assert " ".join(words(text)) == expected


@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
@pytest.mark.parametrize(
    "text", [c[1] for c in CASES if c[0] not in NOT_FOR_CLANG], ids=[c[0] for c in CASES if c[0] not in NOT_FOR_CLANG]
)
def test_same_as_clang(text):
    done = subprocess.run(
        [CLANG, "-E", "-P", "-std=gnu2x", "-w", "-x", "c", "-"], input=text, capture_output=True, text=True, check=True
    )
    theirs = [t.text for t in tokenize(done.stdout, 1)[:-1]]
    assert words(text) == theirs


# (text, the message, "line:column", a help or a note that must be there)
MISTAKES = [
    ("#if 1\nx", "`#if` without `#endif`", "1:2", ""),
    ("x\n#endif", "`#endif` without `#if`", "2:2", ""),
    ("#else", "`#else` without `#if`", "1:2", ""),
    ("#if 0\n#else\n#else\n#endif", "`#else` after `#else`", "3:2", ""),
    ("#if\n#endif", "`#if` needs a condition", "1:2", ""),
    ("#if 1 +\n#endif", "in the condition of `#if`: a value is missing at the end of the line", "1:7", ""),
    ("#if (1\n#endif", "in the condition of `#if`: this `(` is never closed", "1:5", ""),
    ("#if 1/0\n#endif", "in the condition of `#if`: division by zero", "1:6", ""),
    ("#if 1 2\n#endif", "in the condition of `#if`: `2` is not expected here", "1:7", ""),
    ("#if FOO(1)\n#endif", "in the condition of `#if`: `FOO` is not a macro that takes arguments", "1:5", ""),
    ("#if 1.5\n#endif", "in the condition of `#if`: only integers can stand in a condition", "1:5", ""),
    ("#if defined\n#endif", "in the condition of `#if`: `defined` needs a name", "1:5", ""),
    ("#inlcude <linux/bpf.h>", "`#inlcude` is not a directive of the preprocessor", "1:2", "did you mean `#include`?"),
    ("#define", "`#define` needs a name", "1:2", ""),
    ("#define 3 x", "`#define` needs a name", "1:9", ""),
    ("#define F(a", "the parameters of macro `F` are never closed", "1:10", ""),
    ("#define F(a,a) a", "macro `F` has two parameters `a`", "1:13", ""),
    ("#define F(a b) a", "`b` is not expected among the parameters of macro `F`", "1:13", ""),
    ("#define F(a) #b", "`#` in a macro must stand before one of its parameters", "1:14", ""),
    ("#define A ## b", "`##` needs something on both sides", "1:11", ""),
    ("#define F(a, b) a\n\n  F(1);", "macro `F` takes 2 arguments, 1 given", "3:3", ""),
    ("#define F(a, ...) a\n#define G(a, b) F(a, b)\nG(1, 2, 3)", "macro `G` takes 2 arguments, 3 given", "3:1", ""),
    ("#define F(a) a\nF(1", "the call of macro `F` is never closed", "2:1", "add the closing `)`"),
    ("#define P(a,b) a##b\nP(+,/)", "`##` of `+` and `/` gives `+/`, which is not one token", "2:1", ""),
    ("#error do not\n", "do not", "1:2", ""),
    ("#include", "`#include` needs a header's name", "1:2", ""),
    ("#include \"own.h\"", "header `own.h` not found", "1:10", "looked for own.h, inc/own.h"),
    ("#include <bpf/bpf_helper.h>\n#include \"bpf_helper.h\"", "header `bpf_helper.h` not found", "2:10", "did you mean `bpf/bpf_helpers.h`?"),
    ("#line x", "`#line` needs a line number", "1:2", ""),
    ("#pragma unroll x +", "`#pragma unroll` takes a number", "1:16", ""),
]  # fmt: skip


@pytest.mark.parametrize("text, message, place, detail", MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_mistakes(text, message, place, detail):
    result = run(text, include_dirs=("inc",))
    errors = [d for d in result.diagnostics if d.severity == "error"]
    assert [d.message for d in errors] == [message]
    span = errors[0].span
    assert span is not None and f"{span.line}:{span.column}" == place
    assert detail in "\n".join(errors[0].helps + errors[0].notes)


def test_several_mistakes_are_reported_and_at_most_twenty():
    assert len(run("#foo\n#if 1 +\n#endif\n#error e").diagnostics) == 3
    assert len(run("\n".join(f"#error number {n}" for n in range(50))).diagnostics) == 20


def test_kernel_headers_cost_nothing_and_own_ones_are_read():
    files = {
        "inc/own.h": "own",
        "sub/a.h": '#include "b.h"\na',
        "sub/b.h": "#pragma once\nb",
        "vmlinux.h": "never",
        "types.h": "own_types",
        "inc/linux/foo.h": "never either",
    }
    text = ('#include <linux/foo.h>\n#include <uapi/linux/ptrace.h>\n#include <bpf/bpf_helpers.h>\n#include "vmlinux.h"\n#include <stdbool.h>\n'
            '#include "own.h"\n#include "sub/a.h"\n#include "sub/b.h"\n#include <own.h>\n#include "types.h"\n#include <bcc/proto.h>\n')  # fmt: skip
    result = run(text, files, include_dirs=("inc",))
    assert result.diagnostics == []
    assert [t.text for t in result.tokens[:-1]] == ["own", "b", "a", "own", "own_types"]
    assert result.includes == ["linux/foo.h", "uapi/linux/ptrace.h", "bpf/bpf_helpers.h", "vmlinux.h", "stdbool.h", "own.h", "sub/a.h", "b.h",
                               "sub/b.h", "own.h", "types.h", "bcc/proto.h"]  # fmt: skip


def test_unbounded_inclusion_is_stopped():
    result = run('#include "me.h"', {"me.h": '#include "me.h"'})
    assert ["levels deep" in d.message for d in result.diagnostics] == [True]


def test_a_macro_that_doubles_itself_is_stopped(monkeypatch):
    monkeypatch.setattr("ebpf.compiler.c.macros_expand.Expander.MAX_TOKENS", 20_000)
    text = "#define A0 x x\n" + "".join(f"#define A{n} A{n - 1} A{n - 1}\n" for n in range(1, 60)) + "A59"
    (message,) = [d.message for d in run(text).diagnostics]
    assert message.startswith("the expansion of macro `A") and message.endswith("` is too large")


def test_conditions_ask_constants_and_kernel_configuration():
    config = {"CONFIG_NET_NS": "y", "CONFIG_KVM": "m", "CONFIG_HZ": "250"}
    options = {"constant": {"AF_INET": 2}.get, "kconfig": config.get, "predefined": {"LINUX_VERSION_CODE": "0x60102"}}
    text = """
#ifndef AF_INET
never
#endif
#if AF_INET == 2 && !defined(AF_NONE) && !AF_NONE
a
#endif
#if defined(CONFIG_NET_NS) && CONFIG_NET_NS && CONFIG_HZ == 250 && !defined(CONFIG_KVM) && defined(CONFIG_KVM_MODULE)
b
#endif
#if IS_ENABLED(CONFIG_KVM) && !IS_BUILTIN(CONFIG_KVM) && !IS_ENABLED(CONFIG_NONE)
c
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 3)
d
#endif
AF_INET IS_ENABLED(CONFIG_NET_NS)
"""
    assert words(text, **options) == ["a", "b", "c", "d", "AF_INET", "1"]


def test_own_table_gives_way_to_the_program():
    assert words("#define SEC(x) [x]\nSEC(1)") == ["[", "1", "]"]
    assert words("#ifdef SEC\nyes\n#endif\n#ifndef min\nno\n#endif") == ["yes"]
    own = "static int min(int a, int b) { return a < b ? a : b; } int f(void) { return min(1, 2); }"
    assert words(own) == [t.text for t in tokenize(own, 1)[:-1]]
    swap = words("static __always_inline u16 bpf_htons(u16 x) { return x; } int f(void) { return bpf_htons(1); }")
    assert swap.count("bpf_htons") == 2
    assert "__builtin_bswap16" in words("u16 port = 1 * bpf_htons(80);") and "_min_a" in words(
        "int g(int x) { return x * min(1, 2); }"
    )
    assert words("int f(void) { return p->min(1, 2) + s.swap(a, b); }").count("min") == 1
    assert "__builtin_expect" in words("if (likely(x)) ;")


def test_defines_from_the_command_line():
    assert words("A B F(2) C", defines=("A", "B=x y", "-DF(x)=(x+x)", "C=", "-UNOTHING")) == [
        "1",
        "x",
        "y",
        "(",
        "2",
        "+",
        "2",
        ")",
    ]


def test_pragmas_stay_in_the_stream():
    text = """#pragma unroll
#pragma unroll 4
#define N 2
#pragma unroll(N)
#pragma clang loop unroll(full)
#pragma clang loop unroll_count(8)
#pragma clang loop unroll(disable)
#pragma GCC unroll 16
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#pragma clang attribute pop
#pragma pack(push, 1)
#pragma pack(pop)
#pragma GCC diagnostic ignored "-Wall"
_Pragma("unroll 3")
"""
    tokens = run(text).tokens[:-1]
    assert {t.kind for t in tokens} == {"pragma"}
    assert [t.text for t in tokens] == ["unroll 0", "unroll 4", "unroll 2", "unroll 0", "unroll 8", "unroll 1", "unroll 16",
                                       "attribute push preserve_access_index", "attribute pop", "pack push 1", "pack pop", "unroll 3"]  # fmt: skip


def test_places_in_an_expansion_are_those_of_the_use():
    sources = SourceMap()
    text = "#define ADD(a, b) ((a) + (b))\n\nint x = ADD(one,\n  two);\n"
    tokens = preprocess(sources, "p.c", text).tokens
    places = {t.text: sources.position(t.loc)[1:] for t in tokens}
    assert places["+"] == (3, 9) and places["one"] == (3, 13) and places["two"] == (4, 3) and places["x"] == (3, 5)
    plus = next(t for t in tokens if t.text == "+")
    assert sources.text(plus.loc, plus.end) == "ADD(one,\n  two)"


def test_places_after_splices_are_those_of_the_text():
    sources = SourceMap()
    tokens = preprocess(sources, "p.c", "ab\\\ncd x\\\r\n y\nz").tokens
    assert [(t.text, sources.position(t.loc)[1:]) for t in tokens[:-1]] == [
        ("abcd", (1, 1)),
        ("x", (2, 4)),
        ("y", (3, 2)),
        ("z", (4, 1)),
    ]
