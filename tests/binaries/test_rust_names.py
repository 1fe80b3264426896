"""Rust's symbols: names as they were written, and what is none of Rust's."""

from __future__ import annotations

import pytest

from ebpf.binaries.rust_names import rust_name


@pytest.mark.parametrize(("symbol", "name"), [
    # legacy
    ("_ZN3std2io5Error3new17h0123456789abcdefE", "std::io::Error::new"),
    ("_ZN4core3fmt5Write9write_str17h0123456789abcdefE.llvm.1234", "core::fmt::Write::write_str"),
    ("_ZN36_$LT$my..Own$u20$as$u20$a..Trait$GT$3say17h0123456789abcdefE", "<my::Own as a::Trait>::say"),
    ("_ZN3foo3barE", None),
    ("_ZNSt6vectorIiSaIiEE9push_backERKi", None),
    # RFC 2603
    ("_RNvC7mycrate4main", "mycrate::main"),
    ("_RNvC6_123foo3bar", "123foo::bar"),
    ("_RINvC7mycrate3fooKj2a_E", "mycrate::foo::<42>"),
    ("_RINvC7mycrate3fooKin2a_bE", "mycrate::foo::<-42, bool>"),
    ("_RINvC7mycrate3fooRQhTlEPDNtB2_5TraitEL_E", "mycrate::foo::<&&mut u8, (i32,), *const dyn mycrate::Trait>"),
    ("_RNCNvC7mycrate4main0", "mycrate::main::{closure#0}"),
    ("_RNvMC7mycrateNtB2_5Thing3new", "<mycrate::Thing>::new"),
    ("_RNvXC7mycrateNtB2_5ThingNtB2_5Trait4call", "<mycrate::Thing as mycrate::Trait>::call"),
    ("_RINvC7mycrate3fooFUKCjEuE", 'mycrate::foo::<unsafe extern "C" fn(usize)>'),
    ("_RINvC7mycrate3fooAhj10_E", "mycrate::foo::<[u8; 16]>"),
    ("_RC3foo.llvm.9D1C9369", "foo"),
    ("_RNvC3fooB_", None), ("_RNvC9999foo", None), ("_R", None), ("_Rust", None), ("main", None),
])
def test_names(symbol: str, name: str | None) -> None:
    assert rust_name(symbol) == name


@pytest.mark.parametrize("cut", range(2, 40, 3))
def test_a_cut_symbol_is_no_name_or_another(cut: int) -> None:
    found = rust_name("_RINvC7mycrate3fooAhj10_DNtB2_5TraitEL_E"[:cut])
    assert found is None or found.startswith("mycrate")
