"""The debugger: it stops where it is told to, tells what is there, and never changes what a program does."""

from __future__ import annotations

import random
import sys
from functools import cache
from pathlib import Path

import pytest

import ebpf
from ebpf.cli import main
from ebpf.machine import Machine

ROOT = Path(__file__).parents[2]
TRAFFIC = ROOT / "tests" / "testing" / "traffic.c"
FIREWALL = ROOT / "examples" / "firewall" / "firewall.c"
PACKET = bytes(12) + b"\x08\0" + bytes.fromhex("4500002800010000400600000a0000010a000002") + bytes(20)

CALLS = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
int total;
static __noinline int twice(int n)
{
    total += n;
    return n * 2;
}
SEC("syscall") int run(struct { int value; } *ctx)
{
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += twice(ctx->value + i);
    return sum;
}
"""


@cache
def compiled(path: Path) -> ebpf.Object:
    return ebpf.compile(path)


def traffic(data: bytes = PACKET) -> ebpf.Debugger:
    return ebpf.debug(compiled(TRAFFIC), data, program="fw")


def line_of(words: str, path: Path = TRAFFIC) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if words in line)


def test_lines_one_after_the_other() -> None:
    with traffic() as debugger:
        seen = [debugger.place.line] if debugger.place else []
        while not debugger.finished:
            place = debugger.step()
            if place is not None:
                seen.append(place.line)
        assert seen[0] == line_of("void *data") and line_of("bpf_map_update_elem") in seen
        assert line_of("*n += 1") not in seen
        assert (debugger.result, debugger.result_name, debugger.stopped) == (1, "XDP_DROP", "end")
        assert debugger.maps["drops"][0x0100000A] == 1


@pytest.mark.parametrize(("where", "words"), [
    (line_of("bpf_map_lookup_elem"), "bpf_map_lookup_elem"),
    (f"traffic.c:{line_of('bpf_printk')}", "bpf_printk"),
    ("map:drops", "bpf_map_lookup_elem"),
    ("fw", "void *data"),
])
def test_breakpoints(where: str | int, words: str) -> None:
    with traffic() as debugger:
        breakpoint = debugger.break_at(where)
        place = debugger.run() if where != "fw" else debugger.place
        assert place is not None and words in place.text
        if where != "fw":
            assert debugger.stopped == f"breakpoint {breakpoint.number}"
        debugger.delete(breakpoint.number)
        assert debugger.run() is None and debugger.result == 1


def test_an_instruction_is_a_breakpoint_too() -> None:
    with traffic() as debugger:
        debugger.break_at("#5")
        debugger.run()
        assert debugger.slot == 5


@pytest.mark.parametrize(("where", "words"), [
    (10_000, "no code comes from line 10000"), ("map:drop", "did you mean 'drops'"), ("#9999", "there are #0 to"),
    ("nothing", "no line, instruction"),
])
def test_places_that_there_are_not(where: str | int, words: str) -> None:
    with traffic() as debugger, pytest.raises(ebpf.UsageError) as caught:
        debugger.break_at(where)
    assert words in ebpf.format_error(caught.value)


def test_into_over_and_out_of_functions() -> None:
    with ebpf.debug(CALLS, context={"value": 5}) as debugger:
        debugger.break_at("twice")
        debugger.run()
        assert (debugger.depth, [f.function for f in debugger.frames]) == (1, ["twice", "run"])
        assert debugger.registers[1].value == 5
        debugger.finish()
        assert debugger.depth == 0 and debugger.variables["total"] == 5
        debugger.delete()
        depths = set()
        while not debugger.finished:
            debugger.next()
            depths.add(debugger.depth)
        assert depths == {0}
        assert (debugger.result, debugger.variables["total"]) == (36, 18)


def test_back_to_where_it_was() -> None:
    with traffic() as debugger:
        debugger.step_instruction(20)
        before = (debugger.slot, [r.value for r in debugger.registers], debugger.stack, debugger.place)
        debugger.step_instruction(9)
        debugger.back(9)
        assert (debugger.slot, [r.value for r in debugger.registers], debugger.stack, debugger.place) == before
        place = debugger.place
        debugger.step()
        assert debugger.place != place
        debugger.back_line()
        assert debugger.place is not None and place is not None and debugger.place.line == place.line
        debugger.run()
        assert debugger.maps["drops"][0x0100000A] == 1
        debugger.back()
        assert not debugger.finished


def test_a_register_may_be_changed() -> None:
    with traffic() as debugger:
        debugger.break_at(line_of("if (n)"))
        debugger.run()
        source = debugger.registers[3].value
        debugger.set_register(9, -1)
        assert debugger.registers[9].value == (1 << 64) - 1 and debugger.registers[3].value == source


def test_maps_are_filled_before_each_repetition() -> None:
    def fill(session: ebpf.Session) -> None:
        session.maps["drops"][0x0100000A] = 41

    with ebpf.debug(compiled(TRAFFIC), PACKET, program="fw", prepare=fill) as debugger:
        for _ in range(2):
            debugger.run()
            assert debugger.maps["drops"][0x0100000A] == 42
            debugger.restart()


@pytest.mark.parametrize("seed", range(12))
def test_it_never_diverges_from_the_machine_and_the_verifier_is_right(seed: int) -> None:
    """On random packets: the interpreter's result, and at each instruction numbers that the verifier allows."""
    rng = random.Random(seed)
    data = bytearray(bytes(12) + rng.choice([b"\x08\0", b"\x86\xdd", b"\x81\0\0\7\x08\0"]) + rng.randbytes(80))
    if rng.random() < 0.8 and data[12:14] == b"\x08\0":
        data[14], data[23], data[20:22] = 0x45, rng.choice([6, 17, 1]), b"\0\0"
    packet = bytes(data[:rng.choice([14, 20, 34, 40, 54, 94])])
    for path, name in ((TRAFFIC, "fw"), (FIREWALL, "firewall")):
        obj = compiled(path)
        expected = Machine(obj, cpus=4).run(name, packet)
        with ebpf.debug(obj, packet, program=name) as debugger:
            while not debugger.finished:
                for register in debugger.registers:
                    known = register.known
                    assert known is not None, debugger.where()  # the verifier has been there
                    assert known.allows(register.value), (debugger.where(), str(register))
                debugger.step_instruction()
            assert (debugger.result, debugger.fault) == (expected.result, None)


def test_source_and_bytecode_side_by_side() -> None:
    with traffic() as debugger:
        debugger.step()
        number = debugger.place.line if debugger.place else 0
        assert [n for n, _ in debugger.source(2)] == list(range(number - 2, number + 3))
        rows = list(debugger.disassembly(3))
        assert debugger.slot in [slot for slot, _, _ in rows] and len(rows) <= 7
        assert len(list(debugger.disassembly())) == len(debugger.image.insns)


# ---- the command ----

def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = main(["debug", str(TRAFFIC), "--program", "fw", "--data", PACKET.hex(), *arguments])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def test_commands_in_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    out = command(capsys, "--break", "map:drops", "--commands",
                  "c; bt; regs r1; list 1; dis 1; stack; map drops; n; back; delete; c; map drops; variables seen; q")
    assert "breakpoint 1\n" in out and "#0 fw, slot" in out
    assert "a map (`drops`)" in out and "=> " in out and "r10-" in out
    assert "empty" in out and "16777226: 1" in out and "ended with XDP_DROP" in out and "seen = 0" in out


def test_each_command_is_in_the_help_and_none_ends_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from ebpf.debugger.repl import COMMANDS

    names = [name for c in COMMANDS for name in c.names if name not in ("q", "quit")]
    out = command(capsys, "--commands", "; ".join([*names, *(f"{name} nonsense" for name in names), "help", "brek"]))
    assert all(c.help in out for c in COMMANDS)
    assert "did you mean 'break'" in out and "error: set rN=VALUE" in out


def test_commands_from_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("s\nwhere\nq\n"))
    assert "(ebpf) s\n" in command(capsys)


def test_events_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", str(TRAFFIC), "--program", "opened", "--context", "filename=/etc/passwd",
                 "--commands", "c"]) == 0
    assert "ended with" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [
    ([str(TRAFFIC)], "say which"),
    ([str(TRAFFIC), "--program", "fww"], "did you mean"),
    ([str(TRAFFIC), "--program", "fw", "--break", "99999"], "no code comes from line 99999"),
    (["nothing.c"], "nothing.c"),
])
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["debug", *arguments, "--commands", "q"]) != 0
    assert words in capsys.readouterr().err
