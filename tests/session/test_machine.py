"""A session in the machine: what is traced, how that begins and ends, and what a machine cannot do."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

import ebpf
from ebpf.session import choice, world
from tests.session.objects import PACKET, loaded

HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n'
TAIL = 'char LICENSE[] SEC("license") = "GPL";\n'
TEXT = HEAD + """
struct note { u32 pid; u32 what; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct note); } notes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } counts SEC(".maps");

static int count(u32 what)
{
    u64 one = 1, *n = bpf_map_lookup_elem(&counts, &what);
    if (n)
        ++*n;
    else
        bpf_map_update_elem(&counts, &what, &one, BPF_ANY);
    return 0;
}

SEC("ksyscall/getpgrp") int on_enter(struct pt_regs *ctx)
{
    struct note note = { .pid = bpf_get_current_pid_tgid() >> 32, .what = 1 };
    bpf_ringbuf_output(&notes, &note, sizeof(note), 0);
    return count(1);
}
SEC("tracepoint/sched/sched_process_exec") int on_exec(void *ctx) { return count(2); }
SEC("uprobe/c:getpgrp") int on_call(struct pt_regs *ctx) { return count(3); }
SEC("kprobe") int on_any(struct pt_regs *ctx) { bpf_printk("any"); return count(4); }
SEC("kprobe.multi/__x64_sys_getpgr*") int on_many(struct pt_regs *ctx) { return count(5); }
""" + TAIL
# getpgrp() is a system call of that name on x86-64 and arm64's getpgid elsewhere; nothing else of Python's calls it.
COMMAND = (sys.executable, "-c", "import os\nfor _ in range(4): os.getpgrp()\nif not os.fork(): os.getpgrp(); os._exit(0)\nos.wait()")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="commands are traced on Linux")


@pytest.fixture(autouse=True)
def nothing_left_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fresh = choice.Wish()
    for name in choice.Wish.__slots__:  # in place: whoever has imported it has this one
        monkeypatch.setattr(choice.wish, name, getattr(fresh, name))
    monkeypatch.setattr(world, "_lines", None)  # lines stay for whoever reads next, as in a kernel: here, other tests'
    yield
    assert world._current is None, "a closed session left its world behind"
    assert not [thread for thread in threading.enumerate() if thread.name == "ebpf machine"]


def machine(text: str = TEXT, *command: str, **how: object) -> ebpf.Session:
    ebpf.use("machine", command=command or COMMAND)
    return ebpf.load(ebpf.compile(text, dialect="libbpf"), backend="machine", **how)  # type: ignore[arg-type]


def test_a_stream_ends_with_what_is_traced() -> None:
    with machine() as session:
        assert session.backend == "machine" and not session.ended
        session.attach("on_enter", "on_exec", "on_call", "on_many")
        notes = list(session.maps["notes"].events())
        assert session.ended and len(notes) == 5 and {note.what for note in notes} == {1}
        assert len({note.pid for note in notes}) == 2, "the command, and the child that it forked"
        assert dict(session.maps["counts"].items()) == {1: 5, 2: 1, 3: 5, 5: 5}


def test_async_iteration_ends_too() -> None:
    import asyncio

    async def count(session: ebpf.Session) -> int:
        return len([event async for event in session.maps["notes"].events()])

    with machine() as session:
        session.attach("on_enter")
        assert asyncio.run(count(session)) == 5


def test_detached_programs_see_nothing() -> None:
    with machine() as session:
        links = session.attach("on_enter", "on_call")
        assert [link.kind for link in links] == ["kprobe", "uprobe"] and all(link.fileno() == -1 for link in links)
        links[1].detach()
        links[1].detach()
        assert [link.attached for link in links] == [True, False] and links[0].info() is None
        list(session.maps["notes"].events())
        assert dict(session.maps["counts"].items()) == {1: 5}
        with pytest.raises(ebpf.NotSupported, match="pinning"):
            links[0].pin("/sys/fs/bpf/x")


def test_many_functions_are_one_link() -> None:
    with machine(TEXT, load_programs=["on_any", "on_enter"]) as session:
        program = session.programs["on_any"]
        with pytest.raises(ebpf.EbpfError):
            program.attach_kprobes(["sys_getpgrp", "vfs_read"])
        link = program.attach_kprobes(["sys_getpgrp", "vfs_read"], partly=True)
        assert link.attached and len(link.links) == 1 and session.links == [link]
        session.attach("on_enter")
        list(session.maps["notes"].events())
        assert dict(session.maps["counts"].items()) == {1: 5, 4: 5}


def test_what_programs_print() -> None:
    with machine() as session, session.trace_pipe() as pipe:
        session.programs["on_any"].attach_kprobe("sys_getpgrp")
        lines = [pipe.read_line(20) or b"" for _ in range(5)]
        assert all(line.endswith(b": bpf_trace_printk: any") and b"-" in line for line in lines), lines
        assert pipe.read_line(0) is None and pipe.lost == 0


def test_two_sessions_see_the_same_command() -> None:
    with machine() as first, machine() as second:
        first.attach("on_enter")
        second.attach("on_enter")
        streams = [session.maps["notes"].events() for session in (first, second)]
        assert [len(list(stream)) for stream in streams] == [5, 5]


def test_the_next_session_starts_its_own() -> None:
    for _ in range(2):
        with machine() as session:
            session.attach("on_enter")
            assert len(list(session.maps["notes"].events())) == 5


def test_closing_ends_what_is_traced() -> None:
    with machine(TEXT, "sleep", "60") as session:
        session.programs["on_any"].attach_kprobe("sys_clock_nanosleep")
        with session.trace_pipe() as pipe:
            assert (pipe.read_line(20) or b"").endswith(b"any")
            pid = int(session.maps["counts"].items()[0][1]) and session._backend.world.sources[0].tracer.pid  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("how", "words"), [
    (lambda p: p.attach_cgroup("/sys/fs/cgroup"), "cgroup"),
    (lambda p: p.attach_kprobe("vfs_read"), "vfs_read"),
    (lambda p: p.attach_tracepoint("sched", "sched_switch"), "sched_switch"),
    (lambda p: p.attach_perf_event("cycles", frequency=9), "hardware"),
    (lambda p: p.attach_socket(0), "socket"),
    (lambda p: p.attach_netfilter("prerouting"), "netfilter"),
    (lambda p: p.attach_netns(), "netns"),
    (lambda p: p.attach_netkit("nk0"), "netkit"),
    (lambda p: p.attach_tcx("eth0", before=0), "a place among other programs"),
    (lambda p: p.read_iterator(), "iterators"),
    (lambda p: p.pin("/sys/fs/bpf/x"), "pinning"),
])
def test_what_only_a_kernel_has(how: object, words: str) -> None:
    with machine() as session, pytest.raises(ebpf.NotSupported, match=words) as caught:
        how(session.programs["on_any"])  # type: ignore[operator]
    assert "userspace machine" in str(caught.value) or caught.value.instead


def test_maps_are_not_shared_between_machines() -> None:
    with machine() as first, pytest.raises(ebpf.NotSupported, match="several sessions share"):
        machine(TEXT, reuse={"counts": first.maps["counts"]})


def test_programs_of_another_session_are_none_of_ours() -> None:
    with loaded_on_machine() as one, loaded_on_machine() as other:
        one.maps["progs"][0] = one.programs["count"]
        with pytest.raises(ebpf.MapError, match="none of this session"):
            one.maps["progs"][1] = other.programs["count"].fileno()


def test_a_closed_map_says_so() -> None:
    with loaded_on_machine() as session:
        counts = session.maps["counts"]
        session.programs["count"].test_run(PACKET)
        assert counts[1] == 1
    with pytest.raises(ebpf.KernelError, match="closed"):
        counts[1]
    with pytest.raises(ebpf.KernelError, match="closed"):
        session.programs["count"].test_run(PACKET)


def test_a_packet_has_a_header() -> None:
    with loaded_on_machine() as session, pytest.raises(ebpf.UsageError, match="14"):
        session.programs["count"].test_run(b"short")


def test_a_refused_program_names_the_line() -> None:
    text = TEXT.replace("if (n)\n        ++*n;\n    else\n", "++*n;\n")
    with pytest.raises(ebpf.VerifierError) as caught:
        machine(text)
    (diagnostic,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert diagnostic.code == "V0201" and diagnostic.span is not None and diagnostic.helps


def loaded_on_machine() -> ebpf.Session:
    choice.use("machine")
    return loaded()


@pytest.mark.parametrize(("call", "words"), [
    (lambda: ebpf.use("moon"), "no backend 'moon'"),
    (lambda: ebpf.use(command="ls -l"), "list of words"),
    (lambda: ebpf.use("kernel", command=["ls"]), "event source of the machine"),
    (lambda: ebpf.use("kernel", pcap="x.pcap"), "event source of the machine"),
    (lambda: ebpf.load(b"", backend="moon"), "no backend|not an ELF|ELF"),
])
def test_choices_that_are_none(call: object, words: str) -> None:
    with pytest.raises((ebpf.UsageError, ebpf.FormatError), match=words):
        call()  # type: ignore[operator]


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, then `use`, then the environment, then what this user may do."""
    monkeypatch.setenv("EBPF_BACKEND", "machine")
    assert choice.choose() == ("machine", "EBPF_BACKEND=machine", True)
    choice.use("kernel")
    assert choice.choose()[0] == "kernel" and choice.choose("machine")[0] == "machine"
    choice.use()
    monkeypatch.setenv("EBPF_BACKEND", "auto")
    monkeypatch.setattr("ebpf.kernel.privileges.effective_capabilities", lambda: frozenset(("CAP_BPF",)))
    monkeypatch.setattr("ebpf.kernel.privileges.in_user_namespace", lambda: False)
    assert choice.choose().backend == "kernel"
    assert choice.choose(None, ebpf.compile(TEXT, dialect="libbpf")) == ("machine", "it takes CAP_PERFMON", False)
    monkeypatch.setattr("ebpf.kernel.privileges.in_user_namespace", lambda: True)
    assert choice.choose().backend == "machine" and "user namespace" in choice.choose().why


def test_what_the_kernel_refuses_after_all_goes_to_the_machine(monkeypatch: pytest.MonkeyPatch,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    """A seccomp filter shows in no capability: the load itself is the question."""
    monkeypatch.delenv("EBPF_BACKEND", raising=False)
    monkeypatch.setattr("ebpf.kernel.privileges.effective_capabilities",
                        lambda: frozenset(("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN")))
    monkeypatch.setattr("ebpf.kernel.privileges.in_user_namespace", lambda: False)

    def refuse(*_: object, **__: object) -> None:
        raise ebpf.PrivilegeError("bpf(BPF_MAP_CREATE)", message="not here")

    monkeypatch.setattr("ebpf.session.on_kernel.load_object", refuse)
    with loaded() as session:
        assert session.backend == "machine" and session.programs["count"].test_run(PACKET).result == 2
    with loaded():
        pass
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "(not here): running in the userspace machine" in told[0]
    with pytest.raises(ebpf.PrivilegeError):
        ebpf.load(session.obj, backend="kernel")
