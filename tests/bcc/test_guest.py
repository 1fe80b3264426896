"""BCC's API where it has a machine to itself: probes on the whole system."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

import ebpf
from bcc import BPF

COUNTERS = r"""
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } hits SEC(".maps");
static void hit(u32 key)
{
    u64 one = 1, *n = bpf_map_lookup_elem(&hits, &key);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&hits, &key, &one, BPF_ANY);
}
SEC("kprobe") int kprobe__sys_getppid(void *ctx) { hit(1); return 0; }
SEC("kprobe") int kretprobe__sys_getppid(void *ctx) { hit(2); return 0; }
SEC("tracepoint") int tracepoint__syscalls__sys_enter_getppid(void *ctx) { hit(3); return 0; }
SEC("raw_tp") int raw_tracepoint__sys_enter(void *ctx) { hit(4); return 0; }
SEC("kprobe") int later(void *ctx) { hit(5); bpf_printk("from %d", 7); return 0; }
SEC("perf_event") int tick(void *ctx) { hit(6); return 0; }
SEC("kprobe") int user(void *ctx) { hit(7); return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


def hits(b: BPF) -> dict[int, int]:
    return {k.value: v.value for k, v in b["hits"].items()}


@pytest.mark.guest(smoke=True, timeout_s=180)
def test_attaching_by_name_and_by_method() -> None:
    obj = ebpf.compile(COUNTERS, dialect="libbpf")
    ebpf.compile = lambda *_, **__: obj  # type: ignore[attr-defined]
    with BPF(text="x") as b:
        for _ in range(10):
            os.getppid()
        seen = hits(b)
        assert seen[1] == seen[2] == seen[3] == 10 and seen[4] >= 10
        assert b.num_open_kprobes() == 2 and b.num_open_tracepoints() == 1
        b.detach_kprobe(b.get_syscall_fnname("getppid"))
        os.getppid()
        assert hits(b)[1] == 10 and hits(b)[2] == 11 and b.num_open_kprobes() == 1

        # The trace pipe: fields, and lines of the machine's only one.
        b.attach_kprobe(event="sys_getpgid", fn_name="later")
        os.getpgid(0)
        task, pid, cpu, flags, stamp, message = b.trace_fields()
        assert pid == os.getpid() and message == b"from 7" and stamp > 0 and cpu >= 0 and flags and task
        os.getpgid(0)
        assert (b.trace_readline() or b"").endswith(b"from 7")
        assert b.trace_readline(nonblocking=True) is None and b.trace_fields(nonblocking=True) == (None,) * 6

        # Several functions by pattern, a name that does not exist.
        b.detach_kprobe("sys_getpgid")
        b.attach_kprobe(event_re=b"^" + b.get_syscall_fnname("getp(gid|riority)") + b"$", fn_name="later")
        assert b.num_open_kprobes() >= 3
        with pytest.raises(ebpf.TargetNotFound) as caught:
            b.attach_kprobe(event="vfs_reed", fn_name="later")
        assert "vfs_read" in caught.value.similar

        # Perf events and a user function.
        b.attach_perf_event(ev_type=1, ev_config=0, fn_name="tick", sample_freq=500)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        assert hits(b)[6] > 0
        b.detach_perf_event(1, 0)
        b.attach_uprobe(name="c", sym="getpgrp", fn_name="user")
        subprocess.run([sys.executable, "-c", "import os; os.getpgrp()"], check=True)
        assert hits(b)[7] >= 1
        b.detach_uprobe(name="c", sym="getpgrp")
        assert b.num_open_uprobes() == 0
    left = subprocess.run("cat /sys/kernel/tracing/kprobe_events /sys/kernel/tracing/uprobe_events", shell=True,
                          capture_output=True, text=True).stdout
    assert left == ""


@pytest.mark.guest
def test_xdp_on_a_veth() -> None:
    subprocess.run("ip link add eth9 type veth peer name eth8 && ip link set eth9 up && ip link set eth8 up", shell=True,
                   check=True)
    obj = ebpf.compile(COUNTERS + '\nSEC("xdp") int packet(struct xdp_md *ctx) { hit(8); return XDP_PASS; }\n',
                       dialect="libbpf")
    ebpf.compile = lambda *_, **__: obj  # type: ignore[attr-defined]
    with BPF(text="x") as b:
        b.attach_xdp(dev="eth9", fn=b.load_func("packet", BPF.XDP))
        subprocess.run("ip addr add 10.9.8.1/24 dev eth8", shell=True, check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"anyone?", ("10.9.8.2", 9))  # the question who that is goes over the wire
        end = time.monotonic() + 5
        while 8 not in hits(b) and time.monotonic() < end:
            time.sleep(0.1)
        assert hits(b)[8] > 0
        with pytest.raises(ebpf.TargetNotFound, match="eth"):
            b.attach_xdp(dev="no_such_dev", fn=b.load_func("packet", BPF.XDP))
        b.remove_xdp("eth9")
        links = subprocess.run(["ip", "link", "show", "eth9"], capture_output=True, text=True).stdout
        assert "xdp" not in links


@pytest.mark.guest(smoke=True, timeout_s=180)
def test_bccs_dialect_end_to_end() -> None:
    """A script as people write them: unpacked arguments, a map method, an event with a name, by the function's name."""
    with BPF(text=r"""
        #include <linux/sched.h>
        struct event { u32 pid; int which; char comm[TASK_COMM_LEN]; };
        BPF_PERF_OUTPUT(events);
        BPF_HASH(calls, u32);
        int syscall__getpgid(struct pt_regs *ctx, int which)
        {
            struct event e = {};
            e.pid = bpf_get_current_pid_tgid() >> 32;
            e.which = which;
            bpf_get_current_comm(&e.comm, sizeof(e.comm));
            events.perf_submit(ctx, &e, sizeof(e));
            return 0;
        }
        int kprobe__sys_getsid(void *ctx)
        {
            u32 pid = bpf_get_current_pid_tgid() >> 32;
            calls.increment(pid);
            return 0;
        }
        """) as b:
        b.attach_kprobe(event=b.get_syscall_fnname("getpgid"), fn_name="syscall__getpgid")
        me = os.getpid()
        seen: list[tuple[int, bytes]] = []

        def on_event(cpu: int, data: int, size: int) -> None:
            event = b["events"].event(data)
            if event.pid == me:
                seen.append((event.which, event.comm))

        b["events"].open_perf_buffer(on_event)
        os.getpgid(me)
        os.getpgid(1)
        for _ in range(3):
            os.getsid(0)
        b.perf_buffer_poll(1000)
        assert [which for which, _ in seen] == [me, 1] and all(comm for _, comm in seen)
        assert b["calls"][b["calls"].Key(me)].value == 3
