"""What the documentation takes from the code is current, and the tables behind it are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import ebpf
from tests.docs.snippets import ROOT

DOCS = ROOT / "docs"
_CODE = re.compile(r"[\"']([CVKA]\d{4})[\"']")


def test_generated_pages_are_current() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "generate.py"), "--check"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0, done.stdout


def test_a_stale_page_is_noticed(tmp_path: os.PathLike[str]) -> None:
    folder = tmp_path / "docs"  # type: ignore[operator]
    folder.mkdir()
    for path in DOCS.iterdir():
        if path.is_file():
            (folder / path.name).write_text(path.read_text())
    for name in ("messages.md", "c.md"):
        text = (folder / name).read_text()
        changed = text.replace("C0202", "C9999") if name == "messages.md" else text.replace("`BPF_CORE_READ`, ", "")
        assert changed != text
        (folder / name).write_text(changed)
    done = subprocess.run([sys.executable, str(folder / "generate.py"), "--check"], text=True, check=False,
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 1 and "messages.md is stale" in done.stdout and "c.md is stale" in done.stdout
    assert "api.md" not in done.stdout


def used_codes() -> dict[str, str]:
    """Every code that the source gives out, and a file that does."""
    found: dict[str, str] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for code in _CODE.findall(path.read_text()):
            found.setdefault(code, str(path.relative_to(ROOT)))
    return found


def test_every_code_that_is_used_has_a_title_and_every_title_a_use() -> None:
    titled = {e.code: e.title for e in ebpf.explain("")}
    examples = {"V0203"}  # in docstrings; it has a title, too
    used = used_codes()
    assert {code: place for code, place in used.items() if code not in titled} == {}
    source = "\n".join(p.read_text() for p in (ROOT / "src").rglob("*.py"))
    unused = [code for code in titled if len(re.findall(f"[\"']{code}[\"']", source)) < 2 and code not in examples]
    assert unused == [], "titles of codes that nothing gives out"
    assert len(set(titled.values())) == len(titled), "two codes with one meaning"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: object) -> None:
    text = page.read_text()  # type: ignore[attr-defined]
    for file, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        target = page.parent / file if file else page  # type: ignore[attr-defined]
        assert target.exists(), file
        if anchor:
            anchors = {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-")
                       for h in re.findall(r"^#+ (.*)$", target.read_text(), re.M)}
            assert anchor in anchors, f"{file}#{anchor}"


def test_public_docstrings() -> None:
    """Every public name, method and property of the front door says what it is."""
    missing = []
    for name in ebpf.__all__:
        thing = getattr(ebpf, name)
        kind = thing if isinstance(thing, type) else type(thing)
        if not (thing.__doc__ or "").strip():
            missing.append(name)
        if kind.__module__.startswith("ebpf") and not issubclass(kind, tuple):
            for member, value in vars(kind).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    if not (value.__doc__ or "").strip():
                        missing.append(f"{name}.{member}")
    assert missing == []
