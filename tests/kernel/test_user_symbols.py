"""Names for addresses of processes: of files, of generated code, of C++ and Rust; also when the process has ended."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpf.kernel import user_symbols
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


def test_code_that_the_kernel_maps_in() -> None:
    with open("/proc/self/maps") as maps:
        start = next((int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith("[vdso]")), None)
    if start is None:
        pytest.skip("no vdso here")
    vdso = user_symbols._vdso()
    assert vdso is not None
    name, symbol = next((n, s) for n, s in vdso.functions.items() if "clock_gettime" in n)
    found = UserSymbols().resolve(os.getpid(), start + symbol.offset + 1)
    assert "clock_gettime" in found[1] and found[2:] == (1, "[vdso]"), name


def test_a_program_that_was_replaced_while_it_runs(tmp_path: Path) -> None:
    copy = tmp_path / "cat"
    shutil.copy("/bin/cat", copy)
    with subprocess.Popen([copy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)  # it is on its way
        copy.unlink()
        symbols = UserSymbols()
        libc = next(r for r in symbols._maps.regions(child.pid) if "libc" in r.path)
        address = symbols.address(child.pid, libc.path, "getpid")
        assert address is not None and symbols.resolve(child.pid, address + 2)[1:3] == ("getpid", 2)
        region = next(r for r in symbols._maps.regions(child.pid) if r.path.endswith(" (deleted)"))
        assert os.path.exists(user_symbols._openable(child.pid, region))
        child.stdin.close()


def test_names_without_demangling() -> None:
    assert UserSymbols(str)._demangle("_Z1fv") == "_Z1fv"
