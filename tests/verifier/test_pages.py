"""The pages of `ebpf explain`: each example is refused with its code, and mended accepted; a kernel's words are known."""

from __future__ import annotations

import re

import pytest

from ebpf import cli
from ebpf.abi.refusal_pages import PAGES, PRELUDE
from ebpf.abi.refusals import REFUSALS, TITLES
from ebpf.errors import VerifierError
from ebpf.object import Object, read_object
from ebpf.verifier import Options, verify

WITH_C = [code for code, page in PAGES.items() if page.refused]


def compiled(text: str) -> Object:
    from ebpf.compiler import Options as Compiling, compile_c
    from tests.compiler.test_cache import Facts

    prelude = re.sub(r"char LICENSE.*\n", "", PRELUDE) if "LICENSE" in text else PRELUDE
    return read_object(compile_c(prelude + text, filename="page.c", facts=Facts(), options=Compiling(dialect="libbpf")), "page")  # type: ignore[arg-type]


def test_every_code_has_its_page() -> None:
    assert PAGES.keys() == TITLES.keys()
    assert all(page.rule and page.why for page in PAGES.values())
    assert len(WITH_C) >= len(PAGES) - 5


@pytest.mark.parametrize("code", WITH_C)
def test_the_example_is_refused_and_the_mended_one_accepted(code: str) -> None:
    page = PAGES[code]
    with pytest.raises(VerifierError) as caught:
        verify(compiled(page.refused), "f", options=Options(max_insns=20_000))
    assert caught.value.diagnostics[0].code == code
    assert verify(compiled(page.mended), "f").insns_visited > 0


@pytest.mark.parametrize("code", [code for code, page in PAGES.items() if page.kernel])
def test_the_kernel_s_words_are_of_this_code(code: str) -> None:
    assert any(row.code == code and row.pattern and re.search(row.pattern, PAGES[code].kernel) for row in REFUSALS)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "v0203"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("V0203  packet access past the proven bytes\n\n") and "refused:" in out and "data + 14 > end" in out
    assert "A kernel says: invalid access to packet" in out and "= help:" in out
    assert cli.main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100
