"""`Machine`: an object's programs, maps and events without a kernel. Nothing here needs privilege."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ebpf.errors import MachineFault, NotSupported, RelocationError, UnknownName, UsageError, VerifierError
from ebpf.machine import Clock, Machine, Task
from ebpf.object import Object, read_object

PACKET = bytes(64)


@cache
def events() -> Object:
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts

    path = Path(__file__).parent / "programs" / "events.c"
    elf = compile_c(path.read_text(), filename="events.c", facts=SystemFacts(), options=Options(dialect="libbpf"))
    return read_object(elf, "events")


class Stopped(Clock):
    now = 1_000_000

    def monotonic_ns(self) -> int:
        return self.now


class Memory:
    def __init__(self, address: int, data: bytes) -> None:
        self.address, self.data = address, data

    def read(self, address: int, size: int) -> bytes:
        at = address - self.address
        if at < 0 or at + size > len(self.data):
            raise OSError("nothing there")
        return self.data[at:at + size]

    def write(self, address: int, data: bytes) -> None:
        raise OSError("read-only")


def test_events_of_a_task() -> None:
    machine = Machine(events(), task=Task(pid=42, tid=43, uid=1000, comm=b"a-rather-long-name"))
    assert machine.run("send", ctx=struct.pack("<Q", 99)).result == 0
    [record] = machine.maps["ring"].drain()  # type: ignore[attr-defined]
    assert struct.unpack("<II16sQ", record) == (42, 1000, b"a-rather-long-n\0", 99)


def test_a_full_ring_is_counted() -> None:
    machine = Machine(events())
    results = [machine.run("send").result for _ in range(200)]
    ring: Any = machine.maps["ring"]
    sent = results.count(0)
    assert 0 < sent < 200 and ring.refused == 200 - sent
    assert len(ring.drain()) == sent and ring.pending_bytes == 0
    assert machine.run("send").result == 0


def test_perf_buffers_keep_the_cpu_and_count_losses() -> None:
    machine = Machine(events(), cpus=3, clock=Stopped())
    perf: Any = machine.maps["perf"]
    perf.capacity_bytes = 64
    assert [machine.run("send_perf", cpu=cpu).r0 for cpu in (2, 2, 2)] == [0, 0, (1 << 64) - 28]
    assert [(s.cpu, struct.unpack("<QQ", s.data)) for s in perf.drain()] == [(2, (1_000_000, 2))] * 2
    assert perf.lost == 1 and perf.lost_by_cpu == [0, 0, 1]


def test_printing_and_global_variables() -> None:
    machine = Machine(events())
    seen: list[str] = []
    machine.environment.on_print = seen.append
    machine.run("print")
    machine.run("print")
    assert list(machine.printed) == seen == ["hello machine 3", "hello machine 5"]
    value = machine.maps[".data"].lookup(bytes(4))
    assert value == struct.pack("<i", 7)


def test_data_of_sections_can_be_given() -> None:
    machine = Machine(events(), data={".rodata": struct.pack("<i", 10).ljust(events().maps[".rodata"].value_size, b"\0")})
    machine.run("print")
    assert machine.maps[".data"].lookup(bytes(4)) == struct.pack("<i", 13)


def test_stacks() -> None:
    machine = Machine(events(), task=Task(user_stack=(0x401000, 0x402000)))
    first, second = machine.run("stack").result, machine.run("stack").result
    assert first == second
    value = machine.maps["stacks"].lookup(first.to_bytes(4, "little"))
    assert value is not None and struct.unpack("<8Q", value) == (0x401000, 0x402000, 0, 0, 0, 0, 0, 0)
    assert Machine(events()).run("stack").r0 == (1 << 64) - 14  # no stack is known: -EFAULT


def test_values_by_cpu() -> None:
    machine = Machine(events(), cpus=2)
    for cpu in (0, 1, 1):
        machine.run("per_cpu", cpu=cpu)
    assert machine.maps["by_cpu"].lookup(bytes(4)) == struct.pack("<QQ", 1, 2)
    with pytest.raises(UsageError, match="no CPU 2"):
        machine.run("per_cpu", cpu=2)


def test_reading_the_traced_process() -> None:
    machine = Machine(events(), memory=Memory(0x7F0000000FF8, b"/etc/hostname".ljust(64, b"\0")))
    assert machine.run("path", ctx=[0, 0x7F0000000FF8]).result == 14
    assert list(machine.printed) == ["/etc/hostname"]
    assert machine.run("path", ctx=[0, 0x1000]).r0 == (1 << 64) - 14
    assert Machine(events()).run("path", ctx=[0, 0x1000]).r0 == (1 << 64) - 14


def test_timers() -> None:
    clock = Stopped()
    machine = Machine(events(), clock=clock)
    assert machine.run("start", PACKET).result == 0
    assert machine.next_timer_ns == 1_000_500
    assert machine.expire_timers() == 0
    clock.now += 600
    assert machine.expire_timers() == 1
    assert machine.next_timer_ns == 1_001_600  # its callback started it anew
    clock.now += 1000
    assert machine.expire_timers() == 1
    clock.now += 1000
    assert machine.expire_timers() == 1
    assert machine.next_timer_ns is None
    value = machine.maps["timers"].lookup((10).to_bytes(4, "little"))
    assert value is not None and struct.unpack("<16xQ", value) == (30,)


def test_redirects_are_told() -> None:
    run = Machine(events()).run("away", PACKET)
    assert run.result == 4 and run.redirect is not None and run.redirect.ifindex == 7


def test_kernel_configuration() -> None:
    assert Machine(events()).run("config", PACKET).result == 6 << 16 | 18 << 8
    machine = Machine(events(), kconfig={"LINUX_KERNEL_VERSION": 5, "CONFIG_NOT_THERE": 1})
    assert machine.run("config", PACKET).result == 6
    with pytest.raises(RelocationError, match="does not fit"):
        Machine(events(), kconfig={"CONFIG_NOT_THERE": 1 << 40})


def test_a_program_that_is_not_safe_does_not_run() -> None:
    machine = Machine(events())
    with pytest.raises(VerifierError) as caught:
        machine.run("unchecked", PACKET)
    (told,) = caught.value.diagnostics
    assert told.code == "V0203" and told.span is not None and "data[100]" in told.span.text and told.helps
    with pytest.raises(VerifierError):
        machine.step("unchecked", PACKET)
    assert machine.run("stack").r0 and machine.program("stack").verified is not None  # the others do


def test_contents_that_are_given_are_what_is_verified() -> None:
    """A constant decides which branches are followed: another one, another verdict."""
    size = events().maps[".rodata"].value_size
    two = [Machine(events(), data={".rodata": struct.pack("<i", n).ljust(size, b"\0")}) for n in (1, 2)]
    assert len({id(m.program("print").verified) for m in two}) == 2


def test_unverified_an_unchecked_read_is_a_fault_with_its_source_line() -> None:
    machine = Machine(events(), verify=False)
    with pytest.raises(MachineFault) as caught:
        machine.run("unchecked", PACKET)
    assert "byte 100 of packet, which has 64 bytes" in caught.value.message
    assert caught.value.program == "unchecked" and "events.c:" in str(caught.value) and "data[100]" in str(caught.value)
    assert machine.run("unchecked", bytes(128)).result == 0  # the machine goes on


def test_pointers_into_an_old_packet_lead_nowhere() -> None:
    machine = Machine(events())
    machine.run("away", PACKET)
    assert all(window > 255 for window in machine.environment.space.readable)


def test_helpers_that_are_missing_refuse_by_name_and_place() -> None:
    with pytest.raises(NotSupported, match="the userspace machine does not support the helper bpf_fib_lookup") as caught:
        Machine(events()).run("needs_a_kernel", PACKET)
    assert "events.c:" in str(caught.value)


def test_wrong_events() -> None:
    machine = Machine(events())
    with pytest.raises(UsageError, match="packet"):
        machine.run("away")
    with pytest.raises(UsageError, match="at least 14"):
        machine.run("away", b"short")
    with pytest.raises(UsageError, match="no packet"):
        machine.run("send", PACKET)
    with pytest.raises(UnknownName, match="sned"):
        machine.run("sned")
    with pytest.raises(UnknownName):
        machine.maps["rings"]


def test_stepping_through_source_lines() -> None:
    stepper = Machine(events()).step("print", ctx=bytes(8))
    lines = []
    while not stepper.finished:
        if stepper.line is not None and stepper.line.text.strip() not in lines:
            lines.append(stepper.line.text.strip())
        stepper.step()
    assert stepper.result == 0 and "limit += step;" in lines


def test_steps_and_runs_agree_on_programs_with_maps() -> None:
    whole, stepped = Machine(events(), seed=1, clock=Stopped()), Machine(events(), seed=1, clock=Stopped())
    for name in ("send", "send_perf", "print", "per_cpu"):
        assert whole.run(name, ctx=bytes(8)).r0 == stepped.step(name, ctx=bytes(8)).run()
    assert whole.maps["ring"].drain() == stepped.maps["ring"].drain()  # type: ignore[attr-defined]
    assert list(whole.printed) == list(stepped.printed)


def test_the_table_of_helpers() -> None:
    """Every helper stands under a kernel's name and takes as many arguments as the C prototype says."""
    from ebpf.abi.helpers import HELPERS_BY_NAME
    from ebpf.machine.helpers import HELPERS, by_id

    assert len(by_id()) >= 90
    for name, helper in HELPERS.items():
        signature = HELPERS_BY_NAME[name].signature
        inside = signature[signature.index("(") + 1:-1]
        expected = 0 if inside == "void" else 5 if "..." in inside else inside.count(",") + 1
        assert helper.arguments == expected, name


def test_importing_the_machine_is_cheap() -> None:
    import subprocess
    import sys

    probe = ("import sys, ebpf.machine.machine, ebpf.machine.raw; "
             "print([m for m in ('ctypes', 'numpy', 'llvmlite', 'ebpf.kernel', 'ebpf.compiler', 'dataclasses') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_co_re_answers_come_from_the_types_that_were_given() -> None:
    from ebpf.btf import Btf
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts

    text = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    #include <bpf/bpf_core_read.h>
    struct thing { int first; long second; } __attribute__((preserve_access_index));
    SEC("xdp") int size(struct xdp_md *ctx) { return bpf_core_type_size(struct thing) + 100 * bpf_core_field_exists(struct thing, second); }
    char LICENSE[] SEC("license") = "GPL";
    """

    def made(source: str) -> Object:
        return read_object(compile_c(source, filename="core.c", facts=SystemFacts(), options=Options(dialect="libbpf")), "core")

    obj = made(text)
    other = made("""
    struct thing { char pad[60]; int first; };
    struct thing things __attribute__((section(".data.things"))) = {};
    char LICENSE[] __attribute__((section("license"))) = "GPL";
    """)
    assert isinstance(other.btf, Btf)
    assert Machine(obj).run("size", PACKET).result == 116  # as it was compiled
    machine = Machine(obj, btf=other.btf)
    assert machine.run("size", PACKET).result == 64
    assert {result.new for result in machine.core_results["size"]} == {64, 0}


def test_verdicts_are_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebpf.machine import verdicts

    monkeypatch.setenv("EBPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(verdicts, "_WORTH_KEEPING", 0)
    monkeypatch.setattr(verdicts, "_verdicts", {})
    first = Machine(events()).program("print").verified
    verdicts._verdicts.clear()
    monkeypatch.setattr(verdicts, "verify", None)  # nobody verifies again
    again = Machine(events()).program("print").verified
    assert first is not None and again is not None
    assert again[1:7] == first[1:7] and again.pointer_kinds == first.pointer_kinds and again.outcomes == first.outcomes
    assert {at: info.name for at, info in again.maps.items()} == {at: info.name for at, info in first.maps.items()} != {}
    with pytest.raises(TypeError):
        Machine(events(), data={".rodata": bytes(events().maps[".rodata"].value_size)}).program("print")
