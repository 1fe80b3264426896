"""Names for addresses of processes: of files, of generated code, of C++ and Rust; also when the process has ended."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from ebpf.kernel.process_maps import ProcessMaps
from ebpf.kernel.user_symbols import UserSymbols, demangled


def address_of(name: str) -> int:
    found = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
    assert found is not None
    return found


def test_a_function_of_a_library() -> None:
    address, name, offset, file = UserSymbols().resolve(os.getpid(), address_of("getpid") + 3)
    assert (name, offset) == ("getpid", 3) and "libc" in file and address == address_of("getpid") + 3


def test_an_address_of_nothing() -> None:
    assert UserSymbols().resolve(os.getpid(), 0x10) == (0x10, "", 0, "")
    assert UserSymbols().resolve(999999999, 0x10) == (0x10, "", 0, "")


def test_generated_code_is_named_by_its_map_file() -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    path.write_text("1000 20 first function\n2000 10 second\nnot a line\n")
    try:
        symbols = UserSymbols()
        assert symbols.resolve(os.getpid(), 0x1008)[1:3] == ("first function", 8)
        assert symbols.resolve(os.getpid(), 0x2010)[1] == ""
    finally:
        path.unlink()


@pytest.mark.parametrize(("symbol", "name"), [
    ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
    ("_ZN4core3fmt5Write9write_str17h0123456789abcdefE", "core::fmt::Write::write_str"),
    ("_Znonsense", "_Znonsense"),
    ("main", "main"),
])
def test_names_as_they_were_written(symbol: str, name: str) -> None:
    if demangled("_Z1fv") != "f()" and symbol.startswith("_Z"):
        pytest.skip("no libstdc++ here")
    assert demangled(symbol) == name


@pytest.mark.kernel
def test_what_has_ended_is_remembered() -> None:
    maps = ProcessMaps()
    maps.follow()
    try:
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
            with open(f"/proc/{child.pid}/maps") as file:
                while not any("cat" in line and "x" in line.split()[1] for line in file):  # until it has executed
                    file.seek(0)
                file.seek(0)
                code = [line.split() for line in file if "x" in line.split()[1] and "/" in line]
        assert not os.path.exists(f"/proc/{child.pid}")
        for line in code:
            start, _, end = line[0].partition("-")
            region = maps.find(child.pid, int(start, 16) + 1)
            assert region is not None and region.path == line[5] and region.end >= int(end, 16)
    finally:
        maps.close()
