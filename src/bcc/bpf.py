"""`BPF`: a program text compiled, its tables, its functions attached, its output read, as BCC's scripts expect it."""

from __future__ import annotations

import os
import sys

import ebpf
from bcc import constants, renames
from bcc.attach import Attaching
from bcc.utils import to_bytes, to_str
from ebpf import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from bcc.trace import TraceFile


def _tracefs() -> str:
    for place in ("/sys/kernel/debug/tracing", "/sys/kernel/tracing"):
        if os.path.exists(place):
            return place
    return "/sys/kernel/tracing"


DEBUGFS = "/sys/kernel/debug"
TRACEFS = _tracefs()


class BPF(Attaching):
    """A BPF program in BCC's dialect of C, compiled and loaded.

    Functions called ``kprobe__…``, ``kretprobe__…``, ``tracepoint__…``, ``raw_tracepoint__…``, ``kfunc__…``,
    ``kretfunc__…`` and ``lsm__…`` are attached at once; others with the ``attach_`` methods. Tables are ``b["name"]``.
    Everything is detached when the object is cleaned up, at the end of the script, or when the process ends in any
    other way.
    """

    SOCKET_FILTER = constants.BPFProgType.SOCKET_FILTER
    KPROBE = constants.BPFProgType.KPROBE
    SCHED_CLS = constants.BPFProgType.SCHED_CLS
    SCHED_ACT = constants.BPFProgType.SCHED_ACT
    TRACEPOINT = constants.BPFProgType.TRACEPOINT
    XDP = constants.BPFProgType.XDP
    PERF_EVENT = constants.BPFProgType.PERF_EVENT
    CGROUP_SKB = constants.BPFProgType.CGROUP_SKB
    CGROUP_SOCK = constants.BPFProgType.CGROUP_SOCK
    LWT_IN = constants.BPFProgType.LWT_IN
    LWT_OUT = constants.BPFProgType.LWT_OUT
    LWT_XMIT = constants.BPFProgType.LWT_XMIT
    SOCK_OPS = constants.BPFProgType.SOCK_OPS
    SK_SKB = constants.BPFProgType.SK_SKB
    CGROUP_DEVICE = constants.BPFProgType.CGROUP_DEVICE
    SK_MSG = constants.BPFProgType.SK_MSG
    RAW_TRACEPOINT = constants.BPFProgType.RAW_TRACEPOINT
    CGROUP_SOCK_ADDR = constants.BPFProgType.CGROUP_SOCK_ADDR
    CGROUP_SOCKOPT = constants.BPFProgType.CGROUP_SOCKOPT
    TRACING = constants.BPFProgType.TRACING
    LSM = constants.BPFProgType.LSM
    XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
    XDP_FLAGS_UPDATE_IF_NOEXIST = constants.XDPFlags.UPDATE_IF_NOEXIST
    XDP_FLAGS_SKB_MODE = constants.XDPFlags.SKB_MODE
    XDP_FLAGS_DRV_MODE = constants.XDPFlags.DRV_MODE
    XDP_FLAGS_HW_MODE = constants.XDPFlags.HW_MODE
    XDP_FLAGS_REPLACE = constants.XDPFlags.REPLACE
    CLOCK_MONOTONIC = 1

    _auto_includes = {
        "linux/time.h": ["time"], "linux/fs.h": ["fs", "file"], "linux/blkdev.h": ["bio", "request"],
        "linux/slab.h": ["alloc"], "linux/netdevice.h": ["sk_buff", "net_device"],
    }

    class Function:
        """A loaded function: what `load_func` gives and `attach_xdp` and its like take."""

        def __init__(self, bpf: BPF, name: bytes, fd: int, program: Any = None) -> None:
            self.bpf = bpf
            self.name = name
            self.fd = fd
            self.program = program
            self.sock = -1
            self.links: dict[Any, Any] = {}

    def __init__(self, src_file: str | bytes = b"", hdr_file: str | bytes = b"", text: str | bytes | None = None,
                 debug: int = 0, cflags: Iterable[str | bytes] = (), usdt_contexts: Iterable[Any] = (),
                 allow_rlimit: bool = True, device: str | bytes | None = None,
                 attach_usdt_ignore_pid: bool = False) -> None:
        """Compile and load ``text``, or the file ``src_file``.

        ``cflags``: ``-D`` and ``-I`` are heeded, warnings and the like are not. ``debug``: the ``DEBUG_`` flags, of
        which those about bytecode and the verifier print on stderr. ``allow_rlimit`` is accepted: limits are raised
        where a kernel wants that.
        """
        super().__init__()
        self.debug = debug
        self.funcs: dict[bytes, BPF.Function] = {}
        self.tables: dict[bytes, Any] = {}
        self.module: Any = None
        self._session: ebpf.Session | None = None
        self._classes: Any = None
        self._trace: TraceFile | None = None
        self._perf_tables: list[Any] = []
        self._perf_poller: Any = None
        self._ring_handlers: dict[int, Callable[[], int]] = {}
        self._ring_poller: Any = None
        self._next_refresh = 0.0
        if text is not None and src_file:
            raise ebpf.UsageError("BPF() takes text or src_file, not both")
        if device is not None:
            raise ebpf.NotSupported("loading a program into a network card (device=)",
                                    instead="leave device= out: the program then runs in the kernel")
        usdt_contexts = list(usdt_contexts)
        filename = "<text>"
        if src_file:
            filename = self._find_file(to_str(src_file))
            with open(filename, encoding="utf-8", errors="surrogateescape") as file:
                source = file.read()
        elif text is not None:
            source = to_str(text)
        else:
            raise ebpf.UsageError("BPF() wants text= or src_file=")
        if hdr_file:
            source = f'#include "{os.path.abspath(self._find_file(to_str(hdr_file)))}"\n#line 1\n' + source
        if usdt_contexts:
            from bcc.usdt import texts

            source = texts(usdt_contexts) + "#line 1\n" + source
        defines, folders = _from_cflags(cflags)
        if src_file:
            folders.append(os.path.dirname(os.path.abspath(filename)))
        # A line end makes certain that a text is not taken for a path.
        options: dict[str, Any] = {"filename": filename, "dialect": "bcc", "defines": defines, "include_dirs": folders}
        self.compiled: dict[str, Any] = {"source": source + "\n", "options": options}
        self.more_sessions: list[ebpf.Session] = []
        self.module = ebpf.compile(source + "\n", **options)
        self._session = ebpf.load(self.module, load_programs=False)
        if any(m.type == ebpf.MapType.STACK_TRACE for m in self._session.maps.values()):
            from bcc.symbols import follow

            follow()
        import atexit

        atexit.register(self.cleanup)
        try:
            for context in usdt_contexts:
                context.attach_uprobes(self, attach_usdt_ignore_pid)
            self._trace_autoload()
        except BaseException:
            self.cleanup()
            raise

    @staticmethod
    def _find_file(filename: str) -> str:
        """The file, or one of that name beside the script."""
        if os.path.isfile(filename):
            return filename
        beside = os.path.join(os.path.abspath(os.path.dirname(sys.argv[0])), filename)
        if os.path.isfile(beside):
            return beside
        raise ebpf.UsageError(f"Could not find file {filename}")

    @property
    def session(self) -> ebpf.Session:
        """The session beneath: typed maps, links, everything that this package can do beyond BCC's API."""
        if self._session is None:
            raise ebpf.UsageError("this BPF object has been cleaned up")
        return self._session

    # ---- functions ----

    def load_funcs(self, prog_type: int = KPROBE) -> list[BPF.Function]:
        """Load every function as that type."""
        return [self.load_func(name, prog_type) for name in self.session.obj.programs]

    def load_func(self, func_name: str | bytes, prog_type: int, device: Any = None,
                  attach_type: int = -1) -> BPF.Function:
        """Load a function of the text as a program of that type."""
        name = to_bytes(func_name)
        found = self.funcs.get(name)
        if found is not None:
            return found
        if device is not None:
            raise ebpf.NotSupported("loading a program into a network card (device=)")
        text = to_str(name)
        expected: int | None = attach_type if attach_type >= 0 else None
        target: str | None = None
        if prog_type in (self.TRACING, self.LSM):
            kinds = ebpf.AttachType
            for prefix, attach in (("kfunc__", kinds.TRACE_FENTRY), ("kretfunc__", kinds.TRACE_FEXIT),
                                   ("kmod_ret__", kinds.MODIFY_RETURN), ("lsm__", kinds.LSM_MAC)):
                if text.startswith(prefix):
                    section = getattr(self.session.obj.programs.get(text), "section", "")
                    expected, target = attach, section.partition("/")[2] or text[len(prefix):]
        level = (2 if self.debug & constants.DEBUG_BPF_REGISTER_STATE else
                 1 if self.debug & constants.DEBUG_BPF else None)
        program = self.session.load_program(text, type=prog_type, expected_attach_type=expected, attach_to=target,
                                            log_level=level)
        if level and program.raw.log:
            print(program.raw.log, file=sys.stderr)
        if self.debug & constants.DEBUG_SOURCE:
            print(self.disassemble_func(name), file=sys.stderr)
        made = self.funcs[name] = BPF.Function(self, name, program.fileno(), program)
        return made

    def dump_func(self, func_name: str | bytes) -> bytes:
        """The function's instructions."""
        name = to_str(func_name)
        spec = self.session.obj.programs.get(name)
        if spec is None:
            raise ebpf.UnknownName(f"Unknown program {name}", name=name, similar=list(self.session.obj.programs))
        return spec.code

    def disassemble_func(self, func_name: str | bytes) -> str:
        """The function's instructions as text."""
        rows = [f"{slot:4}: {text}" for slot, _, text in ebpf.disassemble(self.dump_func(func_name))]
        return "\n".join([f"Disassemble of BPF program {to_str(func_name)}:", *rows])

    # ---- tables ----

    def _ctypes(self, map: Any) -> Any:
        """The ctypes classes of the object's types; None if it has no types."""
        if self._classes is None and map.btf is not None:
            from bcc.ctype import Classes

            self._classes = Classes(map.btf)
        return self._classes

    def get_table(self, name: str | bytes, keytype: Any = None, leaftype: Any = None,
                  reducer: Callable[[Any, Any], Any] | None = None) -> Any:
        """The table of that name. ``keytype``, ``leaftype``: ctypes classes to use instead of the declared types."""
        from bcc.table import Table

        return Table(self, self.session.maps[to_str(name)], keytype, leaftype, to_bytes(name), reducer=reducer)

    def __getitem__(self, key: str | bytes) -> Any:
        name = to_bytes(key)
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = self.get_table(name)
        return found

    def __setitem__(self, key: str | bytes, leaf: Any) -> None:
        self.tables[to_bytes(key)] = leaf

    def __delitem__(self, key: str | bytes) -> None:
        del self.tables[to_bytes(key)]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (str, bytes)) and to_str(key) in self.session.maps

    def __len__(self) -> int:
        return len(self.tables)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.tables)

    # ---- what programs print ----

    def trace_open(self, nonblocking: bool = False) -> TraceFile:
        """The kernel's trace_pipe, or the machine's."""
        if self._trace is None:
            from bcc.trace import TraceFile

            self._trace = TraceFile(self.session, nonblocking)
        return self._trace

    @property
    def tracefile(self) -> TraceFile | None:
        """The trace pipe if it is open."""
        return self._trace

    def trace_readline(self, nonblocking: bool = False) -> bytes | None:
        """The next line of the trace pipe; ``None`` if there is none and ``nonblocking``."""
        return self.trace_open(nonblocking).read_line(nonblocking)

    def trace_fields(self, nonblocking: bool = False) -> tuple[Any, ...]:
        """The next line as (task, pid, cpu, flags, timestamp, message); six times ``None`` if there is none and
        ``nonblocking``.
        """
        return self.trace_open(nonblocking).read_fields(nonblocking)

    def trace_print(self, fmt: str | None = None) -> None:
        """Print what programs print, until Ctrl-C; ``fmt`` is a format for the fields (``"pid {1}, msg = {5}"``).

        Kernels since 5.9 end each message with a newline of their own; the empty line after one that brought its own
        is left out.
        """
        while True:
            line = fmt.format(*self.trace_fields()) if fmt else self.trace_readline()
            if line:
                print(line, flush=True)

    # ---- events ----

    def _add_perf_buffer(self, table: Any) -> None:
        if self._perf_poller is None:
            self._perf_poller = self.session.poller()
        self._perf_tables.append(table)
        for ring in table._buffer.rings.values():
            self._watch_perf(table, ring)

    def _watch_perf(self, table: Any, ring: Any) -> None:
        self._perf_poller.add(ring.fileno(), lambda: table._consume_ring(ring))

    def _remove_perf_buffer(self, table: Any) -> None:
        if table in self._perf_tables:
            self._perf_tables = [t for t in self._perf_tables if t is not table]

    @property
    def perf_buffers(self) -> dict[Any, Any]:
        """The open perf buffers, by (table, CPU)."""
        return {(id(t), cpu): ring for t in self._perf_tables for cpu, ring in t._buffer.rings.items()}

    def perf_buffer_poll(self, timeout: int = -1) -> None:
        """Wait up to ``timeout`` milliseconds (negative: for ever) for events, and call their callbacks."""
        import time

        if self._perf_poller is None:
            assert self.session is not None  # raises if it is gone
            if timeout < 0:
                raise ebpf.UsageError("no perf buffer is open: there would be nothing to wait for",
                                      helps=('open one: b["events"].open_perf_buffer(callback)',))
            time.sleep(timeout / 1000)
            return
        now = time.monotonic()
        if now >= self._next_refresh:  # CPUs that came online
            self._next_refresh = now + 2.0
            for table in self._perf_tables:
                for ring in table._buffer.refresh():
                    self._watch_perf(table, ring)
        self._perf_poller.poll(None if timeout < 0 else timeout / 1000)

    kprobe_poll = perf_buffer_poll

    def perf_buffer_consume(self) -> None:
        """Call the callbacks of events that are there, without waiting."""
        for table in list(self._perf_tables):
            table._consume()

    def _add_ring_buffer(self, table: Any, fd: int, consume: Callable[[], int]) -> None:
        if self._ring_poller is None:
            self._ring_poller = self.session.poller()
        self._ring_handlers[fd] = consume
        self._ring_poller.add(fd, consume)

    def _remove_ring_buffer(self, table: Any, fd: int) -> None:
        self._ring_handlers.pop(fd, None)
        if self._ring_poller is not None:
            self._ring_poller.remove(fd)

    def ring_buffer_poll(self, timeout: int = -1) -> None:
        """Wait up to ``timeout`` milliseconds (negative: for ever) for records, and call their callbacks."""
        self._rings()
        self._ring_poller.poll(None if timeout < 0 else timeout / 1000)

    def ring_buffer_consume(self) -> None:
        """Call the callbacks of records that are there, without waiting."""
        for consume in self._rings():
            consume()

    def _rings(self) -> list[Callable[[], int]]:
        if not self._ring_handlers:
            assert self.session is not None  # raises if it is gone
            raise ebpf.UsageError("No ring buffers to poll",
                                  helps=('open one: b["events"].open_ring_buffer(callback)',))
        return list(self._ring_handlers.values())

    # ---- facts ----

    @classmethod
    def monotonic_time(cls) -> int:
        """Nanoseconds of the clock that bpf_ktime_get_ns() reads."""
        import time

        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    @classmethod
    def generate_auto_includes(cls, program_words: Iterable[str]) -> str:
        """``#include`` lines for words that look like kernel types."""
        words = list(program_words)
        return "".join(f"#include <{header}>\n" for header, keys in cls._auto_includes.items()
                       if any(key in word for key in keys for word in words))

    @staticmethod
    def find_exe(bin_path: bytes | str) -> bytes | None:
        """The program of that name on PATH, or that path if it is one; ``None`` if there is none."""
        import shutil

        found = shutil.which(to_str(bin_path))
        return None if found is None else found.encode()

    @staticmethod
    def find_library(libname: bytes | str) -> bytes | None:
        """The file of a library, as the dynamic linker finds it."""
        found = host.find_library(to_str(libname))
        return None if found is None else found.encode()

    @staticmethod
    def sym(addr: Any, pid: int, show_module: bool = False, show_offset: bool = False, demangle: bool = True) -> bytes:
        """The function at an address of process ``pid`` (negative: of the kernel): ``b"start_thread+0x202
        [libc.so.6]"``.
        """
        name, offset, module = BPF._sym_cache(pid).resolve(int(getattr(addr, "value", addr)), demangle)
        text = name or b"[unknown]"
        if show_offset and name is not None:
            text += b"+0x%x" % offset
        if show_module and module is not None:
            text += b" [%s]" % os.path.basename(module)
        return text

    @staticmethod
    def ksym(addr: Any, show_module: bool = False, show_offset: bool = False) -> bytes:
        """The kernel function at an address."""
        text = BPF.sym(addr, -1, show_module, show_offset, False)
        if renames.asked:  # what was probed in a function's place goes by that function's name
            name = to_str(text).partition("+")[0].partition(" [")[0]
            text = to_bytes(renames.asked.get(name, name)) + text[len(name):]
        return text

    @staticmethod
    def ksymname(name: str | bytes) -> int:
        """The address of a kernel symbol; -1 if there is none."""
        found = host.kernel_address(to_str(name))
        return -1 if found is None else found

    _sym_caches: dict[int, Any] = {}

    @staticmethod
    def _sym_cache(pid: int) -> Any:
        from bcc.symbols import SymbolCache

        pid = max(pid, -1)
        found = BPF._sym_caches.get(pid)
        if found is None:
            found = BPF._sym_caches[pid] = SymbolCache(pid)
        return found

    @staticmethod
    def add_module(modname: str) -> None:
        """Accepted: files are read when a symbol of theirs is wanted."""

    def free_bcc_memory(self) -> int:
        """Nothing to free: the compiler ran in a child process."""
        return 0

    # ---- the end ----

    def close(self) -> None:
        """The same as `cleanup`."""
        self.cleanup()

    def cleanup(self) -> None:
        """Detach and close everything; doing so again is harmless."""
        session, self._session = self._session, None
        if session is None:
            return
        import atexit

        atexit.unregister(self.cleanup)
        for table in self.tables.values():
            stop = getattr(table, "close", None)
            if stop is not None:
                self._session = session  # tables say goodbye to us
                stop()
        self._session = None
        for table in list(self._perf_tables):
            table.close()
        for poller in (self._perf_poller, self._ring_poller):
            if poller is not None:
                poller.close()
        self._perf_poller = self._ring_poller = None
        self._perf_tables, self._ring_handlers = [], {}
        self._forget_links()
        for more in self.more_sessions:
            more.close()
        if self._trace is not None:
            self._trace.close()
            self._trace = None
        self.funcs.clear()
        self.tables.clear()
        session.close()

    def __enter__(self) -> BPF:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()


def _from_cflags(cflags: Iterable[str | bytes]) -> tuple[list[str], list[str]]:
    """What ``-D``, ``-U`` and ``-I`` among compiler flags say; the rest is for clang and does not concern us."""
    defines: list[str] = []
    folders: list[str] = []
    flags = [to_str(flag) for flag in cflags]
    at = 0
    while at < len(flags):
        flag = flags[at]
        at += 1
        for letter, out in (("-D", defines), ("-I", folders)):
            if flag == letter and at < len(flags):
                out.append(flags[at])
                at += 1
            elif flag.startswith(letter) and flag != letter:
                out.append(flag[2:])
    return defines, folders
