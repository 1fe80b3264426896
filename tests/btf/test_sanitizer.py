"""BTF for older kernels, and what every kernel refuses. Where possible this machine's kernel is the judge."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING

import pytest

from ebpf.btf import Btf, BtfFeature, Kind, sanitize, types as T
from ebpf.btf.sanitizer import ALL_FEATURES
from tests.btf import sample as samples
from tests.btf.witness import compile_bpf

if TYPE_CHECKING:
    from collections.abc import Set
    from pathlib import Path

SAMPLE = samples.build()
BTF, ID = SAMPLE.btf, SAMPLE.id


def reduced(*missing: BtfFeature) -> Btf:
    return Btf.parse(sanitize(BTF, ALL_FEATURES - set(missing)))


@pytest.mark.parametrize(("feature", "type", "kind"), [
    (BtfFeature.FLOAT, "float", Kind.STRUCT), (BtfFeature.DECL_TAG, "tag", Kind.INT),
    (BtfFeature.TYPE_TAG, "tagged", Kind.PTR), (BtfFeature.ENUM64, "big", Kind.UNION),
    (BtfFeature.DATASEC, ".bss", Kind.STRUCT), (BtfFeature.DATASEC, "var", Kind.INT),
    (BtfFeature.FUNC, "func", Kind.TYPEDEF), (BtfFeature.FUNC, "proto", Kind.ENUM),
    (BtfFeature.FUNC_GLOBAL, "func", Kind.FUNC),
])
def test_replacements(feature: BtfFeature, type: str, kind: Kind) -> None:
    btf = reduced(feature)
    assert btf.kind(ID[type]) == kind
    gone = {BtfFeature.FLOAT: Kind.FLOAT, BtfFeature.DECL_TAG: Kind.DECL_TAG, BtfFeature.TYPE_TAG: Kind.TYPE_TAG,
            BtfFeature.ENUM64: Kind.ENUM64, BtfFeature.DATASEC: Kind.DATASEC, BtfFeature.FUNC: Kind.FUNC}.get(feature)
    assert gone not in {t.kind for t in btf}
    for id in ("event", "plain", "node", "comm"):
        assert btf.size_of(ID[id]) == BTF.size_of(ID[id]), "sizes and ids stay"


def test_nothing_is_changed_without_need() -> None:
    changed = [a.id for a, b in zip(BTF, Btf.parse(sanitize(BTF.data)), strict=False) if a != b]
    assert changed == sorted([ID["unnamed"], ID["kfunc"], ID["extern"], ID[".kconfig"], ID[".ksyms"]])


def test_function_linkage() -> None:
    func = reduced(BtfFeature.FUNC_GLOBAL).type(ID["func"])
    assert isinstance(func, T.Func) and func.linkage == T.LINKAGE_STATIC


def test_externs() -> None:
    btf = Btf.parse(sanitize(BTF))
    section, kfunc, var = btf.type(ID[".ksyms"]), btf.type(ID["kfunc"]), btf.type(ID["extern"])
    assert isinstance(section, T.DataSec) and isinstance(kfunc, T.Func) and isinstance(var, T.Var)
    assert [btf.kind(v.type) for v in section.variables] == [Kind.VAR] and section.size == 4
    assert kfunc.linkage == var.linkage == T.LINKAGE_GLOBAL
    proto = btf.type(kfunc.type)
    assert isinstance(proto, T.FuncProto) and all(p.name for p in proto.params)


class _LoadAttr(ctypes.Structure):
    _fields_ = [("btf", ctypes.c_uint64), ("log_buf", ctypes.c_uint64), ("btf_size", ctypes.c_uint32),
                ("log_size", ctypes.c_uint32), ("log_level", ctypes.c_uint32)]


def kernel_load(data: bytes) -> str | None:
    """bpf(BPF_BTF_LOAD): None if the kernel takes it, else its log. Skips where the user may not."""
    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
    if number is None:
        pytest.skip("bpf(2)'s number on this architecture is not known to the test")
    libc = ctypes.CDLL(None, use_errno=True)
    blob, log = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(1 << 20)
    attr = _LoadAttr(ctypes.addressof(blob), ctypes.addressof(log), len(data), len(log), 1)
    fd = libc.syscall(number, 18, ctypes.byref(attr), ctypes.sizeof(attr))
    if fd >= 0:
        os.close(fd)
        return None
    errno = ctypes.get_errno()
    if errno in (1, 38):
        pytest.skip("bpf(BPF_BTF_LOAD) needs privilege here")
    return log.value.decode() or os.strerror(errno)


@pytest.mark.kernel
def test_kernel_refuses_it_raw() -> None:
    assert kernel_load(BTF.data) is not None


@pytest.mark.kernel
@pytest.mark.parametrize("missing", [
    (), *[(f,) for f in BtfFeature], tuple(f for f in BtfFeature if f not in (BtfFeature.FUNC, BtfFeature.DATASEC)),
    tuple(BtfFeature)], ids=lambda m: "+".join(f.name for f in m) or "all")
def test_kernel_takes_it(missing: tuple[BtfFeature, ...]) -> None:
    features: Set[BtfFeature] = ALL_FEATURES - set(missing)
    assert kernel_load(sanitize(BTF, features)) is None


SOURCE = """
struct sk_buff; struct __sk_buff;
#define SEC(name) __attribute__((section(name), used))
extern int bpf_kfunc(struct sk_buff *, int) __attribute__((section(".ksyms")));
extern const void some_symbol __attribute__((section(".ksyms")));
extern const int CONFIG_HZ __attribute__((section(".kconfig")));
struct { int (*type)[1]; } m SEC(".maps");
static volatile const int limit = 3; int counter; static float ratio = 1.5f; volatile long total = 5;
SEC("tc") int prog(struct __sk_buff *s) { counter++; total += limit; return bpf_kfunc((void *)s, 1) + CONFIG_HZ + (long)&some_symbol; }
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.kernel
def test_kernel_takes_clang_s(tmp_path: Path) -> None:
    raw = compile_bpf(SOURCE, tmp_path)[".BTF"]
    assert kernel_load(raw) is not None, "clang leaves work to the loader"
    assert kernel_load(sanitize(raw)) is None
    assert kernel_load(sanitize(raw, frozenset())) is None


def test_features_know_their_kernels() -> None:
    versions = [tuple(map(int, f.value.split("."))) for f in BtfFeature]
    assert versions == sorted(versions)
