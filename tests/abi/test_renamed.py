"""Hooks that kernels renamed: each row leads somewhere else, and nothing is answered with itself."""

from __future__ import annotations

import pytest

from ebpf.abi.renamed import _ROWS, absorbed, has_same_arguments, is_inlined, member_names, moved, replacements


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


def test_calls_that_go_elsewhere_keep_their_kind() -> None:
    assert moved("kretprobe:mark_page_accessed") == "kretprobe:folio_mark_accessed"
    assert absorbed("kprobe:tcp_sendpage") == "kprobe:tcp_sendmsg"
    assert moved("kprobe:vfs_read") is None and absorbed("kprobe:vfs_read") is None


def test_what_is_said_of_arguments_is_about_rows() -> None:
    named = {found for row in _ROWS.values() for found in row}
    assert all(has_same_arguments(p) for p in ("tracepoint:block:block_io_start", "tracepoint:block:block_io_done"))
    assert not has_same_arguments("tracepoint:skb:kfree_skb") and "tracepoint:block:block_io_done" in named
    assert is_inlined("kprobe:folio_account_dirtied") and not is_inlined("kprobe:account_page_dirtied")


def test_members_that_scripts_ask_for() -> None:
    assert "mnt_idmap" in member_names("renamedata", "old_mnt_userns") and member_names("renamedata", "flags") == ()
