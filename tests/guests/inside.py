"""What runs inside a guest: many checks in one boot, one process that imports once, each check in a forked child.

Reads a job (JSON) from standard input, writes one line of JSON per finished check to standard output. Python is 15 to
20 times slower under emulation than outside, so this imports as little as it can: pytest only if a test's file does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from types import ModuleType
from typing import Any

MARK = "\x1e"  # the pool's, which this does not import


def main() -> None:
    job = json.load(sys.stdin)
    sys.path[:0] = job["sys_path"]
    modules: dict[str, ModuleType | str] = {}
    for check in job["checks"]:
        file = check["file"]
        if file not in modules:
            modules[file] = _import(file)
        start = time.monotonic()
        module = modules[file]
        result: dict[str, Any]
        if isinstance(module, str):
            result = {"outcome": "failed", "message": module, "output": ""}
        else:
            result = _in_child(module, check)
        result["id"], result["seconds"] = check["id"], time.monotonic() - start
        sys.stdout.write(f"{MARK}{json.dumps(result)}\n")
        sys.stdout.flush()


def _import(file: str) -> ModuleType | str:
    """The test file as a module, or what went wrong."""
    name = "guest_check_" + "".join(c if c.isalnum() else "_" for c in os.path.relpath(file))
    try:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    except BaseException:
        return traceback.format_exc()
    return module


def _in_child(module: ModuleType, check: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.close(reader)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                sys.stdin = open(0, closefd=False)
                report = json.dumps(_run(module, check)).encode()
                while report:
                    report = report[os.write(writer, report):]
            finally:
                os._exit(0)
        os.close(writer)
        report, in_time = _read_all(reader, check["timeout_s"])
        os.close(reader)
        try:
            os.killpg(pid, signal.SIGKILL)  # a check's own children end with it
        except ProcessLookupError:
            pass
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if not in_time:
        result = {"outcome": "failed", "message": f"not done after {check['timeout_s']} s"}
    elif not report:
        code = os.waitstatus_to_exitcode(status)
        result = {"outcome": "failed", "message": f"the check's process ended without a result (status {code})"}
    else:
        result = json.loads(report)
    result["output"] = text
    return result


def _read_all(reader: int, timeout_s: float) -> tuple[bytes, bool]:
    """What comes until the other end closes; False when that took too long."""
    import select

    data, deadline = b"", time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            chunk = os.read(reader, 1 << 16)
            if not chunk:
                return data, True
            data += chunk
            if data.endswith(b"}"):  # the whole report; its child may take a while to end, or have left children
                return data, True
    return b"", False


def _run(module: ModuleType, check: dict[str, Any]) -> dict[str, str]:
    import base64
    import pickle

    try:
        target: Any = module
        for part in check["function"].split("::"):
            target = getattr(target, part)
            if isinstance(target, type):
                target = target()
        arguments = pickle.loads(base64.b64decode(check["arguments"]))
        if check["tmp_path"]:
            from pathlib import Path

            arguments["tmp_path"] = Path(tempfile.mkdtemp(dir="/run"))
        target(**arguments)
    except BaseException as error:
        return _judge(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return {"outcome": "passed", "message": ""}


def _judge(error: BaseException) -> dict[str, str]:
    """Skipped or failed. Classes are known by name: importing pytest to ask costs seconds here."""
    names = {c.__name__ for c in type(error).__mro__}
    if "Skipped" in names:
        return {"outcome": "skipped", "message": str(getattr(error, "msg", error))}
    if "NotSupported" in names:
        return {"outcome": "skipped", "message": f"NotSupported: {error}"}
    text = "".join(traceback.format_exception(error))
    # There is no assertion rewriting here: the values are what the failing frame holds.
    if isinstance(error, AssertionError) and (frame := error.__traceback__) is not None:
        while frame.tb_next is not None:
            frame = frame.tb_next
        held = [f"    {name} = {_short(value)}" for name, value in frame.tb_frame.f_locals.items()]
        text += "where\n" + "\n".join(held) + "\n"
    return {"outcome": "failed", "message": text}


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<unprintable: {error!r}>"
    return text if len(text) <= 400 else text[:400] + "..."


if __name__ == "__main__":
    main()
