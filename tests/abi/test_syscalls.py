"""System calls and tracepoints as tables, beside the C library's headers and, where it may be read, tracefs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ebpf.abi.syscalls import number_of, plain_name, syscall_arguments, syscall_names
from ebpf.abi.tracepoints import tracepoint_format, tracepoints

_FIELD = re.compile(r"field:[^\n]*")


def test_numbers_are_those_of_the_c_library() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no <asm/unistd_64.h> here")
    stated = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}
    ours = syscall_names("x86_64")
    assert {number: ours.get(number) for number in stated} == stated


@pytest.mark.parametrize(("name", "arch", "number"), [
    ("openat", "x86_64", 257), ("openat", "aarch64", 56), ("stat", "x86_64", 4), ("newstat", "x86_64", 4),
    ("newfstatat", "aarch64", 79), ("fork", "x86_64", 57), ("fork", "aarch64", None), ("clone3", "aarch64", 435),
])
def test_a_number_is_found_by_either_name(name: str, arch: str, number: int | None) -> None:
    assert number_of(name, arch) == number


def test_arguments() -> None:
    arguments = syscall_arguments("openat")
    assert arguments is not None
    assert [a.name for a in arguments] == ["dfd", "filename", "flags", "mode"]
    assert arguments[1].type == "const char *"
    assert syscall_arguments("getpid") == () and syscall_arguments("no_such_call") is None


@pytest.mark.parametrize(("function", "name"), [("__x64_sys_clone", "clone"), ("sys_bpf", "bpf"), ("vfs_read", None)])
def test_functions_are_named_after_calls(function: str, name: str | None) -> None:
    assert plain_name(function) == name


def test_a_tracepoint_has_the_name_of_the_function() -> None:
    assert tracepoint_format("syscalls", "sys_enter_newstat") and not tracepoint_format("syscalls", "sys_enter_stat")
    assert tracepoint_format("sched", "sched_switch") is None


def test_formats_are_those_of_the_kernel() -> None:
    events = "/sys/kernel/tracing/events"
    if not os.path.isdir(f"{events}/syscalls"):
        pytest.skip("tracefs is not mounted or may not be read")
    compared = 0
    for name in tracepoints():
        path = Path(events, *name.split(":"), "format")
        if path.exists():
            compared += 1
            ours = tracepoint_format(*name.split(":"))
            assert ours is not None and _FIELD.findall(ours) == _FIELD.findall(path.read_text()), name
    assert compared > 300
