"""``ebpf verify`` and `ebpf.verify`: figures, refusals, exit status, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ebpf
from ebpf import cli
from ebpf.errors import VerifierError
from ebpf.isa import assemble, encode
from ebpf.verifier import verify_raw

from .test_kernel import CLANG, compiled


@pytest.mark.skipif(CLANG is None, reason="no clang")
def test_verify_gives_figures() -> None:
    found = ebpf.verify(compiled(), "headers")
    assert (
        found.paths > 3 and found.insns_visited >= 20 and found.stack_bytes >= 32 and not found.kernel_budget_exceeded
    )
    assert len(found.pointer_kinds) == len(found.outcomes) == found.program.length


@pytest.mark.skipif(CLANG is None, reason="no clang")
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebpf.cli._build.open_object", lambda path: compiled())
    assert cli.main(["verify", "x.o", "counting"]) == 0
    assert capsys.readouterr().out.startswith("counting: safe. ")
    assert cli.main(["verify", "x.o", "leak"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("leak: refused\n") and out.endswith("`ebpf explain V0301` tells more\n")
    assert "V0301" in out and "if (ctx->ingress_ifindex == 3) return 2;" in out
    assert cli.main(["verify", "x.o", "counting", "headers_short", "--json"]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good["safe"] and good["paths"] >= 2
    assert not bad["safe"] and bad["diagnostics"][0]["code"] == "V0203" and bad["diagnostics"][0]["line"] > 0
    assert cli.main(["verify", "x.o", "nothing"]) == 1


def test_bare_code() -> None:
    good = encode(assemble("if r2 s< 0x4 goto pc+1\nr0 = *(u32 *)(r1 +0)\nr0 = 1\nexit"))
    assert verify_raw(good, 4).stack_bytes == 32
    assert verify_raw(good, 0).paths == 1  # r2 is 0, so nothing is read
    with pytest.raises(VerifierError, match="V0215"):
        verify_raw(encode(assemble("r0 = *(u32 *)(r1 +1)\nexit")), 4)
    assert verify_raw(encode(assemble("r0 = 1\nexit\nr0 = 2\nexit")), 4).reached == b"\1\1\0\0"  # dead code is harmless
    with pytest.raises(VerifierError, match="V0104"):
        verify_raw(encode(assemble("r0 = 1\nexit\nr0 = 2")), 4)
