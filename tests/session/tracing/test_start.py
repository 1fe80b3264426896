"""A script's first start: what others can do is not waited for, and waiting is used. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """kprobe:vfs_read { @[comm] = count(); printf("%d %s\\\\n", pid, comm); $t = (struct task_struct *)arg0; @p = $t->pid; }
interval:s:1 { print(@); clear(@); exit(); }"""


def run(code: str, cache: object) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "EBPF_CACHE_DIR": str(cache)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_runs_the_script_is_imported_while_llvm_works(tmp_path: object) -> None:
    """After LLVM's answer nothing is imported until the script is ready to run."""
    assert run(f'''
import sys
import ebpf
from ebpf.compiler.llvm.child import CodeGenerator
run, before, imported = CodeGenerator.run, set(), set()
def watched(self, ir, meanwhile):
    before.update(sys.modules)
    result = run(self, ir, meanwhile)
    imported.update(sys.modules)
    return result
CodeGenerator.run = watched
ebpf.trace("""{SCRIPT}""")
print(sorted(set(sys.modules) - imported))
assert "ebpf.session.tracing.trace" in imported - before
''', tmp_path) == "[]\n"


def test_nobody_waits_for_the_index_of_types(tmp_path: object) -> None:
    """The child that makes it for later processes goes on while the script runs, and beyond."""
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
    assert run(f'''
import os
import ebpf
from ebpf.btf.reader import Btf
from ebpf.kernel import type_scan
wait, go = os.pipe()
make = Btf.make_index
def held(self, *scan):
    os.close(go)
    os.read(wait, 1)  # until the parent has its script
    return make(self, *scan)
Btf.make_index = held
ebpf.trace("""{SCRIPT}""")
(child,) = type_scan._left
assert os.waitpid(child, os.WNOHANG) == (0, 0)
os.close(go)
os.waitpid(child, 0)
Btf.make_index = make
from ebpf.compiler.cache import Store
from ebpf.kernel.facts import SystemFacts
print(SystemFacts(Store()).btf().has_index)
''', tmp_path) == "True\n"


def test_a_first_start_imports_no_more_than_it_did(tmp_path: object) -> None:
    """Each module of ours costs half a millisecond: who adds one to every first start should know."""
    names = run(f'''
import sys
import ebpf
ebpf.trace("""{SCRIPT}""")
print(*(name for name in sys.modules if name.partition(".")[0] == "ebpf"))
''', tmp_path).split()
    unwanted = ("compiler.clang", "compiler.py", "machine", "verifier", "tools", "testing", "binaries", "compiler.c.parser",
                "compiler.c.preprocessor", "compiler.trace.user_types", "compiler.trace.user_arguments",
                "session.tracing.captures", "session.tracing.replaying", "session.tracing.elsewhere", "abi.syscalls",
                "abi.renamed", "abi.tracepoints")
    assert [name for name in names if any(name == f"ebpf.{u}" or name.startswith(f"ebpf.{u}.") for u in unwanted)] == []
    assert len(names) <= 125, len(names)
