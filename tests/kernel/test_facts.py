"""What the compiler is told of the running system."""

from __future__ import annotations

import pytest

from ebpf.kernel import facts


def test_without_a_configuration_what_shows_elsewhere_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "read_kconfig", dict)
    for prefix, wrapped in (("__x64_sys_", "y"), ("sys_", None)):
        monkeypatch.setattr(facts.SystemFacts, "syscall_prefix", lambda self, prefix=prefix: prefix)
        assert facts.SystemFacts().kconfig("ARCH_HAS_SYSCALL_WRAPPER") == wrapped
    assert facts.SystemFacts().kconfig("CONFIG_HZ") is None


def test_a_configuration_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "read_kconfig", lambda: {"CONFIG_HZ": "250"})
    known = facts.SystemFacts()
    assert (known.kconfig("HZ"), known.kconfig("CONFIG_NET_NS")) == ("250", None)
