"""Whole programs natively: helpers in Python and what they raise, threads, callbacks, timers, packets, probe reads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import cache
from typing import Any

import pytest

from ebpf import isa
from ebpf.errors import InternalError, MachineFault, NotSupported, UsageError
from ebpf.machine import Clock, Environment, Machine, RawProgram, Task
from ebpf.machine.native.lifter import lift
from ebpf.machine.native.program import NativeProgram
from ebpf.object import Object, read_object
from tests.machine.test_compiled import packets

pytest.importorskip("llvmlite")

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u64); __type(value, __u64); } table SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } by_cpu SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64[5]); } answers SEC(".maps");
__u64 total, bytes_of[256];
const volatile __u64 step = 3;

struct args { __u64 n; __u64 sum; };
static long add(__u32 index, void *ctx) { struct args *a = ctx; a->sum += index * a->n; return a->sum > 1000000; }
static long visit(void *map, __u64 *key, __u64 *value, void *ctx) { struct args *a = ctx; a->sum += *key * 1000 + *value; return 0; }

SEC("syscall") int looped(__u64 *ctx)
{
    struct args a = { .n = 7 };
    long rounds = bpf_loop(100, add, &a, 0);
    ctx[0] = rounds;
    ctx[1] = a.sum;
    return 0;
}

SEC("syscall") int each(__u64 *ctx)
{
    struct args a = {};
    ctx[0] = bpf_for_each_map_elem(&table, visit, &a, 0);
    ctx[1] = a.sum;
    return 0;
}

SEC("syscall") int mapped(__u64 *ctx)
{
    __u64 key = ctx[0] & 31, one = 1, *value = bpf_map_lookup_elem(&table, &key);
    __u32 index = key & 7, zero = 0;
    if (value)
        __sync_fetch_and_add(value, step);
    else
        bpf_map_update_elem(&table, &key, &one, BPF_NOEXIST);
    if (key == 31)
        bpf_map_delete_elem(&table, &key);
    value = bpf_map_lookup_elem(&counts, &index);
    if (value)
        *value += key;
    value = bpf_map_lookup_elem(&by_cpu, &zero);
    if (value)
        *value += 1;
    total += key;
    bytes_of[key] += 1;
    __u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);
    if (record) {
        record[0] = key;
        record[1] = total;
        if (key & 1)
            bpf_ringbuf_submit(record, 0);
        else
            bpf_ringbuf_discard(record, 0);
    }
    return key;
}

SEC("raw_tp/told") int told(void *ctx)
{
    __u32 zero = 0;
    __u64 *out = bpf_map_lookup_elem(&answers, &zero);
    if (!out)
        return 1;
    out[0] = bpf_get_current_pid_tgid();
    out[1] = bpf_get_current_uid_gid();
    out[2] = bpf_get_smp_processor_id();
    out[3] = bpf_ktime_get_ns();
    out[4] = bpf_get_prandom_u32();
    return 0;
}

SEC("syscall") int printed(__u64 *ctx)
{
    static const char format[] = "%d";
    for (int i = 0; i < 3; i++)
        bpf_trace_printk(format, sizeof(format), i);
    ctx[0] = 1;
    return 7;
}

static __attribute__((noinline)) int deeper(__u64 n) { static const char format[] = "%d"; bpf_trace_printk(format, sizeof(format), n); return n + 1; }
SEC("syscall") int in_a_function(__u64 *ctx) { ctx[0] = deeper(ctx[1]); return 1; }

SEC("syscall") int probed(__u64 *ctx)
{
    __u64 here = 42, there = 0;
    ctx[0] = bpf_probe_read_kernel(&there, 8, &here);
    ctx[1] = there;
    ctx[2] = bpf_probe_read_kernel(&there, 8, (void *)ctx[4]);
    ctx[3] = there;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
CONTEXT = 40


@cache
def obj() -> Object:
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts

    return read_object(compile_c(SOURCE, filename="native.c", facts=SystemFacts(), options=Options(dialect="libbpf")), "native")


def words(context: bytes) -> list[int]:
    return [int.from_bytes(context[n:n + 8], "little") for n in range(0, CONTEXT, 8)]


def context(*numbers: int) -> bytes:
    return b"".join(n.to_bytes(8, "little") for n in numbers).ljust(CONTEXT, b"\0")


def pair(**options: Any) -> tuple[Machine, Machine]:
    return Machine(obj(), **options), Machine(obj(), engine="jit", **options)


class Stopped(Clock):
    def monotonic_ns(self) -> int:
        return 99


def answers(machine: Machine) -> list[int]:
    machine.run("told", cpu=1)
    return words(machine.maps["answers"].lookup(bytes(4)) or b"")


def test_what_a_program_is_told() -> None:
    """By Python where the caller has a clock, a task, a seed of his own; else natively."""
    interpreter, native = pair(cpus=2, seed=4, task=Task(pid=3, tid=4, uid=5, gid=6), clock=Stopped())
    for _ in range(3):
        assert answers(native) == answers(interpreter)
    assert answers(native)[:4] == [3 << 32 | 4, 6 << 32 | 5, 1, 99]


@pytest.mark.parametrize("name", ["looped", "each"])
def test_same_context_afterwards(name: str) -> None:
    for machine in (both := pair(cpus=2)):
        for n in range(6):
            machine.maps["table"].update(n.to_bytes(8, "little"), (n * 3).to_bytes(8, "little"))
    interpreter, native = both
    expected, found = (m.run(name, ctx=context(), cpu=1) for m in (interpreter, native))
    assert words(found.context) == words(expected.context) and found.result == expected.result
    assert any(words(found.context))


def test_maps_are_shared_with_python() -> None:
    interpreter, native = pair(cpus=2)
    for n in range(200):
        ctx = context(n * 7 % 37)
        assert native.run("mapped", ctx=ctx, cpu=n & 1).result == interpreter.run("mapped", ctx=ctx, cpu=n & 1).result
    for name in ("counts", "table", "by_cpu", ".bss"):
        a, b = interpreter.maps[name].read_all(), native.maps[name].read_all()
        size = len(a.values) // a.count

        def rows(bulk: Any, name: str = name, size: int = size) -> dict[bytes, bytes]:
            k = native.maps[name].key_size
            return {bytes(bulk.keys[k * n:k * n + k]): bytes(bulk.values[size * n:size * n + size]) for n in range(bulk.count)}

        assert rows(a) == rows(b) and any(a.values)
    assert native.maps["ring"].drain() == interpreter.maps["ring"].drain() != []  # type: ignore[attr-defined]


def test_look_ups_and_what_is_told_need_no_python() -> None:
    native = Machine(obj(), engine="jit")
    for name in ("mapped", "looped"):
        program = native.program(name)
        assert isinstance(program, NativeProgram)
        assert not program.native.lifted.sites


def test_time_and_random_numbers_are_real_without_wishes() -> None:
    import time

    native = Machine(obj(), engine="jit", cpus=2)
    before = time.monotonic_ns()
    first, second = answers(native), answers(native)
    assert before <= first[3] <= second[3] <= time.monotonic_ns()
    assert first[4] != second[4] and max(first[4], second[4]) < 1 << 32


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), MachineFault("stop")], ids=repr)
@pytest.mark.parametrize("name", ["printed", "in_a_function"])
def test_what_a_helper_raises_ends_the_program_at_once(error: BaseException, name: str) -> None:
    native = Machine(obj(), engine="jit")
    lines = []

    def on_print(line: str) -> None:
        lines.append(line)
        raise error

    native.environment.on_print = on_print
    with pytest.raises(type(error)) as caught:
        native.run(name, ctx=context(0, 5))
    assert caught.value is error and len(lines) == 1
    if isinstance(error, MachineFault):
        assert error.slot is not None and "trace_printk" in str(error)
        error.slot = None
        error.notes = ()
    native.environment.on_print = None
    assert native.run(name, ctx=context(0, 5)).result in (1, 7)  # and it can run again


def test_ctrl_c_in_a_helper_arrives() -> None:
    import signal

    native = Machine(obj(), engine="jit")
    native.environment.on_print = lambda line: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(100):
            native.run("printed", ctx=context())
    native.environment.on_print = None
    assert native.run("printed", ctx=context()).result == 7


def test_threads_take_turns_in_one_machine() -> None:
    native = Machine(obj(), engine="jit")
    code = isa.encode(isa.assemble("r0 = 0\nr3 = 0\nagain: r4 = *(u64 *)(r1 +0)\nr4 += 1\n*(u64 *)(r1 +0) = r4\nr3 += 1\nif r3 < 1000 goto again\nexit"))
    raw, block = RawProgram(code, engine="jit"), bytearray(8)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                raw.run(block)
                native.run("printed", ctx=context())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert int.from_bytes(block, "little") == 4 * 50 * 1000
    assert len(native.printed) == 4 * 50 * 3


def test_probe_reads_reach_the_stack_and_nothing_else_of_the_process() -> None:
    import ctypes

    secret = ctypes.create_string_buffer(b"secret!!")
    native = Machine(obj(), engine="jit")
    for address in (ctypes.addressof(secret), 0, 8, 0xFFFF_8000_0000_0000, 0x7FFF_FFFF_F000, 1 << 46):
        found = words(native.run("probed", ctx=context(0, 0, 0, 0, address)).context)
        assert found[:2] == [0, 42]
        assert found[2] >> 63 and not found[3]


def test_helpers_that_need_a_kernel_refuse_by_name_with_their_place() -> None:
    from tests.machine.test_machine import events

    with pytest.raises(NotSupported) as caught:
        Machine(events(), engine="jit").run("needs_a_kernel", bytes(64))
    assert "slot" in str(caught.value)


def test_nothing_unverified_becomes_native() -> None:
    with pytest.raises(UsageError, match="not verified"):
        Machine(obj(), engine="jit", verify=False)
    program = Machine(obj(), engine="jit").program("looped")
    program.verified = None
    with pytest.raises(UsageError, match="not verified"):
        program.call(0)
    with pytest.raises(UsageError, match="real addresses"):
        RawProgram(isa.encode(isa.assemble("r0 = 0\nexit")), engine="jit", environment=Environment())
    with pytest.raises(AttributeError):
        lift(b"\x95" + bytes(7))  # type: ignore[arg-type]


def test_a_batch_is_what_single_runs_are() -> None:
    import ebpf

    text = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    SEC("xdp") int count(struct xdp_md *ctx) {
        unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        if (data + 20 > end) return ctx->ingress_ifindex;
        data[15] ^= 0x5a;
        return data[12] * 256 + data[13] + (end - data);
    }
    SEC("tc") int tc(struct __sk_buff *skb) { skb->mark = skb->protocol; return skb->len + skb->pkt_type + skb->ifindex + skb->mark; }
    SEC("socket") int sock(struct __sk_buff *skb) { return skb->len * 4 + skb->pkt_type; }
    SEC("xdp") int moves(struct xdp_md *ctx) { bpf_xdp_adjust_head(ctx, -14); return ctx->data_end - ctx->data; }
    char LICENSE[] SEC("license") = "GPL";
    """
    built = ebpf.compile(text)
    interpreter, native = Machine(built), Machine(built, engine="jit")
    frames = packets(200)
    for name in ("count", "tc", "sock", "moves"):
        expected, found = interpreter.run_many(name, frames, keep=True), native.run_many(name, frames, keep=True)
        assert list(found.results) == list(expected.results)
        assert found.packets == expected.packets
        assert list(found.results) == [native.run(name, frame).result for frame in frames]
        assert not native.run_many(name, []).results


def test_a_death_of_llvm_is_one_error_and_no_crash() -> None:
    """A child process whose code generator is killed under it: one InternalError, the interpreter still works."""
    script = """
import os, signal
from ebpf import isa
from ebpf.errors import InternalError
from ebpf.machine import run_raw
from ebpf.machine.native import codegen
code = isa.encode(isa.assemble("r0 = 5\\nexit"))
assert run_raw(code, engine="jit") == 5
os.kill(codegen._child.pid, signal.SIGKILL)
try:
    run_raw(isa.encode(isa.assemble("r0 = 6\\nexit")), engine="jit")
except InternalError as error:
    print("InternalError", "SIGKILL" in str(error))
print(run_raw(code), run_raw(code, engine="jit"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env={**os.environ, "EBPF_CACHE_DIR": ""})
    assert (done.returncode, done.stdout.split()) == (0, ["InternalError", "True", "5", "5"]), done.stderr
    assert InternalError.__name__ in done.stdout


def test_memory_cannot_move_while_it_is_used() -> None:
    """A block, resized by somebody while the program that works on it is in a helper."""
    block = bytearray(64)
    raw = RawProgram(isa.encode(isa.assemble("r6 = r1\nr1 = 0\ncall bpf_ktime_get_tai_ns\n*(u64 *)(r6 +0) = r0\nr0 = 0\nexit")), engine="jit")

    class Resizing(Clock):
        def tai_ns(self) -> int:
            with pytest.raises(BufferError):
                block.extend(bytes(1 << 20))
            return 5

    raw.environment.clock = Resizing()
    raw.run(block)
    assert block[:8] == b"\x05" + bytes(7)
    block.extend(b"afterwards it may")


@pytest.mark.parametrize("size", ["u8", "u16", "u32"])
def test_legacy_packet_loads(size: str) -> None:
    """By offset and register, relative to headers (negative), and past the end, where the program ends with 0."""
    from ebpf.abi.programs import ProgType
    from ebpf.machine.image import Image
    from ebpf.machine.interpreter import Program
    from ebpf.machine.native.space import NativeSpace
    from ebpf.machine.packets import Packet
    from ebpf.verifier import verify_program
    from ebpf.verifier.program import Program as Prepared

    data = bytes(range(100, 160)) + bytes(20)
    net, link = -0x100000, -0x200000
    for offset in (0, 1, 13, 62, 63, 64, 66, 1000, net, net + 3, net + 66, link, link + 12, link + 80, link - 5):
        for text in (f"r0 = *({size} *)skb[{offset}]", f"r7 = {offset}\nr0 = *({size} *)skb[r7 + 1]"):
            code = isa.encode(isa.assemble(f"r6 = r1\n{text}\nr0 += 1\nexit"))
            verified = verify_program(Prepared(isa.decode(code), type=int(ProgType.SOCKET_FILTER), name="legacy"))
            results = []
            for space, made in ((None, Program), (NativeSpace(), NativeProgram)):
                environment = Environment(space=space)
                program: Program = made(Image(code), environment, type=int(ProgType.SOCKET_FILTER), verified=verified)
                packet = environment.packet = Packet(environment, ProgType.SOCKET_FILTER, data)
                context = environment.space.show(environment.space.reserve("the context"), packet.context)
                results.append(program.call(context))
            assert results[0] == results[1], text


def test_a_tail_call_stays_within_a_type() -> None:
    import ebpf

    text = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } next SEC(".maps");
    __u64 count;
    SEC("xdp") int again(struct xdp_md *ctx) { count++; bpf_tail_call(ctx, &next, 0); return 40 + count; }
    SEC("xdp") int other(struct xdp_md *ctx) { bpf_tail_call(ctx, &next, 1); return 7; }
    SEC("tc") int tc(struct __sk_buff *skb) { return skb->len; }
    char LICENSE[] SEC("license") = "GPL";
    """
    built = ebpf.compile(text)
    found = []
    for engine in ("interpreter", "jit"):
        machine = Machine(built, engine=engine)
        assert machine.run("other", bytes(64)).result == 7
        machine.maps["next"].update(bytes(4), machine.program("again").id.to_bytes(4, "little"))
        found.append(machine.run("again", bytes(64)).result)
    assert found == [40 + 34, 40 + 34]
    machine.maps["next"].update((1).to_bytes(4, "little"), machine.program("tc").id.to_bytes(4, "little"))
    with pytest.raises(MachineFault, match="another type"):
        machine.run("other", bytes(64))
