"""Local variables in the debugger: out of DWARF that our compiler made for it, and out of clang's."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import ebpf
from ebpf.binaries.locations import Location, locate
from ebpf.compiler.variables import located
from ebpf.debugger.repl import Repl
from ebpf.errors import ElfError, NotSupported, UsageError

SOURCE = Path(__file__).parent / "locals.c"
PACKET = bytes(65)
WAYS = ["ours", "-gdwarf-5", "-gdwarf-4"]


def _line(text: str) -> int:
    return next(n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line)


@pytest.fixture(params=WAYS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The path of the program: of its source, or of an object that clang made of it."""
    if request.param == "ours":
        return str(SOURCE)
    clang = next(filter(None, map(shutil.which, ("clang", "clang-14", "clang-16", "clang-19"))), None)
    if clang is None:
        pytest.skip("clang is not installed")
    out = tmp_path / "pairs.o"
    subprocess.run([clang, "-O2", "-g", request.param, "-target", "bpf", "-c", SOURCE, "-o", out], check=True)
    return str(out)


def test_values_are_those_of_the_source(program: str) -> None:
    """Whatever is told at any instruction is what the C says; and at its lines everything that matters is told."""
    right = {"amount": {21}, "doubled": {42, 49}, "odd": {1, 50, 1000}, "start": {50}, "inner": {53, 265}}
    seen: dict[str, set[int]] = {}
    pairs = set()
    with ebpf.debug(program, PACKET) as debugger:
        while not debugger.finished:
            for local in debugger.locals:
                if local.optimised_out:
                    continue
                if local.name in right:
                    seen.setdefault(local.name, set()).add(local.value)
                elif local.name == "pair":
                    pairs.add((local.value.first, local.value.second, local.value.name))
                elif local.name == "skb":
                    assert debugger.read(local.value, 4) == struct.pack("<I", 65)
            debugger.step_instruction()
    assert all(values <= right[name] for name, values in seen.items())
    assert {"amount", "doubled", "odd", "inner"} <= set(seen)
    assert {1, 50} <= seen["odd"] and seen["doubled"] == {42, 49}
    assert (65, 7, b"abc") in pairs


def test_in_a_function_and_what_its_pointer_leads_to(program: str) -> None:
    with ebpf.debug(program, PACKET) as debugger:
        debugger.break_at(_line("doubled += p->second"))
        debugger.run()
        assert [local.name for local in debugger.locals] == ["amount", "p", "doubled"]
        assert {local.function for local in debugger.locals} == {"twice"}
        doubled = debugger.locals[2]
        assert (doubled.type, doubled.value, doubled.line) == ("int", 42, _line("int doubled"))
        assert debugger.evaluate("p->first").value == 65
        assert debugger.evaluate("p->name").text == '"abc"'
        assert debugger.evaluate("p->name[1]").value == ord("b")
        assert str(debugger.evaluate("*p")).startswith('struct pair *p = {.first = 65, .second = 7, .name = "abc"}   (0x')
        lines = Repl(debugger).execute("print *p")
        assert lines == ['*p = {.first = 65, .second = 7, .name = "abc"}']


def test_inlined_functions_and_their_callers(program: str) -> None:
    with ebpf.debug(program, PACKET) as debugger:
        debugger.break_at(_line("bpf_get_prandom_u32() > 7"))
        debugger.run()
        by_function: dict[str, dict[str, object]] = {}
        for local in debugger.locals:
            by_function.setdefault(local.function, {})[local.name] = local.value
        assert list(by_function) == ["shifted", "pairs"]
        # clang 14 loses it before the line is over.
        assert by_function["shifted"]["inner"] == 53 or (program != str(SOURCE) and None in by_function["shifted"].values())
        assert by_function["pairs"]["pair"] == (65, 7, b"abc")
        shown = Repl(debugger).execute("locals")
        assert "in pairs:" in shown and any(line.startswith("__u64 inner = ") for line in shown)
        assert any(line.endswith("optimised out") for line in shown)


def test_of_two_of_one_name_the_inner_one() -> None:
    with ebpf.debug(SOURCE, PACKET) as debugger:
        debugger.break_at(_line("*sum +="))
        debugger.run()
        assert debugger.evaluate("odd").value == 1000


def test_mistakes_are_told() -> None:
    with ebpf.debug(SOURCE, PACKET) as debugger:
        debugger.break_at("twice")
        debugger.run()
        for text, words in [
            ("amont", "there is no variable 'amont' here"), ("p->thrid", "thrid"), ("amount.x", "int has no members"),
            ("*amount", "int is no pointer"), ("p->name[6]", "the array has 6 elements"), ("p.first", "no members"),
            ("p->", "is no expression"), ("&p", "is no expression"), ("2", "is no expression"),
            ("p[9999999]", "there is nothing to be read"),
        ]:
            with pytest.raises((UsageError, ebpf.EbpfError), match=words.replace("[", r"\[").replace("*", r"\*")):
                debugger.evaluate(text)
        debugger.run()
        assert debugger.locals == []
        with pytest.raises(UsageError, match="has ended"):
            debugger.evaluate("p")


def test_objects_that_do_not_say() -> None:
    with ebpf.debug(ebpf.compile(SOURCE), PACKET) as debugger:
        with pytest.raises(NotSupported, match="it does not say where they live"):
            _ = debugger.locals
        assert Repl(debugger).execute("print total") == ["total = 0"]


def test_only_the_debugger_asks_for_it() -> None:
    """Instructions are the same with it, and without it nothing of it is there."""
    plain = ebpf.compile(SOURCE)
    with located():
        told = ebpf.compile(SOURCE)
    assert plain.image is None and told.image is not None
    assert {n: f.code for n, f in plain.every_function.items()} == {n: f.code for n, f in told.every_function.items()}
    assert ebpf.compile(SOURCE).image is None


def test_variables_of_python_functions(tmp_path: Path) -> None:
    module = tmp_path / "sizes.py"
    module.write_text('''
import ebpf
from ebpf import u64

seen = ebpf.Array(u64, max_entries=1)

@ebpf.xdp
def sizes(ctx):
    size = ctx.data_end - ctx.data
    half = size // 2
    if half > 40:
        seen[0] += half
        return 1
    return 2
''')
    from ebpf.cli.debug import _functions

    with ebpf.debug(_functions(str(module)), bytes(140)) as debugger:
        debugger.break_at(12)
        debugger.run()
        assert [local.name for local in debugger.locals] == ["ctx", "size", "half"]
        assert debugger.evaluate("size").value == 140
        halves = set()
        while not debugger.finished:
            halves.add(debugger.evaluate("half").value)
            debugger.step_instruction()
        assert halves == {None, 70}


def test_damaged_debug_information_is_an_error_of_ours() -> None:
    with located():
        obj = ebpf.compile(SOURCE)
    assert obj.image is not None
    info = bytes(obj.image.section(".debug_info").data)
    for at in range(11, len(info), 7):
        obj.image.replace(".debug_info", info[:at] + bytes([info[at] ^ 0xFF]) + info[at + 1:])
        with ebpf.debug(obj, PACKET) as debugger:
            for _ in range(8):
                try:
                    _ = debugger.locals
                except ebpf.EbpfError:
                    break
                debugger.step_instruction()


@pytest.mark.parametrize(("expression", "found"), [
    ("53", Location("register", 3)),
    ("5b", None),  # r11, which nobody sees
    ("9007", Location("register", 7)),
    ("7310", Location("memory", 0x1010)),  # r3 + 16
    ("7370", Location("memory", 0x1000 - 16)),
    ("9108", Location("memory", 0x2000 - 56)),  # above the lowest byte of a frame of 64
    ("9178", Location("memory", 0x2000 - 8)),
    ("11009f", Location("value", 0)),
    ("117f9f", Location("value", (1 << 64) - 1)),
    ("08ff9f", Location("value", 255)),
    ("09ff9f", Location("value", (1 << 64) - 1)),
    ("73009f", Location("value", 0x1000)),
    ("7300230a9f", Location("value", 0x100A)),
    ("3532229f", Location("value", 7)),
    ("35321c9f", Location("value", 3)),
    ("730006", Location("memory", 0x0807060504030201)),
    ("a30153", None),  # what a register was when the function began
    ("539304", None),  # in pieces
    ("", None),
])
def test_expressions(expression: str, found: Location | None) -> None:
    registers = [0, 0, 0, 0x1000, 0, 0, 0, 0, 0, 0, 0x2000]
    assert locate(bytes.fromhex(expression), registers, lambda offset: 0x2000 + (offset - 64 if offset >= 0 else offset),
                  lambda address, size: bytes(range(1, size + 1))) == found


@pytest.mark.parametrize("expression", ["22", "08", "9f", "7f80", "353031"])
def test_damaged_expressions(expression: str) -> None:
    try:
        locate(bytes.fromhex(expression), [0] * 11, lambda offset: offset, lambda address, size: bytes(size))
    except ElfError as error:
        assert "no expression of DWARF" in error.message
