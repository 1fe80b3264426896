"""What `ebpf doctor` concludes from a host's facts, for hosts of every kind."""

from __future__ import annotations

import pytest

from ebpf.kernel import hooks
from ebpf.kernel.privileges import Privileges
from ebpf.session import doctor

ALL = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"})
SOME = frozenset({"CAP_BPF", "CAP_PERFMON"})


def host(capabilities: frozenset[str] = ALL, **facts: object) -> Privileges:
    """A host where nothing stands in the way but what is given."""
    known = {"euid": 0, "in_user_namespace": False, "lockdown": "none", "unprivileged_bpf_disabled": 2,
             "perf_event_paranoid": 2, "kptr_restrict": 0, "jit_enable": 1, "memlock_bytes": None}
    return Privileges(capabilities=capabilities, **{**known, **facts})  # type: ignore[arg-type]


def hook_states(monkeypatch: pytest.MonkeyPatch, privileges: Privileges, state: str) -> dict[str, doctor.Finding]:
    """The findings if each hook's own probe gave ``state``."""
    monkeypatch.setattr(hooks, "HOOKS", tuple(h._replace(probe=lambda: hooks.Answer(state)) for h in hooks.HOOKS))
    return {f.name: f for f in doctor._hooks(privileges)}


def test_nothing_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {f.state for f in hook_states(monkeypatch, host(), "ok").values()} == {"ok"}
    assert {f.state for f in doctor._user(host())} == {"info", "ok"}


@pytest.mark.parametrize("state", ["ok", "denied"])
def test_what_each_hook_needs(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    found = hook_states(monkeypatch, host(SOME), state)
    assert found["uprobe"].detail == "needs CAP_SYS_ADMIN" and found["xdp"].detail == "needs CAP_NET_ADMIN"
    none = hook_states(monkeypatch, host(frozenset()), state)
    assert none["kprobe"].detail == "needs CAP_BPF and CAP_PERFMON" and none["kprobe"].state == "denied"


def test_distributions_that_keep_perf_events_to_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hook_states(monkeypatch, host(SOME, perf_event_paranoid=3), "denied")
    assert {n: found[n].detail for n in ("kprobe", "tracepoint", "perf event")} == dict.fromkeys(
        ("kprobe", "tracepoint", "perf event"), "needs CAP_SYS_ADMIN")
    assert "refused" in found["fentry"].detail  # no perf event: something else is the matter
    told = {f.name: f for f in doctor._user(host(SOME, perf_event_paranoid=3))}["perf events"]
    assert told.state == "denied" and "perf_event_paranoid=2" in told.help
    assert "perf events" not in {f.name for f in doctor._user(host(perf_event_paranoid=3))}


def test_refused_in_spite_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hook_states(monkeypatch, host(), "denied")
    assert found["kprobe"].state == "no" and "security module" in found["kprobe"].help
    assert found["bpffs"].state == "denied"  # a question of file permissions
    locked = hook_states(monkeypatch, host(lockdown="confidentiality"), "denied")
    assert "locked down (confidentiality)" in locked["kprobe"].detail
