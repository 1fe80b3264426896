"""Uprobes, uretprobes and static probes in a traced command, in whatever kind of program, thread or child."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ebpf.abi.syscalls import number_of
from ebpf.binaries.find import find_library
from ebpf.binaries.symbols import elf_symbols
from ebpf.binaries.usdt import find_usdt
from ebpf.machine.tracing import Event, Needs, SyscallEnter, Tracer, Uprobe, Uretprobe
from ebpf.machine.tracing.arch import ARCHES
from tests.binaries import static_probes
from tests.machine.tracing.commands import build, finish

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="uprobes in the machine: x86-64 alone")

ARCH = ARCHES["x86_64"]
FIRST, RESULT = ARCH.call_arguments[0], ARCH.result
BUILDS = {
    "position-independent": (),
    "at a fixed place": ("-no-pie", "-fcf-protection=none"),
    "static": ("-static",),
    "optimised": ("-O2", "-fno-optimize-sibling-calls", "-fomit-frame-pointer"),
    "unoptimised": ("-O0",),
}


def probe(tracer: Tracer, path: str, function: str, told: list[tuple[str, int]], *, wait: bool = True) -> None:
    """Tell of a function's entries (with the first argument) and returns (with the result)."""
    offset = elf_symbols(path).find(function).offset
    tracer.probe(Uprobe(path, offset), lambda e: told.append((function, e.registers[FIRST])), Needs(wait=wait))
    tracer.probe(Uretprobe(path, offset), lambda e: told.append((f"{function} returns", e.registers[RESULT])),
                 Needs(wait=wait))


@pytest.mark.parametrize("wait", [True, False], ids=["waiting", "not waiting"])
@pytest.mark.parametrize("flags", BUILDS.values(), ids=BUILDS)
def test_arguments_and_results_of_a_recursive_function(flags: tuple[str, ...], wait: bool, tmp_path: Path) -> None:
    command = build(tmp_path, """
__attribute__((noinline, noclone, noipa)) long factorial(long n) {
    __asm__ volatile("");
    return n <= 1 ? 1 : n * factorial(n - 1);
}
int main(void) { return factorial(4) == 24 && factorial(3) == 6 ? 0 : 1; }""", *flags)
    told: list[tuple[str, int]] = []
    with Tracer([command]) as tracer:
        probe(tracer, command, "factorial", told, wait=wait)
        assert finish(tracer) == 0
    assert told == [
        *(("factorial", n) for n in (4, 3, 2, 1)), *(("factorial returns", n) for n in (1, 2, 6, 24)),
        *(("factorial", n) for n in (3, 2, 1)), *(("factorial returns", n) for n in (1, 2, 6))]


def test_every_thread_and_child(tmp_path: Path) -> None:
    command = build(tmp_path, """
static volatile int base = 5;
__attribute__((noinline, noclone)) long add(long n) { return base + n; }
static void *work(void *unused) { long sum = 0; for (int i = 0; i < 40; i++) sum += add(i); return (void *)sum; }
int main(int argc, char **argv) {
    if (argc > 1) return add(3) != 8;
    pthread_t threads[4];
    void *sum;
    int status;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++) { pthread_join(threads[i], &sum); if ((long)sum != 980) return 1; }
    if (!fork()) { base = 6; _exit(add(1)); }
    if (wait(&status) < 0 || WEXITSTATUS(status) != 7) return 2;
    if (!vfork()) { add(2); execl("/proc/self/exe", "again", "x", NULL); _exit(1); }
    return wait(&status) < 0 || status;
}""")
    told: list[tuple[str, int]] = []
    tasks: set[int] = set()
    with Tracer([command]) as tracer:
        probe(tracer, command, "add", told)
        tracer.probe(Uprobe(command, elf_symbols(command).find("add").offset), lambda e: tasks.add(e.task.tid))
        assert finish(tracer) == 0
    counts = Counter(told)
    assert sum(n for (what, _), n in counts.items() if what == "add") == 163
    assert sum(n for (what, _), n in counts.items() if what == "add returns") == 163
    assert counts["add", 39] == 4 and counts["add returns", 44] == 4
    assert told[-4:] == [("add", 2), ("add returns", 7), ("add", 3), ("add returns", 8)]
    assert len(tasks) == 6  # four threads, two children


def test_functions_that_never_return_and_those_that_jump_into_others(tmp_path: Path) -> None:
    command = build(tmp_path, """
static jmp_buf back;
__attribute__((noinline, noclone)) void deep(int n) { if (!n) longjmp(back, 1); deep(n - 1); __asm__(""); }
__attribute__((noinline, noclone)) int last(int n) { __asm__(""); return n * 3; }
__attribute__((noinline, noclone)) int first(int n) { __asm__(""); return last(n + 1); }
int main(void) {
    for (int i = 0; i < 3; i++) if (!setjmp(back)) deep(5);
    return first(4) == 15 ? 0 : 1;
}""", "-O2")
    told: list[tuple[str, int]] = []
    with Tracer([command]) as tracer:
        for function in ("deep", "first", "last"):
            probe(tracer, command, function, told)
        assert finish(tracer) == 0
    assert [what for what, _ in told].count("deep") == 18
    assert "deep returns" not in [what for what, _ in told]
    # A call at the end of a function is a jump: both return at once, the inner one first.
    assert told[-4:] == [("first", 4), ("last", 5), ("last returns", 15), ("first returns", 15)]


def test_a_function_that_returns_twice(tmp_path: Path) -> None:
    """vfork's child returns from the function that its parent returns from later, with the same stack."""
    command = build(tmp_path, """
int main(void) {
    int status;
    for (int i = 0; i < 3; i++) {
        if (!vfork()) { execl("/nowhere", "nowhere", NULL); execl("/bin/true", "true", NULL); _exit(1); }
        if (wait(&status) < 0 || status) return 1;
    }
    return 0;
}""")
    library = find_library("c")
    assert library is not None
    told: list[tuple[str, int]] = []
    with Tracer([command]) as tracer:
        for function in ("vfork", "execl", "execve"):
            offset = elf_symbols(library).find(function).offset
            tracer.probe(Uretprobe(library, offset), lambda event, function=function: told.append(
                (function, event.registers[RESULT] == 0)))  # type: ignore[misc]
        assert finish(tracer) == 0
    assert told == [("vfork", True), ("execve", False), ("execl", False), ("vfork", False)] * 3


def test_instructions_that_speak_of_their_own_place(tmp_path: Path) -> None:
    """Each first instruction is done out of line or here; the function's result says whether it was done right."""
    functions = {
        "load_global": ("mov counter(%rip), %eax; ret", 41),
        "wide_store": ("movl $7, counter+4(%rip); mov counter+4(%rip), %eax; ret", 7),
        "compare_global": ("cmpl $41, counter(%rip); sete %al; movzbl %al, %eax; ret", 1),
        "avx_like": ("movss counter(%rip), %xmm0; movd %xmm0, %eax; ret", 41),
        "jump_short": ("jmp 1f; ud2; 1: mov $3, %eax; ret", 3),
        "jump_taken": ("jnz 1f; mov $4, %eax; ret; 1: ud2", 4),  # entered with the zero flag set
        "call_next": ("call 1f; 1: pop %rax; lea 1b(%rip), %rcx; cmp %rcx, %rax; sete %al; movzbl %al, %eax; ret", 1),
        "call_through": ("call *target(%rip); add $1, %eax; ret", 10),
        "call_register": ("lea nine(%rip), %rax; call *%rax; ret", 9),
        "push_register": ("push %r12; pop %rax; mov $5, %eax; ret", 5),
        "count": ("loop 1f; mov $0, %eax; ret; 1: mov $6, %eax; ret", 6),
        "just_return": ("ret", 39),
        "repeated": ("rep stosb; mov $8, %eax; ret", 8),
        "system_call": ("syscall; mov $11, %eax; ret", 11),
    }
    command = build(tmp_path, "\n".join((
        "int counter[4] = {41};", "int nine(void) { return 9; }", "int (*target)(void) = nine;",
        *(f'__asm__(".text\\n.globl {name}\\n.type {name}, @function\\n{name}: {text}\\n.size {name}, .-{name}");'
          for name, (text, _) in functions.items()),
        *(f"extern int {name}();" for name in functions), """
__attribute__((noinline)) static int call(int (*function)()) {
    int result;
    // As the functions expect: zero flag set, rcx 2 (rounds), rdi a place to write, rax 39 (getpid, for syscall).
    __asm__ volatile("mov $39, %%eax; mov $2, %%ecx; lea counter+8(%%rip), %%rdi; xor %%esi, %%esi; call *%1"
                     : "=a"(result) : "b"(function) : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
    return result;
}
int main(void) {""",
        *(f"    if (call({name}) != {value}) return {at};" for at, (name, (_, value)) in enumerate(functions.items(), 1)),
        "    return 0;\n}")), "-mno-red-zone")
    plain = subprocess.run([command], check=False).returncode
    assert plain == 0, f"the test's own program is wrong: {list(functions)[plain - 1]}"
    hits: Counter[str] = Counter()
    with Tracer([command]) as tracer:
        for name in functions:
            tracer.probe(Uprobe(command, elf_symbols(command).find(name).offset),
                         lambda e, name=name: hits.update([name]))  # type: ignore[misc]
        status = finish(tracer)
    assert status == 0, f"wrong after stepping over: {list(functions)[(status or 1) - 1]}"
    assert hits == Counter(dict.fromkeys(functions, 1))


def test_a_library_that_is_loaded_late(tmp_path: Path) -> None:
    """The breakpoint is there before the first instruction of a library that comes by dlopen, again after dlclose."""
    library = build(tmp_path, "long twice(long n) { return 2 * n; }", "-shared", "-fPIC", name="libtwice.so")
    command = build(tmp_path, f"""
#include <dlfcn.h>
int main(void) {{
    for (long i = 1; i < 4; i++) {{
        void *library = dlopen("{library}", RTLD_NOW);
        long (*twice)(long) = (long (*)(long))dlsym(library, "twice");
        if (twice(i) != 2 * i) return 1;
        dlclose(library);
    }}
    return 0;
}}""", "-ldl")
    told: list[tuple[str, int]] = []
    with Tracer([command]) as tracer:
        probe(tracer, library, "twice", told)
        assert finish(tracer) == 0
    assert told == [pair for n in (1, 2, 3) for pair in (("twice", n), ("twice returns", 2 * n))]


def test_the_c_library_in_a_shell_and_its_children() -> None:
    library = find_library("c")
    assert library is not None
    names: list[bytes] = []
    with Tracer(["sh", "-c", "env A=1 true"]) as tracer:
        tracer.probe(Uprobe(library, elf_symbols(library).find("execvp").offset), lambda event: names.append(
            tracer.memory.read(event.registers[FIRST], 16).partition(b"\0")[0]))
        assert finish(tracer) == 0
    assert names == [b"true"]


def test_probes_come_and_go_while_the_command_runs(tmp_path: Path) -> None:
    command = build(tmp_path, """
__attribute__((noinline, noclone)) int on(int n) { __asm__(""); return n; }
__attribute__((noinline, noclone)) int step(int n) { __asm__(""); return n; }
int main(void) {
    for (int i = 0; i < 3; i++) step(i);
    on(0);
    on(1);
    for (int i = 0; i < 3; i++) { step(i); getppid(); }
    return 0;
}""")
    symbols = elf_symbols(command)
    steps: list[int] = []
    with Tracer([command]) as tracer:
        def stepped(event: Event) -> None:
            steps.append(event.registers[FIRST])
            if len(steps) == 3:
                first.remove()
                tracer.probe(Uprobe(command, symbols.find("on").offset), turn_on)

        def turn_on(event: Event) -> None:
            if not calls:
                tracer.probe(SyscallEnter(number_of("getppid", "x86_64")), lambda event: calls.append("getppid"))
                tracer.probe(Uretprobe(command, symbols.find("on").offset), lambda event: calls.append("on returns"))
            calls.append("on")

        calls: list[str] = []
        first = tracer.probe(Uprobe(command, symbols.find("step").offset), stepped)
        assert finish(tracer) == 0
    assert steps == [0, 1, 2]
    assert calls == ["on", "on", "on returns", *["getppid"] * 3]


def test_signals_while_stepping(tmp_path: Path) -> None:
    """A timer's signals fall between breakpoint and step as often as not: none is lost, no event comes twice."""
    command = build(tmp_path, """
#include <sys/time.h>
static volatile int alarms;
static int value = 1;
static void ring(int n) { alarms++; }
__attribute__((noinline, noclone)) int next(void) { return value++; }
int main(void) {
    struct itimerval every = {{0, 300}, {0, 300}};
    signal(SIGALRM, ring);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 1; i <= 2000; i++) if (next() != i) return 1;
    return alarms < 10;
}""", "-O2")
    count: Counter[str] = Counter()
    with Tracer([command]) as tracer:
        tracer.probe(Uprobe(command, elf_symbols(command).find("next").offset), lambda e: count.update(["next"]),
                     Needs(wait=False))
        assert finish(tracer) == 0
    assert count["next"] == 2000


def test_a_program_that_traps_by_itself_gets_its_own_signal(tmp_path: Path) -> None:
    command = build(tmp_path, """
static volatile int traps;
static void trap(int n) { traps++; }
__attribute__((noinline, noclone)) int f(int n) { __asm__("int3"); return n; }
int main(void) { signal(SIGTRAP, trap); f(1); raise(SIGTRAP); return f(2) == 2 && traps == 3 ? 0 : 1; }""")
    told: list[tuple[str, int]] = []
    with Tracer([command]) as tracer:
        probe(tracer, command, "f", told)
        assert finish(tracer) == 0
    assert [what for what, _ in told] == ["f", "f returns"] * 2


def test_static_probes_and_their_semaphore(tmp_path: Path) -> None:
    if not os.path.exists("/usr/bin/gcc"):
        pytest.skip("gcc is not installed")
    command = static_probes.build(tmp_path)
    hits: list[tuple[str, int]] = []
    read, write = os.pipe()
    os.write(write, b"abc")
    os.close(write)
    output = tmp_path / "output"
    saved, out = os.dup(0), os.dup(1)
    with output.open("wb") as file:
        os.dup2(read, 0)
        os.dup2(file.fileno(), 1)
        try:
            tracer = Tracer([command])
        finally:
            os.dup2(saved, 0)
            os.dup2(out, 1)
            for fd in (saved, out, read):
                os.close(fd)
    with tracer:
        for name in ("begin", "end"):
            for place in find_usdt(command, name, "app"):
                tracer.probe(Uprobe(command, place.offset, place.semaphore),
                             lambda event, name=name: hits.append((name, event.registers[RESULT])))  # type: ignore[misc]
        assert finish(tracer) == 0
    assert output.read_text() == "semaphore 1\n" * 3
    assert [hit for hit in hits if hit[0] == "end"] == [("end", n) for n in (1, 1, 2, 2, 3, 3)]
    assert len(hits) == 9
