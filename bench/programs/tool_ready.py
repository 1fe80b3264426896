"""A tool of BCC's up to the moment where it would wait for events: its programs compiled and loaded, and not attached.

Runs under BCC and under us alike: ``tool_ready.py SCRIPT ARG…``. Attaching is left out because this machine's kernel
may lack the hooks, and because nobody is to be traced for a measurement.
"""

import os
import runpy
import sys
import time

from bcc import BPF

KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, TRACING = 2, 5, 7, 17, 26


def ready(*_args: object, **_named: object) -> None:
    print("READY", flush=True)
    os._exit(0)


def loading(prog_type: int):  # type: ignore[no-untyped-def]
    def attach(self, *args, **named):  # type: ignore[no-untyped-def]
        if named.get("fn_name"):
            self.load_func(named["fn_name"], prog_type)
        return self

    return attach


def attach_by_name(self) -> None:  # type: ignore[no-untyped-def]
    names = list(self.session.obj.programs) if hasattr(self, "session") else [
        __import__("bcc").lib.bpf_function_name(self.module, i)
        for i in range(__import__("bcc").lib.bpf_num_functions(self.module))]
    for name in names:
        text = name if isinstance(name, str) else name.decode()
        for prefix, kind in (("kprobe__", KPROBE), ("kretprobe__", KPROBE), ("tracepoint__", TRACEPOINT),
                             ("raw_tracepoint__", RAW_TRACEPOINT)):
            if text.startswith(prefix):
                self.load_func(name, kind)


BPF.support_kfunc = classmethod(lambda cls: False)  # another kernel's headers would name functions that are not here
BPF._trace_autoload = attach_by_name
BPF.attach_kprobe = BPF.attach_kretprobe = BPF.attach_uprobe = BPF.attach_uretprobe = loading(KPROBE)
BPF.attach_tracepoint = loading(TRACEPOINT)
BPF.attach_raw_tracepoint = loading(RAW_TRACEPOINT)
BPF.attach_perf_event = loading(PERF_EVENT)
BPF.num_open_kprobes = BPF.num_open_uprobes = BPF.num_open_tracepoints = lambda self: 1
BPF.get_kprobe_functions = staticmethod(lambda event_re: set())  # a kernel without kprobes has no list of them
BPF.perf_buffer_poll = BPF.kprobe_poll = BPF.ring_buffer_poll = BPF.trace_fields = BPF.trace_print = ready
time.sleep = ready  # type: ignore[assignment]

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
