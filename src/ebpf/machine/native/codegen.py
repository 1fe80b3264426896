"""IR text → relocatable ELF of this machine, by LLVM in a process that stays.

The process is started when it is first needed (`warm` starts it early), keeps LLVM loaded (60 MB that the user's
process never has), ends when its pipe closes, and after `IDLE_SECONDS` without work. Whatever happens to it is one
`CodeGenerationError`; the next call starts another. A process that forks leaves it to its parent and starts its own.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import struct
import threading
import time

from ebpf.compiler.llvm.child import ENDING_SIGNALS, CodeGenerationError, error_text, how_ended, start

TIMEOUT_SECONDS = 60
IDLE_SECONDS = 300
_REQUEST = struct.Struct("<III")  # bytes of IR, bytes of IR to link, optimisation
_REPLY = struct.Struct("<BI")  # 0: an object, 1: LLVM's words; bytes

#: how hard to try: `HASTY` takes a fifth of the time of `QUICK` for code that is a quarter slower: for runs that Python
#: calls one by one; `QUICK` cleans up what the lifter writes; `FULL` is LLVM's -O2 (loops gain by it)
HASTY, QUICK, FULL = 0, 1, 2


class _Gone(Exception):
    """The child had ended before it took the job."""


class _Child:
    """A running code generator."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.pid = 0
        self._fds: list[int] = []
        self.job = self.result = self.error = -1
        try:
            job_read, self.job = self._pipe()
            self.result, result_write = self._pipe()
            self.error, error_write = self._pipe()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
                self.pid = start(f"{__name__}:serve", (job_read, result_write, error_write), (), 0)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for fd in (job_read, result_write, error_write):
                os.close(fd)
                self._fds.remove(fd)
            os.set_blocking(self.job, False)
        except BaseException:
            self.close()
            raise

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._fds += ends
        return ends

    def run(self, ir: bytes, link: bytes, opt: int) -> bytes:
        """One job. Raises `CodeGenerationError`, or `_Gone`."""
        data = memoryview(_REQUEST.pack(len(ir), len(link), opt) + ir + link)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        reply = bytearray()
        poller = select.poll()
        poller.register(self.job, select.POLLOUT)
        poller.register(self.result, select.POLLIN)
        untouched = True
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CodeGenerationError("timeout", "")
            for fd, _ in poller.poll(left * 1000):
                if fd == self.job:
                    try:
                        data = data[os.write(fd, data[: 1 << 16]) :]
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        data = data[:0]
                    if not data:
                        poller.unregister(fd)
                    continue
                chunk = os.read(fd, 1 << 18)
                if not chunk:
                    status, words = self._end()
                    if untouched and not words and status == 0:
                        raise _Gone  # it was idle for long and left as we came
                    raise CodeGenerationError(how_ended(status), words)
                untouched = False
                reply += chunk
                if len(reply) < _REPLY.size:
                    continue
                kind, size = _REPLY.unpack_from(reply)
                if len(reply) >= _REPLY.size + size:
                    body = bytes(reply[_REPLY.size :])
                    if kind:
                        raise CodeGenerationError("refused", body.decode("utf-8", "replace"))
                    return body

    def _end(self) -> tuple[int | None, str]:
        """It has closed its results: its wait status and last words."""
        chunks = []
        while chunk := os.read(self.error, 1 << 16):
            chunks.append(chunk)
        pid, self.pid = self.pid, 0
        try:
            return os.waitpid(pid, 0)[1], error_text(chunks)
        except ChildProcessError:
            return None, error_text(chunks)

    def close(self) -> None:
        """End and reap it; in a forked process, only let go of it."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []
        pid, self.pid = self.pid, 0
        if pid and self.owner == os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


_lock = threading.Lock()
_child: _Child | None = None


def _current() -> _Child:
    global _child
    if _child is None:
        _child = _Child()
    return _child


def _drop() -> None:
    global _child
    child, _child = _child, None
    if child is not None:
        child.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    _drop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_drop)


def warm() -> None:
    """Start the code generator now, so that LLVM loads while something else is done."""
    with _lock:
        _current()


def compile_host(ir: str, *, link: str | bytes = b"", opt: int = FULL) -> bytes:
    """A module in LLVM's text form as a relocatable ELF file for this machine.

    ``link``: a second module whose functions are put into the code that calls them (what is not called is dropped).
    Raises `ebpf.compiler.llvm.child.CodeGenerationError` (its ``how`` is ``"missing"`` without llvmlite).
    """
    code = ir.encode()
    linked = link.encode() if isinstance(link, str) else link
    with _lock:
        try:
            try:
                return _current().run(code, linked, opt)
            except _Gone:
                _drop()
                return _current().run(code, linked, opt)
        except CodeGenerationError as error:
            if error.how != "refused":
                _drop()
            raise
        except BaseException:  # Ctrl-C in the middle: what it is doing nobody waits for any more
            _drop()
            raise


# ------------------------------------------------------------------------------------------------- in the child

_WARM_UP = """
define i64 @f(ptr %p, i64 %n) {
  %x = load i64, ptr %p, align 1
  %y = add i64 %x, %n
  ret i64 %y
}
"""


def serve(job: int, result: int) -> None:
    """Compile module after module until the pipe closes."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        import llvmlite.binding as llvm
    except OSError as e:  # its library is there and does not load
        raise ImportError(str(e)) from None

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machines = {
        opt: target.create_target_machine(cpu=cpu, features=features, opt=opt, reloc="pic", codemodel="small")
        for opt in (HASTY, QUICK, FULL)
    }
    for opt in machines:
        _compile(llvm, machines[opt], _WARM_UP, "", opt)
    while True:
        ready, _, _ = select.select([job], [], [], IDLE_SECONDS)
        if not ready:
            return
        head = _read(job, _REQUEST.size)
        if not head:
            return
        size, link_size, opt = _REQUEST.unpack(head)
        text, link = _read(job, size).decode(), _read(job, link_size).decode()
        signal.alarm(TIMEOUT_SECONDS + 5)
        try:
            reply = b"\0", _compile(llvm, machines[opt], text, link, opt)
        except RuntimeError as e:
            reply = b"\1", str(e).encode()
        signal.alarm(0)
        out = memoryview(reply[0] + struct.pack("<I", len(reply[1])) + reply[1])
        while out:
            out = out[os.write(result, out) :]


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def _compile(llvm, machine, text: str, link: str, opt: int) -> bytes:  # type: ignore[no-untyped-def]
    module = llvm.parse_assembly(text)
    module.verify()
    if link:
        own = {f.name for f in module.functions}
        other = llvm.parse_assembly(link)
        for function in other.functions:
            if not function.is_declaration:
                function.add_function_attribute("alwaysinline")
        module.link_in(other)
        for function in module.functions:
            if not function.is_declaration and (function.name not in own or function.name.startswith("ebpf_")):
                function.linkage = "internal"
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = True
    tuning.slp_vectorization = True
    tuning.loop_interleaving = True
    builder = llvm.create_pass_builder(machine, tuning)
    if opt == FULL:
        passes = builder.getModulePassManager()
    else:
        passes = llvm.create_new_module_pass_manager()
        if link:
            passes.add_always_inliner_pass()
            passes.add_global_dead_code_eliminate_pass()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()  # before the next: that takes ten times as long where blocks are short
        if opt != HASTY:
            passes.add_instruction_combine_pass()
            passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return bytes(machine.emit_object(module))
