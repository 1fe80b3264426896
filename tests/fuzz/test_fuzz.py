"""One target a reader of what users bring along: objects, types, instructions, packets, C, assembler text."""

from __future__ import annotations

import io
import random
import struct
from functools import cache

from ebpf.abi.programs import ProgType
from ebpf.btf import Btf, BtfExt, format_type
from ebpf.errors import EbpfError, InsnError
from ebpf.isa import assemble, decode, disassemble, encode, format_insn
from ebpf.object import Object, link, read_object
from ebpf.object.static_linker import link_objects
from ebpf.verifier import Options, verify

from ..btf import sample
from ..machine import random_code
from ..verifier.test_random import some_code
from .mutate import CASES, damaged, damaged_text, fuzz

C_TEXT = r"""
#define N 16
#define MIN(a, b) ((a) < (b) ? (a) : (b))
typedef unsigned int u32_t;
struct event { u32 pid; char comm[16]; union { u64 a; struct { u32 b : 5, c : 3; }; }; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __type(key, u32); __type(value, struct event); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
const volatile u32 limit = 8;
static u64 table[N];
enum kind { A, B = 5, C };
static __noinline u64 twice(u64 x, enum kind k) { return k == B ? x * 2 : x; }
SEC("xdp") int parse(struct xdp_md *ctx) {
  unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  if (data + 34 > end) return XDP_PASS;
  u32 sum = 0;
  for (int i = 0; i < N; i++) { sum += data[i] * 3; if (sum > limit) break; }
  struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
  if (!e) return XDP_DROP;
  e->pid = MIN(sum, 7u); e->a = twice(sum, B);
  switch (sum & 3) { case 0: table[0]++; break; case 1: case 2: goto out; default: __sync_fetch_and_add(&table[1], 1); }
out:
  bpf_ringbuf_submit(e, 0);
  return XDP_PASS;
}
SEC("tp/syscalls/sys_enter_openat") int on_open(void *ctx) {
  u32 key = bpf_get_current_pid_tgid() >> 32; struct event zero = {}, *e;
  bpf_get_current_comm(&zero.comm, sizeof(zero.comm));
  e = bpf_map_lookup_elem(&seen, &key);
  if (e) { __sync_fetch_and_add(&e->a, 1); return 0; }
  bpf_map_update_elem(&seen, &key, &zero, BPF_ANY);
  bpf_printk("new %d %s\n", key, zero.comm);
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@cache
def compiled() -> bytes:
    """An object that our own compiler made: programs, functions, maps of several kinds, constants, types and lines."""
    from ebpf.compiler import Options as Compiling, compile_c
    from tests.compiler.test_cache import Facts

    return compile_c(C_TEXT, filename="fuzz.c", facts=Facts(), options=Compiling(dialect="libbpf"))  # type: ignore[arg-type]


@cache
def other() -> bytes:
    """Another one, which shares types with it and defines nothing that it defines."""
    from ebpf.compiler import Options as Compiling, compile_c
    from tests.compiler.test_cache import Facts

    text = '''struct event { u32 pid; char comm[16]; union { u64 a; struct { u32 b : 5, c : 3; }; }; };
extern struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __type(key, u32); __type(value, struct event); } seen SEC(".maps");
SEC("xdp") int look(void *ctx) { u32 key = 1; struct event *e = bpf_map_lookup_elem(&seen, &key); return e ? e->a : 0; }
char LICENSE_TOO[] SEC("license") = "GPL";'''
    return compile_c(text, filename="other.c", facts=Facts(), options=Compiling(dialect="libbpf"))  # type: ignore[arg-type]


@cache
def good() -> Object:
    return read_object(compiled(), "fuzz.o")


def read_all(data: bytes) -> None:
    obj = read_object(data, "fuzz.o")
    for name in [*obj.programs, *obj.functions]:
        linked = link(obj, name)
        try:
            for _ in disassemble(linked.code):
                pass
        except InsnError:
            continue
    repr(obj), obj.events
    if obj.btf is not None:
        for spec in obj.maps.values():
            if spec.value_type_id:
                format_type(obj.btf, spec.value_type_id)


def test_elf() -> None:
    fuzz("elf", lambda rng: damaged(compiled(), rng), read_all)


def test_headers_of_elf() -> None:
    """The tables at its ends are where damage hurts."""

    def inputs(rng: random.Random) -> bytes:
        data = compiled()
        start = struct.unpack_from("<Q", data, 0x28)[0]
        table = damaged(data[start:], rng)
        return damaged(data[:64], rng)[:64].ljust(64, b"\0") + data[64:start] + table if rng.random() < 0.3 else data[:start] + table

    fuzz("elf headers", inputs, read_all)


def test_linking_of_damaged_objects() -> None:
    """A damaged object beside a good one: one object that can be read, or one clear error."""

    def read(data: bytes) -> None:
        read_object(link_objects([("good.o", other()), ("fuzz.o", data)]))

    fuzz("static linker", lambda rng: damaged(compiled(), rng), read)


def test_verification_of_damaged_objects() -> None:
    """Whatever could be read is verified, or refused."""

    def read(data: bytes) -> None:
        obj = read_object(data, "fuzz.o")
        for name in obj.programs:
            verify(obj, name, options=Options(max_insns=3000))

    fuzz("verify", lambda rng: damaged(compiled(), rng), read)


def test_btf() -> None:
    def read(data: bytes) -> None:
        btf = Btf.parse(data)
        for id in range(len(btf)):
            try:
                btf.type(id), btf.size_of(id), format_type(btf, id)
            except EbpfError:
                continue

    seeds = [sample.build().btf.data, good().btf.data]  # type: ignore[union-attr]
    fuzz("btf", lambda rng: damaged(rng.choice(seeds), rng), read)


def test_btf_ext() -> None:
    from ebpf.object import ElfImage

    section = ElfImage.parse(compiled()).get(".BTF.ext")
    btf = good().btf
    assert section is not None and btf is not None
    fuzz("btf.ext", lambda rng: damaged(bytes(section.data), rng), lambda data: BtfExt.parse(data, btf))


def test_bytecode() -> None:
    """Decoded, printed, verified, and run: verified if it is safe, and in any case interpreted with every access checked."""
    from ebpf.machine.raw import RawProgram
    from ebpf.verifier import verify_raw

    def inputs(rng: random.Random) -> bytes:
        seed = some_code(rng) if rng.random() < 0.6 else random_code.program(rng.getrandbits(16))
        return damaged(seed, rng)

    def read(code: bytes) -> None:
        assert encode(decode(code)) == code
        for insn in decode(code):
            format_insn(insn)
        program = RawProgram(code, loops=500, verify=False)
        program.environment.may_goto_budget = 50
        try:
            program.run(bytes(64))
        except EbpfError:
            pass
        verify_raw(code, 64, options=Options(max_insns=3000))
        RawProgram(code, loops=5000, verify=False).run(bytes(64))  # what is verified does not fault, so nothing is caught here

    fuzz("bytecode", inputs, read, cases=2 * CASES)


def _pcap(rng: random.Random) -> bytes:
    packets = [rng.randbytes(rng.choice((0, 1, 14, 60, 300))) for _ in range(rng.randrange(5))]
    head = struct.pack("<IHHiIII", rng.choice((0xA1B2C3D4, 0xA1B23C4D)), 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack("<IIII", 1, 2, len(p), len(p)) + p for p in packets)


def _pcapng(rng: random.Random) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body = body.ljust(-(-len(body) // 4) * 4, b"\0")
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(1, struct.pack("<HHI", 1, 0, 65535) + struct.pack("<HHB3x", 9, 1, rng.choice((6, 9, 0x8A))))
    for _ in range(rng.randrange(4)):
        data = rng.randbytes(rng.choice((0, 14, 60)))
        out += block(6, struct.pack("<IIIII", 0, 1, 2, len(data), len(data)) + data)
    return out


def test_pcap() -> None:
    from ebpf.machine.network import read_pcap

    def inputs(rng: random.Random) -> bytes:
        return damaged((_pcap if rng.random() < 0.5 else _pcapng)(rng), rng)

    fuzz("pcap", inputs, lambda data: list(read_pcap(io.BytesIO(data))), cases=4 * CASES)


def test_c() -> None:
    """The front end: preprocessor, parser, checker."""
    from ebpf.compiler import Options as Compiling
    from ebpf.compiler.pipeline import front_end
    from tests.compiler.test_cache import Facts

    def read(text: str) -> None:
        front_end(text, filename="fuzz.c", facts=Facts(), options=Compiling(dialect="libbpf"))  # type: ignore[arg-type]

    found_before = iter(["int a,"])
    fuzz("c", lambda rng: next(found_before, None) or damaged_text(C_TEXT, rng), read, times=2000)


def test_assembler() -> None:
    text = "\n".join(format_insn(insn) for insn in decode(random_code.program(3))) + "\nl: if r1 s> 0x5 goto l\ncall bpf_ktime_get_ns#5\n"
    fuzz("assembler", lambda rng: damaged_text(text, rng), lambda given: encode(assemble(given)), times=2000)


def test_program_types() -> None:
    """Any code as any type of program."""
    from ebpf.verifier import verify_program
    from ebpf.verifier.program import Program
    from ebpf.verifier.refuse import Refuse

    types = [int(t) for t in vars(ProgType).values() if isinstance(t, ProgType)]

    def read(code: bytes) -> None:
        rng = random.Random(code)
        try:
            verify_program(Program(decode(code), type=rng.choice(types)), Options(max_insns=2000))
        except Refuse:
            pass

    programs = [link(good(), name).code for name in good().programs]
    fuzz("program types", lambda rng: damaged(rng.choice(programs), rng), read, cases=2 * CASES)
