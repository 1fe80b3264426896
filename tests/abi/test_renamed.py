"""Hooks that kernels renamed: each row leads somewhere else, and nothing is answered with itself."""

from __future__ import annotations

import pytest

from ebpf.abi.renamed import _ROWS, replacements


@pytest.mark.parametrize("probe", _ROWS)
def test_a_row_names_other_probes(probe: str) -> None:
    for found in _ROWS[probe]:
        kind, _, name = found.partition(":")
        assert kind in ("kprobe", "tracepoint") and found != probe
        assert name.count(":") == (kind == "tracepoint")


def test_returns_are_answered_with_returns() -> None:
    assert replacements("kretprobe:swap_readpage") == ("kretprobe:swap_read_folio",)
    assert replacements("fentry:blk_account_io_start")[0] == "tracepoint:block:block_io_start"
    assert replacements("kprobe:vfs_read") == ()
