"""The command `ebpf` as its users meet it: what it prints, where, and its exit status."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ebpf
from ebpf import cli

SRC = Path(ebpf.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC), "NO_COLOR": "1"}


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "ebpf.cli", *arguments], text=True, env=ENVIRONMENT,
                          capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "ebpf.cli", *arguments], text=True, env=ENVIRONMENT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def script(tmp_path: Path):
    def write(text: str) -> str:
        (tmp_path / "script.py").write_text(text)
        return str(tmp_path / "script.py")

    return write


# ---- the door --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ebpf {ebpf.__version__}\n"


def test_a_mistyped_command_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dcotor"]) == 2
    assert "did you mean 'doctor'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"ebpf.cli.{name.replace('-', '_')}")
    assert module.__doc__ and f"``ebpf {name}``" in module.__doc__
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ebpf {name}")


# How many files a command wants.
FILES = {"run": 1, "compile": 1, "disasm": 1, "verify": 1, "test-run": 1, "record": 1, "replay": 2, "debug": 1}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_wrong_options_are_wrong_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--no-such-option", *["x"] * FILES.get(name, 0)])
    assert ended.value.code == 2
    assert "no-such-option" in capsys.readouterr().err


def test_a_start_imports_little() -> None:
    code = "import sys; from ebpf import cli; cli.main(['--version']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-S", "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    assert not {"argparse", "numpy", "llvmlite", "ctypes", "dataclasses", "ebpf.errors", "ebpf.cli.run"} & set(out.split())


def test_a_bug_of_ours_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(args: object) -> int:
        raise ZeroDivisionError("made for this test")

    monkeypatch.setattr("ebpf.cli.explain.run", fail)
    assert cli.main(["explain"]) == 70
    err = capsys.readouterr().err
    assert "a bug of ours: ZeroDivisionError: made for this test" in err and "Traceback" not in err


@pytest.mark.parametrize(("error", "status"), [
    (ebpf.LoadError("x"), 1), (ebpf.UsageError("x"), 2), (ebpf.PrivilegeError("x", needs=("CAP_BPF",)), 3),
    (ebpf.NotSupported("x"), 4), (ebpf.InternalError("x"), 70), (FileNotFoundError(2, "No such file", "f"), 1),
    (KeyboardInterrupt(), 130), (BrokenPipeError(), 141),
])
def test_exit_statuses(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("ebpf.cli._forget_output", lambda: None)
    monkeypatch.setattr("ebpf.cli.explain.run", fail)
    assert cli.main(["explain"]) == status


# ---- scripts ---------------------------------------------------------------------------------------


def test_a_script_runs_as_python_would_run_it(script) -> None:
    path = script("import sys, os\nprint(__name__, sys.argv[1:], os.path.dirname(__file__) == sys.path[0])\nsys.exit(7)\n")
    done = run("run", path, "a", "--duration", "-x")
    assert (done.returncode, done.stdout, done.stderr) == (7, "__main__ ['a', '--duration', '-x'] True\n", "")


def test_a_script_finds_our_bcc_first(script, tmp_path: Path) -> None:
    other = tmp_path / "other" / "bcc"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("print('not ours')")
    path = script("import importlib.util\nprint(importlib.util.find_spec('bcc').origin)\n")
    if not (SRC / "bcc" / "__init__.py").exists():
        pytest.skip("no bcc module yet")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{other.parent}{os.pathsep}{SRC}"}
    out = subprocess.run([sys.executable, "-m", "ebpf.cli", "run", path], env=environment, text=True,
                         stdout=subprocess.PIPE, check=True).stdout
    assert out.strip() == str(SRC / "bcc" / "__init__.py")


def test_a_scripts_exception_is_shown_from_the_script_on(script) -> None:
    done = run("run", script("def f():\n    return 1 / 0\nf()\n"))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and "script.py\", line 3" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero" and "runpy" not in done.stderr


def test_our_errors_in_a_script_have_no_traceback(script) -> None:
    done = run("run", script("import ebpf\nebpf.open('/nonexistent.o')\n"))
    assert done.returncode == 1
    assert "/nonexistent.o" in done.stderr and "script.py:2: ebpf.open" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_script_and_run_its_cleanup(script, number: signal.Signals, status: int) -> None:
    path = script("import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\nfinally:\n    print('cleaned')\n")
    with start("run", path) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (status, "cleaned\n", "")


def test_nobody_reading_any_more_is_no_error(script) -> None:
    path = script("while True:\n    print('x' * 1000)\n")
    with start("run", path) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 141


@pytest.mark.parametrize(("name", "content", "words"), [
    ("x.txt", "hello", "neither C text (.c), nor an object file, nor a Python script"),
    ("x.o", "\x7fELF but not really", "x.o"),
])
def test_what_cannot_be_run_is_said(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    done = run("run", str(tmp_path / name))
    assert done.returncode in (1, 2) and words in done.stderr and "Traceback" not in done.stderr
    assert "bug of ours" not in done.stderr


def test_a_missing_file_is_said() -> None:
    for command in ("run", "compile", "disasm"):
        done = run(command, "/nonexistent/prog.c")
        assert done.returncode == 1
        assert done.stderr == "ebpf: /nonexistent/prog.c: No such file or directory\n"


# ---- looking at things -----------------------------------------------------------------------------


def test_explain_lists_and_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain"]) == 0
    listing = capsys.readouterr().out.splitlines()
    assert len(listing) > 40 and len({line.split()[0] for line in listing}) == len(listing)
    assert cli.main(["explain", "v0201"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("V0201  ") and "= help:" in out and "{" not in out.partition("= help:")[2].partition("`if (name)")[0]
    assert cli.main(["explain", "X9"]) == 2


def test_doctor_tells_facts_as_json() -> None:
    done = run("doctor", "--json")
    assert done.returncode in (0, 1, 3) and done.stderr == ""
    facts = json.loads(done.stdout)
    assert {"kernel", "user", "hooks", "features", "package"} == {f["group"] for f in facts}
    assert {f["state"] for f in facts} <= {"ok", "no", "denied", "unknown", "info"}
    by_name = {f["name"]: f for f in facts}
    assert by_name["Linux"]["detail"].startswith(os.uname().release)
    assert by_name["user id"]["detail"].split()[0] == str(os.geteuid())


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become somebody else")
def test_doctor_tells_what_an_ordinary_user_lacks() -> None:
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "ebpf.cli",
                           "doctor", "--json"], env={**ENVIRONMENT, "EBPF_CACHE_DIR": "/nonexistent/ebpf"}, capture_output=True, text=True)
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("nobody may not read this checkout or its Python")
    facts = {f["name"]: f for f in json.loads(done.stdout)}
    assert facts["CAP_BPF"]["state"] == "denied" and facts["kprobe"]["state"] in ("denied", "no")
    assert facts["cache"]["state"] == "no"


C_PROGRAM = """
struct key { int pid; char comm[8]; };
struct { int (*type)[1]; int (*max_entries)[8]; struct key *key; long *value; } counts
    __attribute__((section(".maps"), used));
static void *(*lookup)(void *, const void *) = (void *)1;
static int twice(int x) __attribute__((noinline));
static int twice(int x) { return 2 * x; }
__attribute__((section("socket"), used)) int filter(void *ctx)
{
    struct key key = {1, "a"};
    long *value = lookup(&counts, &key);
    return value ? twice(*value) : 0;
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(scope="module")
def object_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        pytest.skip("no clang")
    folder = tmp_path_factory.mktemp("object")
    (folder / "prog.c").write_text(C_PROGRAM)
    subprocess.run([clang, "-target", "bpf", "-O2", "-g", "-c", "prog.c", "-o", "prog.o"], cwd=folder, check=True)
    return str(folder / "prog.o")


def test_disasm_of_an_object_shows_source_and_symbols(object_file: str) -> None:
    out = run("disasm", object_file).stdout
    assert 'filter:  SEC("socket")  // socket_filter' in out
    assert "; long *value = lookup(&counts, &key);  // prog.c:" in out
    assert "// map counts" in out and "call bpf_map_lookup_elem#1" in out
    only = run("disasm", "--no-source", object_file, "twice").stdout
    assert only.startswith("twice:") and ";" not in only and "filter" not in only


def test_disasm_agrees_with_llvm(object_file: str) -> None:
    tool = shutil.which("llvm-objdump") or shutil.which("llvm-objdump-14")
    if tool is None:
        pytest.skip("no llvm-objdump")
    theirs = subprocess.run([tool, "-d", "--no-show-raw-insn", object_file], stdout=subprocess.PIPE, text=True).stdout
    slots = [line.split(":")[0].strip() for line in theirs.splitlines() if line.strip()[:1].isdigit() and "<" not in line.split(":")[0]]
    ours = [line.split(":")[0].strip() for line in run("disasm", "--no-source", object_file).stdout.splitlines()
            if line.strip()[:1].isdigit()]
    assert sorted(ours, key=int) == sorted(slots, key=int)


def test_disasm_of_an_unknown_function_names_those_there_are(object_file: str) -> None:
    done = run("disasm", object_file, "nosuch")
    assert done.returncode == 1 and "it has filter, twice" in done.stderr


@pytest.mark.kernel
def test_prog_and_map_show_what_is_loaded(object_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ebpf.load(ebpf.open(object_file)) as session:
        info = session.programs["filter"].info
        map_id = session.maps["counts"].raw.info().id
        session.maps["counts"][(7, b"seven")] = 49

        assert cli.main(["prog", "list", "--json"]) == 0
        rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
        assert (rows[info.id]["name"], rows[info.id]["type"], rows[info.id]["tag"]) == ("filter", "socket_filter", info.tag)

        assert cli.main(["prog", "show", str(info.id)]) == 0
        assert f"({os.getpid()})" not in capsys.readouterr().out  # who looks is no holder
        shown = run("prog", "show", str(info.id)).stdout
        assert f"({os.getpid()})" in shown and shown.count("(") == 1

        assert cli.main(["prog", "dump", str(info.id)]) == 0
        dump = capsys.readouterr().out
        assert f"map[id:{map_id}]" in dump and "exit" in dump and "call" in dump
        if ebpf.host.kernel_address("__bpf_call_base"):
            assert "call htab_map_lookup_elem" in dump or "call __htab_map_lookup_elem" in dump

        assert cli.main(["map", "dump", str(map_id)]) == 0
        shown = capsys.readouterr()
        assert shown.out == '{.pid = 7, .comm = "seven"}: 49\n' and shown.err == "1 entry\n"
        assert cli.main(["map", "dump", str(map_id), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [{"key": {"pid": 7, "comm": "seven"}, "value": 49}]
        assert cli.main(["map"]) == 0
        assert "counts" in capsys.readouterr().out


@pytest.mark.kernel
def test_ids_names_and_pins_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    list(ebpf.inventory.maps())  # skips where listing is not permitted
    for arguments, words in (
            (["prog", "show", "4294967295"], "there is no program with id 4294967295"),
            (["map", "show", "no_such_map"], "no map is called 'no_such_map'"),
            (["map", "show", "/sys/fs/bpf/nothing-here"], "nothing is pinned at /sys/fs/bpf/nothing-here"),
            (["link", "show", "name"], "a link has no name")):
        assert cli.main(arguments) in (1, 2)
        assert words in capsys.readouterr().err


@pytest.mark.kernel
def test_a_pinned_map_is_no_program(object_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ebpf.load(ebpf.open(object_file)) as session:
        path = f"/sys/fs/bpf/ebpf-test-{os.getpid()}"
        try:
            session.maps["counts"].pin(path)
        except ebpf.KernelError as error:
            pytest.skip(f"cannot pin: {error.message}")
        try:
            assert cli.main(["prog", "show", path]) == 2
            assert f"is a map, not a program\n  = help: `ebpf map show {path}`" in capsys.readouterr().err
            assert cli.main(["map", "show", path]) == 0
        finally:
            os.unlink(path)


def test_run_of_an_object_ends_after_its_duration(object_file: str, tmp_path: Path) -> None:
    started = time.monotonic()
    done = run("run", "--duration", "0.2", object_file)
    if done.returncode == 3:
        pytest.skip("kernel tests: not privileged (run as root)")
    # A socket filter's section names no socket: said, not attached.
    assert done.returncode == 1 and "no program's section says where to attach it" in done.stderr
    assert time.monotonic() - started < 20
