"""`Merger`: types of several objects, each once; damaged and circular ones."""

from __future__ import annotations

import pytest

from ebpf.btf import Btf, Builder, format_type
from ebpf.btf.merge import Merger
from ebpf.btf.types import Kind, Member, Ptr, Typedef
from ebpf.errors import BtfError


def chain(tail: int, *, name: str = "node", first_unused: int = 0) -> Btf:
    """``struct node { struct node *next; int <tail>; }``, with other types before it so that its ids differ."""
    b = Builder()
    for n in range(first_unused):
        b.add_int(f"unused{n}", 4)
    node = b.reserve()
    pointer = b.add_ptr(node)
    number = b.add_int("int", 4, signed=True)
    from ebpf.btf.types import Struct

    b.define(node, Struct(0, name, 16, (Member("next", pointer, 0), Member(f"tail{tail}", number, 64))))
    return b.build()


def merged(*sources: Btf) -> tuple[Btf, list[dict[int, int]]]:
    merger = Merger()
    ids = [merger.add(source) for source in sources]
    return merger.builder().build(), ids


def test_a_struct_that_refers_to_itself_is_there_once() -> None:
    whole, ids = merged(chain(1), chain(1, first_unused=3))
    assert len(whole.find_all("node", Kind.STRUCT)) == 1
    assert ids[0][1] == ids[1][4]
    assert format_type(whole, ids[0][1]) == format_type(chain(1), 1)


def test_structs_of_one_name_that_differ_both_stay() -> None:
    whole, ids = merged(chain(1), chain(2), chain(2), chain(1))
    assert len(whole.find_all("node", Kind.STRUCT)) == 2
    assert ids[0] == ids[3] and ids[1] == ids[2]


@pytest.mark.parametrize("declared_first", [True, False])
def test_a_declaration_is_the_struct_that_another_object_defines(declared_first: bool) -> None:
    b = Builder()
    b.add_typedef("node_t", b.add_ptr(b.add_fwd("node")))
    sources = [b.build(), chain(1)] if declared_first else [chain(1), b.build()]
    whole, ids = merged(*sources)
    assert not whole.find_all("node", Kind.FWD) and len(whole.find_all("node", Kind.STRUCT)) == 1
    typedef = whole.type(whole.find_all("node_t", Kind.TYPEDEF)[0])
    assert isinstance(typedef, Typedef)
    pointer = whole.type(typedef.type)
    assert isinstance(pointer, Ptr) and whole.type(pointer.type).kind == Kind.STRUCT


def test_two_structs_cannot_both_be_the_one_that_was_declared() -> None:
    b = Builder()
    b.add_fwd("node")
    one, two = chain(1), chain(2)
    both = Builder(one)
    from ebpf.btf.merge import moved

    shift = len(one) - 1
    for type in two:
        both.add(moved(type, lambda id: id + shift if id else 0))
    whole, _ = merged(b.build(), both.build())
    assert len(whole.find_all("node", Kind.STRUCT)) == 2 and not whole.find_all("node", Kind.FWD)


def test_qualifiers_that_look_alike_stay_apart() -> None:
    """``const int``, ``volatile int`` and ``int *`` are named tuples with the same contents."""
    b = Builder()
    number = b.add_int("int", 4)
    b.add_const(number), b.add_volatile(number), b.add_ptr(number), b.add_restrict(number)
    whole, _ = merged(b.build(), b.build())
    assert [t.kind for t in whole] == [Kind.INT, Kind.CONST, Kind.VOLATILE, Kind.PTR, Kind.RESTRICT]


def test_what_refers_to_itself_without_a_struct_between_is_damage() -> None:
    b = Builder()
    loop = b.reserve()
    b.define(loop, Typedef(0, "loop", b.add_ptr(loop)))
    with pytest.raises(BtfError, match="refers to itself"):
        merged(b.build())


def test_the_kernels_own_types_merge_with_themselves() -> None:
    from ebpf.session.host import host

    btf = host.btf()
    if btf is None:
        pytest.skip("this kernel has no BTF")
    b = Builder()
    memo: dict[int, int] = {}
    for name in ("task_struct", "sk_buff", "file", "inode", "bpf_prog"):
        id = btf.find(name, Kind.STRUCT)
        if id is not None:
            b.copy_type(btf, id, memo=memo)
    part = b.build()
    assert len(merged(part, part, part)[0]) == len(merged(part)[0]) <= len(part)
