"""What users get wrong in programs: one answer each, with its place in their source, and what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ebpf
from ebpf import u32, u64
from ebpf.session.functions.attaching import load_functions

HEAD = """import ebpf
from ebpf import chars, u8, u32, u64

counts = ebpf.Hash(u32, u64)

class Event(ebpf.Struct):
    pid: u32

class Other(ebpf.Struct):
    n: u64

events = ebpf.RingBuf(Event)
names = ["a"]

"""

# What the body of a program says; its line in the file, and the code, the message and the help for it.
MISTAKES = {
    "outside of the subset": ("squares = [i * i for i in range(4)]", "P0102", "programs have no comprehensions",
                              "write a `for` loop"),
    "a wrong type": ("counts['a'] = 1", "P0204",
                     "a number for the key of `counts` is wanted here, and this is the text 'a'", ""),
    "a number that may not fit": ("counts[ebpf.ktime_ns()] = 1", "P0206", "a u64 may not fit in the key of `counts`, a u32",
                                  "`u32(ebpf.ktime_ns())` keeps the lowest 32 bits"),
    "certain overflow": ("x: u8 = 300", "P0205", "300 does not fit in `x`, a u8 (0 to 255)", "`u8(300)` is 44, if that is meant"),
    "a comparison that is always false": ("y = 1 if ebpf.pid() == -1 else 0", "P0205",
                                          "this is always False: u32 goes from 0 to 4294967295, never -1", ""),
    "a closure over a list": ("z = names[0]", "P0208", "`names` is a list, which Python may change while programs run",
                              "make it a tuple"),
    "an event of another type": ("events.send(Other(n=1))", "P0306",
                                 "`events` carries struct Event, and this is struct Other", "declare another buffer for Other"),
    "what may be None": ("counts.get(1) + 1", "P0212", "", ""),
}


def refused(tmp_path: Path, body: str) -> Any:
    path = tmp_path / "program.py"
    text = HEAD + f"@ebpf.xdp\ndef program(ctx):\n    {body}\n    return 2\n"
    path.write_text(text)
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(text, str(path), "exec"), names)
    with pytest.raises(ebpf.CompileError) as error:
        _ = names["program"].object
    return error.value


@pytest.mark.parametrize("name", MISTAKES)
def test_one_answer_with_its_place(tmp_path: Path, name: str) -> None:
    body, code, message, help = MISTAKES[name]
    (diagnostic,) = refused(tmp_path, body).diagnostics
    assert diagnostic.code == code and diagnostic.span.line == HEAD.count("\n") + 3
    assert diagnostic.span.text.strip() == body
    assert diagnostic.message == message or not message
    assert not help or help in diagnostic.helps


class First(ebpf.Struct):
    x: u32


class Second(ebpf.Struct):
    y: u64


numbers = ebpf.Hash(u32, u64)
small = ebpf.Hash(u32, u32)
firsts = ebpf.RingBuf(First)
seconds = ebpf.RingBuf(Second)


@ebpf.xdp
def counting(ctx):
    numbers[1] = 1
    firsts.send(First(1))
    return 2


@ebpf.xdp
def other(ctx):
    small[1] = 1
    seconds.send(Second(1))
    return 2


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def test_a_map_that_programs_of_other_types_share(backend: str) -> None:
    with ebpf.load(counting, backend=backend) as session:
        for given, taken, said, shown in (
                (small, numbers, "`small` is Hash(u32, u32), and the map that is to take its place is Hash(u32, u64)", "small[1]"),
                (small, session.maps["numbers"], "`small` is Hash(u32, u32), and the map that is to take its place has values of "
                 "8 bytes", "small[1]"),
                (seconds, firsts, "`seconds` is RingBuf(Second), and the map that is to take its place is RingBuf(First)", "seconds"),
                (small, firsts, "`small` is Hash(u32, u32), and the map that is to take its place is RingBuf(First)", "small[1]")):
            with pytest.raises(ebpf.CompileError) as error:
                load_functions([other], backend=backend, maps={given: taken})
            (diagnostic,) = error.value.diagnostics
            assert (diagnostic.code, diagnostic.message) == ("P0304", said)
            assert shown in diagnostic.span.text and Path(diagnostic.span.file).name == "test_bad_input.py"
        with pytest.raises(ebpf.UsageError, match="no program here has a map 'nothing'"):
            load_functions([other], backend=backend, maps={"nothing": numbers})
        with pytest.raises(ebpf.UsageError, match="no map carries events of type Second"):
            session.events(Second)
