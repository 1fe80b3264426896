"""The contract of each hook, as a table: which program, how it is attached, what makes it run, what its link can do.

`check` runs a row on this kernel: load, attach, run; then the link is listed, pinned (and runs on, pinned), its program
changed in place, detached (and runs no more); last a test run. What a row does not list may say `NotSupported`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import ebpf
from ebpf.errors import EbpfError, KernelError, NotSupported
from tests.kernel.contract import triggers as t

SOURCE = Path(__file__).parents[1] / "programs" / "hooks.c"
_PATIENCE_S = 5.0
STEPS = ("attach", "list", "pin", "update", "detach", "test run")


class World:
    """What a row may use: the session, where to pin, a control group that we are in, things to be closed."""

    def __init__(self, session: ebpf.Session, stack: ExitStack, group: str | None) -> None:
        self.session = session
        self.stack = stack
        self.group = group
        self.word = ctypes.c_uint64(0)

    @property
    def cgroup(self) -> str:
        if self.group is None:
            raise NotSupported("version 2 control groups")
        return self.group


Attach = Callable[[World, Any], Any]
Trigger = Callable[[], None]


class Row(NamedTuple):
    """`has`: steps that must work where the hook does. `wide`: seen by the whole machine, so in guests alone."""

    name: str
    attach: Attach
    trigger: Trigger | Callable[[World], Trigger]
    has: str
    data: bytes | None = None
    context: bytes = b""
    wide: bool = False
    needs_world: bool = False


def by_section(world: World, program: Any) -> Any:
    return program.attach()


def on(method: str, *arguments: Any, **details: Any) -> Attach:
    return lambda world, program: getattr(program, method)(*arguments, **details)


def group(world: World, program: Any) -> Any:
    return program.attach_cgroup(world.cgroup)


def own_uprobe(world: World, program: Any) -> Any:
    return program.attach_uprobe("c", "getpgid", pid=os.getpid())


def own_uretprobe(world: World, program: Any) -> Any:
    return program.attach_uretprobe("c", "getpgid", pid=os.getpid())


def own_uprobes(world: World, program: Any) -> Any:
    return program.attach_uprobes("c", "getpgi*", pid=os.getpid())


def sampled(world: World, program: Any) -> Any:
    return program.attach_perf_event("cpu-clock", frequency=1000, pid=os.getpid())


def counted(world: World, program: Any) -> Any:
    return program.attach_perf_event("cycles", period=100000, pid=os.getpid())


def group_sampled(world: World, program: Any) -> Any:
    return program.attach_perf_event("cpu-clock", frequency=1000, cgroup=world.cgroup)


def watched(world: World, program: Any) -> Any:
    return program.attach_watchpoint(ctypes.addressof(world.word), length=8, mode="w", pid=os.getpid())


def write_word(world: World) -> Trigger:
    def write() -> None:
        world.word.value += 1

    return write


def reuseport(world: World, program: Any) -> Any:
    sock, send = t.shared_port()
    world.stack.callback(sock.close)
    world.send = send  # type: ignore[attr-defined]
    program.attach_reuseport(sock)


def sent(world: World) -> Trigger:
    return world.send  # type: ignore[attr-defined, no-any-return]


def filtered(world: World, program: Any) -> Any:
    import socket

    sock = world.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    program.attach_socket(sock)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"hello", sock.getsockname())

    world.send = send  # type: ignore[attr-defined]


def sockmap(world: World, program: Any) -> Any:
    socks = world.session.maps["socks"]
    link = program.attach_sockmap(socks)
    one, other = t.connection(world.stack)
    target = one if program.type.name == "SK_MSG" else other
    if program.name == "sk_skb_parser":  # a parser alone does nothing: something must want what it cuts
        verdict = world.session.load_program("sk_skb_verdict")
        verdict.attach_sockmap(socks)
    socks.raw.update(struct.pack("@I", 0), struct.pack("@Q", target.fileno()))
    world.send = lambda: t.talk(one, other)  # type: ignore[attr-defined]
    return link


def through_cpu(world: World, program: Any) -> Any:
    world.session.maps["cpus"].raw.update(bytes(4), struct.pack("@Ii", 64, program.fileno()))
    return world.session.load_program("xdp_to_cpu").attach_xdp("v1")


def through_device(world: World, program: Any) -> Any:
    import socket

    index = socket.if_nametoindex("v1")
    world.session.maps["devices"].raw.update(bytes(4), struct.pack("@Ii", index, program.fileno()))
    # generic: so that the far side of the cable need not be ready for redirected frames
    return world.session.load_program("xdp_to_device").attach_xdp("v1", flags=2)


def on_netkit(world: World, program: Any) -> Any:
    from ebpf.kernel import netlink

    make = netlink.attribute(3, b"nk0\0") + netlink.attribute(18, netlink.attribute(1, b"netkit"))
    try:  # not every `ip` knows them
        netlink.request(16, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + make, 0x600)
    except OSError as error:
        raise NotSupported("netkit devices here", since="6.7", instead="CONFIG_NETKIT") from error
    subprocess.run("ip link set nk0 up; for d in nk1 nk2; do ip link set $d up 2>&1; done; ip addr add 10.78.0.1/24 dev nk0; "
                   "ip neigh add 10.78.0.2 lladdr 02:00:00:00:00:02 dev nk0", shell=True, capture_output=True)
    return program.attach_netkit("nk0")


def to_netkit() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"hello", ("10.78.0.2", 9))
        except OSError:
            pass


def replaced(world: World, program: Any) -> Any:
    asks = world.session.load_program("asks")
    program_ = world.session.load_program("freplace", target=asks)
    world.send = lambda: asks.test_run(t.FRAME)  # type: ignore[attr-defined]
    return program_.attach_tracing()


def self_tested(world: World) -> Trigger:
    """bpf_fentry_test1 and its like are called by a test run of a tracing program, and by nothing else."""
    program = world.session.programs.get("fentry") or world.session.load_program("fentry")
    return lambda: program.test_run()  # type: ignore[return-value]


def a_load(world: World) -> Trigger:
    from ebpf.kernel import programs
    from tests.kernel import code

    return lambda: programs.load_program(code.returns(0), type=1).close()


LINK = "attach list pin detach"
SWAP = "attach list pin update detach"
PACKET = bytes(14) + t.FRAME[14:]


def cgroup_row(name: str, trigger: Trigger, data: bytes | None = None) -> Row:
    return Row(name, group, trigger, SWAP + (" test" if data is not None else ""), data)


ROWS = (
    Row("kprobe", by_section, t.getpgid, "attach detach", wide=True),
    Row("kretprobe", by_section, t.getpgid, "attach detach", wide=True),
    Row("kprobe_multi", by_section, t.getpgid, LINK, wide=True),
    Row("kretprobe_multi", by_section, t.getpgid, LINK, wide=True),
    Row("kprobe_session", by_section, t.getpgid, LINK, wide=True),
    Row("tracepoint", by_section, t.fork, "attach detach", wide=True),
    Row("raw_tracepoint", by_section, t.fork, "attach list detach test", b"", bytes(16), wide=True),
    Row("btf_tracepoint", by_section, t.fork, "attach list detach", wide=True),
    Row("fentry", by_section, self_tested, "attach list detach test", b"", wide=True, needs_world=True),
    Row("fexit", by_section, self_tested, "attach list detach test", b"", wide=True, needs_world=True),
    Row("fmod_ret", by_section, a_load, "attach list detach", wide=True, needs_world=True),
    Row("lsm", by_section, a_load, "attach list detach", wide=True, needs_world=True),
    Row("uprobe", own_uprobe, t.getpgid, "attach detach"),
    Row("uretprobe", own_uretprobe, t.getpgid, "attach detach"),
    Row("uprobe_multi", own_uprobes, t.getpgid, LINK),
    Row("uprobe_session", own_uprobes, t.getpgid, LINK),
    Row("perf_event", sampled, t.burn, "attach detach"),
    Row("perf_event: hardware counter", counted, t.burn, "attach detach"),
    Row("perf_event: control group", group_sampled, t.burn, "attach detach"),
    Row("perf_event: breakpoint", watched, write_word, "attach detach", needs_world=True),
    Row("socket_filter", filtered, sent, "attach test", PACKET, needs_world=True),
    Row("reuseport", reuseport, sent, "attach", needs_world=True),
    Row("xdp", on("attach_xdp", "v1"), t.frame, SWAP + " test", PACKET),
    Row("xdp: generic", on("attach_xdp", "v1", flags=2), t.frame, SWAP, PACKET),
    Row("xdp: native", on("attach_xdp", "v1", flags=4), t.frame, SWAP, PACKET),
    Row("xdp_frags", on("attach_xdp", "v1"), t.frame, SWAP, PACKET),
    Row("xdp_on_cpu", through_cpu, t.frame, "attach detach"),
    Row("xdp_on_device", through_device, t.frame, "attach detach"),
    Row("tcx_ingress", on("attach_tcx", "v1", "ingress"), t.frame, SWAP + " test", PACKET),
    Row("tcx_egress", on("attach_tcx", "v0", "egress"), t.frame, SWAP, PACKET),
    Row("tc", on("attach_tc", "v1", "ingress", priority=7), t.frame, "attach detach test", PACKET),
    Row("netkit", on_netkit, to_netkit, SWAP),
    Row("netfilter", on("attach_netfilter", "input"), t.udp, SWAP.replace("update ", "")),
    Row("lwt_in", on("attach_lwt", "10.77.0.0/24", "v0"), t.route, "detach test", PACKET),
    Row("lwt_out", on("attach_lwt", "10.77.0.0/24", "v0"), t.route, "attach detach test", PACKET),
    Row("lwt_xmit", on("attach_lwt", "10.77.0.0/24", "v0"), t.route, "attach detach test", PACKET),
    Row("lwt_seg6local", on("attach_lwt", "fd77::/64", "v0"), t.route, "detach test", PACKET),
    Row("flow_dissector", on("attach_netns"), t.udp, "list pin update detach test", PACKET),
    Row("sk_lookup", on("attach_netns"), t.udp, SWAP),
    Row("sk_msg", sockmap, sent, "attach detach", needs_world=True),
    Row("sk_skb_verdict", sockmap, sent, "attach detach", needs_world=True),
    Row("sk_skb_parser", sockmap, sent, "attach detach", needs_world=True),
    cgroup_row("sockops", t.tcp),
    cgroup_row("cgroup_skb_ingress", t.udp, PACKET),
    cgroup_row("cgroup_skb_egress", t.udp, PACKET),
    cgroup_row("cgroup_sock_create", t.udp),
    cgroup_row("cgroup_sock_release", t.udp),
    *(cgroup_row(f"cgroup_{what}{version}", t.udp if version == 4 else t.udp6)
      for what in ("post_bind", "bind", "connect", "sendmsg", "recvmsg", "getpeername", "getsockname")
      for version in (4, 6)),
    *(cgroup_row(f"cgroup_{what}_unix", t.unix)
      for what in ("connect", "sendmsg", "recvmsg", "getpeername", "getsockname")),
    cgroup_row("cgroup_sysctl", t.sysctl),
    cgroup_row("cgroup_device", t.device),
    cgroup_row("cgroup_getsockopt", t.udp),
    cgroup_row("cgroup_setsockopt", t.udp),
    Row("lsm_cgroup", group, t.udp, SWAP, wide=True),  # these two take BPF trampolines, which not every machine has
    Row("freplace", replaced, sent, "attach list detach", needs_world=True, wide=True),
)

ITERATORS = ("task", "task_file", "task_vma", "bpf_map", "bpf_map_elem", "bpf_prog", "bpf_link", "tcp", "udp", "unix",
             "netlink", "ipv6_route", "sockmap", "bpf_sk_storage_map", "ksym", "cgroup", "kmem_cache", "dmabuf")


def check(row: Row, obj: Any, pins: str | None, group: str | None) -> dict[str, str]:
    """What each step did: "yes", "no" (this hook has none), or the words of `NotSupported`."""
    name = row.name.partition(":")[0]
    answers: dict[str, str] = {}
    wanted = row.has.split()
    with ExitStack() as stack:
        try:
            session = stack.enter_context(ebpf.load(obj, backend="kernel", load_programs=[]))
            world = World(session, stack, group)
            program = session.load_program(name) if name != "freplace" else None
        except NotSupported as error:
            return {"attach": error.message}
        try:
            link = row.attach(world, program)
        except NotSupported as error:
            return {"attach": error.message}
        trigger: Any = row.trigger(world) if row.needs_world else row.trigger  # type: ignore[call-arg]

        def runs(wish: bool) -> bool:
            """Whether it runs, as it should: queues of the network and the kernel's clearing away take their time."""
            end = time.monotonic() + _PATIENCE_S
            while True:
                before = session.variables["hits"]
                trigger()
                if (session.variables["hits"] > before) == wish:
                    return wish
                if time.monotonic() > end:
                    return not wish
                time.sleep(0.02)

        if "attach" in wanted:
            assert runs(True), "it is attached, and does not run"
        answers["attach"] = "yes"
        if link is not None:
            _link_steps(row, link, world, answers, wanted, pins, runs)
        if row.data is not None and program is not None:
            try:
                program.test_run(row.data, row.context)
                answers["test run"] = "yes"
            except NotSupported as error:
                answers["test run"] = error.message if "test" in wanted else "no"
        else:
            answers["test run"] = "no"
    return answers


def _link_steps(row: Row, link: Any, world: World, answers: dict[str, str], wanted: list[str], pins: str | None,
                runs: Callable[[bool], bool]) -> None:
    info = link.info()
    if info is not None:
        assert info.id in {i.id for i in ebpf.inventory.links()}, "its link is not among all links"
        assert info.type, info
    else:
        assert "list" not in wanted, "it has no link"
    answers["list"] = "yes" if info is not None else "no"
    try:
        if pins is None:
            raise NotSupported("pinning here")
        path = f"{pins}/{len(os.listdir(pins))}"
        link.pin(path)
        world.stack.callback(Path(path).unlink, missing_ok=True)
        link.detach()
        if "attach" in wanted:
            assert runs(True), "pinned, it does not run on"
        link = world.stack.enter_context(ebpf.inventory.link(path))
        os.unlink(path)
        answers["pin"] = "yes"
    except NotSupported as error:
        answers["pin"] = error.message if "pin" in wanted else "no"
    name = row.name.partition(":")[0]
    try:
        other = world.session._backend.load_program(name, again=True)  # type: ignore[call-arg]
        link.update(other)
        other.close()
        if "attach" in wanted:
            assert runs(True), "the new program does not run"
        answers["update"] = "yes"
    except NotSupported as error:
        answers["update"] = error.message if "update" in wanted else "no"
    except EbpfError:
        if "update" in wanted:
            raise
        answers["update"] = "no"
    link.detach()
    if "sk_" in row.name and "lookup" not in row.name:
        world.session.maps["socks"].raw.delete(bytes(4))  # a socket keeps its programs while it is in the map
    for other_link in world.session.links:
        other_link.detach()
    if "attach" in wanted:
        assert not runs(False), "detached, and it still runs"
    answers["detach"] = "yes"


def iterate(kind: str, obj: Any, group: str | None) -> dict[str, str]:
    """Rows of one kind of iterator, typed."""
    from ebpf.errors import TargetNotFound

    with ebpf.load(obj, backend="kernel", load_programs=[]) as session, ExitStack() as stack:
        try:
            program = session.load_program("rows", attach_to=kind)
        except TargetNotFound:
            return {"rows": "this kernel does not support it"}
        over: dict[str, Any] = {}
        if kind == "bpf_map_elem":
            over["map"] = session.maps[".bss"]
        elif kind == "sockmap":
            over["map"] = session.maps["socks"]
        elif kind == "bpf_sk_storage_map":
            return {"rows": "no"}
        elif kind == "cgroup":
            if group is None:
                return {"rows": "this kernel does not support version 2 control groups"}
            over["cgroup"] = group
        import socket

        t.connection(stack)
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 0))
        stack.enter_context(socket.socket(socket.AF_UNIX)).bind("")
        rows = program.read_rows(**over)
        if kind not in ("kmem_cache", "dmabuf", "sockmap"):
            assert rows, "nothing was there"
        assert all(row.session == rows[0].session for row in rows)
        return {"rows": "yes"}


def syscall(obj: Any) -> dict[str, str]:
    """A program that user space calls."""
    with ebpf.load(obj, backend="kernel", load_programs=[]) as session:
        try:
            program = session.load_program("in_a_syscall")
        except NotSupported as error:
            return {"test run": error.message}
        assert program.test_run(context=struct.pack("@I", 41)).result == 42
        return {"test run": "yes"}


def program_object(source: Path) -> Any:
    """The compiled programs; EBPF_CONTRACT_OBJECTS names a directory that has them already (guests are slow)."""
    made = Path(os.environ.get("EBPF_CONTRACT_OBJECTS", "/nowhere"), source.stem + ".o")
    return ebpf.open(made) if made.exists() else ebpf.compile(source)


def iter_results(pins: str | None, *, everything: bool) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Each row's name with what it answered, or with what is wrong. Without `everything`, what only we can see."""
    import traceback

    obj = program_object(SOURCE)
    veth = t.devices()
    home, group = _move_into_a_group()
    jobs: list[tuple[str, Callable[[], dict[str, str]]]] = []
    for row in ROWS:
        if (row.wide and not everything) or (not veth and "v1" in str(row.attach)):
            continue
        jobs.append((row.name, lambda row=row: check(row, obj, pins, group)))  # type: ignore[misc]
    jobs += [(f"iter: {kind}", lambda kind=kind: iterate(kind, obj, group)) for kind in ITERATORS]  # type: ignore[misc]
    jobs.append(("syscall", lambda: syscall(obj)))
    try:
        for name, job in jobs:
            try:
                yield name, job()
            except Exception as error:  # the others are to be heard, too
                yield name, f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
    finally:
        leave_group(home, group)


def leave_group(home: str | None, group: str | None) -> None:
    """Back to where we were before `_move_into_a_group`."""
    if group is not None and home is not None:
        Path(home, "cgroup.procs").write_text(str(os.getpid()))
        os.rmdir(group)


def _move_into_a_group() -> tuple[str | None, str | None]:
    """A control group of our own, and this process in it; where it was."""
    from ebpf.kernel.hooks import cgroup2_mount

    top = cgroup2_mount()
    if top is None:
        return None, None
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    where = next((line.partition("::")[2] for line in lines if line.startswith("0::")), "/")
    home = top + where.rstrip("/")
    if not os.path.exists(f"{home}/cgroup.procs"):
        home = top
    path = tempfile.mkdtemp(prefix="ebpf-contract-", dir=top)
    try:
        Path(path, "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        os.rmdir(path)
        raise KernelError("cgroup.procs", error.errno or 0) from None
    return home, path
