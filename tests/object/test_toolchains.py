"""Objects by other people's compilers: clang of many years, GCC, Rust, and what cilium's and the kernel's tools ship.

Each toolchain is tried where it is installed (`clang-N`, `bpf-gcc`, `rustc` with its BPF target and the `llc` of its
LLVM); what it makes is run in the machine and in the kernel, and what we load is held against what bpftool loads.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from glob import glob
from pathlib import Path

import pytest

import ebpf
from ebpf import isa
from ebpf.object import link, read_object
from ebpf.object.elf import SHT_PROGBITS, ElfImage, Symbol, symbol_table

from .corpus import HEAD, compiled

C = HEAD + """
struct item { u32 seen; u64 sum; };
struct { __uint(type, 1); __uint(max_entries, 8); __type(key, u32); __type(value, struct item); } items SEC(".maps");
int counter = 5; int calls; const volatile int factor = 3; static u64 table[4] = {7, 8, 9, 10};
static noinline u64 weigh(u64 x) { asm volatile("" : "+r"(x)); return x * 2 + table[x & 3]; }
SEC("socket") int count(void *ctx) {
    u32 key = 1; struct item *item = bpf_map_lookup_elem(&items, &key);
    calls++; counter += factor;
    return (item ? 1000 : 0) + (int)weigh(counter);
}
char LICENSE[] SEC("license") = "GPL";
"""
EXPECTED = 8 * 2 + 7  # counter is 8 after the first run

RUST = r"""
#![no_std]
#![no_main]
#[repr(C)] pub struct bpf_map_def { kind: u32, key_size: u32, value_size: u32, max_entries: u32, flags: u32, id: u32,
                                    pinning: u32 }
#[no_mangle] #[link_section = "maps"] pub static items: bpf_map_def = bpf_map_def {
    kind: 1, key_size: 4, value_size: 16, max_entries: 8, flags: 0, id: 0, pinning: 0 };
#[no_mangle] pub static mut counter: i32 = 5;
static TABLE: [u64; 4] = [7, 8, 9, 10];
#[no_mangle] #[link_section = "license"] pub static LICENSE: [u8; 4] = *b"GPL\0";
#[inline(never)] fn weigh(x: u64) -> u64 { x.wrapping_mul(2).wrapping_add(TABLE[(x & 3) as usize]) }
#[no_mangle] #[link_section = "socket"] pub unsafe extern "C" fn count(_ctx: *mut u8) -> i32 {
    let lookup: extern "C" fn(*const bpf_map_def, *const u32) -> *mut u64 = core::mem::transmute(1usize);
    let key = 1u32;
    let item = lookup(&items, &key);
    counter += 3;
    (if item.is_null() { 0 } else { 1000 }) + weigh(counter as u64) as i32
}
#[panic_handler] fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"""


def run(*command: str, given: str = "") -> bytes:
    done = subprocess.run(command, input=given.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def by_clang(version: str, cpu: str) -> bytes:
    if not shutil.which(f"clang-{version}"):
        pytest.skip(f"clang-{version} is not installed")
    return run(f"clang-{version}", "-target", "bpf", f"-mcpu={cpu}", "-O2", "-g", "-Wno-everything", "-x", "c", "-c",
               "-", "-o", "-", given=C)


def by_gcc() -> bytes:
    if not shutil.which("bpf-gcc"):
        pytest.skip("bpf-gcc is not installed")
    text = re.sub(r"extern.*", "", C).replace('asm volatile("" : "+r"(x));', "")
    path = Path(run("mktemp").decode().strip())
    try:
        run("bpf-gcc", "-O2", "-gbtf", "-mcpu=v3", "-x", "c", "-c", "-", "-o", str(path), given=text)
        return path.read_bytes()
    finally:
        path.unlink()


@cache
def _rust() -> tuple[str, str] | None:
    """A rustc that has the BPF target's `core`, and the code generator of its LLVM."""
    for rustc in sorted({*glob("/usr/bin/rustc"), *filter(None, [shutil.which("rustc")])}):
        said = subprocess.run([rustc, "-vV"], capture_output=True, text=True).stdout
        version = re.search(r"LLVM version: (\d+)", said)
        root = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
        llc = version and shutil.which(f"llc-{version[1]}")
        if llc and glob(f"{root}/lib/rustlib/bpfel-unknown-none/lib/libcore-*.rlib"):
            return rustc, llc
    return None


def by_rust() -> bytes:
    found = _rust()
    if found is None:
        pytest.skip("no rustc with the target bpfel-unknown-none, or no llc of its LLVM")
    rustc, llc = found
    bitcode = subprocess.run([rustc, "--target", "bpfel-unknown-none", "--emit=obj", "-C", "opt-level=3", "-C",
                              "debuginfo=2", "-C", "panic=abort", "--crate-type=lib", "-A", "warnings", "-o", "-", "-"],
                             input=RUST.encode(), capture_output=True)
    assert bitcode.returncode == 0, bitcode.stderr.decode()
    return subprocess.run([llc, "-march=bpfel", "-mcpu=v3", "-filetype=obj", "-o", "-", "-"], input=bitcode.stdout,
                          capture_output=True, check=True).stdout


TOOLCHAINS: dict[str, Callable[[], bytes]] = {
    **{f"clang-{version} {cpu}": lambda version=version, cpu=cpu: by_clang(version, cpu)  # type: ignore[misc]
       for version in ("13", "14", "15", "16", "17", "18", "19", "20", "21", "22") for cpu in ("v1", "v3")},
    "clang-19 v4": lambda: by_clang("19", "v4"), "clang-22 v4": lambda: by_clang("22", "v4"),
    "gcc": by_gcc, "rust": by_rust,
}


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_what_it_makes_runs_in_the_machine(toolchain: str) -> None:
    from ebpf.machine import Machine

    data = TOOLCHAINS[toolchain]()
    obj = read_object(data, toolchain)
    assert list(obj.programs) == ["count"] and obj.license == "GPL"
    items = obj.maps["items"]
    assert (items.type, items.key_size, items.value_size, items.max_entries) == (1, 4, 16, 8)
    assert Machine(obj).run("count", bytes(64)).result == EXPECTED
    assert obj == read_object(data, toolchain)


@pytest.mark.kernel
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_what_it_makes_runs_in_the_kernel(toolchain: str) -> None:
    with ebpf.load(ebpf.open(TOOLCHAINS[toolchain]()), backend="kernel") as session:
        assert session.programs["count"].test_run(bytes(64)).result == EXPECTED
        assert session.variables["counter"] == 8


@pytest.mark.kernel
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.parametrize("toolchain", [name for name in TOOLCHAINS if name.startswith("clang")])
def test_bpftool_loads_the_same_instructions(toolchain: str, tmp_path: Path) -> None:
    data = TOOLCHAINS[toolchain]()
    path, pin = tmp_path / "p.o", f"/sys/fs/bpf/ebpf_toolchain_{tmp_path.name}"
    path.write_bytes(data)
    done = subprocess.run(["bpftool", "prog", "load", str(path), pin], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"bpftool cannot load it: {done.stderr.strip()[-200:]}")
    try:
        with ebpf.inventory.program(pin) as theirs, ebpf.load(ebpf.open(data), backend="kernel") as session:
            assert comparable(theirs.xlated()) == comparable(session.programs["count"].raw.xlated())  # type: ignore[attr-defined]
    finally:
        Path(pin).unlink()


def comparable(code: bytes) -> list[str]:
    """The listing without what differs from load to load: ids and addresses of maps."""
    return [re.sub(r"\[id:\d+\]|0x[0-9a-f]{8,}", "_", text) for _, _, text in isa.disassemble(code, translated=True)]


SHIPPED = sorted(glob("/usr/share/gocode/src/github.com/cilium/ebpf/**/*-el.elf", recursive=True)
                 + glob("/lib/udev/rc_keymaps/protocols/*.o"))
# What these files are made to show: that a reader refuses them, or one of their programs.
REFUSED = {"iproute2_map_compat-el.elf": "sets fields that only other loaders know",
           "loader-clang-7-el.elf": "where no function starts",
           "fwd_decl-el.elf": "neither defined", "loader-el.elf": "MY_CONST", "loader-clang-9-el.elf": "MY_CONST",
           "loader-clang-14-el.elf": "MY_CONST"}


@pytest.mark.skipif(not SHIPPED, reason="neither golang-github-cilium-ebpf-dev nor ir-keytable is installed")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: Path(p).name)
def test_objects_that_others_ship(path: str) -> None:
    name = Path(path).name
    try:
        obj = ebpf.open(path)
        for program in obj.programs:
            link(obj, program)
    except ebpf.EbpfError as error:
        assert REFUSED[name] in str(error)
    else:
        assert name not in REFUSED and (obj.programs or obj.maps)


def with_legacy_maps(*maps: tuple[str, bytes], section: str = "maps") -> bytes:
    """An object whose legacy section holds these definitions."""
    image = ElfImage.parse(compiled("hello"))
    data, symbols = b"", list(image.symbols)
    place = image.add(section, b"".join(raw for _, raw in maps), type=SHT_PROGBITS, flags=2, align=4)
    for name, raw in maps:
        symbols.append(Symbol(len(symbols), name, 1, 1, 0, place.index, len(data), len(raw)))
        data += raw
    table = next(s for s in image.sections if s.name == ".symtab")
    strtab = image.sections[table.link]
    table.data, strtab.data, table.info = symbol_table(symbols)
    table.size, strtab.size = len(table.data), len(strtab.data)
    return image.emit()


def words(*values: int) -> bytes:
    return b"".join(v.to_bytes(4, "little") for v in values)


LEGACY = {
    "libbpf's": ([("one", words(1, 4, 8, 16, 1))], "maps", {"one": (1, 4, 8, 16, 1, 0)}),
    "aya's, pinned by name": ([("one", words(1, 4, 8, 16, 0, 7, 1))], "maps", {"one": (1, 4, 8, 16, 0, 1)}),
    "lirc_mode2/maps": ([("one", words(2, 4, 8, 3, 0, 0, 0))], "lirc_mode2/maps", {"one": (2, 4, 8, 3, 0, 0)}),
    "iproute2's": ([("one", words(1, 4, 8, 16, 0, 0, 0, 0, 0))], "maps", {"one": (1, 4, 8, 16, 0, 0)}),
}


@pytest.mark.parametrize("case", LEGACY)
def test_legacy_definitions(case: str) -> None:
    maps, section, expected = LEGACY[case]
    obj = read_object(with_legacy_maps(*maps, section=section))
    for name, fields in expected.items():
        m = obj.maps[name]
        assert (m.type, m.key_size, m.value_size, m.max_entries, m.flags, m.pinning) == fields


def test_maps_in_maps_of_iproute2() -> None:
    obj = read_object(with_legacy_maps(
        ("inner", words(2, 4, 8, 3, 0, 5, 0, 0, 2)), ("outer", words(12, 4, 4, 9, 0, 6, 0, 5, 1))))
    outer = obj.maps["outer"]
    assert outer.inner is not None and (outer.inner.type, outer.inner.max_entries) == (2, 3)
    assert outer.values == ((1, "inner"),)


@pytest.mark.parametrize(("maps", "message"), [
    ([("one", words(1, 4, 8, 16, 0, 0, 2))], "only other loaders know"),
    ([("one", words(1, 4, 8, 16, 0, 0, 1, 0, 0))], "only other loaders know"),
    ([("one", words(1, 4, 8, 16))], "has 16 bytes, at least 20"),
    ([("outer", words(12, 4, 4, 9, 0, 6, 0, 5, 1))], "wants the map with id 5"),
])
def test_legacy_definitions_that_cannot_be(maps: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(ebpf.FormatError, match=message):
        read_object(with_legacy_maps(*maps))
