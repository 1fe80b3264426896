"""One blob with every kind of type, for tests that have no witness."""

from __future__ import annotations

from dataclasses import dataclass

from ebpf.btf import Btf, Builder
from ebpf.btf.types import LINKAGE_EXTERN, LINKAGE_GLOBAL, LINKAGE_STATIC, Member


@dataclass(frozen=True)
class Sample:
    btf: Btf
    id: dict[str, int]


def build() -> Sample:
    b, id = Builder(), {}
    id["int"] = b.add_int("int", 4, signed=True)
    id["u8"] = b.add_int("unsigned char", 1)
    id["u32"] = b.add_int("unsigned int", 4)
    id["u64"] = b.add_int("unsigned long", 8)
    id["s64"] = b.add_int("long long", 8, signed=True)
    id["u128"] = b.add_int("unsigned __int128", 16)
    id["s128"] = b.add_int("__int128", 16, signed=True)
    id["char"] = b.add_int("char", 1, signed=True)
    id["bool"] = b.add_int("_Bool", 1, is_bool=True)
    id["float"] = b.add_float("float", 4)
    id["double"] = b.add_float("double", 8)
    id["comm"] = b.add_array(id["char"], 16, id["u32"])
    id["u32[3]"] = b.add_array(id["u32"], 3, id["u32"])
    id["int[2][3]"] = b.add_array(b.add_array(id["int"], 3, id["u32"]), 2, id["u32"])
    id["color"] = b.add_enum("color", [("RED", 0), ("GREEN", 1), ("INFRA", -1)])
    id["big"] = b.add_enum("big", [("SMALL", 1), ("HUGE", 1 << 40)])
    id["pid_t"] = b.add_typedef("pid_t", id["int"])
    id["const pid_t"] = b.add_const(id["pid_t"])
    id["volatile"] = b.add_volatile(id["const pid_t"])
    node = b.reserve()
    id["node *"] = b.add_ptr(node)
    id["node"] = node
    from ebpf.btf.types import Struct

    b.define(node, Struct(0, "node", 16, (Member("next", id["node *"], 0), Member("value", id["u64"], 64))))
    id["plain"] = b.add_struct("plain", 16, [
        Member("pid", id["pid_t"], 0), Member("cpu", id["u32"], 32), Member("ns", id["u64"], 64)])
    anonymous = b.add_union("", 8, [Member("word", id["u64"], 0), Member("parts", b.add_struct("", 8, [
        Member("low", id["u32"], 0), Member("high", id["u32"], 32)]), 0), Member("first", id["u8"], 0)])
    id["event"] = b.add_struct("event", 96, [
        Member("pid", id["const pid_t"], 0),
        Member("flag", id["u32"], 32, 1), Member("level", id["int"], 33, 6), Member("rest", id["u32"], 39, 25),
        Member("comm", id["comm"], 64),
        Member("", anonymous, 192),
        Member("color", id["color"], 256), Member("ok", id["bool"], 288),
        Member("ratio", id["double"], 320),
        Member("at", id["plain"], 384),
        Member("wide", id["s128"], 512),
        Member("three", id["u32[3]"], 640), Member("end", id["u32"], 736)])
    id["fwd"] = b.add_fwd("elsewhere")
    id["restrict"] = b.add_restrict(b.add_ptr(id["fwd"]))
    id["tagged"] = b.add_ptr(b.add_type_tag("user", id["node"]))
    id["proto"] = b.add_func_proto(id["int"], [("ctx", id["restrict"]), ("n", id["u64"])])
    id["func"] = b.add_func("handler", id["proto"], LINKAGE_GLOBAL)
    id["static"] = b.add_func("helper", id["proto"], LINKAGE_STATIC)
    id["unnamed"] = b.add_func_proto(0, [("", id["int"])])
    id["kfunc"] = b.add_func("bpf_kfunc", id["unnamed"], LINKAGE_EXTERN)
    id["var"] = b.add_var("counter", id["u64"], LINKAGE_GLOBAL)
    id["extern"] = b.add_var("CONFIG_HZ", id["int"], LINKAGE_EXTERN)
    id[".bss"] = b.add_datasec(".bss", 8, [(id["var"], 0, 8)])
    id[".kconfig"] = b.add_datasec(".kconfig", 0, [(id["extern"], 0, 4)])
    id[".ksyms"] = b.add_datasec(".ksyms", 0, [(id["kfunc"], 0, 0)])
    id["tag"] = b.add_decl_tag("important", id["event"], 2)
    return Sample(b.build(), id)
