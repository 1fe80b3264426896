"""`Btf.format`: a type by the name that C gives it."""

from __future__ import annotations

import pytest

from ebpf.btf import Btf, Builder
from ebpf.btf.types import Member
from ebpf.errors import UnknownName


def _btf() -> Btf:
    b = Builder()
    number = b.add_int("int", 4, signed=True)
    b.add_struct("pair", 8, [Member("first", number, 0), Member("second", number, 32)])
    b.add_enum("colour", [("RED", 0), ("BLUE", 1)])
    b.add_typedef("number_t", number)
    return b.build()


@pytest.mark.parametrize(("name", "wanted"), [
    ("struct pair", "int first;"), ("pair", "int second;"), ("enum colour", "BLUE = 1"), ("number_t", "typedef int number_t"),
])
def test_a_type_is_found_by_its_c_name(name: str, wanted: str) -> None:
    assert wanted in _btf().format(name)


def test_a_wrong_kind_or_name_says_what_there_is() -> None:
    with pytest.raises(UnknownName):
        _btf().format("union pair")
    with pytest.raises(UnknownName) as error:
        _btf().format("struct pai")
    assert "pair" in error.value.similar
