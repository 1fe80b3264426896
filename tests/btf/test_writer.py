"""Writing: what comes out is read back the same, by us, by bpftool, and by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ebpf.btf import Btf, BtfExt, Builder, CoreKind, Kind, format_type, types as T
from ebpf.errors import BtfError, UsageError
from tests.btf import sample as samples
from tests.btf.witness import bpftool, compile_bpf, vmlinux

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = samples.build()
BTF, ID = SAMPLE.btf, SAMPLE.id


def test_round_trip_of_every_kind() -> None:
    b = Builder()
    for t in BTF:
        b.add(t)
    assert [*b.build()] == [*BTF]


def test_strings_are_shared() -> None:
    b = Builder()
    assert b.add_string("abc") == b.add_string("abc") == 1
    assert b.add_string("ab") == 5 and b.add_string("") == 0
    with pytest.raises(UsageError, match="NUL"):
        b.add_string("a\0b")


def test_more_types_behind_existing_ones() -> None:
    b = Builder(BTF)
    new = b.add_struct("more", 4, [T.Member("pid", ID["pid_t"], 0)])
    longer = b.build()
    assert [*longer][: len(BTF) - 1] == [*BTF] and new == len(BTF)
    assert format_type(longer, new) == "struct more {\n\tpid_t pid;\n};"
    assert len(longer.strings) == len(BTF.strings) + len("more\0"), "pid is there already"
    assert Builder(BTF).emit() == BTF.data


def test_reserved_ids_must_be_defined() -> None:
    b = Builder()
    id = b.reserve()
    with pytest.raises(UsageError, match="never defined"):
        b.emit()
    b.define(id, T.Ptr(0, id))
    with pytest.raises(UsageError, match="defined already"):
        b.define(id, T.Ptr(0, id))


@pytest.mark.parametrize("type", [
    T.Struct(0, "s", 1 << 32, ()), T.Struct(0, "s", 8, (T.Member("a", 1, 1 << 24, 3),)), T.Ptr(0, -1),
    T.Enum(0, "e", 4, False, (T.Enumerator("A", 1 << 32),)), T.Enum64(0, "e", 8, False, (T.Enumerator("A", 1 << 64),)),
])
def test_numbers_that_do_not_fit(type: T.Type) -> None:
    b = Builder()
    b.add(type)
    with pytest.raises(UsageError, match="does not fit"):
        b.emit()


def test_copy_leaves_what_is_only_pointed_to() -> None:
    b = Builder()
    event = b.copy_type(BTF, ID["event"])
    node = b.copy_type(BTF, ID["node"])
    out = b.build()
    assert format_type(out, event) == format_type(BTF, ID["event"])
    assert out.size_of(event) == 96 and format_type(out, node) == format_type(BTF, ID["node"])
    holder = Builder()
    pointer = holder.copy_type(BTF, ID["tagged"])
    types = [*holder.build()]
    assert {t.kind for t in types} == {Kind.PTR, Kind.TYPE_TAG, Kind.FWD} and types[pointer - 1].kind == Kind.PTR


@pytest.mark.kernel
def test_copy_of_a_kernel_type_stays_small() -> None:
    kernel = vmlinux()
    id = kernel.find("sock", Kind.STRUCT)
    assert id is not None
    b = Builder()
    copy = b.copy_type(kernel, id)
    out = b.build()
    assert format_type(out, copy) == format_type(kernel, id)
    assert len(out) < 1000


def test_bpftool_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "sample.btf"
    path.write_bytes(BTF.data)
    listed = [line for line in bpftool("btf", "dump", "file", str(path)).splitlines() if line.startswith("[")]
    assert len(listed) == len(BTF) - 1
    for t, line in zip(BTF, listed, strict=True):
        assert line.startswith(f"[{t.id}] {t.kind.name} '{t.name or '(anon)'}'")


SOURCE = """
struct task_struct { int pid; } __attribute__((preserve_access_index));
static __attribute__((noinline)) int helper(struct task_struct *t) { return t->pid; }
__attribute__((section("raw_tp/a"), used)) int a(void **ctx) { return helper(ctx[0]); }
__attribute__((section("raw_tp/b"), used)) int b(void **ctx) {
    return helper(ctx[1]) + 1;
}
"""


def test_ext_of_clang(tmp_path: Path) -> None:
    sections = compile_bpf(SOURCE, tmp_path)
    btf = Btf.parse(sections[".BTF"])
    ext = BtfExt.parse(sections[".BTF.ext"], btf)
    assert {s: [btf.type(f.type_id).name for f in funcs] for s, funcs in ext.func_info.items()} == {
        ".text": ["helper"], "raw_tp/a": ["a"], "raw_tp/b": ["b"]}
    assert [(r.access, CoreKind(r.kind)) for r in ext.core_relos[".text"]] == [("0:0", CoreKind.FIELD_BYTE_OFFSET)]
    assert "return helper(ctx[1]) + 1;" in {line.text.strip() for line in ext.line_info["raw_tp/b"]}
    assert {line.line for line in ext.line_info["raw_tp/b"]} == {6}
    # What we write, we read the same; on top of the object's BTF all strings keep their places.
    b = Builder(btf)
    written = ext.emit(b.add_string)
    assert BtfExt.parse(written, b.build()) == ext


def test_ext_tolerates_longer_records() -> None:
    b = Builder()
    ext = BtfExt({"a": ()}, {}, {})
    name = b.add_string("a")
    import struct

    record = struct.pack("<IIIIII", 12, name, 1, 8, 5, 0xDEAD)
    data = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, len(record), len(record), 0, len(record), 0) + record
    ext = BtfExt.parse(data, b.build())
    assert ext.func_info == {"a": ((8, 5),)}


@pytest.mark.parametrize("change", [(0, b"\0"), (2, b"\2"), (4, b"\xff"), (12, b"\xff\xff"), (32, b"\4"), (40, b"\xff\xff")])
def test_damaged_ext(change: tuple[int, bytes]) -> None:
    b = Builder()
    data = bytearray(BtfExt({"a": ((0, 1),)}, {}, {}).emit(b.add_string))  # type: ignore[dict-item]
    at, new = change
    data[at:at + len(new)] = new
    with pytest.raises(BtfError):
        BtfExt.parse(bytes(data), b.build())
