"""``ebpf prog``: programs in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._kinds import add_actions, holders_text, need_which, translated_lines
from ebpf.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, "program", ("list", "show", "dump", "profile"),
                "an id, a name, or the path where it is pinned")
    parser.add_argument("--metrics", metavar="NAME,NAME", default="cycles,instructions",
                        help="profile: what to count, by perf(1)'s names (cycles,instructions)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", default=3.0, help="profile: how long (3)")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list(args)
    if args.action == "profile":
        return _profile(args)
    with ebpf.inventory.program(need_which(args, "prog")) as program:
        info = program.info()
        if args.action == "dump":
            code = program.xlated()
            if not code:
                raise ebpf.PrivilegeError("bpf(BPF_OBJ_GET_INFO_BY_FD)", needs=("CAP_SYS_ADMIN",),
                                          message="the kernel hides the instructions from this user")
            for line in translated_lines(code):
                print(line)
            return 0
        held_by = ebpf.inventory.holders(but_us=True).get(("program", info.id), ())
        fields = {**info._asdict(), "type": info.type_name, "run_time_ns": info.run_time_ns,
                  "held_by": [f"{command}({pid})" for pid, command in held_by]}
        if args.json:
            print_json(fields)
        else:
            for name, value in fields.items():
                text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
                print(f"{name:16} {text}".rstrip())
    return 0


def _list(args: argparse.Namespace) -> int:
    infos = list(ebpf.inventory.programs())
    if args.json:
        print_json([{**i._asdict(), "type": i.type_name} for i in infos])
        return 0
    holders = ebpf.inventory.holders(but_us=True)
    print_table(("id", "type", "name", "tag", "insns", "maps", "held by"), (
        (i.id, i.type_name, i.name, i.tag, i.xlated_bytes // 8, ",".join(map(str, i.map_ids)),
         holders_text(holders, "program", i.id)) for i in infos), "no programs are loaded")
    return 0


def _profile(args: argparse.Namespace) -> int:
    from time import sleep

    metrics = [name for name in args.metrics.split(",") if name]
    with ebpf.inventory.profile(need_which(args, "prog"), metrics) as profiler:
        try:
            sleep(max(0.0, args.duration))
        except KeyboardInterrupt:
            pass
        profile = profiler.read()
    if args.json:
        print_json(profile)
        return 0
    print(f"{profile.program}: {profile.runs} runs")
    print_table(("metric", "count", "for a run", "counted"), (
        (m.name, m.total, f"{m.total / profile.runs:.1f}" if profile.runs else "-", f"{m.share:.0%} of the time")
        for m in profile.metrics), "nothing was counted")
    return 0
