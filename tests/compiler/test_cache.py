"""The cache gives back what is still true, and nothing else; whatever is wrong with it, compiling goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.compiler import cache, compile_cached
from ebpf.compiler.cache import RecordingFacts, Store, cached_object, keep_object, state

ELF = b"\x7fELF" + bytes(100) + b"\n\nmore"


class Facts:
    """A host made of a dict."""

    def __init__(self, **answers: object) -> None:
        self.answers = {
            "kernel_id": "k1",
            "arch": "x86",
            "kernel_version": 0x60100,
            "cpus_online": 2,
            "cpus_possible": 4,
            "page_size": 4096,
            **answers,
        }
        self.includes: dict[str, str] = {}
        self.formats: dict[tuple[str, str], str] = {}
        self.config: dict[str, str] = {}

    def __getattr__(self, name: str) -> object:
        try:
            return self.answers[name]
        except KeyError:
            raise AttributeError(name) from None

    def btf(self) -> None:
        return None

    def module_btfs(self) -> tuple[()]:
        return ()

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return self.formats.get((category, name))

    def kconfig(self, name: str) -> str | None:
        return self.config.get(name)

    def syscall_prefix(self) -> str:
        return "__x64_sys_"

    def read_include(self, path: str) -> str | None:
        return self.includes.get(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "cache"))


def test_bytes_come_back(store: Store) -> None:
    assert store.get("btf-index-1") is None
    store.put("btf-index-1", b"x" * 100_000)
    assert store.get("btf-index-1") == b"x" * 100_000
    store.put("strange / key\n", b"")
    assert store.get("strange / key\n") == b""
    assert Store(store.path).get("btf-index-1") == b"x" * 100_000
    assert os.stat(store.path or "").st_mode & 0o777 == 0o700


CHANGES = {
    "kernel": lambda f: f.answers.update(kernel_id="k2"),
    "version": lambda f: f.answers.update(kernel_version=0x60200),
    "processors": lambda f: f.answers.update(cpus_online=3),
    "an included file": lambda f: f.includes.update({"a.h": "#define A 2\n" * 50}),
    "an included file that was missing": lambda f: f.includes.update({"b.h": ""}),
    "a tracepoint": lambda f: f.formats.update({("sched", "switch"): "other"}),
    "a tracepoint that was missing": lambda f: f.formats.update({("sched", "absent"): "now"}),
    "configuration": lambda f: f.config.update(CONFIG_X="y"),
    "configuration that was on": lambda f: f.config.clear(),
}


@pytest.mark.parametrize("change", [None, *CHANGES])
def test_an_object_holds_as_long_as_its_facts(store: Store, change: str | None) -> None:
    facts = Facts()
    facts.includes["a.h"] = "#define A 1\n" * 50
    facts.formats["sched", "switch"] = "format\twith\ttabs\n"
    facts.config["CONFIG_Y"] = "m"
    recording = RecordingFacts(facts)  # type: ignore[arg-type]
    assert recording.btf() is None
    assert (recording.kernel_version, recording.cpus_online) == (0x60100, 2)
    assert recording.read_include("a.h") and recording.read_include("b.h") is None
    assert recording.tracepoint_format("sched", "switch") and recording.tracepoint_format("sched", "absent") is None
    assert recording.kconfig("CONFIG_X") is None and recording.kconfig("CONFIG_Y") == "m"
    keep_object(store, "object-1", recording, ELF)
    if change is not None:
        CHANGES[change](facts)
    assert cached_object(store, "object-1", facts) == (ELF if change is None else None)  # type: ignore[arg-type]


def test_what_was_not_asked_may_change(store: Store) -> None:
    facts = Facts()
    keep_object(store, "object-1", RecordingFacts(facts), ELF)  # type: ignore[arg-type]
    facts.answers["kernel_id"] = "k9"
    assert cached_object(store, "object-1", facts) == ELF  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "header"])
def test_damaged_entries_are_passed_over_and_told(store: Store, damage: str) -> None:
    store.put("object-1", ELF)
    path = Path(store.path or "") / "object-1"
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-1],
            "flipped": data[:60] + bytes([data[60] ^ 1]) + data[61:],
            "emptied": b"",
            "header": b"x" + data[1:],
        }[damage]
    )
    assert store.get("object-1") is None
    assert state(store.path).ignored == (("object-1", "damaged"),)
    store.put("object-1", ELF)
    assert store.get("object-1") == ELF


def test_files_that_others_may_write_are_not_used(store: Store) -> None:
    store.put("object-1", ELF)
    os.chmod(Path(store.path or "") / "object-1", 0o666)
    assert store.get("object-1") is None
    assert "others may write" in state(store.path).ignored[0][1]


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    store.put("object-1", ELF)
    (tmp_path / "cache" / "object-2").symlink_to("object-1")
    assert store.get("object-2") is None
    (tmp_path / "link").symlink_to("cache")
    assert Store(str(tmp_path / "link")).get("object-1") is None


def test_a_directory_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    store = Store(str(folder))
    store.put("object-1", ELF)
    assert store.get("object-1") is None and list(folder.iterdir()) == []
    found = state(str(folder))
    assert not found.usable and "others may write" in found.why_not


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    Store(str(folder)).put("object-1", ELF)
    os.chown(folder, 12345, 12345)
    store = Store(str(folder))
    assert store.get("object-1") is None
    assert "belongs to user 12345" in state(str(folder)).why_not


def test_a_place_that_cannot_be_made_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(str(tmp_path / "file" / "cache"))
    store.put("object-1", ELF)
    assert store.get("object-1") is None and store.why_not


def test_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EBPF_CACHE_DIR", str(tmp_path))
    assert cache.directory() == str(tmp_path)
    monkeypatch.setenv("EBPF_CACHE_DIR", "")
    assert cache.directory() is None
    assert Store().get("x") is None and not state().usable
    monkeypatch.delenv("EBPF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.directory() == "/xdg/ebpf"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == f"{tmp_path}/.cache/ebpf"
    monkeypatch.setenv("HOME", "/somewhere/me")  # a home that does not exist is not made
    assert cache.directory() is None


def test_it_stays_within_bounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 10_000)
    for i in range(8):
        store.put(f"object-{i}", bytes(2000))
        os.utime(Path(store.path or "") / f"object-{i}", (i, i))
        if i == 3:
            store.get("object-0")  # in use: it stays
    names = {p.name for p in Path(store.path or "").iterdir()}
    assert sum(p.stat().st_size for p in Path(store.path or "").iterdir()) <= 10_000
    assert "object-7" in names and "object-0" in names and "object-1" not in names


def test_compiling_again_asks_the_cache(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "int f(void *ctx) { return 0; }"
    facts = Facts()
    first = compile_cached(text, facts=facts, store=store, dialect="bcc")  # type: ignore[arg-type]
    monkeypatch.setattr("ebpf.compiler.pipeline.compile_c", lambda *a, **k: pytest.fail("compiled again"))
    assert compile_cached(text, facts=facts, store=store, dialect="bcc") == first  # type: ignore[arg-type]
    for change in ({"mcpu": "v2"}, {"defines": ("A",)}, {"filename": "other"}):
        with pytest.raises(pytest.fail.Exception):
            compile_cached(text, facts=facts, store=store, dialect="bcc", **change)  # type: ignore[arg-type]


def test_a_hit_imports_no_compiler(store: Store) -> None:
    text = "int f(void *ctx) { return 0; }"
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).resolve().parents[2]), *sys.path]!r}
from tests.compiler.test_cache import Facts
for name in [m for m in sys.modules if m.startswith("ebpf.")]:
    del sys.modules[name]
from ebpf.compiler import compile_cached
from ebpf.compiler.cache import Store
before = set(sys.modules)
compile_cached({text!r}, facts=Facts(), store=Store({store.path!r}), dialect="bcc")
new = sorted(m for m in set(sys.modules) - before)
print([m for m in new if m.startswith("ebpf")])
"""
    run = [sys.executable, "-c", code]
    subprocess.run(run, check=True, capture_output=True)
    again = subprocess.run(run, check=True, capture_output=True, text=True)
    assert again.stdout.strip() == "[]"
