"""The tables against independent witnesses: clang's layout, the kernel's own enumerations, libbpf's rules."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ebpf.abi.constants import constant_names, lookup_constant
from ebpf.abi.contexts import DECLARATIONS, lookup_declaration
from ebpf.abi.helpers import HELPERS_BY_ID, HELPERS_BY_NAME
from ebpf.abi.maps import MAP_TYPES, MapType
from ebpf.abi.programs import PROGRAM_TYPES, AttachType, ProgType
from ebpf.abi.registers import REGISTERS
from ebpf.abi.sections import SECTION_NAMES, parse_section
from ebpf.abi.typedefs import TYPEDEFS

VMLINUX = "/sys/kernel/btf/vmlinux"


def kernel_enumerators(prefix: str) -> dict[str, int]:
    """Enumerators of the running kernel whose names begin with ``prefix``, as bpftool reads them."""
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed")
    done = subprocess.run(["bpftool", "btf", "dump", "file", VMLINUX, "format", "raw"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no kernel BTF here")
    return {n: int(v) for n, v in re.findall(rf"'({prefix}\w+)' val=(\d+)", done.stdout)}


@pytest.mark.parametrize(("enum", "prefix"), [(ProgType, "BPF_PROG_TYPE_"), (MapType, "BPF_MAP_TYPE_")])
def test_types_are_the_kernels(enum: type[ProgType] | type[MapType], prefix: str) -> None:
    ours = {m.kernel_name: int(m) for m in enum.members()}
    theirs = kernel_enumerators(prefix)
    assert {n: v for n, v in theirs.items() if n in ours} == {n: v for n, v in ours.items() if n in theirs}
    assert len(ours.keys() & theirs.keys()) > 20


def test_helpers_are_the_kernels() -> None:
    theirs = kernel_enumerators("BPF_FUNC_")
    for name, value in theirs.items():
        if value and not name.startswith("__") and value in HELPERS_BY_ID:
            assert HELPERS_BY_ID[value].name == "bpf_" + name.removeprefix("BPF_FUNC_")
    assert sorted(HELPERS_BY_ID) == list(range(1, 212))


def test_attach_types_are_the_kernels() -> None:
    theirs = kernel_enumerators("BPF_(?:CGROUP|SK|TRACE|LSM|XDP|TCX|NETKIT|MODIFY|LIRC|FLOW|NETFILTER|STRUCT)")
    ours = {m.kernel_name: int(m) for m in AttachType.members()}
    common = ours.keys() & theirs.keys()
    assert len(common) > 40
    assert {n: ours[n] for n in common} == {n: theirs[n] for n in common}


def test_names_of_numbers() -> None:
    assert ProgType(6) is ProgType.XDP and ProgType.XDP == 6 and ProgType.XDP.name == "XDP"
    assert ProgType.named("bpf_prog_type_xdp") is ProgType.named("XDP") is ProgType.XDP
    assert ProgType.named("nonsense") is None
    assert ProgType(999) == 999 and ProgType(999).name == "UNKNOWN_999"
    assert repr(MapType.HASH) == "MapType.HASH" and str(MapType.HASH) == "BPF_MAP_TYPE_HASH"
    assert set(PROGRAM_TYPES) == {int(m) for m in ProgType.members()} - {0}
    assert set(MAP_TYPES) == {int(m) for m in MapType.members()} - {0}


def test_signatures_are_c() -> None:
    if shutil.which("clang-14") is None:
        pytest.skip("clang-14 is not installed")
    types = "".join(f"typedef {c} {n};\n" for n, c in TYPEDEFS.items()
                    if n not in ("size_t", "bool", "wchar_t", "cpumask_var_t", "bpf_user_pt_regs_t"))
    text = types + "".join(h.signature + ";\n" for h in HELPERS_BY_NAME.values())
    done = subprocess.run(["clang-14", "-target", "bpf", "-fsyntax-only", "-Wno-visibility", "-x", "c", "-"],
                          input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_declarations_have_the_kernels_layout() -> None:
    """Each declaration, compiled by clang, has the size that the running kernel's BTF states (or is a prefix of it)."""
    if shutil.which("clang-14") is None or shutil.which("bpftool") is None:
        pytest.skip("clang-14 or bpftool is not installed")
    raw = subprocess.run(["bpftool", "btf", "dump", "file", VMLINUX, "format", "raw"], capture_output=True, text=True)
    if raw.returncode:
        pytest.skip("no kernel BTF here")
    sizes = {n: int(s) for n, s in re.findall(r"STRUCT '(\w+)' size=(\d+)", raw.stdout)}
    names = [n for n in DECLARATIONS if n in sizes]
    assert len(names) > 40
    order: list[str] = []

    def visit(name: str) -> None:
        text = lookup_declaration(name)
        assert text is not None
        for used in re.findall(r"struct (\w+) \w+(?:\[\d+\])?;", text):
            visit(used)
        if text not in order:
            order.append(text)

    for name in names:
        visit(name)
    types = "".join(f"typedef {c} {n};\n" for n, c in TYPEDEFS.items() if n.startswith(("__", "u", "s")) and n not in
                    ("size_t", "ssize_t"))
    checks = "".join(f'_Static_assert(sizeof(struct {n}) <= {sizes[n]} && sizeof(struct {n}) + 32 > {sizes[n]}, "{n}");\n'
                     for n in names)
    text = types + "".join(order) + checks
    done = subprocess.run(["clang-14", "-target", "bpf", "-fsyntax-only", "-x", "c", "-"], input=text,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "type", "attach_type", "attach_to"), [
    ("kprobe/vfs_read", "KPROBE", None, "vfs_read"),
    ("kretprobe/vfs_read+0x10", "KPROBE", None, "vfs_read+0x10"),
    ("uprobe//usr/bin/bash:readline", "KPROBE", None, "/usr/bin/bash:readline"),
    ("kprobe.multi/vfs_*", "KPROBE", "TRACE_KPROBE_MULTI", "vfs_*"),
    ("tp/sched/sched_switch", "TRACEPOINT", None, "sched/sched_switch"),
    ("raw_tp/sched_switch", "RAW_TRACEPOINT", None, "sched_switch"),
    ("tp_btf/sched_switch", "TRACING", "TRACE_RAW_TP", "sched_switch"),
    ("fentry.s/vfs_read", "TRACING", "TRACE_FENTRY", "vfs_read"),
    ("lsm/file_open", "LSM", "LSM_MAC", "file_open"),
    ("iter/task", "TRACING", "TRACE_ITER", "task"),
    ("xdp", "XDP", "XDP", ""),
    ("xdp.frags/cpumap", "XDP", "XDP_CPUMAP", ""),
    ("?tc", "SCHED_CLS", None, ""),
    ("cgroup_skb/egress", "CGROUP_SKB", "CGROUP_INET_EGRESS", ""),
    ("cgroup/connect4", "CGROUP_SOCK_ADDR", "CGROUP_INET4_CONNECT", ""),
    ("struct_ops/init", "STRUCT_OPS", "STRUCT_OPS", "init"),
    ("sk_lookup", "SK_LOOKUP", "SK_LOOKUP", ""),
])
def test_sections(name: str, type: str, attach_type: str | None, attach_to: str) -> None:
    info = parse_section(name)
    assert info is not None
    assert info.type is ProgType.named(type)
    assert info.attach_type == (None if attach_type is None else AttachType.named(attach_type))
    assert info.attach_to == attach_to


@pytest.mark.parametrize("name", ["", "kprobez/x", "xdp/eth0", "cgroup/nonsense", ".text", "license", "maps"])
def test_not_sections(name: str) -> None:
    assert parse_section(name) is None


def test_section_rules() -> None:
    fentry, lsm = parse_section("fentry.s/f"), parse_section("lsm")
    assert fentry is not None and fentry.sleepable and fentry.needs_btf_target and fentry.auto_attach
    assert lsm is not None and not lsm.auto_attach and not lsm.sleepable
    frags = parse_section("xdp.frags")
    assert frags is not None and frags.frags
    assert "cgroup/dev" in SECTION_NAMES and len(SECTION_NAMES) > 100


def test_constants() -> None:
    assert lookup_constant("AF_INET6") == 10
    assert lookup_constant("O_DIRECTORY") == 0o200000
    assert lookup_constant("O_DIRECTORY", arch="aarch64") == 0o40000
    assert lookup_constant("DNAME_INLINE_LEN", kernel=(6, 1)) == 32
    assert lookup_constant("DNAME_INLINE_LEN", kernel=(6, 12)) == 40
    assert lookup_constant("REQ_WRITE") is None  # scripts ask `#ifdef REQ_WRITE` to recognise kernels before 4.8
    assert lookup_constant("REQ_OP_SHIFT") is None
    assert lookup_constant("NSEC_PER_MSEC") == 10**6
    assert len(constant_names()) > 1000
    assert REGISTERS["x86_64"].args[3] == "cx" and REGISTERS["x86_64"].syscall_args[3] == "r10"
