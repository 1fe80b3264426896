"""Where `ebpf run` attaches an object's programs: by their sections, and by options for what those leave open."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import ebpf

if TYPE_CHECKING:
    import argparse

_CGROUP_TYPES = ("SOCK_OPS",)
_SOCKMAPS = ("SOCKMAP", "SOCKHASH")
_SAMPLES_HZ = 99


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--pid", type=int, metavar="PID",
                        help="uprobes, tracepoints, perf events: in this process only")
    parser.add_argument("--device", metavar="NAME",
                        help="attach XDP, tc, netkit, socket and lwt programs to this network device")
    parser.add_argument("--cgroup", metavar="PATH", help="attach cgroup programs to this control group")
    parser.add_argument("--network", metavar="NET", help="lwt programs: the route (10.9.0.0/24) whose packets they see")
    parser.add_argument("--hook", metavar="HOOK", help="netfilter programs: prerouting, input, forward, output or "
                                                       "postrouting")
    parser.add_argument("--priority", type=int, default=0, metavar="N", help="netfilter programs: lower ones first")


def attach(session: ebpf.Session, args: argparse.Namespace) -> None:
    """Attach all, or raise; what only runs once (iterators, syscall programs) runs."""
    device = args.device or ("eth0" if session.backend == "machine" else None)
    programs = list(session.programs.values())
    xdp = [p for p in programs if p.type.name == "XDP" and not p.section.endswith(("/cpumap", "/devmap"))]
    once = False
    by_section = []
    for program in programs:
        kind = program.type.name
        if kind == "XDP":
            if program in xdp:
                place = _need(device, program, "a network device", "--device eth0")
                if len(xdp) > 1 and session.backend == "kernel":
                    program.attach_xdp(place, chain=10 * xdp.index(program))
                else:
                    program.attach_xdp(place)
        elif kind == "SCHED_CLS":
            _attach_tc(program, _need(device, program, "a network device", "--device eth0"))
        elif kind.startswith("CGROUP") or kind in _CGROUP_TYPES or program.section.startswith("lsm_cgroup"):
            program.attach_cgroup(_need(args.cgroup, program, "a control group", "--cgroup /sys/fs/cgroup/NAME"))
        elif kind in ("SK_LOOKUP", "FLOW_DISSECTOR"):
            program.attach_netns()
        elif kind in ("SK_MSG", "SK_SKB"):
            program.attach_sockmap(_sockmap(session, program))
        elif kind == "NETFILTER":
            program.attach_netfilter(_need(args.hook, program, "a hook", "--hook input"), priority=args.priority)
        elif kind.startswith("LWT_"):
            program.attach_lwt(_need(args.network, program, "a route", "--network 10.9.0.0/24 --device eth0"),
                               _need(device, program, "a network device", "--device eth0"))
        elif kind == "SOCKET_FILTER" and device:
            program.attach_raw_socket(device)
        elif kind == "PERF_EVENT" and session.backend == "kernel":
            program.attach_perf_event("cpu-clock", frequency=_SAMPLES_HZ, pid=args.pid)
        elif program.section.partition("/")[0] in ("iter", "iter.s"):
            sys.stdout.flush()
            sys.stdout.buffer.write(program.read_iterator())
            once = True
        elif kind == "SYSCALL":
            print(f"{program.name}: {program.test_run().result}")
            once = True
        elif kind == "STRUCT_OPS" or (args.pid is not None and _attach_to_process(program, args.pid)):
            continue
        else:
            by_section.append(program)
    for map in session.maps.values():
        if map.type.name == "STRUCT_OPS":
            session.attach_struct_ops(map.name)
    for program in by_section:
        if program.spec is not None and program.spec.info is not None and program.spec.info.auto_attach:
            program.attach()
    if by_section and not session.links and not once:
        session.attach()  # says why there is none to attach


def _need(given: str | None, program: ebpf.Program, what: str, option: str) -> str:
    if given is None:
        raise ebpf.UsageError(f"program {program.name!r} wants {what}", helps=(option,))
    return given


def _attach_tc(program: ebpf.Program, device: str) -> None:
    kind, _, side = program.section.partition("/")
    if kind == "netkit":
        program.attach_netkit(device, side)
        return
    side = "egress" if side == "egress" else "ingress"
    try:
        program.attach_tcx(device, side)
    except ebpf.NotSupported:
        if program._session.backend != "kernel":
            raise
        program.attach_tc(device, side)


def _sockmap(session: ebpf.Session, program: ebpf.Program) -> ebpf.Map:
    found = [map for map in session.maps.values() if map.type.name in _SOCKMAPS]
    if len(found) != 1:
        raise ebpf.UsageError(f"program {program.name!r} belongs to a sockmap, and the object has {len(found)}",
                              helps=("attach it from Python: program.attach_sockmap(map)",))
    return found[0]


def _attach_to_process(program: ebpf.Program, pid: int) -> bool:
    """Attach it to that process alone, if it is of a kind that can be."""
    kind, _, target = program.section.partition("/")
    if kind.split(".")[0] in ("uprobe", "uretprobe") and ":" in target:
        binary, _, symbol = target.rpartition(":")
        if ".multi" in kind or ".session" in kind:
            program.attach_uprobes(binary, symbol, retprobe=kind.startswith("uret"), pid=pid)
            return True
        attach = program.attach_uretprobe if kind.startswith("uret") else program.attach_uprobe
        symbol, _, offset = symbol.partition("+")
        attach(binary, symbol, offset=int(offset, 0) if offset else 0, pid=pid)
    elif kind in ("tracepoint", "tp") and "/" in target:
        program.attach_tracepoint(*target.split("/", 1), pid=pid)
    else:
        return False
    return True
