"""From an object's program to a `Program`: code linked and relocated, maps, variables and functions resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.btf.types import FuncProto, Int, Kind, Ptr, Struct, Union
from ebpf.errors import RelocationError, UsageError
from ebpf.isa import decode
from ebpf.object import link
from ebpf.verifier.program import MapInfo, Program, Reference

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.object import Object
    from ebpf.object.linker import Linked
    from ebpf.verifier.options import Options

_GPL = frozenset(("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"))


def link_for(obj: Object, name: str, options: Options) -> Linked:
    """The program ``name`` linked, its CO-RE relocations answered by the kernel's types if there are any."""
    linked = link(obj, name)
    if linked.core_relos and obj.btf is not None and options.kernel_btf is not None:
        from ebpf.btf import relocate

        code, _ = relocate(linked.code, linked.core_relos_by_bytes(), obj.btf, [options.kernel_btf])
        linked = linked._replace(code=code)
    return linked


def prepare(obj: Object, name: str, linked: Linked, options: Options) -> Program:
    """The program ``name`` of the object, ready to be verified. `UsageError`, `RelocationError`."""
    spec = obj.programs.get(name) or obj.functions[name]
    if spec.type is None:
        raise UsageError(
            f"`{name}` has no program type: the name of its section ({spec.section!r}) says none",
            helps=('put it into a section such as SEC("xdp")',),
        )
    infos = {n: MapInfo.of(m, obj.btf) for n, m in obj.maps.items()}
    references: dict[int, Reference] = {}
    kfuncs: dict[int, str] = {}
    for slot, kind, symbol, addend in linked.relocations:
        if kind == "kfunc":
            kfuncs[slot] = symbol
        elif kind == "map":
            references[slot] = Reference("map", infos[symbol])
        elif kind == "data":
            references[slot] = Reference("value", infos[symbol], addend)
        elif kind == "kconfig":
            references[slot] = Reference("value", infos[".kconfig"], addend + obj.externs[symbol].offset)
        elif kind == "ksym":
            references[slot] = _variable(obj, symbol, options.kernel_btf)
        else:
            raise RelocationError(f"`{name}` uses `{symbol}`, which is defined nowhere")
    insns = decode(_with_kfuncs(linked.code, kfuncs))
    functions = {**obj.functions, **obj.programs}
    names = dict(linked.functions)
    globals_at = frozenset(slot for slot, n in linked.functions if slot and functions[n].is_global)
    program = Program(
        insns,
        type=spec.type,
        attach_type=spec.expected_attach_type or 0,
        references=references,
        kfuncs=kfuncs,
        name=name,
        names=names,
        globals_at=globals_at,
        gpl=obj.license in _GPL,
        sleepable=spec.sleepable,
        attach_to=spec.attach_to,
        btf=obj.btf,
        kernel_btf=options.kernel_btf,
    )
    for sub in program.subprogs:
        if sub.is_global and obj.btf is not None:
            _read_prototype(obj.btf, sub.name, sub)
    return program


def _with_kfuncs(code: bytes, kfuncs: dict[int, str]) -> bytes:
    """Calls of kernel functions marked as such: the compiler leaves them as calls of nothing."""
    if not kfuncs:
        return code
    out = bytearray(code)
    for slot in kfuncs:
        out[slot * 8 + 1] = out[slot * 8 + 1] & 15 | 2 << 4
        out[slot * 8 + 2 : slot * 8 + 8] = bytes(6)
    return bytes(out)


def _variable(obj: Object, symbol: str, kernel: Btf | None) -> Reference:
    """A variable of the kernel: memory that may be read, by its type where the kernel's types are known."""
    extern = obj.externs[symbol]
    if extern.is_function or not extern.type_id or obj.btf is None or not obj.btf.resolve(extern.type_id):
        return Reference("number", symbol=symbol)
    found = kernel.find(symbol, kind=Kind.VAR) if kernel is not None else None
    if kernel is not None and found is not None:
        target = kernel.resolve(kernel.type(found).type)  # type: ignore[union-attr]
        if kernel.kind(target) == Kind.STRUCT:
            return Reference("variable", symbol=symbol, target=(kernel, target))
    return Reference("variable", offset=obj.btf.size_of(extern.type_id), symbol=symbol)


def _read_prototype(btf: Btf, name: str, sub: object) -> None:
    """The parameters of a global function: what a caller must pass, and what the function may rely on."""
    id = btf.find(name, kind=Kind.FUNC)
    proto = btf.type(btf.type(id).type) if id is not None else None  # type: ignore[union-attr]
    if not isinstance(proto, FuncProto):
        return
    params: list[tuple[str, int]] = []
    for param in proto.params[:5]:
        found = btf.resolved(param.type)
        if isinstance(found, Ptr):
            inner = btf.resolved(found.type) if found.type else None
            if inner is None or (isinstance(inner, Struct) and inner.name in _CONTEXTS):
                params.append(("ctx", 0))
            else:
                params.append(
                    ("memory", btf.size_of(inner.id) if isinstance(inner, (Struct, Union, Int)) or inner.id else 8)
                )
        else:
            params.append(("number", 8))
    sub.params = tuple(params)  # type: ignore[attr-defined]
    sub.void = proto.type == 0  # type: ignore[attr-defined]


_CONTEXTS = frozenset(
    """__sk_buff xdp_md pt_regs bpf_user_pt_regs_t bpf_sock bpf_sock_addr bpf_sock_ops sk_msg_md bpf_perf_event_data
bpf_cgroup_dev_ctx bpf_sysctl bpf_sockopt sk_reuseport_md bpf_sk_lookup bpf_raw_tracepoint_args bpf_nf_ctx""".split()
)
