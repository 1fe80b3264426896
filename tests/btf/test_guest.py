"""Other kernels: do they take what we reduce for them, and can we read theirs?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebpf.btf import Btf, BtfSet, Kind, codec, format_type, sanitize, types as T
from tests.btf import sample as samples
from tests.btf.test_sanitizer import kernel_load

SYS_BTF = Path("/sys/kernel/btf")


@pytest.mark.guest(smoke=True)
def test_kernel_takes_what_is_reduced_for_it() -> None:
    from ebpf.kernel.features import btf_features

    assert kernel_load(sanitize(samples.build().btf, btf_features())) is None


@pytest.mark.guest(smoke=True)
def test_kernel_types_are_found_and_written() -> None:
    btf = Btf.parse((SYS_BTF / "vmlinux").read_bytes())
    id = btf.find("task_struct", Kind.STRUCT)
    assert id is not None and "\tpid_t pid;" in format_type(btf, id)
    found = btf.find_enumerator("BPF_MAP_TYPE_HASH")
    assert found is not None and found[1] == 1
    record = codec(btf, id).decode(bytes(btf.size_of(id)))
    assert record.pid == 0 and record.comm == b""


@pytest.mark.guest(kernels=("6.1", "6.12", "6.18", "7.2"))
def test_module_types_are_found() -> None:
    modules = sorted(name for name in os.listdir(SYS_BTF) if name != "vmlinux")
    assert modules, "guests load at least one module that has BTF"
    vmlinux = Btf.parse((SYS_BTF / "vmlinux").read_bytes())
    btfs = BtfSet(vmlinux, modules, lambda name, base: Btf.parse((SYS_BTF / name).read_bytes(), base))
    structs = 0
    for module in btfs[1:4]:
        for t in module:
            if isinstance(t, T.Struct) and t.name:
                structs += 1
                assert format_type(module, t.id).startswith(f"struct {t.name} {{")
                assert t.id in module.find_all(t.name, Kind.STRUCT, own=True)
                assert btfs.find(t.name, Kind.STRUCT) is not None
    assert structs
