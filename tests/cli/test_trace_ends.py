"""How scripts end, what they could not do, and JSON of everything that can be said: by the command, in kernel and machine."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.cli.test_cli import ENVIRONMENT
from tests.cli.test_trace import both, somewhere, trace

__all__ = ["somewhere"]  # a fixture

EVERYTHING = r"""
BEGIN {
    printf("%s %d\n", comm, pid); print(1); print("text \"quoted\" \\ \n"); print((1, "two", (3, 4)));
    @n = 5; @k["a", 1] = 2; @count = count(); @sum = sum(3); @avg = avg(3); @min = min(-3); @max = max(3);
    @stats = stats(4); @h = hist(5); @hk["r"] = hist(1000); @l = lhist(3, 0, 10, 2); @t = (1, "x"); @s = "str";
    @text["key \"q\""] = "value"; @ip = ntop(0x0100007f); @when = strftime("%Y", nsecs); @b = buf("a\xffb", 3);
    @full[1] = 1; @full[2] = 1; @full[3] = 1;
    print(@k); print(@h); print(@text["key \"q\""]); time("%H"); cat("/proc/self/comm"); exit(3);
}
END { printf("end\n"); }
"""


@both
def test_json_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is an object, whatever the bytes; a map that is full is told."""
    monkeypatch.setitem(ENVIRONMENT, "BPFTRACE_MAX_MAP_KEYS", "2")
    done = trace("-f", "json", "-e", EVERYTHING)
    assert done.returncode == 3, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["type"] for entry in said[:5]] == ["attached_probes", "printf", "value", "value", "value"]
    assert said[3]["data"] == 'text "quoted" \\ \n' and said[4]["data"] == [1, "two", [3, 4]]
    maps = {name: value for entry in said if entry["type"] in ("map", "hist", "stats") for name, value in entry["data"].items()}
    assert maps["@k"] == {"a,1": 2} and maps["@min"] == -3 and maps["@t"] == [1, "x"] and maps["@avg"] == 3
    assert maps["@hk"] == {"r": [{"min": 512, "max": 1023, "count": 1}]} and maps["@text"] == {'key "q"': "value"}
    assert maps["@stats"] == {"count": 1, "average": 4, "total": 4} and len(maps["@full"]) == 2
    assert {"time", "cat"} <= {entry["type"] for entry in said}
    assert "@full is full" in done.stderr and "BPFTRACE_MAX_MAP_KEYS" in done.stderr


@both
@pytest.mark.parametrize("how", ["text", "json"])
def test_lost_events_are_told_at_the_end(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """BEGIN says more than the buffer holds before anybody can read it."""
    monkeypatch.setitem(ENVIRONMENT, "BPFTRACE_PERF_RB_PAGES", "1")
    many = 400
    done = trace("-q", "-f", how, "-c", "true", "-e",
                 f'BEGIN {{ for ($i : 0..{many}) {{ printf("line %d\\n", $i); @n++; }} }}')
    lines = done.stdout.splitlines()
    if how == "json":
        said = [json.loads(line) for line in lines]
        lost = sum(entry["data"]["events"] for entry in said if entry["type"] == "lost_events")
        seen = sum(entry["type"] == "printf" for entry in said)
    else:
        lost = sum(int(line.split()[1]) for line in lines if line.startswith("Lost "))
        seen = sum(line.startswith("line ") for line in lines)
        assert f"@n: {many}" in lines
    assert lost and lost + seen == many


@both
@pytest.mark.parametrize("status", ["7", "@n - 392"])
def test_exit_is_seen_though_its_record_is_lost(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the word in memory says so; what runs beside it does nothing from then on."""
    monkeypatch.setitem(ENVIRONMENT, "BPFTRACE_PERF_RB_PAGES", "1")
    done = trace("-q", "-e", f"""BEGIN {{ for ($i : 0..400) {{ printf("line %d\\n", $i); @n++; }} exit({status}); @never = 1; }}
        BEGIN {{ @never = 2; }} interval:ms:1 {{ @never = 3; }} END {{ printf("end\\n"); @e = 1; }}""")
    lines = done.stdout.splitlines()
    assert done.returncode == int(status.replace("@n - 392", "8")), done.stderr
    assert lines[0] == "line 0" and "line 399" not in lines and "end" in lines and "@e: 1" in lines
    assert "@n: 400" in lines and not any("@never" in line for line in lines) and lines[-1].startswith("Lost ")


def test_the_process_of_p_ends(privileged: None) -> None:
    with subprocess.Popen(["sleep", "0.3"]) as process:
        done = trace("-q", "-p", str(process.pid), "-e", 'BEGIN { printf("begin\\n"); } END { printf("end\\n"); }')
    assert (done.stdout, done.returncode) == ("begin\nend\n\n\n", 0)
    done = trace("-p", str(process.pid), "-e", "BEGIN { }")
    assert done.returncode == 1 and done.stderr.startswith(f"ebpf: no process {process.pid}\n") and done.stdout == ""


@pytest.mark.parametrize(("arguments", "words"), [
    (("-p", "1", "-c", "true"), "a command and a process id at once"),
    (("-c", ""), "the command is empty"), (("-c", "/tmp"), "/tmp is a folder, not a command"),
    (("-c", 'echo "a'), "No closing quotation"),
])
def test_what_is_traced_has_to_make_sense(arguments: tuple[str, ...], words: str) -> None:
    done = trace(*arguments, "--backend", "machine", "-e", "BEGIN { exit(); }")
    assert done.returncode != 0 and words in done.stderr and "Traceback" not in done.stderr
